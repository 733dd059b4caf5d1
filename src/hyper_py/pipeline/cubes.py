"""Channels of a cube as a stream of maps: their sources, their backgrounds, and one list for all of them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.background.evaluate import painted
from hyper_py.background.selection import Choice, background_without_sources
from hyper_py.background.separate import FOOTPRINT_SIGMA, Boxes, separate_backgrounds
from hyper_py.background.wiener import smooth_background
from hyper_py.catalog import empty_catalog
from hyper_py.detection.given import FixedSources
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import InputError
from hyper_py.display import shows_keywords
from hyper_py.geometry import (
    Beam,
    Ellipse,
    celestial_degrees,
    covariance_from_ellipse,
    ellipse_from_covariance,
    position_angle_to_east_angle,
)
from hyper_py.image import SkyImage, checked_image
from hyper_py.noise.level import NoiseLevel
from hyper_py.noise.measure import outside_sources
from hyper_py.numerics import gaussians
from hyper_py.options import OptionChanges, Options
from hyper_py.pipeline.extraction import Extraction, extract_sources, name_rows

_SMALLEST_SHARE = 0.3
"""A source in a channel of a larger or smaller beam keeps at least this share of that beam's variance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """One list of sources for all channels, and the beam of the image that gave their sizes.

    Attributes
    ----------
    sources : FixedSources
    beam : Beam or None
        None if sizes are to be taken as they are.
    """

    sources: FixedSources
    beam: Beam | None = None

    def for_beam(self, beam: Beam) -> FixedSources:
        """Return the sources as they look through another beam: the change of its covariance is added."""
        own = self.sources
        if (
            self.beam is None
            or own.fwhm_1 is None
            or own.intrinsic
            or np.allclose(self.beam.covariance, beam.covariance)
        ):
            return own
        major = np.asarray(own.fwhm_1, dtype=np.float64)
        minor = major if own.fwhm_2 is None else np.asarray(own.fwhm_2, dtype=np.float64)
        pa = np.zeros_like(major) if own.pa is None else np.asarray(own.pa, dtype=np.float64)
        own_covariance = covariance_from_ellipse(major, minor, position_angle_to_east_angle(pa))
        change = beam.covariance - self.beam.covariance
        # In the beam's own scale the smallest eigenvalue says how much of a beam is left.
        root = np.linalg.cholesky(beam.covariance)
        inverse = np.linalg.inv(root)
        values, vectors = np.linalg.eigh(inverse @ (own_covariance + change) @ inverse.T)
        kept = (vectors * np.maximum(values, _SMALLEST_SHARE)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
        ellipse = ellipse_from_covariance(root @ kept @ root.T)
        angle = np.mod(90.0 - np.degrees(ellipse.angle), 180.0)
        return replace(own, fwhm_1=ellipse.major, fwhm_2=ellipse.minor, pa=angle)


@shows_keywords(OptionChanges)
def extract_cube(
    channels: Iterable[SkyImage], *, options: Options | None = None, reference: Reference | None = None,
    **changes: Unpack[OptionChanges],
) -> Iterator[Extraction]:  # fmt: skip
    """Find and measure the sources of a cube, channel by channel; one channel is in memory at a time.

    Parameters
    ----------
    channels : iterable of SkyImage
        Such as `hyper_py.open_cube` gives.
    options : Options, optional
        Default: those of a new configuration.
    reference : Reference, optional
        Sources to measure in every channel instead of detecting, see `reference_from`.
    **changes
        Other values of `options`, as in `hyper_py.extract_sources`.

    Yields
    ------
    Extraction
        One a channel, in order; without sources for a channel that is blank.

    Examples
    --------
    >>> import hyper_py
    >>> cube = hyper_py.simulate_cube(seed=1, n_channels=2, shape=(100, 100), n_sources=4, line_fwhm=(8, 8))
    >>> channels = (channel.image for channel in cube)
    >>> len(list(hyper_py.extract_cube(channels, detection={"sigma_thres": 5})))
    2
    """
    chosen = Options.chosen(options, **changes)
    if isinstance(channels, str | Path | np.ndarray | SkyImage):
        raise InputError(
            f"channels: a {type(channels).__name__}: give hyper_py.open_cube(path), or a list of maps, such "
            "as [hyper_py.as_sky_image(plane, ...) for plane in data]"
        )
    if reference is not None and not isinstance(reference, Reference):
        raise InputError(
            f"reference=: a {type(reference).__name__}: give hyper_py.reference_from(extraction)"
        )
    return (
        extract_channel(checked_image(image, name="channels"), options=chosen, reference=reference)
        for image in channels
    )


def extract_channel(image: SkyImage, *, options: Options, reference: Reference | None = None) -> Extraction:
    """Find and measure the sources of one channel, in which there may be nothing at all.

    Sources of a reference that are on blank pixels of the channel are left out; the others keep the HYPER_ID
    of their place in the list.
    """
    finite = image.data[np.isfinite(image.data)]
    if finite.size == 0 or np.ptp(finite) == 0.0 or "constant" in image.meta:
        nothing = _nothing_found(image, options, mean=float(finite[0]) if finite.size else math.nan)
        if reference is not None:
            own = reference.sources
            name_rows(nothing.catalog, own.only(np.zeros(own.longitude.size, dtype=bool)))
        return nothing
    if reference is None:
        return extract_sources(image, options=options)
    sources = reference.for_beam(image.beam)
    shown = _on_data(image, sources)
    return extract_sources(image, options=options, fixed=sources.only(shown))


def _on_data(image: SkyImage, sources: FixedSources) -> BoolArray:
    """Return which sources are not on blank pixels; those beyond the map count as shown."""
    x, y = sources.pixels(image.wcs)
    on_map = sources.on_map(image)
    rows = np.rint(np.where(on_map, y, 0.0)).astype(int)
    columns = np.rint(np.where(on_map, x, 0.0)).astype(int)
    shown: BoolArray = ~on_map | np.isfinite(image.data[rows, columns])
    return shown


def _nothing_found(image: SkyImage, options: Options, *, mean: float) -> Extraction:
    """Return the extraction of a channel that is blank, or the same everywhere."""
    none = np.empty(0)
    return Extraction(
        image=image,
        options=options,
        catalog=empty_catalog(convert_mjy=options.convert_mJy),
        noise=NoiseLevel(mean=mean, rms=0.0 if math.isfinite(mean) else math.nan),
        peaks=Peaks(**dict.fromkeys(Peaks.__dataclass_fields__, none)),
    )


# --------------------------------------------------------------------------------------------- backgrounds


def channel_background(extraction: Extraction, *, extent: str = "boxes") -> FloatArray:
    """Return the background of a channel in Jy/pixel, shape (ny, nx).

    Without sources it is that of `background.pol_orders_bkg_no_sources` over the whole plane. With sources,
    `background.method: polynomial` joins the polynomials of the sources' boxes, with weights that vanish at
    the edges of each; `conditional` estimates one smooth field over the whole plane, see
    `hyper_py.background.wiener`.

    Parameters
    ----------
    extraction : Extraction
        Of the channel.
    extent : {"boxes", "plane"}
        Where it is given: in the boxes of the sources, NaN elsewhere; or everywhere. Polynomials then are
        fitted in overlapping tiles of the size of the boxes.

    Returns
    -------
    ndarray
        NaN where the channel is blank.
    """
    image, background = extraction.image, extraction.options.background
    finite = np.isfinite(image.data)
    if not finite.any():
        return np.full(image.shape, np.nan)
    if not background.is_subtracted:
        return np.where(finite, 0.0, np.nan)
    conditional = background.method == "conditional"
    whole = extent == "plane" or background.fix_min_box == 0
    if len(extraction.sources) == 0 and not (conditional and extent == "plane" and extraction.noise.typical):
        values = _background_without_sources(extraction)
    elif conditional:
        values = _smooth_field(extraction)
        if not whole:
            values[~source_boxes(extraction)] = np.nan
    else:
        values = _joined_polynomials(extraction, tiled=whole and background.fix_min_box > 0)
    values[~finite] = np.nan
    return values


def _background_without_sources(extraction: Extraction) -> FloatArray:
    image, options = extraction.image, extraction.options
    typical = extraction.noise.typical
    polynomial = background_without_sources(
        image.data,
        orders=options.background.pol_orders_bkg_no_sources,
        rms=typical if typical > 0.0 else 1.0,
        beam_area=image.beam_area_pix,
        criterion=options.fit_options.min_method,
    )
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return polynomial.evaluate(y, x)


def _smooth_field(extraction: Extraction) -> FloatArray:
    image = extraction.image
    return smooth_background(
        extraction.residual_image(),
        gaussians.footprints(extraction.sources, image.shape),
        beam_covariance=image.central_beam_covariance,
        beam_fwhm=image.beam_fwhm_pix,
    )


def _boxes(extraction: Extraction) -> Boxes:
    options, image = extraction.options, extraction.image
    return Boxes(
        beam_fwhm=image.beam_fwhm_pix,
        beam_area=image.beam_area_pix,
        min_box=options.background.fix_min_box,
        max_box=options.background.fix_max_box,
        aper_sup=options.largest_size,
    )


def source_boxes(extraction: Extraction) -> BoolArray:
    """Return where the box of any source is: squares of the largest side that the options allow."""
    covered = np.zeros(extraction.image.shape, dtype=bool)
    half = _boxes(extraction).sides(0.0)[-1] // 2
    for x, y in np.rint(extraction.sources[:, [gaussians.X, gaussians.Y]]).astype(int):
        covered[max(y - half, 0) : max(y + half + 1, 0), max(x - half, 0) : max(x + half + 1, 0)] = True
    return covered


def _joined_polynomials(extraction: Extraction, *, tiled: bool) -> FloatArray:
    """Return the polynomials of the groups' boxes, or of tiles, averaged where they overlap."""
    options, image = extraction.options, extraction.image
    if not tiled and options.background.method == "polynomial":
        return extraction.background_image()
    sources = _tile_centres(extraction) if tiled else extraction.sources
    backgrounds = separate_backgrounds(
        outside_sources(extraction.residual_image(), extraction.sources, n_sigma=FOOTPRINT_SIGMA),
        sources,
        [np.array([k]) for k in range(len(sources))],
        boxes=_boxes(extraction),
        choice=Choice(
            orders=options.background.pol_orders_separate,
            estimators=options.fit_options.bg_fitters,
            huber_epsilons=options.fit_options.huber_epsilons,
            criterion=options.fit_options.min_method,
            clip_sigma=3.0,
        ),
        rms=extraction.rms,
    )
    usable = [own for own in backgrounds if own.polynomial.status != "no_pixels"]
    return painted(usable, (slice(0, image.shape[0]), slice(0, image.shape[1])))


def _tile_centres(extraction: Extraction) -> FloatArray:
    """Return centres, as sources, of tiles over the plane, half the smallest box apart."""
    step = max(_boxes(extraction).sides(0.0)[0] // 2, 1)
    y, x = (np.linspace(0.0, n - 1.0, max(math.ceil((n - 1) / step), 1) + 1) for n in extraction.image.shape)
    centres = np.zeros((y.size * x.size, gaussians.N_PARAMETERS))
    centres[:, gaussians.Y], centres[:, gaussians.X] = (
        axis.ravel() for axis in np.meshgrid(y, x, indexing="ij")
    )
    return centres


def channel_planes(extraction: Extraction, *, kinds: Iterable[str], extent: str) -> dict[str, FloatArray]:
    """Return the planes of a channel's product cubes in Jy/pixel; NaN where they are not defined.

    Parameters
    ----------
    kinds : iterable of str
        background; model: the fitted Gaussians; subtracted: data minus background; residual: data minus
        background minus model.
    extent : str
        See `channel_background`.
    """
    data, wanted = extraction.image.data, set(kinds)
    planes = {}
    if wanted - {"model"}:
        planes["background"] = channel_background(extraction, extent=extent)
        planes["subtracted"] = data - planes["background"]
    if wanted & {"model", "residual"}:
        planes["model"] = np.where(np.isfinite(data), extraction.model_image(), np.nan)
    if "residual" in wanted:
        planes["residual"] = planes["subtracted"] - planes["model"]
    return {kind: planes[kind] for kind in wanted}


# ------------------------------------------------------------------------------- one list for all channels


def reference_from(extraction: Extraction, *, keep_shapes: bool = True) -> Reference:
    """Return the sources of one image as the list for all channels.

    Parameters
    ----------
    extraction : Extraction
        Of a mean image or a channel.
    keep_shapes : bool
        Whether channels keep the fitted sizes, adapted to their beams; else each fits its own.

    Raises
    ------
    InputError
        If there are no sources.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    >>> found = hyper_py.extract_sources(sky.image)
    >>> wider = hyper_py.Beam(major=2 * found.image.beam.major, minor=2 * found.image.beam.major)
    >>> len(hyper_py.reference_from(found).for_beam(wider).hyper_ids)
    3
    """
    table, image = extraction.catalog, extraction.image
    good = np.isfinite(table["X"].value + table["FWHM_1"].value) if len(table) else np.zeros(0, dtype=bool)
    if not good.any():
        raise InputError(
            f"{image.name}: no source was found to measure in all channels: lower detection.sigma_thres, "
            "or set cube.positions to per_channel"
        )
    rows = table[good]
    longitude, latitude = celestial_degrees(image.wcs, rows["X"].value, rows["Y"].value)
    sources = FixedSources(longitude=longitude, latitude=latitude)
    if not keep_shapes:
        return Reference(sources=sources)
    ellipse = Ellipse(*(rows[name].value for name in ("FWHM_1", "FWHM_2", "PA")))
    shaped = replace(sources, fwhm_1=ellipse.major, fwhm_2=ellipse.minor, pa=ellipse.angle)
    return Reference(sources=shaped, beam=image.beam)
