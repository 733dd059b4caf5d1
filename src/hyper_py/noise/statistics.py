"""What the noise and background of a map are like: autocovariance, radial profile, power spectrum."""

from dataclasses import dataclass
from functools import cached_property

from scipy import fft

from hyper_py.arrays import FloatArray
from hyper_py.noise.covariance import CovarianceModel, power_spectrum, radial_profile


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseStatistics:
    """The covariance of a map's noise and background, where the local rms is its median over the map.

    Attributes
    ----------
    covariance : CovarianceModel
        (Jy/pixel)^2, by separation in steps.
    step : int
        Pixels of the map in one step: well sampled maps are fitted in means of step x step pixels.
    beam : CovarianceModel
        Autocorrelation of the beam, 1 at lag zero: that of white noise seen through the beam.
    beam_fwhm : float
        Pixels of the map.
    use : str
        What the fit did with it.
    """

    covariance: CovarianceModel
    step: int
    beam: CovarianceModel
    beam_fwhm: float
    use: str

    @property
    def origin(self) -> str:
        """Where the covariance comes from."""
        if self.covariance.assumed:
            return "assumed from the beam, since the map is too small to measure it"
        return "measured on the map outside its sources"

    @cached_property
    def profile(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Radius in pixels, mean autocovariance of rings, and the same of the beam, 1 at lag zero; (n,)."""
        radius, values = radial_profile(self.covariance.lags)
        return radius * self.step, values, radial_profile(self.beam.lags)[1]

    @cached_property
    def spectrum(self) -> FloatArray:
        """Power in Jy^2/pixel, zero frequency in the middle; its integral over frequency is the variance."""
        return _spectrum(self.covariance, self.step)

    @property
    def frequency_step(self) -> float:
        """Step of the spectrum's axes in 1/pixel."""
        return 1.0 / ((2 * self.covariance.reach + 1) * self.step)

    @cached_property
    def radial_spectrum(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Frequency in 1/pixel, mean power of rings, and that of beam noise of the same variance; (n,)."""
        frequency, power = radial_profile(self.spectrum)
        beam = radial_profile(_spectrum(self.beam, self.step))[1]
        return frequency * self.frequency_step, power, beam * self.covariance.variance


def _spectrum(covariance: CovarianceModel, step: int) -> FloatArray:
    power: FloatArray = fft.fftshift(power_spectrum(covariance.lags)) * step**2
    return power
