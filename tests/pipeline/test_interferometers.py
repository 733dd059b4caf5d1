"""Sources on maps of interferometers, cleaned or not, against the truth of simulated visibilities."""

from dataclasses import replace

import numpy as np
import pytest

from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import Flag
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline.measurement import measure_sources
from hyper_py.pipeline.peaks import noise_level
from hyper_py.reading.psf import beam_from_psf
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import psf_path, write_simulation

SEEDS = (71, 72, 73, 74)


def measured(preset, seed, *, folder=None):
    """Peaks over the true ones, pulls of the peaks, and flags, of sources at known places."""
    simulation = simulate_image(preset, seed=seed, peak_range=(10.0, 30.0))
    image, truth, options = simulation.image, simulation.truth, Options()
    if folder is not None:
        write_simulation(folder / "map.fits", simulation)
        image = replace(image, beam=beam_from_psf(psf_path(folder / "map.fits")))
    x, y, nothing = truth["X"].value, truth["Y"].value, np.full(len(truth), np.nan)
    peak = image.data[np.rint(y).astype(int), np.rint(x).astype(int)]
    peaks = Peaks(
        x=x,
        y=y,
        peak=peak,
        snr=nothing,
        roundness=nothing,
        roundness_marginal=nothing,
        sharpness=nothing,
        shoulder_score=nothing,
    )
    table = measure_sources(image, peaks, rms=noise_level(image, options).rms, options=options).sources
    distance = np.hypot(
        table.parameters[:, gaussians.X] - x[:, None], table.parameters[:, gaussians.Y] - y[:, None]
    )
    nearest = distance.argmin(axis=1)
    near = distance.min(axis=1) < 0.5 * image.beam_fwhm_pix
    assert np.count_nonzero(near) >= len(truth) - 1
    nearest, true = nearest[near], truth["AMPLITUDE"].value[near]
    amplitude = table.parameters[nearest, gaussians.AMPLITUDE]
    error = np.sqrt(table.covariance[nearest, gaussians.AMPLITUDE, gaussians.AMPLITUDE])
    return amplitude / true, (amplitude - true) / error, table.flags[nearest]


@pytest.mark.parametrize(
    ("preset", "given", "bias"),
    [
        ("interferometer", False, 0.03),
        ("interferometer_dirty", True, 0.03),
        ("interferometer_dirty", False, 0.15),
    ],
)
def test_peaks_and_their_errors(preset, given, bias, tmp_path):
    found = [measured(preset, seed, folder=tmp_path if given else None) for seed in SEEDS]
    ratio, pull, flags = (np.concatenate(values) for values in zip(*found, strict=True))
    assert abs(np.median(ratio) - 1.0) < bias
    assert 0.6 < np.std(pull) < 1.4
    assert np.all((flags & int(Flag.FILTERED_MAP) != 0) != given)


def test_an_ordinary_map_is_not_flagged():
    _, _, flags = measured("alma", 1)
    assert not np.any(flags & int(Flag.FILTERED_MAP))
