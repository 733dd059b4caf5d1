"""Deep maps, whose noise is that of faint sources: what is found, and whether there is light.

    python benchmarks/confusion.py [--seeds N] [--first SEED] [--set FIELD=VALUE ...]

Of each map of the preset `confused`: rows of the catalogue with defaults; those with true sources of less
than half of their flux within half a beam, together and by the brightest alone (the others are blends); and
the share of the true sources that have a row within half a beam, by their peak in units of the noise.
"""

import argparse
import itertools

import numpy as np
from scipy.spatial import cKDTree

from hyper_py import extract_sources
from hyper_py.simulation.simulate import simulate_image

BINS = (3.0, 4.0, 5.0, 7.0, 10.0, 30.0)


def of_map(seed: int, **fields: float) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return rows, rows without light, rows without one source of their light; found and all by `BINS`."""
    simulation = simulate_image("confused", seed=seed, **fields)
    truth, image = simulation.truth, simulation.image
    catalog = extract_sources(image).catalog
    reach = 0.5 * image.beam_fwhm_pix
    rows, sources = (cKDTree(np.column_stack([table["X"], table["Y"]])) for table in (catalog, truth))
    near = rows.query_ball_tree(sources, reach)
    flux, true = (table["FLUX"].to_value("Jy") for table in (catalog, truth))
    together, brightest = (
        np.array([how(true[own], initial=0.0) for own in near]) for how in (np.sum, np.max)
    )
    away, _ = rows.query(sources.data)
    snr = np.asarray(truth["PEAK_SNR"])
    counts = [np.histogram(part, BINS)[0] for part in (snr[away < reach], snr)]
    lost = [int(np.count_nonzero(part < 0.5 * flux)) for part in (together, brightest)]
    return [len(catalog), *lost], *counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    fields = {key: int(value) if value.isdigit() else float(value) for key, value in
              (item.split("=") for item in options.set)}  # fmt: skip
    names = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(BINS)]
    print("| seed | rows | without light | no one source | " + " | ".join(names) + " |")
    print("|---" * (4 + len(names)) + "|")
    for seed in range(options.first, options.first + options.seeds):
        rows, found, total = of_map(seed, **fields)
        shares = [f"{n / m:.2f} of {m}" if m else "-" for n, m in zip(found, total, strict=True)]
        print("| " + " | ".join(map(str, [seed, *rows, *shares])) + " |", flush=True)


if __name__ == "__main__":
    main()
