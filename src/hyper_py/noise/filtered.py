"""Maps that lack scales of their sources: those of interferometers, and filtered ones.

Where an interferometer has no baseline its map holds neither sky nor noise. The inverse of the measured
covariance gives weight without bound to such frequencies: in a dirty map the sources have no power there,
and a Gaussian template then measures half of a peak; in a CLEANed map the restored Gaussian is exact there,
but its amplitude has the noise that the dirty map had at the peak, and errors come out far too small.
"""

from dataclasses import replace

import numpy as np
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.noise.covariance import CovarianceModel, power_spectrum

_BAND = 0.003, 0.6
"""Squared transfer of the beam in the band that is looked at. At larger scales the background decides."""
_CORE = 0.1
"""The same in the core of the band."""
_NOTHING = 0.03
"""Noise of less than this share of what the beam typically passes is none: noise seen through it has all."""
_MOST_MISSING = 0.04
"""Share of the band from which on a map is a filtered one.

At most 0.013 on simulated single-dish maps of 40 beams and more, and 0.024 on those of 20 beams; 0.05 to 0.3
on simulated interferometers' maps, but 0.013 to 0.022 in natural weighting of a well-filled (u, v) plane,
which is nearly a single dish's; 0.14 and 0.34 on two real ones.
"""
_FEW_BEAMS = 1000.0
"""On maps of fewer beams it must be larger by the power 1.5 of how many fewer they are.

At most 0.063 on simulated single-dish maps of 600 beams, a half of them round, and 0.087 on those of 400.
"""


def missing_scales(lags: FloatArray, sharp: FloatArray, *, beam_covariance: FloatArray) -> BoolArray:
    """Return the frequencies of the beam's band at which there is no noise.

    The noise of a single dish is at least what white noise seen through the beam is: its power over the
    beam's squared transfer is nowhere small against the median. Large scales that leak, to both signs, hide
    small powers in the autocovariance, and small ones that leak do so in that of the sharpened map: power
    is missing where it is in both.

    Parameters
    ----------
    lags, sharp : ndarray, shape (n, n)
        Autocovariance of the map, and of the map seen through `AGAINST_NEIGHBOURS`.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).

    Returns
    -------
    ndarray of bool, shape (n, n)
        Zero frequency first.
    """
    transfer = _squared_transfer(lags.shape[0], beam_covariance)
    band = transfer > _BAND[0]
    wave = np.cos(2.0 * np.pi * fft.fftfreq(lags.shape[0]))
    response = (1.0 - 0.5 * (wave[:, None] + wave)) ** 2
    missing = band.copy()
    for values, passed in ((lags, transfer), (sharp, transfer * response)):
        power = power_spectrum(0.5 * (values + values[::-1, ::-1]))
        ratio = np.divide(power, passed, out=np.full(power.shape, np.inf), where=band & (passed > 0.0))
        typical = min(np.median(ratio[band]), np.median(ratio[transfer > _CORE]))
        missing &= ratio < _NOTHING * typical
    return missing


def tempered(
    model: CovarianceModel,
    lags: FloatArray,
    sharp: FloatArray,
    *,
    beam_covariance: FloatArray,
    n_beams: float,
) -> CovarianceModel:
    """Return the covariance with which sources are fitted, on a filtered map raised where it has no noise.

    The floor is the mean power in the beam's band, weighted by its squared transfer: the fit then is close
    to an unweighted one, and still gives little weight to what is stronger than that. Errors come from the
    covariance as measured, which stays as it is.

    Parameters
    ----------
    model : CovarianceModel
        Of the autocovariance `lags`.
    lags, sharp, beam_covariance
        As for `missing_scales`.
    n_beams : float
        Size of the map in squares of the beam's FWHM.

    Returns
    -------
    CovarianceModel
        `model` itself unless the map is a filtered one.
    """
    transfer = _squared_transfer(lags.shape[0], beam_covariance)
    missing = missing_scales(lags, sharp, beam_covariance=beam_covariance)
    outer = (transfer > _BAND[0]) & (transfer < _BAND[1])
    most = _MOST_MISSING * max(1.0, _FEW_BEAMS / n_beams) ** 1.5
    if np.count_nonzero(missing & outer) < most * np.count_nonzero(outer):
        return model
    measured = model.unconditioned.lags
    floor = float(np.average(power_spectrum(measured), weights=transfer * ~missing))
    raised = np.maximum(power_spectrum(model.lags), floor)
    return replace(model, lags=fft.fftshift(fft.ifft2(raised).real), measured=measured, filtered=True)


def _squared_transfer(n: int, beam_covariance: FloatArray) -> FloatArray:
    """Return the squared Fourier transform of a Gaussian beam over its integral, zero frequency first."""
    k = 2.0 * np.pi * fft.fftfreq(n)
    ky, kx = k[:, None], k[None, :]
    transfer: FloatArray = np.exp(
        -(beam_covariance[0, 0] * kx**2 + 2.0 * beam_covariance[0, 1] * kx * ky
          + beam_covariance[1, 1] * ky**2)
    )  # fmt: skip
    return transfer
