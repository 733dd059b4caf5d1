"""The list of sources while it grows."""

from dataclasses import replace

import numpy as np

from hyper_py.bands.estimates import Estimates


def two(first=0):
    return Estimates.of(
        np.array([[0.0, 1.0], [2.0, 3.0]]), shape=np.zeros((2, 3)), scale=np.array([7.0, 18.0]),
        significance=np.array([9.0, 8.0]), flux=np.array([[1.0, np.nan], [3.0, 4.0]]), first=first,
    )  # fmt: skip


def test_identities_stay_while_others_come_and_go():
    both = two().joined(two(first=2)).select(np.array([3, 0]))
    assert both.identity.tolist() == [3, 0]
    assert both.scale.tolist() == [18.0, 7.0]
    assert len(Estimates.none(2).joined(both)) == 2


def test_a_copy_is_changed_alone_and_nothing_has_no_significance():
    one = two()
    other = one.copied()
    other.position[:] = 5.0
    assert one.position.max() == 3.0
    assert not one.snr.any()


def test_a_source_that_is_clear_where_it_is_stays_though_its_flux_is_not_known():
    covariance = np.array([np.diag([0.01, 1.0]), np.diag([1.0, 4.0])])
    estimates = replace(two(), flux_covariance=covariance)
    assert estimates.stands(5.0).tolist() == [True, False]
    clear = replace(estimates, conditional_snr=np.array([[1.0, np.nan], [2.0, 6.0]]))
    assert clear.stands(5.0).tolist() == [True, True]
    assert clear.stands(20.0).tolist() == [False, True]
