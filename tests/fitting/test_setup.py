import numpy as np
import pytest

from helpers.problems import make_problem
from hyper_py.background.model import NoBackground
from hyper_py.fitting.setup import FitSetup, OwnBackground
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.whitener_cache import WhitenerCache
from hyper_py.numerics import gaussians


def setup_for(problem, *, relative_rms=None, white=False, **changes):
    noise = beam_covariance_model(problem.beam_covariance, rms=2.0, max_lag=40)
    given = {
        "cache": WhitenerCache(noise), "sigma_limits": (0.8, 3.4), "aper_sup": 2.0, "radius_in_fwhm": 1.0,
        "relative_rms": np.ones(problem.data.shape) if relative_rms is None else relative_rms,
        "white": white,
    }  # fmt: skip
    return FitSetup(**{**given, **changes})


@pytest.mark.parametrize(
    ("ratio", "size", "beams"), [(1.0, 1.0, 2.5), (1.0, 2.4, 2.9), (1.5, None, 3.5), (1.0, 9.0, 6.5)]
)
def test_discs_hold_the_surroundings_of_their_apertures(ratio, size, beams):
    data = np.random.default_rng(1).normal(size=(100, 100))
    sigma = (size or 1.0) * 4.0 / 2.3548
    source = np.array([[5.0, 50.0, 50.0, sigma, sigma, 0.0]])
    fixed = np.array([[False, True, True, *[size is not None] * 3]])
    problem = make_problem(source, data, fixed=fixed, forced=True)
    radius = setup_for(problem, radius_in_fwhm=ratio, aper_sup=2.2).disc_radii(problem)
    np.testing.assert_allclose(radius / 4.0, beams, rtol=1e-3)


SOURCES = np.array([[5.0, 30.0, 40.0, 1.7, 1.7, 0.0], [4.0, 70.0, 50.0, 1.7, 1.7, 0.0]])


def test_fixed_parameters_keep_their_value_and_others_are_bounded():
    data = np.random.default_rng(2).normal(size=(90, 100))
    fixed = np.zeros(SOURCES.shape, dtype=bool)
    fixed[1, gaussians.SIGMA_1 :] = True
    problem = make_problem(SOURCES, data, fixed=fixed)
    groups = setup_for(problem).groups(problem)
    held = np.concatenate([group.bounds.lower == group.bounds.upper for group in groups])
    np.testing.assert_array_equal(held, fixed)
    np.testing.assert_array_equal(groups[1].bounds.lower[0, 3:], SOURCES[1, 3:])
    for group in groups:
        np.testing.assert_array_equal(group.data, data[group.pixels.y, group.pixels.x])


@pytest.mark.parametrize("white", [True, False])
def test_whiteners_weight_by_the_noise_where_the_group_is(white):
    data = np.random.default_rng(3).normal(size=(90, 200))
    sources = SOURCES.copy()
    sources[1, gaussians.X : gaussians.Y + 1] = 170.0, 40.0
    relative = np.where(np.arange(200) < 100, 1.0, 3.0) * np.ones((90, 1))
    problem = make_problem(sources, data, rms=relative)
    quiet, loud = (
        group.whitener.project(np.arange(group.pixels.y.size) * 1.0)
        for group in setup_for(problem, relative_rms=relative, white=white).groups(problem)
    )
    np.testing.assert_allclose(quiet, 3.0 * loud, atol=1e-9 * np.abs(quiet).max())


def test_a_group_on_another_background_is_not_fitted_and_may_have_a_joint_polynomial():
    problem = make_problem(SOURCES[:1], np.zeros((90, 100)))
    setup = setup_for(problem, ridge=1e-4)
    (group,) = setup.groups(problem)
    assert OwnBackground.of(group) == (group.background, None)
    joint = setup.on(group, OwnBackground(NoBackground(), 2))
    assert joint.joint.order == 2
    assert joint.whitener.n_terms == 6
    assert joint.fit is None
    orders = [candidate.joint.order for candidate in setup.candidates(group, NoBackground(), (0, 1, 3))]
    assert orders == [0, 1, 3]


def test_a_long_and_narrow_source_has_the_surroundings_of_a_compact_one_across():
    data = np.random.default_rng(5).normal(size=(120, 120))
    sigma = 4.0 / 2.3548
    compact, round_, long = (
        np.array([[5.0, 60.0, 60.0, major * sigma, minor * sigma, np.pi / 6.0]])
        for major, minor in ((1.0, 1.0), (4.0, 4.0), (4.0, 1.0))
    )

    def extents(source):
        problem = make_problem(source, data)
        (group,) = setup_for(problem, aper_sup=6.0).groups(problem)
        x, y = group.pixels.x - 60.0, group.pixels.y - 60.0
        cosine, sine = np.cos(np.pi / 6.0), np.sin(np.pi / 6.0)
        return [np.abs(x * cosine + y * sine).max(), np.abs(y * cosine - x * sine).max(), x.size]

    assert extents(long)[0] == pytest.approx(extents(round_)[0], abs=0.5)
    assert extents(long)[1] == pytest.approx(extents(compact)[1], abs=0.5)
    assert extents(long)[2] < 0.75 * extents(round_)[2]
