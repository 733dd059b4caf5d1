"""U Ant: a published aperture flux."""

from pathlib import Path

import numpy as np
from photutils.aperture import CircularAperture

from hyper_py.detection.given import FixedSources
from hyper_py.geometry import celestial_degrees
from hyper_py.options import BackgroundOptions, FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from maps_by_others.common import table, values

UANT_FLUX, UANT_RADIUS, UANT_PLACE = 199.163, 14.0, (131.0, 121.0)


def uant(data: Path) -> None:
    """Reproduce the published flux by a fixed aperture, without background and without correction."""
    path = data / "uant_scuba2" / "uant_850.fits"
    options = Options(
        photometry=PhotometryOptions(aperture_correction=False),
        fit_options=FitOptions(noise_model="white"),
        background=BackgroundOptions(method="none"),
    )
    print("## U Ant, SCUBA-2 850 um\n")
    rows = []
    for error in (None, "VARIANCE"):
        image = read_image(path, survey_name="scuba2-850", error_hdu=error)
        longitude, latitude = celestial_degrees(image.wcs, *np.array(UANT_PLACE)[:, None])
        size = np.array([UANT_RADIUS * image.pixel_scale])
        fixed = FixedSources(longitude=longitude, latitude=latitude, fwhm_1=size, fwhm_2=size)
        catalog = extract_sources(image, options=options, fixed=fixed).catalog
        flux, error_of_flux = values(catalog, "FLUX")[0], values(catalog, "FLUX_ERR")[0]
        circle = CircularAperture(UANT_PLACE, UANT_RADIUS)
        exact = circle.do_photometry(image.data * 1e3, method="exact")[0][0]
        rows.append(
            [error or "none", f"{flux:.4f} ± {error_of_flux:.1f}", f"{exact:.4f}", f"{flux / exact - 1:+.1e}",
             f"{flux / UANT_FLUX - 1:+.2%}", str(len(extract_sources(image).catalog))]
        )  # fmt: skip
    head = ["errors", "FLUX (mJy)", "photutils, exact", "ours / exact - 1", "ours / published - 1", "found"]
    print(table(head, rows))
    print(
        f"\nPublished: {UANT_FLUX} ± 17 mJy in {UANT_RADIUS:g} pixels around {UANT_PLACE}. `found`: sources "
        "of the whole map with default options; 36% of it is blank, and its edge is violently noisy.\n"
    )
