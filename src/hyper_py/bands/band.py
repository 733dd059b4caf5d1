"""`Band`: a map on the tangent plane of its field, with its beam and its noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.factors import FactorCache, step_between_pixels
from hyper_py.bands.images import BandImage
from hyper_py.bands.mapping import PixelMapping, icrs_degrees
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.shapes import symmetric, unique_elements
from hyper_py.fitting.binning import binned_beam
from hyper_py.geometry import FWHM_PER_SIGMA, transform_covariance
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.measure import measure_noise
from hyper_py.numerics import gaussians
from hyper_py.numerics.bins import bin_mean
from hyper_py.numerics.tiles import Plane
from hyper_py.psf.residual import DIRTY_BEAMS, PATTERN_BEAMS, known_residual_pattern

MASK_SIGMA = 1.4
"""Noise is measured this far from sources, which are subtracted: wider masks leave little of a map."""
_LEAST_AXIS = 0.3
"""An intrinsic shape a little below zero leaves at least this share of the beam's sigma to be drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BandNoise:
    """Noise and background of a map as one random field.

    Attributes
    ----------
    covariance : CovarianceModel
        (Jy/pixel)^2, where the relative rms is 1.
    relative_rms : Plane, shape (ny, nx)
    step : int
        Distance between the pixels that are fitted, along each axis: those between would add nothing.
    """

    covariance: CovarianceModel
    relative_rms: Plane
    step: int = 1

    @cached_property
    def factors(self) -> FactorCache:
        """Cholesky factors of the covariance of sets of pixels."""
        return FactorCache(self.covariance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """A map of a field, ready to be fitted.

    Attributes
    ----------
    name : str
    wavelength : float
        Micron.
    image : SkyImage
    data : ndarray, shape (ny, nx)
        Jy/pixel, what is fitted: the map, or the map less what an image of the PSF adds to Gaussians. Its
        pixels are those of the map, or bins of them (`binned`).
    mapping : PixelMapping
    offset : ndarray, shape (2,)
        Arcsec: where the map shows a source less where it is.
    noise : BandNoise, optional
        None until it is measured.
    """

    name: str
    wavelength: float
    image: SkyImage
    data: FloatArray
    mapping: PixelMapping
    offset: FloatArray
    noise: BandNoise | None = None

    @classmethod
    def of(cls, band: BandImage, plane: TangentPlane) -> "Band":
        """Place a map on the plane."""
        return cls(
            name=band.name, wavelength=band.wavelength, image=band.image, data=_known(band.image),
            mapping=PixelMapping.of(band.image, plane), offset=np.zeros(2),
        )  # fmt: skip

    @property
    def fwhm(self) -> float:
        """Geometric mean FWHM of the beam in arcsec."""
        return self.image.beam.fwhm

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ny, nx = self.data.shape
        return ny, nx

    @property
    def beam_covariance(self) -> FloatArray:
        """Covariance of the beam in the middle of the map in pixels^2, (2, 2), order (x, y)."""
        return binned_beam(self.image.central_beam_covariance, self.size)

    @property
    def beam_fwhm_pix(self) -> float:
        """Geometric mean FWHM of the beam in pixels."""
        wider = np.linalg.det(self.beam_covariance) / np.linalg.det(self.image.central_beam_covariance)
        return self.image.beam_fwhm_pix * math.sqrt(math.sqrt(wider))

    @property
    def relative_rms(self) -> FloatArray | None:
        """Relative rms (median 1) that the map comes with, (ny, nx); None if it comes with none."""
        relative = self.image.relative_rms
        return relative if relative is None or self.size == 1 else bin_mean(relative, self.size)

    @property
    def size(self) -> int:
        """Side of the bins of map pixels that are the pixels of the band."""
        return self.mapping.size

    def binned(self, size: int) -> "Band":
        """Return the band on bins of pixels of its map, without noise; a size of 1 gives the map's pixels.

        To fourth order in size over sigma a source is a Gaussian there, wider by the bin: see
        `hyper_py.fitting.binning`.
        """
        data, mapping = _in_bins(_known(self.image), size), replace(self.mapping, size=size)
        return replace(self, data=data, mapping=mapping, noise=None)

    def pixels(self, position: FloatArray) -> FloatArray:
        """Return where the map shows positions (n, 2): pixels (n, 2), order (x, y)."""
        return self.mapping.pixels(position + self.offset)

    def positions(self, pixels: FloatArray) -> FloatArray:
        """Return the positions (n, 2) of what the map shows at pixels (n, 2), order (x, y)."""
        return self.mapping.position(pixels) - self.offset

    def beams(self, position: FloatArray) -> FloatArray:
        """Return the covariance xx, xy, yy of the beam in arcsec^2, (n, 3), at positions (n, 2)."""
        if not len(position):
            return np.empty((0, 3))
        pixels = self.pixels(position)
        of_map = self.image.beam_covariance(*self.mapping.on_map(pixels).T)
        in_pixels = binned_beam(of_map, self.size)
        return unique_elements(transform_covariance(in_pixels, self.mapping.jacobian(pixels)))

    def pixel_areas(self, position: FloatArray) -> FloatArray:
        """Return the areas of the pixels in arcsec^2 at positions, (n,)."""
        areas: FloatArray = np.abs(np.linalg.det(self.mapping.jacobian(self.pixels(position))))
        return areas

    def gains(self, shape: FloatArray) -> FloatArray:
        """Return the share of the flux of sources in their Gaussians, (n,); shapes as the map shows them."""
        fwhm = FWHM_PER_SIGMA * np.maximum(np.linalg.det(symmetric(shape)), 0.0) ** 0.25
        return 1.0 / self.image.beam.flux_factor(fwhm)

    def shown(self, position: FloatArray, shape: FloatArray) -> FloatArray:
        """Return the shape of sources as the map shows them, beam included, (n, 3)."""
        beam = self.beams(position)
        return with_least_axis(beam + shape, beam=beam)

    def gaussians(self, position: FloatArray, shape: FloatArray, flux: FloatArray) -> FloatArray:
        """Return sources as Gaussians in pixels, (n, 6), see `hyper_py.numerics.gaussians`.

        Parameters
        ----------
        position : ndarray, shape (n, 2)
        shape : ndarray, shape (n, 3)
            Intrinsic.
        flux : ndarray, shape (n,)
            Jy; NaN counts as 0.
        """
        result = np.zeros((len(position), gaussians.N_PARAMETERS))
        if not len(position):
            return result
        pixels = self.pixels(position)
        inverse = np.linalg.inv(self.mapping.jacobian(pixels))
        shown = self.shown(position, shape)
        result[:, [gaussians.X, gaussians.Y]] = pixels
        result[:, gaussians.SIGMA_1 :] = gaussians.shape_parameters(
            transform_covariance(symmetric(shown), inverse)
        )
        area = 2.0 * np.pi * result[:, gaussians.SIGMA_1] * result[:, gaussians.SIGMA_2]
        result[:, gaussians.AMPLITUDE] = np.nan_to_num(flux) * self.gains(shown) / area
        return result

    def with_noise_outside(self, sources: FloatArray) -> "Band":
        """Return the band with its noise measured outside sources (n, 6), their wings subtracted."""
        covariance, relative = measure_noise(
            self.data - gaussians.render(sources, self.shape),
            gaussians.footprints(sources, self.shape, n_sigma=MASK_SIGMA),
            beam_covariance=self.beam_covariance,
            beam_fwhm=self.beam_fwhm_pix, relative=self.relative_rms,
        )  # fmt: skip
        step = step_between_pixels(covariance, beam_fwhm=self.beam_fwhm_pix)
        return replace(self, noise=BandNoise(covariance=covariance, relative_rms=relative, step=step))

    def pattern(self, sources: FloatArray) -> FloatArray | None:
        """Return what the image of the PSF adds to Gaussians (n, 6) on the map, in Jy/pixel there.

        None without an image of the PSF.
        """
        beam = self.image.beam
        if beam.psf_residual is None:
            return None
        ny, nx = self.image.shape
        middle = 0.5 * (nx - 1), 0.5 * (ny - 1)
        reach = int((DIRTY_BEAMS if beam.is_dirty else PATTERN_BEAMS) * self.image.beam_fwhm_pix)
        known = known_residual_pattern(
            beam.psf_residual.on_grid(self.image.jacobian(*middle), reach=reach),
            beam_covariance=self.image.central_beam_covariance,
        )
        drawn: FloatArray = known.drawn(sources, self.image.shape)[:, :]
        return drawn

    def less(self, pattern: FloatArray | None) -> "Band":
        """Return the band with a pattern, (ny, nx) of its map, subtracted from that."""
        if pattern is None:
            return self
        return replace(self, data=_in_bins(_known(self.image) - pattern, self.size))

    def sees(self, position: FloatArray) -> BoolArray:
        """Return whether the map has a pixel at positions, (n,)."""
        x, y = np.rint(self.pixels(position)).T
        ny, nx = self.shape
        inside: BoolArray = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        inside[inside] = np.isfinite(self.data[y[inside].astype(np.intp), x[inside].astype(np.intp)])
        return inside


def _known(image: SkyImage) -> FloatArray:
    """Return a map whose blank pixels are NaN, the infinite ones as well."""
    data: FloatArray = image.data[:, :]
    return np.where(np.isfinite(data), data, np.nan) if np.isinf(data).any() else data


def _in_bins(data: FloatArray, size: int) -> FloatArray:
    """Return a map in Jy/pixel on bins of its pixels, in Jy for a bin."""
    return data if size == 1 else size**2 * bin_mean(data, size)


def with_least_axis(shape: FloatArray, *, beam: FloatArray) -> FloatArray:
    """Return shapes (n, 3) with no axis below `_LEAST_AXIS` of the minor axis of the beam, (n, 3)."""
    least = _LEAST_AXIS**2 * np.linalg.eigvalsh(symmetric(beam))[:, 0]
    value, vector = np.linalg.eigh(symmetric(shape))
    if not (value < least[:, None]).any():
        return shape
    value = np.maximum(value, least[:, None])
    return unique_elements((vector * value[:, None, :]) @ np.swapaxes(vector, -1, -2))


def common_plane(bands: Sequence[BandImage]) -> TangentPlane:
    """Return the plane that touches the sky in the middle of the maps: of their corners and centres."""
    corners = []
    for band in bands:
        ny, nx = band.image.shape
        x, y = np.meshgrid(np.linspace(0.0, nx - 1.0, 3), np.linspace(0.0, ny - 1.0, 3))
        sky = icrs_degrees(band.image.wcs, x, y).reshape(2, -1)
        corners.append(sky[:, np.isfinite(sky).all(axis=0)])
    return TangentPlane.around(*np.concatenate(corners, axis=1))
