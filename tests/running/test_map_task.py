"""One map through the real pipeline: from a FITS file to tables that hold what was put in."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from helpers.runner_tasks import files_below, make_config, make_wcs
from hyper_py.catalog import COLUMNS
from hyper_py.config import Config
from hyper_py.diagnostics import ConfigurationError, Flag
from hyper_py.reading.io import read_image
from hyper_py.running import runner
from hyper_py.running.map_task import process_map
from hyper_py.running.tasks import MapTask, reading_options
from hyper_py.writing.tables import read_table

PLACES = np.array([[20.0, 22.0], [44.3, 30.6], [30.1, 50.2]])
SIGMA = 3.0
BEAM = 2.0 * SIGMA * 2.3548 / 3600.0


def write_map(path, *, peak=1.0, noise=0.02, seed=1, **header):
    """Beam-sized sources of `peak` Jy/beam on noise, in 2" pixels."""
    y, x = np.mgrid[:70, :64]
    data = sum(peak * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / SIGMA**2) for x0, y0 in PLACES)
    data = data + np.random.default_rng(seed).normal(0.0, noise, x.shape)
    hdu = fits.PrimaryHDU(data, header=make_wcs().to_header())
    hdu.header.update({"BUNIT": "Jy/beam", "BMAJ": BEAM, "BMIN": BEAM, "BPA": 0.0, **header})
    hdu.writeto(path)
    return path


def do(path, tmp_path, **sections):
    config = make_config(tmp_path / "out", **sections)
    result = process_map(MapTask(index=0, name=path.stem, path=path, config=config))
    assert result.status == "done", result.reason
    return result, read_table(tmp_path / f"out/params/params_{path.stem}.ecsv")


def matched(table):
    """The row of each true place."""
    distance = np.hypot(*(np.array([table["X"], table["Y"]])[:, None, :] - PLACES.T[:, :, None]))
    return table[distance.argmin(axis=1)]


def test_sources_come_out_as_they_went_in(tmp_path):
    result, table = do(write_map(tmp_path / "m.fits"), tmp_path)
    assert (result.n_sources, result.unit) == (3, "mJy/beam")
    assert result.pixel_scale == pytest.approx(2.0)
    assert 10.0 < result.rms < 60.0
    rows = matched(table)
    np.testing.assert_allclose(np.column_stack([rows["X"], rows["Y"]]), PLACES, atol=0.2)
    np.testing.assert_allclose(rows["FLUX_PEAK"], 1000.0, rtol=0.1)
    np.testing.assert_allclose(rows["FLUX"], 1000.0, rtol=0.15)
    ipac = read_table(tmp_path / "out/params/params_m.txt")
    lon, lat = make_wcs().wcs_pix2world(np.column_stack([table["X"], table["Y"]]), 0).T
    assert np.abs(ipac["RA"] - lon).max() < 0.01 * 2.0 / 3600.0
    assert np.abs(ipac["DEC"] - lat).max() < 0.01 * 2.0 / 3600.0
    assert ipac.meta["keywords"]["noise_model"]["value"]


def test_noise_gives_an_empty_table_with_all_columns(tmp_path):
    result, table = do(write_map(tmp_path / "m.fits", peak=0.0), tmp_path, detection={"sigma_thres": 8.0})
    assert (result.n_sources, len(table)) == (0, 0)
    assert table.colnames == [column.name for column in COLUMNS]


def test_detection_only_gives_the_detections(tmp_path):
    _, table = do(write_map(tmp_path / "m.fits"), tmp_path, control={"detection_only": True})
    rows = matched(table)
    np.testing.assert_allclose(np.column_stack([rows["X"], rows["Y"]]), PLACES, atol=1.5)


def test_given_positions_and_apertures_are_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_map(tmp_path / "m.fits")
    lon, lat = make_wcs().wcs_pix2world(np.vstack([PLACES, [[50.0, 60.0]]]), 0).T
    sections = {
        "detection": {"fixed_peaks": True, "xcen_fix": lon.tolist(), "ycen_fix": lat.tolist()},
        "photometry": {"fixed_radius": True, "fwhm_1": [20.0], "fwhm_2": [12.0], "PA_val": [35.0]},
    }
    _, table = do(path, tmp_path, **sections)
    assert list(table["HYPER_ID"]) == [1, 2, 3, 4]
    np.testing.assert_allclose(table["RA"], lon, atol=2e-4)
    np.testing.assert_allclose(table["FWHM_1"], 20.0, rtol=1e-3)
    np.testing.assert_allclose(table["PA"], 35.0, atol=0.1)
    assert all(flags & Flag.FORCED for flags in table["FLAGS"])

    given = Table({"ID": [1, 2, 3, 4], "RA": lon, "DEC": lat, "FWHM_1": [20.0] * 4})
    given["FWHM_2"], given["PA"] = 12.0, 35.0
    given.write(tmp_path / "source_table.txt", format="ascii.ipac")
    _, from_table = do(path, tmp_path, detection={"use_fixed_source_table": True})
    np.testing.assert_allclose(from_table["FLUX"], table["FLUX"], rtol=1e-6)


def test_given_apertures_at_detected_positions(tmp_path):
    photometry = {"fixed_radius": True, "fwhm_1": [16.0], "fwhm_2": [16.0], "PA_val": [0.0]}
    _, table = do(write_map(tmp_path / "m.fits"), tmp_path, photometry=photometry)
    assert len(table) == 3
    np.testing.assert_allclose(table["FWHM_1"], 16.0, rtol=1e-3)


def broken_maps(directory):
    directory.mkdir()
    write_map(directory / "cut.fits")
    whole = (directory / "cut.fits").read_bytes()
    (directory / "cut.fits").write_bytes(whole[: len(whole) // 2])
    (directory / "text.fits").write_text("this is not FITS")
    (directory / "empty.fits").write_text("")
    fits.PrimaryHDU(np.ones((20, 20))).writeto(directory / "nowcs.fits")
    write_map(directory / "nounit.fits", BUNIT="bananas")
    write_map(directory / "blank.fits", noise=np.nan)
    write_map(directory / "good.fits")


def test_maps_that_cannot_be_used_are_one_line_each_and_the_others_complete(tmp_path):
    broken_maps(tmp_path / "maps")
    result = runner.run(make_config(tmp_path / "out"), [tmp_path / "maps"])
    assert result.exit_code == 1
    reasons = {one.name: one.reason for one in result.failures}
    assert sorted(reasons) == ["blank", "cut", "empty", "nounit", "nowcs", "text"]
    for name, reason in reasons.items():
        assert name in reason
        assert "\n" not in reason
        assert "unexpected" not in reason
    assert "bananas" in reasons["nounit"]
    assert [name for name in files_below(tmp_path / "out/params") if "good" in name]
    assert len(read_table(tmp_path / "out/params/params_ALL.ecsv")) == 3


def test_a_missing_fixed_table_is_told_before_anything_runs(tmp_path):
    write_map(tmp_path / "m.fits")
    config = make_config(tmp_path / "out", detection={"use_fixed_source_table": True})
    with pytest.raises(ConfigurationError, match=r"table_path: .*source_table.txt: no such file"):
        runner.run(config, [tmp_path / "m.fits"])
    assert not (tmp_path / "out").exists()


def test_given_sizes_follow_the_beam_of_the_map(tmp_path):
    lon, lat = make_wcs().wcs_pix2world(PLACES, 0).T
    table = Table({"ID": [1, 2, 3], "RA": lon, "DEC": lat, "FWHM_1": [20.0] * 3, "FWHM_2": [20.0] * 3})
    table["PA"] = 0.0
    table.write(tmp_path / "t.ecsv")
    detection = {"use_fixed_source_table": True, "fixed_source_table_path": str(tmp_path / "t.ecsv")}
    path = write_map(tmp_path / "m.fits")
    _, as_given = do(path, tmp_path, detection=detection)
    np.testing.assert_allclose(as_given["FWHM_1"], 20.0, rtol=1e-4)
    _, adapted = do(path, tmp_path, detection=detection | {"fixed_source_beam": 18.0})
    np.testing.assert_allclose(adapted["FWHM_1"], np.sqrt(20**2 - 18**2 + (3600 * BEAM) ** 2), rtol=1e-4)


def test_error_mask_primary_beam_and_psf_come_from_files_beside_the_configuration(tmp_path):
    path = write_map(tmp_path / "m.fits")
    y, x = np.mgrid[:70, :64]
    header = make_wcs().to_header()
    for name, data in {
        "error": np.full(x.shape, 0.02),
        "mask": (x > 50).astype(float),
        "response": np.full(x.shape, 0.5),
        "psf": np.exp(-0.5 * ((x - 32) ** 2 + (y - 32) ** 2) / SIGMA**2),
    }.items():
        fits.PrimaryHDU(data, header).writeto(tmp_path / f"{name}.fits")
    config = Config.from_mapping(
        {
            "version": 2,
            "units": {"frequency": 3e11},
            "survey": {"psf": "psf.fits", "psf_pixel": 2.0},
            "io": {
                "error_hdu": "error.fits",
                "mask": "mask.fits",
                "primary_beam": "response.fits",
                "primary_beam_corrected": False,
            },
        },
        base_dir=tmp_path,
    )
    image = read_image(path, **reading_options(config))
    plain = read_image(path)
    np.testing.assert_allclose(image.data[:, :51], 2.0 * plain.data[:, :51], rtol=1e-3)
    assert np.isnan(image.data[:, 51:]).all()
    np.testing.assert_allclose(image.error[:, :51] * plain.beam_area_pix, 0.04, rtol=1e-3)
    assert image.beam.source == "PSF image psf.fits"
    assert image.beam.fwhm == pytest.approx(plain.beam.fwhm, rel=1e-3)
    assert image.meta["frequency"] == 3e11


def test_calibration_errors_stand_in_their_own_column(tmp_path):
    path = write_map(tmp_path / "m.fits")
    _, plain = do(path, tmp_path)
    assert "FLUX_CAL_ERR" not in plain.colnames
    _, table = do(path, tmp_path, survey={"calibration_error": 0.07})
    np.testing.assert_array_equal(table["FLUX_ERR"], plain["FLUX_ERR"])
    np.testing.assert_allclose(table["FLUX_CAL_ERR"], 0.07 * np.abs(plain["FLUX"]), rtol=1e-3)
    assert table["FLUX_CAL_ERR"].unit == table["FLUX"].unit


def test_a_table_of_given_sources_comes_back_with_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [write_map(tmp_path / f"{name}.fits", seed=k) for k, name in enumerate("ab")]
    lon, lat = make_wcs().wcs_pix2world(np.vstack([PLACES, [[300.0, 20.0]]]), 0).T
    names = {
        "one.tsv": ["n1", "the second", "n3", "beside"],
        "two.dat": ["m1", "m2", "m3", "a much longer name"],
    }
    for name, ids in names.items():
        table = Table({"Name": ids, "ra": lon, "dec": lat})
        table.write(tmp_path / name, format="ascii.tab" if name.endswith("tsv") else "ascii")
    given = {
        name: {"detection": {"use_fixed_source_table": True, "fixed_source_table_path": path}}
        for name, path in zip("ab", names, strict=True)
    }
    config = make_config(tmp_path / "out", maps=given, outputs={"tables": ["ipac", "ecsv", "fits"]})
    done = runner.run(config, paths)
    assert not done.failures
    for form in ("txt", "ecsv", "fits"):
        table = read_table(tmp_path / f"out/params/params_ALL.{form}")
        assert list(table["ID"]) == [*names["one.tsv"], *names["two.dat"]]
        assert list(table["HYPER_ID"]) == [1, 2, 3, 4] * 2
        assert np.isnan(table["FLUX"][[3, 7]]).all()
        np.testing.assert_allclose(table["FLUX_PEAK"][[0, 1, 2, 4, 5, 6]], 1000.0, rtol=0.15)
    log = (tmp_path / "out/logs").read_text() if (tmp_path / "out/logs").is_file() else ""
    log = log or "".join(path.read_text() for path in (tmp_path / "out/logs").iterdir())
    assert "one.tsv says no unit of some columns: RA and DEC taken to be in deg" in log
    assert "1 of 4 (HYPER_ID 4) given sources are not on the map" in log


def test_each_map_of_a_run_may_have_its_own_keys(tmp_path):
    paths = [write_map(tmp_path / f"{name}.fits", seed=k) for k, name in enumerate("ab")]
    sections = {"maps": {"b": {"units": {"bunit": "mJy/beam"}}}}
    config = make_config(tmp_path / "out", **sections)
    assert not runner.run(config, paths).failures
    table = read_table(tmp_path / "out/params/params_ALL.ecsv")
    flux = {name: np.median(table["FLUX_PEAK"][table["MAP_ID"] == name]) for name in "ab"}
    assert flux["a"] / flux["b"] == pytest.approx(1000.0, rel=0.2)
    (tmp_path / "Maps").mkdir()
    (tmp_path / "Maps" / "maps_list.txt").write_text("../a.fits\n")
    config = make_config(
        tmp_path / "out",
        paths={"input": {"dir_maps": str(tmp_path / "Maps")}, "output": {"dir_root": str(tmp_path / "out")}},
        **sections,
    )
    with pytest.raises(ConfigurationError, match=r"maps\.b: there is no such map; the maps are a"):
        runner.run(config)
