"""Run SEP (Source Extractor's algorithms) on one map in Jy/beam: MAP OUT SETTINGS.

SETTINGS: thresh in sigma, mesh of the background in beams, deblend_cont, aperture in Kron radii,
smooth: whether detection is on the map smoothed by the beam.
"""

import json
import sys

import numpy as np
import sep
from astropy import units as u
from astropy.convolution import Gaussian2DKernel
from astropy.io import fits
from astropy.table import Table


def main() -> None:
    map_path, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    data, header = fits.getdata(map_path, header=True)
    data = np.ascontiguousarray(data, dtype=np.float64)
    scale = abs(header["CDELT2"]) * 3600.0
    beam = np.sqrt(header["BMAJ"] * header["BMIN"]) * 3600.0 / scale
    beam_area = np.pi / (4 * np.log(2)) * beam**2
    mask = ~np.isfinite(data)
    data[mask] = 0.0
    mesh = max(8, round(settings["mesh"] * beam))
    background = sep.Background(data, mask=mask, bw=mesh, bh=mesh)
    image, rms = data - background.back(), background.rms()
    kernel = Gaussian2DKernel(beam / 2.3548).array
    sep.set_sub_object_limit(10000)
    objects, segments = sep.extract(
        image,
        settings["thresh"],
        err=rms,
        mask=mask,
        minarea=5,
        filter_kernel=kernel if settings["smooth"] else None,
        filter_type="matched",
        deblend_cont=settings["deblend_cont"],
        deblend_nthresh=64,
        segmentation_map=True,
    )
    x, y, a, b, theta = (objects[name] for name in ("x", "y", "a", "b", "theta"))
    # Objects on a line have no width, and SEP refuses its own ellipses then.
    a, b = (np.maximum(np.nan_to_num(axis), 0.1) for axis in (a, b))
    theta = np.clip(np.nan_to_num(theta), -0.5 * np.pi, 0.5 * np.pi)
    # Pixels of neighbours are left out, as Source Extractor does.
    own = {"mask": mask, "seg_id": np.arange(1, x.size + 1), "segmap": segments}
    radius, _ = sep.kron_radius(image, x, y, a, b, theta, 6.0, **own)
    radius = np.nan_to_num(np.clip(radius, 1.4, 5.0), nan=2.5)
    flux, error, _ = sep.sum_ellipse(
        image, x, y, a, b, theta, settings["aperture"] * radius, err=rms, subpix=5, **own
    )
    windowed_x, windowed_y, _ = sep.winpos(image, x, y, np.full(x.size, beam / 2.3548), mask=mask)
    result = Table({"X": windowed_x * u.pix, "Y": windowed_y * u.pix})
    result["FLUX"], result["FLUX_ERR"] = flux / beam_area * u.Jy, error / beam_area * u.Jy
    result["FLUX_PEAK"] = objects["peak"] * u.Jy / u.beam
    result["SNR"] = objects["cpeak"] / rms[objects["ypeak"], objects["xpeak"]]
    result["FWHM_1"], result["FWHM_2"] = 2.3548 * a * scale * u.arcsec, 2.3548 * b * scale * u.arcsec
    result.write(out, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
