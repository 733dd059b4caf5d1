"""Offsets between maps."""

import numpy as np
import pytest

from helpers.aligned_bands import small_field
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, wide_prior
from hyper_py.bands.offsets import BandOffsets, OffsetChoices, measure_offsets, with_offsets
from hyper_py.bands.refine import align


def test_offsets_of_maps_are_measured_and_taken_out():
    shifts = {"p160": (1.5, -2.0), "s250": (-2.0, 2.0), "s350": (0.0, 0.0), "s500": (3.0, 0.0)}
    _, bands, truth = small_field(
        seed=4, n_sources=20, size=600.0, flux_range=(1.0, 2.0),
        bands={name: {"offset": shift} for name, shift in shifts.items()},
    )  # fmt: skip
    fit = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    estimates, aligned, offsets = align(bands, truth, fit=fit, choices=OffsetChoices(reference=0))
    expected = np.array([(0.0, 0.0), *shifts.values()])
    assert not offsets.values[0].any()
    assert np.abs(offsets.values - expected)[:4].max() < 0.15
    assert np.abs(offsets.values - expected)[4].max() < 0.6
    pulls = (offsets.values - expected)[1:] / offsets.errors[1:]
    assert np.abs(pulls).max() < 4.0
    np.testing.assert_array_equal([band.offset for band in aligned], offsets.values)
    again = fit_jointly(aligned, estimates, choices=fit, max_iterations=1)
    after = measure_offsets(aligned, again.offsets, choices=OffsetChoices(reference=0))
    assert np.abs(after.values - offsets.values).max() < 0.1


def test_without_sources_there_are_none():
    _, bands, _ = small_field(seed=4)
    offsets = measure_offsets(bands, [], choices=OffsetChoices(reference=1))
    assert not offsets.values.any()
    assert np.isnan(offsets.errors).any(axis=1).tolist() == [True, False, True, True, True]
    assert with_offsets(bands, BandOffsets.none(5, reference=0))[2].offset.tolist() == [0.0, 0.0]
    assert offsets.reference == pytest.approx(1)
