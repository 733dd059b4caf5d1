"""Run BANE and Aegean on one map in Jy/beam, in their own environment: MAP OUT SETTINGS.

SETTINGS: grid and box of BANE in beams (0: its own choice), seedclip and floodclip of Aegean.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS


def main() -> None:
    map_path, out, settings = Path(sys.argv[1]).resolve(), sys.argv[2], json.loads(sys.argv[3])
    header = fits.getheader(map_path)
    tools = Path(sys.executable).parent
    beam = np.sqrt(header["BMAJ"] * header["BMIN"]) / abs(header["CDELT2"])
    with tempfile.TemporaryDirectory(prefix="peer_") as folder:
        (Path(folder) / "map.fits").symlink_to(map_path)
        bane = [str(tools / "BANE"), "map.fits", "--cores", "1"]
        for option in ("grid", "box"):
            if settings.get(option):
                size = str(max(4, round(settings[option] * beam)))
                bane += [f"--{option}", size, size]
        subprocess.run(bane, cwd=folder, check=True)
        clips = [f"--{clip}={settings[clip]}" for clip in ("seedclip", "floodclip")]
        aegean = [
            str(tools / "aegean"),
            "map.fits",
            "--autoload",
            "--cores",
            "1",
            "--table",
            "out.csv",
            *clips,
        ]
        subprocess.run(aegean, cwd=folder, check=True)
        found = Path(folder) / "out_comp.csv"  # its FITS table has single precision
        table = Table.read(found) if found.exists() else None
    result = Table({"X": [] * u.pix, "Y": [] * u.pix})
    if table is not None:
        for name in table.colnames:  # in galactic maps they are called otherwise
            for own, usual in (("glon", "ra"), ("glat", "dec"), ("lon", "ra"), ("lat", "dec")):
                if name.removeprefix("err_") == own:
                    table.rename_column(name, name.replace(own, usual))
        if "ra" not in table.colnames:
            sys.exit(f"no longitude among {table.colnames}")
        # Its ra and dec are the map's own longitude and latitude.
        world = np.column_stack([table["ra"], table["dec"]])
        wcs = WCS(header).celestial
        x, y = wcs.wcs_world2pix(world, 0).T
        result = Table({"X": x * u.pix, "Y": y * u.pix})
        scale = abs(header["CDELT2"]) * 3600.0
        for name, own, unit, factor in (
            ("RA_ERR", "err_ra", "arcsec", 3600.0),
            ("DEC_ERR", "err_dec", "arcsec", 3600.0),
            ("FLUX", "int_flux", "Jy", 1.0),
            ("FLUX_ERR", "err_int_flux", "Jy", 1.0),
            ("FLUX_PEAK", "peak_flux", "Jy / beam", 1.0),
            ("FLUX_PEAK_ERR", "err_peak_flux", "Jy / beam", 1.0),
            ("FWHM_1", "a", "arcsec", 1.0),
            ("FWHM_2", "b", "arcsec", 1.0),
            ("FWHM_1_ERR", "err_a", "arcsec", 1.0),
            ("FWHM_2_ERR", "err_b", "arcsec", 1.0),
            ("PA", "pa", "deg", 1.0),
            ("PA_ERR", "err_pa", "deg", 1.0),
        ):
            values = np.array(table[own], dtype=float)
            if own.startswith("err_"):
                values[values <= 0] = np.nan  # -1: no error
            result[name] = factor * values * u.Unit(unit)
        result["SNR"] = np.array(table["peak_flux"]) / np.array(table["local_rms"])
        for axis, own in (("X", "RA_ERR"), ("Y", "DEC_ERR")):
            result[axis + "_ERR"] = result[own].value / scale * u.pix
    result.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
