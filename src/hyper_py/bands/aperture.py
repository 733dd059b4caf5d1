"""The common aperture: one ellipse on the sky for all bands, as HYPER measures them."""

from dataclasses import dataclass

from hyper_py.arrays import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class CommonApertures:
    """Sums in an aperture that is the same on the sky in all bands, n rows in the order of the sources.

    Attributes
    ----------
    band : str
        The band whose fitted ellipse the aperture is; "largest" if it is the largest of all bands.
    ellipse : ndarray, shape (n, 3)
        Covariance xx, xy, yy in arcsec^2 of the Gaussian whose FWHM, times `radius_in_fwhm`, are the
        semi-axes.
    radius_in_fwhm : float
    fraction : ndarray, shape (n, n_bands)
        Of the source's flux inside, by its beam and shape in the band; fluxes are divided by it.
    flux, flux_err : ndarray, shape (n, n_bands)
        Jy; map less background and companions. NaN where the band does not see the source.
    """

    band: str
    ellipse: FloatArray
    radius_in_fwhm: float
    fraction: FloatArray
    flux: FloatArray
    flux_err: FloatArray
