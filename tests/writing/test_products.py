"""Regions lie on the sources, images keep their unit, and files appear together or not at all."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import BarycentricMeanEcliptic
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from regions import Regions

from helpers.runner_tasks import make_catalogue, make_wcs
from hyper_py.geometry import (
    Beam,
    Ellipse,
    covariance_from_ellipse,
    ellipse_from_covariance,
    sky_ellipse_from_pixel,
)
from hyper_py.image import SkyImage
from hyper_py.writing import products


def layout_in(path, **changes):
    return products.Layout(root=path, **changes)


# ------------------------------------------------------------------------------------------------ regions

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
    layout = layout_in(tmp_path)
    with products.Stage(tmp_path) as stage:
        products.write_regions(stage, layout, table, image, name="m", fwhm_radius_ratio=0.8)
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
    with products.Stage(tmp_path) as stage:
        products.write_regions(stage, layout_in(tmp_path), table, image, name="m", fwhm_radius_ratio=1.0)
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
    layout = layout_in(tmp_path)
    with products.Stage(tmp_path) as stage:
        products.write_regions(stage, layout, table[:0], image, name="none", fwhm_radius_ratio=1.0)
    for kind in ("centroids", "ellipses"):
        assert len(Regions.read(tmp_path / layout.region("none", kind))) == 0
    table["FWHM_1"][2], table["X"][3] = np.nan, np.nan
    with products.Stage(tmp_path) as stage:
        products.write_regions(stage, layout, table, image, name="some", fwhm_radius_ratio=1.0)
    assert len(Regions.read(tmp_path / layout.region("some", "centroids"))) == 6
    assert len(Regions.read(tmp_path / layout.region("some", "ellipses"))) == 5


# ------------------------------------------------------------------------------------------------- images


def test_images_are_in_the_unit_and_coordinates_of_the_map(tmp_path):
    image = SkyImage(
        data=np.zeros((60, 64)),
        wcs=make_wcs(angle=20.0),
        beam=Beam(major=12.0, minor=11.0, pa=40.0),
        unit="MJy/sr",
        jy_per_pixel=9.4e-5,
    )
    data = np.random.default_rng(1).normal(size=(60, 64))
    data[3, 4] = np.nan
    products.write_image(tmp_path / "i.fits", data, image, what="sum of the fitted Gaussians")
    with fits.open(tmp_path / "i.fits") as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        np.testing.assert_allclose(hdus[0].data * 9.4e-5, data, rtol=1e-6)
    assert (header["BUNIT"], header["BPA"], header["BITPIX"]) == ("MJy/sr", 40.0, -32)
    assert header["BMAJ"] == pytest.approx(12.0 / 3600.0)
    np.testing.assert_allclose(WCS(header).wcs_pix2world([[3, 50]], 0), image.wcs.wcs_pix2world([[3, 50]], 0))


# ------------------------------------------------------------------------------------------------- atomic


def test_a_stage_shows_all_or_nothing(tmp_path):
    with products.Stage(tmp_path) as stage:
        stage.text("a/one.txt", "1")
        stage.text("b/two.ecsv", "22")
        assert stage.sizes() == {"a/one.txt": 1, "b/two.ecsv": 2}
        assert not (tmp_path / "a/one.txt").exists()
        assert stage.path("b/two.ecsv").suffix == ".ecsv"
        stage.text("b/two.ecsv", "22")
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["one.txt", "two.ecsv"]


def test_a_stage_that_fails_leaves_what_was_there(tmp_path):
    products.write_text(tmp_path, "a/one.txt", "1")
    stage = products.Stage(tmp_path)
    with contextlib.suppress(RuntimeError), stage:
        stage.text("a/one.txt", "new")
        stage.text("a/three.txt", "3")
        raise RuntimeError
    assert (tmp_path / "a/one.txt").read_text() == "1"
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["one.txt"]


def test_stale_temporaries_are_removed_and_nothing_else(tmp_path):
    stage = products.Stage(tmp_path)
    stage.text("params/m.txt", "half")
    (tmp_path / "params/.keep").write_text("")
    (tmp_path / "params/m.txt").write_text("whole")
    assert products.remove_stale([tmp_path / "params", tmp_path / "missing"]) == 1
    assert sorted(p.name for p in (tmp_path / "params").iterdir()) == [".keep", "m.txt"]


def test_two_runs_cannot_share_an_output_directory(tmp_path):
    layout = layout_in(tmp_path)
    code = (
        "import sys, pathlib\nfrom hyper_py.writing import products\n"
        "layout = products.Layout(root=pathlib.Path(sys.argv[1]))\n"
        "with products.locked(layout) as held: print(held)"
    )

    def other():
        command = [sys.executable, "-c", code, str(tmp_path)]
        environment = {"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()

    with products.locked(layout) as held:
        assert held
        assert other() == "False"
    assert other() == "True"


# -------------------------------------------------------------------------------------------------- state


def stage_map(layout, name, n, *, seed=0, pixel_scale=1.0):
    catalog = make_catalogue(n, seed=seed, name=name)
    with products.Stage(layout.root) as stage:
        products.write_catalogue(
            stage, layout, catalog, name=name, pixel_scale=pixel_scale, meta={"rms": 1.0}
        )
        state = {
            "checksum": "c",
            "fingerprint": "f",
            "n_sources": n,
            "pixel_scale": pixel_scale,
            "columns": products.describe_columns(catalog),
            "sizes": stage.sizes(),
        }
        stage.text(layout.state(name), products.as_json(state))
    return catalog


def test_a_state_is_current_only_for_the_same_input_configuration_and_files(tmp_path):
    layout = layout_in(tmp_path)
    stage_map(layout, "m", 3)
    state = products.read_state(layout, "m")
    assert products.state_is_current(layout, state, checksum="c", fingerprint="f")
    assert not products.state_is_current(layout, state, checksum="x", fingerprint="f")
    assert not products.state_is_current(layout, state, checksum="c", fingerprint="x")
    (tmp_path / "params/params_m.csv").write_text("cut")
    assert not products.state_is_current(layout, state, checksum="c", fingerprint="f")
    (tmp_path / "params/params_m.csv").unlink()
    assert not products.state_is_current(layout, state, checksum="c", fingerprint="f")
    assert not products.state_is_current(
        layout, {"checksum": "c", "fingerprint": "f"}, checksum="c", fingerprint="f"
    )
    products.forget_map(layout, "m")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    products.forget_map(layout, "m")


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_state_is_no_state(tmp_path, text):
    layout = layout_in(tmp_path)
    (tmp_path / ".hyper_py").mkdir()
    (tmp_path / ".hyper_py/m.json").write_text(text)
    assert products.read_state(layout, "m") is None


def test_json_has_no_nan():
    assert products.as_json({"a": float("nan"), "b": [float("inf"), 1.5]}).split() == [
        "{", '"a":', "null,", '"b":', "[", "null,", "1.5", "]", "}",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- merged


def test_merged_catalogue_is_all_maps_in_order_with_the_finest_digits(tmp_path):
    from hyper_py.writing.tables import SUFFIXES, read_table

    layout = layout_in(tmp_path, formats=tuple(SUFFIXES))
    parts = [
        stage_map(layout, name, n, seed=n, pixel_scale=scale)
        for name, n, scale in (("zz", 4, 2.0), ("a_longer_name", 0, 0.01), ("b", 5, 2.0))
    ]
    written = products.write_merged(layout, ["zz", "a_longer_name", "b"], meta={"n_maps": 3})
    assert sorted(written) == sorted(f"params/params_ALL{suffix}" for suffix in SUFFIXES.values())
    for form in SUFFIXES:
        merged = read_table(tmp_path / layout.table("ALL", form))
        assert list(merged["MAP_ID"]) == ["zz"] * 4 + ["b"] * 5
        assert list(merged["HYPER_ID"]) == [1, 2, 3, 4, 1, 2, 3, 4, 5]
        expected = np.concatenate([np.asarray(part["RA"].value) for part in parts])
        np.testing.assert_allclose(merged["RA"], expected, atol=1e-4 / 3600, rtol=0)
        if form != "csv":
            assert merged["FLUX"].unit == u.mJy
    merged = read_table(tmp_path / "params/params_ALL.ecsv")
    assert merged.meta == {"n_maps": 3, "n_sources": 9}
    assert merged["FLUX"].description.startswith("Aperture flux")
    assert products.write_merged(layout, [], meta={}) == ()
    products.remove_merged(layout)
    assert not list(tmp_path.glob("params/params_ALL*"))


def test_merged_catalogue_of_empty_maps_has_all_columns(tmp_path):
    from hyper_py.catalog import COLUMNS
    from hyper_py.writing.tables import SUFFIXES, read_table

    layout = layout_in(tmp_path, formats=tuple(SUFFIXES))
    stage_map(layout, "m", 0)
    products.write_merged(layout, ["m"], meta={})
    for form in SUFFIXES:
        merged = read_table(tmp_path / layout.table("ALL", form))
        assert (len(merged), merged.colnames) == (0, [column.name for column in COLUMNS])


def test_merged_catalogue_does_not_depend_on_how_many_rows_are_held(tmp_path, monkeypatch):
    layout = layout_in(tmp_path)
    names = [f"m{k}" for k in range(7)]
    for k, name in enumerate(names):
        stage_map(layout, name, k % 3, seed=k)
    texts = []
    for rows, maps in ((10_000, 1000), (4, 1000), (10_000, 2), (1, 1)):
        monkeypatch.setattr(products, "_BATCH_ROWS", rows)
        monkeypatch.setattr(products, "_BATCH_MAPS", maps)
        written = products.write_merged(layout, names, meta={})
        # Parquet keeps rows in groups as they came.
        texts.append({name: (tmp_path / name).read_bytes() for name in written if "parquet" not in name})
    assert texts[0] == texts[1] == texts[2] == texts[3]


@pytest.mark.parametrize("other", ["mm", "a_longer_name"])
def test_rows_of_maps_alike_are_joined_as_they_would_be_written(tmp_path, other):
    layout, names = layout_in(tmp_path), ["k", other, "n"]
    for k, name in enumerate(names):
        stage_map(layout, name, 3 * k, seed=k)
    joined = [(tmp_path / name).read_bytes() for name in products.write_merged(layout, names, meta={})]
    for form in layout.formats:
        (tmp_path / layout.table("n", form)).unlink()
    written = [(tmp_path / name).read_bytes() for name in products.write_merged(layout, names, meta={})]
    assert joined == written
    assert joined[1].count(b"\n") > 9
