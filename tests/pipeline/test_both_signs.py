"""Negative sources: measured as positive ones are, neither at the cost of the other."""

import numpy as np
import pytest
from astropy.wcs import WCS

import hyper_py
from hyper_py.background.inverted import Inverted
from hyper_py.background.model import Painted
from hyper_py.detection.peaks import empty_peaks
from hyper_py.diagnostics import Flag
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.photometry.transforms import inverted, joined
from hyper_py.pipeline.both_signs import Found, find_both_signs
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reporting.fit_report import fit_covariances, fit_report

SHAPE, FWHM = (180, 200), 5.0
SIGMA = FWHM / 2.354820045


def sky(rng, peaks, *, beside=None):
    """White noise of 1, peaks on a grid of 25 pixels in random order, and perhaps one beside the first."""
    places = np.array([(x, y) for y in range(20, 170, 25) for x in range(20, 190, 25)], dtype=float)
    places = places[rng.permutation(len(places))[: len(peaks)]] + rng.uniform(-0.5, 0.5, (len(peaks), 2))
    table = np.array([[peak, x, y, SIGMA, SIGMA, 0.0] for peak, (x, y) in zip(peaks, places, strict=True)])
    if beside is not None:
        first = table[0].copy()
        first[0], first[1] = beside, first[1] + 1.5 * FWHM
        table = np.vstack([table, first])
    data = gaussians.render(table, SHAPE) + rng.normal(0.0, 1.0, SHAPE)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [50.0, 20.0], [100.0, 80.0]
    wcs.wcs.cdelt = [-2 / 3600, 2 / 3600]
    wcs.wcs.set()
    beam = hyper_py.Beam(major=2 * FWHM, minor=2 * FWHM)
    return SkyImage(data=1e-3 * data, wcs=wcs, beam=beam), table


def nearest(catalog, table):
    """Return the row of each source, and the distance in pixels."""
    apart = np.hypot(catalog["X"].value[:, None] - table[:, 1], catalog["Y"].value[:, None] - table[:, 2])
    return apart.argmin(axis=0), apart.min(axis=0)


PEAKS = [*np.linspace(12, 60, 10), *-np.linspace(12, 60, 10)]


@pytest.mark.seeds(1, 2)
def test_both_signs_have_the_right_fluxes(rng):
    image, table = sky(rng, PEAKS)
    catalog = extract_sources(image, detection={"negative": True}).catalog
    rows, apart = nearest(catalog, table)
    assert apart.max() < 1.5
    assert len(catalog) == 20
    own = catalog[rows]
    negative = table[:, 0] < 0
    np.testing.assert_array_equal((own["FLAGS"] & int(Flag.NEGATIVE_SOURCE)) != 0, negative)
    assert not np.any(own["FLAGS"] & int(Flag.NEGATIVE_FLUX))
    for name in ("FLUX", "FLUX_PEAK", "FLUX_GAUSS", "SNR"):
        np.testing.assert_array_equal(np.sign(np.asarray(own[name])), np.sign(table[:, 0]))
    # The factor of 1000 to mJy is that of the map's 1e-3.
    true = gaussians.gaussian_flux(table)
    pulls = (own["FLUX"].value - true) / own["FLUX_ERR"].value
    assert np.abs(pulls).max() < 4.5
    assert 0.5 < np.sqrt(np.mean(pulls**2)) < 1.5
    assert np.abs(np.median(own["FLUX"].value / true) - 1.0) < 0.05
    np.testing.assert_array_equal(catalog["HYPER_ID"], np.arange(1, 21))


def test_without_the_option_negative_ones_are_no_sources(rng):
    image, table = sky(rng, PEAKS)
    catalog = extract_sources(image).catalog
    _, apart = nearest(catalog, table[table[:, 0] < 0])
    assert apart.min() > 5.0
    assert not np.any(catalog["FLAGS"] & int(Flag.NEGATIVE_SOURCE))


@pytest.mark.seeds(1, 2)
def test_a_source_beside_one_of_the_other_sign(rng):
    image, table = sky(rng, [60.0, 20.0, -20.0], beside=-40.0)
    catalog = extract_sources(image, detection={"negative": True}).catalog
    rows, apart = nearest(catalog, table)
    assert len(catalog) == 4
    assert apart.max() < 1.0
    pulls = (catalog["FLUX_GAUSS"].value[rows] - gaussians.gaussian_flux(table)) / catalog[
        "FLUX_GAUSS_ERR"
    ].value[rows]
    assert np.abs(pulls).max() < 4.5


def test_the_inverted_map_has_the_inverted_sources(rng):
    image, _ = sky(rng, PEAKS)
    one = extract_sources(image, detection={"negative": True}).catalog
    other = extract_sources(image.with_data(-image.data), detection={"negative": True}).catalog
    rows, apart = nearest(other, np.column_stack([one["FLUX"].value, one["X"].value, one["Y"].value]))
    assert len(one) == len(other)
    assert apart.max() < 0.05
    # What is subtracted of the other sign differs in its last fit, by a small part of the errors.
    change = (other["FLUX"].value[rows] + one["FLUX"].value) / one["FLUX_ERR"].value
    assert np.abs(change).max() < 0.2


def test_products_know_both_signs(rng):
    image, table = sky(rng, PEAKS)
    extraction = extract_sources(image, detection={"negative": True})
    rest = extraction.residual_image()
    assert np.sqrt(np.mean((1e3 * rest) ** 2)) == pytest.approx(1.0, abs=0.02)
    near = gaussians.footprints(table, SHAPE)
    assert np.sqrt(np.mean((1e3 * rest[near]) ** 2)) == pytest.approx(1.0, abs=0.1)
    background = extraction.background_image()[near]
    assert np.nanmax(np.abs(1e3 * background)) < 1.0
    covariances = fit_covariances(extraction)
    values = np.array(covariances["VALUE"])[np.argsort(covariances["HYPER_ID"])]
    np.testing.assert_allclose(values, extraction.sources, rtol=1e-9)
    assert "conditional background" in "\n".join(fit_report(extraction))
    assert len(extraction.regions()) == 20


def test_detection_only_and_maps_in_pieces(rng):
    image, table = sky(rng, PEAKS)
    catalog = extract_sources(image, detection={"negative": True}, detection_only=True).catalog
    rows, apart = nearest(catalog, table)
    assert apart.max() < 2.0
    np.testing.assert_array_equal((catalog["FLAGS"][rows] & int(Flag.NEGATIVE_SOURCE)) != 0, table[:, 0] < 0)
    whole = extract_sources(image, detection={"negative": True}).catalog
    data = image.data
    lazy = image.with_data(LazyPlane(SHAPE, lambda rows, columns: data[rows, columns].copy()))
    pieces = extract_sources(lazy, detection={"negative": True}).catalog
    # Fits end within their tolerance, and the others are on maps less these.
    change = (pieces["FLUX"].value - whole["FLUX"].value) / whole["FLUX_ERR"].value
    assert np.abs(change).max() < 0.01


@pytest.mark.parametrize("peaks", [[40.0, 20.0], [-40.0, -20.0], []])
def test_one_sign_or_none(rng, peaks):
    image, table = sky(rng, peaks) if peaks else sky(rng, [0.0])
    catalog = extract_sources(image, detection={"negative": True}).catalog
    assert len(catalog) == len(peaks)
    if peaks:
        assert nearest(catalog, table)[1].max() < 1.0


def test_rows_that_were_added_come_last(rng):
    image, _ = sky(rng, PEAKS[:3])
    measured = extract_sources(image).measured
    first = measured.__class__(
        sources=measured.sources, groups=measured.groups, noise=measured.noise, given=np.array([1, 2]),
        vanished=np.array([0]),
    )  # fmt: skip
    both = joined(first, inverted(first))
    np.testing.assert_array_equal(both.given, [1, 2, 4, 5])
    np.testing.assert_array_equal(both.vanished, [0, 3])
    amplitude = measured.sources.parameters[:, 0]
    np.testing.assert_allclose(
        both.sources.parameters[:, 0], [*amplitude[:2], *-amplitude[:2], amplitude[2], -amplitude[2]]
    )
    for group in both.groups:
        np.testing.assert_allclose(group.fit.parameters[:, 0], both.sources.parameters[group.members, 0])


class _Slope:
    order = 1

    def at(self, y, x):
        return 2.0 * y + x

    def paint(self):
        y, x = np.arange(3), np.arange(3)
        return Painted(y, x, self.at(y, x), np.ones(3))


def test_inverted_background():
    background = Inverted(background=_Slope())
    y, x = np.array([1, 5]), np.array([2, 7])
    np.testing.assert_array_equal(background.at(y, x), -(2.0 * y + x))
    np.testing.assert_array_equal(background.paint().values, -3.0 * np.arange(3))
    assert background.order == 1


def test_nothing_found_stays_nothing(rng):
    image, _ = sky(rng, [10.0])
    found = find_both_signs(image, lambda one, beside: Found(peaks=empty_peaks()))
    assert len(found.peaks) == 0
    assert found.measured is None
