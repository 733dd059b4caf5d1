"""The catalogue: one table of columns, and everything derived from it."""

from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import Flag
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    celestial_degrees,
    celestial_frame,
    ellipse_from_covariance,
    transform_covariance,
)
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.photometry.source_table import SourceTable


class Column(NamedTuple):
    """What one catalogue column is. Units `Jy` and `Jy / beam` become mJy on request."""

    name: str
    unit: str
    dtype: str
    ucd: str
    format: str
    description: str


COLUMNS: tuple[Column, ...] = (
    Column("MAP_ID", "", "str", "meta.id;meta.dataset", "", "Map identifier"),
    Column("HYPER_ID", "", "int", "meta.id;meta.main", "d", "Source identifier, from 1 in each map"),
    Column("FLUX_PEAK", "Jy / beam", "float", "phot.flux.density;stat.max", ".6g", "Peak flux density: fitted amplitude times beam area"),
    Column("FLUX", "Jy", "float", "phot.flux.density;meta.main", ".6g", "Aperture flux density, background and companions subtracted"),
    Column("FLUX_ERR", "Jy", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX"),
    Column("RESIDUALS", "Jy", "float", "phot.flux.density;instr.background", ".4g", "Background level under the source, per pixel"),
    Column("POLYN", "", "int", "meta.code", "d", "Order of the background polynomial; -1 if none"),
    Column("NMSE", "", "float", "stat.fit.residual", ".4g", "Normalised mean squared error of the fit"),
    Column("CHI2_RED", "", "float", "stat.fit.chi2", ".4g", "Reduced chi-square of the fit"),
    Column("BIC", "", "float", "stat.fit.goodness", ".6g", "Bayesian information criterion of the fit"),
    Column("FWHM_1", "arcsec", "float", "phys.angSize.smajAxis", ".6g", "FWHM of the major axis"),
    Column("FWHM_2", "arcsec", "float", "phys.angSize.sminAxis", ".6g", "FWHM of the minor axis"),
    Column("PA", "deg", "float", "pos.posAng", ".2f", "Position angle of the major axis, east of north, in [0, 180)"),
    Column("STATUS", "", "int", "meta.code.status", "d", "1 converged, 2 converged from a second start, 0 failed"),
    Column("GLON", "deg", "float", "pos.galactic.lon", "", "Galactic longitude"),
    Column("GLAT", "deg", "float", "pos.galactic.lat", "", "Galactic latitude"),
    Column("RA", "deg", "float", "pos.eq.ra;meta.main", "", "Right ascension (ICRS)"),
    Column("DEC", "deg", "float", "pos.eq.dec;meta.main", "", "Declination (ICRS)"),
    Column("DEBLEND", "", "int", "meta.code", "d", "1 if fitted together with neighbours"),
    Column("CLUSTER", "", "int", "meta.number", "d", "Number of sources in the group"),
    Column("SHOULDER_SCORE", "", "float", "stat.value", ".3f", "Asymmetry of a ring around the peak, relative to the peak"),
    Column("X", "pix", "float", "pos.cartesian.x;instr.pixel", ".4f", "Centroid, zero-based pixel"),
    Column("Y", "pix", "float", "pos.cartesian.y;instr.pixel", ".4f", "Centroid, zero-based pixel"),
    Column("X_ERR", "pix", "float", "stat.error;pos.cartesian.x", ".4f", "1-sigma error of X"),
    Column("Y_ERR", "pix", "float", "stat.error;pos.cartesian.y", ".4f", "1-sigma error of Y"),
    Column("RA_ERR", "arcsec", "float", "stat.error;pos.eq.ra", ".4g", "1-sigma error of RA times cos(DEC)"),
    Column("DEC_ERR", "arcsec", "float", "stat.error;pos.eq.dec", ".4g", "1-sigma error of DEC"),
    Column("SNR", "", "float", "stat.snr", ".2f", "Detection significance: peak over local rms"),
    Column("FLUX_PEAK_ERR", "Jy / beam", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX_PEAK"),
    Column("FLUX_GAUSS", "Jy", "float", "phot.flux.density", ".6g", "Flux density of the fitted Gaussian, including the wings of the beam"),
    Column("FLUX_GAUSS_ERR", "Jy", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX_GAUSS"),
    Column("FLUX_ULIM", "Jy", "float", "phot.flux.density;stat.max", ".4g", "3-sigma upper limit on the flux: max(FLUX, 0) + 3 FLUX_ERR"),
    Column("APER_FRAC", "", "float", "arith.factor", ".4f", "Fraction of the source's flux inside the aperture"),
    Column("LOCAL_RMS", "Jy / beam", "float", "stat.stdev;instr.det.noise", ".4g", "Noise at the source, per beam"),
    Column("FWHM_1_ERR", "arcsec", "float", "stat.error;phys.angSize.smajAxis", ".4g", "1-sigma error of FWHM_1"),
    Column("FWHM_2_ERR", "arcsec", "float", "stat.error;phys.angSize.sminAxis", ".4g", "1-sigma error of FWHM_2"),
    Column("PA_ERR", "deg", "float", "stat.error;pos.posAng", ".2f", "1-sigma error of PA"),
    Column("FWHM_GEOM", "arcsec", "float", "phys.angSize", ".6g", "Geometric mean of FWHM_1 and FWHM_2"),
    Column("FWHM_GEOM_ERR", "arcsec", "float", "stat.error;phys.angSize", ".4g", "1-sigma error of FWHM_GEOM"),
    Column("DECONV_FWHM_1", "arcsec", "float", "phys.angSize.smajAxis", ".4g", "Major axis with the beam deconvolved; 0 if unresolved"),
    Column("DECONV_FWHM_2", "arcsec", "float", "phys.angSize.sminAxis", ".4g", "Minor axis with the beam deconvolved; 0 if unresolved"),
    Column("DECONV_PA", "deg", "float", "pos.posAng", ".2f", "Position angle with the beam deconvolved"),
    Column("DECONV_FWHM_1_ERR", "arcsec", "float", "stat.error;phys.angSize.smajAxis", ".4g", "1-sigma error of DECONV_FWHM_1; NaN if unresolved"),
    Column("DECONV_FWHM_2_ERR", "arcsec", "float", "stat.error;phys.angSize.sminAxis", ".4g", "1-sigma error of DECONV_FWHM_2; NaN if unresolved"),
    Column("DECONV_ULIM", "arcsec", "float", "phys.angSize;stat.max", ".4g", "3-sigma upper limit on the deconvolved major axis"),
    Column("N_BLANK", "", "int", "meta.number;instr.pixel", "d", "Blank pixels inside the aperture"),
    Column("FLAGS", "", "int", "meta.code.qual", "d", "Bit field; see the table of flags"),
    Column("FLUX_BEYOND", "Jy", "float", "phot.flux.density", ".4g", "Flux outside the Gaussian out to GROWTH_RADIUS; part of FLUX if OTHER_PROFILE is set"),
    Column("FLUX_BEYOND_ERR", "Jy", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX_BEYOND; NaN where it was not measured"),
    Column("GROWTH_RADIUS", "", "float", "phys.angSize;arith.ratio", ".2f", "Where the growth curve ends, semi-axes in units of FWHM_1 and FWHM_2"),
)  # fmt: skip


def make_catalog(measured: SourceTable, image: SkyImage, *, convert_mjy: bool = True) -> QTable:
    """Return the catalogue of one map.

    Parameters
    ----------
    measured : SourceTable
    image : SkyImage
        The map that was measured.
    convert_mjy : bool
        Whether fluxes are in mJy and mJy/beam instead of Jy and Jy/beam.

    Returns
    -------
    astropy.table.QTable
        All `COLUMNS`, in their order, for any number of sources.
    """
    p, n = measured.parameters, len(measured.parameters)
    jacobian = image.jacobian(p[:, gaussians.X], p[:, gaussians.Y]).reshape(n, 2, 2)
    columns: dict[str, Any] = {
        "MAP_ID": np.full(n, image.name),
        "HYPER_ID": np.arange(1, n + 1),
        "RESIDUALS": measured.background,
        "POLYN": measured.order,
        "NMSE": measured.nmse,
        "CHI2_RED": measured.chi2_red,
        "BIC": measured.bic,
        "STATUS": measured.status,
        "DEBLEND": (measured.n_in_group > 1).astype(np.int64),
        "CLUSTER": measured.n_in_group,
        "SHOULDER_SCORE": measured.shoulder_score,
        "SNR": measured.snr,
        "N_BLANK": measured.n_blank,
        **_flux_columns(measured, image, jacobian),
        **_position_columns(measured, image, jacobian),
    }
    sizes, unresolved = _size_columns(measured, image, jacobian)
    flags = np.where(unresolved, int(Flag.UNRESOLVED), 0)
    unexpected = (measured.flux < 0.0) & (measured.flags & int(Flag.NEGATIVE_SOURCE) == 0)
    flags |= np.where(unexpected, int(Flag.NEGATIVE_FLUX), 0)
    return _table({**columns, **sizes, "FLAGS": measured.flags | flags}, convert_mjy=convert_mjy)


def _flux_columns(measured: SourceTable, image: SkyImage, jacobian: FloatArray) -> dict[str, FloatArray]:
    """Return fluxes, their errors and the noise, in Jy and Jy/beam."""
    beam_area = image.beam.solid_angle / np.abs(np.linalg.det(jacobian))
    amplitude, flux_gauss = (
        np.where(measured.flags & int(Flag.FIT_FAILED), np.nan, values)
        for values in (measured.parameters[:, gaussians.AMPLITUDE], measured.flux_gauss)
    )
    return {
        "FLUX_PEAK": amplitude * beam_area,
        "FLUX": measured.flux,
        "FLUX_ERR": measured.flux_err,
        "FLUX_PEAK_ERR": _errors(measured)[:, gaussians.AMPLITUDE] * beam_area,
        "FLUX_GAUSS": flux_gauss,
        "FLUX_GAUSS_ERR": measured.flux_gauss_err,
        "FLUX_ULIM": np.maximum(measured.flux, 0.0) + 3.0 * measured.flux_err,
        "APER_FRAC": measured.aperture_fraction,
        "LOCAL_RMS": measured.local_rms * beam_area,
        "FLUX_BEYOND": np.where(np.isfinite(measured.beyond_err), measured.beyond, np.nan),
        "FLUX_BEYOND_ERR": measured.beyond_err,
        "GROWTH_RADIUS": measured.growth_radius,
    }


def _position_columns(measured: SourceTable, image: SkyImage, jacobian: FloatArray) -> dict[str, FloatArray]:
    """Return positions on the map and on the sky, and their errors."""
    x, y = measured.parameters[:, gaussians.X], measured.parameters[:, gaussians.Y]
    longitude, latitude = celestial_degrees(image.wcs, x, y)
    sky = SkyCoord(longitude, latitude, unit="deg", frame=celestial_frame(image.wcs))
    error, sky_error = _errors(measured), _equatorial_errors(measured.covariance, jacobian, sky)
    return {
        "GLON": sky.galactic.l.deg,
        "GLAT": sky.galactic.b.deg,
        "RA": sky.icrs.ra.deg,
        "DEC": sky.icrs.dec.deg,
        "X": x,
        "Y": y,
        "X_ERR": error[:, gaussians.X],
        "Y_ERR": error[:, gaussians.Y],
        "RA_ERR": sky_error[0],
        "DEC_ERR": sky_error[1],
    }


def _size_columns(
    measured: SourceTable, image: SkyImage, jacobian: FloatArray
) -> tuple[dict[str, FloatArray], BoolArray]:
    """Return sizes and angles on the sky and their errors, and which sources are unresolved."""
    p = measured.parameters
    shape, error = _sky_shape(measured, image, jacobian)
    is_round = np.isclose(p[:, gaussians.SIGMA_1], p[:, gaussians.SIGMA_2], rtol=1e-6, atol=0.0)
    columns = {
        "FWHM_1": shape["FWHM"][:, 0],
        "FWHM_2": shape["FWHM"][:, 1],
        "PA": np.mod(shape["PA"][:, 0], 180.0),
        "FWHM_1_ERR": error["FWHM"][:, 0],
        "FWHM_2_ERR": error["FWHM"][:, 1],
        "PA_ERR": np.where(is_round, 90.0, np.minimum(error["PA"][:, 0], 90.0)),
        "FWHM_GEOM": shape["GEOM"][:, 0],
        "FWHM_GEOM_ERR": error["GEOM"][:, 0],
        **_deconvolved(shape, error),
    }
    # At a bound there is no error: what is larger than the beam there is resolved.
    noise = np.nan_to_num(error["DECONV_2"][:, 0])
    return columns, ~(shape["DECONV_2"][:, 0] > 2.0 * noise)


def _errors(measured: SourceTable) -> FloatArray:
    """Return the 1-sigma errors of the parameters, shape (n, 6)."""
    return np.sqrt(np.diagonal(measured.covariance, axis1=1, axis2=2))


def empty_catalog(*, convert_mjy: bool = True) -> QTable:
    """Return a catalogue without rows, with all columns."""
    return _table({column.name: [] for column in COLUMNS}, convert_mjy=convert_mjy)


def add_calibration_error(catalog: QTable, relative: float) -> None:
    """Add the column FLUX_CAL_ERR: the calibration uncertainty of FLUX, which all sources of a band share."""
    catalog["FLUX_CAL_ERR"] = relative * np.abs(catalog["FLUX"])
    catalog["FLUX_CAL_ERR"].info.description = f"Calibration uncertainty of FLUX ({relative:.3g} of it)"
    catalog["FLUX_CAL_ERR"].info.format = ".4g"
    catalog["FLUX_CAL_ERR"].info.meta = {"ucd": "stat.error.sys;phot.flux.density"}


def unmeasured_rows(sky: SkyCoord, *, name: str, convert_mjy: bool = True) -> QTable:
    """Return rows of positions at which nothing could be measured: NaN, and status and flags 0.

    Parameters
    ----------
    sky : SkyCoord, shape (n,)
    name : str
        Of the map.
    """
    n = sky.size
    nothing = {"str": np.full(n, name), "int": np.zeros(n, dtype=np.int64), "float": np.full(n, np.nan)}
    positions = {
        "RA": sky.icrs.ra.deg, "DEC": sky.icrs.dec.deg, "GLON": sky.galactic.l.deg, "GLAT": sky.galactic.b.deg
    }  # fmt: skip
    columns = {column.name: nothing[column.dtype] for column in COLUMNS} | positions
    return _table(columns | {"POLYN": nothing["int"] - 1}, convert_mjy=convert_mjy)


def _table(columns: dict[str, Any], *, convert_mjy: bool) -> QTable:
    """Build the table from values in the units of `COLUMNS`."""
    table = QTable()
    kinds: dict[str, Any] = {"str": np.str_, "int": np.int64, "float": np.float64}
    for column in COLUMNS:
        values = np.asarray(columns[column.name], dtype=kinds[column.dtype])
        unit = u.Unit(column.unit) if column.unit else None
        if column.unit.startswith("Jy") and convert_mjy:
            values, unit = 1e3 * values, u.Unit("m" + column.unit)
        table[column.name] = values if unit is None else u.Quantity(values, unit, copy=False)
        table[column.name].info.description = column.description
        table[column.name].info.meta = {"ucd": column.ucd}
        if column.format:
            table[column.name].info.format = column.format
    return table


def _sky_shape(
    measured: SourceTable, image: SkyImage, jacobian: FloatArray
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return sizes and angles on the sky with their errors, propagated by central differences.

    Squared deconvolved sizes (DECONV_2) are signed, so that their errors stay Gaussian near zero.
    """
    beam = image.beam.covariance

    def shapes(values: FloatArray) -> dict[str, FloatArray]:
        p = np.zeros((len(values), gaussians.N_PARAMETERS))
        p[:, gaussians.SIGMA_1 :] = values
        covariance = transform_covariance(gaussians.source_covariance(p), jacobian)
        major, minor, angle = ellipse_from_covariance(covariance)
        difference = covariance - beam
        _, _, deconvolved_angle = ellipse_from_covariance(difference)
        squares = FWHM_PER_SIGMA**2 * np.linalg.eigvalsh(difference)[:, ::-1]
        return {
            "FWHM": np.stack([major, minor], axis=-1),
            "GEOM": np.sqrt(major * minor)[:, None],
            "PA": (90.0 - np.degrees(angle))[:, None],
            "DECONV_2": squares,
            "DECONV_PA": (90.0 - np.degrees(deconvolved_angle))[:, None],
        }

    centre = measured.parameters[:, gaussians.SIGMA_1 :]
    step = 1e-4 * np.column_stack([centre[:, 0], centre[:, 1], np.ones(len(centre))])
    here = shapes(centre)
    derivative = {name: np.empty((*value.shape, 3)) for name, value in here.items()}
    for k in range(3):
        shift = np.zeros_like(centre)
        shift[:, k] = step[:, k]
        ahead, behind = shapes(centre + shift), shapes(centre - shift)
        for name in here:
            change = ahead[name] - behind[name]
            if name.endswith("PA"):
                change = np.mod(change + 90.0, 180.0) - 90.0
            derivative[name][..., k] = change / (2.0 * step[:, k, None])
    covariance = measured.covariance[:, gaussians.SIGMA_1 :, gaussians.SIGMA_1 :]
    variance = {name: np.einsum("nqk,nkl,nql->nq", d, covariance, d) for name, d in derivative.items()}
    return here, {name: np.sqrt(np.maximum(v, 0.0)) for name, v in variance.items()}


def _deconvolved(shape: dict[str, FloatArray], error: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the columns of deconvolved sizes from signed squares and their errors."""
    size = np.sqrt(np.maximum(shape["DECONV_2"], 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        size_error = np.where(size > 0.0, error["DECONV_2"] / (2.0 * size), np.nan)
    limit = np.sqrt(np.maximum(shape["DECONV_2"][:, 0], 0.0) + 3.0 * error["DECONV_2"][:, 0])
    return {
        "DECONV_FWHM_1": size[:, 0],
        "DECONV_FWHM_2": size[:, 1],
        "DECONV_PA": np.where(size[:, 0] > 0.0, np.mod(shape["DECONV_PA"][:, 0], 180.0), np.nan),
        "DECONV_FWHM_1_ERR": size_error[:, 0],
        "DECONV_FWHM_2_ERR": size_error[:, 1],
        "DECONV_ULIM": limit,
    }


def _equatorial_errors(covariance: FloatArray, jacobian: FloatArray, sky: SkyCoord) -> FloatArray:
    """Return errors in arcsec along RA and DEC, shape (2, n), from those along the map's own axes."""
    centre = covariance[:, gaussians.X : gaussians.Y + 1, gaussians.X : gaussians.Y + 1]
    north = sky.directional_offset_by(0.0 * u.deg, 1.0 * u.arcsec)
    angle = sky.icrs.position_angle(north.icrs).rad
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=-2)
    variance = np.diagonal(transform_covariance(centre, turn @ jacobian), axis1=1, axis2=2)
    return np.sqrt(variance).T
