"""Run the original Hyper-Py (hyper-py-photometry) on one map, in its own environment: MAP OUT SETTINGS.

Its own shipped configuration is changed only where SETTINGS, a JSON object of "section.key": value, says so.
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


def run(map_path: Path, settings: dict, work: Path) -> Table:
    """Return the table of one map; the plain text one has positions of five decimals, the other all."""
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
    tables = sorted((work / "output").rglob(f"params_{map_path.stem}.csv"))
    if done.returncode or not tables:
        sys.exit(f"the original left no table (exit status {done.returncode})")
    return Table.read(tables[0], format="ascii.ecsv")


def numbers(column) -> np.ndarray:
    """Fluxes come as numbers or as lists of one number in text."""
    return np.array([float(re.sub(r"[\[\]\s]", "", str(value))) for value in column])


def main() -> None:
    map_path, out, settings = Path(sys.argv[1]).resolve(), sys.argv[2], json.loads(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="peer_") as folder:
        table = run(map_path, settings, Path(folder))
    wcs = WCS(fits.getheader(map_path)).celestial
    x, y = wcs.world_to_pixel(SkyCoord(numbers(table["RA"]), numbers(table["DEC"]), unit="deg"))
    result = Table({"X": x * u.pix, "Y": y * u.pix})
    for name, unit in (("FLUX", "mJy"), ("FLUX_ERR", "mJy"), ("FLUX_PEAK", "mJy / beam")):
        result[name] = numbers(table[name]) * u.Unit(unit)
    data, header = fits.getdata(map_path, header=True)
    area = np.pi / (4 * np.log(2)) * header["BMAJ"] * header["BMIN"] / header["CDELT2"] ** 2
    rms = sigma_clipped_stats(data[np.isfinite(data)], sigma=3.0)[2]
    result["SNR"] = result["FLUX_PEAK"].to_value("Jy / beam") / (rms * area)  # of a map in Jy/pixel
    for name, unit in (("FWHM_1", "arcsec"), ("FWHM_2", "arcsec"), ("PA", "deg")):
        result[name] = numbers(table[name]) * u.Unit(unit)
    result.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
