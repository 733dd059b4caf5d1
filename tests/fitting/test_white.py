"""Groups in white noise: their discs, weights and joint polynomials."""

import numpy as np
import pytest

from helpers.group_cases import SETTINGS, backgrounds_with, plane, sources_at
from helpers.problems import make_problem
from hyper_py.background.model import NoBackground
from hyper_py.background.surroundings import Surroundings
from hyper_py.fitting.groups import Bounds
from hyper_py.fitting.white import Discs, Ridge, Weighting, joint_candidates, weighted_groups

SHAPE = (60, 70)
SOURCES = sources_at((20.0, 25.0), (24.0, 27.0), (50.0, 30.0))
PARTITION = [np.array([0, 1]), np.array([2])]


@pytest.mark.parametrize(
    ("least", "moments", "radius"), [(0.0, False, 2.7), (2.0, False, 8.0), (9.0, True, 3.0)]
)
def test_discs_hold_the_largest_source_or_that_of_its_moments(least, moments, radius):
    discs = Discs(aper_sup=1.2, margin=0.4, least_beams=least, by_moments=moments)
    source = np.add(SOURCES[:2], [0, 0, 0, 0.62, 0, 0]) if moments else SOURCES[2:]
    np.testing.assert_allclose(discs.radii(source, beam_fwhm=4.0), radius, rtol=0.01)


def made(*, subtract, kind=None, subtract_background=True, per_rms=True):
    data = plane(SHAPE)
    separate = backgrounds_with(data, np.zeros(SHAPE, bool), SOURCES, PARTITION, **SETTINGS)
    surroundings = [Surroundings(own, 0.5, 2.0) for own in separate]
    groups = weighted_groups(
        make_problem(SOURCES, data, partition=PARTITION, rms=4.0), SOURCES, surroundings, subtract=subtract,
        bounds=Bounds(lower=SOURCES - 1, upper=SOURCES + 1), discs=Discs(aper_sup=1.5, margin=1.0),
        weighting=Weighting(
            kind=kind, power_snr=2.0, spatial_sigma=2.0, subtract_background=subtract_background,
            per_rms=per_rms,
        ),
    )  # fmt: skip
    return groups, separate


@pytest.mark.parametrize("subtract", [False, True])
def test_the_background_is_subtracted_on_request(subtract):
    groups, separate = made(subtract=subtract)
    for group, own in zip(groups, separate, strict=True):
        expected = own.at(group.pixels.y, group.pixels.x) if subtract else 0.0
        np.testing.assert_allclose(group.below, expected)
        assert (group.background is own) is subtract
        np.testing.assert_allclose(group.values, 0.0 if subtract else group.data, atol=1e-9)


def test_weights_are_per_rms_and_of_the_map_above_its_background_unless_told_otherwise():
    (group, _), _ = made(subtract=False, kind="map")
    np.testing.assert_allclose(group.whitener.weights, 0.0, atol=1e-9)
    (group, _), _ = made(subtract=False, kind="map", subtract_background=False, per_rms=False)
    np.testing.assert_allclose(group.whitener.weights, group.data)
    (group, _), _ = made(subtract=False)
    assert set(group.whitener.weights) == {0.25}


@pytest.mark.parametrize("in_cutout", [False, True])
def test_joint_polynomials_have_the_ridge_as_defined(in_cutout):
    groups, separate = made(subtract=False)
    ridge = Ridge(penalty=6.0, in_cutout=in_cutout)
    candidates = joint_candidates(groups[0], (0, 1, 2), cutout=separate[0], ridge=ridge)
    assert [candidate.joint.order for candidate in candidates] == [0, 1, 2]
    penalty = candidates[1].whitener.terms.penalty
    np.testing.assert_allclose(penalty, [6.0] * 3 if in_cutout else [0.0, 1.5, 1.5])
    y0, _, x0, _ = separate[0].box
    assert (candidates[1].joint.scaling == (y0, x0, 1.0, 1.0)) is in_cutout
    (highest,) = joint_candidates(groups[0], (0, 2), cutout=separate[0], ridge=ridge, highest=True)
    assert highest.joint.order == 2
    assert isinstance(highest.background, NoBackground)
