"""Three sources, and groups of them as measured."""

import numpy as np

from helpers.groups import fitted_group
from hyper_py.background.model import NoBackground
from hyper_py.fitting.groups import GroupFit
from hyper_py.noise.whitening import Whitener
from hyper_py.numerics.fit_pixels import FitPixels
from hyper_py.numerics.solvers import FitStatus
from hyper_py.photometry.aperture import GroupApertures, GroupPhotometry, source_apertures
from hyper_py.photometry.measurements import measured_group

SHAPE = (60, 62)
THREE = np.array([[1.0, 20, 20, 2, 2, 0], [1.0, 1, 30, 2, 2, 0], [1.0, 40, 40, 2, 2, 0]])


def photometry_of(n, **changes):
    given = {
        name: np.ones(n) for name in ("flux", "flux_err", "flux_gauss_err", "fraction", "background")
    }  # fmt: skip
    return GroupPhotometry(**{**given, "covariance": np.eye(6 * n), **changes})


def measured(
    sources, members, *, photometry=None, usable=None, residual=None, data=None, n_free=2, chi2=6.0,
    beam_area=2.0, status=FitStatus.COST, cost=3.0, retried=False,
):  # fmt: skip
    """A group as measured; its data and residual are of four pixels."""
    own = sources[members]
    residual = np.array([0.1, -0.2, 0.3, 0.1]) if residual is None else residual
    n = np.arange(residual.size)
    pixels = FitPixels(y=n, x=n, key=b"")
    fit = GroupFit(parameters=own, at_bound=own < -99, cost=cost, status=int(status), n_evaluations=4)
    group = fitted_group(
        fit, pixels, Whitener(weights=np.ones(n.size)), members=members, retried=retried,
        data=np.array([1.0, 2.0, 3.0, 2.0]) if data is None else data,
    )  # fmt: skip
    apertures = source_apertures(own, radius_in_fwhm=1.0)
    return measured_group(
        GroupApertures(group=group, apertures=apertures, fractions=np.ones(len(own))),
        photometry_of(len(own)) if photometry is None else photometry,
        residual, chi2=chi2, n_free=n_free, background=NoBackground(), beam_area=beam_area,
        usable=np.ones(SHAPE, dtype=bool) if usable is None else usable,
    )  # fmt: skip
