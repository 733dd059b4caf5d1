"""The high-pass detection, white noise and polynomial backgrounds on a map in pieces, as on one in memory."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from helpers.catalogues import assert_same, assert_same_bytes
from helpers.maps import ORIGINAL
from hyper_py.noise import measure
from hyper_py.numerics import parallel, tiles
from hyper_py.numerics.parallel import workers
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation

SHAPE = (290, 340)
HIGH_PASS, WHITE = DetectionOptions(method="highpass"), FitOptions(noise_model="white")
JOINT = BackgroundOptions(
    method="polynomial", fit_gauss_and_bg_separately=False, fit_gauss_and_bg_together=True,
    polynomial_orders=(0, 1, 2),
)  # fmt: skip
OPTIONS = {
    "highpass": Options(detection=HIGH_PASS),
    "highpass, white, polynomial": Options(
        detection=HIGH_PASS, fit_options=WHITE, background=BackgroundOptions(method="polynomial")
    ),
    "white, joint polynomial": Options(fit_options=WHITE, background=JOINT),
    "white, weights, local rms": Options(
        detection=replace(HIGH_PASS, rms_map="local"),
        fit_options=replace(WHITE, weights="snr"), background=BackgroundOptions(method="polynomial"),
    ),
    "polynomial": Options(background=BackgroundOptions(method="polynomial")),
    "polynomial, joint too": Options(
        background=replace(JOINT, fit_gauss_and_bg_separately=True, polynomial_orders=(0, 1))
    ),
    "white, none": Options(fit_options=WHITE, background=BackgroundOptions(method="none")),
    "none": Options(background=BackgroundOptions(method="none")),
    "original": replace(ORIGINAL, detection=HIGH_PASS),
}  # fmt: skip
WITH_ERRORS = ("highpass", "highpass, white, polynomial", "polynomial", "original")


@pytest.fixture(scope="module")
def path(tmp_path_factory, random_seed):
    """Sources of all kinds; blanks at a corner, an edge, inside, and single ones."""
    path = tmp_path_factory.mktemp("pieces") / "map.fits"
    write_simulation(
        path, simulate_image("deep", seed=random_seed, shape=SHAPE, n_sources=90, noise_variation=3.0)
    )
    rng = np.random.default_rng(random_seed)
    with fits.open(path, mode="update") as file:
        data = file[0].data
        data[:30, :25] = data[100:140, 95:160] = data[280:, 200:] = np.nan
        data[rng.integers(0, SHAPE[0], 20), rng.integers(0, SHAPE[1], 20)] = np.nan
        noise = np.nanstd(data) * np.exp(np.hypot(*(np.indices(SHAPE) - 150.0)) ** 2 / 45000.0)
        noise[200:210, 10:60] = 0.0  # no error, no pixel
        fits.writeto(path.with_name("error.fits"), noise.astype(np.float32), file[0].header)
    return path


def extracted(path, options, *, size, in_pieces, errors=False):
    given = {"error_hdu": path.with_name("error.fits")} if errors else {}
    image = read_image(path, max_memory=1e6 if in_pieces else None, **given)
    assert image.is_whole is not in_pieces
    return extract_sources(image, options=replace(options, tile_size_pix=size))


def cases(names):
    return pytest.mark.parametrize("options", [OPTIONS[name] for name in names], ids=names)


def assert_one_way(pieces, whole, options):
    """Byte for byte, but where regions are interpolated, and cells scaled, together with others."""
    if not options.policy.interpolate_neighbours and options.detection.rms_map == "global":
        assert_same_bytes(pieces.catalog, whole.catalog)
    assert_same(pieces.catalog, whole.catalog, rtol=1e-9)


@pytest.mark.parametrize("size", [97, 170])
@cases(OPTIONS)
def test_a_map_in_pieces_has_the_catalogue_of_one_in_memory(path, options, size):
    pieces, whole = (extracted(path, options, size=size, in_pieces=own) for own in (True, False))
    assert_one_way(pieces, whole, options)
    assert_same(pieces.catalog, extracted(path, options, size=0, in_pieces=False).catalog)


@cases(WITH_ERRORS)
def test_so_it_has_with_errors(path, options):
    pieces, whole = (extracted(path, options, size=120, in_pieces=own, errors=True) for own in (True, False))
    assert_one_way(pieces, whole, options)
    for name, plane in pieces.planes().items():
        expected = np.asarray(whole.planes()[name])
        assert np.isfinite(expected).any()
        np.testing.assert_allclose(np.asarray(plane), expected, rtol=1e-9, atol=1e-14 * np.nanmax(expected))
        part = slice(90, 160), slice(60, 200)
        np.testing.assert_array_equal(plane[part], np.asarray(plane)[part])


@pytest.mark.parametrize("size", [97, 170])
@cases(["highpass, white, polynomial"])
def test_in_white_noise_tiles_change_nothing_but_rounding(path, options, size):
    pieces, whole = (extracted(path, options, size=own, in_pieces=own == size).catalog for own in (size, 0))
    assert_same(pieces, whole, rtol=1e-9)


@cases(["highpass, white, polynomial", "white, joint polynomial", "original"])
def test_any_number_of_workers_gives_the_same_bytes(path, options, monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    tables = []
    for n in (1, 3):
        with workers(n):
            tables.append(extracted(path, options, size=120, in_pieces=True).catalog)
    assert_same_bytes(*tables)


@cases(["highpass, white, polynomial", "white, joint polynomial", "polynomial", "none", "original"])
def test_no_more_is_read_at_once_than_a_tile_and_its_halo(path, options, monkeypatch):
    """In the high-pass detection; kernels of the matched filter for wide sources are as large as this map."""
    monkeypatch.setattr(tiles, "_AUTOMATIC_SIZE", 60)
    options = replace(options, tile_size_pix=60, detection=HIGH_PASS)
    image, read, autocovariance = read_image(path, max_memory=1e6), [], measure.autocovariance

    def in_squares(*args, **settings):
        """Those of 1024 pixels are larger than this map."""
        n = len(read)
        found = autocovariance(*args, **settings)
        del read[n:]
        return found

    def make(rows, columns):
        read.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return plane[rows, columns]

    plane = image.data
    monkeypatch.setattr(measure, "autocovariance", in_squares)
    image = image.with_data(LazyPlane(image.shape, make))
    assert len(extract_sources(image, options=options).catalog) > 10
    assert max(read) < 0.5 * SHAPE[0] * SHAPE[1]
