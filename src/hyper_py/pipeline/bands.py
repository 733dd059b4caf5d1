"""Several maps of one field: images in, `BandsExtraction` out. Touches no file."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from hyper_py.arrays import FloatArray
from hyper_py.bands.aperture import CommonApertures
from hyper_py.bands.catalog import JointTable
from hyper_py.bands.images import BandImage
from hyper_py.bands.offsets import BandOffsets
from hyper_py.bands.shapes import sky_ellipses
from hyper_py.bands.sources import JointSources
from hyper_py.bands.spectra import GreyBodies, SpectralIndices, fit_grey_bodies, spectral_indices
from hyper_py.diagnostics import InputError
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.numerics import gaussians
from hyper_py.options import Options

if TYPE_CHECKING:
    from regions import Regions


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredBand:
    """One band of a field with the sources that were fitted in it.

    Attributes
    ----------
    band : BandImage
    noise : NoiseStatistics
        Its covariance is in (Jy/pixel)^2.
    parameters : ndarray, shape (n, 6)
        The Gaussian of each source in pixels of this map (`hyper_py.numerics.gaussians`), its amplitude in
        Jy/pixel, 0 where the map does not see the source.
    shape : ndarray, shape (n, 3)
        Covariance xx, xy, yy in arcsec^2 of the source as the band shows it, beam included.
    pattern : ndarray, shape (ny, nx), optional
        What the image of the PSF adds to the Gaussians, in Jy/pixel.
    background : ndarray, shape (ny, nx), optional
        Jy/pixel, under and around the sources; NaN where none was estimated.
    """

    band: BandImage
    noise: NoiseStatistics
    parameters: FloatArray
    shape: FloatArray
    pattern: FloatArray | None = None
    background: FloatArray | None = None

    @cached_property
    def _model(self) -> FloatArray:
        model = gaussians.render(self.parameters, self.band.image.shape)
        return model if self.pattern is None else model + self.pattern

    def model_image(self) -> FloatArray:
        """Return all sources in Jy/pixel, shape (ny, nx)."""
        return self._model.copy()

    def residual_image(self) -> FloatArray:
        """Return map minus model, background left in, in Jy/pixel."""
        return self.band.image.data - self._model


@dataclass(frozen=True, kw_only=True, eq=False)
class BandsExtraction:
    """What was found and measured on the maps of one field.

    Attributes
    ----------
    measured : tuple of MeasuredBand
        In the order given.
    options : Options
    sources : JointSources
    offsets : BandOffsets
    apertures : CommonApertures, optional
        With `bands.common_aperture`.
    name : str
        Of the field.
    """

    measured: tuple[MeasuredBand, ...]
    options: Options
    sources: JointSources
    offsets: BandOffsets
    apertures: CommonApertures | None = None
    name: str = "bands"

    @property
    def bands(self) -> tuple[BandImage, ...]:
        """The maps, in the order given."""
        return tuple(one.band for one in self.measured)

    @property
    def wavelengths(self) -> list[float]:
        """Micron, in the order of the bands."""
        return [band.wavelength for band in self.bands]

    def band(self, name: str) -> MeasuredBand:
        """Return one band by its name.

        Raises
        ------
        InputError
            If there is none of this name.
        """
        for one in self.measured:
            if one.band.name == name:
                return one
        names = ", ".join(band.name for band in self.bands)
        raise InputError(f"{name}: no band of this name; there are {names}")

    def model_image(self, name: str) -> FloatArray:
        """Return all sources of a band in Jy/pixel, shape (ny, nx)."""
        return self.band(name).model_image()

    def residual_image(self, name: str) -> FloatArray:
        """Return the map of a band minus its model, background left in, in Jy/pixel."""
        return self.band(name).residual_image()

    def background_image(self, name: str) -> FloatArray:
        """Return the background of a band in Jy/pixel; NaN where none was estimated."""
        one = self.band(name)
        return np.full(one.band.image.shape, np.nan) if one.background is None else one.background.copy()

    @cached_property
    def spectral_indices(self) -> SpectralIndices:
        """Spectral indices between adjacent bands."""
        return spectral_indices(self.sources.flux, self.sources.flux_covariance, wavelengths=self.wavelengths)

    @cached_property
    def grey_bodies(self) -> GreyBodies | None:
        """Grey bodies fitted to the spectra; None without `bands.grey_body`."""
        if not self.options.bands.grey_body:
            return None
        return fit_grey_bodies(
            self.sources.flux, self.sources.flux_covariance, wavelengths=self.wavelengths,
            beta=self.options.bands.beta, calibration_errors=[band.calibration_error for band in self.bands],
        )  # fmt: skip

    @property
    def table(self) -> JointTable:
        """What the catalogues are made of."""
        return JointTable(
            name=self.name, bands=self.bands, sources=self.sources,
            shapes=[one.shape for one in self.measured], offsets=self.offsets,
            indices=self.spectral_indices, apertures=self.apertures,
            grey_bodies=self.grey_bodies, free_shapes=self.options.bands.shape == "free",
            convert_mjy=self.options.convert_mJy,
        )  # fmt: skip

    @cached_property
    def catalog(self) -> QTable:
        """The catalogue with one row a source; columns of a band have its name after them: FLUX_s500."""
        return self.table.wide()

    @cached_property
    def long_catalog(self) -> QTable:
        """The catalogue with one row a source and band."""
        return self.table.long()

    def regions(self, name: str) -> "Regions":
        """Return the sources that a band sees as sky regions in ICRS: their FWHM in it, HYPER_ID as text."""
        from regions import EllipseSkyRegion, RegionMeta, Regions

        b = [band.name for band in self.bands].index(self.band(name).band.name)
        ra, dec = self.sources.sky
        major, minor, angle = sky_ellipses(self.measured[b].shape)
        return Regions(
            [
                EllipseSkyRegion(
                    SkyCoord(ra[i], dec[i], unit="deg", frame="icrs"),
                    width=minor[i] * u.arcsec, height=major[i] * u.arcsec, angle=angle[i] * u.deg,
                    meta=RegionMeta(text=str(i + 1)),
                )
                for i in np.flatnonzero(self.sources.seen[:, b])
            ]
        )  # fmt: skip
