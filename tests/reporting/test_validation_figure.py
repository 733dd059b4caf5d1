"""The validation figure shows the numbers of the validation, and stands tables with little in them."""

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure

from hyper_py import validate
from hyper_py.reporting.validation_figure import plot_validation


def make_validation(names, n=200):
    rng = np.random.default_rng(11)
    truth = Table({name: rng.uniform(0, 300, n) for name in ("X", "Y")})
    for name in ("SNR", "FLUX"):
        truth[name] = 10 ** rng.uniform(0, 2, n)
    catalog = truth.copy()
    catalog["X"] += rng.normal(0, 0.1, n)
    catalog["FLUX_ERR"] = 0.1 * truth["FLUX"]
    catalog["FLUX"] *= rng.normal(1, 0.1, n)
    names = [name for name in names if name in catalog.colnames]
    return validate(catalog[names], truth[[name for name in names if name in truth.colnames]], beam_fwhm=4.0)


def texts(figure):
    artists = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(artist.get_text() for artist in artists)


def test_four_panels_with_the_numbers(tmp_path):
    v = make_validation(("X", "Y", "SNR", "FLUX", "FLUX_ERR"))
    figure = plot_validation(v, title="a map")
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    figure.savefig(tmp_path / "v.png")
    words = texts(figure)
    flux = v.samples["all"]["flux"]
    for expected in (
        "a map",
        f"completeness {100 * v.completeness.value:.1f}%",
        f"flux: width {flux.pull_width:.2f}",
        f"scatter {100 * v.samples['isolated']['flux'].scatter:.1f}%",
        f"rms distance {v.samples['all']['separation'].rms:.3g} pix",
    ):
        assert expected in words
    bins = figure.axes[0].containers[0].lines[0]
    assert len(bins.get_xdata()) == sum(b.completeness.whole > 0 for b in v.bins)
    assert np.isfinite(bins.get_xdata()).all()


@pytest.mark.parametrize("names", [("X", "Y"), ("X", "Y", "SNR"), ("X", "Y", "FLUX")])
def test_what_is_missing_is_said(names, tmp_path):
    figure = plot_validation(make_validation(names))
    figure.savefig(tmp_path / "v.png")
    words = texts(figure)
    assert "no errors in the catalogue" in words
    assert ("no flux in both tables" in words) == ("FLUX" not in names)
    assert ("signal to noise not known" in words) == ("SNR" not in names)


def test_nothing_matched(tmp_path):
    truth = Table({"X": [0.0], "Y": [0.0], "FLUX": [1.0], "FLUX_ERR": [1.0], "SNR": [5.0]})
    v = validate(truth[:0], truth, beam_fwhm=4.0)
    plot_validation(v).savefig(tmp_path / "v.png")


def test_many_matches_are_summed_up_by_their_quantiles(tmp_path):
    v = make_validation(("X", "Y", "SNR", "FLUX", "FLUX_ERR"), n=3000)
    figure = plot_validation(v)
    figure.savefig(tmp_path / "v.svg")
    # Points of thousands of sources are pixels of the drawing, not thousands of elements.
    assert (tmp_path / "v.svg").stat().st_size < 1_000_000
    flux = figure.axes[1]
    lines = {line.get_label(): line for line in flux.lines}
    median = lines["median and central 68%"].get_ydata()
    np.testing.assert_allclose(median, 1.0, atol=0.03)
    low, high = (line.get_ydata() for line in flux.lines if line.get_linestyle() == ":")
    np.testing.assert_allclose(high - low, 0.2, atol=0.05)
    words = texts(figure)
    distance = np.hypot(v.comparison("x").values, v.comparison("y").values)
    assert f"68% within {np.percentile(distance, 68):.3g} pix" in words
    assert "median and central 68%" not in texts(
        plot_validation(make_validation(("X", "Y", "SNR", "FLUX"), n=100))
    )
