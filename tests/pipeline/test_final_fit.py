"""Which fits are begun anew, and what becomes of the detections that are pieces of one source."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.maps import make_image, make_map, sources_of
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.pipeline.final_fit import Detected, _spread

LARGEST = 8.0


def spread(*, sigmas, kept, snr, lost=(), groups=((0, 1), (2,))):
    """Which of the sources with these sizes are to be fitted once more."""
    sources = np.zeros((len(sigmas), 6))
    sources[:, 3] = sigmas
    model = SimpleNamespace(
        sources=sources, groups=[SimpleNamespace(members=np.array(own)) for own in groups]
    )
    found = _spread(
        model, np.array(kept), lost=np.isin(np.arange(len(sigmas)), lost), snr=np.array(snr, dtype=float),
        largest_sigma=LARGEST,
    )  # fmt: skip
    return np.flatnonzero(found).tolist()


def test_what_fills_the_largest_size_or_lost_what_was_found_and_goes_is_fitted_anew():
    assert spread(sigmas=[8.0, 2.0, 2.0], kept=[False, True, True], snr=[20, 20, 20]) == [0]
    assert spread(sigmas=[2.0, 2.0, 2.0], kept=[True, True, False], snr=[20, 20, 20], lost=[2]) == [2]
    assert spread(sigmas=[8.0, 2.0, 2.0], kept=[True, True, True], snr=[20, 20, 20], lost=[2]) == []


@pytest.mark.parametrize(("snr", "again"), [(259.0, [1]), (9.0, [])])
def test_what_has_taken_the_light_of_a_clear_one_beside_it_is_fitted_anew(snr, again):
    """A compact source of 13 sigma had grown to six beams, and its neighbour of 259 sigma vanished."""
    assert spread(sigmas=[3.0, 8.0, 8.0], kept=[False, True, True], snr=[snr, 13.0, 13.0]) == again


def test_sources_that_were_added_have_no_detection_to_go_back_to():
    assert spread(sigmas=[3.0, 8.0, 8.0, 8.0], kept=[True, True, True, False], snr=[9, 9, 9]) == []


def test_some_of_what_was_detected():
    detected = Detected(np.arange(3.0), np.arange(18.0).reshape(3, 6)).only(np.array([True, False, True]))
    assert detected.snr.tolist() == [0.0, 2.0]
    assert detected.gaussians[:, 0].tolist() == [0.0, 12.0]


def test_without_pieces_all_detections_stay():
    found = extract_sources(make_image(make_map(sources_of((30.0, 30.0, 30.0), (30.0, 60.0, 60.0)))))
    assert len(found.pieces) == 0
    assert len(found.catalog) == 2
