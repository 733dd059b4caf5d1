"""The figure of a map: what is drawn is where it belongs, by astropy's own coordinates."""

import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from astropy.wcs import WCS
from PIL import Image

from helpers.report_tasks import WHITE, small_extraction, small_image, write_map
from helpers.runner_tasks import files_below, make_config
from hyper_py.reporting.map_figure import drawn_ellipses, map_svg
from hyper_py.running import runner

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def extraction():
    return small_extraction(n_sources=20)


@pytest.fixture(scope="module")
def figure(extraction):
    return ElementTree.fromstring(map_svg(extraction))


def numbers(text):
    return [float(part) for part in re.findall(r"-?\d+\.?\d*", text)]


def test_each_aperture_is_drawn_where_its_source_is(extraction, figure):
    ny, nx = extraction.image.shape
    scale = 900.0 / max(nx, ny)
    drawn = {one.find(f"{SVG}title").text: one for one in figure.iter(f"{SVG}ellipse")}
    del drawn["beam"]
    assert len(drawn) == len(extraction.catalog)
    for row, source in zip(extraction.catalog, extraction.sources, strict=True):
        one = drawn[str(row["HYPER_ID"])]
        x, y, angle = numbers(one.get("transform"))
        place = row["X"].value, row["Y"].value
        assert (x / scale - 0.5, ny - 0.5 - y / scale) == pytest.approx(place, abs=0.01)
        radii = [float(one.get(name)) / scale * extraction.image.pixel_scale for name in ("rx", "ry")]
        assert radii == pytest.approx([row["FWHM_1"].value, row["FWHM_2"].value], rel=5e-3)
        assert angle == pytest.approx(-np.degrees(source[5]), abs=0.06)


def test_pixels_are_those_of_the_map_on_a_linear_scale(extraction, figure):
    text = figure.find(f".//{SVG}image").get("href").partition(",")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))[::-1].astype(float)
    low, high = np.percentile(extraction.image.data, [0.5, 99.7])
    expected = 1 + 254 * np.clip((extraction.image.data - low) / (high - low), 0, 1)
    assert np.abs(shown - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("rotation", [0.0, 90.0])
@pytest.mark.parametrize("frame", ["RA---TAN", "GLON-TAN"])
def test_labels_of_coordinates_are_true(extraction, frame, rotation):
    image, (ny, nx) = extraction.image, extraction.image.shape
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [frame, frame.replace("RA--", "DEC-").replace("GLON", "GLAT")]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [359.999, -30.0], [nx / 2, ny / 2], [-2e-3, 2e-3]
    turn = np.radians(rotation)
    wcs.wcs.pc = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    kind = "galactic" if frame.startswith("GLON") else "icrs"
    turned = replace(extraction, image=replace(image, wcs=wcs))
    root = ElementTree.fromstring(map_svg(turned))
    scale, seen = 900.0 / max(nx, ny), 0
    for text in root.iter(f"{SVG}text"):
        if text.get("transform") is None or not re.search(r"\d[°hms′″]$", text.text):
            continue
        x, y = numbers(text.get("transform"))[:2]
        below = text.get("text-anchor") == "middle"
        x, y = (x, y - 20.0) if below else (0.0, y - 4.0)
        place = SkyCoord.from_pixel(x / scale - 0.5, ny - 0.5 - y / scale, wcs)
        assert place.frame.name == kind
        longitude, latitude = place.spherical.lon.deg, place.spherical.lat.deg
        said = Angle(text.text.replace("−", "-").replace("′", "m").replace("″", "s").replace("°", "d")).deg
        assert min(abs((said - longitude + 180) % 360 - 180), abs(said - latitude)) < 2e-3
        seen += 1
    assert seen >= 5


def test_every_map_has_its_figure_unless_the_report_is_off(tmp_path):
    path = write_map(tmp_path / "m.fits", small_image(n_sources=4))
    for report in (True, False):
        out = tmp_path / f"out_{report}"
        config = make_config(out, outputs={"report": report, "tables": ["ecsv"]})
        assert runner.run(config, [path]).exit_code == 0
        assert ("plots/m_map.svg" in files_below(out)) is report


def test_what_was_only_detected_is_drawn_in_the_size_of_the_beam():
    found = small_extraction(n_sources=6, options=replace(WHITE, detection_only=True))
    ellipses = drawn_ellipses(found)
    assert len(ellipses) == len(found.catalog)
    beam = found.image.beam.major / found.image.pixel_scale
    np.testing.assert_allclose(ellipses[:, 2], beam, rtol=1e-3)
