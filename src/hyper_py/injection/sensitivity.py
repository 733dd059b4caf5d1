"""How faint a source a map can show, and where: the noise of the filter that is optimal for a point source.

This is measured on the map without its sources and knows nothing of how the pipeline detects: it says at
which signal to noise a source was injected, whatever finds it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft, ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.validation.comparison import SCATTER_PER_MAD

CELL_BEAMS = 8.0
"""Side in beams of the cells in which the local rms is measured."""
KERNEL_BEAMS = 4.0
"""Radius of the filter in beams, for the response to sources of other shapes."""
POWER_FLOOR = 0.03
"""Least power over its mean inside the beam's band: frequencies without any would get all the weight."""
_LEAST_SHARE = 0.15
_LEAST_WEIGHT = 0.02
_FILL_WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensitivity:
    """Noise of the optimal filter on one map.

    Attributes
    ----------
    sigma : ndarray, shape (ny, nx)
        1-sigma error of the amplitude of a beam-sized source of known position, Jy/pixel; NaN where blank.
    kernel : ndarray, shape (2 r + 1, 2 r + 1)
        The filter around its centre, of response 1 to a beam-sized source of amplitude 1.
    flattened : ndarray, shape (ny, nx)
        The map without sources, less its mean, over `rms`; NaN where blank.
    rms : ndarray, shape (ny, nx)
        Local rms of the map without sources, Jy/pixel.
    mean : float
        Median of the map without sources, Jy/pixel.
    """

    sigma: FloatArray
    kernel: FloatArray
    flattened: FloatArray
    rms: FloatArray
    mean: float

    @cached_property
    def valid(self) -> BoolArray:
        """Where the map has data, (ny, nx)."""
        return np.isfinite(self.flattened)

    def response(self, parameters: FloatArray) -> FloatArray:
        """Return the filter's answer over the amplitude to Gaussians of shape (n, 6), at their centres."""
        radius = self.kernel.shape[0] // 2
        dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        a, b, c = (e[:, :, None] for e in gaussians.exponents(parameters))
        answers: FloatArray = np.einsum(
            "yx,nyx->n", self.kernel, np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
        )
        return answers

    def signal_to_noise(self, parameters: FloatArray) -> FloatArray:
        """Return the expected signal to noise of Gaussians of shape (n, 6) on the map; NaN where blank."""
        return (
            parameters[:, gaussians.AMPLITUDE] * self.response(parameters) / at_pixels(self.sigma, parameters)
        )


def at_pixels(image: FloatArray, parameters: FloatArray) -> FloatArray:
    """Return the values of an image (ny, nx) at the pixels of Gaussians of shape (n, 6), NaN off the map."""
    x, y = (np.rint(parameters[:, k]) for k in (gaussians.X, gaussians.Y))
    ny, nx = image.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    values = np.full(len(parameters), np.nan)
    values[inside] = image[y[inside].astype(int), x[inside].astype(int)]
    return values


def measure_sensitivity(
    residual: FloatArray, *, beam_covariance: FloatArray, relative_rms: FloatArray | None = None
) -> Sensitivity:
    """Measure the noise of the optimal filter on a map without sources.

    The filter is template over power spectrum; noise and background are taken as one random field whose
    strength varies over the map and whose spectrum does not.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus its sources, Jy/pixel; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Of the beam, pixels^2.
    relative_rms : ndarray, shape (ny, nx), optional
        How the noise varies over the map where that is known, such as from an error map.

    Returns
    -------
    Sensitivity
    """
    beam = np.column_stack([np.ones(1), np.zeros((1, 2)), gaussians.shape_parameters(beam_covariance[None])])
    fwhm = FWHM_PER_SIGMA * float(np.sqrt(beam[0, gaussians.SIGMA_1] * beam[0, gaussians.SIGMA_2]))
    cell = max(round(CELL_BEAMS * fwhm), 8)
    known = np.isfinite(residual)
    coverage = np.ones(residual.shape) if relative_rms is None else relative_rms
    mean = float(np.median(residual[known]))
    centred = np.where(known, residual - mean, np.nan)
    rms = coverage * local_rms(centred / coverage, cell=cell)
    flattened = centred / rms
    field = periodic_part(filled(flattened))
    # A Gaussian around pixel (0, 0) is symmetric: its transform is real, and so is the filter.
    template = fft.rfft2(centred_gaussian(beam, flattened.shape)).real
    transfer = template / smoothed_power(field, template)
    transfer /= full_mean(transfer * template, flattened.shape[1])
    filtered = fft.irfft2(fft.rfft2(field) * transfer, s=flattened.shape)
    radius = int(min(np.ceil(KERNEL_BEAMS * fwhm), (min(flattened.shape) - 1) // 2))
    kernel = fft.irfft2(transfer, s=flattened.shape)
    lags = np.arange(-radius, radius + 1)
    noise = local_rms(np.where(known, filtered, np.nan), cell=cell)
    return Sensitivity(
        sigma=np.where(known, noise * rms, np.nan), kernel=kernel[np.ix_(lags, lags)], flattened=flattened,
        rms=rms, mean=mean,
    )  # fmt: skip


def local_rms(data: FloatArray, *, cell: int) -> FloatArray:
    """Return the local rms of an image, shape (ny, nx): 1.4826 MAD in square cells, smoothed, interpolated.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        NaN takes no part.
    cell : int
        Side of the cells in pixels.
    """
    ny, nx = data.shape
    edges = [np.linspace(0, n, max(round(n / cell), 1) + 1).astype(int) for n in (ny, nx)]
    values = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1))
    weights = np.zeros_like(values)
    for i, j in np.ndindex(values.shape):
        piece = data[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]]
        numbers = piece[np.isfinite(piece)]
        if numbers.size >= _LEAST_SHARE * piece.size:
            values[i, j] = SCATTER_PER_MAD * np.median(np.abs(numbers - np.median(numbers)))
            weights[i, j] = numbers.size * (values[i, j] > 0.0)
    if not weights.any():
        numbers = data[np.isfinite(data)]
        return np.full(data.shape, float(np.std(numbers)) or 1.0)
    kernel = np.array([0.25, 0.5, 0.25])

    def smooth(mesh: FloatArray) -> FloatArray:
        result: FloatArray = ndimage.correlate1d(
            ndimage.correlate1d(mesh, kernel, axis=0, mode="constant"), kernel, axis=1, mode="constant"
        )
        return result

    total = smooth(weights)
    mesh = np.exp(
        smooth(weights * np.log(np.where(weights > 0, values, 1.0))) / np.where(total > 0, total, 1.0)
    )
    nearest = ndimage.distance_transform_edt(total <= 0, return_distances=False, return_indices=True)
    mesh = mesh[tuple(nearest)]
    centres = [0.5 * (edge[1:] + edge[:-1] - 1.0) for edge in edges]
    places = [np.interp(np.arange(n), c, np.arange(c.size)) for n, c in zip((ny, nx), centres, strict=True)]
    rows = _interpolated(mesh, places[0])
    return _interpolated(rows.T, places[1]).T.copy()


def _interpolated(values: FloatArray, places: FloatArray) -> FloatArray:
    """Interpolate the rows of an image linearly at fractional indices."""
    below = np.minimum(places.astype(int), max(len(values) - 2, 0))
    share = (places - below)[:, None]
    result: FloatArray = (1.0 - share) * values[below] + share * values[
        np.minimum(below + 1, len(values) - 1)
    ]
    return result


def filled(flattened: FloatArray) -> FloatArray:
    """Return an image of which the blank pixels continue the others smoothly, and are 0 far from any.

    Each takes the Gaussian mean around it of the narrowest width that reaches data.
    """
    known = np.isfinite(flattened)
    result = np.where(known, flattened, 0.0)
    values, weights, done = result.copy(), known.astype(np.float64), known.copy()
    for width in _FILL_WIDTHS:
        if done.all():
            break
        sums, weight = (ndimage.gaussian_filter(a, width, mode="constant") for a in (values, weights))
        near = ~done & (weight > _LEAST_WEIGHT)
        result[near] = sums[near] / weight[near]
        done |= near
    return result


def periodic_part(image: FloatArray) -> FloatArray:
    """Return an image without the jumps between its opposite edges, which would add power to its spectrum.

    The image minus the smooth solution of a Poisson equation (Moisan 2011, J. Math. Imaging Vis. 39, 161).
    """
    ny, nx = image.shape
    jumps = np.zeros(image.shape)
    rows, columns = image[-1] - image[0], image[:, -1] - image[:, 0]
    jumps[0] += rows
    jumps[-1] -= rows
    jumps[:, 0] += columns
    jumps[:, -1] -= columns
    ky, kx = fft.fftfreq(ny)[:, None], fft.rfftfreq(nx)[None]
    laplacian = 2.0 * (np.cos(2.0 * np.pi * ky) + np.cos(2.0 * np.pi * kx) - 2.0)
    laplacian[0, 0] = 1.0
    spectrum = fft.rfft2(jumps) / laplacian
    spectrum[0, 0] = 0.0
    result: FloatArray = image - fft.irfft2(spectrum, s=image.shape)
    return result


def centred_gaussian(beam: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return a Gaussian of parameters (1, 6) around pixel (0, 0) of a periodic image."""
    dy = fft.fftfreq(shape[0], 1.0 / shape[0])[:, None]
    dx = fft.fftfreq(shape[1], 1.0 / shape[1])[None]
    a, b, c = (e.item() for e in gaussians.exponents(beam))
    result: FloatArray = beam[0, gaussians.AMPLITUDE] * np.exp(
        -(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy)
    )
    return result


def smoothed_power(field: FloatArray, template: FloatArray) -> FloatArray:
    """Return the power spectrum of a periodic image, smoothed in its logarithm, with a floor.

    Parameters
    ----------
    field : ndarray, shape (ny, nx)
    template : ndarray, shape (ny, nx // 2 + 1)
        Transform of the beam.
    """
    ny, nx = field.shape
    power = np.abs(fft.fft2(field)) ** 2
    power[0, 0] = 0.25 * (power[0, 1] + power[1, 0] + power[0, -1] + power[-1, 0])
    width = max(1.0, min(ny, nx) / 100.0)
    tiny = 1e-12 * float(power.mean())
    smooth = np.exp(ndimage.gaussian_filter(np.log(power + tiny), width, mode="wrap"))[:, : nx // 2 + 1]
    weight = template**2
    floor = POWER_FLOOR * full_mean(weight * smooth, nx) / full_mean(weight, nx)
    raised: FloatArray = np.maximum(smooth, floor)
    return raised


def full_mean(half: FloatArray, nx: int) -> float:
    """Return the mean over the whole Fourier plane of half of it, as `scipy.fft.rfft2` lays it out."""
    doubled = 2.0 * half.sum() - half[:, 0].sum() - (half[:, -1].sum() if nx % 2 == 0 else 0.0)
    return float(doubled / (half.shape[0] * nx))
