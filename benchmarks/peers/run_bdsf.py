"""Run PyBDSF on one map in Jy/beam, in its own environment: MAP OUT SETTINGS.

SETTINGS: arguments of process_image, and box: side of rms_box in beams (0: its own choice).
"""

import json
import sys
import tempfile
from pathlib import Path

import bdsf
import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table


def main() -> None:
    map_path, out, settings = Path(sys.argv[1]).resolve(), sys.argv[2], json.loads(sys.argv[3])
    box = settings.pop("box")
    if box:
        header = fits.getheader(map_path)
        beam = np.sqrt(header["BMAJ"] * header["BMIN"]) / abs(header["CDELT2"])
        settings["rms_box"] = (round(box * beam), max(1, round(box * beam / 4)))
    with tempfile.TemporaryDirectory(prefix="peer_") as folder:
        copy = Path(folder) / "map.fits"
        copy.symlink_to(map_path)
        image = bdsf.process_image(str(copy), quiet=True, ncores=1, frequency=2.3e11, **settings)
        image.write_catalog(
            outfile=f"{folder}/gaul.fits", format="fits", catalog_type="gaul", clobber=True, force_output=True
        )
        table = Table.read(f"{folder}/gaul.fits")
    if "Xposn" not in table.colnames:
        table = Table({name: [] for name in ("Xposn", "Yposn", "Total_flux")})
    result = Table()
    for name, own, unit in (
        ("X", "Xposn", "pix"),
        ("Y", "Yposn", "pix"),
        ("X_ERR", "E_Xposn", "pix"),
        ("Y_ERR", "E_Yposn", "pix"),
        ("FLUX", "Total_flux", "Jy"),
        ("FLUX_ERR", "E_Total_flux", "Jy"),
        ("FLUX_PEAK", "Peak_flux", "Jy / beam"),
        ("FLUX_PEAK_ERR", "E_Peak_flux", "Jy / beam"),
        ("FWHM_1", "Maj", "deg"),
        ("FWHM_2", "Min", "deg"),
        ("FWHM_1_ERR", "E_Maj", "deg"),
        ("FWHM_2_ERR", "E_Min", "deg"),
        ("PA", "PA", "deg"),
        ("PA_ERR", "E_PA", "deg"),
    ):
        if own in table.colnames:
            result[name] = table[own].data * u.Unit(unit)
    if "Isl_rms" in table.colnames:
        result["SNR"] = table["Peak_flux"].data / table["Isl_rms"].data
    result.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
