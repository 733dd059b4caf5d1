"""Detection in a part of a map: the same sources as on the whole map, and no others."""

import numpy as np
import pytest
from astropy.wcs import WCS

import hyper_py
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.searched import peaks_inside

SHAPE, FWHM = (160, 200), 5.0


def field(rng, *, searched=None, extra=()):
    """White noise of 1 per beam area, sources of 30 sigma on a grid of 25 pixels, and others."""
    sigma = FWHM / gaussians.FWHM_PER_SIGMA if hasattr(gaussians, "FWHM_PER_SIGMA") else FWHM / 2.3548
    places = [(x, y) for y in range(20, 150, 25) for x in range(20, 190, 25)]
    table = np.array(
        [[30.0, x, y, sigma, sigma, 0.0] for x, y in places] + [[*one, sigma, sigma, 0.0] for one in extra]
    )
    data = gaussians.render(table, SHAPE) + rng.normal(0.0, 1.0, SHAPE)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [50.0, 20.0], [100.0, 80.0]
    wcs.wcs.cdelt = [-2 / 3600, 2 / 3600]
    wcs.wcs.set()
    beam = hyper_py.Beam(major=2 * FWHM, minor=2 * FWHM)
    return SkyImage(data=1e-3 * data, wcs=wcs, beam=beam, searched=searched)


def half():
    searched = np.zeros(SHAPE, dtype=bool)
    searched[:, :100] = True
    return searched


def test_inside_is_as_on_the_whole_map(rng):
    seed = int(rng.integers(2**31))
    whole = extract_sources(field(np.random.default_rng(seed))).catalog
    part = extract_sources(field(np.random.default_rng(seed), searched=half())).catalog
    own = whole[whole["X"].value < 99.5]
    assert len(own) == len(part) == 4 * 6
    order = [int(np.argmin(np.hypot(own["X"] - row["X"], own["Y"] - row["Y"]).value)) for row in part]
    own = own[order]
    # The noise of the map is measured with the other half's sources blank instead of subtracted.
    np.testing.assert_allclose(part["FLUX"], own["FLUX"], rtol=0.02)
    np.testing.assert_allclose(part["FLUX_ERR"], own["FLUX_ERR"], rtol=0.1)


def test_a_bright_source_beside_the_part_does_no_harm(rng):
    # 300 sigma, 1.2 beams from a source inside, itself outside.
    image = field(rng, searched=half(), extra=[(300.0, 101.0, 70.0), (30.0, 96.0, 74.0)])
    table = extract_sources(image).catalog
    assert np.all(table["X"].value < 100.5)
    near = np.hypot(table["X"].value - 96.0, table["Y"].value - 74.0)
    row = table[int(np.argmin(near))]
    assert near.min() < 1.0
    true = 30e-3 * 2 * np.pi * (FWHM / 2.3548) ** 2 * 1e3
    assert abs(row["FLUX"].value - true) < 5.0 * row["FLUX_ERR"].value


def test_nothing_changes_where_all_is_searched(rng):
    image = field(rng, searched=np.ones(SHAPE, dtype=bool))
    peaks = extract_sources(image).peaks
    same, kept = peaks_inside(image, peaks, measure=None)
    assert same is image
    assert kept is peaks


def test_lazy_planes_and_places(rng):
    array = half()
    lazy = LazyPlane(SHAPE, lambda rows, columns: array[rows, columns].astype(np.float64))
    x, y = np.array([0.0, 99.4, 99.6, 250.0, np.nan]), np.array([0.0, 3.0, 3.0, 3.0, 1.0])
    for searched in (array, lazy):
        np.testing.assert_array_equal(
            field(rng, searched=searched).is_searched(x, y), [True, True, False, False, True]
        )
    assert field(rng).is_searched(x, y).all()


@pytest.mark.parametrize("only", [True, False])
def test_detection_only_and_an_empty_part(rng, only):
    table = extract_sources(field(rng, searched=half()), detection_only=only).catalog
    assert np.all(table["X"].value < 100.0)
    nowhere = extract_sources(field(rng, searched=np.zeros(SHAPE, dtype=bool)), detection_only=only)
    assert len(nowhere.catalog) == 0
