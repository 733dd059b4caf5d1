"""What the error of a separately fitted background adds to the errors of sums over the data less it.

With weights L of the pixels of (data - background), S = L D (D^T D)^-1 their response to the coefficients of
the polynomial D, and G = D^T on the pixels that it was fitted to, the sums are (L - S G) data: their
covariance in noise of covariance C is (L - S G) C (L - S G)^T.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.separate import SeparateBackground
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.weighted_sums import field_covariance, through_noise
from hyper_py.numerics.polynomial import Scaling, inverse_or_pseudo, polynomial_design
from hyper_py.photometry.aperture import GroupApertures


def separate_part(own: GroupApertures) -> SeparateBackground | None:
    """Return the background that was fitted and subtracted before the fit of a group, if any was."""
    background = own.group.background
    return background if isinstance(background, SeparateBackground) else None


@dataclass(frozen=True)
class Frame:
    """A rectangle of map pixels."""

    y0: int
    x0: int
    shape: tuple[int, int]

    @classmethod
    def around(cls, own: GroupApertures) -> "Frame":
        """Return the smallest one with all pixels that results depend on, but for a wide background's."""
        low = [(a.y0, a.x0) for a in own.apertures]
        high = [(a.y0 + a.weights.shape[0], a.x0 + a.weights.shape[1]) for a in own.apertures]
        pixels, background = own.group.pixels, separate_part(own)
        low.append((int(pixels.y.min()), int(pixels.x.min())))
        high.append((int(pixels.y.max()) + 1, int(pixels.x.max()) + 1))
        if background is not None and not background.is_wide:
            y0, y1, x0, x1 = background.box
            low.append((y0, x0))
            high.append((y1, x1))
        (y0, x0), (y1, x1) = map(min, zip(*low, strict=True)), map(max, zip(*high, strict=True))
        return cls(y0, x0, (y1 - y0, x1 - x0))

    def kind(self, background: SeparateBackground | None) -> Hashable:
        """Return what is the same for frames in which backgrounds' terms are the same images."""
        if background is None:
            return None
        polynomial = background.polynomial
        wide = background if background.is_wide else None
        return self.y0 - background.y0, self.x0 - background.x0, polynomial.order, polynomial.scaling, wide

    def grid(self) -> tuple[IntArray, IntArray]:
        """Return y and x of all pixels, each of the frame's shape."""
        y, x = np.mgrid[self.y0 : self.y0 + self.shape[0], self.x0 : self.x0 + self.shape[1]]
        return y, x

    def index(self, y: IntArray, x: IntArray) -> IntArray:
        """Return the places of pixels among those of the frame."""
        return (y - self.y0) * self.shape[1] + (x - self.x0)


def on_background(
    images: FloatArray, measured: Sequence[GroupApertures], frames: Sequence[Frame], noise: CovarianceModel
) -> FloatArray:
    """Return the covariances of sums over (data - background), the background fitted to the same data.

    Parameters
    ----------
    images : ndarray, shape (n_groups, k, ny, nx)
        Weights of the pixels of the data less its background, in the frames.
    measured : sequence of GroupApertures
        On separate backgrounds.
    frames : sequence of Frame
    noise : CovarianceModel

    Returns
    -------
    ndarray, shape (n_groups, k, k)
    """
    backgrounds = [own for own in map(separate_part, measured) if own is not None]
    first, polynomial, (height, width) = backgrounds[0], backgrounds[0].polynomial, frames[0].shape
    flat = images.reshape(*images.shape[:2], -1)
    if first.is_wide:
        y, x = (axis.ravel() for axis in frames[0].grid())
        response = flat @ polynomial.design(y - first.y0, x - first.x0) @ polynomial.normal_inverse
        return np.stack(
            [
                _on_wide_background(image, s, first, *frame.grid(), noise)
                for image, s, frame in zip(images, response, frames, strict=True)
            ]
        )
    free = np.zeros((len(measured), height, width))
    for pixels, background, frame in zip(free, backgrounds, frames, strict=True):
        y0, y1, x0, x1 = background.polynomial.box
        top, left = background.y0 - frame.y0, background.x0 - frame.x0
        pixels[y0 + top : y1 + top, x0 + left : x1 + left] = ~background.polynomial.fit_mask[y0:y1, x0:x1]
    free = free.reshape(len(measured), 1, -1)
    corner = frames[0].y0 - first.y0, frames[0].x0 - first.x0
    terms, products, smooth, own = _terms(
        polynomial.order, polynomial.scaling, corner, (height, width), noise
    )
    normals = (free[:, 0] @ products).reshape(len(measured), len(terms), len(terms))
    response = flat @ terms.T @ inverse_or_pseudo(normals)
    # As if the background were fitted to all pixels of the frame, and the few that are not free put back.
    rest = flat + (response @ terms) * (1.0 - free)
    cross = rest @ smooth.T @ response.swapaxes(1, 2)
    of_rest = field_covariance(rest.reshape(images.shape), noise)
    of_background = response @ own @ response.swapaxes(1, 2)
    covariances: FloatArray = of_rest - cross - cross.swapaxes(1, 2) + of_background
    return covariances


@lru_cache(maxsize=2)
def _terms(
    order: int, scaling: Scaling, corner: tuple[int, int], shape: tuple[int, int], noise: CovarianceModel
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the terms G of a polynomial on a frame of n pixels, (k, n), and what is the same for all groups.

    That is their products, (n, k k), C G^T, (k, n), and G C G^T.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    design = polynomial_design(y + corner[0], x + corner[1], order=order, scaling=scaling)
    smooth, own = through_noise(np.moveaxis(design, -1, 0), noise)
    k = design.shape[-1]
    products = (design[..., :, None] * design[..., None, :]).reshape(-1, k * k)
    return np.ascontiguousarray(design.reshape(-1, k).T), products, smooth.reshape(k, -1), own


def _on_wide_background(
    images: FloatArray,
    response: FloatArray,
    background: SeparateBackground,
    y: IntArray,
    x: IntArray,
    noise: CovarianceModel,
) -> FloatArray:
    """Return the covariance of sums over (data - background) for a background fitted to many pixels.

    With L the images, S their response to the polynomial's coefficients and G the images of these, it is
    (L - S G) C (L - S G)^T; C G^T and G C G^T are the same for all groups on this background.
    """
    smooth, own = _wide_background_noise(background, noise)
    row, column = y - background.y0, x - background.x0
    inside = (row >= 0) & (row < smooth.shape[1]) & (column >= 0) & (column < smooth.shape[2])
    cross = response @ (smooth[:, row[inside], column[inside]] @ images[:, inside].T)
    covariance: FloatArray = field_covariance(images, noise) - cross - cross.T + response @ own @ response.T
    return covariance


@lru_cache(maxsize=2)
def _wide_background_noise(
    background: SeparateBackground, noise: CovarianceModel
) -> tuple[FloatArray, FloatArray]:
    """Return `through_noise` of a background's terms on its fit pixels."""
    polynomial = background.polynomial
    y, x = polynomial.fit_pixels
    images = np.zeros((polynomial.normal_inverse.shape[0], *polynomial.fit_mask.shape))
    images[:, y, x] = polynomial.design(y, x).T
    return through_noise(images, noise)
