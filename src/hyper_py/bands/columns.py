"""The columns of the catalogues of several bands: each is described once."""

from collections.abc import Iterator

from hyper_py.catalog import Column

SOURCE_COLUMNS: tuple[Column, ...] = (
    Column("MAP_ID", "", "str", "meta.id;meta.dataset", "", "Name of the field"),
    Column("HYPER_ID", "", "int", "meta.id;meta.main", "d", "Source identifier, from 1 in each field"),
    Column("RA", "deg", "float", "pos.eq.ra;meta.main", "", "Right ascension (ICRS), in the astrometry of the sharpest band"),
    Column("DEC", "deg", "float", "pos.eq.dec;meta.main", "", "Declination (ICRS), in the astrometry of the sharpest band"),
    Column("GLON", "deg", "float", "pos.galactic.lon", "", "Galactic longitude"),
    Column("GLAT", "deg", "float", "pos.galactic.lat", "", "Galactic latitude"),
    Column("RA_ERR", "arcsec", "float", "stat.error;pos.eq.ra", ".4g", "1-sigma error of RA times cos(DEC)"),
    Column("DEC_ERR", "arcsec", "float", "stat.error;pos.eq.dec", ".4g", "1-sigma error of DEC"),
    Column("RA_DEC_CORR", "", "float", "stat.correlation", ".3f", "Correlation of the errors of RA and DEC"),
    Column("DECONV_FWHM_1", "arcsec", "float", "phys.angSize.smajAxis", ".4g", "Intrinsic FWHM of the major axis, before any beam; 0 if unresolved"),
    Column("DECONV_FWHM_2", "arcsec", "float", "phys.angSize.sminAxis", ".4g", "Intrinsic FWHM of the minor axis, before any beam; 0 if unresolved"),
    Column("DECONV_PA", "deg", "float", "pos.posAng", ".2f", "Position angle of the intrinsic major axis, east of north (ICRS), in [0, 180)"),
    Column("DECONV_FWHM_1_ERR", "arcsec", "float", "stat.error;phys.angSize.smajAxis", ".4g", "1-sigma error of DECONV_FWHM_1; NaN if unresolved"),
    Column("DECONV_FWHM_2_ERR", "arcsec", "float", "stat.error;phys.angSize.sminAxis", ".4g", "1-sigma error of DECONV_FWHM_2; NaN if unresolved"),
    Column("DECONV_ULIM", "arcsec", "float", "phys.angSize;stat.max", ".4g", "3-sigma upper limit on the intrinsic major axis"),
    Column("SNR", "", "float", "stat.snr", ".2f", "Significance with which the list found the source; NaN if it was given"),
    Column("DETECTED_IN", "", "int", "meta.code.qual", "d", "Bands in which the flux is at least 3 errors: bit 0 is the first band"),
    Column("COVERED_IN", "", "int", "meta.code", "d", "Bands whose map covers the source: bit 0 is the first band"),
    Column("DEBLEND", "", "int", "meta.code", "d", "1 if fitted together with neighbours"),
    Column("CLUSTER", "", "int", "meta.number", "d", "Number of sources in the group"),
    Column("NEIGHBOUR", "", "int", "meta.id.cross", "d", "HYPER_ID of the source whose fluxes are correlated most with these; 0 for none"),
    Column("FLAGS", "", "int", "meta.code.qual", "d", "Bit field; see the table of flags"),
)  # fmt: skip

BAND_COLUMNS: tuple[Column, ...] = (
    Column("FLUX", "Jy", "float", "phot.flux.density", ".6g", "Flux density of the fitted source, negative values kept"),
    Column("FLUX_ERR", "Jy", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX: noise, background, position, shape and neighbours, found or not; not calibration"),
    Column("FLUX_ULIM", "Jy", "float", "phot.flux.density;stat.max", ".4g", "3-sigma upper limit on the flux: max(FLUX, 0) + 3 FLUX_ERR"),
    Column("FLUX_SNR", "", "float", "stat.snr;phot.flux.density", ".2f", "FLUX over FLUX_ERR"),
    Column("DETECTED", "", "int", "meta.code.qual", "d", "1 if FLUX is at least 3 FLUX_ERR"),
    Column("FLUX_PEAK", "Jy / beam", "float", "phot.flux.density;stat.max", ".6g", "Peak of the source as the band shows it"),
    Column("FLUX_PEAK_ERR", "Jy / beam", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX_PEAK"),
    Column("FWHM_1", "arcsec", "float", "phys.angSize.smajAxis", ".6g", "FWHM of the major axis as the band shows it"),
    Column("FWHM_2", "arcsec", "float", "phys.angSize.sminAxis", ".6g", "FWHM of the minor axis as the band shows it"),
    Column("PA", "deg", "float", "pos.posAng", ".2f", "Position angle of the major axis as the band shows it, east of north (ICRS), in [0, 180)"),
    Column("RESIDUALS", "Jy", "float", "phot.flux.density;instr.background", ".4g", "Background level under the source, per pixel"),
    Column("CORRELATION", "", "float", "stat.correlation", ".3f", "Correlation of FLUX with that of the neighbour with which it is correlated most"),
    Column("SHAPE_MISFIT", "", "float", "stat.value", ".2f", "Score test of another size in this band alone, in sigma; positive: larger here"),
)  # fmt: skip
CALIBRATION_COLUMN = Column("FLUX_CAL_ERR", "Jy", "float", "stat.error.sys;phot.flux.density", ".4g", "Calibration uncertainty of FLUX, which all sources of the band share; part of no other error")  # fmt: skip
FREE_SHAPE_COLUMNS: tuple[Column, ...] = (
    Column("BAND_DECONV_FWHM_1", "arcsec", "float", "phys.angSize.smajAxis", ".4g", "Intrinsic FWHM of the major axis in this band alone"),
    Column("BAND_DECONV_FWHM_2", "arcsec", "float", "phys.angSize.sminAxis", ".4g", "Intrinsic FWHM of the minor axis in this band alone"),
    Column("BAND_DECONV_PA", "deg", "float", "pos.posAng", ".2f", "Position angle of the intrinsic major axis in this band alone"),
)  # fmt: skip
APERTURE_COLUMNS: tuple[Column, ...] = (
    Column("FLUX_APER", "Jy", "float", "phot.flux.density", ".6g", "Flux density in the common aperture, background and companions removed, divided by APER_FRAC"),
    Column("FLUX_APER_ERR", "Jy", "float", "stat.error;phot.flux.density", ".4g", "1-sigma error of FLUX_APER"),
    Column("APER_FRAC", "", "float", "arith.factor", ".4f", "Fraction of the source's flux inside the common aperture"),
)  # fmt: skip
APERTURE_SHAPE_COLUMNS: tuple[Column, ...] = (
    Column("APER_FWHM_1", "arcsec", "float", "phys.angSize.smajAxis", ".6g", "FWHM on which the common aperture is based, major axis"),
    Column("APER_FWHM_2", "arcsec", "float", "phys.angSize.sminAxis", ".6g", "FWHM on which the common aperture is based, minor axis"),
    Column("APER_PA", "deg", "float", "pos.posAng", ".2f", "Position angle of the common aperture, east of north (ICRS)"),
)  # fmt: skip
INDEX_COLUMNS: tuple[Column, ...] = (
    Column("ALPHA", "", "float", "spect.index;phot.flux.density", ".3f", "Spectral index, FLUX ~ frequency^ALPHA, to the next longer wavelength; NaN if a flux is not positive"),
    Column("ALPHA_ERR", "", "float", "stat.error;spect.index", ".3f", "1-sigma error of ALPHA, calibration not included"),
)  # fmt: skip
GREY_BODY_COLUMNS: tuple[Column, ...] = (
    Column("TEMPERATURE", "K", "float", "phys.temperature", ".4g", "Temperature of the grey body fitted to the fluxes, no colour correction made"),
    Column("TEMPERATURE_ERR", "K", "float", "stat.error;phys.temperature", ".4g", "1-sigma error of TEMPERATURE, calibration included where it is given"),
    Column("BETA", "", "float", "phys.emissivity", ".3f", "Emissivity index of that grey body"),
    Column("BETA_ERR", "", "float", "stat.error;phys.emissivity", ".3f", "1-sigma error of BETA; 0 where it was given"),
    Column("GREY_CHI2", "", "float", "stat.fit.chi2", ".4g", "Chi-square of that fit"),
    Column("GREY_N", "", "int", "meta.number", "d", "Fluxes in that fit"),
)  # fmt: skip
ID_COLUMN = Column("ID", "", "str", "meta.id", "", "Identifier in the list of given sources")
LONG_COLUMNS: tuple[Column, ...] = (
    Column("BAND", "", "str", "meta.id;instr.bandpass", "", "Name of the band"),
    Column("WAVELENGTH", "um", "float", "em.wl.central", ".6g", "Wavelength of the band"),
)  # fmt: skip

_UCD_BANDS = (
    (8.0, "em.IR.4-8um"), (15.0, "em.IR.8-15um"), (30.0, "em.IR.15-30um"), (60.0, "em.IR.30-60um"),
    (100.0, "em.IR.60-100um"), (200.0, "em.mm.1500-3000GHz"), (400.0, "em.mm.750-1500GHz"),
    (750.0, "em.mm.400-750GHz"), (1000.0, "em.mm.300-400GHz"), (1500.0, "em.mm.200-300GHz"),
    (3000.0, "em.mm.100-200GHz"), (6000.0, "em.mm.50-100GHz"), (10000.0, "em.mm.30-50GHz"),
)  # fmt: skip
"""Longest wavelength in micron of each band of the UCD1+ vocabulary."""


def described_columns() -> Iterator[tuple[str, Column]]:
    """Yield every column with the name that it has in the wide table, for the documentation."""
    for column in (*SOURCE_COLUMNS, *APERTURE_SHAPE_COLUMNS, *GREY_BODY_COLUMNS):
        yield column.name, column
    for column in (*BAND_COLUMNS, CALIBRATION_COLUMN, *APERTURE_COLUMNS, *FREE_SHAPE_COLUMNS):
        yield f"{column.name}_BAND", column
    yield ID_COLUMN.name, ID_COLUMN
    for column in INDEX_COLUMNS:
        yield f"{column.name}_BAND1_BAND2", column


def column_of_band(column: Column, *, end: str, where: str, wavelength: float) -> Column:
    """Return a column of one band of the wide table."""
    name = next((name for longest, name in _UCD_BANDS if wavelength <= longest), "em.radio")
    ucd = f"{column.ucd};{name}" if "phot.flux.density" in column.ucd else column.ucd
    return column._replace(name=column.name + end, description=column.description + where, ucd=ucd)


def column_of_pair(column: Column, *, end: str, where: str) -> Column:
    """Return a column of two bands of the wide table."""
    text = column.description.replace(", to the next longer wavelength", where)
    return column._replace(
        name=column.name + end, description=text if text != column.description else text + where
    )
