"""A map read and worked on in tiles gives the catalogue of a map that is in memory at once."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers.catalogues import assert_same, assert_same_bytes
from hyper_py.cli import app
from hyper_py.detection import field
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import workers
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.why import explain
from hyper_py.reading.io import read_image
from hyper_py.reporting import report_data
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation

SHAPE = (260, 330)


@pytest.fixture(scope="module")
def path(tmp_path_factory, random_seed):
    simulation = simulate_image(
        "deep", seed=random_seed, shape=SHAPE, n_sources=60,
        noise_variation=3.0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tiles") / "map.fits"
    write_simulation(path, simulation)
    with fits.open(path, mode="update") as file:
        file[0].data[40:70, 90:150] = np.nan
    return path


@pytest.fixture(scope="module")
def whole(path):
    return extract_sources(read_image(path), options=Options(tile_size_pix=0)).catalog


@pytest.fixture(scope="module")
def large_path(tmp_path_factory):
    """Larger than the largest tiles: pairs and single sources, blanks at a corner, inside and at an edge."""
    path = tmp_path_factory.mktemp("large") / "map.fits"
    write_simulation(
        path, simulate_image("crowded", seed=31, shape=(1600, 1700), n_sources=900, noise_variation=3.0)
    )
    rng = np.random.default_rng(31)
    with fits.open(path, mode="update") as file:
        data = file[0].data
        data[:120, :90] = data[600:700, 480:560] = data[1510:, 700:] = np.nan
        data[rng.integers(0, 1600, 40), rng.integers(0, 1700, 40)] = np.nan
    return path


@pytest.fixture(scope="module")
def large_whole(large_path):
    return extract_sources(read_image(large_path), options=Options(tile_size_pix=0)).catalog


@pytest.mark.slow
@pytest.mark.parametrize(("size", "streamed"), [(256, False), (512, True), (1000, False), (1000, True)])
def test_a_map_larger_than_its_tiles_gives_the_same_catalogue(large_path, large_whole, size, streamed):
    image = read_image(large_path, max_memory=1e6 if streamed else None)
    catalog = extract_sources(image, options=Options(tile_size_pix=size)).catalog
    assert len(catalog) > 500
    assert_same(catalog, large_whole)


def assert_same_noise(one, other):
    """Autocovariance, spectrum and profiles in two files are the same, and so is what is said of them."""
    with fits.open(one) as pieces, fits.open(other) as whole:
        for part, expected in zip(pieces, whole, strict=True):
            assert part.header == expected.header
            names = part.columns.names if isinstance(part, fits.BinTableHDU) else [None]
            for name in names:
                a, b = (hdu.data if name is None else hdu.data[name] for hdu in (part, expected))
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9 * np.abs(b).max(), err_msg=name or "")


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(size=st.one_of(st.none(), st.integers(32, 400)), streamed=st.booleans())
def test_the_catalogue_does_not_depend_on_tiles(path, whole, size, streamed):
    image = read_image(path, max_memory=1e6 if streamed else None)
    assert image.is_whole is not streamed
    assert_same(extract_sources(image, options=Options(tile_size_pix=size)).catalog, whole)


@pytest.mark.parametrize(("streamed", "noise_model"), [(True, "correlated"), (False, "white")])
def test_any_number_of_workers_gives_the_same_bytes(path, monkeypatch, streamed, noise_model):
    monkeypatch.setattr(field, "_MOST_KEPT", 1)  # small maps are searched in one process otherwise
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    image = read_image(path, max_memory=1e6 if streamed else None)
    options = Options(tile_size_pix=170, fit_options=FitOptions(noise_model=noise_model))
    tables = []
    for n in (1, 3):
        with workers(n):
            tables.append(extract_sources(image, options=options).catalog)
    assert_same_bytes(*tables)


@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_pixels_are_those_of_a_map_read_at_once(path, tmp_path, dtype):
    with fits.open(path) as file:
        header, data = file[0].header, file[0].data
    if dtype == "int16":
        scale = np.nanmax(np.abs(data)) / 30000
        raw = np.where(np.isfinite(data), data / scale, -32768).astype(np.int16)
        header.update({"BSCALE": scale, "BZERO": 0.5 * scale, "BLANK": -32768})
        fits.PrimaryHDU(raw, header, do_not_scale_image_data=True).writeto(tmp_path / "m.fits")
    else:
        fits.PrimaryHDU(data.astype(dtype)[None], header).writeto(tmp_path / "m.fits")
    whole, streamed = (read_image(tmp_path / "m.fits", max_memory=m).data for m in (None, 1e6))
    np.testing.assert_allclose(streamed[:, :], whole, rtol=1e-12)
    np.testing.assert_allclose(streamed[17:60, 200:], whole[17:60, 200:], rtol=1e-12)
    y, x = np.array([3, 250, 3]), np.array([1, 329, 0])
    np.testing.assert_allclose(streamed.at(y, x), whole[y, x], rtol=1e-12)


def test_masks_are_read_in_pieces_too(path, tmp_path):
    mask = np.zeros(SHAPE, dtype=np.float32)
    mask[100:140, 30:90], mask[5, 7] = 1.0, np.nan
    file, packed = tmp_path / "mask.fits", tmp_path / "packed.fits"
    fits.writeto(file, mask)
    fits.CompImageHDU(mask).writeto(packed)
    whole = read_image(path, mask=file)
    assert np.isnan(whole.data[[110, 5], [50, 7]]).all()
    for mask_given in (file, mask != 0):
        pieces = read_image(path, mask=mask_given, max_memory=1e6)
        assert not pieces.is_whole
        np.testing.assert_allclose(pieces.data[:, :], whole.data, rtol=1e-12)
        np.testing.assert_allclose(pieces.data[90:101, 20:40], whole.data[90:101, 20:40], rtol=1e-12)
    options = Options(tile_size_pix=100)
    assert_same(extract_sources(pieces, options=options).catalog, extract_sources(whole).catalog)
    with pytest.raises(InputError, match=r"control\.max_memory.*unpack io\.mask"):
        read_image(path, mask=packed, max_memory=1e6)


def beside(path, directory, kind):
    """Write what is known of the noise beside a map; return it as arguments of `read_image`."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    response = np.exp(-0.5 * (np.hypot(y - 120.0, x - 150.0) / 150.0) ** 2)
    with fits.open(path) as file:
        header, data = file[0].header, file[0].data
    if kind == "error":  # the map is loud where the response is low
        error = np.nanstd(data) / response
        error[200:210, 10:60] = 0.0  # no error, no pixel
        fits.writeto(directory / "error.fits", error.astype(np.float32), header)
        return {"error_hdu": directory / "error.fits"}
    response[response < 0.3] = np.nan
    fits.writeto(directory / "response.fits", response.astype(np.float32), header)
    return {"primary_beam": directory / "response.fits", "primary_beam_corrected": kind == "corrected"}


@pytest.mark.parametrize("kind", ["error", "corrected", "not corrected"])
def test_errors_and_primary_beams_are_read_in_pieces_too(path, tmp_path, kind):
    given = beside(path, tmp_path, kind)
    whole, pieces = (read_image(path, max_memory=m, **given) for m in (None, 1e6))
    assert whole.is_whole
    assert not pieces.is_whole
    names = ["data", "error", "flattened"] if kind == "error" else ["data", "primary_beam", "flat_noise"]
    for name in (*names, "relative_rms"):
        expected, lazy = getattr(whole, name), getattr(pieces, name)
        assert isinstance(expected, np.ndarray)
        assert not isinstance(lazy, np.ndarray)
        np.testing.assert_allclose(lazy[:, :], expected, rtol=1e-12)
        np.testing.assert_allclose(lazy[190:220, 5:80], expected[190:220, 5:80], rtol=1e-12)
    assert [note for note in whole.meta["notes"] if "no error" in note] == [
        note for note in pieces.meta["notes"] if "no error" in note
    ]
    assert any("no error above zero" in note for note in pieces.meta["notes"]) == (kind == "error")
    one, other = (extract_sources(image, options=Options(tile_size_pix=120)) for image in (pieces, whole))
    assert_same(one.catalog, other.catalog)
    np.testing.assert_allclose(one.planes()["rms"][:, :], other.rms_image(), rtol=1e-12)
    assert one.noise.typical == other.noise.typical


@pytest.mark.parametrize("kind", ["none", "error"])
def test_the_page_of_a_map_in_pieces_is_that_of_a_map_at_once(path, tmp_path, kind, monkeypatch):
    """Overview, cutouts, noise and counts; the map is shown binned, as a large one is."""
    monkeypatch.setattr(report_data, "MAX_PIXELS", 20_000)
    given = beside(path, tmp_path, kind) if kind == "error" else {}
    options = Options(tile_size_pix=120)
    pages = []
    for limit in (None, 1e6):
        image = read_image(path, max_memory=limit, **given)
        pages.append(report_data.make_report_data(extract_sources(image, options=options)))
    whole, pieces = pages
    assert whole.facts["binning"] > 1
    assert ("rms" in whole.facts["layers"]) == (kind == "error")
    assert whole.facts.keys() == pieces.facts.keys()
    for name, layer in whole.facts["layers"].items():
        assert pieces.facts["layers"][name]["shape"] == layer["shape"]
        one, other = (
            page.facts["layers"][name]["offset"]
            + page.facts["layers"][name]["step"] * np.where(codes > 0, codes.astype(float), np.nan)
            for page in pages
            for codes in [report_data.unpack_codes(page.blobs[name], tuple(layer["shape"]))]
        )
        np.testing.assert_allclose(one, other, atol=1.001 * layer["step"], rtol=0)
        assert np.isfinite(one).any()
    assert whole.facts["pixels"] == pieces.facts["pixels"]
    for name, value in whole.facts["noise"].items():
        expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-9)
        assert pieces.facts["noise"][name] == expected
    for name in ("blank_share", "n_beams", "shape", "beam", "columns"):
        assert whole.facts[name] == pieces.facts[name]
    assert whole.facts["blank_share"] > 0.02


@pytest.mark.parametrize("kind", ["local", "local and error", "white"])
def test_other_noise_is_measured_in_pieces_too(path, tmp_path, kind):
    """Of a mesh, with errors beside it, and white."""
    given = beside(path, tmp_path, "error") if "error" in kind else {}
    options = Options(
        tile_size_pix=120, detection=DetectionOptions(rms_map="local" if "local" in kind else "global"),
        fit_options=FitOptions(noise_model="white" if kind == "white" else "correlated"),
    )  # fmt: skip
    whole, pieces = (
        extract_sources(read_image(path, max_memory=m, **given), options=options) for m in (None, 1e6)
    )
    assert not pieces.image.is_whole
    assert_same(pieces.catalog, whole.catalog)
    np.testing.assert_allclose(pieces.planes()["rms"][:, :], whole.rms_image(), rtol=1e-12)


def test_given_positions_are_measured_in_pieces_as_at_once(path, whole):
    rows = whole[:15]
    for sizes in (
        {},
        {"fwhm_1": rows["FWHM_1"].value, "fwhm_2": rows["FWHM_2"].value, "pa": rows["PA"].value},
    ):
        fixed = FixedSources(longitude=rows["RA"].value, latitude=rows["DEC"].value, frame="icrs", **sizes)
        one, other = (
            extract_sources(read_image(path, max_memory=m), fixed=fixed).catalog for m in (1e6, None)
        )
        assert_same(one, other)


def test_what_needs_the_whole_map_says_so(path, tmp_path):
    image = read_image(path, max_memory=1e6)
    options = Options(background=BackgroundOptions(method="polynomial", fix_min_box=0.0))
    with pytest.raises(ConfigurationError, match=r"background\.fix_min_box = 0 .*control\.max_memory"):
        extract_sources(image, options=options)
    error = tmp_path / "error.fits"
    fits.CompImageHDU(np.ones(SHAPE), fits.getheader(path)).writeto(error)
    for key in ("error_hdu", "primary_beam"):
        with pytest.raises(InputError, match=rf"control\.max_memory.*unpack io\.{key}"):
            read_image(path, max_memory=1e6, **{key: error}, primary_beam_corrected=True)
    fits.CompImageHDU(fits.getdata(path), fits.getheader(path)).writeto(tmp_path / "packed.fits")
    with pytest.raises(InputError, match="unpack"):
        read_image(tmp_path / "packed.fits", max_memory=1e6)


@pytest.mark.parametrize("method", ["matched", "highpass"])
def test_why_says_of_a_map_in_pieces_what_it_says_of_a_map_at_once(path, whole, method):
    row, detection = whole[len(whole) // 2], DetectionOptions(method=method)
    options = Options(detection=detection, tile_size_pix=120)
    places = [(row["X"].value, row["Y"].value), (120.0, 55.0), (200.0, 131.0), (0.0, 0.0)]
    for x, y in places:  # a source, a blank, anything, the corner
        maps = [read_image(path, max_memory=m) for m in (None, 1e6)]
        told = [list(explain(image, x, y, options=options).lines()) for image in maps]
        assert told[0] == told[1]
        assert len(told[0]) > 3
    changes = ["--set", "control.max_memory=0.01", "--set", f"detection.method={method}"]
    result = CliRunner().invoke(app, ["why", str(path), "120", "55", *changes])
    assert result.exit_code == 0
    assert "the pixel is blank" in result.output


def test_outputs_of_a_map_in_pieces_are_those_of_a_map_at_once(path, tmp_path):
    """The command line, with FITS images and figures; what is left out is said in one line."""
    common = ["run", str(path), "--jobs", "1"]
    for key in ("fits_output.fits_fitting", "fits_output.fits_bg_separate", "fits_output.fits_noise",
                "visualization.visualize_noise"):  # fmt: skip
        common += ["--set", f"{key}=true"]
    runner = CliRunner()
    for name, limit in (("whole", "4"), ("pieces", "0.01")):
        options = ["-o", str(tmp_path / name), "--set", f"control.max_memory={limit}"]
        result = runner.invoke(app, [*common, *options])
        assert result.exit_code == 0, result.output
    assert "read in pieces (control.max_memory)" in " ".join(result.output.split())
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert (pieces / "plots/map_map.svg").stat().st_size > 1000
    images = ("fitting/map_model", "fitting/map_residual", "fitting/map_rms", "bg_separate/map_background")
    for what in images:
        files = [root / f"fits/{what}.fits" for root in (pieces, whole)]
        one, other = (fits.getdata(file) for file in files)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.nanmax(np.abs(other)))
        cards = [{k: v for k, v in fits.getheader(file).items() if k != "EXTEND"} for file in files]
        assert cards[0] == cards[1]
    assert_same_noise(*(next(root.rglob("*noise*.fits")) for root in (pieces, whole)))
    assert next(pieces.rglob("*noise*.png")).stat().st_size > 1000
    tables = [Table.read(root / "params/params_map.ecsv") for root in (pieces, whole)]
    assert_same(*tables)
