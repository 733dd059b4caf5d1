"""Maps divided by a primary beam are known by their names and their noise, and others are not."""

import numpy as np
import pytest
from astropy.io import fits
from scipy import stats

from helpers.fits_maps import write_map
from hyper_py.catalog import empty_catalog
from hyper_py.cautions.catalogues import cautions
from hyper_py.numerics import gaussians
from hyper_py.reading.io import read_image
from hyper_py.reading.primary_beam import (
    corrected_by_name,
    noise_rise,
    primary_beam_remark,
    rank_correlation,
)

SHAPE = (160, 190)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def response(fwhm, x=95.0, y=80.0):
    return np.exp(-4 * np.log(2) * ((X - x) ** 2 + (Y - y) ** 2) / fwhm**2)


@pytest.mark.seeds(1, 2, 3)
def test_noise_of_one_pointing_rises(rng):
    beam = response(150.0, x=rng.uniform(85, 105), y=rng.uniform(70, 90))
    rise = noise_rise(rng.normal(size=SHAPE) / beam)
    radius = np.hypot(X - 95, Y - 80)
    inner, outer = (np.quantile(radius, share) for share in (0.25, 0.75))
    true = np.median(1 / beam[radius > outer]) / np.median(1 / beam[radius < inner])
    assert rise == pytest.approx(true, rel=0.15)


@pytest.mark.seeds(1, 2, 3, 4, 5)
def test_other_noise_does_not(rng):
    flat = rng.normal(size=SHAPE)
    assert noise_rise(flat) is None
    # A gradient, a noisy stripe, bright sources in the outer parts, a bright disc in the middle.
    assert noise_rise(flat * (1.0 + X / 95.0)) is None
    assert noise_rise(flat * np.where(Y < 20, 5.0, 1.0)) is None
    places = rng.uniform(0, 1, (40, 2)) * SHAPE[::-1]
    sources = np.column_stack([rng.uniform(20, 200, 40), places, np.full((40, 2), 2.5), np.zeros(40)])
    assert noise_rise(flat + gaussians.render(sources, SHAPE)) is None
    assert noise_rise(flat + 50.0 * response(60.0)) is None


def test_blank_and_small_maps(rng):
    data = rng.normal(size=SHAPE) / response(150.0)
    assert noise_rise(np.where(response(150.0) < 0.2, np.nan, data)) > 1.5
    assert noise_rise(np.full(SHAPE, np.nan)) is None
    assert noise_rise(np.zeros(SHAPE)) is None
    assert noise_rise(data[:20, :20]) is None


@pytest.mark.parametrize(
    ("name", "cards", "expected"),
    [
        ("m.image.pbcor", {}, "its name, m.image.pbcor"),
        ("m", {"FILNAM10": "pbcor"}, "FILNAM10 = pbcor"),
        ("m", {"HISTORY": "impbcor(imagename='a')"}, "its HISTORY"),
        ("m", {"HISTORY": "tclean(pbcor=True)"}, ""),
        ("m", {"OBJECT": "W3"}, ""),
    ],
)
def test_names(name, cards, expected):
    header = fits.Header()
    for key, value in cards.items():
        header[key] = value
    assert corrected_by_name(name, header) == expected


def test_remarks(rng):
    flat, header = rng.normal(size=SHAPE), fits.Header()
    risen = flat / response(150.0)
    assert primary_beam_remark("m", header, flat) == ""
    assert primary_beam_remark("m", header, None) == ""
    assert "rises outwards, here by a factor of" in primary_beam_remark("m", header, risen)
    # Names can be wrong, as on simulated maps; where the noise cannot be looked at they count.
    assert primary_beam_remark("m_pbcor", header, flat) == ""
    for data in (risen, None):
        text = primary_beam_remark("m_pbcor", header, data)
        assert "divided by its primary beam (its name, m_pbcor)" in text
        assert "io.primary_beam" in text


def test_said_of_a_run_unless_the_response_or_the_errors_are_given(tmp_path, rng):
    beam = response(150.0)
    data = rng.normal(size=SHAPE) / beam
    hdus = [fits.ImageHDU(beam, name="PB"), fits.ImageHDU(1 / beam, name="ERR")]
    hdus[1].header["BUNIT"] = "Jy/beam"
    path = write_map(tmp_path / "m.fits", data, hdus=hdus)
    image = read_image(path, hdu=0)
    assert any("io.primary_beam" in text for text in cautions(empty_catalog(), image))
    known = [
        read_image(path, hdu=0, primary_beam="PB", primary_beam_corrected=True),
        read_image(path, hdu=0, error_hdu="ERR"),
        read_image(path, hdu=0, error_hdu="auto"),
    ]
    for image in known:
        assert not any("io.primary_beam" in text for text in cautions(empty_catalog(), image))


@pytest.mark.seeds(1, 2, 3)
def test_rank_correlation_is_spearmans(rng):
    x = rng.normal(size=90)
    for y in (rng.normal(size=90), np.exp(x), -x, x + rng.normal(size=90)):
        assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        tied = np.round(y)
        assert rank_correlation(x, tied) == pytest.approx(stats.spearmanr(x, tied).statistic, abs=1e-12)
    assert rank_correlation(x, np.ones(90)) == 0.0
