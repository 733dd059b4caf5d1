"""Run the original Hyper-Py (hyper-py-photometry) on one map, in its own environment: MAP OUT SETTINGS.

Its own shipped configuration is changed only where SETTINGS, a JSON object of "section.key": value, says so.
With `control.detection_only` there are positions, and the map's values there over its rms.
"""

import json
import re
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from astropy.table import Table
from astropy.wcs import WCS

COMMAND = "import sys; from hyper_py.run_hyper import main; sys.argv = ['hyper_py', sys.argv[1]]; main()"


def run(map_path: Path, settings: dict, work: Path) -> Path:
    """Run it on one map in Jy/pixel; return the directory of its output."""
    (work / "maps").mkdir()
    (work / "maps" / map_path.name).symlink_to(map_path)
    for folder in (work, work / "maps"):
        (folder / "maps_list.txt").write_text(map_path.name + "\n")
    config = yaml.safe_load(files("hyper_py").joinpath("assets/default_config.yaml").read_text())
    config["paths"]["input"]["dir_maps"] = str(work / "maps")
    config["paths"]["output"]["dir_root"] = str(work / "output")
    config["control"].update(parallel_maps=False, n_cores=1, datacube=False)
    for name, value in settings.items():
        section, key = name.split(".")
        config[section][key] = value
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run([sys.executable, "-c", COMMAND, str(work / "config.yaml")], cwd=work, check=False)
    if done.returncode:
        sys.exit(f"the original failed (exit status {done.returncode})")
    return work / "output"


def detected(output: Path, map_path: Path) -> Table:
    """Return the detections of a run without photometry: its table is empty, its region file is not."""
    frame, *points = next(output.rglob("*_centroids.reg")).read_text().splitlines()[2:]
    places = np.array([re.findall(r"[-+.\de]+", point.split("#")[0])[-2:] for point in points], dtype=float)
    data, header = fits.getdata(map_path, header=True)
    x, y = WCS(header).celestial.world_to_pixel(SkyCoord(places, unit="deg", frame=frame.strip()))
    mean, _, rms = sigma_clipped_stats(data[np.isfinite(data)], sigma=3.0)
    peak = data[np.rint(y).astype(int), np.rint(x).astype(int)]
    return Table({"X": x * u.pix, "Y": y * u.pix, "SNR": (peak - mean) / rms})


def measured(output: Path, map_path: Path) -> Table:
    """Return the catalogue; the plain text one has positions of five decimals, the other all."""
    table = Table.read(next(output.rglob(f"params_{map_path.stem}.csv")), format="ascii.ecsv")
    wcs = WCS(fits.getheader(map_path)).celestial
    x, y = wcs.world_to_pixel(SkyCoord(numbers(table["RA"]), numbers(table["DEC"]), unit="deg"))
    result = Table({"X": x * u.pix, "Y": y * u.pix})
    for name, unit in (("FLUX", "mJy"), ("FLUX_ERR", "mJy"), ("FLUX_PEAK", "mJy / beam")):
        result[name] = numbers(table[name]) * u.Unit(unit)
    for name, unit in (("FWHM_1", "arcsec"), ("FWHM_2", "arcsec"), ("PA", "deg")):
        result[name] = numbers(table[name]) * u.Unit(unit)
    return result


def numbers(column) -> np.ndarray:
    """Fluxes come as numbers or as lists of one number in text."""
    return np.array([float(re.sub(r"[\[\]\s]", "", str(value))) for value in column])


def main() -> None:
    map_path, out, settings = Path(sys.argv[1]).resolve(), sys.argv[2], json.loads(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="peer_") as folder:
        output = run(map_path, settings, Path(folder))
        result = (detected if settings.get("control.detection_only") else measured)(output, map_path)
    result.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
