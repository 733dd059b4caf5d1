"""What a run would do: shapes from headers, costs that follow the pixels, nothing measured or written."""

import numpy as np
import pytest
from astropy.io import fits

from helpers.runner_tasks import files_below, make_config, make_wcs, measure
from hyper_py.diagnostics import ConfigurationError
from hyper_py.running import runner
from hyper_py.running.plan import plan


def write(path, shape, **cards):
    header = make_wcs().to_header()
    header.update({"BUNIT": "Jy/beam", "BMAJ": 12 / 3600, "BMIN": 11 / 3600, "BPA": 20.0, **cards})
    fits.PrimaryHDU(np.zeros(shape, dtype=np.float32), header=header).writeto(path)
    return path


def test_time_and_memory_follow_the_pixels_and_nothing_is_written(tmp_path):
    paths = [write(tmp_path / f"{n}.fits", (n, 2 * n)) for n in (100, 500, 1000)]
    before = files_below(tmp_path)
    made = plan(make_config(tmp_path / "out"), paths)
    assert [(one.name, one.shape, one.problem) for one in made.maps] == [
        ("100", (100, 200), ""), ("500", (500, 1000), ""), ("1000", (1000, 2000), ""),
    ]  # fmt: skip
    small, middle, large = made.maps
    for cost in ("seconds", "gigabytes"):
        steps = [getattr(b, cost) - getattr(a, cost) for a, b in ((small, middle), (middle, large))]
        assert steps[1] / steps[0] == pytest.approx(1.5 / 0.48)
        assert getattr(small, cost) > 0.0
    assert (made.executor, made.n_workers, made.root) == ("serial", 1, tmp_path / "out")
    assert made.seconds == pytest.approx(sum(one.seconds for one in made.maps))
    assert made.gigabytes == large.gigabytes
    assert files_below(tmp_path) == before


def test_processes_share_the_time_and_add_their_memory(tmp_path):
    paths = [write(tmp_path / f"{n}.fits", (200, 300)) for n in range(3)]
    config = make_config(tmp_path / "out", control={"executor": "processes", "n_cores": 2})
    made = plan(config, paths)
    assert (made.executor, made.n_workers) == ("processes", 2)
    assert made.seconds == pytest.approx(1.5 * made.maps[0].seconds)
    assert made.gigabytes == pytest.approx(2.0 * made.maps[0].gigabytes)
    less = make_config(tmp_path / "out", control={"executor": "processes", "n_cores": 2, "max_memory": 0.125})
    assert plan(less, paths).gigabytes == pytest.approx(0.25)


def test_a_cube_takes_the_time_of_its_channels_and_the_memory_of_one(tmp_path):
    cube = write(tmp_path / "cube.fits", (7, 60, 70), CTYPE3="FREQ", CRVAL3=1e11, CDELT3=1e6, CUNIT3="Hz")
    plane = write(tmp_path / "plane.fits", (60, 70))
    of_cube, of_plane = plan(make_config(tmp_path / "out"), [cube, plane]).maps
    assert (of_cube.n_channels, of_cube.shape, of_plane.n_channels) == (7, (60, 70), 1)
    assert of_cube.seconds == pytest.approx(7.0 * of_plane.seconds)
    assert of_cube.gigabytes == of_plane.gigabytes


def test_what_would_fail_fails_in_the_run_for_the_same_reason(tmp_path):
    good = write(tmp_path / "good.fits", (60, 70))
    bad = tmp_path / "bad.fits"
    bad.write_text("no")
    config = make_config(tmp_path / "out")
    first, second = plan(config, [bad, good]).maps
    assert (first.seconds, first.shape, second.problem) == (0.0, (0, 0), "")
    (failure,) = runner.run(config, [bad]).failures
    assert first.problem == failure.reason
    with pytest.raises(ConfigurationError):
        plan(config, [tmp_path / "none*.fits"])


def test_its_maps_are_those_of_the_run(tmp_path):
    for name in ("b", "a10", "a9"):
        (tmp_path / f"{name}.fits").write_text("sources 1")
    config = make_config(tmp_path / "out")
    done = runner.run(config, [tmp_path], measure=measure)
    assert [one.name for one in plan(config, [tmp_path]).maps] == [one.name for one in done.maps]
