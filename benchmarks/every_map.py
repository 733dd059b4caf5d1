"""What becomes of every FITS file below some directories: understood, or refused with which line.

    python benchmarks/every_map.py --data DIR [DIR ...] [--extract]

A file that is refused is tried once more with the options that its line names (`OPTIONS`), a file that is
understood once more with what else it has. What is printed is Markdown.
"""

import argparse
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.diagnostics import HyperPyError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import open_cube, read_image

FITS_FILE = re.compile(r"\.(fits?|fts)(\.(gz|fz))?$", re.IGNORECASE)
JY_BEAM = "Jy/beam"


def round_beam(fwhm: float) -> Beam:
    """Return a circular beam."""
    return Beam(major=fwhm, minor=fwhm, source="benchmark")


OPTIONS: dict[str, dict[str, Any]] = {
    "fits_MultDist": {"beam": round_beam(6.0)},
    "fits_MultSNR": {"beam": round_beam(5.0)},
    "fake_map": {"beam": round_beam(12.5), "error_hdu": "STDDEV_1MM"},
    "uant_850": {"survey_name": "scuba2-850", "error_hdu": "VARIANCE"},
    "fk4_b1950": {"beam": round_beam(14.0), "bunit": JY_BEAM},
    "1904-66_SIN.lb": {"bunit": JY_BEAM},
    "synthetic_image": {"bunit": JY_BEAM},
    "L1551": {"beam": round_beam(20.0), "bunit": JY_BEAM},
    "p100": {"survey_name": "pacs100", "bunit": "Jy/pixel"},
    "p160": {"survey_name": "pacs160", "bunit": "Jy/pixel"},
    "s250": {"survey_name": "spire250", "bunit": JY_BEAM},
    "s350": {"survey_name": "spire350", "bunit": JY_BEAM},
    "s500": {"survey_name": "spire500", "bunit": JY_BEAM},
}
"""Options by the beginning of a file's name."""


def extracted(image: SkyImage) -> str:
    """Extract the sources of a map with the default options and say how many there are."""
    start = time.process_time()
    catalog = extract_sources(image).catalog
    flux = f", median flux {np.nanmedian(catalog['FLUX']):.3g}" if len(catalog) else ""
    return f"; {len(catalog)} sources in {time.process_time() - start:.1f} s{flux}"


def describe(path: Path, options: dict[str, Any], *, extract: bool) -> str:
    """Read a map, or every channel of a cube, and say what it is; extract the map, or the middle channel."""
    with open_cube(path, **options) as cube:
        if len(cube) > 1:
            shares = [float(np.isnan(image.data).mean()) for image in cube]
            image, size = cube.channel(len(cube) // 2), "x".join(map(str, cube.shape[::-1]))
            blank = f"{100 * min(shares):.1f}-{100 * max(shares):.1f}%"
        else:
            image = read_image(path, **options)
            size, blank = "x".join(map(str, image.shape[::-1])), f"{100 * np.isnan(image.data).mean():.1f}%"
    low, high = np.nanmin(image.jy_per_pixel), np.nanmax(image.jy_per_pixel)
    factor = f"{low:.4g}" if high - low < 1e-4 * high else f"{low:.4g}..{high:.4g}"
    beam = f'{image.beam.major:.4g}" x {image.beam.minor:.4g}" ({image.beam.source})'
    error = "" if image.error is None else f"; error {np.nanmedian(image.error):.3g} Jy/pixel"
    return (
        f'{size}, {image.frame} {image.wcs.wcs.ctype[0][5:]}, pixel {image.pixel_scale:.4g}", beam {beam}; '
        f"1 {image.unit} = {factor} Jy/pixel; blank {blank}{error}"
        f"{extracted(image) if extract else ''}"
    )


def attempt(path: Path, options: dict[str, Any], *, extract: bool) -> tuple[str, str]:
    """Return what becomes of a file: 'understood', 'refused' or 'CRASHED', and the line that says more."""
    try:
        return "understood", describe(path, options, extract=extract)
    except HyperPyError as error:
        return "refused", str(error)
    except Exception as error:  # a table of everything must go on: this is what it is to show
        return "CRASHED", f"{type(error).__name__}: {error}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--extract", action="store_true", help="extract the sources as well")
    arguments = parser.parse_args()
    files = sorted(path for root in arguments.data for path in root.rglob("*") if FITS_FILE.search(path.name))
    counts = dict.fromkeys(("understood", "with the options named", "refused", "CRASHED"), 0)
    print("| file | options | | |\n| --- | --- | --- | --- |")
    for path in files:
        label, line = attempt(path, {}, extract=arguments.extract)
        rows = [("", label, line)]
        options = next((o for key, o in OPTIONS.items() if path.name.startswith(key)), {})
        if options:
            again, line = attempt(path, options, extract=arguments.extract)
            names = ", ".join(f"{k}={v.major if isinstance(v, Beam) else v}" for k, v in options.items())
            rows.append((names, again, line))
            label = "with the options named" if (label, again) == ("refused", "understood") else again
        counts[label] += 1
        for names, result, text in rows:
            print(
                f"| {path.parent.name}/{path.name} | {names} | {result} | {text.replace('|', '/')} |",
                flush=True,
            )
    print("\n" + ", ".join(f"{label}: {count}" for label, count in counts.items()) + ".")


if __name__ == "__main__":
    main()
