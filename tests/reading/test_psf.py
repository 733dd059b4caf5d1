"""A beam from an image of the PSF."""

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from hyper_py.diagnostics import InputError
from hyper_py.fitting.binning import binned_around
from hyper_py.geometry import GAUSSIAN_AREA
from hyper_py.image import SkyImage
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.psf import beam_from_psf
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation


def gaussian(major, minor, pa, *, peak=3.0, centre=(30.3, 29.6), shape=(61, 61)):
    """FWHM in pixels; position angle from +y towards -x."""
    y, x = np.indices(shape)
    east, north = -(x - centre[0]), y - centre[1]
    sin, cos = math.sin(math.radians(pa)), math.cos(math.radians(pa))
    along, across = east * sin + north * cos, east * cos - north * sin
    return peak * np.exp(-4 * math.log(2) * ((along / major) ** 2 + (across / minor) ** 2))


@pytest.mark.parametrize("pa", [0.0, 25.0, 90.0, 140.0])
def test_a_gaussian_is_found_exactly(tmp_path, pa):
    path = tmp_path / "psf.fits"
    fits.PrimaryHDU(gaussian(8.0, 5.0, pa)).writeto(path)
    beam = beam_from_psf(path, pixel=2.0)
    assert (beam.major, beam.minor) == pytest.approx((16.0, 10.0), rel=1e-6)
    assert math.sin(math.radians(beam.pa - pa)) == pytest.approx(0.0, abs=1e-6)
    assert beam.area == pytest.approx(math.pi / (4 * math.log(2)) * 160.0, rel=1e-6)


def test_wings_are_in_the_area_and_not_in_the_core(tmp_path):
    path = tmp_path / "psf.fits"
    data = gaussian(6.0, 6.0, 0.0) + 0.02 * gaussian(25.0, 25.0, 0.0)
    fits.PrimaryHDU(data, fits.Header({"CDELT1": -1 / 3600, "CDELT2": 1 / 3600})).writeto(path)
    beam = beam_from_psf(path)
    assert beam.major == pytest.approx(6.0, rel=0.03)
    assert beam.area == pytest.approx(data.sum() / data.max(), rel=0.03)


@pytest.mark.parametrize(("share", "wide"), [(0.1, 14.0), (0.2, 20.0), (0.3, 30.0)])
def test_flux_of_a_wider_source_is_found_through_its_wings(tmp_path, share, wide):
    """A source as wide as the core, fitted as `beam_from_psf` fits, has its flux by the beam's factor."""
    path, other = tmp_path / "psf.fits", tmp_path / "source.fits"
    shape, centre = (161, 161), (80.2, 79.7)

    def image(size):
        widths = math.hypot(6.0, size), math.hypot(wide, size)
        return sum(
            gaussian(width, width, 0.0, peak=part / width**2, centre=centre, shape=shape)
            for part, width in zip((1 - share, share), widths, strict=True)
        )

    fits.PrimaryHDU(image(0.0)).writeto(path)
    fits.PrimaryHDU(image(6.0)).writeto(other)
    beam, source = beam_from_psf(path, pixel=1.0), beam_from_psf(other, pixel=1.0)
    share_of_gaussian = GAUSSIAN_AREA * source.major * source.minor / source.area
    assert share_of_gaussian < 0.98
    assert beam.flux_factor(source.fwhm) * share_of_gaussian == pytest.approx(1.0, rel=0.01)
    assert beam.wings == pytest.approx(wide, rel=0.5)


def test_pixels_of_the_header(tmp_path):
    path = tmp_path / "psf.fits"
    data = gaussian(8.0, 5.0, 25.0)
    for keys, unit, scale in (
        (("CDELT1", "CDELT2"), None, 2.0 / 3600),
        (("CD1_1", "CD2_2"), "deg", 2.0 / 3600),
        (("CDELT1", "CDELT2"), "arcsec", 2.0),
    ):
        for mirror in (-1, 1):  # east to the left, to the right
            header = fits.Header({keys[0]: mirror * scale, keys[1]: scale})
            if unit is not None:
                header["CUNIT1"] = header["CUNIT2"] = unit
            fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
            beam = beam_from_psf(path)
            assert (beam.major, beam.minor) == pytest.approx((16.0, 10.0), rel=1e-6)
            assert beam.pa == pytest.approx(25.0 if mirror < 0 else 155.0, abs=1e-5)
    for changes in ({"CDELT1": "x"}, {"CDELT1": 0.0}, {"CUNIT1": "pixel"}):
        header = fits.Header({"CDELT1": -1.0, "CDELT2": 1.0, **changes})
        fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
        with pytest.raises(InputError, match=r"set survey\.psf_pixel"):
            beam_from_psf(path)
        assert beam_from_psf(path, pixel=2.0).major == pytest.approx(16.0, rel=1e-6)
    for pixel in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="must be a positive number"):
            beam_from_psf(path, pixel=pixel)


def test_what_is_no_psf(tmp_path):
    path = tmp_path / "psf.fits"
    fits.PrimaryHDU(gaussian(8.0, 5.0, 0.0)).writeto(path)
    with pytest.raises(InputError, match=r"psf: the size of .* set survey\.psf_pixel"):
        beam_from_psf(path)
    for data in (
        np.zeros((9, 9)),
        np.eye(1, 81).reshape(9, 9),
        -np.ones((9, 9)),
        np.full((9, 9), np.nan),
        np.ones((9, 9)),
    ):
        fits.PrimaryHDU(data).writeto(path, overwrite=True)
        with pytest.raises(InputError, match=r"psf: .*not an image of a PSF"):
            beam_from_psf(path, pixel=1.0)


# ---- what the beam has beyond its Gaussian


LOBES = [(0.1, 11.0, 40.0), (0.1, 11.0, 160.0), (0.1, 11.0, 280.0)]
"""Share of the peak, arcsec from it, degrees east of north."""


def lobed(east, north, core=8.0):
    """A beam of three lobes on the sky, offsets and FWHM in arcsec."""

    def round_beam(peak, e, n):
        return peak * np.exp(-4 * math.log(2) * ((east - e) ** 2 + (north - n) ** 2) / core**2)

    angles = [math.radians(angle) for _, _, angle in LOBES]
    lobes = [
        round_beam(p, r * math.sin(a), r * math.cos(a)) for (p, r, _), a in zip(LOBES, angles, strict=True)
    ]
    return round_beam(1.0, 0.0, 0.0) + sum(lobes)


def lobed_psf(path, *, side=1.0, half=40):
    """An image of it, centred between pixels, east to the left; in some other unit."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    data = 7.0 * lobed(-side * (x - 0.3), side * (y + 0.2))
    fits.PrimaryHDU(data, fits.Header({"CDELT1": -side / 3600, "CDELT2": side / 3600})).writeto(path)
    return beam_from_psf(path)


@pytest.mark.parametrize("jacobian", [
    [[-2.0, 0.0], [0.0, 2.0]],  # north up
    [[2.0, 0.0], [0.0, 2.0]],  # mirrored
    [[-1.2, -1.6], [-1.6, 1.2]],  # rotated by 53 degrees
    [[-2.0, 0.0], [0.0, 3.0]],  # oblong pixels
])  # fmt: skip
def test_gaussian_and_the_rest_are_the_beam_on_any_map(tmp_path, jacobian):
    beam, turn = lobed_psf(tmp_path / "psf.fits"), np.array(jacobian)
    rest = beam.psf_residual.on_grid(turn, reach=12)
    y, x = np.mgrid[-12:13, -12:13]
    offsets = np.moveaxis(np.einsum("ij,jyx->iyx", turn, np.stack([x, y])), 0, -1)
    inverse = np.linalg.inv(beam.covariance)
    core = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", offsets, inverse, offsets))
    # The centre is that of the fit to the core, which the lobes move a little.
    np.testing.assert_allclose(core + rest, lobed(offsets[..., 0], offsets[..., 1]), atol=0.012)


@pytest.mark.parametrize("size", [2, 3])
def test_the_rest_is_binned_with_the_map(size):
    """Means of blocks in the middle of one of which the beam is."""

    def seen(x, y):
        return lobed(-0.5 * x, 0.5 * y)

    y, x = np.mgrid[-60:61, -60:61]
    reach = 60 // size
    inside = np.arange(size) - 0.5 * (size - 1)
    where = size * np.arange(-reach, reach + 1)
    means = np.mean([seen(*np.meshgrid(where + dx, where + dy)) for dx in inside for dy in inside], axis=0)
    np.testing.assert_allclose(binned_around(seen(x, y), size), means, atol=2e-3)


def test_few_sources_of_a_lobed_beam_need_its_image(tmp_path):
    """Eight sources are too few to measure the beam on the map."""
    beam = lobed_psf(tmp_path / "psf.fits")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-2.0 / 3600, 2.0 / 3600]
    wcs.wcs.crpix, wcs.wcs.crval = [100.0, 100.0], [10.0, 0.0]
    rng = np.random.default_rng(4)
    places = np.stack(np.meshgrid([40.0, 75.0, 110.0, 145.0], [60.0, 130.0])).reshape(2, -1)
    places = places + rng.uniform(-3, 3, places.shape)
    y, x = np.mgrid[:200, :200]
    smooth = ndimage.gaussian_filter(rng.normal(size=(200, 200)), 1.2)
    noise = 0.95 * smooth / smooth.std() + 0.3 * rng.normal(size=(200, 200))
    peak = rng.uniform(60.0, 150.0, 8)
    light = sum(p * lobed(-2.0 * (x - a), 2.0 * (y - b)) for p, a, b in zip(peak, *places, strict=True))
    whole = lobed(-2.0 * (x - 100), 2.0 * (y - 100)).sum()

    def measured(beam):
        catalog = extract_sources(SkyImage(data=light + noise, wcs=wcs, beam=beam)).catalog
        apart = np.hypot(catalog["X"].value[:, None] - places[0], catalog["Y"].value[:, None] - places[1])
        assert (apart.min(axis=0) < 1.0).all()
        flux = catalog["FLUX"][apart.argmin(axis=0)].to_value("Jy")
        return len(catalog), np.median(flux / (peak * whole))

    number, ratio = measured(beam)
    assert number == 8
    assert ratio == pytest.approx(1.0, abs=0.02)
    number, ratio = measured(replace(beam, psf_residual=None))
    assert number > 8
    assert ratio < 0.97


def test_a_dirty_beam_has_the_area_of_its_core_and_its_side_lobes(tmp_path):
    simulation = simulate_image("interferometer_dirty", seed=1, shape=(160, 160), n_sources=2)
    write_simulation(tmp_path / "map.fits", simulation)
    beam = beam_from_psf(tmp_path / "map_psf.fits")
    assert beam.area is None
    assert beam.is_dirty
    # The Gaussian is the CLEAN beam, that of the map's header.
    clean = simulation.image.beam
    assert (beam.major, beam.minor) == pytest.approx((clean.major, clean.minor), rel=1e-4)
    assert beam.psf_residual.values.min() == pytest.approx(simulation.psf.min(), abs=0.02)
    # A point source of 1 Jy/beam is 1 Jy, as in the map that it is the beam of.
    assert beam.flux_factor(beam.fwhm) == 1.0


def test_side_lobes_above_half_of_the_peak_are_not_the_main_lobe(tmp_path):
    lobe = gaussian(6.0, 6.0, 0.0, centre=(30.0, 30.0), peak=1.0)
    data = lobe + 0.6 * (np.roll(lobe, 14, axis=1) + np.roll(lobe, -14, axis=1))
    data -= 0.5 * gaussian(40.0, 12.0, 90.0, centre=(30.0, 30.0), peak=1.0)
    header = fits.Header({"CDELT1": -1.0 / 3600.0, "CDELT2": 1.0 / 3600.0, "CUNIT1": "deg", "CUNIT2": "deg"})
    fits.writeto(tmp_path / "psf.fits", data, header)
    beam = beam_from_psf(tmp_path / "psf.fits")
    assert beam.is_dirty
    # The negative bowl narrows the lobe's half; lobes 14 pixels away would widen it to more than 20.
    assert 4.0 < beam.minor <= beam.major < 6.0
