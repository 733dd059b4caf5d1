"""Whether sources have the profile of the Gaussian that was fitted, as far as noise shows it.

The score of one more Gaussian around the same centre, wider by a factor, in the noise of the fit: of a disc
or a core with wings it is positive, of a ring negative. Where noise hides the score that a core would
have, nobody knows the profile, and the flux is that of a Gaussian.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.fitting.groups import IN_CACHE, Group, alike_groups, points_and_weights, work_parts
from hyper_py.numerics import gaussians
from hyper_py.numerics.parallel import in_order

WIDER = 1.7
"""Size of the second Gaussian over that of the source."""
SIGNIFICANT, NOTABLE = 4.5, 0.1
"""Score of another profile, and the least peak of the second Gaussian over that of the source."""
OF_A_CORE = 0.3
"""That peak of a core as (1 + r^2)^-2 of 2.5 beams and more; of an exponential disc it is twice as high."""
_OWN = 1e-6
"""Share of a template that the fitted parameters must leave."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """Tests of profiles; arrays of shape (n,), NaN where there was none.

    Attributes
    ----------
    amplitude, error : ndarray
        Of the second Gaussian, in units of the source's own.
    """

    amplitude: FloatArray
    error: FloatArray

    @property
    def is_other(self) -> BoolArray:
        """Whether the profile is clearly not that of a Gaussian."""
        least = np.maximum(SIGNIFICANT * self.error, NOTABLE)
        return np.isfinite(self.error) & (np.abs(self.amplitude) > least)

    @property
    def is_unknown(self) -> BoolArray:
        """Whether noise would hide that of a core with wings."""
        unknown: BoolArray = (SIGNIFICANT * self.error > OF_A_CORE) & ~self.is_other
        return unknown


def measure_profiles(groups: Sequence[Group], n_sources: int) -> Profiles:
    """Test the profiles of fitted sources.

    Parameters
    ----------
    groups : sequence of Group
        As fitted, with the light of other sources removed.
    n_sources : int
        Of all groups together.
    """
    values = np.full((2, n_sources), np.nan)
    parts = [[groups[k] for k in part] for part in work_parts(groups)]
    for part, found in zip(parts, in_order(_of_part, parts), strict=True):
        for group, own in zip(part, found, strict=True):
            values[:, group.members] = own
    return Profiles(amplitude=values[0], error=values[1])


def _of_part(part: Sequence[Group]) -> list[FloatArray]:
    """Return `_of_alike` of each group."""
    groups = [group.prepared() for group in part]
    # Linear terms differ from group to group.
    most = IN_CACHE if all(group.whitener.terms is None for group in groups) else 1
    found: dict[int, FloatArray] = {}
    for alike in alike_groups(groups, most=most, same_shape=True):
        found.update(zip(alike, _of_alike([groups[k] for k in alike]), strict=True))
    return [found[k] for k in range(len(groups))]


def _of_alike(groups: Sequence[Group]) -> FloatArray:
    """Return amplitudes and errors of the second Gaussians of sources, shape (n_groups, 2, n_sources)."""
    sources = np.stack([group.fitted.parameters for group in groups])
    y, x, weights = points_and_weights(groups)
    project = replace(groups[0].whitener, weights=weights[:, None]).project
    value, jacobian = gaussians.gaussian_sum_and_jacobian(sources, y, x)
    wider = sources.copy()
    wider[..., gaussians.SIGMA_1 : gaussians.THETA] *= WIDER
    templates = project(gaussians.gaussian_sum(wider[:, :, None], y[:, None], x[:, None]))
    residual = project(np.stack([group.values for group in groups])[:, None] - value[:, None])
    basis = np.linalg.qr(project(jacobian).swapaxes(1, 2))[0]
    own = templates - templates @ basis @ basis.swapaxes(1, 2)
    power, whole = np.sum(own**2, axis=-1), np.sum(templates**2, axis=-1)
    power = np.where(power > _OWN * whole, power, np.nan)
    return np.stack([np.sum(own * residual, axis=-1) / power, power**-0.5], axis=1)
