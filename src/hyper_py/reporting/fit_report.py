"""Report of the fits of a map for its log, and the covariances of the parameters of each fit."""

from collections.abc import Iterator, Sequence

import numpy as np
from astropy.table import Table

from hyper_py.background.binned import BinnedBackground
from hyper_py.background.conditional import ConditionalBackground
from hyper_py.background.inverted import Inverted
from hyper_py.background.joint import JointBackground
from hyper_py.background.model import BackgroundModel
from hyper_py.background.plane import OnPlane
from hyper_py.background.separate import SeparateBackground
from hyper_py.numerics import gaussians
from hyper_py.numerics.solvers import FitStatus
from hyper_py.photometry.measurements import MeasuredGroup
from hyper_py.pipeline.extraction import Extraction

PARAMETER_NAMES = ("AMPLITUDE", "X", "Y", "SIGMA_1", "SIGMA_2", "THETA")
_WHY = {
    FitStatus.NOT_FINITE: "failed: the cost is not a number",
    FitStatus.MAX_EVALUATIONS: "not converged: stopped by max_nfev",
    FitStatus.GRADIENT: "converged (gtol)",
    FitStatus.COST: "converged (ftol)",
    FitStatus.STEP: "converged (xtol)",
}


def fit_report(extraction: Extraction) -> list[str]:
    """Return lines that describe each fit: how it ended, its background, its sources.

    Sources are named by their HYPER_ID; amplitudes are in Jy/pixel, lengths in pixels, angles in degrees
    from the x axis.
    """
    if extraction.measured is None:
        return ["no fits"]
    groups, n_sources = extraction.measured.groups, len(extraction.measured.sources)
    lines = [f"{len(groups)} fits of {n_sources} sources"]
    for number, group in enumerate(groups, start=1):
        lines.append(f"fit {number}: {_summary(group)}; {_described(group.background)}")
        lines.extend(_sources(group))
    return lines


def _summary(group: MeasuredGroup) -> str:
    names = " ".join(str(i + 1) for i in group.members)
    fit, free = group.fit, max(group.n_pixels - group.n_free, 1)
    retried = " from another start" if group.retried else ""
    return (
        f"source{'s' if len(group.members) > 1 else ''} {names}, {group.n_pixels} pixels, "
        f"{group.n_free} free parameters, {_WHY[FitStatus(fit.status)]}{retried} after "
        f"{fit.n_evaluations} evaluations, cost {fit.cost:.6g}, chi2_red {group.chi2 / free:.4g}"
    )


def _described(background: BackgroundModel) -> str:
    """Describe a background."""
    if isinstance(background, OnPlane | BinnedBackground | Inverted):
        return _described(background.background)
    if isinstance(background, JointBackground):
        separate = isinstance(background.below, SeparateBackground)
        below = f" on top of {_described(background.below)}" if separate else ""
        return f"polynomial of order {background.polynomial.order} fitted jointly{below}"
    if isinstance(background, SeparateBackground):
        chosen = background.polynomial
        y0, y1, x0, x1 = chosen.box
        estimator = chosen.estimator + ("" if chosen.epsilon is None else f" {chosen.epsilon:g}")
        return (
            f"polynomial of order {chosen.order} by {estimator} in {x1 - x0} x {y1 - y0} pixels "
            f"({chosen.fit_pixels[0].size} used)"
        )
    return "conditional background" if isinstance(background, ConditionalBackground) else "no background"


def _sources(group: MeasuredGroup) -> Iterator[str]:
    """Describe each source of a fit: values, errors, and parameters at a bound."""
    for k, (source, values) in enumerate(zip(group.members, group.fit.parameters, strict=True)):
        errors = _errors(group, k)
        texts = []
        for name, value, error in zip(PARAMETER_NAMES, values, errors, strict=True):
            unit = np.degrees(1.0) if name == "THETA" else 1.0
            texts.append(f"{name.lower()} {unit * value:.6g} +- {unit * error:.2g}")
        held = [
            name.lower()
            for name, at in zip(PARAMETER_NAMES, group.fit.at_bound[k], strict=True)
            if at
        ]  # fmt: skip
        yield f"  {source + 1}: {', '.join(texts)}{'; at bound: ' + ', '.join(held) if held else ''}"


def _errors(group: MeasuredGroup, k: int) -> Sequence[float]:
    own = slice(k * gaussians.N_PARAMETERS, (k + 1) * gaussians.N_PARAMETERS)
    variance = np.diagonal(group.covariance)[own]
    return [float(error) for error in np.sqrt(np.maximum(variance, 0.0))]


def fit_covariances(extraction: Extraction) -> Table:
    """Return the covariance of the parameters of each fit.

    Returns
    -------
    astropy.table.Table
        One row a fitted source: FIT numbers the fits, HYPER_ID the sources; VALUE (6,) are the parameters,
        COVARIANCE (36 n), to be reshaped to (n, 6, 6), those with each of the n sources of the same fit, in
        the order of the rows. In Jy/pixel, pixels and radians; `meta` names the parameters. Zero for
        parameters that were fixed.
    """
    groups = [] if extraction.measured is None else extraction.measured.groups
    numbers, sources, values, covariances = [], [], [], []
    for number, group in enumerate(groups, start=1):
        n = len(group.members)
        covariance = group.covariance.reshape(n, gaussians.N_PARAMETERS, n, gaussians.N_PARAMETERS)
        for k, source in enumerate(group.members):
            numbers.append(number)
            sources.append(int(source) + 1)
            values.append(group.fit.parameters[k])
            covariances.append(covariance[k].transpose(1, 0, 2).ravel())
    column = np.empty(len(covariances), dtype=object)
    column[:] = covariances
    table = Table(
        {
            "FIT": np.array(numbers, dtype=np.int64),
            "HYPER_ID": np.array(sources, dtype=np.int64),
            "VALUE": np.array(values).reshape(-1, gaussians.N_PARAMETERS),
            "COVARIANCE": column,
        }
    )
    table.meta["parameters"] = list(PARAMETER_NAMES)
    table.meta["units"] = ["Jy / pix", "pix", "pix", "pix", "pix", "rad"]
    return table
