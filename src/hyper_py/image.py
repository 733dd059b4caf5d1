"""`SkyImage`: one map with its error, mask, coordinates and beam."""

from __future__ import annotations  # short signatures in notebooks

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.beams import beam_of_mean
from hyper_py.diagnostics import InputError
from hyper_py.display import Summarised, Summary
from hyper_py.geometry import (
    Beam,
    celestial_frame,
    local_jacobian,
    reference_jacobian,
    transform_covariance,
)
from hyper_py.numerics.tiles import LazyPlane, Plane, at, combined, kept_like, sample

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyImage(Summarised):
    """A map in Jy/pixel with its sky coordinates and beam.

    Attributes
    ----------
    data : ndarray, shape (ny, nx)
        Jy/pixel, float64; blank pixels are NaN. For a map too large for memory, a plane that reads pixels
        when they are needed, see `is_whole`.
    wcs : astropy.wcs.WCS
        Two celestial axes.
    beam : Beam
        The map's beam.
    name : str
        Name used for outputs and in messages.
    unit : str
        The unit of the file, in which FITS products are written back.
    jy_per_pixel : float or ndarray of shape (ny, nx)
        Value of one `unit` in Jy/pixel; an array if pixel areas vary over the map.
    error : ndarray, shape (ny, nx), optional
        1-sigma error in Jy/pixel; a plane like `data` if that is one.
    primary_beam : ndarray, shape (ny, nx), optional
        Response by which `data` and `error` were divided; `flat_noise` multiplies by it again. A plane like
        `data` if that is one.
    searched : ndarray of bool or Plane, shape (ny, nx), optional
        Where sources are looked for; everywhere if not given. Noise and background are those of all pixels.
    meta : dict
        Facts from the header that outputs repeat: `frequency` in Hz, `object`, `history`.

    Examples
    --------
    >>> import hyper_py
    >>> image = hyper_py.simulate_image("faint", seed=1, shape=(60, 80), n_sources=2, unit="Jy/beam").image
    >>> image.shape, image.unit, image.frame
    ((60, 80), 'Jy/beam', 'icrs')
    >>> peak = image.data.max() / image.jy_per_pixel  # in the unit of the file
    >>> f"{image.beam_fwhm_pix:.2f} pixels per beam"
    '3.31 pixels per beam'
    """

    data: FloatArray
    wcs: Any
    beam: Beam
    name: str = "map"
    unit: str = "Jy/pixel"
    jy_per_pixel: float | FloatArray = 1.0
    error: FloatArray | None = None
    primary_beam: FloatArray | None = None
    searched: BoolArray | Plane | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, dtype = getattr(self.data, "shape", None), getattr(self.data, "dtype", None)
        is_plain = (
            not hasattr(self.data, "unit") and isinstance(self.wcs, WCS) and isinstance(self.beam, Beam)
        )
        if shape is None or len(shape) != 2 or dtype != np.float64 or not is_plain:
            kinds = f"data: {type(self.data).__name__} {dtype or ''}, wcs: {type(self.wcs).__name__}, "
            raise InputError(
                f"{self.name}: a SkyImage needs a 2D float64 array in Jy/pixel, a WCS and a Beam, not {kinds}"
                f"beam: {type(self.beam).__name__}; hyper_py.as_sky_image converts the rest"
            )
        for label, other in (
            ("error map", self.error),
            ("primary beam", self.primary_beam),
            ("region", self.searched),
        ):
            if other is not None and other.shape != self.data.shape:
                raise InputError(
                    f"{self.name}: {label} of shape {other.shape} for data of shape {self.data.shape}"
                )
        if not self.wcs.has_celestial or self.wcs.naxis != 2:
            raise InputError(f"{self.name}: the coordinate system must have two celestial axes")
        celestial_frame(self.wcs)

    def _summary(self) -> Summary:
        ny, nx = self.shape
        beam = self.beam
        facts = [
            ("pixels", f"{nx} x {ny} of {self.pixel_scale:.4g} arcsec, {self.frame}"),
            ("beam", f"{beam.major:.4g} x {beam.minor:.4g} arcsec, PA {beam.pa:.4g} deg ({beam.source})"),
            ("unit", f"{self.unit}; data are in Jy/pixel"),
        ]
        if not self.is_whole:
            facts.append(("data", "in the file, read in pieces"))
        elif n_blank := self.data.size - int(np.count_nonzero(np.isfinite(self.data))):
            facts.append(("blank", f"{n_blank / self.data.size:.3g} of the pixels ({n_blank})"))
        beside = {"error map": self.error, "primary beam": self.primary_beam}
        if known := [name for name, plane in beside.items() if plane is not None]:
            facts.append(("with", ", ".join(known)))
        if frequency := self.meta.get("frequency"):
            facts.append(("frequency", f"{frequency / 1e9:.6g} GHz"))
        changed = [self.meta[key] for key in ("levels", "errors") if key in self.meta]
        said = (*self.meta.get("fill", ()), *changed, *self.meta.get("notes", ()))
        facts += [("note", text) for text in said]
        return Summary(title=f"SkyImage {self.name!r}", facts=tuple(facts))

    @property
    def is_whole(self) -> bool:
        """Whether the pixels are in memory; if not, `data` is a `hyper_py.numerics.tiles.LazyPlane`."""
        return isinstance(self.data, np.ndarray)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.data.shape[0], self.data.shape[1]

    @cached_property
    def reference_jacobian(self) -> FloatArray:
        """Jacobian (2, 2) in arcsec/pixel at the reference pixel, or near the centre if it is off the map."""
        return reference_jacobian(self.wcs, self.shape)

    def jacobian(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Jacobian (..., 2, 2) in arcsec/pixel at pixels; the reference's outside the projection."""
        local = local_jacobian(self.wcs, x, y)
        missing = ~np.isfinite(local).all(axis=(-1, -2))
        local[missing] = self.reference_jacobian
        return local

    @cached_property
    def pixel_scale(self) -> float:
        """Side in arcsec of a square pixel of the reference pixel's area."""
        return float(np.sqrt(abs(np.linalg.det(self.reference_jacobian))))

    def beam_covariance(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Covariance (..., 2, 2) of the beam in pixels at zero-based pixel positions."""
        return transform_covariance(self.beam.covariance, np.linalg.inv(self.jacobian(x, y)))

    @cached_property
    def central_beam_covariance(self) -> FloatArray:
        """Covariance (2, 2) of the beam in pixels at the middle of the map."""
        ny, nx = self.shape
        return self.beam_covariance(0.5 * (nx - 1), 0.5 * (ny - 1))

    @cached_property
    def beam_fwhm_pix(self) -> float:
        """Geometric mean FWHM of the beam in pixels, at the reference."""
        return self.beam.fwhm / self.pixel_scale

    @cached_property
    def beam_area_pix(self) -> float:
        """Beam area in pixels, at the reference."""
        return self.beam.solid_angle / self.pixel_scale**2

    def is_searched(self, x: ArrayLike, y: ArrayLike) -> BoolArray:
        """Return whether sources are looked for at zero-based pixel positions, (n,); beside the map too."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if self.searched is None:
            return np.ones(x.shape, dtype=np.bool_)
        ny, nx = self.shape
        rows = np.clip(np.rint(np.nan_to_num(y)), 0, ny - 1).astype(np.int64)
        columns = np.clip(np.rint(np.nan_to_num(x)), 0, nx - 1).astype(np.int64)
        found: BoolArray = at(self.searched, rows, columns) != 0.0
        return found

    @property
    def flat_noise(self) -> FloatArray:
        """Data before the correction for the primary beam, (ny, nx)."""
        return self.data if self.primary_beam is None else self._with(np.multiply, self.primary_beam)

    @cached_property
    def relative_rms(self) -> FloatArray | None:
        """Relative rms (median 1), shape (ny, nx), from the error map or else the primary beam.

        None if there is neither. Blank pixels have 1.
        """
        noise: Plane
        if self.error is not None:
            noise = combined(_where_known, self.data, self.error)
        elif self.primary_beam is not None:
            noise = combined(
                lambda data, response: _where_known(data, 1.0 / response), self.data, self.primary_beam
            )
        else:
            return None
        typical = float(np.median(sample(noise)))

        def make(rows: slice, columns: slice) -> FloatArray:
            relative = noise[rows, columns] / typical
            return np.where(np.isfinite(relative), relative, 1.0)

        return cast(FloatArray, kept_like(LazyPlane(self.shape, make), self.data))

    def _with(self, operation: Callable[..., FloatArray], other: Plane) -> FloatArray:
        """Return the data combined with another plane, in memory if they are."""
        return cast(FloatArray, kept_like(combined(operation, self.data, other), self.data))

    @property
    def flattened(self) -> FloatArray:
        """Flattened data, shape (ny, nx): the data divided by `relative_rms`; detection uses them.

        With a primary beam they are `flat_noise` up to a factor.
        """
        return self.data if self.relative_rms is None else self._with(np.divide, self.relative_rms)

    @property
    def frame(self) -> str:
        """Astropy's name of the map's own frame: icrs, fk5, fk4, galactic, ..."""
        return str(celestial_frame(self.wcs).name)

    def to_nddata(self) -> CCDData:
        """Return the map as `astropy.nddata.CCDData` in Jy/pixel: coordinates, errors, blank pixels masked.

        The header has the beam (BMAJ, BMIN, BPA) and the name (OBJECT).

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(60, 80), n_sources=2)
        >>> sky.image.to_nddata().shape
        (60, 80)
        """
        from astropy import units as u
        from astropy.nddata import CCDData, StdDevUncertainty

        beam = self.beam
        header = {
            "OBJECT": self.name, "BMAJ": beam.major / 3600.0, "BMIN": beam.minor / 3600.0, "BPA": beam.pa
        }  # fmt: skip
        data = np.array(self.data, dtype=np.float64)
        error = None if self.error is None else StdDevUncertainty(self.error.copy())
        return CCDData(
            data, unit=u.Jy / u.pix, wcs=self.wcs, mask=~np.isfinite(data), uncertainty=error, meta=header
        )

    def plot(self, *, ax: Any = None) -> Figure:
        """Draw the map in the unit of its file, with its beam.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw into, best with `projection=image.wcs`; a new figure if not given.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; `figure.savefig("map.pdf")` writes it.

        Examples
        --------
        >>> import hyper_py
        >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(60, 80), n_sources=2)
        >>> figure = sky.image.plot()
        """
        from hyper_py.reporting.notebook_figures import draw_image  # only when it is called

        return draw_image(self, ax=ax)

    def with_data(self, data: FloatArray) -> SkyImage:
        """Return the same map with other data in Jy/pixel, such as a residual."""
        return replace(self, data=data)


def _where_known(data: FloatArray, noise: FloatArray) -> FloatArray:
    """Return the noise of pixels that are known and have one, else NaN."""
    return np.where(np.isfinite(data) & np.isfinite(noise), noise, np.nan)


def checked_image(image: Any, *, name: str) -> SkyImage:
    """Return a map.

    Parameters
    ----------
    image : SkyImage
    name : str
        What it is called in the message.

    Raises
    ------
    InputError
        If it is something else, such as an array or a path: the message says what makes a map of it.
    """
    if isinstance(image, SkyImage):
        return image
    remedy = (
        f"read it first: hyper_py.read_image({str(image)!r})"
        if isinstance(image, str | Path)
        else "make a map of it first: hyper_py.as_sky_image(data, wcs=..., beam=..., unit=...)"
    )
    raise InputError(f"{name}: a {type(image).__name__}: {remedy}")


def mean_image(channels: Iterable[SkyImage]) -> SkyImage:
    """Return the mean of all channels (moment 0 over their number), with the beam of the mean.

    Channels of which the beam is not known take no part.

    Raises
    ------
    InputError
        If all are blank.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(60, 80), n_sources=2)
    >>> mean = hyper_py.mean_image([sky.image, sky.image.with_data(3 * sky.image.data)])
    >>> round(float((mean.data / sky.image.data).mean()), 6)
    2.0
    """
    total: FloatArray | None = None
    count, beams, weights, last = np.zeros(1), [], [], None
    for image in channels:
        if "no_beam" in image.meta:
            continue
        known = np.isfinite(image.data)
        if total is None:
            total, count = np.zeros(image.shape), np.zeros(image.shape)
        total[known] += image.data[known]
        count += known
        if known.any():
            beams.append(image.beam)
            weights.append(float(np.count_nonzero(known)))
            last = image
    if total is None or last is None:
        raise InputError("every channel is blank: no moment 0 to find sources on")
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return replace(last, data=mean, beam=beam_of_mean(beams, weights), error=None, meta={})
