"""What was measured on a binned map, or on one without its plane, in terms of the map itself."""

from dataclasses import replace

import numpy as np

from hyper_py.background.binned import BinnedBackground
from hyper_py.background.plane import OnPlane
from hyper_py.fitting.binning import unbinned_sources
from hyper_py.numerics import gaussians
from hyper_py.numerics.trend import Trend
from hyper_py.photometry.measurements import MeasuredMap


def unbinned(measured: MeasuredMap, size: int) -> MeasuredMap:
    """Return what was measured on a map binned by `size` in terms of the map itself."""
    table = measured.sources
    parameters = unbinned_sources(table.parameters, size)
    step = 1e-4 * np.maximum(np.abs(table.parameters), 1e-2)
    derivative = np.zeros(table.covariance.shape)
    for k in range(gaussians.N_PARAMETERS):
        shift = np.zeros_like(step)
        shift[:, k] = step[:, k]
        ahead, behind = (unbinned_sources(table.parameters + s, size) for s in (shift, -shift))
        derivative[:, :, k] = (ahead - behind) / (2.0 * step[:, k, None])
    area = float(size**2)
    sources = replace(
        table,
        parameters=parameters,
        covariance=derivative @ table.covariance @ derivative.swapaxes(1, 2),
        flux=table.flux * area,
        flux_err=table.flux_err * area,
        flux_gauss=gaussians.gaussian_flux(parameters),
        flux_gauss_err=table.flux_gauss_err * area,
        n_blank=table.n_blank * size**2,
    )
    groups = [
        replace(group, background=BinnedBackground(background=group.background, size=size))
        for group in measured.groups
    ]
    return replace(measured, sources=sources, groups=groups, noise_step=size)


def on_plane(measured: MeasuredMap, trend: Trend) -> MeasuredMap:
    """Return what was measured on a map without a plane in terms of the map itself."""
    table = measured.sources
    under = trend.at(table.parameters[:, gaussians.Y], table.parameters[:, gaussians.X])
    groups = [
        replace(group, background=OnPlane(background=group.background, trend=trend))
        for group in measured.groups
    ]
    return replace(measured, sources=replace(table, background=table.background + under), groups=groups)
