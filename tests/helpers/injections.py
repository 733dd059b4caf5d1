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
