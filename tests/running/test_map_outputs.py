"""A map's record gives its result back as long as the input and the configuration are the same."""

from dataclasses import replace

import numpy as np

from hyper_py.config import Config
from hyper_py.files import checksum
from hyper_py.running.map_outputs import MapWork, record_of, restored, write_failure
from hyper_py.running.tasks import MapResult, MapTask, input_checksum
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import write_text


def recorded(tmp_path):
    """A map whose record is written, and its result."""
    path = tmp_path / "m.fits"
    path.write_bytes(b"pixels")
    task = MapTask(index=3, name="m", path=path, config=Config(), depends={"io.mask": "f"})
    layout = Layout(root=tmp_path)
    write_text(tmp_path, "params/m.txt", "rows")
    (tmp_path / ".hyper_py").mkdir()
    result = MapResult(
        index=3, name="m", path=path, status="done", warnings=("w",), n_sources=5, unit="mJy/beam",
        pixel_scale=2.0, seconds=1.5, checksum=input_checksum(path), outputs=("params/m.txt",),
    )  # fmt: skip
    np.save(tmp_path / layout.rows("m"), np.zeros(5, dtype=[("X", "f8")]))
    files = {name: checksum(tmp_path / name) for name in ("params/m.txt", layout.rows("m"))}
    record = record_of(result, task, columns=(("X", "pix", "Column"),), files=files)
    write_text(tmp_path, layout.state("m"), record.to_json())
    return task, layout, result


def test_a_record_gives_the_result_back(tmp_path):
    task, layout, result = recorded(tmp_path)
    back = restored(task, layout)
    # NaN, the rms of an empty map, is null in JSON.
    assert repr(back) == repr(replace(result, status="resumed"))


def test_another_configuration_input_or_output_gives_nothing_back(tmp_path):
    task, layout, _ = recorded(tmp_path)
    assert restored(replace(task, depends={"io.mask": "g"}), layout) == "io.mask has changed"
    assert restored(replace(task, depends={}), layout) == "io.mask has changed"
    assert restored(replace(task, name="n"), layout) == ""
    task.path.write_bytes(b"others")
    assert restored(task, layout) == "its file has changed"
    task.path.write_bytes(b"pixels")
    assert isinstance(restored(task, layout), MapResult)
    for name in ("params/m.txt", layout.rows("m")):
        text = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(bytes(len(text)))
        assert "not as it was written" in restored(task, layout)
        (tmp_path / name).write_bytes(text)
    task.path.unlink()
    assert "no such file" in restored(task, layout)


def test_a_failure_leaves_its_log_only(tmp_path):
    task = MapTask(index=0, name="m", path=tmp_path / "m.fits", config=Config())
    work = MapWork(task, Layout(root=tmp_path), 0.0)
    try:
        raise ZeroDivisionError("of course")
    except ZeroDivisionError as error:
        reason = work.log_failure(error)
    result = write_failure(work, reason)
    assert (result.ok, result.outputs) == (False, ("logs/Hyper_log_m.log",))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["Hyper_log_m.log"]
    text = (tmp_path / result.outputs[0]).read_text()
    assert reason in text
    assert "Traceback" in text
