import numpy as np

from hyper_py.diagnostics import Flag
from hyper_py.evidence.simulate import simulate_image
from hyper_py.numerics import models
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.revising import without
from test_correlated import make_task

SOURCES = np.array([[k + 1.0, 10.0 * k, 20.0, 1.7, 1.6, 0.0] for k in range(5)])


def test_what_is_taken_out_leaves_the_rest_in_order_and_no_empty_unit():
    units = [np.array([0, 3]), np.array([1]), np.array([2, 4])]
    variance = np.zeros(SOURCES.shape)
    variance[4, models.SIGMA_1] = 0.1
    task = make_task(SOURCES, np.zeros((40, 60)), units=units, assumed=variance)
    kept = np.array([True, False, True, False, True])
    left, sources, fits = without(task, SOURCES, ["a", "b", "c"], kept)
    np.testing.assert_array_equal(sources, SOURCES[kept])
    np.testing.assert_array_equal(left.start, SOURCES[kept])
    assert [unit.tolist() for unit in left.units] == [[0], [1, 2]]
    assert fits == [None, "c"]
    np.testing.assert_array_equal(left.assumed, variance[kept])
    assert len(left.shift) == len(left.fixed) == 3


def test_added_sources_of_assumed_shape_are_told_and_have_errors_of_their_size():
    simulation = simulate_image("crowded", seed=int(np.random.SeedSequence().generate_state(1)[0]))
    table = extract_sources(simulation.image).catalog
    assumed = table["FLAGS"] & int(Flag.SHAPE_ASSUMED) != 0
    added = table["FLAGS"] & int(Flag.ADDED_IN_RESIDUAL) != 0
    assert added.sum() > assumed.sum() / 2 > 0
    share = table["FWHM_1_ERR"][assumed] / table["FWHM_1"][assumed]
    # All of one size and one scatter, that of the map's other sources.
    assert np.ptp(table["FWHM_1"][assumed].value) < 1e-6 * table["FWHM_1"][assumed].value.max()
    assert 0.01 < share.min() <= share.max() < 0.3
