"""Region files lie on the sources, whatever the map's projection and orientation."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import BarycentricMeanEcliptic
from astropy.table import Table
from regions import Regions

from helpers.runner_tasks import make_wcs
from hyper_py.detection.given import given_peaks
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import (
    Beam,
    Ellipse,
    covariance_from_ellipse,
    ellipse_from_covariance,
    sky_ellipse_from_pixel,
)
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel
from hyper_py.writing.layout import Layout
from hyper_py.writing.sky_regions import crtf_text, ds9_texts, read_regions, write_regions
from hyper_py.writing.staging import Stage

WCS_CASES = [
    {},
    {"angle": 33.0},
    {"parity": 1},
    {"parity": 1, "angle": -75.0},
    {"kind": "GLON/GLAT", "angle": 12.0},
    {"equinox": 1975.0},
]


def image_for(equinox=None, **case):
    wcs = make_wcs(**case)
    if equinox:
        wcs.wcs.radesys, wcs.wcs.equinox = "FK5", equinox
        wcs.wcs.set()
    return SkyImage(
        data=np.zeros((60, 64)), wcs=wcs, beam=Beam(major=12.0, minor=11.0), name="m", unit="Jy/beam"
    )


def sources_on(image, *, seed, n=7):
    """Ellipses on the pixel grid, and the catalogue that describes them on the sky."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(5, 55, n), rng.uniform(5, 55, n)
    pixel = Ellipse(rng.uniform(6, 9, n), rng.uniform(3, 5, n), rng.uniform(0, np.pi, n))
    sky = sky_ellipse_from_pixel(pixel, image.jacobian(x, y))
    table = Table(
        {
            "HYPER_ID": np.arange(1, n + 1),
            "X": x,
            "Y": y,
            "FWHM_1": sky.major,
            "FWHM_2": sky.minor,
            "PA": sky.angle,
        }
    )
    return pixel, table


@pytest.mark.parametrize("case", WCS_CASES)
def test_region_files_lie_on_the_sources(tmp_path, case):
    image = image_for(**case)
    pixel, table = sources_on(image, seed=len(str(case)))
    layout = Layout(root=tmp_path)
    with Stage(tmp_path) as stage:
        write_regions(stage, layout, table, image, name="m", fwhm_radius_ratio=0.8)
    centroids = Regions.read(tmp_path / "regions/region_files_m_centroids.reg")
    ellipses = Regions.read(tmp_path / "regions/region_files_m_ellipses.reg")
    assert [str(region.meta["text"]) for region in centroids] == [str(i) for i in table["HYPER_ID"]]
    assert [str(region.meta["text"]) for region in ellipses] == [str(i) for i in table["HYPER_ID"]]
    for i, (point, ellipse) in enumerate(zip(centroids, ellipses, strict=True)):
        on_map, shape = point.to_pixel(image.wcs), ellipse.to_pixel(image.wcs)
        assert np.hypot(on_map.center.x - table["X"][i], on_map.center.y - table["Y"][i]) < 1e-3
        assert np.hypot(shape.center.x - table["X"][i], shape.center.y - table["Y"][i]) < 1e-3
        got = covariance_from_ellipse(shape.width, shape.height, shape.angle.to_value(u.rad))
        expected = covariance_from_ellipse(1.6 * pixel.major[i], 1.6 * pixel.minor[i], pixel.angle[i])
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3 * np.trace(expected))
        assert ellipse_from_covariance(got).major > ellipse_from_covariance(got).minor


def test_regions_of_an_ecliptic_map_are_where_astropy_says(tmp_path):
    """`to_pixel` would take longitudes of the ecliptic for right ascensions."""
    image = image_for(kind="ELON/ELAT", angle=50.0)
    _, table = sources_on(image, seed=5)
    with Stage(tmp_path) as stage:
        write_regions(stage, Layout(root=tmp_path), table, image, name="m", fwhm_radius_ratio=1.0)
    for kind in ("centroids", "ellipses"):
        for region, row in zip(
            Regions.read(tmp_path / f"regions/region_files_m_{kind}.reg"), table, strict=True
        ):
            place = region.center.transform_to(BarycentricMeanEcliptic())
            x, y = image.wcs.all_world2pix(place.lon.deg, place.lat.deg, 0)
            assert np.hypot(x - row["X"], y - row["Y"]) < 1e-3


def test_regions_of_nothing_and_of_sources_without_shape(tmp_path):
    image = image_for()
    _, table = sources_on(image, seed=1)
    layout = Layout(root=tmp_path)
    with Stage(tmp_path) as stage:
        write_regions(stage, layout, table[:0], image, name="none", fwhm_radius_ratio=1.0)
    for kind in ("centroids", "ellipses"):
        assert len(Regions.read(tmp_path / layout.region("none", kind))) == 0
    table["FWHM_1"][2], table["X"][3] = np.nan, np.nan
    with Stage(tmp_path) as stage:
        write_regions(stage, layout, table, image, name="some", fwhm_radius_ratio=1.0)
    assert len(Regions.read(tmp_path / layout.region("some", "centroids"))) == 6
    assert len(Regions.read(tmp_path / layout.region("some", "ellipses"))) == 5


def catalogue(n=3):
    rng = np.random.default_rng(4)
    columns = {name: rng.uniform(10, 50, n) for name in ("X", "Y", "FWHM_1", "FWHM_2", "PA")}
    return Table({"HYPER_ID": np.arange(1, n + 1), **columns})


def parsed(table, wcs, **options):
    return [Regions.parse(text, format="ds9") for text in ds9_texts(table, wcs, **options)]


def test_sources_without_position_or_size():
    table = catalogue(4)
    table["X"][1], table["FWHM_2"][2] = np.nan, np.nan
    centroids, ellipses = parsed(table, make_wcs(), fwhm_radius_ratio=1.0)
    assert [region.meta["text"] for region in centroids] == [1, 3, 4]
    assert [region.meta["text"] for region in ellipses] == [1, 4]
    assert [len(regions) for regions in parsed(table[:0], make_wcs(), fwhm_radius_ratio=1.0)] == [0, 0]


@pytest.mark.parametrize(
    ("kind", "equinox", "frame"),
    [
        ("RA/DEC", None, "icrs"),
        ("GLON/GLAT", None, "galactic"),
        ("ELON/ELAT", None, "icrs"),
        ("RA/DEC", 2000.0, "fk5"),
        ("RA/DEC", 1975.0, "icrs"),
    ],
)
def test_regions_are_in_a_frame_that_viewers_know(kind, equinox, frame):
    wcs = make_wcs(kind=kind)
    if equinox:
        wcs.wcs.radesys, wcs.wcs.equinox = "FK5", equinox
    centroids, ellipses = parsed(catalogue(), wcs, fwhm_radius_ratio=1.0)
    assert {region.center.frame.name for region in [*centroids, *ellipses]} == {frame}


def test_apertures_have_the_radius_asked_for():
    table = catalogue()
    _, ellipses = parsed(table, make_wcs(), fwhm_radius_ratio=0.5)
    np.testing.assert_allclose([region.width.to_value("arcsec") for region in ellipses], table["FWHM_1"])
    np.testing.assert_allclose([region.height.to_value("arcsec") for region in ellipses], table["FWHM_2"])


# ------------------------------------------------------------------------------------------ written and read

CORNERS = np.array([[12.0, 15.0], [40.2, 33.3], [31.0, 52.7]])


def sky_image(**wcs):
    data = np.random.default_rng(1).normal(size=(60, 64))
    return SkyImage(data=data, wcs=make_wcs(**wcs), beam=Beam(major=12.0, minor=9.0, pa=30.0))


def table_on(image, *, seed=7):
    """Sources on a map, with the sizes and position angles that a catalogue would give."""
    rng = np.random.default_rng(seed)
    n = len(CORNERS)
    minor = rng.uniform(9, 20, n)
    return Table(
        {
            "HYPER_ID": np.arange(1, n + 1), "X": CORNERS[:, 0], "Y": CORNERS[:, 1],
            "FWHM_1": minor * rng.uniform(1.1, 2.0, n), "FWHM_2": minor, "PA": rng.uniform(0, 180, n),
        }
    )  # fmt: skip


@pytest.mark.parametrize("form", ["reg", "crtf"])
@pytest.mark.parametrize(
    "sky",
    [{}, {"kind": "GLON/GLAT"}, {"kind": "ELON/ELAT"}, {"angle": 33.0}, {"parity": 1, "angle": -70.0}],
    ids=["icrs", "galactic", "ecliptic", "turned", "mirrored"],
)
def test_regions_come_back_as_they_were(tmp_path, sky, form):
    image = sky_image(**sky)
    table, path = table_on(image), tmp_path / f"r.{form}"
    if form == "crtf":
        path.write_text(crtf_text(table, image.wcs, fwhm_radius_ratio=0.8))
    else:
        path.write_text(ds9_texts(table, image.wcs, fwhm_radius_ratio=0.8)[1])
    fixed = read_regions(path, image, fwhm_radius_ratio=0.8)
    peaks = given_peaks(image, fixed, NoiseLevel(mean=0.0, rms=1.0))
    np.testing.assert_allclose(np.column_stack([peaks.x, peaks.y]), CORNERS, atol=1e-6)
    np.testing.assert_allclose(fixed.fwhm_1, table["FWHM_1"], rtol=1e-6)
    np.testing.assert_allclose(fixed.fwhm_2, table["FWHM_2"], rtol=1e-6)
    np.testing.assert_allclose(np.mod(fixed.pa - table["PA"] + 90, 180) - 90, 0.0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".reg", ".crtf"])
@pytest.mark.parametrize("scale", [0.0128, 1.0, 300.0])
def test_written_loaded_and_written_again(tmp_path, suffix, scale):
    """The files of a run, on maps of small and large pixels: the second ones say what the first ones said."""
    image = sky_image(pixel=scale)
    table = table_on(image)
    for name in ("FWHM_1", "FWHM_2"):
        table[name] = 0.3 * scale * table[name]
    before = []
    for turn in ("first", "second"):
        layout = Layout(root=tmp_path / turn)
        with Stage(layout.root) as stage:
            write_regions(stage, layout, table, image, name="m", fwhm_radius_ratio=0.8)
        path = layout.root / (layout.crtf("m") if suffix == ".crtf" else layout.region("m", "ellipses"))
        fixed = read_regions(path, image, fwhm_radius_ratio=0.8)
        peaks = given_peaks(image, fixed, NoiseLevel(mean=0.0, rms=1.0))
        sizes = np.column_stack([fixed.fwhm_1, fixed.fwhm_2])
        np.testing.assert_allclose(np.column_stack([peaks.x, peaks.y]), CORNERS, atol=1e-6)
        table["X"], table["Y"], table["PA"] = peaks.x, peaks.y, fixed.pa
        table["FWHM_1"], table["FWHM_2"] = sizes.T
        before.append((sizes, fixed.pa))
    np.testing.assert_allclose(before[1][0], before[0][0], rtol=1e-6)
    np.testing.assert_allclose(np.mod(before[1][1] - before[0][1] + 90, 180) - 90, 0.0, atol=1e-5)


def test_pixel_regions_circles_and_points_among_ellipses(tmp_path):
    image, path = sky_image(), tmp_path / "r.reg"
    path.write_text(
        "# Region file format: DS9\nimage\nellipse(13,16,10,5,90)\ncircle(30,31,6)\npoint(20,21)\n"
    )
    fixed = read_regions(path, image, fwhm_radius_ratio=2.0)
    # 2 arcsec pixels: a semi-axis of 10 pixels is 20 arcsec, twice a FWHM of 10.
    np.testing.assert_allclose(fixed.fwhm_1, [10.0, 6.0, 12.0], rtol=1e-6)
    np.testing.assert_allclose(fixed.fwhm_2, [5.0, 6.0, 9.0], rtol=1e-6)
    assert np.mod(fixed.pa[0] + 1.0, 180.0) == pytest.approx(1.0, abs=0.05)
    assert fixed.pa[2] == 30.0
    peaks = given_peaks(image, fixed, NoiseLevel(mean=0.0, rms=1.0))
    np.testing.assert_allclose(peaks.x, [12.0, 29.0, 19.0], atol=1e-6)


def test_exclusions_are_no_sources_and_leave_out_those_in_them(tmp_path):
    image, path = sky_image(), tmp_path / "r.reg"
    path.write_text(
        "# Region file format: DS9\nimage\ncircle(10,10,4)\n-polygon(25,25,35,25,35,35,25,35)\n"
        "circle(30,31,6)\n-circle(50,50,4)\npoint(20,21)\n"
    )
    fixed = read_regions(path, image, fwhm_radius_ratio=1.0)
    x, y = fixed.pixels(image.wcs)
    np.testing.assert_allclose(x, [9.0, 19.0], atol=1e-6)
    np.testing.assert_allclose(y, [9.0, 20.0], atol=1e-6)
    path.write_text("# Region file format: DS9\nimage\ncircle(10,10,4)\n-circle(10,10,6)\n")
    with pytest.raises(ConfigurationError, match="none is left"):
        read_regions(path, image, fwhm_radius_ratio=1.0)


def test_points_alone_leave_the_size_to_the_fit(tmp_path):
    image, path = sky_image(), tmp_path / "r.reg"
    path.write_text(ds9_texts(table_on(image), image.wcs, fwhm_radius_ratio=1.0)[0])
    assert read_regions(path, image, fwhm_radius_ratio=1.0).fwhm_1 is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "no region in it"),
        ('# Region file format: DS9\nicrs\nbox(120,35,3",3",0)\n', "kind rectangle"),
        ('# Region file format: DS9\nicrs\n-circle(120,35,3")\n', "no region in it"),
        ("# Region file format: DS9\nphysical\ncircle(120,35,3)\n", "physical"),
        ("#CRTFv0\nellipse [[1deg\n", "not a DS9 or CRTF"),
    ],
)
def test_files_that_cannot_be_measured(tmp_path, text, message):
    path = tmp_path / "r.reg"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_regions(path, sky_image(), fwhm_radius_ratio=1.0)
