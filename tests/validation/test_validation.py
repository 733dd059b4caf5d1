"""Validation against closed forms, Monte Carlo of known errors, and astropy's intervals."""

import json
import time

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table

from hyper_py import HyperPyError, validate
from hyper_py.catalog import COLUMNS
from hyper_py.validation.comparison import QUANTITIES

BEAM = 6.0


def make_truth(rng, n=400, size=1000.0):
    return Table(
        {
            "X": rng.uniform(0, size, n),
            "Y": rng.uniform(0, size, n),
            "FLUX": 10 ** rng.uniform(-2, 0, n) * u.Jy,
            "FLUX_PEAK": 10 ** rng.uniform(-2, 0, n) * u.Jy / u.beam,
            "FWHM_1": rng.uniform(8, 9, n) * u.arcsec,
            "FWHM_2": rng.uniform(6, 7, n) * u.arcsec,
            "PA": rng.uniform(0, 180, n) * u.deg,
            "SNR": 10 ** rng.uniform(0.5, 2, n),
        }
    )


def measure(truth, rng, **errors):
    """The truth with Gaussian errors of known size, which the error columns state."""
    catalog = truth.copy()
    for name, error in errors.items():
        sigma = np.broadcast_to(error, len(truth))
        catalog[name] = np.array(truth[name]) + rng.normal(0, sigma)
        catalog[name + "_ERR"] = sigma
        catalog[name].unit = catalog[name + "_ERR"].unit = truth[name].unit
    return catalog


def test_the_truth_itself_is_perfect():
    truth = make_truth(np.random.default_rng(1))
    v = validate(truth, truth, beam_fwhm=BEAM)
    assert v.completeness.value == v.purity.value == 1
    assert v.tolerance == BEAM / 2
    assert v.unit == "pix"
    for sample in v.samples.values():
        for s in sample.statistics:
            assert s.n == 0 or (s.bias == s.scatter == s.rms == 0), s
    assert v.samples["isolated"].completeness.whole + v.samples["blended"].completeness.whole == 400


@pytest.mark.parametrize("seed", range(3))
def test_known_errors_come_back(seed):
    rng = np.random.default_rng(seed)
    truth = make_truth(rng, n=4000, size=5000.0)
    catalog = measure(truth, rng, FLUX=0.08 * np.array(truth["FLUX"]), X=0.1, Y=0.3, FWHM_1=0.2, PA=4.0)
    catalog["FLUX_ERR"] *= 0.5  # as an overconfident finder
    catalog["FLUX_PEAK"] *= 1.1
    catalog["PA"] = catalog["PA"] % 180
    s = validate(catalog, truth, beam_fwhm=BEAM).samples["all"]
    n = s["flux"].n
    # 4 sigma of 1.4826 MAD, whose variance is 2.7 times that of the rms (efficiency 37%).
    rel = 4 * np.sqrt(2.7 / (2 * n))
    assert s["flux"].scatter == pytest.approx(0.08, rel=rel)
    assert s["flux"].pull_width == pytest.approx(2.0, rel=rel)
    assert s["flux"].pull_within == pytest.approx(0.383, abs=0.04)
    assert s["peak"].bias == pytest.approx(0.1, abs=1e-12)
    assert s["peak"].scatter == pytest.approx(0, abs=1e-12)
    assert np.isnan(s["peak"].pull_width)
    for name, sigma in (("x", 0.1), ("y", 0.3), ("position angle", 4.0)):
        assert s[name].scatter == pytest.approx(sigma, rel=rel)
        assert s[name].pull_width == pytest.approx(1, rel=rel)
        assert s[name].pull_within == pytest.approx(0.683, abs=0.03)
        assert abs(s[name].bias) < 6 * sigma / np.sqrt(n)
    assert s["separation"].rms == pytest.approx(np.hypot(0.1, 0.3), rel=rel)


def test_counts_by_hand():
    truth = Table({"X": [10.0, 50, 90, 93], "Y": [10.0, 50, 90, 90], "SNR": [4.0, 5.5, 7, 30]})
    catalog = Table({"X": [10.5, 70.0, 90.1], "Y": [10.0, 70, 90], "SNR": [4.5, 5.5, 9]})
    v = validate(catalog, truth, beam_fwhm=4.0)
    assert (v.completeness.part, v.completeness.whole, v.purity.part, v.purity.whole) == (2, 4, 2, 3)
    assert v.missed.tolist() == [1, 3]
    assert v.false.tolist() == [1]
    assert v.isolated.tolist() == [True, False]
    assert v.samples["isolated"].completeness.part == 1
    assert v.samples["blended"].completeness.whole == 2
    counts = {
        b.low: (b.completeness.part, b.completeness.whole, b.purity.part, b.purity.whole) for b in v.bins
    }
    assert counts == {4: (1, 1, 1, 1), 5: (0, 1, 0, 1), 6: (1, 1, 0, 0), 8: (0, 0, 1, 1), 30: (0, 1, 0, 0)}


def test_truth_in_the_margin_does_not_count():
    truth = Table({"X": [1.0, 50, 1], "Y": [50.0, 50, 90]})
    catalog = Table({"X": [1.0, 50, 30], "Y": [50.0, 50, 30]})
    v = validate(catalog, truth, beam_fwhm=4.0, counted=np.array(truth["X"]) > 5)
    assert (v.completeness.part, v.completeness.whole) == (1, 1)
    assert (v.purity.part, v.purity.whole) == (1, 2)
    assert v.samples["all"]["x"].n == 1


def test_columns_and_units_of_another_finder():
    truth = make_truth(np.random.default_rng(4))
    truth["RA"], truth["DEC"] = (truth["X"] - 500) / 3600 % 360, truth["Y"] / 3600 - 60
    other = QTable(
        {
            "ra_deg": np.array(truth["RA"]),
            "de_rad": np.radians(np.array(truth["DEC"])) * u.rad,
            "S": np.array(truth["FLUX"]) * 1e3 * u.mJy,
            "e_S": np.array(truth["FLUX"]) * 100,
            "Bmaj": (np.array(truth["FWHM_2"]) / 3600) * u.deg,  # exchanged, as some finders do
            "Bmin": (np.array(truth["FWHM_1"]) / 3600) * u.deg,
        }
    )
    columns = {"RA": "ra_deg", "DEC": "de_rad", "FLUX": "S", "FLUX_ERR": "e_S"}
    columns |= {"FWHM_1": "Bmaj", "FWHM_2": "Bmin"}
    v = validate(other, truth, beam_fwhm=BEAM, columns=columns)
    s = v.samples["all"]
    assert v.unit == "arcsec"
    assert v.completeness.value == 1
    for name in ("flux", "major axis", "minor axis", "size"):
        assert s[name].rms == pytest.approx(0, abs=1e-9), name
    assert s["right ascension"].rms < 1e-6
    # The error column has no unit of its own: it is the flux's, mJy.
    other["S"] *= 1.1
    s = validate(other, truth, beam_fwhm=BEAM, columns=columns).samples["all"]
    assert s["flux"].pull_median == pytest.approx(1.0)


def test_right_ascension_wraps_and_shrinks():
    truth = Table({"RA": [0.00001, 180.0], "DEC": [60.0, 60.0]})
    catalog = Table({"RA": [359.99999, 180.0], "DEC": [60.0, 60.0], "RA_ERR": [0.036, 0.036]})
    s = validate(catalog, truth, beam_fwhm=1.0).samples["all"]["right ascension"]
    assert s.rms == pytest.approx(0.036 / np.sqrt(2), rel=1e-6)
    assert s.n_pull == 2


def test_position_angles_wrap_and_need_elongation():
    truth = Table({"X": [0.0, 50, 90], "Y": [0.0, 0, 0], "PA": [179.0, 1, 90]})
    truth["FWHM_1"], truth["FWHM_2"] = [9.0, 9, 9], [6.0, 6, 8.9]
    catalog = truth.copy()
    catalog["PA"] = [1.0, -1.0, 0.0]
    s = validate(catalog, truth, beam_fwhm=5.0).samples["all"]["position angle"]
    assert (s.n, s.bias, s.rms) == (2, 0.0, 2.0)


def test_signal_to_noise_of_simulated_truth():
    truth = Table({"X": [0.0], "Y": [0.0], "PEAK_SNR": [7.0]})
    assert validate(truth["X", "Y"], truth, beam_fwhm=4.0).snr_true.tolist() == [7.0]


def test_peaks_over_rms_replace_the_snr_column():
    truth = Table({"X": [0.0, 50], "Y": [0.0, 50], "FLUX_PEAK": [0.1, 0.2] * u.Jy / u.beam})
    catalog = truth.copy()
    catalog["FLUX_PEAK"] = [100.0, 200] * u.mJy / u.beam
    catalog["SNR"] = [1.0, 1]
    v = validate(catalog, truth, beam_fwhm=4.0, rms=0.01)
    np.testing.assert_allclose(v.snr_true, [10, 20])
    np.testing.assert_allclose(v.snr_measured, [10, 20])
    assert validate(catalog, truth, beam_fwhm=4.0).snr_measured.tolist() == [1, 1]


def test_smallest_possible_errors_of_the_truth():
    rng = np.random.default_rng(6)
    truth = make_truth(rng, n=3000, size=4000.0)
    catalog = measure(truth["X", "Y", "FLUX"], rng, FLUX=0.1 * np.array(truth["FLUX"]))
    truth["FLUX_ERR"] = 0.05 * truth["FLUX"]
    limits = {"FLUX_GAUSS_ERR": truth["FLUX_ERR"].to("mJy"), "X_ERR": np.ones(3000)}
    apart = validate(catalog, truth["X", "Y", "FLUX"], beam_fwhm=BEAM, limits=limits).samples["all"]["flux"]
    s = validate(catalog, truth, beam_fwhm=BEAM).samples["all"]["flux"]
    assert s.excess == pytest.approx(apart.excess)
    assert s.excess == pytest.approx(2.0, rel=0.1)
    assert s.pull_width == pytest.approx(1.0, rel=0.1)
    table = validate(catalog, truth, beam_fwhm=BEAM).tables()[-3]
    assert (table.header[-1], table.rows[0][0]) == ("over limit", "flux")
    assert float(table.rows[0][-1]) == pytest.approx(s.excess, abs=0.01)
    del truth["FLUX_ERR"]
    assert "over limit" not in validate(catalog, truth, beam_fwhm=BEAM).tables()[-3].header


def test_a_negative_size_is_none_without_a_warning():
    truth = make_truth(np.random.default_rng(3))
    sizes = {"FWHM_1": np.full(len(truth), 9.0) * u.arcsec, "FWHM_2": np.full(len(truth), 4.0) * u.arcsec}
    true = QTable({"X": truth["X"], "Y": truth["Y"], **sizes})
    found = QTable(true, copy=True)
    found["FWHM_2"][:10] *= -1.0
    size = validate(found, true, beam_fwhm=BEAM).samples["all"]["size"]
    assert (size.n, size.bias) == (len(truth) - 10, 0.0)


def test_missing_values_are_left_out():
    truth = make_truth(np.random.default_rng(7), n=10)
    catalog = truth.copy()
    catalog["FLUX"] = MaskedColumn(truth["FLUX"], mask=[True] + [False] * 9, unit="Jy")
    catalog["FLUX_ERR"] = np.r_[0, -1, np.nan, np.ones(7)]
    catalog["X"][9] = np.nan
    v = validate(catalog, truth, beam_fwhm=BEAM)
    assert v.samples["all"]["flux"].n == 8
    assert v.samples["all"]["flux"].n_pull == 6
    assert v.false.tolist() == [9]


@pytest.mark.parametrize(("n_found", "n_true"), [(0, 0), (0, 5), (5, 0)])
def test_empty_tables(n_found, n_true):
    rng = np.random.default_rng(1)
    v = validate(make_truth(rng, n=n_found), make_truth(rng, n=n_true), beam_fwhm=BEAM)
    json.dumps(v.to_dict(), allow_nan=False)
    assert v.completeness.whole == n_true
    assert v.purity.whole == n_found
    assert all(len(row) == len(t.header) for t in v.tables() for row in t.rows)


def test_json_and_text_say_the_same():
    rng = np.random.default_rng(2)
    truth = make_truth(rng)
    catalog = measure(truth, rng, FLUX=0.01, X=0.2)
    v = validate(catalog[:300], truth, beam_fwhm=BEAM)
    numbers = json.loads(json.dumps(v.to_dict(), allow_nan=False))
    isolated = numbers["samples"]["isolated"]["statistics"]
    assert numbers["completeness"]["value"] == v.completeness.value
    assert isolated["flux"]["scatter"] == v.samples["isolated"]["flux"].scatter
    assert sum(b["completeness"]["whole"] for b in numbers["bins"]) == 400
    tables = v.tables()
    assert all(len(row) == len(t.header) for t in tables for row in t.rows)
    assert f"{100 * v.completeness.value:.1f}%" in tables[0].rows[0][1]


def test_quantities_are_columns_of_the_catalogue():
    names = {column.name for column in COLUMNS}
    assert {q.column for q in QUANTITIES} <= names
    assert {q.column + "_ERR" for q in QUANTITIES} <= names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": {"FLUXX": "a"}}, "did you mean 'FLUX'"),
        ({"columns": {"FLUX": "total"}}, "no column 'total'"),
        ({"columns": {"X": None}}, "share neither X and Y nor RA and DEC"),
        ({"coordinates": "sky"}, "columns RA and DEC are needed"),
        ({"coordinates": "galactic"}, "must be 'pixel' or 'sky'"),
        ({"beam_fwhm": 0.0}, "must be positive"),
        ({"tolerance": -1.0}, "must be positive"),
        ({"column_units": {"FLUX": "pc"}}, "not convertible"),
        ({"column_units": {"FLUX": "Jyy"}}, "unknown unit"),
        ({"counted": [True]}, "counted has shape"),
        ({"limits": {"FLUX_ERR": [1.0]}}, "limits has 1 rows for 5"),
    ],
)
def test_errors_say_what_and_where(change, words):
    truth = make_truth(np.random.default_rng(3), n=5)
    with pytest.raises(HyperPyError, match=words):
        validate(truth, truth, **{"beam_fwhm": BEAM, **change})


def test_positions_in_any_form_are_the_same():
    sky = SkyCoord(np.linspace(10.0, 11.0, 30), np.linspace(-5.0, -4.0, 30), unit="deg")
    hours = sky.ra.to_string(u.hour, sep=":", precision=8)
    degrees = sky.dec.to_string(u.deg, sep=":", precision=8)
    forms = {
        "numbers": {"ra": sky.ra.deg, "Dec": sky.dec.deg},
        "texts of numbers": {"RA": sky.ra.deg.astype(str), "DEC": sky.dec.deg.astype(str)},
        "sexagesimal": {"RA": hours, "DEC": degrees},
        "masked sexagesimal": {"RA": MaskedColumn(hours), "DEC": MaskedColumn(degrees)},
        "hours": {"RA": sky.ra.hour * u.Unit("h"), "DEC": sky.dec.deg},
        "radians": {"RA": sky.ra.rad * u.rad, "DEC": sky.dec.rad * u.rad},
        "coordinates": {"place": sky.galactic},
    }
    for name, columns in forms.items():
        result = validate(QTable(columns), Table({"RA": sky.ra.deg, "DEC": sky.dec.deg}), beam_fwhm=10.0)
        assert result.completeness.part == 30, name
        assert result.samples["all"]["separation"].bias < 1e-6, name


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["1", "2", "x"], r"catalogue: column FLUX has values that are not numbers \(row 3\)"),
        ([1.0, 2.0, 3.0] * u.ABmag, r"catalogue: column FLUX is in 'mag\(AB\)', which is logarithmic"),
        ([1.0, 2.0, 3.0] * u.arcsec, "which is not convertible to 'Jy'"),
    ],
)
def test_fluxes_that_are_none_are_refused(column, message):
    places = {"X": [1.0, 20.0, 40.0], "Y": [1.0, 2.0, 3.0]}
    with pytest.raises(HyperPyError, match=message):
        validate(
            Table(places | {"FLUX": column}), Table(places | {"FLUX": [1.0, 2, 3] * u.Jy}), beam_fwhm=6.0
        )


def test_truth_without_position_is_refused():
    truth = Table({"X": [1.0, np.nan], "Y": [1.0, 2]})
    with pytest.raises(HyperPyError, match="finite position"):
        validate(truth[:1], truth, beam_fwhm=BEAM)


def test_twenty_thousand_sources_are_fast():
    rng = np.random.default_rng(9)
    truth = make_truth(rng, n=20000, size=3000.0)
    catalog = measure(truth, rng, X=1.0, Y=1.0)
    start = time.process_time()
    validate(catalog[:18000], truth, beam_fwhm=BEAM)
    assert time.process_time() - start < 5
