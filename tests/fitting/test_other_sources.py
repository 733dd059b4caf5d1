"""The light of neighbours on fit pixels against whole images."""

import numpy as np
import pytest

from helpers.groups import make_group, whitener_of
from hyper_py.fitting.other_sources import (
    group_of,
    means_on,
    models_on,
    rms_on,
    sources_in_reach,
    with_other_sources,
)
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.mesh import MeshMap

SHAPE = (80, 90)


@pytest.fixture
def sources(rng):
    n = 12
    return np.column_stack(
        [rng.uniform(1, 3, n), rng.uniform(5, 85, n), rng.uniform(5, 75, n), rng.uniform(2, 3, n),
         rng.uniform(1.5, 2, n), rng.uniform(0, 3, n)]
    )  # fmt: skip


def groups_of(sources, partition):
    groups = []
    for own in partition:
        pixels = select_fit_pixels(
            sources[own, 1], sources[own, 2], radius=np.full(len(own), 7.0), usable=np.ones(SHAPE, bool)
        )
        n = pixels.y.size
        groups.append(make_group(np.zeros(n), pixels, whitener_of(np.ones(n)), sources[own], members=own))
    return groups


def test_models_are_those_of_the_whole_image_without_the_own_sources(sources):
    partition = [np.array([0, 5]), np.array([1]), np.array([7, 2, 3])]
    groups = groups_of(sources, partition)
    whole = gaussians.render(sources, SHAPE, n_sigma=9)
    for group, light in zip(groups, models_on(sources, [g.pixels for g in groups]), strict=True):
        np.testing.assert_allclose(light, whole[group.pixels.y, group.pixels.x], atol=1e-6)
    for group, own in zip(with_other_sources(groups, sources), partition, strict=True):
        others = gaussians.render(np.delete(sources, own, axis=0), SHAPE, n_sigma=9)
        np.testing.assert_allclose(group.others, others[group.pixels.y, group.pixels.x], atol=1e-6)
        np.testing.assert_allclose(group.values, -group.others)


def test_no_sources_shed_no_light():
    (group,) = groups_of(np.array([[1.0, 30.0, 30.0, 2.0, 2.0, 0.0]]), [np.array([0])])
    (light,) = models_on(np.empty((0, 6)), [group.pixels])
    assert not light.any()
    assert sources_in_reach([], np.empty((0, 6))) == []


def test_reach_is_symmetric_enough_to_hold_all_that_matters(sources):
    groups = groups_of(sources, [np.array([k]) for k in range(len(sources))])
    for group, near in zip(groups, sources_in_reach(groups, sources), strict=True):
        (own,) = group.members
        assert own not in near
        y, x = group.pixels.y.astype(float), group.pixels.x.astype(float)
        for other in set(range(len(sources))) - {own, *near.tolist()}:
            assert gaussians.gaussian_sum(sources[[other]], y, x).max() < 4e-4 * sources[other, 0]


def test_owners():
    np.testing.assert_array_equal(group_of([np.array([2]), np.array([0, 3])], 5), [1, -1, 0, 1, -1])


def test_means_and_rms_on_fit_pixels(rng):
    image = rng.normal(size=SHAPE)
    pixels = [group.pixels for group in groups_of(np.array([[1.0, 30, 30, 2, 2, 0]]), [np.array([0])])]
    (mean,) = means_on(image, pixels)
    assert mean == pytest.approx(image[pixels[0].y, pixels[0].x].mean())
    mesh = MeshMap(rng.uniform(1, 2, (4, 5)), 20, SHAPE)
    (of_mesh,) = means_on(mesh, pixels)
    assert of_mesh == pytest.approx(np.asarray(mesh)[pixels[0].y, pixels[0].x].mean())
    np.testing.assert_array_equal(rms_on(image, pixels[0]), image[pixels[0].y, pixels[0].x])
    assert set(rms_on(3.0, pixels[0])) == {3.0}
