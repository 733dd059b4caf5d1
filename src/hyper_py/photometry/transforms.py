"""What was measured on a binned map, one without its plane or an inverted one, in terms of the map."""

from dataclasses import fields, replace

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.binned import BinnedBackground
from hyper_py.background.inverted import Inverted
from hyper_py.background.plane import OnPlane
from hyper_py.diagnostics import Flag
from hyper_py.fitting.binning import unbinned_sources
from hyper_py.numerics import gaussians
from hyper_py.numerics.trend import Trend
from hyper_py.photometry.measurements import MeasuredGroup, MeasuredMap
from hyper_py.photometry.source_table import SourceTable


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
        beyond=table.beyond * area,
        beyond_err=table.beyond_err * area,
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


def inverted(measured: MeasuredMap) -> MeasuredMap:
    """Return what was measured on the map times -1 in terms of the map itself: negative sources."""
    table = measured.sources
    sign = np.ones(gaussians.N_PARAMETERS)
    sign[gaussians.AMPLITUDE] = -1.0
    sources = replace(
        table,
        parameters=table.parameters * sign,
        covariance=table.covariance * np.outer(sign, sign),
        flux=-table.flux,
        flux_gauss=-table.flux_gauss,
        beyond=-table.beyond,
        snr=-table.snr,
        background=-table.background,
        flags=table.flags | int(Flag.NEGATIVE_SOURCE),
    )
    groups = [_inverted_group(group, sign) for group in measured.groups]
    return replace(measured, sources=sources, groups=groups)


def _inverted_group(group: MeasuredGroup, sign: FloatArray) -> MeasuredGroup:
    photometry, signs = group.photometry, np.tile(sign, len(group.members))
    return replace(
        group,
        fit=replace(
            group.fit, parameters=group.fit.parameters * sign, coefficients=-group.fit.coefficients
        ),
        photometry=replace(
            photometry, flux=-photometry.flux, background=-photometry.background,
            covariance=photometry.covariance * np.outer(signs, signs),
        ),
        background=Inverted(background=group.background),
    )  # fmt: skip


def joined(one: MeasuredMap, other: MeasuredMap) -> MeasuredMap:
    """Return the sources of two measurements of one map as one: those given first, then those added.

    Parameters
    ----------
    one, other : MeasuredMap
        Noise and profile are those of the first.
    """
    sizes = len(one.sources), len(other.sources)
    n_given = one.given.size, other.given.size
    rows = np.concatenate(
        [
            np.arange(n_given[0]), sizes[0] + np.arange(n_given[1]), np.arange(n_given[0], sizes[0]),
            sizes[0] + np.arange(n_given[1], sizes[1]),
        ]
    )  # fmt: skip
    place = np.empty(rows.size, dtype=np.int64)
    place[rows] = np.arange(rows.size)
    names = (field.name for field in fields(one.sources))
    table = {
        name: np.concatenate([getattr(one.sources, name), getattr(other.sources, name)]) for name in names
    }
    groups = [
        *(replace(group, members=place[group.members]) for group in one.groups),
        *(replace(group, members=place[sizes[0] + group.members]) for group in other.groups),
    ]
    n_peaks = one.given.size + one.vanished.size + one.pieces.size
    return replace(
        one,
        sources=SourceTable(**{name: values[rows] for name, values in table.items()}),
        groups=groups,
        given=np.concatenate([one.given, n_peaks + other.given]),
        vanished=np.concatenate([one.vanished, n_peaks + other.vanished]),
        pieces=np.concatenate([one.pieces, n_peaks + other.pieces]),
    )
