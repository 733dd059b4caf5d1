"""FITS tables describe their columns and the run."""

from helpers.runner_tasks import make_catalogue
from helpers.tables import write_one
from hyper_py.catalog import COLUMNS
from hyper_py.writing.binary_tables import write_fits


def test_fits_header_describes_columns_and_run(tmp_path):
    from astropy.io import fits

    path = tmp_path / "t.fits"
    write_one(write_fits, path, make_catalogue(3))
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
    names = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
    for column in COLUMNS:
        assert header[f"TCOMM{names[column.name]}"] == column.description
        assert header[f"TUCD{names[column.name]}"] == column.ucd
    assert header["rms"] == 1.25e-3
    assert header["beam"] == "12.0 x 11.0 arcsec"
