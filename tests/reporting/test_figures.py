import warnings

import numpy as np
import pytest

from helpers.report_tasks import small_extraction, small_image, write_map
from helpers.runner_tasks import make_config
from hyper_py.reporting.figures import plot_background, plot_deblended, plot_group, plot_map
from hyper_py.reporting.fits_products import group_cutouts
from hyper_py.running import runner


@pytest.fixture(scope="module")
def extraction():
    return small_extraction(n_sources=20)


@pytest.fixture(autouse=True)
def quiet_fonts():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        yield


def labels(figure):
    return [axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]


def test_the_map_shows_every_source_in_its_unit(extraction):
    figure = plot_map(extraction)
    figure.canvas.draw()
    assert "mJy/beam" in labels(figure)
    (ellipses,) = figure.axes[0].collections
    np.testing.assert_allclose(ellipses.get_offsets(), extraction.sources[:, 1:3])
    shown = figure.axes[0].images[0].get_array()
    expected = extraction.image.data * 1e3 * extraction.image.beam_area_pix
    np.testing.assert_allclose(np.asarray(shown), expected)


def test_panels_of_a_fit_have_one_scale(extraction):
    cutout = next(cutout for cutout in group_cutouts(extraction) if len(cutout.members) > 1)
    kinds = (
        (plot_group(extraction, cutout), ["data", "background", "model", "residual"]),
        (plot_background(extraction, cutout), ["data", "others masked", "background"]),
        (plot_deblended(extraction, cutout, int(cutout.members[0])), ["data", "deblended"]),
    )
    for figure, titles in kinds:
        figure.canvas.draw()
        flat = [axes for axes in figure.axes if axes.images]
        assert [axes.get_title() for axes in flat] == titles
        assert len({axes.images[0].get_clim() for axes in flat}) == 1
        assert "mJy/beam" in labels(figure)
        assert not any(axes.name == "3d" for axes in figure.axes)


def test_surfaces_are_drawn_when_asked_for(extraction):
    cutout = next(group_cutouts(extraction))
    figure = plot_group(extraction, cutout, surfaces=True)
    figure.canvas.draw()
    assert (
        sum(axes.name == "3d" for axes in figure.axes) == sum(bool(axes.images) for axes in figure.axes) == 4
    )


def test_figures_are_written_on_request(tmp_path):
    path = write_map(tmp_path / "m.fits", small_image(n_sources=4))
    result = runner.run(
        make_config(
            tmp_path / "out", visualization={"visualize_fitting": True}, outputs={"tables": ["ecsv"]}
        ),
        [path],
    )
    assert result.exit_code == 0
    names = sorted(file.name for file in (tmp_path / "out/plots/fitting").iterdir())
    assert {"m_map.png", "m_map.pdf", "m_group_0001.png"} <= set(names)
