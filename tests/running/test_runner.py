"""A run from inputs to outputs: every executor alike, failures named, nothing lost when it is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from astropy.table import Table

from helpers.dask_clusters import dask_cluster
from helpers.runner_tasks import files_below, make_config, measure, measure_late
from hyper_py.catalog import COLUMNS
from hyper_py.diagnostics import ConfigurationError
from hyper_py.options import DetectionOptions
from hyper_py.running import runner
from hyper_py.running.executors import choose_executor
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation
from hyper_py.writing.tables import read_table


def make_maps(directory, **texts):
    """Write "maps", each a text that says what to do, and return their paths."""
    directory.mkdir(exist_ok=True)
    paths = [directory / f"{name}.fits" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def contents(root):
    """All results, without what must differ from run to run: logs, times."""
    skipped = ("logs", ".hyper_py", "run.json")
    return {name: (root / name).read_bytes() for name in files_below(root) if not name.startswith(skipped)}


def run(config, paths, **options):
    events = []
    result = runner.run(config, paths, on_event=events.append, measure=measure, **options)
    return result, events


# ------------------------------------------------------------------------------------------------- outputs


def test_outputs_have_their_names_and_places(tmp_path):
    paths = make_maps(tmp_path / "maps", m1="sources 4", m2="sources 0")
    config = make_config(
        tmp_path / "out",
        outputs={"tables": ["ipac", "ecsv", "csv", "fits", "votable", "parquet"]},
        fits_output={"fits_fitting": True, "fits_bg_separate": True},
    )
    result, _ = run(config, paths)
    assert result.exit_code == 0
    tables = [
        f"params/params_{name}{suffix}"
        for name in ("ALL", "m1", "m2")
        for suffix in (".csv", ".ecsv", ".fits", ".parquet", ".txt", ".vot")
    ]
    others = [
        f"{place}{name}{end}"
        for name in ("m1", "m2")
        for place, end in (
            ("regions/region_files_", "_centroids.reg"),
            ("regions/region_files_", "_ellipses.reg"),
            ("regions/region_files_", "_ellipses.crtf"),
            ("logs/Hyper_log_", ".log"),
            ("fits/fitting/", "_model.fits"),
            ("fits/fitting/", "_residual.fits"),
            ("fits/fitting/", "_rms.fits"),
            ("fits/bg_separate/", "_background.fits"),
            (".hyper_py/", ".json"),
            (".hyper_py/", ".npy"),
        )
    ]
    others += ["logs/hyper_py.log", "logs/summary.csv", "run.json", ".hyper_py/lock"]
    assert files_below(tmp_path / "out") == sorted(tables + others)
    for one in result.maps:
        ours = [name for name in tables + others if one.name in name and not name.endswith(".npy")]
        assert sorted(one.outputs) == sorted(name for name in ours if not name.startswith(".hyper_py"))
    merged = read_table(tmp_path / "out/params/params_ALL.txt")
    assert merged.colnames == [column.name for column in COLUMNS]
    assert list(merged["MAP_ID"]) == ["m1"] * 4
    header = read_table(tmp_path / "out/params/params_m2.txt").meta["keywords"]
    assert header["map"]["value"] == "m2"
    assert header["rms_unit"]["value"] == "mJy/beam"
    assert header["sigma_thres"]["value"] == DetectionOptions.sigma_thres
    assert header["beam_major_arcsec"]["value"] == 12


def test_names_come_from_the_configuration(tmp_path):
    paths = make_maps(tmp_path / "maps", m="")
    config = make_config(
        tmp_path / "unused",
        paths={
            "output": {"dir_root": "res", "dir_table_out": "t/u", "dir_region_out": "r", "dir_log_out": "l"}
        },
        files={"file_table_base": "T", "file_region_base": "R", "file_log_name": "run.log"},
        outputs={"tables": ["csv"]},
    )
    run(config, paths)
    assert files_below(tmp_path / "res") == [
        ".hyper_py/lock", ".hyper_py/m.json", ".hyper_py/m.npy",
        "l/Hyper_log_m.log", "l/run.log", "l/summary.csv",
        "r/R_m_centroids.reg", "r/R_m_ellipses.crtf", "r/R_m_ellipses.reg", "run.json",
        "t/u/T_ALL.csv", "t/u/T_m.csv",
    ]  # fmt: skip


def test_the_list_file_of_the_configuration_is_the_default_input(tmp_path):
    make_maps(tmp_path / "Maps", b="sources 1", a="sources 2")
    (tmp_path / "Maps/maps_list.txt").write_text("b.fits\na.fits\n")
    result, _ = run(make_config(tmp_path / "out"), None)
    assert [one.name for one in result.maps] == ["b", "a"]
    assert list(read_table(tmp_path / "out/params/params_ALL.csv")["MAP_ID"]) == ["b", "a", "a"]


def test_manifest_and_summary(tmp_path):
    paths = make_maps(tmp_path / "maps", good="warn\nsources 2", bad="corrupt")
    result, _ = run(make_config(tmp_path / "out"), paths)
    manifest = json.loads((tmp_path / "out/run.json").read_text())
    assert manifest["status"] == "failures"
    assert manifest["software"]["hyper-py"]
    assert manifest["software"]["numpy"]
    assert manifest["configuration"]["detection"]["sigma_thres"] == DetectionOptions.sigma_thres
    assert manifest["finished"] >= manifest["started"]
    good, bad = manifest["maps"]
    assert (good["status"], good["n_sources"], good["warnings"]) == ("done", 2, ["odd header indeed"])
    assert good["checksum"] == __import__("hashlib").sha256(paths[0].read_bytes()).hexdigest()
    assert (bad["status"], bad["rms"]) == ("failed", None)
    assert bad["reason"] == f"{paths[1]}: not a FITS file"
    summary = Table.read(tmp_path / "out/logs/summary.csv")
    assert list(summary["map"]) == ["good", "bad"]
    assert list(summary["status"]) == ["done", "failed"]
    log = (tmp_path / "out/logs/Hyper_log_good.log").read_text()
    assert log.count("odd header indeed") == 1
    assert result.exit_code == 1


def test_failures_are_named_in_one_line_and_leave_nothing_but_a_log(tmp_path):
    paths = make_maps(tmp_path / "maps", ok="", corrupt="corrupt", bug="bug", memory="memory")
    result, events = run(make_config(tmp_path / "out"), [*paths, tmp_path / "maps/gone.fits"])
    reasons = {one.name: one.reason for one in result.failures}
    assert reasons["corrupt"].endswith("corrupt.fits: not a FITS file")
    assert reasons["bug"].startswith("unexpected ZeroDivisionError: of course (runner_tasks.py, line ")
    assert reasons["memory"] == "out of memory"
    assert reasons["gone"].endswith("gone.fits: no such file")
    assert all("\n" not in reason for reason in reasons.values())
    assert "Traceback" in (tmp_path / "out/logs/Hyper_log_bug.log").read_text()
    assert "Traceback" not in (tmp_path / "out/logs/Hyper_log_corrupt.log").read_text()
    for name in reasons:
        assert [f for f in files_below(tmp_path / "out") if name in f] == [f"logs/Hyper_log_{name}.log"]
    assert [type(event).__name__ for event in events] == [
        "RunStarted", "MapStarted", "MapAdvanced", "MapFinished", *["MapStarted", "MapFailed"] * 4,
        "RunFinished",
    ]  # fmt: skip
    assert events[-2].progress.n_failed == 4
    assert events[-2].progress.seconds_left == 0
    log = (tmp_path / "out/logs/hyper_py.log").read_text()
    assert "finished: 1 of 5 maps complete, 4 failed" in log


def test_a_map_that_fails_now_has_no_outputs_of_then(tmp_path):
    paths = make_maps(tmp_path / "maps", m="")
    config = make_config(tmp_path / "out")
    run(config, paths)
    paths[0].write_text("corrupt")
    run(config, paths)
    assert files_below(tmp_path / "out") == [
        ".hyper_py/lock", "logs/Hyper_log_m.log", "logs/hyper_py.log", "logs/summary.csv", "run.json",
    ]  # fmt: skip


def test_errors_before_anything_runs_write_nothing(tmp_path):
    (tmp_path / "x").mkdir()
    paths = make_maps(tmp_path / "maps", m="") + make_maps(tmp_path / "x", m="")
    with pytest.raises(ConfigurationError, match="two maps have the same name"):
        run(make_config(tmp_path / "out"), paths)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="dir_root: cannot write to"):
        run(make_config(tmp_path / "file/out"), paths[:1])


# ------------------------------------------------------------------------------------------------ executors


def test_workers_give_bit_for_bit_what_serial_gives(tmp_path):
    texts = {f"m{i}": f"sources {i}\nsleep {0.3 if i == 0 else 0}" for i in range(4)} | {"bad": "corrupt"}
    paths = make_maps(tmp_path / "maps", **texts)
    serial, _ = run(make_config(tmp_path / "serial"), paths)
    control = {"executor": "processes", "n_cores": 2}
    parallel, events = run(make_config(tmp_path / "parallel", control=control), paths)
    assert events[0].executor == "processes"
    assert events[0].n_workers == 2
    assert [one.name for one in parallel.maps] == [path.stem for path in paths]
    assert contents(tmp_path / "serial") == contents(tmp_path / "parallel")
    assert [one.reason for one in serial.maps] == [one.reason for one in parallel.maps]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_gives_bit_for_bit_what_serial_gives(tmp_path):
    pytest.importorskip("distributed")
    paths = make_maps(tmp_path / "maps", a="sources 2", b="sleep 0.2", c="corrupt", d="")
    run(make_config(tmp_path / "serial"), paths)
    _, events = run(make_config(tmp_path / "dask", control={"executor": "dask", "n_cores": 2}), paths)
    assert events[0].executor == "dask"
    assert contents(tmp_path / "serial") == contents(tmp_path / "dask")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_real_maps_bit_for_bit_by_serial_processes_and_a_dask_cluster(tmp_path, monkeypatch, random_seed):
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    paths = [Path(f"m{k}.fits") for k in range(3)]
    for k, path in enumerate(paths):
        sky = simulate_image("alma", seed=random_seed + k, shape=(70, 80), n_sources=4)
        write_simulation(path, sky)
    orders = {}

    def do(name, **control):
        finished = orders.setdefault(name, [])

        def on_event(event):
            if isinstance(event, runner.MapFinished):
                finished.append(event.result.index)

        config = make_config(name, control=control)
        result = runner.run(config, paths, measure=measure_late, on_event=on_event)
        assert result.exit_code == 0
        return contents(Path(name))

    serial = do("serial")
    assert len(read_table(Path("serial/params/params_ALL.ecsv"))) > 3
    assert do("processes", executor="processes", n_cores=2) == serial
    with dask_cluster(tmp_path) as (address, _):
        assert do("dask", executor="dask", dask_scheduler=address) == serial
    assert orders["serial"] == [0, 1, 2]
    assert orders["processes"][0] != 0 != orders["dask"][0]


def test_a_dying_worker_costs_its_map_one_retry_and_not_the_run(tmp_path):
    paths = make_maps(
        tmp_path / "maps",
        a="die",
        b=f"die_once {tmp_path / 'mark'}",
        c="",
        d=f"modules {tmp_path / 'modules'}",
    )
    control = {"executor": "processes", "n_cores": 2}
    result, events = run(make_config(tmp_path / "out", control=control), paths)
    assert [one.status for one in result.maps] == ["failed", "done", "done", "done"]
    assert [one.attempts for one in result.maps] == [2, 2, 1, 1]
    assert result.failures[0].reason == "its worker process died 2 times (killed by SIGKILL; out of memory?)"
    assert sum(isinstance(event, runner.MapStarted) and event.attempt == 2 for event in events) == 2
    assert "b: started once more: its worker died" in (tmp_path / "out/logs/hyper_py.log").read_text()
    loaded = (tmp_path / "modules").read_text().split()
    assert "hyper_py.running.map_task" in loaded
    assert not {"matplotlib", "typer", "rich"} & set(loaded)


def test_workers_have_one_blas_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    texts = {name: f"environment {tmp_path / name}.txt" for name in "ab"}
    control = {"executor": "processes", "n_cores": 2}
    run(make_config(tmp_path / "out", control=control), make_maps(tmp_path / "maps", **texts))
    assert [(tmp_path / f"{name}.txt").read_text() for name in "ab"] == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("control", "n_tasks", "expected"),
    [
        ({"executor": "processes", "n_cores": 4}, 10, ("processes", 4)),
        ({"executor": "processes", "n_cores": 4}, 3, ("processes", 3)),
        ({"executor": "processes", "n_cores": 4}, 1, ("serial", 1)),
        ({"executor": "processes", "n_cores": 1}, 9, ("serial", 1)),
        ({"executor": "processes", "parallel_maps": False}, 9, ("serial", 1)),
        ({"executor": "dask", "n_cores": 2}, 9, ("dask", 2)),
        ({"executor": "dask", "n_cores": 2}, 0, ("serial", 1)),
        ({"executor": "serial", "n_cores": 2}, 9, ("serial", 1)),
    ],
)
def test_no_more_workers_than_are_of_use(tmp_path, control, n_tasks, expected):
    assert choose_executor(make_config(tmp_path, control=control).control, n_tasks) == expected


# --------------------------------------------------------------------------------------------------- resume


def test_resume_does_what_is_missing_and_nothing_else(tmp_path):
    texts = {"a": "sources 1", "b": "sources 2", "c": "corrupt", "d": "sources 3", "e": "sources 1"}
    paths = make_maps(tmp_path / "maps", **texts)
    config = make_config(tmp_path / "out")
    run(config, paths)
    (tmp_path / "out/params/params_b.csv").unlink()
    (tmp_path / "out/regions/region_files_e_ellipses.reg").write_text("cut off")
    paths[2].write_text("sources 4")
    paths[3].write_text("sources 5")
    result, events = run(config, paths, resume=True)
    assert [one.status for one in result.maps] == ["resumed", "done", "done", "done", "done"]
    assert [one.n_sources for one in result.maps] == [1, 2, 4, 5, 1]
    assert events[0].n_resumed == 1
    run(make_config(tmp_path / "fresh"), paths)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    again, events = run(config, paths, resume=True)
    assert [one.status for one in again.maps] == ["resumed"] * 5
    assert [type(event).__name__ for event in events] == ["RunStarted", "RunFinished"]
    assert again.maps[0].outputs == result.maps[0].outputs
    assert again.exit_code == 0


def test_resume_sees_another_configuration_but_not_another_executor(tmp_path):
    paths = make_maps(tmp_path / "maps", a="", b="")
    run(make_config(tmp_path / "out"), paths)
    same = make_config(tmp_path / "out", control={"executor": "processes", "n_cores": 5})
    assert [one.status for one in run(same, paths, resume=True)[0].maps] == ["resumed"] * 2
    other = make_config(tmp_path / "out", detection={"sigma_thres": 6.0}, outputs={"tables": ["csv"]})
    assert [one.status for one in run(other, paths, resume=True)[0].maps] == ["done"] * 2
    assert not list((tmp_path / "out/params").glob("*.ecsv"))


# --------------------------------------------------------------------------------------- killed, interrupted

SCRIPT = """
import sys
from pathlib import Path
from helpers.dask_clusters import dask_cluster
from helpers.runner_tasks import make_config, measure
from hyper_py.running import runner
from hyper_py.running.executors import choose_executor

if __name__ == "__main__":
    root, maps, n_cores, resume = sys.argv[1:]
    control = {"executor": "processes", "n_cores": int(n_cores)}
    result = runner.run(
        make_config(root, control=control), [maps], resume=resume == "yes", measure=measure,
        on_event=lambda event: print(type(event).__name__, flush=True),
    )
    print("interrupted" if result.interrupted else "whole", flush=True)
    sys.exit(result.exit_code)
"""


def start_run(tmp_path, *, n_cores=2, resume=False):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [
        sys.executable,
        script,
        tmp_path / "out",
        tmp_path / "maps",
        str(n_cores),
        "yes" if resume else "no",
    ]
    environment = {**os.environ, "PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def wait_for(process, word, n=1):
    """Read lines until `word` has come `n` times."""
    for line in process.stdout:
        n -= line.strip() == word
        if n == 0:
            return
    raise AssertionError(process.stderr.read())


def workers_of(pid):
    """Return the workers of a run; Python has a helper process besides."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in below if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def group_is_gone(pid):
    for _ in range(300):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("n_cores", [1, 2])
def test_ctrl_c_stops_in_seconds_and_resume_completes(tmp_path, n_cores):
    paths = make_maps(tmp_path / "maps", **{f"m{i}": "sleep 1" for i in range(6)})
    run(
        make_config(tmp_path / "fresh"),
        paths[:0] or make_maps(tmp_path / "quick", **{f"m{i}": "" for i in range(6)}),
    )
    with start_run(tmp_path, n_cores=n_cores) as process:
        wait_for(process, "MapFinished")
        begin = time.perf_counter()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert time.perf_counter() - begin < 5.0
    assert "interrupted" in out
    assert "Traceback" not in err
    assert process.returncode == 1
    assert "the same command with --resume goes on" in (tmp_path / "out/logs/hyper_py.log").read_text()
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "interrupted"
    assert not [name for name in files_below(tmp_path / "out") if "hyper-tmp" in name]
    with start_run(tmp_path, n_cores=n_cores, resume=True) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    statuses = {one["status"] for one in json.loads((tmp_path / "out/run.json").read_text())["maps"]}
    assert statuses == {"done", "resumed"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds its processes in /proc")
def test_a_killed_run_resumes_to_the_same_files(tmp_path):
    names = [f"m{i:02d}" for i in range(24)]
    texts = {name: "corrupt" if i % 8 == 3 else f"sources {i}\nsleep 0.1" for i, name in enumerate(names)}
    paths = make_maps(tmp_path / "maps", **texts)
    undisturbed, _ = run(make_config(tmp_path / "fresh"), paths)
    for attempt in range(3):
        with start_run(tmp_path, resume=attempt > 0) as process:
            wait_for(process, "MapStarted", random.randint(2, 5))
            os.kill(random.choice(workers_of(process.pid)), signal.SIGKILL)
            wait_for(process, random.choice(["MapStarted", "MapFinished"]), random.randint(1, 3))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert group_is_gone(process.pid), "workers must end with their parent"
    with start_run(tmp_path, resume=True) as process:
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, "")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    maps = json.loads((tmp_path / "out/run.json").read_text())["maps"]
    assert [one["reason"] for one in maps] == [one.reason for one in undisturbed.maps]
    assert sum(one["status"] == "failed" for one in maps) == 3
    assert sum(one["status"] == "resumed" for one in maps) >= 5
    assert not [name for name in files_below(tmp_path / "out") if "hyper-tmp" in name]
