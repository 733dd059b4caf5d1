"""The catalogue: one table of columns, and everything derived from it."""

from typing import NamedTuple


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
    Column("FLUX", "Jy", "float", "phot.flux.density;meta.main", ".6g", "Aperture flux density, background and companions removed"),
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
    Column("FLUX_GAUSS", "Jy", "float", "phot.flux.density", ".6g", "Flux density of the fitted Gaussian"),
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
)  # fmt: skip
