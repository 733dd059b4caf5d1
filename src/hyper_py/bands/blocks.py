"""Blocks: the pixels of one band on which sources that overlap there are fitted together.

A group of sources is fitted in all bands at once; in a sharp band its members may be far enough from each
other to be told apart, and then have a block each: with a local mean of its own, and a covariance of its own
pixels only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.bands.band import Band, with_least_axis
from hyper_py.bands.estimates import SHAPE_PARAMETERS, Estimates
from hyper_py.bands.profile import unit_gaussian, unit_gaussian_and_derivatives
from hyper_py.bands.shapes import symmetric
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.tiles import at

REACH = 1.4
"""Radius of the disc around a source, in FWHM as the band shows it. Results are flat from 1.0 to 2.0."""
LIGHT_SIGMA = 4.5
"""How far the light of other sources is followed, in sigma of their major axis."""
LEAST_SEEN = 0.4
"""A band sees a source if so much of its light falls on pixels of the map."""
_WORST_CONDITION = 1e10
_RADII = 1.06
FEWEST_PIXELS = 6
"""For each source of a block."""
MOST_PIXELS = 2500
"""Larger blocks are cut into those of their sources; of one source only every second pixel is taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Normal:
    """The normal equations of a block for given positions and shapes, its fluxes eliminated.

    Attributes
    ----------
    flux : ndarray, shape (k,)
        The best fluxes.
    flux_covariance : ndarray, shape (k, k)
        For these positions and shapes.
    flux_derivatives : ndarray, shape (k, 5 k)
        Of the best fluxes, by positions and shapes.
    matrix, gradient : ndarray, shape (5 k, 5 k), (5 k,)
        J^T J and J^T r, J the change of the whitened model with positions and shapes.
    cost : float
        Sum of the squares of the whitened residual.
    """

    flux: FloatArray
    flux_covariance: FloatArray
    flux_derivatives: FloatArray
    matrix: FloatArray
    gradient: FloatArray
    cost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Some sources of a group on the pixels of one band.

    Attributes
    ----------
    band : int
    members : int ndarray, shape (k,)
        Place of its sources in the group.
    y, x : int ndarray, shape (n,)
    sky : ndarray, shape (n, 2)
        Positions of the pixels on the plane.
    unit_lower : ndarray, shape (n, n)
        Cholesky factor of the covariance of the pixels where the relative rms is 1.
    noise_scale : float
        Relative rms here.
    basis : ndarray, shape (n, m)
        Orthonormal basis of the whitened linear terms: local mean, and the fluxes of sources beside.
    whitened : ndarray, shape (n,)
        Whitened data without what these terms take up.
    plain : ndarray, shape (n,)
        Data less the light of sources further away, Jy/pixel.
    beam : ndarray, shape (k, 3)
    factor : ndarray, shape (k,)
        What turns a Gaussian of integral 1 per arcsec^2 into Jy/pixel for a flux of 1 Jy.
    """

    band: int
    members: IntArray
    y: IntArray
    x: IntArray
    sky: FloatArray
    unit_lower: FloatArray
    noise_scale: float
    basis: FloatArray
    whitened: FloatArray
    plain: FloatArray
    beam: FloatArray
    factor: FloatArray

    @property
    def lower(self) -> FloatArray:
        """Cholesky factor of the covariance of the pixels, (n, n)."""
        return self.noise_scale * self.unit_lower

    def whiten(self, vectors: FloatArray) -> FloatArray:
        """Return vectors (n, k) whitened, without what the linear terms take up."""
        white = whitened(self.unit_lower, vectors, scale=self.noise_scale)
        white -= self.basis @ (self.basis.T @ white)
        return white

    def model(self, theta: FloatArray) -> FloatArray:
        """Return the sources for a flux of 1 Jy at positions and shapes (k, 5), shape (k, n)."""
        offsets = self.sky - theta[:, None, :2]
        return self.factor[:, None] * unit_gaussian(offsets, theta[:, 2:] + self.beam)

    def normal(self, theta: FloatArray) -> Normal:
        """Return the normal equations at positions and intrinsic shapes theta (k, 5).

        With G the whitened profiles and D their derivatives, the best fluxes are f = (G^T G)^-1 G^T d, and
        the Jacobian of the residual is that part of f D that is orthogonal to G (variable projection: Golub &
        Pereyra 2003, Inverse Problems 19, R1, in Kaufman's approximation).
        """
        k, n = theta.shape[0], len(self.sky)
        offsets = self.sky - theta[:, None, :2]
        profiles = unit_gaussian_and_derivatives(offsets, theta[:, 2:] + self.beam)
        profiles *= self.factor[:, None, None]
        both = np.concatenate([profiles[:, 0], profiles[:, 1:].reshape(k * SHAPE_PARAMETERS, n)])
        white = self.whiten(both.T)
        gram, right = white.T @ white, white.T @ self.whitened
        among, across, inner = gram[:k, :k], gram[:k, k:], gram[k:, k:]
        covariance = _inverse(among)
        flux = covariance @ right[:k]
        each = np.repeat(flux, SHAPE_PARAMETERS)
        taken = covariance @ across
        return Normal(
            flux=flux, flux_covariance=covariance, flux_derivatives=-taken * each,
            matrix=each[:, None] * (inner - across.T @ taken) * each,
            gradient=each * (right[k:] - across.T @ flux),
            cost=float(self.whitened @ self.whitened - right[:k] @ flux),
        )  # fmt: skip


def whitened(unit_lower: FloatArray, vectors: FloatArray, *, scale: float) -> FloatArray:
    """Return L^-1 v of vectors (n, k), L the factor (n, n) times a scale."""
    result: FloatArray = blas.dtrsm(1.0 / scale, unit_lower, vectors, lower=1)
    return result


def _inverse(matrix: FloatArray) -> FloatArray:
    """Return the inverse of a symmetric matrix; what sources that cannot be told apart leave open is 0."""
    value, vector = np.linalg.eigh(matrix)
    usable = value > value[-1] / _WORST_CONDITION
    inverse: FloatArray = (vector * np.divide(1.0, value, out=np.zeros_like(value), where=usable)) @ vector.T
    return inverse


@dataclass(frozen=True, kw_only=True, eq=False)
class BandView:
    """A band and all sources as it shows them; what belongs to sources is changed in place when they are.

    Attributes
    ----------
    band : Band
    b : int
    estimates : Estimates
    pixels : ndarray, shape (n, 2)
        Order (x, y).
    jacobian : ndarray, shape (n, 2, 2)
        Arcsec on the plane for a pixel.
    area : ndarray, shape (n,)
        Of a pixel, arcsec^2.
    beam, shown : ndarray, shape (n, 3)
        Covariance of the beam, and of the source with it.
    factor : ndarray, shape (n,)
        See `Block`.
    reach : ndarray, shape (n,)
        Radius of the disc of each source in arcsec.
    light : ndarray, shape (n,)
        How far its light is followed, in arcsec.
    """

    band: Band
    b: int
    estimates: Estimates
    pixels: FloatArray
    jacobian: FloatArray
    area: FloatArray
    beam: FloatArray
    shown: FloatArray
    factor: FloatArray
    reach: FloatArray
    light: FloatArray

    @classmethod
    def of(cls, band: Band, b: int, estimates: Estimates) -> "BandView":
        """Return the view of sources as they are now."""
        n = len(estimates)
        pixels = band.pixels(estimates.position)
        jacobian = band.mapping.jacobian(pixels)
        view = cls(
            band=band, b=b, estimates=estimates, pixels=pixels, jacobian=jacobian,
            area=np.abs(np.linalg.det(jacobian)), beam=band.beams(estimates.position), shown=np.empty((n, 3)),
            factor=np.empty(n), reach=np.empty(n), light=np.empty(n),
        )  # fmt: skip
        view.take_shapes(np.arange(n))
        return view

    def move(self, members: IntArray, by: FloatArray) -> None:
        """Move sources by arcsec (k, 2): less than a beam, so that pixel and beam are the same there."""
        self.pixels[members] += np.linalg.solve(self.jacobian[members], by[..., None])[..., 0]

    def take_shapes(self, members: IntArray) -> None:
        """Take over the shapes of sources from the estimates."""
        shown = with_least_axis(
            self.beam[members] + self.estimates.band_shape(self.b)[members], beam=self.beam[members]
        )
        variance = np.linalg.eigvalsh(symmetric(shown))[:, -1]
        self.shown[members] = shown
        self.factor[members] = self.area[members] * self.band.gains(shown)
        self.reach[members] = REACH * FWHM_PER_SIGMA * np.sqrt(variance)
        self.light[members] = LIGHT_SIGMA * np.sqrt(variance)

    def drawn(self, rows: IntArray, sky: FloatArray) -> FloatArray:
        """Return sources of 1 Jy on pixels in Jy/pixel, (k, n)."""
        offsets = sky - self.estimates.position[rows][:, None]
        return self.factor[rows][:, None] * unit_gaussian(offsets, self.shown[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldView:
    """All bands and all sources, from which the blocks of groups are cut."""

    bands: Sequence[Band]
    estimates: Estimates
    parts: Sequence[BandView]

    @classmethod
    def of(cls, bands: Sequence[Band], estimates: Estimates) -> "FieldView":
        """Return the view of sources as they are now; blocks take fluxes and positions as they are then."""
        parts = [BandView.of(band, b, estimates) for b, band in enumerate(bands)]
        return cls(bands=bands, estimates=estimates, parts=parts)

    def update(self, members: IntArray, *, moved: FloatArray) -> None:
        """Take over the shapes of sources that were changed in place, and moved by arcsec (k, 2)."""
        for part in self.parts:
            part.move(members, moved)
            part.take_shapes(members)

    def blocks(self, members: IntArray) -> list[Block]:
        """Return the blocks of a group in all bands; none in a band that sees no member."""
        return [block for part in self.parts for block in _band_blocks(part, members)]


def _band_blocks(part: BandView, members: IntArray) -> list[Block]:
    """Return the blocks of a group in one band."""
    blocks: list[Block] = []
    for own in _overlapping(part.estimates.position[members], part.reach[members]):
        block = _block(part, members, own)
        if block is None and own.size > 1:
            singles = [_block(part, members, own[k : k + 1]) for k in range(own.size)]
            blocks += [single for single in singles if single is not None]
        elif block is not None:
            blocks.append(block)
    return blocks


def _overlapping(position: FloatArray, reach: FloatArray) -> list[IntArray]:
    """Return the sources (k,) in sets whose discs overlap."""
    label = np.arange(len(position))
    distance = np.hypot(*(position[:, None] - position).transpose(2, 0, 1))
    for i, j in zip(*np.nonzero(np.triu(distance < reach[:, None] + reach, 1)), strict=True):
        label[label == label[j]] = label[i]
    return [np.flatnonzero(label == value).astype(np.int64) for value in np.unique(label)]


def _block(part: BandView, members: IntArray, own: IntArray) -> Block | None:
    """Return the block of some members; None if none of them is seen, or it is too large for several."""
    estimates, rows = part.estimates, members[own]
    window = _window(part, rows)
    if window is None:
        return None
    y, x = window
    sky = part.band.positions(np.column_stack([x, y]).astype(np.float64))
    light = unit_gaussian(sky - estimates.position[rows][:, None], part.shown[rows]).sum(axis=1)
    seen = light * part.area[rows] >= LEAST_SEEN
    if not seen.any() or y.size < FEWEST_PIXELS * np.count_nonzero(seen):
        return None
    if not seen.all():
        return _block(part, members, own[seen])
    assert part.band.noise is not None
    step, near_enough = part.band.noise.step, _within_reach(part.band, y, x)
    if y.size > MOST_PIXELS * step**2 or not near_enough:
        if own.size > 1:
            return None
        step = max(step, int(np.ceil(np.sqrt(y.size / MOST_PIXELS))))
    if step > 1 or not near_enough:
        kept = ((y - y.min()) % step == 0) & ((x - x.min()) % step == 0) & _near_enough(part.band, y, x)
        y, x, sky = y[kept], x[kept], sky[kept]
    near, far = _others(part, rows)
    far = far[np.nan_to_num(estimates.flux[far, part.b]) != 0.0]
    data = part.band.data[y, x] - estimates.flux[far, part.b] @ part.drawn(far, sky)
    terms = np.column_stack([np.ones(y.size), part.drawn(near, sky).T])
    lower = part.band.noise.factors.factor(y, x)
    if lower is None:
        return None
    scale = float(np.mean(at(part.band.noise.relative_rms, y, x)))
    white = whitened(lower, np.column_stack([data, terms]), scale=scale)
    basis, triangle = np.linalg.qr(white[:, 1:])
    diagonal = np.abs(np.diagonal(triangle))
    basis = basis[:, diagonal > 1e-8 * diagonal.max()]
    return Block(
        band=part.b, members=own, y=y, x=x, sky=sky, unit_lower=lower, noise_scale=scale, basis=basis,
        whitened=white[:, 0] - basis @ (basis.T @ white[:, 0]), plain=data, beam=part.beam[rows],
        factor=part.factor[rows],
    )  # fmt: skip


def _window(part: BandView, rows: IntArray) -> tuple[IntArray, IntArray] | None:
    """Return the pixels of the map, not blank, in the discs of sources; None if there are none.

    The discs have their centres on pixels and one of some radii, so that many windows have one shape.
    """
    band, jacobian, reach = part.band, part.jacobian[rows], _rounded_up(part.reach[rows])
    pixels = np.rint(part.pixels[rows])
    side = reach / np.linalg.norm(jacobian, ord=-2, axis=(1, 2)) + 1.0
    low = np.floor((pixels - side[:, None]).min(axis=0)).astype(np.int64)
    high = np.ceil((pixels + side[:, None]).max(axis=0)).astype(np.int64) + 1
    ny, nx = band.data.shape
    (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, [nx, ny])
    if x0 >= x1 or y0 >= y1:
        return None
    inside: BoolArray = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    grid_y, grid_x = np.mgrid[y0:y1, x0:x1]
    for pixel, matrix, radius in zip(pixels, jacobian, reach, strict=True):
        dx, dy = grid_x - pixel[0], grid_y - pixel[1]
        east, north = matrix[0, 0] * dx + matrix[0, 1] * dy, matrix[1, 0] * dx + matrix[1, 1] * dy
        inside |= east**2 + north**2 <= radius**2
    inside &= np.isfinite(band.data[y0:y1, x0:x1])
    y, x = np.nonzero(inside)
    return ((y + y0).astype(np.int64), (x + x0).astype(np.int64)) if y.size else None


def _rounded_up(reach: FloatArray) -> FloatArray:
    """Return the next larger powers of `_RADII`."""
    rounded: FloatArray = _RADII ** np.ceil(np.log(reach) / np.log(_RADII))
    return rounded


def _within_reach(band: Band, y: IntArray, x: IntArray) -> bool:
    assert band.noise is not None
    reach = band.noise.covariance.reach
    return bool(np.ptp(y) <= reach and np.ptp(x) <= reach)


def _near_enough(band: Band, y: IntArray, x: IntArray) -> BoolArray:
    """Return which pixels are within the reach of the covariance, around the middle of all."""
    assert band.noise is not None
    half = band.noise.covariance.reach // 2
    near: BoolArray = (np.abs(y - np.rint(y.mean())) <= half) & (np.abs(x - np.rint(x.mean())) <= half)
    return near


def _others(part: BandView, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return sources beside a block, of which fluxes are free, and further ones of which light reaches it."""
    position = part.estimates.position
    distance = np.full(len(position), np.inf)
    for i in rows:
        distance = np.minimum(distance, np.hypot(*(position - position[i]).T) - part.reach[i])
    distance[rows] = np.inf
    near = (distance < 0.0) & part.estimates.seen[:, part.b]
    far = (distance < part.light) & ~near
    return np.flatnonzero(near).astype(np.int64), np.flatnonzero(far).astype(np.int64)
