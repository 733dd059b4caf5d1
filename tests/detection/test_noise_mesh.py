import numpy as np
import pytest
from scipy import ndimage

from hyper_py.detection.noise_mesh import MeshGatherer, cell_side

FWHM, SHAPE = 3.0, (300, 330)
EVERYWHERE = np.ones(SHAPE, dtype=bool)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def smooth_noise(seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.2, mode="wrap")
    return noise / noise.std()


def level_of(gatherer: MeshGatherer, *, seams: bool = True) -> np.ndarray:
    level, beside = gatherer.mesh_rms(otherwise=lambda: 1.0)[:, :], gatherer.seams()
    return np.maximum(level, beside[:, :]) if seams and beside is not None else level


def mesh_of(
    data: np.ndarray, usable: np.ndarray = EVERYWHERE, *, valid=None, seams: bool = True
) -> np.ndarray:
    gatherer = MeshGatherer(SHAPE, fwhm=FWHM)
    gatherer.add(
        (slice(0, SHAPE[0]), slice(0, SHAPE[1])), data, usable, EVERYWHERE if valid is None else valid
    )
    return level_of(gatherer, seams=seams)


@pytest.mark.parametrize("seed", range(3))
def test_even_noise_has_an_even_level(seed: int) -> None:
    level = mesh_of(smooth_noise(seed))
    assert level.mean() == pytest.approx(1.0, abs=0.02)
    assert level.std() < 0.04  # the estimates of single cells scatter by a tenth


def test_level_follows_the_noise() -> None:
    truth = np.geomspace(1.0, 10.0, SHAPE[1])[None, :]
    ratio = mesh_of(truth * smooth_noise(4)) / truth
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
    # Beyond the middles of the outermost cells a level stays constant: half a cell of this slope is 5%.
    assert ((ratio > 0.68) & (ratio < 1.25)).all()


def test_tiles_make_no_difference() -> None:
    data, cell = smooth_noise(5), cell_side(FWHM)
    gatherer = MeshGatherer(SHAPE, fwhm=FWHM)
    for y0 in range(0, SHAPE[0], 4 * cell):
        for x0 in range(0, SHAPE[1], 6 * cell):
            where = slice(y0, min(y0 + 4 * cell, SHAPE[0])), slice(x0, min(x0 + 6 * cell, SHAPE[1]))
            gatherer.add(where, data[where], EVERYWHERE[where], EVERYWHERE[where])
    assert np.array_equal(level_of(gatherer), mesh_of(data))


def test_cells_of_sources_take_the_level_of_others() -> None:
    data, usable = smooth_noise(6), EVERYWHERE.copy()
    data[90:180, 90:180] += 30.0 * np.random.default_rng(6).random((90, 90))
    usable[90:180, 90:180] = False
    assert mesh_of(data, usable)[135, 135] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_even_noise_has_no_seams(seed: int) -> None:
    data = smooth_noise(seed)
    assert np.array_equal(mesh_of(data), mesh_of(data, seams=False))


@pytest.mark.parametrize("factor", [2.0, 4.0, 10.0])
@pytest.mark.parametrize(("seam", "share"), [(cell_side(FWHM) * 9, 0.85), (cell_side(FWHM) * 9 + 7, 0.65)])
def test_a_seam_has_the_level_of_its_louder_side_and_both_keep_theirs(
    factor: float, seam: int, share: float
) -> None:
    """A seam through the middle of cells is known to half of these."""
    for data, distance in ((smooth_noise(1), X - seam), (smooth_noise(2), Y - seam)):
        loud = distance >= 0
        level = mesh_of(np.where(loud, factor, 1.0) * data)
        beside = level[(distance >= 0) & (distance < 3)]
        assert np.median(beside) > share * factor
        cell = cell_side(FWHM)
        assert np.median(level[distance < -1.5 * cell]) == pytest.approx(1.0, abs=0.05)
        assert np.median(level[distance > cell]) == pytest.approx(factor, rel=0.05)


def test_a_small_loud_region_keeps_its_level() -> None:
    loud = np.hypot(X - 150.0, Y - 150.0) < 35.0
    level = mesh_of(np.where(loud, 8.0, 1.0) * smooth_noise(3))
    assert np.median(level[np.hypot(X - 150.0, Y - 150.0) < 25.0]) == pytest.approx(8.0, rel=0.15)
    assert np.median(level[np.hypot(X - 150.0, Y - 150.0) > 70.0]) == pytest.approx(1.0, abs=0.05)


def test_a_masked_crowd_makes_no_seam() -> None:
    data, usable = smooth_noise(7), np.random.default_rng(7).random(SHAPE) > 0.6
    crowd = np.hypot(X - 150.0, Y - 150.0) < 40.0
    data[crowd] *= 8.0
    usable |= ~crowd
    assert np.array_equal(mesh_of(data, usable), mesh_of(data, usable, seams=False))


def test_seams_are_mirrored_and_transposed_with_the_map() -> None:
    side = min(SHAPE)
    data = np.where(X > 150, 3.0, 1.0) * smooth_noise(8)
    square, whole = data[:side, :side], np.ones((side, side), dtype=bool)

    def level(values: np.ndarray) -> np.ndarray:
        gatherer = MeshGatherer(values.shape, fwhm=FWHM)
        gatherer.add((slice(0, side), slice(0, side)), values, whole, whole)
        return level_of(gatherer)

    assert side % cell_side(FWHM) == 0
    np.testing.assert_allclose(level(square.T).T, level(square), rtol=1e-12)
    np.testing.assert_allclose(level(square[::-1, ::-1])[::-1, ::-1], level(square), rtol=1e-12)


def test_a_seam_in_a_blank_frame_leaves_no_gaps() -> None:
    usable = (np.abs(X - 150) < 75) & (np.abs(Y - 150) < 45)
    level = mesh_of(np.where(X > 157, 4.0, 1.0) * smooth_noise(9), usable, valid=usable)
    assert np.isfinite(level).all()
    assert level[150, 190] == pytest.approx(4.0, rel=0.2)
    assert level[150, 110] == pytest.approx(1.0, rel=0.2)
