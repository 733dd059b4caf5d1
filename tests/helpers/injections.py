"""Maps to inject into, setups of them, and records made by hand."""

import numpy as np

from hyper_py.injection.recovery import RECORD
from hyper_py.injection.setup import make_setup
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image

SIDE = 120


def noise_sky(seed=1, **fields):
    """A map of noise, by default white and without sources."""
    plain = {
        "shape": (SIDE, SIDE), "n_sources": 0, "noise_white_fraction": 1.0, "background": "none",
        "background_level": 0.0,
    }  # fmt: skip
    return simulate_image("faint", seed=seed, **plain | fields)


def sky_setup(seed=1, n_sources=6, **fields):
    """The setup of a small map with 15 sources on it, unless told otherwise."""
    sky = noise_sky(seed, **{"n_sources": 15, "peak_range": (8.0, 40.0), "margin": 2.0} | fields)
    return make_setup(extract_sources(sky.image), n_sources=n_sources)


def made_records(snr, recovered, *, sigma=1.0, light=0.0, kind=None):
    """Records of point-like sources of a signal to noise in given noise and neighbours' light."""
    records = np.zeros(len(snr), dtype=RECORD)
    records["sigma"], records["light"], records["response"] = sigma, light, 1.0
    records["amplitude"] = records["peak"] = records["flux"] = np.asarray(snr) * records["sigma"]
    records["recovered"] = recovered
    records["kind"] = np.arange(len(snr)) % 2 if kind is None else kind
    records["neighbour"] = 10.0
    return records


def made_result(seed=1, n=1500, **fields):
    """A result of which the completeness is Phi(S/N - 5), without a run of the pipeline but the first."""
    from scipy.special import ndtr

    from hyper_py.injection.completeness import Completeness
    from hyper_py.injection.plan import InjectionPlan
    from hyper_py.injection.purity import Purity

    rng = np.random.default_rng(seed)
    sky = noise_sky(seed, n_sources=15, peak_range=(8.0, 40.0), margin=2.0, **fields)
    extraction = extract_sources(sky.image)
    setup = make_setup(extraction, n_sources=6)
    snr = np.exp(rng.uniform(np.log(2.0), np.log(30.0), n))
    records = made_records(snr, rng.random(n) < ndtr(snr - 5.0))
    records["realisation"] = np.arange(n) // 6
    records["neighbour"] = rng.uniform(0.3, 10.0, n)
    for name in ("flux", "peak"):
        records[f"{name}_found"], records[f"{name}_err"] = records[name] + rng.normal(0.0, 1.0, n), 1.0
    for axis in "xy":
        records[f"{axis}_found"], records[f"{axis}_err"] = rng.normal(0.0, 0.2, n), 0.2
    records["snr_found"] = snr + rng.normal(0.0, 1.0, n)
    rows = np.asarray(extraction.catalog["SNR"], dtype=float)
    purity = Purity(
        threshold=4.5, rows=rows, inverted=np.array([4.7]), surrogates=(np.array([4.6, 5.0]), np.empty(0))
    )
    return Completeness(
        extraction=extraction, setup=setup, plan=InjectionPlan(), records=records, purity=purity, error=0.02
    )
