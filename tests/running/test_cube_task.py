import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from hyper_py.config import Config
from hyper_py.reading.io import open_cube
from hyper_py.reporting import spectra, spectra_figure
from hyper_py.running.channel_task import channel_names, spectral_column
from hyper_py.running.cube_task import unpacked
from hyper_py.running.runner import run
from hyper_py.simulation.simulate import simulate_cube
from hyper_py.writing import plane_files
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import remove_stale

N, SHAPE = 4, (72, 80)
BLANK = 2


@pytest.fixture(scope="module")
def simulated():
    return simulate_cube(
        "cube", seed=21, n_channels=N, shape=SHAPE, n_sources=3, peak_range=(30.0, 60.0),
        line_fwhm=(6.0, 8.0), crowded_fraction=0.0, margin=4.0,
    )  # fmt: skip


def planes_of(simulated):
    data = np.stack([one.image.data / one.image.jy_per_pixel for one in simulated])
    data[BLANK] = np.nan
    return data


def write(path, data, header, beams=()):
    full = fits.Header()
    for key, value in header.items():
        full[key] = value
    hdus = [fits.PrimaryHDU(data, header=full)]
    if beams:
        with fits.open(plane_file(path, beams), memmap=False) as made:
            hdus.append(made["BEAMS"].copy())
        for key in ("BMAJ", "BMIN", "BPA"):
            del hdus[0].header[key]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def plane_file(path, beams):
    other = path.with_suffix(".beams")
    plane_files.PlaneFile.create(other, shape=(N, 1, 1), dtype="float32", header=fits.Header(), beams=beams)
    return other


@pytest.fixture(scope="module")
def cube_path(tmp_path_factory, simulated):
    path = tmp_path_factory.mktemp("cube") / "sky.fits"
    return write(path, planes_of(simulated).astype(np.float32), simulated.header())


def do(out, *paths, on_event=None, resume=False, cores=1, **sections):
    sections.setdefault("cube", {})
    mapping = {
        "version": 2,
        "paths": {"output": {"dir_root": str(out)}},
        "control": {"parallel_maps": cores > 1, "n_cores": cores},
        "outputs": {"tables": ["ecsv"], "report": False},
        "fit_options": {"noise_model": "white"},
    } | sections
    config = Config.from_mapping(mapping)
    return run(config, list(map(str, paths)), on_event=on_event, resume=resume)


def made(out):
    """Bytes of every product whose data must not depend on how it came about."""
    files = [*out.glob("maps/*"), *out.glob("params/*"), *out.glob("regions/*"), *out.glob("plots/*")]
    return {path.name: path.read_bytes() for path in files}


ALL_CUBES = {"outputs": ["background", "model", "residual", "subtracted"], "slices": True}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cube_path):
    out = tmp_path_factory.mktemp("whole")
    result = do(out, cube_path, cube={**ALL_CUBES, "region": [10, 12, 60, 50]})
    assert result.exit_code == 0, result.failures
    return out


def test_tables_regions_and_logs_of_every_channel(whole, simulated):
    everything = Table.read(whole / "params" / "params_sky_ALL.ecsv")
    rows = 0
    for k, name in enumerate(channel_names("sky", N)):
        table = Table.read(whole / "params" / f"params_{name}.ecsv")
        assert list(table["MAP_ID"]) == [name] * len(table)
        assert list(table["CHANNEL"]) == [k + 1] * len(table)
        assert table["FREQUENCY"].unit == "Hz"
        np.testing.assert_array_equal(table["FREQUENCY"], simulated.frequency + k * simulated.channel_width)
        assert (whole / "regions" / f"region_files_{name}_ellipses.reg").is_file()
        assert "done in" in (whole / "logs" / f"Hyper_log_{name}.log").read_text()
        rows += len(table)
    assert rows == len(everything) > N
    assert len(Table.read(whole / "params" / "params_sky_slice_003.ecsv")) == 0
    assert len(Table.read(whole / "params" / "params_ALL.ecsv")) == rows


def test_cubes_have_unit_shape_type_and_coordinates(whole, cube_path):
    source = fits.getheader(cube_path)
    data = fits.getdata(cube_path).astype(float)
    cubes = {}
    for kind in ("background_cube_fullsize", "model_cube", "residual_cube", "subtracted_cube"):
        path = whole / "maps" / f"sky_{kind}.fits"
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert hdus[0].data.dtype == np.dtype(">f4")
            assert hdus[0].header["BUNIT"] == "Jy/beam"
            assert hdus[0].header["BMAJ"] == pytest.approx(source["BMAJ"])
            pixel = [[3.0, 4.0, 2.0]]
            np.testing.assert_allclose(
                WCS(hdus[0].header).wcs_pix2world(pixel, 0), WCS(source).wcs_pix2world(pixel, 0), rtol=1e-12
            )
            cubes[kind] = hdus[0].data.astype(float)
        assert np.isnan(cubes[kind][BLANK]).all()
    background = cubes["background_cube_fullsize"]
    known = np.isfinite(background)
    np.testing.assert_array_equal(known, np.isfinite(data))
    total = background + cubes["model_cube"] + cubes["residual_cube"]
    np.testing.assert_allclose(total[known], data[known], atol=1e-6 * np.nanmax(data))
    np.testing.assert_allclose(
        (cubes["subtracted_cube"] + background)[known], data[known], atol=1e-6 * np.nanmax(data)
    )


def test_background_cut_to_the_region(whole):
    full, header = fits.getdata(whole / "maps" / "sky_background_cube_fullsize.fits", header=True)
    cut, small = fits.getdata(whole / "maps" / "sky_background_cube_cut.fits", header=True)
    assert cut.shape == (N, 39, 51)
    np.testing.assert_array_equal(cut, full[:, 12:51, 10:61])
    np.testing.assert_allclose(
        WCS(header).wcs_pix2world([[15, 20, 1]], 0), WCS(small).wcs_pix2world([[5, 8, 1]], 0), rtol=1e-13
    )


def test_outside_of_a_round_region_all_is_blank(tmp_path, cube_path):
    result = do(tmp_path, cube_path, cube={"region": "image; circle(40, 36, 12)", "extent": "plane"})
    assert result.exit_code == 0
    cut = fits.getdata(tmp_path / "maps" / "sky_background_cube_cut.fits")
    full = fits.getdata(tmp_path / "maps" / "sky_background_cube_fullsize.fits")
    assert np.isfinite(full[0]).all()
    assert cut.shape[1:] == (23, 23)
    assert np.isnan(cut[0, 0, 0])
    assert np.isfinite(cut[0, 11, 11])
    assert not list((tmp_path / "maps").glob("*slice*"))


def test_slices_are_maps(whole, cube_path):
    for k, name in enumerate(channel_names("sky", N)):
        values, header = fits.getdata(whole / "maps" / f"{name}.fits", header=True)
        np.testing.assert_allclose(values, fits.getdata(cube_path)[k], rtol=1e-6)
        assert header["BUNIT"] == "Jy/beam"


@pytest.mark.parametrize("form", ["gzip", "stokes", "integers", "float64", "compressed"])
def test_however_the_cube_is_stored(tmp_path, whole, simulated, cube_path, form):
    data, header = fits.getdata(cube_path), dict(simulated.header())
    path = tmp_path / "sky.fits"
    if form == "gzip":
        path = tmp_path / "sky.fits.gz"
        path.write_bytes(gzip.compress(cube_path.read_bytes()))
    elif form == "stokes":
        header |= {"WCSAXES": 4, "CTYPE4": "STOKES", "CRVAL4": 1.0, "CRPIX4": 1.0, "CDELT4": 1.0}
        write(path, data[None], header)
    elif form == "integers":
        step = np.nanmax(np.abs(data)) / 30000.0
        counts = np.where(np.isfinite(data), np.rint(np.nan_to_num(data) / step), -32768).astype(np.int16)
        write(path, counts, header)
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            hdus[0].header["BSCALE"], hdus[0].header["BZERO"], hdus[0].header["BLANK"] = step, 0.0, -32768
    elif form == "float64":
        write(path, data.astype(float), header)
    else:
        full = fits.Header(header)
        packed = fits.CompImageHDU(data, header=full, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    result = do(tmp_path / "out", path)
    assert result.exit_code == 0, result.failures
    found = fits.getdata(tmp_path / "out" / "maps" / "sky_background_cube_fullsize.fits")
    expected = fits.getdata(whole / "maps" / "sky_background_cube_fullsize.fits")
    assert found.dtype == (">f8" if form == "float64" else ">f4")
    rough = 0.02 if form == "integers" else 1e-6
    np.testing.assert_allclose(found, expected, atol=rough * np.nanmax(expected))


def test_a_beam_for_each_channel(tmp_path, simulated):
    one = simulated.channel(0).image.beam
    beams = [replace(one, major=one.major * (1.0 + 0.1 * k)) for k in range(N)]
    path = write(tmp_path / "sky.fits", planes_of(simulated).astype(np.float32), simulated.header(), beams)
    out = tmp_path / "out"
    assert do(out, path, cube={"positions": "channel", "channel": 1}).exit_code == 0
    with fits.open(out / "maps" / "sky_background_cube_fullsize.fits") as hdus:
        np.testing.assert_allclose(hdus["BEAMS"].data["BMAJ"], [beam.major for beam in beams], rtol=1e-6)
    first, last = (Table.read(out / "params" / f"params_sky_slice_00{k}.ecsv") for k in (1, N))
    assert last.meta["beam_major_arcsec"] == pytest.approx(beams[-1].major, rel=1e-5)
    assert (last["FWHM_GEOM"] > first["FWHM_GEOM"]).all()


def test_kelvin_with_rest_frequency(tmp_path, simulated):
    header = dict(simulated.header()) | {
        "BUNIT": "K", "CTYPE3": "VRAD", "CUNIT3": "km/s", "CRVAL3": 12.0, "CDELT3": 0.5,
        "RESTFRQ": 115.271e9,
    }  # fmt: skip
    factor = 1e5
    path = write(tmp_path / "sky.fits", (factor * planes_of(simulated)).astype(np.float32), header)
    out = tmp_path / "out"
    assert do(out, path).exit_code == 0
    background, made_header = fits.getdata(out / "maps" / "sky_background_cube_fullsize.fits", header=True)
    assert made_header["BUNIT"] == "K"
    level = factor * np.mean([one.background.mean() / one.image.jy_per_pixel for one in simulated])
    assert np.nanmedian(background) == pytest.approx(level, rel=0.5)
    table = Table.read(out / "params" / "params_sky_ALL.ecsv")
    assert table["VELOCITY"].unit == "km / s"
    np.testing.assert_allclose(table["VELOCITY"], 12.0 + 0.5 * (table["CHANNEL"] - 1))


@pytest.fixture(scope="module")
def listed(tmp_path_factory, cube_path):
    out = tmp_path_factory.mktemp("listed")
    assert do(out, cube_path, cube={"positions": "moment0"}).exit_code == 0
    return out


def test_spectra_of_one_list(listed, simulated):
    reference = Table.read(listed / "params" / "params_sky_reference.ecsv")
    table = Table.read(listed / "params" / "spectra_sky.ecsv")
    n = len(reference)
    assert n >= 2
    assert len(table) == n * (N - 1)
    assert list(table["HYPER_ID"]) == sorted(table["HYPER_ID"])
    assert table["FLUX"].unit == "mJy"
    for k in range(N):
        truth = simulated.channel(k).truth
        for row in table[table["CHANNEL"] == k + 1]:
            place = reference[reference["HYPER_ID"] == row["HYPER_ID"]][0]
            distance = np.hypot(truth["X"].value - place["X"], truth["Y"].value - place["Y"])
            if distance.size and distance.min() < 1.0:
                flux = truth["FLUX"].to_value("mJy")[distance.argmin()]
                assert abs(row["FLUX"] - flux) < 6.0 * row["FLUX_ERR"] + 0.1 * flux
    assert (listed / "plots" / "spectra_sky.png").read_bytes().startswith(b"\x89PNG")


def test_report_has_a_page_for_each_channel(tmp_path, cube_path):
    result = do(tmp_path, cube_path, outputs={"tables": ["ecsv"], "report": True}, cube={"outputs": []})
    assert result.exit_code == 0
    pages = {path.name for path in (tmp_path / "report").glob("*.html")}
    names = channel_names("sky", N)
    assert {"index.html", *(f"{name}.html" for name in (names[0], names[1], names[3]))} <= pages
    assert not list((tmp_path / "maps").glob("*"))


def test_figure_of_many_spectra(tmp_path):
    n = spectra_figure.MOST_PANELS + 5
    table = Table({"HYPER_ID": np.repeat(np.arange(1, n + 1), 3), "CHANNEL": np.tile([1, 2, 3], n)})
    table["FLUX"] = np.arange(3.0 * n)
    table["FLUX_ERR"] = np.nan
    spectra_figure.draw_spectra(table, tmp_path / "many.png", title="many")
    assert (tmp_path / "many.png").stat().st_size > 1000
    most = spectra_figure.MOST_PANELS
    assert (
        spectra_figure.which_sources(most, n) == f": the {most} of {n} sources with the largest sum of fluxes"
    )
    assert spectra_figure.which_sources(3, 3) == ""
    assert "FLUX" in spectra.COLUMNS


def test_given_positions_are_measured_in_all_channels(tmp_path, cube_path):
    place = WCS(fits.getheader(cube_path)).celestial.wcs_pix2world([[40.0, 36.0], [20.0, 50.0]], 0)
    detection = {"fixed_peaks": True, "xcen_fix": place[:, 0].tolist(), "ycen_fix": place[:, 1].tolist()}
    assert do(tmp_path, cube_path, detection=detection, cube={"positions": "fixed"}).exit_code == 0
    assert len(Table.read(tmp_path / "params" / "spectra_sky.ecsv")) == 2 * (N - 1)


SMOOTH = {"cube": {"outputs": ["background", "residual", "subtracted"], "extent": "plane"},
          "background": {"spectral_smoothing": 3.0}}  # fmt: skip


def test_spectral_smoothing(tmp_path, cube_path, simulated):
    assert do(tmp_path / "one", cube_path, **SMOOTH).exit_code == 0
    raw = {**SMOOTH, "background": {"spectral_smoothing": 0.0}}
    assert do(tmp_path / "two", cube_path, **raw).exit_code == 0
    names = ("background_cube_fullsize", "subtracted_cube", "residual_cube")
    one, two = (
        {name: fits.getdata(tmp_path / place / "maps" / f"sky_{name}.fits").astype(float) for name in names}
        for place in ("one", "two")
    )
    change = one["background_cube_fullsize"] - two["background_cube_fullsize"]
    assert np.nanstd(change) > 0.0
    for name in names[1:]:
        np.testing.assert_allclose(one[name], two[name] - change, atol=2e-6 * np.nanmax(one[names[0]]))
    truth = np.stack([channel.background / channel.image.jy_per_pixel for channel in simulated])
    errors = [np.nanstd((cubes["background_cube_fullsize"] - truth)[:2]) for cubes in (one, two)]
    assert errors[0] < errors[1]
    assert len(list((tmp_path / "one" / "maps").iterdir())) == 3


class InterruptAfter:
    """Ctrl-C after some channels."""

    def __init__(self, n, out):
        self.n, self.out, self.seen = n, out, []

    def __call__(self, event):
        if type(event).__name__ == "ChannelFinished":
            self.seen.append(event.result.name)
            if len(self.seen) == self.n:
                raise KeyboardInterrupt


@pytest.mark.parametrize("sections", [{"cube": ALL_CUBES}, SMOOTH], ids=["plain", "smoothed"])
def test_interrupted_and_resumed_gives_the_same_bytes(tmp_path, cube_path, sections):
    assert do(tmp_path / "whole", cube_path, **sections).exit_code == 0
    out = tmp_path / "out"
    first = InterruptAfter(2, out)
    assert do(out, cube_path, on_event=first, **sections).interrupted
    growing = sorted((out / "maps").glob("*.partial.fits"))
    assert growing
    for path in growing:
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert np.isnan(hdus[0].data[2:]).all()
    second = InterruptAfter(99, out)
    assert do(out, cube_path, on_event=second, resume=True, **sections).exit_code == 0
    assert second.seen == channel_names("sky", N)[2:]
    assert made(out) == made(tmp_path / "whole")
    third = InterruptAfter(99, out)
    result = do(out, cube_path, on_event=third, resume=True, **sections)
    assert (result.maps[0].status, third.seen) == ("resumed", [])


def test_workers_give_the_same_bytes(tmp_path, cube_path, whole):
    result = do(tmp_path, cube_path, cores=2, cube={**ALL_CUBES, "region": [10, 12, 60, 50]})
    assert result.exit_code == 0
    assert made(tmp_path) == made(whole)


def test_maps_and_cubes_in_one_run(tmp_path, cube_path, simulated):
    header = {key: value for key, value in simulated.header().items() if "3" not in key}
    header["WCSAXES"] = 2
    path = write(tmp_path / "flat.fits", planes_of(simulated)[0].astype(np.float32), header)
    out = tmp_path / "out"
    result = do(out, cube_path, path)
    assert result.exit_code == 0
    assert [one.name for one in result.maps] == ["sky", "flat"]
    merged = Table.read(out / "params" / "params_ALL.ecsv")
    parts = [Table.read(out / "params" / f"params_{name}.ecsv") for name in ("sky_ALL", "flat")]
    assert len(merged) == sum(map(len, parts))
    assert "CHANNEL" not in merged.colnames
    assert list(merged["MAP_ID"])[-1] == "flat"


def test_a_map_declared_as_cube_is_one_of_one_channel(tmp_path, simulated):
    header = {key: value for key, value in simulated.header().items() if "3" not in key}
    header["WCSAXES"] = 2
    path = write(tmp_path / "flat.fits", planes_of(simulated)[0].astype(np.float32), header)
    result = do(tmp_path / "out", path, control={"datacube": True, "parallel_maps": False})
    assert result.exit_code == 0
    assert fits.getdata(tmp_path / "out" / "maps" / "flat_background_cube_fullsize.fits").shape == (1, *SHAPE)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"cube": {"positions": "fixed"}}, "cube.positions is fixed"),
        ({"cube": {"positions": "channel", "channel": 9}}, "cube.channel is 9, but there are 4"),
        ({"cube": {"region": [500, 500, 600, 600]}}, "holds no pixel"),
        ({"cube": {"positions": "moment0"}, "detection": {"sigma_thres": 1e6}}, "no source was found"),
    ],
)
def test_faults_are_one_line_and_leave_no_record(tmp_path, cube_path, sections, message):
    result = do(tmp_path, cube_path, **sections)
    assert result.exit_code == 1
    assert message in result.failures[0].reason
    assert "\n" not in result.failures[0].reason
    assert not (tmp_path / ".hyper_py" / "sky.json").exists()


def test_a_cube_that_is_cut_short(tmp_path, cube_path):
    path = tmp_path / "sky.fits"
    path.write_bytes(cube_path.read_bytes()[:-20000])
    result = do(tmp_path / "out", path)
    assert result.exit_code == 1
    assert "cut short" in result.failures[0].reason


def test_spectral_columns(cube_path):
    with open_cube(cube_path) as cube:
        assert spectral_column(cube, 1)[:3] == ("FREQUENCY", 230.501e9, "Hz")
        cube.spectral_unit = ""
        assert spectral_column(cube, 1) is None
    assert channel_names("a", 2) == ["a_slice_001", "a_slice_002"]
    assert channel_names("a", 1000)[0] == "a_slice_0001"


def test_a_gzipped_file_is_unpacked_while_it_is_used(tmp_path):
    plain, packed = tmp_path / "a.fits", tmp_path / "b.fits.gz"
    plain.write_bytes(b"pixels")
    packed.write_bytes(gzip.compress(b"pixels"))
    layout = Layout(root=tmp_path)
    (tmp_path / ".hyper_py").mkdir()
    with unpacked(plain, layout) as path:
        assert path == plain
    with unpacked(packed, layout) as path:
        assert path.read_bytes() == b"pixels"
        assert path.parent == tmp_path / ".hyper_py"
    assert not path.exists()
    with unpacked(packed, layout) as path:
        assert remove_stale(layout.staging_directories()) == 1, "a killed run leaves it to the next one"
