"""The map less a model as a filter sees it: what has not changed is not made again, and is the same."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from hyper_py.detection.field import Field, Smoothed
from hyper_py.detection.filtering import Planes, first_mask, measure_filter, refilter
from hyper_py.detection.kernels import KernelFamily
from hyper_py.detection.masks import Masks
from hyper_py.numerics.gaussians import render
from hyper_py.numerics.stored import StoredPlane
from hyper_py.numerics.tiles import LazyPlane, grown

FWHM, SHAPE = 4.0, (300, 320)
COVARIANCE = np.eye(2) * (FWHM / 2.3548) ** 2
CORNER = np.array([[30.0, 40.0, 35.0, 1.8, 1.7, 0.3]])
MIDDLE = np.array([[25.0, 160.0, 150.0, 1.8, 1.7, 0.3]])


def searched(in_pieces: bool) -> Field:
    data = np.random.default_rng(5).standard_normal(SHAPE) + render(np.vstack([CORNER, MIDDLE]), SHAPE)
    data[100:130, 250:280] = np.nan
    plane = LazyPlane(SHAPE, lambda *where: data[where]) if in_pieces else data
    field = Field.of(plane, beam_covariance=COVARIANCE, size=80)
    assert field is not None
    return field


def counted(smoothed: Smoothed, made: list) -> Smoothed:
    def make(rows, columns):
        made.append((rows.start, columns.start))
        return smoothed.make(rows, columns)

    return replace(smoothed, make=make)


@pytest.mark.parametrize("in_pieces", [False, True])
def test_tiles_far_from_a_new_source_are_taken_as_they_are(in_pieces):
    field = searched(in_pieces)
    whole, before = field.smoothed_map(), field.smoothed(field.plane(lambda *where: render_in(CORNER, where)))
    mask = first_mask(field, whole)
    known = measure_filter(field, Planes(whole, before), Masks(mask, mask), before=None, template=1.1)
    made: list[tuple[int, int]] = []
    new = field.plane(lambda *where: render_in(np.vstack([CORNER, MIDDLE]), where))
    model = counted(field.smoothed(new), made)
    view = refilter(field, Planes(whole, model), known, template=1.1)
    near = []
    for where in field.tiles:
        outer, _ = grown(where, field.family.radius, SHAPE)
        if (new[outer] != before.source[outer]).any():
            near.append(where)
    looked_at = set(made)
    assert looked_at == {(rows.start, columns.start) for rows, columns in near}
    assert 0 < len(looked_at) < len(field.tiles)
    everything = replace(known, source=LazyPlane(SHAPE, lambda *where: new[where] + 1.0))
    anew = refilter(field, Planes(whole, model), everything, template=1.1)
    assert set(made) == {(rows.start, columns.start) for rows, columns in field.tiles}
    for name in ("model", "amplitude", "brightness", "finest", "rms"):
        np.testing.assert_array_equal(getattr(view, name)[:, :], getattr(anew, name)[:, :], err_msg=name)
    assert not np.array_equal(view.amplitude[:, :], known.amplitude[:, :])


def render_in(sources, where):
    rows, columns = where
    shifted = sources - [0.0, columns.start, rows.start, 0.0, 0.0, 0.0]
    return render(shifted, (rows.stop - rows.start, columns.stop - columns.start))


def test_what_is_kept_of_a_map_in_pieces_is_what_would_be_made():
    field = searched(in_pieces=True)
    kept, made = field.smoothed_map(), field.smoothed(field.data)
    assert all(isinstance(plane, StoredPlane) for plane in kept.planes)
    for where in field.tiles:
        np.testing.assert_array_equal(kept[where], made[where])
        np.testing.assert_array_equal(kept.plane(-1)[where], made[where][-1])


def test_nothing_is_seen_of_nothing():
    field = searched(in_pieces=False)
    family: KernelFamily = field.family
    nothing, zeros = field.nothing(), field.smoothed(np.zeros(SHAPE))
    for where in field.tiles:
        assert nothing[where].shape == zeros[where].shape == (family.n_planes, *zeros[where][0].shape)
        np.testing.assert_array_equal(nothing[where], zeros[where])
        np.testing.assert_array_equal(nothing.source[where], 0.0)


def test_files_of_planes_that_nothing_needs_go():
    field = searched(in_pieces=True)
    kept = field.smoothed_map()
    gone = [weakref.ref(plane) for plane in kept.planes[2:]]
    first = kept.first(2)
    for where in field.tiles:
        np.testing.assert_array_equal(first[where], kept[where][:2])
    del kept
    gc.collect()
    assert [plane() for plane in gone] == [None] * len(gone)
    in_memory = searched(in_pieces=False).smoothed_map()
    assert in_memory.first(2) is in_memory


@pytest.mark.parametrize("in_pieces", [False, True])
def test_what_follows_from_kept_planes_is_no_file(in_pieces):
    field = searched(in_pieces)
    mask = first_mask(field, field.smoothed_map())
    planes = Planes(field.smoothed_map(), field.nothing())
    view = measure_filter(field, planes, Masks(mask, mask), before=None, template=1.1)
    kind = LazyPlane if in_pieces else np.ndarray
    assert all(isinstance(plane, kind) for plane in (view.amplitude, view.typical, view.rms))
    where = field.tiles[3]
    expected = view.typical[where] * view.noise.factor(view.brightness[where], field.distance[where])
    np.testing.assert_array_equal(view.rms[where], expected)
    np.testing.assert_array_equal(view.amplitude[where], view.whole.filtered[where] - view.model[where])
