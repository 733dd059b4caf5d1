"""The figures of completeness show what the result says."""

import numpy as np
import pytest

from helpers.injections import made_result
from hyper_py.reporting.completeness_figure import PANELS, plot_completeness
from hyper_py.reporting.completeness_page import write_page


@pytest.fixture(scope="module")
def result(random_seed):
    return made_result(random_seed)


def axes_of(result, panel):
    return plot_completeness(result, panels=(panel,)).axes


def test_curves_and_counts_are_those_of_the_result(result):
    axes = axes_of(result, "curves")[0]
    curve = result.curve("FLUX_PEAK")
    lines = [line.get_xydata() for line in axes.lines]
    assert any(len(line) == curve.x.size and np.allclose(line[:, 1], curve.curve) for line in lines)
    some = curve.injected > 0
    assert any(len(line) == some.sum() and np.allclose(line[:, 1], curve.shares[some]) for line in lines)
    assert "mJy/beam" in axes.get_xlabel()


def test_the_picture_of_the_limit_is_the_map_in_mjy_per_beam(result):
    axes = axes_of(result, "limit")[0]
    shown = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    expected = 1e3 * result.limit_map() * result.setup.image.beam_area_pix
    np.testing.assert_allclose(shown, expected)


def test_pulls_and_false_rows_are_shown(result):
    upper, lower = axes_of(result, "accuracy")
    assert "width of pulls" in lower.get_ylabel()
    assert len(upper.lines) >= 2
    texts = [text.get_text() for text in axes_of(result, "purity")[0].get_legend().get_texts()]
    assert any("expected false: 1 (" in text for text in texts)


def test_all_four_together(result):
    figure = plot_completeness(result)
    titles = [axes.get_title() for axes in figure.axes]
    assert len(PANELS) == 4
    for title in ("Completeness", "80% limit of beam-sized sources", "False rows"):
        assert title in titles


def test_the_page_has_the_limits_and_the_figures(result, tmp_path):
    page, picture = write_page(tmp_path, result, dpi=50)
    text = (tmp_path / page).read_text()
    assert text.count("data:image/svg+xml;base64,") == 4
    assert f"{result.curve('FLUX_PEAK').limit(0.8).value:.3g}" in text
    assert "1 of" in text
    assert (tmp_path / picture).stat().st_size > 5000
    again, _ = write_page(tmp_path / "again", result, dpi=50)
    assert (tmp_path / "again" / again).read_text() == text
