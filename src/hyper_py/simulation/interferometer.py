"""Maps of an interferometer: tracks in the (u, v) plane, their weights, the dirty beam and the CLEAN beam.

An interferometer measures the Fourier transform of the sky where its baselines are, and nowhere else. The
map of the visibilities, the dirty map, is the sky convolved with the transform of their weights, the dirty
beam: it has side lobes everywhere, and its integral is zero, because no baseline is zero. CLEAN replaces
the dirty beam by a Gaussian for the sources that it finds; noise, and what was not cleaned, keep it.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from hyper_py.arrays import FloatArray, IndexArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import GAUSSIAN_AREA, ellipse_from_covariance
from hyper_py.simulation import fields

IMAGES = ("dirty", "clean")
LAYOUTS = ("y", "line")
WEIGHTINGS = ("natural", "uniform")
ARMS = (-5.0, 115.0, 236.0)
"""Azimuths of the three arms of the VLA, degrees from north through east (Thompson et al. 1980)."""
STATION_POWER = 1.716
"""Stations are at distances n^1.716 along an arm (Thompson et al. 1980, ApJS 44, 151)."""
SAMPLES_PER_HOUR = 60
LEAST_PIXELS = 2.5
"""A dirty beam with fewer pixels in its FWHM has baselines beyond the map's Nyquist frequency."""


@dataclass(frozen=True, kw_only=True)
class Interferometer:
    """An array of antennas, how long it observes, and what is made of its visibilities.

    Attributes
    ----------
    image : str
        `dirty`: sources and background are seen through the dirty beam; `clean`: sources are restored with
        the CLEAN beam, down to `clean_depth`; background and noise keep the dirty beam.
    weighting : str
        `natural`: each visibility counts alike; `uniform`: each cell of the (u, v) plane counts alike.
    layout : str
        `y`: three arms, as the VLA; `line`: east to west with all spacings up to the longest (Moffet 1968,
        IEEE Transactions on Antennas and Propagation 16, 172), as AMI and Westerbork: noise is striped.
    antennas : int
        Of the line; of the three arms together, a multiple of three.
    hour_angles : (float, float)
        Hours from the meridian, from start to end.
    latitude : float
        Of the array, degrees.
    clean_depth : float
        CLEAN leaves this many times the noise of each source's peak uncleaned.
    """

    image: str = "clean"
    layout: str = "y"
    weighting: str = "natural"
    antennas: int = 27
    hour_angles: tuple[float, float] = (-2.0, 2.0)
    latitude: float = 34.08
    clean_depth: float = 0.0

    def __post_init__(self) -> None:
        start, end = self.hour_angles
        wrong = {
            "image": self.image not in IMAGES and f"must be one of {', '.join(IMAGES)}",
            "layout": self.layout not in LAYOUTS and f"must be one of {', '.join(LAYOUTS)}",
            "weighting": self.weighting not in WEIGHTINGS and f"must be one of {', '.join(WEIGHTINGS)}",
            "antennas": not (
                isinstance(self.antennas, int)
                and self.antennas >= 7
                and (self.antennas % 3 == 0 or self.layout == "line")
            )
            and "must be seven or more, and a multiple of three in layout y",
            "hour_angles": not -12 <= start < end <= 12 and "must be two hours, the smaller first",
            "latitude": not abs(self.latitude) <= 90 and "must be from -90 to 90 degrees",
            "clean_depth": not 0 <= self.clean_depth < math.inf and "must be zero or positive",
        }
        for key, words in wrong.items():
            if words:
                raise ConfigurationError(
                    f"simulation: interferometer.{key} is {getattr(self, key)!r}; it {words}"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampling:
    """Where on the grid's Fourier plane there are visibilities.

    Attributes
    ----------
    grid : (int, int)
        Shape of the grid.
    weight : ndarray, shape (gy, gx // 2 + 1)
        Sum of the weights in each cell, in the layout of `scipy.fft.rfft2`; zero where nothing was measured.
    noise_power : ndarray, shape (gy, gx // 2 + 1)
        Spectrum of unit rms of what white noise of the visibilities makes in the map.
    beam_covariance : ndarray, shape (2, 2)
        Of the CLEAN beam, the Gaussian that fits the core of the dirty beam; pixels squared.
    longest : float
        Longest baseline, cycles per pixel: there is no power beyond.
    """

    grid: tuple[int, int]
    weight: FloatArray
    noise_power: FloatArray
    beam_covariance: FloatArray
    longest: float

    @property
    def dirty_beam(self) -> FloatArray:
        """The dirty beam, peak 1 at pixel (gy // 2, gx // 2), shape of the grid. Its sum is zero."""
        centred: FloatArray = fft.fftshift(_transform(self.weight, self.grid))
        return centred

    def transfer(self, beam_area: float) -> FloatArray:
        """Return the Fourier transform of the dirty beam over the beam's area in pixels.

        It takes the sky to the dirty map, both in Jy/pixel: a point source of S Jy peaks at S Jy per
        `beam_area`.
        """
        return self.weight / (fields.plane_mean(self.weight, self.grid[1]) * beam_area)

    def peak_ratio(self, covariance: FloatArray) -> FloatArray:
        """Return the peak of a Gaussian source in the dirty map over the peak of the Gaussian that is drawn.

        The latter is the source convolved with the CLEAN beam. Both are equal for a point source.

        Parameters
        ----------
        covariance : ndarray, shape (n, 2, 2)
            Of the sources as drawn, pixels squared.
        """
        ky, kx = (np.broadcast_to(k, self.weight.shape) for k in fields.frequencies(self.grid))
        seen = self.weight > 0
        doubled = np.where(kx[seen] > 0, 2.0, 1.0) * self.weight[seen]
        waves = np.stack([kx[seen], ky[seen]])
        ratios = []
        for drawn in covariance:
            sky = drawn - self.beam_covariance
            dimmed = np.exp(-2.0 * math.pi**2 * np.sum(waves * (sky @ waves), axis=0))
            area = math.sqrt(np.linalg.det(drawn) / np.linalg.det(self.beam_covariance))
            ratios.append(area * np.sum(doubled * dimmed) / doubled.sum())
        return np.array(ratios)


def sample(
    array: Interferometer, *, grid: tuple[int, int], jacobian: FloatArray, declination: float, fwhm: float
) -> Sampling:
    """Return the sampled (u, v) plane of an array, scaled so that its beam has a given size.

    Parameters
    ----------
    array : Interferometer
    grid : (int, int)
        Even numbers of pixels of the grid on which maps are made.
    jacobian : ndarray, shape (2, 2)
        [[dE/dx, dE/dy], [dN/dx, dN/dy]] in arcsec per pixel.
    declination : float
        Of the map's centre, degrees.
    fwhm : float
        Geometric-mean FWHM of the CLEAN beam, pixels; reached to 1% where the grid is fine enough.

    Raises
    ------
    ConfigurationError
        If the centre is below the horizon, or the beam has too few pixels.
    """
    tracks = uv_tracks(array, declination=declination)
    waves = tracks @ (jacobian / math.sqrt(abs(np.linalg.det(jacobian))))
    waves /= np.hypot(*waves.T).max()
    longest = 0.6 / fwhm
    for _ in range(8):
        if fwhm < LEAST_PIXELS or longest >= 0.5:
            raise ConfigurationError(
                f"simulation: an interferometer's beam of {fwhm:.2g} pixels is too small for its map: "
                "lower pixel_scale or enlarge beam"
            )
        count = grid_visibilities(longest * waves, grid)
        weight = count if array.weighting == "natural" else (count > 0).astype(float)
        covariance = fit_core(_transform(weight, grid))
        ellipse = ellipse_from_covariance(covariance)
        reached = math.sqrt(float(ellipse.major * ellipse.minor)) / fwhm
        used = longest
        if abs(reached - 1.0) < 1e-3:
            break
        longest *= reached
    power = np.divide(weight**2, count, out=np.zeros_like(weight), where=count > 0)
    return Sampling(
        grid=grid, weight=weight, noise_power=power / fields.plane_mean(power, grid[1]),
        beam_covariance=covariance, longest=used,
    )  # fmt: skip


def uv_tracks(array: Interferometer, *, declination: float) -> FloatArray:
    """Return the (u, v) of all baselines at all times, shape (n, 2), the length of an arm being 1.

    From the equatorial components of the baselines (Thompson, Moran & Swenson 2017, Interferometry and
    Synthesis in Radio Astronomy, equations 4.1 to 4.3), antennas on a plane.
    """
    start, end = array.hour_angles
    hour = np.radians(15.0 * np.linspace(start, end, max(2, round((end - start) * SAMPLES_PER_HOUR))))
    dec, latitude = math.radians(declination), math.radians(array.latitude)
    height = math.sin(latitude) * math.sin(dec) + math.cos(latitude) * math.cos(dec) * np.cos(hour)
    if height.min() <= 0:
        raise ConfigurationError(
            f"simulation: declination {declination:g} is below the horizon at hour angles {start:g} to "
            f"{end:g} h at latitude {array.latitude:g}: change centre, interferometer.hour_angles or latitude"
        )
    east, north = antenna_positions(array)
    i, j = np.triu_indices(array.antennas, 1)
    along_x = -math.sin(latitude) * (north[i] - north[j])[:, None]
    along_y = (east[i] - east[j])[:, None]
    along_z = math.cos(latitude) * (north[i] - north[j])[:, None]
    u = np.sin(hour) * along_x + np.cos(hour) * along_y
    v = math.sin(dec) * (np.sin(hour) * along_y - np.cos(hour) * along_x) + math.cos(dec) * along_z
    return np.column_stack([u.ravel(), v.ravel()])


def antenna_positions(array: Interferometer) -> FloatArray:
    """Return (east, north) of the antennas, shape (2, n), the longest distance from the first being 1."""
    if array.layout == "line":
        east = np.cumsum([0, 1, 3, *[6] * (array.antennas - 6), 2, 3, 2])
        return np.stack([east / east[-1], np.zeros(array.antennas)])
    per_arm = array.antennas // len(ARMS)
    distance = (np.arange(1, per_arm + 1) / per_arm) ** STATION_POWER
    azimuth = np.radians(ARMS)
    return np.stack([np.outer(f(azimuth), distance).ravel() for f in (np.sin, np.cos)])


def grid_visibilities(waves: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Return how many visibilities are in each cell of the half Fourier plane, conjugates included.

    Parameters
    ----------
    waves : ndarray, shape (n, 2)
        (kx, ky) in cycles per pixel, below 0.5.
    grid : (int, int)
        Even numbers (gy, gx) of pixels.
    """
    ny, nx = grid
    plane = np.zeros(grid)
    cells: IndexArray = np.rint(waves * (nx, ny)).astype(np.intp)
    for sign in (1, -1):
        np.add.at(plane, (sign * cells[:, 1], sign * cells[:, 0]), 1.0)
    plane[0, 0] = 0.0  # a baseline that short is none
    return plane[:, : nx // 2 + 1]


def fit_core(beam: FloatArray) -> FloatArray:
    """Return the covariance (2, 2) in pixels of the Gaussian of peak 1 that fits a beam above its half.

    The peak is 1 at pixel (0, 0) of a periodic image. The logarithm of a Gaussian is a quadratic form: a
    linear fit, weighted with the values.
    """
    centred = fft.fftshift(beam)
    middle = centred.shape[0] // 2, centred.shape[1] // 2
    lobes, _ = ndimage.label(centred > 0.5)
    y, x = np.nonzero(lobes == lobes[middle])
    values, u, v = centred[y, x], x - float(middle[1]), y - float(middle[0])
    design = np.column_stack([u * u, 2.0 * u * v, v * v]) * values[:, None]
    a, b, c = np.linalg.lstsq(design, -2.0 * np.log(values) * values, rcond=None)[0]
    form = np.array([[a, b], [b, c]])
    if len(values) < 6 or np.linalg.eigvalsh(form)[0] <= 0:
        raise ConfigurationError(
            "simulation: the interferometer's beam has too few pixels: lower pixel_scale, enlarge beam, or "
            "observe for longer (interferometer.hour_angles), so that it is less elongated"
        )
    covariance: FloatArray = np.linalg.inv(form)
    return covariance


def beam_area(covariance: FloatArray) -> float:
    """Return the area in pixels of a Gaussian beam of given covariance."""
    ellipse = ellipse_from_covariance(covariance)
    return GAUSSIAN_AREA * float(ellipse.major * ellipse.minor)


def _transform(weight: FloatArray, grid: tuple[int, int]) -> FloatArray:
    image = fft.irfft2(weight, s=grid)
    result: FloatArray = image / image[0, 0]
    return result
