"""The catalogue against astropy, radio_beam and Monte Carlo."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_beam import Beam as RadioBeam
from radio_beam.utils import BeamError

from hyper_py.catalog import COLUMNS, empty_catalog, make_catalog
from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA, Beam
from hyper_py.image import SkyImage
from hyper_py.numerics.gaussians import gaussian_flux
from hyper_py.photometry.source_table import SourceTable

SHAPE = (60, 64)


def make_wcs(kind, *, pixel=2.0):
    """TAN maps in all manners of orientation; pixel in arcsec."""
    wcs = WCS(naxis=2)
    frame = ("GLON-TAN", "GLAT-TAN") if "galactic" in kind else ("RA---TAN", "DEC--TAN")
    if "fk4" in kind:
        wcs.wcs.radesys, wcs.wcs.equinox = "FK4", 1950.0
    wcs.wcs.ctype = frame
    wcs.wcs.crval = (31.0, 62.0) if "galactic" in kind else (83.6, -61.0)
    wcs.wcs.crpix = (30.0, 28.0)
    angle = np.radians(37.0 if "rotated" in kind else 0.0)
    parity = 1.0 if "mirrored" in kind else -1.0
    ratio = 1.5 if "oblong" in kind else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = rotation @ np.diag([parity * pixel / 3600, ratio * pixel / 3600])
    wcs.wcs.set()
    return wcs


KINDS = [
    "plain",
    "rotated",
    "mirrored",
    "rotated mirrored",
    "galactic",
    "galactic rotated",
    "oblong rotated",
    "fk4",
]


def make_image(kind="plain", *, beam=None, pixel=2.0):
    beam = beam or Beam(major=9.0, minor=7.0, pa=20.0)
    return SkyImage(data=np.zeros(SHAPE), wcs=make_wcs(kind, pixel=pixel), beam=beam, name="m")


def make_measurement(parameters, *, covariance=None, **changes):
    n = len(parameters)
    if covariance is None:
        covariance = np.broadcast_to(np.diag([0.01, 0.02, 0.02, 0.03, 0.03, 0.02]) ** 2, (n, 6, 6))
    one, zero = np.ones(n), np.zeros(n, dtype=np.int64)
    values = {
        "parameters": parameters, "covariance": covariance, "flux": 2.0 * one, "flux_err": 0.1 * one,
        "flux_gauss": gaussian_flux(parameters), "flux_gauss_err": 0.2 * one,
        "aperture_fraction": 0.9 * one, "local_rms": 0.01 * one, "snr": one,
        "background": 0.3 * one, "shoulder_score": 0.1 * one, "order": zero, "n_in_group": zero + 1,
        "n_blank": zero, "status": zero + 1, "flags": zero,
        "at_bound": np.zeros(parameters.shape, dtype=bool), "nmse": 0.02 * one, "chi2_red": one, "bic": one,
        "beyond": 0.1 * one, "beyond_err": 0.05 * one, "growth_radius": 1.5 * one,
    }  # fmt: skip
    return SourceTable(**{**values, **changes})


SOURCES = np.array(
    [[1.0, 30.0, 28.0, 3.1, 1.9, 0.4], [2.0, 12.3, 50.8, 4.0, 2.5, 2.3], [3.0, 55.0, 9.0, 2.6, 2.2, 1.5]]
)


# ---- the columns


def test_every_column_has_its_unit_type_description_and_ucd():
    table = make_catalog(make_measurement(SOURCES), make_image(), convert_mjy=False)
    assert table.colnames == [column.name for column in COLUMNS]
    assert len(set(table.colnames)) == len(COLUMNS)
    kinds = {"str": "U", "int": "i", "float": "f"}
    for column in COLUMNS:
        info = table[column.name].info
        assert info.description == column.description != ""
        assert info.meta["ucd"] == column.ucd != ""
        assert (info.unit or "") == (u.Unit(column.unit) if column.unit else "")
        values = getattr(table[column.name], "value", table[column.name])
        assert np.asarray(values).dtype.kind == kinds[column.dtype]
        assert (info.format or "") == column.format


def test_original_columns_come_first_in_their_order():
    names = [
        "MAP_ID", "HYPER_ID", "FLUX_PEAK", "FLUX", "FLUX_ERR", "RESIDUALS", "POLYN", "NMSE", "CHI2_RED",
        "BIC", "FWHM_1", "FWHM_2", "PA", "STATUS", "GLON", "GLAT", "RA", "DEC", "DEBLEND", "CLUSTER",
        "SHOULDER_SCORE",
    ]  # fmt: skip
    assert [column.name for column in COLUMNS][: len(names)] == names


@pytest.mark.parametrize("convert", [True, False])
def test_empty_catalogue_has_all_columns_and_units(convert):
    empty = empty_catalog(convert_mjy=convert)
    full = make_catalog(make_measurement(SOURCES), make_image(), convert_mjy=convert)
    none = make_catalog(make_measurement(SOURCES[:0]), make_image(), convert_mjy=convert)
    assert len(empty) == len(none) == 0
    for table in (empty, none):
        assert table.colnames == full.colnames
        for name in full.colnames:
            assert table[name].info.unit == full[name].info.unit
            kind = np.asarray(getattr(table[name], "value", table[name])).dtype.kind
            assert kind == np.asarray(getattr(full[name], "value", full[name])).dtype.kind


def test_mjy_is_a_thousandth_of_jy_in_every_flux():
    jy = make_catalog(make_measurement(SOURCES), make_image(), convert_mjy=False)
    mjy = make_catalog(make_measurement(SOURCES), make_image(), convert_mjy=True)
    converted = 0
    for column in COLUMNS:
        if column.unit.startswith("Jy"):
            converted += 1
            assert mjy[column.name].unit == u.Unit("m" + column.unit)
            np.testing.assert_allclose(mjy[column.name].value, 1e3 * jy[column.name].value)
        elif column.dtype == "float":
            np.testing.assert_array_equal(mjy[column.name], jy[column.name])
    assert converted == 11


def test_fluxes_per_beam_and_limits():
    image = make_image("oblong rotated")
    flux = np.array([2.0, -0.5, np.nan])
    table = make_catalog(make_measurement(SOURCES, flux=flux), image, convert_mjy=False)
    area = np.pi / (4 * np.log(2)) * 9.0 * 7.0 / (2.0 * 3.0)  # beam over pixel, arcsec2
    np.testing.assert_allclose(table["FLUX_PEAK"].value, SOURCES[:, 0] * area, rtol=1e-5)
    np.testing.assert_allclose(table["FLUX_PEAK_ERR"].value, 0.01 * area, rtol=1e-5)
    np.testing.assert_allclose(table["LOCAL_RMS"].value, 0.01 * area, rtol=1e-5)
    gauss = 2 * np.pi * SOURCES[:, 0] * SOURCES[:, 3] * SOURCES[:, 4]
    np.testing.assert_allclose(table["FLUX_GAUSS"].value, gauss, rtol=1e-12)
    np.testing.assert_allclose(table["FLUX_ULIM"].value, [2.3, 0.3, np.nan])
    assert [bool(f & Flag.NEGATIVE_FLUX) for f in table["FLAGS"]] == [False, True, False]
    effective = make_image(beam=Beam(major=9.0, minor=7.0, area=80.0))
    table = make_catalog(make_measurement(SOURCES), effective, convert_mjy=False)
    np.testing.assert_allclose(table["FLUX_PEAK"].value, SOURCES[:, 0] * 80.0 / 4.0, rtol=1e-5)


def test_groups_and_failures():
    flags = np.array([0, int(Flag.FIT_FAILED), 0])
    table = make_catalog(make_measurement(SOURCES, flags=flags, n_in_group=np.array([1, 2, 2])), make_image())
    assert list(table["DEBLEND"]) == [0, 1, 1]
    assert list(table["CLUSTER"]) == [1, 2, 2]
    assert list(table["HYPER_ID"]) == [1, 2, 3]
    assert list(table["MAP_ID"]) == ["m"] * 3
    # What was not fitted has no fitted flux.
    np.testing.assert_array_equal(np.isnan(table["FLUX_PEAK"].value), [False, True, False])
    np.testing.assert_array_equal(np.isnan(table["FLUX_GAUSS"].value), [False, True, False])


# ---- the sky


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_are_those_of_astropy(kind):
    image = make_image(kind)
    table = make_catalog(make_measurement(SOURCES), image)
    sky = image.wcs.pixel_to_world(SOURCES[:, 1], SOURCES[:, 2])
    found = SkyCoord(table["RA"], table["DEC"], frame="icrs")
    assert sky.icrs.separation(found).arcsec.max() < 1e-6
    galactic = SkyCoord(table["GLON"], table["GLAT"], frame="galactic")
    assert sky.galactic.separation(galactic).arcsec.max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_angle_and_sizes_are_those_of_points_on_the_sky(kind):
    """Points at half maximum along the axes, taken to the sky by astropy."""
    image = make_image(kind)
    table = make_catalog(make_measurement(SOURCES), image)
    for source, row in zip(SOURCES, table, strict=True):
        centre = image.wcs.pixel_to_world(source[1], source[2])
        angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
        half = 0.5 * FWHM_PER_SIGMA
        along, across = half * source[3] * np.cos(angles), half * source[4] * np.sin(angles)
        x = source[1] + np.cos(source[5]) * along - np.sin(source[5]) * across
        y = source[2] + np.sin(source[5]) * along + np.cos(source[5]) * across
        contour = image.wcs.pixel_to_world(x, y)
        distance = centre.separation(contour).arcsec
        far = np.argmax(distance)
        assert row["FWHM_1"].value == pytest.approx(2 * distance.max(), rel=2e-4)
        assert row["FWHM_2"].value == pytest.approx(2 * distance.min(), rel=2e-4)
        expected = centre.position_angle(contour[far]).deg
        assert (row["PA"].value - expected + 90) % 180 - 90 == pytest.approx(0, abs=0.3)
        assert 0 <= row["PA"].value < 180
    np.testing.assert_allclose(
        table["FWHM_GEOM"].value, np.sqrt(table["FWHM_1"].value * table["FWHM_2"].value), rtol=1e-12
    )


def covariance_of_all(rng):
    """A covariance with correlations between all six parameters."""
    scale = np.diag([0.01, 0.03, 0.02, 0.02, 0.015, 0.012])
    a = rng.normal(size=(6, 6))
    c = a @ a.T + 2 * np.eye(6)
    d = np.sqrt(np.diagonal(c))
    return scale @ (c / np.outer(d, d)) @ scale


@pytest.mark.parametrize("kind", ["plain", "rotated mirrored", "galactic rotated", "oblong rotated", "fk4"])
def test_errors_are_the_scatter_of_drawn_parameters(kind):
    rng = np.random.default_rng(3)
    image = make_image(kind)
    source, covariance = SOURCES[1], covariance_of_all(rng)
    row = make_catalog(make_measurement(source[None], covariance=covariance[None]), image)[0]
    drawn = rng.multivariate_normal(source, covariance, size=4000)
    table = make_catalog(make_measurement(drawn), image)
    for name in ("X", "Y", "FWHM_1", "FWHM_2", "FWHM_GEOM", "FLUX_PEAK", "DECONV_FWHM_1", "DECONV_FWHM_2"):
        scatter = np.std(table[name].value)
        assert row[f"{name}_ERR"].value == pytest.approx(scatter, rel=0.06), name
    pa = (table["PA"].value - row["PA"].value + 90) % 180 - 90
    assert row["PA_ERR"].value == pytest.approx(np.std(pa), rel=0.06)
    east = (table["RA"].value - row["RA"].value) * np.cos(np.radians(row["DEC"].value)) * 3600
    north = (table["DEC"].value - row["DEC"].value) * 3600
    assert row["RA_ERR"].value == pytest.approx(np.std(east), rel=0.06)
    assert row["DEC_ERR"].value == pytest.approx(np.std(north), rel=0.06)


def test_unknown_covariance_gives_unknown_errors_and_no_warning():
    covariance = np.full((3, 6, 6), np.nan)
    table = make_catalog(make_measurement(SOURCES, covariance=covariance), make_image())
    for name in ("X_ERR", "RA_ERR", "DEC_ERR", "FWHM_1_ERR", "FWHM_GEOM_ERR", "FLUX_PEAK_ERR", "DECONV_ULIM"):
        assert np.isnan(table[name].value).all()
    assert np.isfinite(table["FWHM_1"].value).all()


def test_unmeasured_shapes_are_nan():
    sources = SOURCES.copy()
    sources[:, 3:] = np.nan
    table = make_catalog(make_measurement(sources, covariance=np.full((3, 6, 6), np.nan)), make_image())
    for name in ("FWHM_1", "FWHM_2", "PA", "FLUX_GAUSS", "DECONV_FWHM_1"):
        assert np.isnan(table[name].value).all()
    assert np.isfinite(table["RA"].value).all()


def test_a_round_source_has_no_angle_error_beyond_90_degrees():
    source = np.array([[1.0, 30, 28, 3.0, 3.0 - 1e-9, 0.0]])
    covariance = np.diag([0.1, 0.1, 0.1, 0.3, 0.3, 5.0])[None] ** 2
    table = make_catalog(make_measurement(source, covariance=covariance), make_image())
    assert 0 <= table["PA_ERR"].value[0] <= 90


# ---- deconvolution


@settings(deadline=None, max_examples=60)
@given(st.floats(3.5, 9), st.floats(0.4, 1), st.floats(0, 179), st.floats(0.3, 1), st.floats(0, 179))
def test_deconvolved_sizes_are_those_of_radio_beam(major, ratio, angle, beam_ratio, beam_pa):
    """Axes given in arcsec and degrees east of north; pixels of 2 arcsec, north up and east left."""
    beam = Beam(major=8.0, minor=8.0 * beam_ratio, pa=beam_pa)
    theta = np.radians(90 + angle)
    source = np.array([[1.0, 30, 28, major / 2, major * ratio / 2, theta]])  # sigma in pixels
    row = make_catalog(make_measurement(source, covariance=np.zeros((1, 6, 6))), make_image(beam=beam))[0]
    fwhm = FWHM_PER_SIGMA * np.array([major, major * ratio]) * u.arcsec
    whole = RadioBeam(fwhm[0], fwhm[1], angle * u.deg)
    other = RadioBeam(8.0 * u.arcsec, 8.0 * beam_ratio * u.arcsec, beam_pa * u.deg)
    try:
        expected = whole.deconvolve(other)
    except BeamError:
        assert row["DECONV_FWHM_2"].value == pytest.approx(0.0, abs=0.05)
        return
    assert row["DECONV_FWHM_1"].value == pytest.approx(expected.major.to_value("arcsec"), rel=1e-3, abs=1e-2)
    assert row["DECONV_FWHM_2"].value == pytest.approx(expected.minor.to_value("arcsec"), rel=1e-3, abs=5e-2)
    if expected.major > 1.1 * expected.minor and expected.minor > 0.1 * u.arcsec:
        difference = row["DECONV_PA"].value - expected.pa.to_value("deg")
        assert (difference + 90) % 180 - 90 == pytest.approx(0, abs=0.5)


def test_unresolved_sources_have_a_limit_and_a_flag():
    beam = Beam(major=8.0, minor=8.0)
    sigma = 8.0 / 2.0 / FWHM_PER_SIGMA
    sources = np.array([[1.0, 30, 28, s * sigma, s * sigma * 0.999, 0.3] for s in (0.95, 1.0, 1.5)])
    covariance = np.diag([0.01, 0.02, 0.02, 0.05, 0.05, 0.1])[None].repeat(3, axis=0) ** 2
    table = make_catalog(make_measurement(sources, covariance=covariance), make_image(beam=beam))
    assert [bool(f & Flag.UNRESOLVED) for f in table["FLAGS"]] == [True, True, False]
    assert table["DECONV_FWHM_1"].value[0] == 0.0
    assert np.isnan(table["DECONV_PA"].value[0])
    assert np.isnan(table["DECONV_FWHM_1_ERR"].value[0])
    assert table["DECONV_FWHM_1"].value[2] == pytest.approx(8.0 * np.sqrt(1.5**2 - 1), rel=1e-3)
    limit = table["DECONV_ULIM"].value
    assert (limit > table["DECONV_FWHM_1"].value).all()
    # Three sigma of the squared size, from the error of sigma.
    error = 2 * FWHM_PER_SIGMA**2 * sigma * 0.05 * 4.0
    assert limit[1] == pytest.approx(np.sqrt(3 * error), rel=0.05)


@pytest.mark.parametrize("theta", [0.0, 1e-5, np.pi - 1e-5, 0.5 * np.pi, 0.5 * np.pi + 1e-5])
def test_errors_of_angles_do_not_jump_where_angles_wrap(theta):
    sources = np.array([[1.0, 30, 28, 3.1, 1.9, theta], [1.0, 30, 28, 3.1, 1.9, 0.7]])
    table = make_catalog(make_measurement(sources), make_image())
    assert table["PA_ERR"].value[0] == pytest.approx(table["PA_ERR"].value[1], rel=1e-3)


def test_beam_areas_are_in_the_pixels_at_the_source():
    """Far from the reference pixel of a tangential projection, where pixels are smaller on the sky."""
    image = make_image(pixel=900.0, beam=Beam(major=9 * 450.0, minor=7 * 450.0))
    table = make_catalog(make_measurement(SOURCES), image, convert_mjy=False)
    nominal = np.pi / (4 * np.log(2)) * 9.0 * 7.0 / 4.0
    areas = []
    for source, row in zip(SOURCES, table, strict=True):
        corners = [
            image.wcs.pixel_to_world(source[1] + dx, source[2] + dy)
            for dx, dy in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))
        ]
        along, up = corners[0].separation(corners[1]).arcsec, corners[2].separation(corners[3]).arcsec
        turn = corners[0].position_angle(corners[1]) - corners[2].position_angle(corners[3])
        areas.append(nominal * 900.0**2 / abs(along * up * np.sin(turn.rad)))
        assert row["FLUX_PEAK"].value == pytest.approx(source[0] * areas[-1], rel=1e-4)
    assert areas[0] == pytest.approx(nominal, rel=1e-3)
    assert areas[1] > 1.01 * nominal
