"""Cubes: error of the background and of line fluxes, memory and time, and runs that were interrupted.

    python benchmarks/cubes.py accuracy [--original PYTHON] [--work DIR]
    python benchmarks/cubes.py scale [--channels 40 400] [--side 1000] [--sources N]
    python benchmarks/cubes.py resume [--channels 40] [--side 300]

`accuracy` simulates cubes of 20 channels and 30 sources on a background that changes from channel to
channel, three seeds, and compares the background within half a beam of each source, and its flux, with the
truth; with the Python of an environment that has the original Hyper-Py, the same with its backgrounds, for
the sources that both found. What is complete in DIR is not done again. `scale` reports the largest memory of
all processes, and processor seconds a channel. `resume` kills runs at random moments, resumes them, and
compares the data with those of an undisturbed run.
"""

import argparse
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from hyper_py.simulation.simulate import SimulatedCube, simulate_cube

SEEDS = (1, 2, 3)
MATCH_BEAMS = 0.5
ORIGINAL = """
import sys, yaml
from importlib.resources import files
from pathlib import Path
work, cube = Path(sys.argv[1]), Path(sys.argv[2])
config = yaml.safe_load(files("hyper_py").joinpath("assets/default_config.yaml").read_text())
config["paths"]["input"]["dir_maps"], config["paths"]["output"]["dir_root"] = str(work), str(work / "output")
config["control"].update(parallel_maps=False, n_cores=1, datacube=True)
config["detection"]["sigma_thres"] = 3.0
config["fits_output"]["fits_bg_separate"] = True
(work / "maps_list.txt").write_text(cube.name + "\\n")
(work / "config.yaml").write_text(yaml.safe_dump(config))
from hyper_py.run_hyper import main
sys.argv = ["hyper_py", str(work / "config.yaml")]
main()
"""


def write_cube(cube: SimulatedCube, path: Path) -> None:
    """Write a simulated cube as float32, plane by plane."""
    header = fits.Header(cube.header())
    stream = fits.StreamingHDU(str(path), _with_axes(header, cube.shape))
    for channel in cube:
        stream.write((channel.image.data / channel.image.jy_per_pixel).astype(np.float32))
    stream.close()


def _with_axes(header: fits.Header, shape: tuple[int, int, int]) -> fits.Header:
    full = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3)])
    for axis, size in enumerate(reversed(shape), start=1):
        full[f"NAXIS{axis}"] = size
    full.extend(header)
    return full


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hyper_py", "run", "-q", *arguments]


# --------------------------------------------------------------------------------------------- accuracy


class Errors:
    """Errors of backgrounds under sources, in units of the noise."""

    def __init__(self) -> None:
        self.values: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, values: np.ndarray) -> None:
        self.values.setdefault(name, []).append(values)

    def report(self) -> None:
        for name, parts in self.values.items():
            error = np.concatenate([part.ravel() for part in parts])
            per_source = np.array([part.mean() for part in parts])
            print(
                f"  {name:<44} rms {np.sqrt(np.mean(error**2)):.3f}  mean {error.mean():+.3f}  "
                f"{len(parts)} sources (their means: {per_source.std():.3f})"
            )


def original_boxes(cube_path: Path, python: str) -> Path:
    """Run the original on a cube, unless it has been, and return the directory of its results."""
    work = cube_path.with_name(f"original_{cube_path.stem}")
    if not (work / "output" / "params").is_dir():
        work.mkdir(exist_ok=True)
        (work / cube_path.name).unlink(missing_ok=True)
        (work / cube_path.name).symlink_to(cube_path)
        start = time.perf_counter()
        with (work / "log").open("w") as log:
            subprocess.run(
                [python, "-c", ORIGINAL, work, cube_path.name], cwd=work, stdout=log, stderr=log, check=True
            )
        print(f"  the original: {time.perf_counter() - start:.0f} s")
    return work / "output"


def original_backgrounds(
    output: Path, name: str, wcs: WCS
) -> list[tuple[float, float, np.ndarray, int, int]]:
    """Return x, y and the background box, with its corner, of each source of a channel (mJy/pixel)."""
    table_path = output / "params" / f"params_{name}.csv"
    if not table_path.exists():
        return []
    table = Table.read(table_path, format="ascii.ecsv")
    found = []
    folder = output / "fits" / "bg_separate"
    boxes = {}
    for path in folder.glob(f"HYPER_MAP_{name}_ID_*_bg_masked3D.fits"):
        for identifier in re.search(r"_ID_([\d_]+)_bg", path.name)[1].split("_"):
            boxes[int(identifier)] = path
    for row in table:
        path = boxes.get(int(row["HYPER_ID"]))
        if path is None:
            continue
        x, y = wcs.world_to_pixel(SkyCoord(row["RA"], row["DEC"], unit="deg"))
        data, header = fits.getdata(path), fits.getheader(path)
        corner = wcs.wcs.crpix - [header["CRPIX1"], header["CRPIX2"]]
        found.append((float(x), float(y), data, round(corner[0]), round(corner[1])))
    return found


def compare(cube: SimulatedCube, ours: Path, name: str, original: Path | None, errors: Errors) -> None:
    """Add the errors of all channels."""
    with fits.open(ours / "maps" / f"{name}_background_cube_fullsize.fits") as hdus:
        background = np.asarray(hdus[0].data, dtype=float)
    catalog = Table.read(ours / "params" / f"params_{name}_ALL.ecsv")
    for k, truth in enumerate(cube):
        image, noise = truth.image, float(truth.noise_rms.flat[0])
        beam = truth.model.beam_fwhm_pix
        mine = catalog[catalog["CHANNEL"] == k + 1]
        theirs = original_backgrounds(original, f"{name}_slice_{k + 1:03d}", image.wcs) if original else []
        y_grid, x_grid = np.mgrid[: image.shape[0], : image.shape[1]]
        for row in truth.truth:
            x, y = row["X"].value, row["Y"].value
            near = np.hypot(np.asarray(mine["X"]) - x, np.asarray(mine["Y"]) - y) < MATCH_BEAMS * beam
            if not near.any():
                continue
            rows, columns = np.nonzero(np.hypot(x_grid - x, y_grid - y) <= 0.5 * beam)
            level = truth.background[rows, columns]
            own = (background[k, rows, columns] * image.jy_per_pixel - level) / noise
            errors.add("ours, all found", own)
            for x2, y2, box, x0, y0 in theirs:
                if np.hypot(x2 - x, y2 - y) >= MATCH_BEAMS * beam:
                    continue
                inside = (rows >= y0) & (columns >= x0) & (rows < y0 + box.shape[0])
                inside &= columns < x0 + box.shape[1]
                if inside.all():
                    errors.add("ours, found by both", own)
                    values = 1e-3 * box[rows - y0, columns - x0]
                    errors.add("the original, found by both", (values - level) / noise)
                break


def line_pulls(cube: SimulatedCube, ours: Path, name: str) -> dict[str, np.ndarray]:
    """Return (flux - truth) / error of the sources of all channels, and the fluxes' S/N."""
    catalog = Table.read(ours / "params" / f"params_{name}_ALL.ecsv")
    pulls, snr, true_snr, flags = [], [], [], []
    for k, truth in enumerate(cube):
        mine = catalog[catalog["CHANNEL"] == k + 1]
        tx, ty, flux = (truth.truth[c].value for c in ("X", "Y", "FLUX"))
        scale = 1e3 if str(mine["FLUX"].unit) == "mJy" else 1.0
        for row in mine:
            distance = np.hypot(tx - row["X"], ty - row["Y"])
            if not distance.size or distance.min() > MATCH_BEAMS * truth.model.beam_fwhm_pix:
                # A source of the list that does not shine in this channel.
                true = 0.0 if row["FLAGS"] & 1 << 10 else None
            else:
                true = scale * flux[distance.argmin()]
            if true is not None:
                pulls.append((row["FLUX"] - true) / row["FLUX_ERR"])
                snr.append(row["FLUX"] / row["FLUX_ERR"])
                true_snr.append(true / row["FLUX_ERR"])
                flags.append(row["CLUSTER"])
    return {
        "pull": np.array(pulls),
        "snr": np.array(snr),
        "true_snr": np.array(true_snr),
        "group": np.array(flags),
    }


def width(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    mad = 1.4826 * np.median(np.abs(values - np.median(values)))
    return f"width {mad:.3f} (std {values.std():.2f}), median {np.median(values):+.3f}, n {values.size}"


def accuracy(arguments: argparse.Namespace) -> None:
    """Compare backgrounds and fluxes with the truth."""
    work = Path(arguments.work or tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    ways = {
        "correlated, per channel": [],
        "white, per channel": ["fit_options.noise_model=white", "background.method=polynomial"],
        "polynomial boxes": ["fit_options.noise_model=white", "background.method=polynomial"],
        "correlated, moment 0": ["cube.positions=moment0"],
        "correlated, moment 0, smoothed": ["cube.positions=moment0", "background.spectral_smoothing=3"],
    }
    chosen = {k: v for k, v in ways.items() if not arguments.ways or any(w in k for w in arguments.ways)}
    errors = {way: Errors() for way in chosen}
    pulls: dict[str, list[dict[str, np.ndarray]]] = {way: [] for way in chosen}
    for seed in SEEDS:
        cube = simulate_cube("cube", seed=seed, n_channels=20, n_sources=30)
        path = work / f"sim{seed}.fits"
        write_cube(cube, path)
        original = original_boxes(path, arguments.original) if arguments.original else None
        for way, options in chosen.items():
            out = work / f"ours{seed}_{way.replace(' ', '_').replace(',', '')}"
            sets = [part for option in options for part in ("--set", option)]
            subprocess.run(command(str(path), "-o", str(out), "--resume", *sets), check=True)
            compare(cube, out, path.stem, original, errors[way])
            pulls[way].append(line_pulls(cube, out, path.stem))
    for way in chosen:
        print(f"\n{way}\n  background under the sources, in units of the noise")
        errors[way].report()
        joined = {key: np.concatenate([one[key] for one in pulls[way]]) for key in pulls[way][0]}
        bright, alone = joined["true_snr"] > 8, joined["group"] == 1
        print(f"  flux pulls, all:               {width(joined['pull'])}")
        print(f"  flux pulls, isolated:          {width(joined['pull'][alone])}")
        print(f"  flux pulls, true S/N > 8:      {width(joined['pull'][bright])}")


# ------------------------------------------------------------------------------------------------ scale


def big_cube(path: Path, *, n_channels: int, side: int, n_sources: int | None = None, seed: int = 0) -> None:
    """Write a cube of any size: noise of its own in each channel on one simulated map."""
    model = {"shape": (side, side), "n_sources": n_sources or max(side * side // 10000, 5)}
    cube = simulate_cube("cube", seed=seed, n_channels=n_channels, **model)
    rng, image = np.random.default_rng(seed), cube.channel(0)
    plane = image.image.data / image.image.jy_per_pixel
    stream = fits.StreamingHDU(str(path), _with_axes(fits.Header(cube.header()), cube.shape))
    for _ in range(n_channels):
        noise = 0.1 * plane.std() * rng.standard_normal(plane.shape)
        stream.write((plane + noise).astype(np.float32))
    stream.close()


def tree(root: int) -> list[int]:
    """Return the processes below one, and itself."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        process = todo.pop()
        found.append(process)
        todo += children.get(process, [])
    return found


def memory_and_time(processes: list[int]) -> tuple[int, float]:
    """Return resident memory in bytes (pages shared are counted twice) and processor seconds."""
    memory, ticks = 0, 0
    for process in processes:
        try:
            memory += int(Path(f"/proc/{process}/statm").read_text().split()[1])
            ticks += sum(
                map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15])
            )
        except OSError:
            continue
    return memory * resource.getpagesize(), ticks / os.sysconf("SC_CLK_TCK")


def watch(process: subprocess.Popen[bytes], out: Path) -> tuple[int, list[tuple[int, float]]]:
    """Return the largest memory of a run, and how many channels were done after what processor time."""
    peak, passed = 0, [(0, 0.0)]
    while process.poll() is None:
        memory, seconds = memory_and_time(tree(process.pid))
        peak = max(peak, memory)
        done = len(list(out.glob(".hyper_py/*_slice_*.json")))
        if done > passed[-1][0]:
            passed.append((done, seconds))
        time.sleep(0.2)
    return peak, passed


def per_channel(passed: list[tuple[int, float]], first: float, last: float) -> float:
    """Return processor seconds a channel between two shares of a run."""
    total = passed[-1][0]
    (n0, t0), (n1, t1) = (min(passed, key=lambda one: abs(one[0] - x * total)) for x in (first, last))
    return (t1 - t0) / (n1 - n0)


def scale(arguments: argparse.Namespace) -> None:
    """Measure memory and time for several numbers of channels."""
    for n_channels in arguments.channels:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            path, out = Path(folder) / "big.fits", Path(folder) / "out"
            big_cube(path, n_channels=n_channels, side=arguments.side, n_sources=arguments.sources)
            sets = [part for option in arguments.set for part in ("--set", option)]
            process = subprocess.Popen(command(str(path), "-o", str(out), "-j", str(arguments.jobs), *sets))
            peak, passed = watch(process, out)
            quarters = "/".join(f"{per_channel(passed, q / 4, (q + 1) / 4):.2f}" for q in range(4))
            print(
                f"{n_channels} channels, side {arguments.side}, {arguments.jobs} at a time: exit "
                f"{process.returncode}, peak {peak / 2**20:.0f} MB in all processes, {quarters} processor "
                "seconds a channel in the quarters of the run", flush=True,
            )  # fmt: skip


# ----------------------------------------------------------------------------------------------- resume


def digests(out: Path) -> dict[str, str]:
    """Return the checksum of the data of every cube and table."""
    found = {}
    for path in sorted([*out.glob("maps/*.fits"), *out.glob("params/*.ecsv"), *out.glob("regions/*")]):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def resume(arguments: argparse.Namespace) -> None:
    """Kill runs at random moments, resume them, and compare."""
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.fits"
        big_cube(path, n_channels=arguments.channels[0], side=arguments.side)
        sets = ["--set", "cube.outputs=[background,residual]", "--set", "background.spectral_smoothing=2"]
        whole = command(str(path), "-o", str(Path(folder) / "whole"), *sets)
        subprocess.run(whole, check=True)
        expected = digests(Path(folder) / "whole")
        for trial in range(arguments.trials):
            out, kills = Path(folder) / f"trial{trial}", 0
            broken = command(str(path), "-o", str(out), *sets)
            for _ in range(3):
                process = subprocess.Popen(broken, start_new_session=True)
                # Time is no measure of progress on a busy machine: channels are, and a moment more.
                enough = int(rng.integers(0, arguments.channels[0] + 1))
                while process.poll() is None and len(list(out.glob(".hyper_py/*_slice_*.json"))) < enough:
                    time.sleep(0.01)
                time.sleep(float(rng.uniform(0.0, 0.3)))
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL if rng.random() < 0.5 else signal.SIGINT)
                    process.wait()
                    kills += 1
                broken = [*command(str(path), "-o", str(out), *sets), "--resume"]
            subprocess.run(broken, check=True)
            same = digests(out) == expected
            print(f"trial {trial}: interrupted {kills} times, {len(expected)} files, same bytes: {same}")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("accuracy", "scale", "resume"))
    parser.add_argument("--original", help="Python of an environment with hyper-py-photometry 1.2.3")
    parser.add_argument("--work", help="directory to keep cubes and results in")
    parser.add_argument("--ways", nargs="*", default=[], help="only these configurations")
    parser.add_argument("--channels", type=int, nargs="*", default=[40, 400])
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument(
        "--sources", type=int, help="in the map below the noise of `scale`; one in 100^2 pixels"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="configuration keys of `scale`")
    arguments = parser.parse_args()
    {"accuracy": accuracy, "scale": scale, "resume": resume}[arguments.what](arguments)


if __name__ == "__main__":
    main()
