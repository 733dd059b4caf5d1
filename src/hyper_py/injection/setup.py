"""The map that sources are injected into, with its catalogue, its noise and the shapes of its own sources."""

import pickle
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError, Flag, InputError
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.injection.sensitivity import Sensitivity, at_pixels, measure_sensitivity
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline.extraction import Extraction

SEPARATION_BEAMS = 5.0
"""Least distance between two injected sources: they are no neighbours of each other."""
SHARE_OF_SOURCES = 0.25
"""Injected sources over those of the catalogue, in one realisation: so that crowding does not change."""
BEAMS_PER_SOURCE = 250.0
"""Beams of the map for each injected source, where the catalogue has few."""
FEWEST = 4
LEAST_ROOM = 2
_SHAPE_FLAGS = Flag.SIZE_AT_BOUND | Flag.FIT_FAILED | Flag.SHAPE_ASSUMED | Flag.EDGE | Flag.NOT_CONVERGED
_LEAST_SNR = 5.0
"""Of sources whose sizes are injected. Small sources reach a higher one with the same peak, so that a high
limit prefers them; sizes of faint sources scatter, and are right on average."""
_FEWEST_SHAPES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class InjectionSetup:
    """All that realisations have in common; picklable.

    Attributes
    ----------
    image : SkyImage
    options : Options
    known : ndarray, shape (n, 6)
        Gaussians of the map's own catalogue, in the order of `hyper_py.numerics.gaussians`.
    sensitivity : Sensitivity
    usable : ndarray of bool, shape (ny, nx)
        Where sources are injected: where the pipeline can find one.
    beam : ndarray, shape (3,)
        sigma_1, sigma_2, theta of the beam in pixels.
    shapes : ndarray, shape (k, 3)
        The same of the map's own sources; the beam's where too few are measured well.
    neighbours : ndarray, shape (n,)
        Distance in pixels from each row of the catalogue to the next one.
    n_sources : int
        To inject in one realisation.
    """

    image: SkyImage
    options: Options
    known: FloatArray
    sensitivity: Sensitivity
    usable: BoolArray
    beam: FloatArray
    shapes: FloatArray
    neighbours: FloatArray
    n_sources: int

    @property
    def fwhm(self) -> float:
        """Mean FWHM of the beam in pixels."""
        return _mean_fwhm(self.beam)

    @property
    def separation(self) -> float:
        """Least distance between injected sources, in pixels."""
        return SEPARATION_BEAMS * self.fwhm

    def light(self, parameters: FloatArray) -> FloatArray:
        """Return the light of the catalogue's sources at the pixels of Gaussians (n, 6), Jy/pixel."""
        return at_pixels(gaussians.render(self.known, self.image.shape), parameters)

    @property
    def typical_sigma(self) -> float:
        """Median noise of the optimal filter where sources are injected, Jy/pixel."""
        return float(np.nanmedian(self.sensitivity.sigma[self.usable]))


def make_setup(extraction: Extraction, *, n_sources: int | None = None) -> InjectionSetup:
    """Prepare injections into a map of which the sources are known.

    Parameters
    ----------
    extraction : Extraction
        Of the map as it is.
    n_sources : int, optional
        How many to inject in one realisation; by default a quarter of the catalogue or one in 250 beams,
        whichever is more.

    Raises
    ------
    ConfigurationError
        For options that measure no detected sources.
    InputError
        If the map is too small for two sources far enough from its edges and from each other.
    """
    # What is injected is positive.
    options = extraction.options.updated(detection={"negative": False})
    # A pickled WCS has been through the text of a header. All realisations see that one, or those of worker
    # processes would differ in the last digits.
    image = replace(extraction.image, wcs=pickled_copy(extraction.image.wcs))
    if options.detection_only:
        raise ConfigurationError("completeness: needs measured sources; set control.detection_only: false")
    if not image.is_whole:
        raise ConfigurationError(
            f"{image.name}: completeness needs the map in memory; set control.max_memory higher, or cut it"
        )
    covariance = image.central_beam_covariance
    beam = gaussians.shape_parameters(covariance)
    fwhm = _mean_fwhm(beam)
    known = extraction.sources[np.isfinite(extraction.sources).all(axis=1)]
    sensitivity = measure_sensitivity(
        extraction.residual_image(), beam_covariance=covariance, relative_rms=image.relative_rms
    )
    inside = pixels_inside(
        sensitivity.valid, border=options.photometry.aper_inf * image.beam_fwhm_pix,
        blanks=max(options.photometry.aper_inf, 0.5) * fwhm,
    )  # fmt: skip
    if image.searched is not None:
        inside &= np.asarray(image.searched) != 0.0
    # Random places fill about half of what could be filled.
    capacity = int(inside.sum() / (2.0 * (SEPARATION_BEAMS * fwhm) ** 2))
    if capacity < LEAST_ROOM:
        raise InputError(
            f"{image.name}: too small: no room for {LEAST_ROOM} injected sources {SEPARATION_BEAMS:g} beams "
            "apart"
        )
    if n_sources is None:
        by_area = inside.sum() / (image.beam_area_pix * BEAMS_PER_SOURCE)
        n_sources = max(round(SHARE_OF_SOURCES * len(known)), round(by_area), FEWEST)
    n_sources = min(n_sources, capacity)
    return InjectionSetup(
        image=image, options=options, known=known, sensitivity=sensitivity, usable=inside, beam=beam,
        shapes=_own_shapes(extraction, beam), neighbours=_next_distances(known), n_sources=n_sources,
    )  # fmt: skip


def pickled_copy(value: Any) -> Any:
    """Return what other processes see of a value; its WCS does not give its warnings again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.loads(pickle.dumps(value))


def pixels_inside(valid: BoolArray, *, border: float, blanks: float) -> BoolArray:
    """Return the pixels in which a source can be detected wherever in the pixel it is, (ny, nx).

    Parameters
    ----------
    valid : ndarray of bool, shape (ny, nx)
        Where the map has data.
    border : float
        Distance that the detection keeps from the centres of the outermost pixels, pixels.
    blanks : float
        Least distance of a pixel from blank ones, pixels.
    """
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) - 0.5 >= border for n in valid.shape)
    # A map without blanks has no nearest one.
    inside = rows[:, None] & columns & valid
    if not valid.all():
        inside &= distance_transform_edt(valid) > blanks
    return inside


def _mean_fwhm(beam: FloatArray) -> float:
    return float(FWHM_PER_SIGMA * np.sqrt(beam[0] * beam[1]))


def _own_shapes(extraction: Extraction, beam: FloatArray) -> FloatArray:
    """Return the shapes of well measured sources, (k, 3); the beam's if there are too few."""
    table, sources = extraction.catalog, extraction.sources
    if len(table) != len(sources):
        return beam[None]
    good = np.isfinite(sources).all(axis=1) & (np.asarray(table["FLAGS"]) & int(_SHAPE_FLAGS) == 0)
    bright = good & (np.asarray(table["SNR"], dtype=np.float64) >= _LEAST_SNR)
    chosen = bright if bright.sum() >= _FEWEST_SHAPES else good
    shapes: FloatArray = sources[chosen][:, gaussians.SIGMA_1 :]
    return shapes if len(shapes) >= _FEWEST_SHAPES else beam[None]


def _next_distances(known: FloatArray) -> FloatArray:
    """Return the distance of each source to the next, (n,); infinite for a single one."""
    places = known[:, [gaussians.X, gaussians.Y]]
    if len(places) < 2:
        return np.full(len(places), np.inf)
    distances: FloatArray = cKDTree(places).query(places, k=2)[0][:, 1]
    return distances
