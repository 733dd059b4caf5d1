"""Planes of a polarisation axis are taken by name, never by position."""

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from helpers.fits_maps import BEAM_PIXELS, SHAPE, make_data, write_map
from hyper_py.catalog import empty_catalog
from hyper_py.cautions.catalogues import cautions
from hyper_py.diagnostics import InputError
from hyper_py.reading.inspection import inspect_image
from hyper_py.reading.io import read_image
from hyper_py.reading.stokes import STOKES, stokes_plane


def axis(first, step=1.0, crpix=1.0):
    return {"CTYPE3": "STOKES", "CRVAL3": first, "CRPIX3": crpix, "CDELT3": step}


@given(
    wanted=st.sampled_from(sorted(STOKES)), first=st.integers(-8, 4), step=st.sampled_from([-1, 1]),
    crpix=st.sampled_from([-2, -1, 1, 2, 3, 5]), n=st.integers(1, 8),
)  # fmt: skip
def test_the_plane_has_the_value_of_the_name(wanted, first, step, crpix, n):
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN", "STOKES"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [83.0, -5.0, first], [1.0, 1.0, crpix], [-1e-3, 1e-3, step]
    values = wcs.wcs_pix2world(np.column_stack([np.zeros((n, 2)), np.arange(n)]), 0)[:, 2]
    if STOKES[wanted] in np.rint(values):
        plane, name = stokes_plane(wcs, 3, n, wanted=wanted)
        assert (values[plane], name) == (STOKES[wanted], wanted)
    elif n > 1 or wanted != "I" or np.rint(values[0]) in STOKES.values():
        with pytest.raises(InputError, match=f"no plane of Stokes {wanted}"):
            stokes_plane(wcs, 3, n, wanted=wanted)
    else:
        assert stokes_plane(wcs, 3, n, wanted=wanted) == (0, "")


def test_the_plane_asked_for_is_read_and_named(tmp_path):
    data = make_data((4, *SHAPE))
    path = write_map(tmp_path / "iquv.fits", data, **axis(1.0))
    for k, name in enumerate("IQUV"):
        image = read_image(path, stokes=name)
        np.testing.assert_allclose(image.data, data[k] / BEAM_PIXELS, rtol=1e-6)
        assert image.meta["stokes"] == name
    assert read_image(path).meta["stokes"] == "I"


@pytest.mark.parametrize(("first", "n", "has"), [(2.0, 1, "Q"), (3.0, 2, "U, V"), (-5.0, 1, "XX")])
def test_a_map_without_stokes_i_is_refused_unless_asked_for(tmp_path, first, n, has):
    path = write_map(tmp_path / "m.fits", make_data((n, *SHAPE)), **axis(first))
    with pytest.raises(InputError, match=f"no plane of Stokes I; the file has {has}: set io.stokes"):
        read_image(path)
    assert any("io.stokes" in problem for problem in inspect_image(path).problems)
    assert read_image(path, stokes=has.split(",")[0]).meta["stokes"] == has.split(",")[0]


def test_a_map_without_the_axis_has_no_other_planes(tmp_path):
    path = write_map(tmp_path / "m.fits")
    assert "stokes" not in read_image(path).meta
    with pytest.raises(InputError, match=r"no axis of Stokes parameters for io\.stokes: Q"):
        read_image(path, stokes="Q")


@pytest.mark.parametrize("name", ["Q", "u ", "RR"])
def test_the_keyword_of_a_plane_counts_as_its_axis(tmp_path, name):
    path, known = write_map(tmp_path / "m.fits", STOKES=name), name.strip().upper()
    with pytest.raises(InputError, match=f"the header has STOKES = {known}: set io.stokes to it"):
        read_image(path)
    assert read_image(path, stokes=known).meta["stokes"] == known
    assert read_image(write_map(tmp_path / "i.fits", STOKES="I")).meta["stokes"] == "I"


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"BTYPE": "Linear polarized intensity"}, True),
        ({"STOKES": "PI"}, True),
        ({"OBJECT": "polarised emission of M51"}, True),
        ({"BTYPE": "Intensity"}, False),
        ({"OBJECT": "Polaris"}, False),
    ],
)
def test_polarised_intensity_has_a_noise_bias_and_that_is_said(tmp_path, card, said):
    image = read_image(write_map(tmp_path / "m.fits", **card))
    text = [line for line in cautions(empty_catalog(), image) if "noise bias" in line]
    assert bool(text) == said
