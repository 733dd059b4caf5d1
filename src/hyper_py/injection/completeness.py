"""How complete and pure the catalogue of one map is: everything that was learnt from injections into it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.display import Summarised, Summary
from hyper_py.injection.accuracy import NEIGHBOUR_EDGES, Accuracy, accuracy, running_bias
from hyper_py.injection.curve import CompletenessCurve, completeness_curve
from hyper_py.injection.drawing import KINDS
from hyper_py.injection.limit_map import LocalCompleteness, local_completeness
from hyper_py.injection.plan import InjectionPlan
from hyper_py.injection.purity import Purity
from hyper_py.injection.sensitivity import at_pixels
from hyper_py.injection.setup import InjectionSetup
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import Extraction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = ("FLUX_PEAK", "FLUX", "SNR")
"""What completeness is given against."""
COLUMNS = ("COMPLETENESS", "P_TRUE", "FLUX_BIAS")
"""Columns for the catalogue of the same map."""
_DESCRIPTIONS = {
    "COMPLETENESS": "Probability that a source like this one is found here, from injected sources",
    "P_TRUE": "Probability that this source is true, by its SNR",
    "FLUX_BIAS": "Median of measured / true flux - 1 of injected sources of this SNR; FLUX is not corrected",
}
_ISOLATED_BEAMS = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Completeness(Summarised):
    """Completeness, accuracy and purity of the catalogue of one map.

    Attributes
    ----------
    extraction : Extraction
        The map's own catalogue.
    setup : InjectionSetup
    plan : InjectionPlan
    records : ndarray of `hyper_py.injection.recovery.RECORD`, shape (n,)
        One row an injected source.
    purity : Purity
    error : float
        Largest binomial error of completeness in a bin of peak flux where it rises.
    """

    extraction: Extraction
    setup: InjectionSetup
    plan: InjectionPlan
    records: NDArray[np.void]
    purity: Purity
    error: float

    def _summary(self) -> Summary:
        facts = [("injected", f"{len(self.records)} sources in {self.n_runs} runs")]
        for quantity in QUANTITIES:
            limit = self.curve(quantity).limit(0.8)
            value = f"{limit.value:.4g} {self.units[quantity]} ({limit.low:.4g} to {limit.high:.4g})"
            facts.append((f"80% of beam-sized ones, {quantity}", value))
        false = f"{self.purity.expected_false():.2g} of {len(self.purity.rows)} rows"
        facts += [("expected false", false), ("see", ".curve(), .plot(), .limit_map(), .catalog()")]
        return Summary(title=f"Completeness of {self.name!r}", facts=tuple(facts))

    def plot(self) -> "Figure":
        """Draw completeness against peak flux, the limit as a map, bias and errors, and false rows.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.
        """
        from hyper_py.reporting.completeness_figure import plot_completeness  # only when it is called

        return plot_completeness(self)

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.setup.image.name

    @property
    def n_runs(self) -> int:
        """Runs of the pipeline with injected sources."""
        return np.unique(self.records["realisation"]).size

    @property
    def units(self) -> dict[str, str]:
        """Unit of each of `QUANTITIES`: that of the catalogue."""
        unit = self.setup.options.flux_unit
        return {"FLUX_PEAK": f"{unit}/beam", "FLUX": unit, "SNR": ""}

    @cached_property
    def signal_to_noise(self) -> FloatArray:
        """Expected signal to noise of each injected source in the optimal filter, shape (n,)."""
        values: FloatArray = self.records["amplitude"] * self.records["response"] / self.records["sigma"]
        return values

    @cached_property
    def catalogue_snr_share(self) -> float:
        """Median of the catalogue's SNR over the expected one, of the brighter half of the sources found.

        About 0.9 as a rule. Far less where the noise lacks scales that the beam has, such as on maps of
        interferometers: the optimal filter would use them, and a detection that is to be trusted does not.
        """
        chosen = np.flatnonzero(self.records["recovered"] > 0)
        expected = self.signal_to_noise[chosen]
        bright = expected >= np.median(expected) if expected.size else np.zeros(0, dtype=np.bool_)
        shares = self.records["snr_found"][chosen][bright] / expected[bright]
        shares = shares[np.isfinite(shares)]
        return float(np.median(shares)) if shares.size else float("nan")

    def values(self, quantity: str) -> FloatArray:
        """Return the true values of a quantity of the injected sources, in its unit, shape (n,)."""
        if quantity == "SNR":
            return self.signal_to_noise
        name = {"FLUX_PEAK": "peak", "FLUX": "flux"}[quantity]
        values: FloatArray = self.records[name] * self.setup.options.flux_per_jy
        return values

    def curve(self, quantity: str = "FLUX_PEAK", *, shape: str = "beam") -> CompletenessCurve:
        """Return the completeness against a quantity.

        Parameters
        ----------
        quantity : {"FLUX_PEAK", "FLUX", "SNR"}
            SNR is that expected in the optimal filter for a beam-sized source.
        shape : {"beam", "own"}
            Beam-sized sources, or those with the sizes of the map's own.

        Raises
        ------
        InputError
            For another quantity or shape.
        """
        if (quantity, shape) not in self._curves:
            raise InputError(
                f"curve: no {quantity!r} of shape={shape!r}: there are {', '.join(QUANTITIES)}, of shape "
                f"{' or '.join(KINDS)}"
            )
        return self._curves[quantity, shape]

    @cached_property
    def _curves(self) -> dict[tuple[str, str], CompletenessCurve]:
        found = self.records["recovered"] > 0
        result = {}
        for kind, shape in enumerate(KINDS):
            chosen = self.records["kind"] == kind
            for quantity in QUANTITIES:
                values = self.values(quantity)[chosen]
                result[quantity, shape] = completeness_curve(values, found[chosen], seed=self.plan.seed)
        return result

    @cached_property
    def local(self) -> LocalCompleteness:
        """Completeness by place."""
        return local_completeness(self.records, seed=self.plan.seed)

    def limit_map(self, *, level: float = 0.8) -> FloatArray:
        """Return the limit of beam-sized sources as a map (ny, nx), Jy/pixel; NaN where none can be found."""
        return self.local.limit_map(self.setup, level=level)

    @cached_property
    def accuracy(self) -> tuple[Accuracy, ...]:
        """Measured against true values by expected signal to noise."""
        return accuracy(self.records, self.signal_to_noise)

    @cached_property
    def surroundings(self) -> tuple[Accuracy, ...]:
        """The same by the distance to the nearest source of the catalogue, of those that are found if alone.

        These have at least the signal to noise at which 95% of the isolated ones are found.
        """
        alone = self.records["neighbour"] >= _ISOLATED_BEAMS
        curve = completeness_curve(
            self.signal_to_noise[alone], self.records["recovered"][alone] > 0, trials=0
        )
        limit = curve.limit(0.95).value
        strong = self.signal_to_noise >= (limit if np.isfinite(limit) else 2.0 * curve.limit(0.5).value)
        chosen = self.records[strong]
        return accuracy(chosen, chosen["neighbour"], edges=NEIGHBOUR_EDGES)

    def catalog(self) -> QTable:
        """Return the map's catalogue with the columns COMPLETENESS, P_TRUE and FLUX_BIAS.

        Nothing in it is corrected by them. COMPLETENESS is that of a source of the fitted amplitude and
        shape among the row's neighbours; NaN where a fit failed. FLUX_BIAS holds for injected fluxes that
        are log-uniform around the limit.
        """
        table, sources = self.extraction.catalog.copy(), self.extraction.sources
        snr = np.asarray(table["SNR"], dtype=np.float64)
        found = self.records[self.records["recovered"] > 0]
        columns: dict[str, FloatArray] = {
            "COMPLETENESS": self._completeness_of(sources),
            "P_TRUE": self.purity.probability_true(snr),
            "FLUX_BIAS": running_bias(found["snr_found"], found["flux_found"] / found["flux"], at=snr),
        }
        for name, values in columns.items():
            table[name] = values
            table[name].info.description = _DESCRIPTIONS[name]
        return table

    def _completeness_of(self, sources: FloatArray) -> FloatArray:
        result = np.full(len(sources), np.nan)
        good = np.isfinite(sources).all(axis=1) & (sources[:, gaussians.AMPLITUDE] > 0.0)
        own, sensitivity = sources[good], self.setup.sensitivity
        signal = own[:, gaussians.AMPLITUDE] * sensitivity.response(own)
        light = np.maximum(self.setup.light(own) - own[:, gaussians.AMPLITUDE], 0.0)
        noise = self.local.noise(at_pixels(sensitivity.sigma, own), light)
        result[good] = self.local.curve(signal / noise)
        return result

    def summary(self) -> dict[str, Any]:
        """Return the main numbers, ready for JSON."""
        low, high = self.purity.expected_interval()
        return {
            "map": self.name,
            "n_sources": len(self.purity.rows),
            "n_injected": len(self.records),
            "n_runs": self.n_runs,
            "seed": self.plan.seed,
            "positions": self.plan.positions,
            "precision": self.plan.precision,
            "error": self.error,
            "catalogue_snr_share": self.catalogue_snr_share,
            "limits": {
                shape: {
                    quantity: {
                        f"{limit.level:.0%}": [limit.value, limit.low, limit.high]
                        for limit in self.curve(quantity, shape=shape).limits
                    }
                    for quantity in QUANTITIES
                }
                for shape in KINDS
            },
            "units": self.units,
            "neighbours_share": self.local.share,
            "threshold": self.purity.threshold,
            "expected_false": [self.purity.expected_false(), low, high],
            "purity": self.purity.purity(),
        }
