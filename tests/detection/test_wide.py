import numpy as np
import pytest
from scipy import ndimage

from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.kernels import KernelFamily
from hyper_py.detection.matched import Candidates, MatchedSearch, candidates, with_wide
from hyper_py.detection.wide import WIDE_TEMPLATE, search_wide, unexplained
from hyper_py.numerics.gaussians import render

FWHM = 3.5
SIGMA = FWHM / 2.3548
BEAM = np.eye(2) * SIGMA**2
SHAPE = (260, 260)


def sky(size: float, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of sources of a size in beams, and their positions (n, 2)."""
    rng = np.random.default_rng(3)
    view = ndimage.gaussian_filter(rng.normal(size=SHAPE), SIGMA, mode="wrap")
    y, x = (axis.ravel() + 20.3 for axis in np.mgrid[0:230:44, 0:230:44])
    sigma = np.full(x.size, size * SIGMA)
    sources = np.column_stack([np.full(x.size, peak), x, y, sigma, sigma, 0.0 * x])
    data = view / view.std() + 0.3 * rng.normal(size=SHAPE) + render(sources, SHAPE)
    return data, sources[:, 1:3]


def found(places: Candidates, truth: np.ndarray, *, threshold: float) -> tuple[int, int]:
    """Return the number of sources found, and of rows."""
    points = places.points[places.significance >= threshold]
    near = np.hypot(*(points[:, None] - truth).T) < 0.8 * FWHM
    return int(near.any(axis=1).sum()), len(points)


def test_wide_sources_are_found_that_the_compact_filter_does_not_see() -> None:
    data, truth = sky(WIDE_TEMPLATE, 6.0)
    search = MatchedSearch.of(data, beam_covariance=BEAM, limits=PeakLimits())
    assert search is not None
    compact, _ = found(candidates(search.field, search.found, search.rate), truth, threshold=4.0)
    both, rows = found(search.candidates, truth, threshold=4.0)
    assert both >= compact + len(truth) // 4
    assert rows <= both + 2


def test_compact_sources_are_not_found_twice() -> None:
    data, truth = sky(1.1, 15.0)
    search = MatchedSearch.of(data, beam_covariance=BEAM, limits=PeakLimits())
    assert search is not None
    wide = search_wide(search.field, search.found)
    points, sigma = unexplained(search.field, wide, search.found)
    near = np.hypot(*(points[:, None] - truth).T).min(axis=0) < 2.0 * FWHM
    assert not (sigma[near] > 4.0).any()
    assert found(search.candidates, truth, threshold=4.5) == (len(truth), len(truth))


def test_of_wide_and_compact_peaks_at_one_place_the_more_significant_stays() -> None:
    compact = Candidates(np.array([[10.0, 10.0], [30.0, 30.0], [60.0, 60.0]]), np.array([5.0, 4.0, 3.0]))
    wide = Candidates(np.array([[11.0, 10.0], [31.0, 30.0], [80.0, 80.0]]), np.array([4.5, 6.0, 3.5]))
    joined = with_wide(compact, wide, distance=4.0)
    assert joined.significance.tolist() == [6.0, 5.0, 3.5, 3.0]
    assert joined.points[:, 0].tolist() == [31.0, 10.0, 80.0, 60.0]


def test_response_beside_a_source_is_that_of_a_rendered_one() -> None:
    family = KernelFamily(BEAM)
    size, away = np.array([1.1, 2.3, 1.1]), np.array([0.0, 0.0, 2.0])
    response = family.response_at(size, away)
    for k in (0, 1):
        assert response[k] == pytest.approx(family.response(size[k]), abs=0.01)
    source = np.array([[1.0, 100.0, 100.0, 1.1 * SIGMA, 1.1 * SIGMA, 0.0]])
    data, every = render(source, (201, 201)), (slice(None), slice(None))
    planes = family.differences(data, np.ones((family.n_planes, 1, 1)), every)
    at_two = [np.interp(100.0 + 2.0 * SIGMA, np.arange(201), plane[100]) for plane in planes]
    assert response[2] == pytest.approx(np.array(at_two), abs=0.02)
