"""Which maps and channels are asked for, and what does their runs."""

import pytest

from hyper_py.config import Config
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.injection.plan import InjectionPlan
from hyper_py.running import completeness_map as module
from hyper_py.running.completeness_map import (
    CompletenessTask,
    chosen_executor,
    completeness_tasks,
    measure_completeness,
    read_task_image,
)
from hyper_py.simulation.simulate import simulate_cube, simulate_image
from hyper_py.writing.layout import Layout
from hyper_py.writing.simulated_files import write_cube, write_simulation
from hyper_py.writing.staging import locked, temporary_path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps")
    small = {"shape": (40, 44), "n_sources": 1}
    write_simulation(root / "sky.fits", simulate_image("faint", seed=1, **small))
    write_cube(root / "cube.fits", simulate_cube(seed=1, n_channels=3, **small))
    return root


@pytest.fixture
def config():
    return Config.from_mapping({"version": 2}, source="test")


def test_maps_have_a_task_each_and_channels_of_cubes_too(place, config):
    (one,) = completeness_tasks(config, [str(place / "sky.fits")])
    assert (one.name, one.channel) == ("sky", None)
    tasks = completeness_tasks(config, [str(place / "cube.fits")], channels=[1, 3])
    assert [(task.name, task.channel) for task in tasks] == [("cube_0001", 1), ("cube_0003", 3)]


def test_channels_are_read_as_maps_of_their_own(place, config):
    first, third = completeness_tasks(config, [str(place / "cube.fits")], channels=[1, 3])
    image = read_task_image(third)
    assert image.name == "cube_0003"
    assert image.shape == (40, 44)
    assert not (image.data == read_task_image(first).data).all()


def test_wrong_channels_are_refused(place, config):
    with pytest.raises(ConfigurationError, match="--channel"):
        completeness_tasks(config, [str(place / "cube.fits")])
    with pytest.raises(ConfigurationError, match="not a cube"):
        completeness_tasks(config, [str(place / "sky.fits")], channels=[1])
    far = CompletenessTask(name="far", path=place / "cube.fits", config=config, channel=4)
    with pytest.raises(ConfigurationError, match="has 3 channels"):
        read_task_image(far)


def test_a_missing_map_is_an_input_error(config, tmp_path):
    (task,) = completeness_tasks(config, [str(tmp_path / "none.fits")])
    with pytest.raises(InputError, match=r"none\.fits"):
        read_task_image(task)


def test_executors_are_those_of_the_configuration():
    def control(**keys):
        return Config.from_mapping({"version": 2, "control": keys}, source="test").control

    serial = chosen_executor(control(parallel_maps=False))
    assert [one.value for one in serial(abs, [-1, -2])] == [1, 2]
    two = chosen_executor(control(parallel_maps=True, n_cores=2))
    assert sorted(one.value for one in two(abs, [-1, -2, -3])) == [1, 2, 3]


def test_the_output_directory_is_held_and_what_a_killed_run_has_left_is_removed(place, tmp_path, monkeypatch):
    paths = {"output": {"dir_root": str(tmp_path)}}
    config = Config.from_mapping({"version": 2, "paths": paths}, source="test")
    left = [temporary_path(tmp_path / name, "x") for name in ("completeness", ".hyper_py")]
    for path in left:
        path.parent.mkdir()
        path.write_text("half")
    task_of_sky = completeness_tasks(config, [str(place / "sky.fits")])[0]
    with (
        locked(Layout(root=tmp_path)),
        pytest.raises(ConfigurationError, match="another run is writing here"),
    ):
        measure_completeness(task_of_sky, plan=InjectionPlan())
    assert all(path.exists() for path in left)
    monkeypatch.setattr(module, "estimate", lambda *_, **__: "estimated")
    assert measure_completeness(task_of_sky, plan=InjectionPlan()) == "estimated"
    assert not any(path.exists() for path in left)
