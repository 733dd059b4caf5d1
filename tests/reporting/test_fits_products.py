import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from helpers.report_tasks import small_extraction, small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py.reporting.fits_products import deblended, group_cutouts
from hyper_py.running import runner


@pytest.fixture(scope="module")
def extraction():
    return small_extraction(n_sources=40)


def test_groups_hold_every_source_once(extraction):
    cutouts = list(group_cutouts(extraction))
    members = np.concatenate([cutout.members for cutout in cutouts])
    assert sorted(members) == list(range(len(extraction.catalog)))
    for cutout in cutouts:
        assert (extraction.catalog["CLUSTER"][cutout.members] == len(cutout.members)).all()


def test_cutouts_are_parts_of_the_map_and_add_up(extraction):
    model = extraction.model_image()
    for cutout in group_cutouts(extraction):
        np.testing.assert_array_equal(cutout.data, extraction.image.data[cutout.where])
        np.testing.assert_allclose(cutout.model + cutout.others, model[cutout.where], atol=1e-12)
        known = np.isfinite(cutout.background)
        total = cutout.model + cutout.others + cutout.background + cutout.residual
        np.testing.assert_allclose(total[known], cutout.data[known], atol=1e-12)
        own = extraction.sources[cutout.members]
        rows, columns = np.rint(own[:, 2]).astype(int), np.rint(own[:, 1]).astype(int)
        inside = cutout.masked[rows - cutout.where[0].start, columns - cutout.where[1].start]
        assert np.isfinite(inside).all()


def test_a_deblended_source_is_alone(extraction):
    cutout = next(cutout for cutout in group_cutouts(extraction) if len(cutout.members) > 1)
    total = sum(deblended(cutout, extraction, int(row)) for row in cutout.members)
    expected = cutout.model + len(cutout.members) * cutout.residual
    np.testing.assert_allclose(total, expected, atol=1e-9 * np.abs(expected).max())


def test_files_have_the_units_and_coordinates_of_the_map(tmp_path):
    path = write_map(tmp_path / "m.fits", small_image(n_sources=40))
    keys = {"fits_fitting": True, "fits_deblended": True, "fits_bg_separate": True}
    result = runner.run(make_config(tmp_path / "out", fits_output=keys, outputs={"tables": ["ecsv"]}), [path])
    assert result.exit_code == 0
    written = sorted((tmp_path / "out/fits").rglob("*.fits"))
    assert {file.parent.name for file in written} == {"fitting", "deblended", "bg_separate"}
    data, header = fits.getdata(path), fits.getheader(path)
    whole = WCS(header)
    for name in ("fitting/m_model", "fitting/m_residual", "fitting/m_rms", "bg_separate/m_background"):
        with fits.open(tmp_path / f"out/fits/{name}.fits") as hdus:
            assert hdus[0].data.shape == data.shape
            assert hdus[0].header["BUNIT"] == "Jy/pixel"
    n_groups = 0
    for file in written:
        with fits.open(file) as hdus:
            hdu = hdus[-1]
            assert hdu.header["BUNIT"] == "Jy/pixel"
            assert hdu.header["BMAJ"] == pytest.approx(header["BMAJ"])
            # The cutout's first pixel is where its coordinates say it is on the map.
            place = WCS(hdu.header).pixel_to_world(0, 0)
            x, y = (round(float(value)) for value in whole.world_to_pixel(place))
            if "_group_" in file.name and file.parent.name == "fitting":
                n_groups += 1
                assert [one.name for one in hdus[1:]] == ["DATA", "MASKED", "MODEL", "BACKGROUND", "RESIDUAL"]
                ny, nx = hdus["DATA"].data.shape
                np.testing.assert_allclose(hdus["DATA"].data, data[y : y + ny, x : x + nx], rtol=1e-6)
    assert n_groups > 3
