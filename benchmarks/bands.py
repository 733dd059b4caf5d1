"""Fields in several bands: the joint catalogue against truth, each band alone, and known places.

    python benchmarks/bands.py run --work DIR --scenes simple --seeds 1 2 --ways joint known alone forced
    python benchmarks/bands.py show --work DIR > bands.md
    python benchmarks/bands.py cost --ways joint
    python benchmarks/bands.py cost --ways alone

`run` measures simulated fields and keeps what was measured in DIR, one file a scene, seed and way; `show`
makes tables of what is there. `cost` prints processor time and peak memory of one way on five maps of a
million pixels of 3 arcsec with 500 sources, or of a part of them (`--size`).

Ways: `joint`, `extract_bands`; `known`, the same likelihood with true positions and shapes; `alone`,
`extract_sources` on each map; `forced`, each map at the positions and shapes that 250 micron gives (the two
commands of single maps).

Matching is one to one: within 6 arcsec for joint catalogues, half a beam for single maps. True sources closer
than 0.7 of the sharpest beam count as one. Sources are counted by their true flux above 5 errors: a cut on
the measured flux selects those that noise made brighter.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from scipy.spatial import cKDTree

import hyper_py
from hyper_py.bands.images import BandImage
from hyper_py.bands.plane import TangentPlane
from hyper_py.detection.given import FixedSources
from hyper_py.simulation.bands import SimulatedBands, simulate_bands

SHIFTS = {"p160": (1.5, -2.0), "s250": (-2.0, 2.0), "s350": (0.0, 0.0), "s500": (3.0, 0.0)}
SCENES: dict[str, dict[str, Any]] = {
    "simple": {"preset": "bands_simple"},
    "hard": {"preset": "bands"},
    "shifted": {
        "preset": "bands_simple", "bands": {name: {"offset": shift} for name, shift in SHIFTS.items()}
    },
    "no p100": {"preset": "bands_simple", "bands": {"p100": None}},
    "half p160": {"preset": "bands_simple", "bands": {"p160": {"coverage": 0.5}}},
    "turned s350": {
        "preset": "bands_simple",
        "bands": {"s350": {"frame": "galactic", "projection": "SIN", "rotation": 30.0}},
    },
    "growing": {"preset": "bands_simple", "size_exponent": 0.3},
    "growing, free": {"preset": "bands_simple", "size_exponent": 0.3},
}  # fmt: skip
"""What is simulated: a preset and changes of it."""
TOLERANCE, SAME = 6.0, 4.9
DRAWS = 300
"""Of the bootstrap."""
BANDS = {"p100": 7.0, "p160": 12.0, "s250": 18.0, "s350": 24.5, "s500": 36.0}
"""FWHM in arcsec."""
Table = dict[str, np.ndarray]


def field_of(scene: str, seed: int) -> SimulatedBands:
    """Return the simulated field of a scene."""
    changes = dict(SCENES[scene])
    return simulate_bands(changes.pop("preset"), seed=seed, **changes)


def images_of(simulated: SimulatedBands) -> list[BandImage]:
    """Return the maps of a field."""
    return [
        BandImage(name=one.band.name, image=one.image, wavelength=one.band.wavelength)
        for one in simulated.maps
    ]


def joint(simulated: SimulatedBands, *, scene: str, fixed: FixedSources | None = None) -> Table:
    """Measure all bands together."""
    options = {"shape": "free" if scene.endswith("free") else "shared"}
    found = hyper_py.extract_bands(images_of(simulated), fixed=fixed, bands=options)
    sources = found.sources
    return {
        "sky": sources.sky, "flux": sources.flux, "error": sources.flux_err,
        "position_error": np.sqrt(np.diagonal(sources.position_covariance, axis1=1, axis2=2)),
        "rank": (sources.peak / sources.peak_err).max(axis=1, initial=-np.inf, where=sources.seen),
        "misfit": sources.misfit, "offsets": found.offsets.values, "offset_errors": found.offsets.errors,
    }  # fmt: skip


def known(simulated: SimulatedBands, *, scene: str) -> Table:
    """Measure fluxes with true positions and shapes."""
    truth = simulated.truth
    fixed = FixedSources(
        longitude=truth["RA"].value, latitude=truth["DEC"].value, frame="icrs",
        fwhm_1=truth["FWHM_1"].to_value("arcsec"), fwhm_2=truth["FWHM_2"].to_value("arcsec"),
        pa=truth["PA"].to_value("deg"), intrinsic=True,
    )  # fmt: skip
    return joint(simulated, scene=scene, fixed=fixed)


def single(simulated: SimulatedBands, fixed: FixedSources | None = None) -> Table:
    """Measure each band by itself, found at 3.5 sigma as lists to be merged are."""
    result: Table = {}
    for one in simulated.maps:
        catalog = hyper_py.extract_sources(one.image, fixed=fixed, detection={"sigma_thres": 3.5}).catalog
        for key, name, unit in (("ra", "RA", "deg"), ("dec", "DEC", "deg"), ("flux", "FLUX", "Jy"),
                                ("error", "FLUX_ERR", "Jy"), ("peak", "FLUX_PEAK", "Jy/beam"),
                                ("peak_error", "FLUX_PEAK_ERR", "Jy/beam")):  # fmt: skip
            result[f"{key} {one.band.name}"] = catalog[name].to_value(u.Unit(unit))
    return result


def alone(simulated: SimulatedBands, *, scene: str) -> Table:
    """Measure each band by itself."""
    del scene
    return single(simulated)


def forced(simulated: SimulatedBands, *, scene: str) -> Table:
    """Measure each band at the positions and shapes of 250 micron: the way of two commands."""
    del scene
    image = simulated["s250"].image
    found = hyper_py.extract_sources(image).catalog
    fixed = FixedSources(
        longitude=found["RA"].value, latitude=found["DEC"].value, frame="icrs",
        fwhm_1=found["DECONV_FWHM_1"].to_value("arcsec"), fwhm_2=found["DECONV_FWHM_2"].to_value("arcsec"),
        pa=np.nan_to_num(found["DECONV_PA"].to_value("deg")), intrinsic=True,
    )  # fmt: skip
    return single(simulated, fixed)


WAYS: dict[str, Callable[..., Table]] = {"joint": joint, "known": known, "alone": alone, "forced": forced}


def run(work: Path, scenes: list[str], seeds: list[int], ways: list[str]) -> None:
    """Measure what is not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for scene in scenes:
            for way in ways:
                path = work / f"{scene}_{seed}_{way}.npz"
                if path.exists():
                    continue
                simulated = field_of(scene, seed)
                start = time.process_time()
                table = WAYS[way](simulated, scene=scene)
                np.savez(path, seconds=time.process_time() - start, **table)
                print(f"{path.stem}: {time.process_time() - start:.0f} s", flush=True)


def cost(way: str, *, size: float) -> None:
    """Print processor time and peak memory of a way on five maps of one grid."""
    changes = {name: {"pixel_scale": 3.0} for name in BANDS}
    simulated = simulate_bands(
        "bands", seed=91, size=size, n_sources=round(500 * (size / 3000.0) ** 2), bands=changes
    )
    before, start = peak_memory(), time.process_time()
    if way == "joint":
        rows = [len(hyper_py.extract_bands(images_of(simulated)).sources)]
    else:
        rows = [len(hyper_py.extract_sources(one.image).catalog) for one in simulated.maps]
    seconds = time.process_time() - start
    shape = simulated.maps[0].image.shape
    print(f"{way}: {len(simulated.truth)} sources, maps of {shape[1]} x {shape[0]} pixels, rows {rows}")
    print(f"{seconds:.0f} s of processor time; peak memory {peak_memory():.0f} MB, {before:.0f} MB before")


def peak_memory() -> float:
    """Return the largest resident memory of this process so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def merged_truth(simulated: SimulatedBands, plane: TangentPlane) -> Table:
    """Return true positions on a plane and fluxes; sources that cannot be told apart are one."""
    table = simulated.truth
    position = plane.offsets(table["RA"].value, table["DEC"].value)
    flux = np.column_stack([table[f"FLUX_{one.band.name}"].to_value("Jy") for one in simulated.maps])
    covers = np.column_stack([np.asarray(table[f"COVERS_{one.band.name}"]) for one in simulated.maps])
    kept = np.ones(len(table), dtype=bool)
    for i, j in sorted(cKDTree(position).query_pairs(SAME)):
        if kept[i] and kept[j]:
            share = flux[i].sum() / (flux[i] + flux[j]).sum()
            position[i] = share * position[i] + (1.0 - share) * position[j]
            flux[i] += flux[j]
            kept[j] = False
    near = cKDTree(position[kept]).query(position[kept], k=2)[0][:, 1]
    return {"position": position[kept], "flux": flux[kept], "covers": covers[kept], "near": near}


def matched(true: np.ndarray, found: np.ndarray, tolerance: float) -> np.ndarray:
    """Return for each true position the row found, -1 for none; nearest pairs first, one to one."""
    link = np.full(len(true), -1)
    if not len(found):
        return link
    distance, row = cKDTree(found).query(true)
    used: set[int] = set()
    for i in np.argsort(distance):
        if distance[i] < tolerance and row[i] not in used:
            used.add(int(row[i]))
            link[i] = row[i]
    return link


def width(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else float("nan")


class Pooled:
    """What one way measured of the true sources of a scene, all seeds together."""

    def __init__(self, work: Path, scene: str, way: str) -> None:
        parts: list[Table] = []
        self.rank, self.good, self.n_true, self.seconds = [], [], 0, []
        self.offsets: list[np.ndarray] = []
        self.true_offsets: list[np.ndarray] = []
        self.misfit: list[np.ndarray] = []
        self.names: list[str] = []
        for path in sorted(work.glob(f"{scene}_*_{way}.npz")):
            simulated = field_of(scene, int(path.stem.split("_")[-2]))
            self.names = [one.band.name for one in simulated.maps]
            with np.load(path) as file:
                parts.append(self._part(simulated, dict(file), way))
        self.n_fields = len(parts)
        self.table: Table = (
            {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}
        )

    def _part(self, simulated: SimulatedBands, found: Table, way: str) -> Table:
        centre = SkyCoord(*simulated.model.centre, unit="deg")
        plane = TangentPlane(ra=centre.ra.deg, dec=centre.dec.deg)
        truth = merged_truth(simulated, plane)
        n, n_bands = truth["flux"].shape
        self.seconds.append(float(found["seconds"]))
        self.n_true += n
        flux, error = np.full((n, n_bands), np.nan), np.full((n, n_bands), np.nan)
        place = np.full((n, 2), np.nan)
        if "sky" in found:
            position = plane.offsets(*found["sky"])
            link = matched(truth["position"], position, TOLERANCE)
            own = link >= 0
            flux[own], error[own] = found["flux"][link[own]], found["error"][link[own]]
            place[own] = (position[link[own]] - truth["position"][own]) / found["position_error"][link[own]]
            self.rank.append(found["rank"])
            self.good.append(np.isin(np.arange(len(position)), link[own]))
            self.offsets.append(found["offsets"])
            self.true_offsets.append(np.array([one.offset for one in simulated.maps]))
            self.misfit.append(found["misfit"])
        else:
            self._add_single(found, plane, truth, flux, error, union=way == "alone")
        seed = np.full(n, simulated.seed)
        lost = self._beside_lost(truth["position"], np.isfinite(flux).any(axis=1))
        return {**truth, "seed": seed, "lost": lost, "measured": flux, "error": error, "place": place}

    def _beside_lost(self, position: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return which sources have another within the beam of a band that was not found, (n, n_bands)."""
        distance = np.hypot(*(position[:, None] - position).transpose(2, 0, 1))
        np.fill_diagonal(distance, np.inf)
        distance[:, found] = np.inf
        return distance.min(axis=1)[:, None] < np.array([BANDS[name] for name in self.names])

    def _add_single(
        self,
        found: Table,
        plane: TangentPlane,
        truth: Table,
        flux: np.ndarray,
        error: np.ndarray,
        *,
        union: bool,
    ) -> None:
        positions, ranks = [], []
        for b, name in enumerate(self.names):
            position = plane.offsets(found[f"ra {name}"], found[f"dec {name}"])
            link = matched(truth["position"], position, 0.5 * BANDS[name] if union else TOLERANCE)
            own = link >= 0
            flux[own, b], error[own, b] = found[f"flux {name}"][link[own]], found[f"error {name}"][link[own]]
            positions.append(position)
            ranks.append(found[f"peak {name}"] / found[f"peak_error {name}"])
        if union:
            self._add_union(positions, ranks, truth)

    def _add_union(self, positions: list[np.ndarray], ranks: list[np.ndarray], truth: Table) -> None:
        """Merge the bands' lists from the sharpest on: what is within half a beam of a known one is that."""
        places, rank = positions[0], np.nan_to_num(ranks[0])
        for b, name in list(enumerate(self.names))[1:]:
            distance, row = cKDTree(places).query(positions[b])
            same = distance < 0.5 * BANDS[name]
            np.maximum.at(rank, row[same], np.nan_to_num(ranks[b])[same])
            places = np.concatenate([places, positions[b][~same]])
            rank = np.concatenate([rank, np.nan_to_num(ranks[b])[~same]])
        link = matched(truth["position"], places, TOLERANCE)
        self.rank.append(rank)
        self.good.append(np.isin(np.arange(len(places)), link[link >= 0]))

    def completeness(self, purity: float = 0.99) -> tuple[float, int, int]:
        """Return completeness at a purity by the best cut on the rank; rows; false rows."""
        rank, good = np.concatenate(self.rank), np.concatenate(self.good)
        order = np.argsort(-rank, kind="stable")
        share = np.cumsum(good[order]) / np.arange(1, order.size + 1)
        enough = np.flatnonzero(share >= purity)
        found = int(good[order][: enough[-1] + 1].sum()) if enough.size else 0
        return found / self.n_true, rank.size, int((~good).sum())

    def band(self, b: int) -> dict[str, float]:
        """Return the figures of a band."""
        t = self.table
        true, flux, error = t["flux"][:, b], t["measured"][:, b], t["error"][:, b]
        usable = np.isfinite(flux) & np.isfinite(error) & (error > 0) & t["covers"][:, b]
        strong = usable & (true > 5.0 * error)
        pulls = (flux - true) / error
        beam = BANDS[self.names[b]]
        isolated, blended = strong & (t["near"] > 2.0 * beam), strong & (t["near"] < beam)
        return {
            "number": np.count_nonzero(strong), "above 3": np.count_nonzero(usable & (flux > 3 * error)),
            "true above 3": np.count_nonzero(usable & (true > 3 * error)),
            "bias": 100.0 * (np.median((flux / true)[strong]) - 1.0) if strong.any() else np.nan,
            "scatter": 100.0 * width((flux / true)[strong]),
            "pulls": width(pulls[strong]), "all pulls": width(pulls[usable]),
            "isolated": width(pulls[isolated]),
            "blended": width(pulls[blended]), "parted": width(pulls[blended & ~t["lost"][:, b]]),
            "beyond 4": 100.0 * np.mean(np.abs(pulls[usable]) > 4.0),
        }  # fmt: skip


def on_common(ways: dict[str, Pooled], b: int) -> dict[str, np.ndarray]:
    """Return measured over true flux and the relative error, (2, n), of each way, for the same n sources.

    They are those that the band alone finds above 5 errors and that all ways measured, in the fields that all
    of these ways measured.
    """
    shown = {name: way.table for name, way in ways.items() if name != "forced"}
    seeds = set.intersection(*(set(table["seed"].tolist()) for table in shown.values()))
    rows = {name: np.isin(table["seed"], list(seeds)) for name, table in shown.items()}
    values = {
        name: np.stack([table["measured"], table["error"]])[:, rows[name], b] / table["flux"][rows[name], b]
        for name, table in shown.items()
    }
    strong = 5.0 * values["alone"][1] < 1.0
    for value in values.values():
        strong &= np.isfinite(value).all(axis=0)
    return {name: value[:, strong] for name, value in values.items()}


def ratio_text(one: np.ndarray, other: np.ndarray) -> str:
    """Return the ratio of the scatters of two ways, its error by bootstrap, and what their errors predict."""
    rng, n = np.random.default_rng(1), one.shape[1]
    if not n:
        return "nan | nan"
    drawn = rng.integers(0, n, (DRAWS, n))
    ratios = [width(one[0, k]) / width(other[0, k]) for k in drawn]
    noise = rng.standard_normal((DRAWS, 2, n))
    predicted = [width(a * one[1]) / width(b * other[1]) for a, b in noise]
    ratio = width(one[0]) / width(other[0])
    return f"{ratio:.2f} +- {np.std(ratios):.2f} | {np.median(predicted):.2f}"


def lines_of(work: Path, scene: str) -> Iterator[str]:
    """Yield the tables of a scene."""
    ways = {way: Pooled(work, scene, way) for way in WAYS}
    ways = {way: pooled for way, pooled in ways.items() if pooled.n_fields}
    if not ways:
        return
    fields = ", ".join(f"{way} {pooled.n_fields}" for way, pooled in ways.items())
    yield f"\n## {scene}\n\nFields: {fields}. {next(iter(ways.values())).n_true} true sources.\n"
    yield (
        "| band | way | above 5 errors | bias % | scatter % | pull width | all | isolated | blended | parted "
        "| beyond 4, % | measured above 3 |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for b, name in enumerate(next(iter(ways.values())).names):
        for way, pooled in ways.items():
            f = pooled.band(b)
            first = f"{f['number']} | {f['bias']:+.1f} | {f['scatter']:.1f}"
            pulls = " | ".join(
                f"{f[key]:.2f}" for key in ("pulls", "all pulls", "isolated", "blended", "parted")
            )
            yield (f"| {name} | {way} | {first} | {pulls} | {f['beyond 4']:.1f} | {f['above 3']} |")
    if "alone" in ways:
        yield "\nScatter in percent on the sources that the band alone finds above 5 errors:\n"
        shown = [way for way in ways if way != "forced"]
        others = [way for way in ("alone", "known") if {way, "joint"} <= set(shown)]
        ratios = " | ".join(f"joint / {way} | by their errors" for way in others)
        yield "| band | sources | " + " | ".join(shown) + f" | {ratios} |"
        yield "|---|" + "---|" * (len(shown) + 1 + 2 * len(others))
        for b, name in enumerate(next(iter(ways.values())).names):
            values = on_common(ways, b)
            scatter = " | ".join(f"{100.0 * width(values[way][0]):.1f}" for way in shown)
            ratios = " | ".join(ratio_text(values["joint"], values[way]) for way in others)
            yield f"| {name} | {values['alone'].shape[1]} | {scatter} | {ratios} |"
    yield ""
    for way in ("joint", "alone"):
        if way in ways and ways[way].rank:
            complete, rows, false = ways[way].completeness()
            yield f"{way}: completeness at 99% purity {complete:.3f}; {rows} rows, {false} of them false.  "
    if "joint" in ways:
        place = ways["joint"].table["place"]
        place = place[np.isfinite(place).all(axis=1)]
        yield f"Position pulls {width(place.ravel()):.2f}."
        misfit = np.concatenate(ways["joint"].misfit)
        share = np.mean(np.abs(misfit).max(axis=1) > 3.5)
        yield f"Shape misfit beyond 3.5 in some band: {100 * share:.1f}% of the rows."
        error = np.abs(np.array(ways["joint"].offsets) - ways["joint"].true_offsets).max(axis=(0, 2))
        yield f"Offsets less true ones, largest, arcsec: {', '.join(f'{value:.2f}' for value in error)}."
    yield "Processor seconds a field: " + ", ".join(f"{w} {np.mean(p.seconds):.0f}" for w, p in ways.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "show", "cost"))
    parser.add_argument("--work", type=Path, default=Path("bands_benchmark"))
    parser.add_argument("--size", type=float, default=3000.0, help="of the field of `cost`, arcsec")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.what == "cost":
        for way in args.ways:
            cost(way, size=args.size)
        return
    if args.what == "run":
        run(args.work, args.scenes, args.seeds, args.ways)
        return
    for scene in args.scenes:
        for line in lines_of(args.work, scene):
            print(line)


if __name__ == "__main__":
    main()
