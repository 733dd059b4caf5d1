"""Run the original Hyper-Py (hyper-py-photometry) on one map, in its own environment: MAP OUT SETTINGS.

Its own shipped configuration is changed only where SETTINGS, a JSON object of "section.key": value, says so.
"""

import json
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import yaml
from astropy.table import Table

map_path, out, settings = Path(sys.argv[1]).resolve(), sys.argv[2], json.loads(sys.argv[3])
work = Path(tempfile.mkdtemp(prefix="hyper_original_"))
(work / "maps").mkdir()
(work / "maps" / map_path.name).symlink_to(map_path)
(work / "maps_list.txt").write_text(map_path.name + "\n")
(work / "maps" / "maps_list.txt").write_text(map_path.name + "\n")

config = yaml.safe_load(files("hyper_py").joinpath("assets/default_config.yaml").read_text())
config["paths"]["input"]["dir_maps"] = str(work / "maps")
config["paths"]["output"]["dir_root"] = str(work / "output")
config["control"].update(parallel_maps=False, n_cores=1, datacube=False)
for name, value in settings.items():
    section, key = name.split(".")
    config[section][key] = value
(work / "config.yaml").write_text(yaml.safe_dump(config))

command = "import sys; from hyper_py.run_hyper import main; sys.argv = ['hyper_py', sys.argv[1]]; main()"
run = subprocess.run([sys.executable, "-c", command, str(work / "config.yaml")], cwd=work, check=False)
tables = sorted((work / "output").rglob(f"params_{map_path.stem}.txt"))
if run.returncode or not tables:
    sys.exit(f"the original left no table (exit status {run.returncode})")

table = Table.read(tables[0], format="ascii.ipac")
table.meta = {}
# FLUX_PEAK is the nearest pixel divided once more by the beam: left out, as no unit describes it.
table.keep_columns(["FLUX", "FLUX_ERR", "FWHM_1", "FWHM_2", "PA", "RA", "DEC", "STATUS"])
table.write(out, format="ascii.ecsv", overwrite=True)
