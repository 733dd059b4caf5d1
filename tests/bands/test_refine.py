"""The last fit, and the table that it gives."""

import numpy as np
import pytest

from helpers.aligned_bands import images_of, small_field
from hyper_py.bands.band import common_plane
from hyper_py.bands.joint_fit import FitChoices, wide_prior
from hyper_py.bands.refine import joint_sources, refine


def test_what_vanishes_in_the_fit_is_no_source_and_the_table_is_sorted():
    simulated, bands, truth = small_field(seed=9)
    plane = common_plane(images_of(simulated))
    empty = truth.select(np.array([0]))
    empty.position[:] = empty.start[:] = [[-190.0, 190.0]]
    empty.flux[:], empty.identity[:] = 0.0, 99
    fit = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    estimates, bands, vanished = refine(bands, truth.joined(empty), fit=fit, free=False)
    assert vanished.identity.tolist() == [99]
    table = joint_sources(bands, estimates, plane)
    assert len(table) == len(truth)
    assert (np.diff(table.snr.max(axis=1)) <= 0.0).all()
    assert set(table.neighbour.tolist()) <= set(range(-1, len(table)))
    bright = table.snr[:, 0] > 20.0
    # Of a Gaussian on a Gaussian beam, the peak is the flux times the ratio of their areas.
    shown = table.shape[bright] + bands[0].beams(table.position[bright])
    area = 2.0 * np.pi * np.sqrt(shown[:, 0] * shown[:, 2] - shown[:, 1] ** 2)
    beam = bands[0].image.beam.solid_angle
    np.testing.assert_allclose(table.peak[bright, 0], table.flux[bright, 0] * beam / area, rtol=1e-6)
    assert table.group.min() == pytest.approx(1)


def test_two_that_the_fit_has_moved_into_one_place_are_one():
    _, bands, truth = small_field(seed=9)
    brightest = int(truth.flux.sum(axis=1).argmax())
    twin = truth.select(np.array([brightest]))
    twin.position[:] += 0.1
    twin.start[:] = twin.position
    twin.identity[:] = 99
    fit = FitChoices(prior=wide_prior(bands, free=False), largest=3.0, fixed_position=True)
    estimates, _, vanished = refine(bands, truth.joined(twin), fit=fit, free=False)
    assert len(estimates) == len(truth)
    assert len(vanished) == 1
    assert vanished.identity[0] in (99, truth.identity[brightest])
