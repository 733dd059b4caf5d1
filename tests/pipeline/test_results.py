"""What an extraction gives to others; the referees are astropy, photutils and pandas."""

import numpy as np
import pytest
from astropy.table import QTable, Table
from numpy.testing import assert_allclose, assert_array_equal

import hyper_py
from hyper_py.pipeline.results import PLANES


@pytest.fixture(scope="module")
def extraction():
    sky = hyper_py.simulate_image("crowded", seed=2, shape=(100, 110), n_sources=8, peak_range=(20, 40))
    return hyper_py.extract_sources(sky.image)


def test_planes_add_up(extraction):
    planes = {name: extraction.plane(name) for name in PLANES}
    assert_allclose(planes["model"] + planes["residual"], planes["data"])
    assert np.isfinite(planes["background"]).all()
    assert (planes["rms"] > 0).all()
    with pytest.raises(hyper_py.HyperPyError, match="plane 'noise': must be one of data"):
        extraction.plane("noise")


def test_nddata_has_coordinates_unit_and_beam(extraction):
    residual = extraction.to_nddata("residual")
    assert_array_equal(residual.data, extraction.residual_image())
    assert residual.wcs is extraction.image.wcs
    assert residual.header["BMAJ"] == pytest.approx(extraction.image.beam.major / 3600)


def test_pandas_has_every_column_and_its_unit(extraction):
    pytest.importorskip("pandas")
    frame = extraction.to_pandas()
    assert list(frame.index) == list(extraction.catalog["HYPER_ID"])
    assert_array_equal(frame["FLUX"], extraction.catalog["FLUX"].value)
    assert frame.attrs["units"]["FLUX"] == "mJy"
    assert {*frame.columns, "HYPER_ID"} == {*extraction.catalog.colnames}


def test_segments_are_what_photutils_takes(extraction):
    segmentation = pytest.importorskip("photutils.segmentation")
    labels = extraction.segmentation_image()
    segments = segmentation.SegmentationImage(labels)
    assert_array_equal(segments.labels, np.sort(extraction.catalog["HYPER_ID"]))
    table = segmentation.SourceCatalog(extraction.image.data, segments)
    for number, x, y in zip(segments.labels, table.x_centroid, table.y_centroid, strict=True):
        row = extraction.catalog[list(extraction.catalog["HYPER_ID"]).index(number)]
        distance = np.hypot(x - row["X"].value, y - row["Y"].value)
        assert distance < extraction.image.beam_fwhm_pix


def test_a_pixel_belongs_to_the_source_that_is_brighter_there(extraction):
    labels = extraction.segmentation_image()
    x, y = (np.rint(extraction.catalog[name].value).astype(int) for name in ("X", "Y"))
    assert_array_equal(labels[y, x], extraction.catalog["HYPER_ID"])


def test_regions_are_apertures_of_photutils(extraction):
    """The sum over photutils' aperture of the model is the share of the flux that the catalogue gives."""
    aperture = pytest.importorskip("photutils.aperture")
    row = int(np.argmax(extraction.catalog["FLUX"]))
    region = extraction.regions()[row]
    own = aperture.region_to_aperture(region.to_pixel(extraction.image.wcs))
    from hyper_py.numerics import gaussians

    model = gaussians.render(extraction.sources[row : row + 1], extraction.image.shape)
    share = own.do_photometry(model)[0][0] / model.sum()
    assert share == pytest.approx(extraction.catalog["APER_FRAC"][row], rel=0.01)


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".csv", ".vot", ".txt", ".tbl", ".xml"])
def test_tables_are_read_by_astropy(extraction, tmp_path, suffix):
    path = extraction.write(tmp_path / f"sources{suffix}")
    form = {
        **dict.fromkeys((".txt", ".tbl"), "ascii.ipac"),
        **dict.fromkeys((".vot", ".xml"), "votable"),
        ".fits": "fits",
    }.get(suffix, f"ascii{suffix}")
    table = Table.read(path, format=form)
    assert_allclose(table["FLUX"], extraction.catalog["FLUX"].value, rtol=1e-5)
    if suffix == ".ecsv":
        assert QTable.read(path)["FLUX"].unit == extraction.catalog["FLUX"].unit


@pytest.mark.parametrize("suffix", [".reg", ".crtf"])
def test_regions_are_read_back(extraction, tmp_path, suffix):
    from regions import Regions

    form = {".reg": "ds9", ".crtf": "crtf"}[suffix]
    regions = Regions.read(extraction.write(tmp_path / f"sources{suffix}"), format=form)
    assert len(regions) == len(extraction.catalog)


def test_nothing_is_replaced_unasked(extraction, tmp_path):
    path = extraction.write(tmp_path / "a.csv")
    with pytest.raises(hyper_py.HyperPyError, match=r"write: .*a\.csv exists: give overwrite=True"):
        extraction.write(path)
    extraction.write(path, overwrite=True)
    with pytest.raises(hyper_py.HyperPyError, match=r"write: .*no format of that suffix; known are .*\.reg"):
        extraction.write(tmp_path / "a.xlsx")
    with pytest.raises(hyper_py.HyperPyError, match="no such directory: make it first"):
        extraction.write(tmp_path / "nowhere" / "a.csv")
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]
