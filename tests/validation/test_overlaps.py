"""Links between the rows of several maps, against the truth they were drawn from and astropy."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from hyper_py.validation.matching import sky_points
from hyper_py.validation.overlaps import SkySources, differences, middle, nearest_pairs


def scattered(rng, ra, dec, scatter):
    """Positions moved by `scatter` arcsec in either direction."""
    place = SkyCoord(ra, dec, unit="deg")
    moved = place.spherical_offsets_by(*(rng.normal(0, scatter, (2, len(ra))) * u.arcsec))
    return moved.ra.deg, moved.dec.deg


@pytest.mark.parametrize("centre", [(10.0, 0.0), (359.999, 45.0), (120.0, 89.9), (0.0, -90.0)])
def test_sources_of_several_maps_are_linked(rng, centre):
    """Two thousand sources at least 12" apart, three maps that see shares of them in any order."""
    place = SkyCoord(*centre, unit="deg")
    steps = np.stack(np.meshgrid(np.arange(45), np.arange(45)), axis=-1).reshape(-1, 2) * 20.0
    steps = steps + rng.uniform(-4, 4, steps.shape)
    true = place.spherical_offsets_by(steps[:, 0] * u.arcsec, steps[:, 1] * u.arcsec)
    sky, seen, numbers = SkySources(), [], []
    for part in range(3):
        own = rng.permutation(np.flatnonzero(rng.uniform(size=len(steps)) < (1.0, 0.6, 0.6)[part]))
        ra, dec = scattered(rng, true.ra.deg[own], true.dec.deg[own], 0.3)
        snr = rng.uniform(5, 50, own.size)
        numbers.append(sky.add(ra, dec, snr=snr, whole=np.ones(own.size, dtype=bool), radius=4.0))
        seen.append(own)
    of_number = dict(zip(numbers[0].tolist(), seen[0].tolist(), strict=True))
    for own, found in zip(seen, numbers, strict=True):
        assert [of_number[k] for k in found.tolist()] == own.tolist()
    counts = np.bincount(np.concatenate(seen))
    assert len(sky) == len(steps)
    np.testing.assert_array_equal(np.array(sky.n_maps), counts[[of_number[k] for k in range(len(sky))]])


def test_the_best_row_is_a_whole_one_before_a_brighter_one():
    sky = SkySources()
    for snr, whole in ((5.0, True), (9.0, False), (7.0, True), (6.0, True)):
        sky.add([10.0], [5.0], snr=[snr], whole=[whole], radius=2.0)
    assert sky.best == [(2, 0)]
    assert sky.n_maps == [4]


def test_one_row_of_a_map_to_one_source_the_nearest_first():
    sky = SkySources()
    sky.add([10.0], [0.0], snr=[5.0], whole=[True], radius=5.0)
    arcsec = 1 / 3600
    numbers = sky.add(
        [10 + 3 * arcsec, 10 + arcsec], [0.0, 0.0], snr=[9.0, 9.0], whole=[True] * 2, radius=5.0
    )
    np.testing.assert_array_equal(numbers, [1, 0])
    assert sky.n_maps == [2, 1]


def test_rows_without_a_position_are_linked_to_nothing():
    sky = SkySources()
    for _ in range(2):
        sky.add([10.0, np.nan], [0.0, np.nan], snr=[5.0, np.nan], whole=[True, True], radius=5.0)
    assert sky.n_maps == [2, 1, 1]


def test_wide_radii_reach_over_cells():
    sky = SkySources()
    sky.add([10.0], [0.0], snr=[5.0], whole=[True], radius=1.0)
    assert sky.add([11.9], [0.0], snr=[5.0], whole=[True], radius=7200.0)[0] == 0
    assert sky.add([13.95], [0.0], snr=[5.0], whole=[True], radius=7200.0)[0] == 1


def test_nearest_pairs_are_mutual(rng):
    first, second = rng.uniform(0, 0.01, (2, 60, 2))
    a, b = (sky_points(*points.T) for points in (first, second))
    one, other = nearest_pairs(a, b, radius=3.0)
    assert len(set(one.tolist())) == len(one) == len(set(other.tolist()))
    apart = np.linalg.norm(a[:, None] - b, axis=-1)
    used = apart[one, other]
    assert used.max() <= 3.0
    # No pair is left that would be nearer than those both of its points have.
    left = np.full(60, np.inf)
    left[one] = used
    right = np.full(60, np.inf)
    right[other] = used
    better = (apart <= 3.0) & (apart < left[:, None]) & (apart < right)
    assert not better.any()


def test_differences_are_those_of_astropy(rng):
    ra, dec = np.array([359.9999, 10.0, 200.0]), np.array([0.0, 80.0, -45.0])
    moved = scattered(rng, ra, dec, 1.0)
    first = {"RA": ra, "DEC": dec, "FLUX": np.array([1.0, 2.0, 3.0]), "FLUX_ERR": np.full(3, 0.3)}
    second = {"RA": moved[0], "DEC": moved[1], "FLUX": np.array([1.5, 2.0, 0.0]), "FLUX_ERR": np.full(3, 0.4)}
    found = differences(first, second)
    one, other = SkyCoord(ra, dec, unit="deg"), SkyCoord(*moved, unit="deg")
    np.testing.assert_allclose(found.separation, one.separation(other).to_value("arcsec"), rtol=1e-6)
    east, north = one.spherical_offsets_to(other)
    np.testing.assert_allclose(found.east, east.to_value("arcsec"), atol=1e-3)
    np.testing.assert_allclose(found.north, north.to_value("arcsec"), atol=1e-3)
    np.testing.assert_allclose(found.ratio, [1.5, 1.0, 0.0])
    np.testing.assert_allclose(found.pull, [1.0, 0.0, -6.0])


def test_the_error_of_the_middle(rng):
    values = rng.normal(2.0, 0.5, (2000, 40))
    found = np.array([middle(row) for row in values])
    assert np.mean(found[:, 0]) == pytest.approx(2.0, abs=0.01)
    assert np.std(found[:, 0]) == pytest.approx(np.median(found[:, 1]), rel=0.08)
    assert np.isnan(middle(np.array([1.0, np.nan, 2.0]))[1])
    assert np.isnan(middle(np.array([np.nan]))[0])
