"""The published benchmark of Hyper-Py: Table 1, both histograms of flux differences, and our run beside them.

    python benchmarks/published.py --data DIR [--output DIR] [--skip-run]

DIR holds the two published maps, their truth tables and both published catalogues, as distributed with
the original Hyper-Py: map_500_Gaussians_N.fits, table_500_Gaussians_N.txt, published_hyper_py_N.txt and
published_hyper_idl_N.txt (N = 1, 2).
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

import hyper_py
from hyper_py.options import BackgroundOptions, FitOptions
from hyper_py.validation.matching import match_positions, sky_points
from hyper_py.validation.validation import Validation, validate

TOLERANCE = 0.02
"""Arcsec: the paper's matching radius for Table 1."""
HISTOGRAM_TOLERANCE = 0.03
"""Arcsec. The published histograms follow from the truth nearest and the Hyper-Py source nearest to each
HYPER source; any radius from 0.03 to 0.05 arcsec gives the same sources."""
PAPER_TABLE = {
    ("Hyper-Py", 1): (490, 4),
    ("Hyper-Py", 2): (487, 4),
    ("HYPER", 1): (493, 73),
    ("HYPER", 2): (487, 46),
}
PAPER_HISTOGRAMS = {
    ("Hyper-Py", "peak"): (-3.2, -4.0),
    ("HYPER", "peak"): (-1.3, -2.1),
    ("Hyper-Py", "flux"): (2.7, -0.4),
    ("HYPER", "flux"): (6.9, 2.3),
}
OURS = {
    "ours": hyper_py.Options(),
    "ours, white": hyper_py.Options(
        fit_options=FitOptions(noise_model="white"), background=BackgroundOptions(method="polynomial")
    ),
}
"""Our runs and their options."""
CODES = ("Hyper-Py", "HYPER", *OURS)


@dataclass(frozen=True)
class PublishedMap:
    """One map with its truth and catalogues; peaks in Jy/beam, fluxes in Jy, sizes in arcsec."""

    number: int
    beam_fwhm: float
    truth: Table
    catalogs: dict[str, Table]


def read_map(data: Path, number: int) -> PublishedMap:
    """Read one map's header, truth and published catalogues into common names and units."""
    header = fits.getheader(data / f"map_500_Gaussians_{number}.fits")
    scale = 3600.0 * header["CDELT2"]
    beam_fwhm = 3600.0 * float(np.sqrt(header["BMAJ"] * header["BMIN"]))
    pixels_per_beam = np.pi / (4.0 * np.log(2.0)) * (beam_fwhm / scale) ** 2

    table = Table.read(data / f"table_500_Gaussians_{number}.txt", format="ascii.ipac")
    truth = Table({"RA": table["RA"], "DEC": table["DEC"], "FLUX": table["Flux_Integrated"]})
    truth["FLUX_PEAK"] = table["Flux_Peak"] * pixels_per_beam
    truth["FWHM_GEOM"] = table["FWHM"] * scale

    python = Table.read(data / f"published_hyper_py_{number}.txt", format="ascii.ipac")
    # Its FLUX_PEAK is mJy/pixel divided once more by the beam's area in pixels.
    python["FLUX_PEAK"] = np.array(python["FLUX_PEAK"]) * 1e-3 * pixels_per_beam**2
    idl = Table.read(data / f"published_hyper_idl_{number}.txt", format="ascii.ipac")
    idl.rename_columns(["ra", "dec", "FWHM_MAX", "FWHM_MIN"], ["RA", "DEC", "FWHM_1", "FWHM_2"])
    idl["FLUX_PEAK"] = np.array(idl["FLUX_PEAK_JY"]) * 1e-3 * pixels_per_beam
    for catalog in (python, idl):
        for name in ("FLUX", "FLUX_ERR"):
            catalog[name] = np.array(catalog[name]) * 1e-3
    return PublishedMap(number, beam_fwhm, truth, {"Hyper-Py": python, "HYPER": idl})


def add_our_run(published: PublishedMap, data: Path, code: str) -> float:
    """Extract sources from the map; return the seconds it took."""
    start = time.perf_counter()
    image = hyper_py.read_image(data / f"map_500_Gaussians_{published.number}.fits")
    catalog = hyper_py.extract_sources(image, options=OURS[code]).catalog
    seconds = time.perf_counter() - start
    table = Table({name: catalog[name] for name in catalog.colnames})
    for name, unit in (("FLUX", "Jy"), ("FLUX_GAUSS", "Jy"), ("FLUX_PEAK", "Jy / beam")):
        for end in ("", "_ERR"):
            table[name + end] = table[name + end].to(unit)
    published.catalogs[code] = table
    return seconds


def compare(published: PublishedMap, code: str) -> Validation:
    """Validate one catalogue of one map as the paper does: on the sky, within 0.02 arcsec."""
    return validate(
        published.catalogs[code],
        published.truth,
        beam_fwhm=published.beam_fwhm,
        tolerance=TOLERANCE,
        coordinates="sky",
        truth_units={"FLUX": "Jy", "FLUX_PEAK": "Jy / beam", "FWHM_GEOM": "arcsec"},
        column_units={} if code in OURS else {"FLUX": "Jy", "FLUX_PEAK": "Jy / beam", "FLUX_ERR": "Jy"},
    )


def points(table: Table) -> Any:
    return sky_points(np.array(table["RA"]), np.array(table["DEC"]))


def differences(published: PublishedMap, *, as_paper: bool) -> dict[tuple[str, str], Any]:
    """Return 100 (flux - truth) / truth of the sources in truth and both published catalogues.

    As the paper: the nearest partners of each HYPER source. Else one to one within the tolerance of
    Table 1, our runs included if they are there.
    """
    where = {code: points(table) for code, table in published.catalogs.items()}
    truth = points(published.truth)
    rows = {}
    if as_paper:
        near_truth, j = cKDTree(truth).query(where["HYPER"])
        near_python, i = cKDTree(where["Hyper-Py"]).query(where["HYPER"])
        both = (near_truth <= HISTOGRAM_TOLERANCE) & (near_python <= HISTOGRAM_TOLERANCE)
        rows = {"Hyper-Py": (i[both], j[both]), "HYPER": (np.flatnonzero(both), j[both])}
    else:
        pairs = {code: match_positions(xyz, truth, tolerance=TOLERANCE) for code, xyz in where.items()}
        both = np.intersect1d(pairs["Hyper-Py"][1], pairs["HYPER"][1])
        for code, (i, j) in pairs.items():
            keep = np.isin(j, both)
            rows[code] = i[keep], j[keep]
    result = {}
    for code, (i, j) in rows.items():
        for quantity, column in (("peak", "FLUX_PEAK"), ("flux", "FLUX")):
            true = np.array(published.truth[column])[j]
            measured = np.asarray(published.catalogs[code][column], dtype=float)[i]
            result[code, quantity] = 100.0 * (measured - true) / true
    return result


def join(maps: list[PublishedMap], *, as_paper: bool) -> dict[tuple[str, str], Any]:
    """Both maps' differences together."""
    parts = [differences(m, as_paper=as_paper) for m in maps]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def table_lines(maps: list[PublishedMap]) -> Iterator[str]:
    """Table 1, and bias and scatter of the fluxes."""
    yield f"Table 1: matched within {TOLERANCE} arcsec one to one, and false"
    yield f"{'':16} map  matched  false   paper      flux bias, scatter   peak bias, scatter   pull width"
    for code in CODES:
        for published in maps:
            if code not in published.catalogs:
                continue
            v = compare(published, code)
            flux, peak = v.samples["all"]["flux"], v.samples["all"]["peak"]
            paper = PAPER_TABLE.get((code, published.number))
            yield (
                f"{code:16} {published.number:3}  {v.completeness.part:7}  {v.false.size:5}   "
                f"{f'{paper[0]} {paper[1]:3}' if paper else '':9}"
                f"  {flux.bias:+8.1%} {flux.scatter:8.1%}    {peak.bias:+8.1%} {peak.scatter:8.1%}"
                f"    {flux.pull_width:8.2f}"
            )


def histogram_lines(maps: list[PublishedMap]) -> Iterator[str]:
    """Means and medians of both histograms beside the paper's."""
    yield "\nFlux differences in percent, both maps: mean, median"
    yield f"{'':16} {'':5} {'paper':>14} {'reproduced':>17} {'one to one':>17}"
    nearest, matched = join(maps, as_paper=True), join(maps, as_paper=False)
    for key, values in matched.items():
        paper = "{:+.1f}, {:+.1f}".format(*PAPER_HISTOGRAMS[key]) if key in PAPER_HISTOGRAMS else ""
        cells = [
            f"{np.mean(v):+.2f}, {np.median(v):+.2f}" if v is not None else ""
            for v in (nearest.get(key), values)
        ]
        yield f"{key[0]:16} {key[1]:5} {paper:>14} {cells[0]:>17} {cells[1]:>17}   ({values.size} sources)"


def draw_histograms(maps: list[PublishedMap], path: Path) -> None:
    """Draw the two histograms of the paper, ours beside them if it was run."""
    from matplotlib.figure import Figure

    shown = join(maps, as_paper=True)
    shown |= {key: values for key, values in join(maps, as_paper=False).items() if key not in shown}
    figure = Figure(figsize=(10, 4), layout="constrained")
    colors = dict(zip(CODES, ("tab:orange", "tab:blue", "black", "0.6"), strict=True))
    for axes, quantity, title in zip(
        figure.subplots(1, 2), ("peak", "flux"), ("Peak flux", "Integrated flux"), strict=True
    ):
        for code in CODES:
            if (code, quantity) in shown:
                values = shown[code, quantity]
                label = f"{code}: mean {np.mean(values):+.1f}, median {np.median(values):+.1f}"
                axes.hist(
                    values,
                    bins=np.arange(-62.5, 105, 5),
                    histtype="step",
                    lw=1.6,
                    color=colors[code],
                    label=label,
                )
        axes.axvline(0, color="0.6", lw=0.8, zorder=0)
        axes.set(title=title, xlabel="100 (measured - true) / true", ylabel="sources")
        axes.set_ylim(top=1.45 * axes.get_ylim()[1])
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the published maps and tables")
    parser.add_argument("--output", type=Path, default=Path("published"), help="folder for figure and text")
    parser.add_argument("--skip-run", action="store_true", help="published catalogues only")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    maps = [read_map(options.data, number) for number in (1, 2)]
    if not options.skip_run:
        for published in maps:
            for code in OURS:
                print(f"{code}, map {published.number}: {add_our_run(published, options.data, code):.1f} s")
    text = "\n".join([*table_lines(maps), *histogram_lines(maps)])
    print(text)
    (options.output / "published.txt").write_text(text + "\n")
    draw_histograms(maps, options.output / "published.png")
    print(f"\nthis and the figure in {options.output}")


if __name__ == "__main__":
    main()
