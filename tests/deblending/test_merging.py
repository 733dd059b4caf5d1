"""Rings and planets are one source; doubles, rows and triangles of true sources stay several."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.groups import bounds_around, make_group, whitener_of
from helpers.maps import make_image, make_map, noise_of, sources_of
from hyper_py.deblending.merging import find_mergers
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import fit_groups
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians, rings
from hyper_py.numerics.fit_pixels import FitPixels
from hyper_py.numerics.solvers import SolverOptions
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.why import explain
from hyper_py.simulation.resolved import draw_resolved

FWHM = 5.0
SIGMA = FWHM / FWHM_PER_SIGMA
CENTRE = 60.3, 58.8


def map_of(profile, *, beams, snr, ratio=1.0, seed=1):
    """A map of one source of a profile, its peak `snr` times the noise, and its flux in units of the peak."""
    sky = noise_of((120, 120), seed=seed, sigma=SIGMA)
    drawn = draw_resolved(
        profile, x=CENTRE[0], y=CENTRE[1], shape=(beams * FWHM, beams * FWHM / ratio, 0.6),
        beam_covariance=SIGMA**2 * np.eye(2),
    )  # fmt: skip
    top, left = drawn.corner
    rows, columns = (slice(max(at, 0), at + n) for at, n in zip((top, left), drawn.values.shape, strict=True))
    sky[rows, columns] += (
        snr * drawn.values[max(-top, 0) :, max(-left, 0) :][: 120 - rows.start, : 120 - columns.start]
    )
    return make_image(sky, fwhm=FWHM), snr * drawn.flux


@pytest.mark.parametrize(("beams", "ratio"), [(3.0, 1.0), (3.5, 1.4), (4.5, 1.2)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_ring_is_one_source_with_another_profile(beams, ratio, seed):
    image, flux = map_of("ring", beams=beams, snr=30.0, ratio=ratio, seed=seed)
    found = extract_sources(image)
    (row,) = found.catalog
    assert np.hypot(row["X"].value - CENTRE[0], row["Y"].value - CENTRE[1]) < 0.2 * FWHM
    assert row["FLAGS"] & Flag.OTHER_PROFILE
    assert row["FLUX"].to_value("Jy") == pytest.approx(flux, rel=0.15)


@pytest.mark.parametrize("snr", [40.0, 150.0])
def test_a_planet_is_one_source(snr):
    """It was up to four bright pieces, none of them in its middle."""
    image, flux = map_of("planet", beams=3.5, snr=snr)
    found = extract_sources(image)
    (row,) = found.catalog
    assert np.hypot(row["X"].value - CENTRE[0], row["Y"].value - CENTRE[1]) < 0.2 * FWHM
    assert row["FLUX"].to_value("Jy") == pytest.approx(flux, rel=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bright_exponential_disc_is_one_source(seed):
    """What a Gaussian leaves of it was a second row on one map in seven."""
    image, _ = map_of("disc", beams=1.8, snr=130.0, seed=seed)
    found = extract_sources(image)
    (row,) = found.catalog
    assert row["FLAGS"] & Flag.OTHER_PROFILE


def test_pieces_of_a_disc_are_one_by_their_evidence():
    """Two Gaussians fitted to a disc, one held beside the other; two true sources stay two."""
    y, x = (axis.ravel() for axis in np.mgrid[:61, :61])
    disc = np.exp(-np.hypot(x - 30.0, y - 30.0) / 4.0)
    start = np.array([[0.7, 30.0, 30.0, 4.0, 4.0, 0.0], [0.1, 34.0, 31.0, 5.0, 4.0, 0.3]])
    limits = bounds_around(start, sigma_limits=(1.0, 20.0), amplitude_limits=(0.0, np.inf), shift=1.0)
    both = gaussians.gaussian_sum(start, y.astype(float), x.astype(float))
    for data, pieces in ((disc, [[0, 1]]), (both, [])):
        group = make_group(
            data, FitPixels(y=y, x=x, key=b""), whitener_of(np.full(y.size, 200.0)), start, limits=limits
        )
        (fit,) = fit_groups([group], [start])
        fitted = group.refitted(fit)
        found = find_mergers([fitted], beam_fwhm=FWHM, largest_sigma=20.0, solver=SolverOptions())
        assert [sorted(one.pieces.tolist()) for one in found] == pieces
        assert all(np.hypot(*(one.gaussian[1:3] - 30.0)) < 0.1 for one in found)


def test_a_faint_source_beside_a_planet_is_no_piece_of_it():
    """A ring describes the planet so much better than its Gaussian that nobody would miss the source."""
    y, x = (axis.ravel() for axis in np.mgrid[:61, :61])
    planet, _ = rings.ring_and_jacobian(
        np.array([1.0, 30.0, 30.0, 3.0, 3.0, 0.0, 1.8]), y.astype(float), x.astype(float)
    )
    start = np.array(
        [[planet.max(), 30.0, 30.0, 5.0, 5.0, 0.0], [0.1 * planet.max(), 41.0, 30.0, 2.1, 2.1, 0.0]]
    )
    data = planet + gaussians.gaussian_sum(start[1:], y.astype(float), x.astype(float))
    limits = bounds_around(start, sigma_limits=(1.0, 20.0), amplitude_limits=(0.0, np.inf), shift=1.0)
    weights = whitener_of(np.full(y.size, 200.0))
    group = make_group(data, FitPixels(y=y, x=x, key=b""), weights, start, limits=limits)
    (fit,) = fit_groups([group], [start])
    fitted = group.refitted(fit)
    assert find_mergers([fitted], beam_fwhm=FWHM, largest_sigma=20.0, solver=SolverOptions()) == []


def test_a_source_in_wide_emission_is_no_piece_of_what_describes_the_emission():
    """In complexes concentric Gaussians, of which one may be of any size, are better than compact fits."""
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[:61, :61])
    start = np.array([[1.0, 26.0, 30.0, 4.0, 3.6, 0.0], [0.1, 34.0, 31.0, 2.2, 2.1, 0.3]])
    emission = gaussians.gaussian_sum(np.array([[0.3, 30.0, 30.0, 9.0, 9.0, 0.0]]), y, x)
    limits = bounds_around(start, sigma_limits=(1.0, 20.0), amplitude_limits=(0.0, np.inf), shift=0.6)
    limits[1][1, gaussians.SIGMA_1 : gaussians.THETA] = 2.5
    pixels = FitPixels(y=y.astype(int), x=x.astype(int), key=b"")
    data = gaussians.gaussian_sum(start, y, x) + emission
    group = make_group(data, pixels, whitener_of(np.full(y.size, 200.0)), start, limits=limits)
    (fit,) = fit_groups([group], [start])
    fitted = group.refitted(fit)
    assert find_mergers([fitted], beam_fwhm=FWHM, largest_sigma=20.0, solver=SolverOptions()) == []


def test_fits_that_left_nothing_are_no_pieces():
    """In a complex all members of a group had a peak of 0: they have no centre."""
    y, x = (axis.ravel() for axis in np.mgrid[:61, :61])
    start = np.array([[0.0, 30.0, 30.0, 4.0, 4.0, 0.0], [0.0, 34.0, 31.0, 5.0, 4.0, 0.3]])
    group = make_group(np.zeros(y.size), FitPixels(y=y, x=x, key=b""), whitener_of(np.ones(y.size)), start)
    (fit,) = fit_groups([group], [start])
    nothing = group.refitted(replace(fit, parameters=start))
    assert find_mergers([nothing], beam_fwhm=FWHM, largest_sigma=20.0, solver=SolverOptions()) == []


def test_pieces_are_counted_and_named():
    image, _ = map_of("ring", beams=4.5, snr=30.0, ratio=1.2, seed=1)
    found = extract_sources(image)
    assert len(found.pieces) >= 1
    assert "as pieces of rings or discs" in str(found)
    place = float(found.pieces.x[0]), float(found.pieces.y[0])
    assert "a piece of a ring or disc" in explain(image, *place).verdict


@pytest.mark.parametrize("beams", [0.9, 1.2])
@pytest.mark.parametrize("offsets", [[(-0.5, 0.0), (0.5, 0.0)], [(-1, 0), (0, 0), (1, 0)]])
def test_two_and_three_in_a_row_stay(beams, offsets):
    """A ring describes two equal sources side by side as well; a round one does not."""
    places = [(40.0, 48.3 + beams * FWHM * x, 45.7 + beams * FWHM * y) for x, y in offsets]
    found = extract_sources(make_image(make_map(sources_of(*places, sigma=SIGMA), seed=3), fwhm=FWHM))
    assert len(found.catalog) == len(offsets)


def test_three_in_a_triangle_stay():
    offsets = [(0.0, 0.577), (-0.5, -0.289), (0.5, -0.289)]
    places = [(40.0, 48.3 + 1.2 * FWHM * x, 45.7 + 1.2 * FWHM * y) for x, y in offsets]
    found = extract_sources(make_image(make_map(sources_of(*places, sigma=SIGMA), seed=3), fwhm=FWHM))
    assert len(found.catalog) == 3


def test_a_faint_source_beside_a_wide_bright_one_is_no_piece():
    """It was: what it adds to the power of both is less than a ring may leave."""
    wide = np.array([[200.0, 60.2, 58.9, 2.5 * SIGMA, 2.5 * SIGMA, 0.0]])
    sources = np.concatenate([wide, sources_of((20.0, 60.2 + 2.9 * FWHM, 58.9), sigma=SIGMA)])
    found = extract_sources(make_image(make_map(sources, (120, 120), seed=5), fwhm=FWHM))
    assert len(found.pieces) == 0
    away = np.hypot(found.catalog["X"].value - sources[1, 1], found.catalog["Y"].value - sources[1, 2])
    assert away.min() < 0.2 * FWHM
