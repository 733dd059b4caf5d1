"""Figures for notebooks: what they show, and that a notebook shows them."""

import dataclasses

import numpy as np
import pytest

import hyper_py
from hyper_py.reporting.notebook_figures import NotebookFigure, draw_map, draw_source

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def extraction():
    sky = hyper_py.simulate_image("crowded", seed=2, shape=(90, 100), n_sources=6, peak_range=(20, 40))
    return hyper_py.extract_sources(sky.image)


@pytest.mark.parametrize("name", ["data", "residual", "background", "rms"])
def test_a_plane_on_the_scale_of_the_data(extraction, name):
    figure = draw_map(extraction, name, sources=True)
    image = figure.axes[0].images[0]
    per_beam = 1e3 * extraction.image.beam_area_pix
    np.testing.assert_allclose(image.get_array(), extraction.plane(name) * per_beam)
    if name != "rms":
        low, high = np.percentile(extraction.image.data * per_beam, [0.5, 99.7])
        assert image.get_clim() == (pytest.approx(low), pytest.approx(high))
    assert len(figure.axes[0].collections[0].get_offsets()) == len(extraction.catalog)


def test_a_map_alone_in_the_unit_of_its_file(extraction):
    image = extraction.image
    per_beam = dataclasses.replace(image, unit="mJy/beam", jy_per_pixel=1e-3 / image.beam_area_pix)
    figure = per_beam.plot()
    (shown,) = figure.axes[0].images
    np.testing.assert_allclose(shown.get_array(), 1e3 * image.beam_area_pix * image.data)
    assert figure.axes[1].get_ylabel() == "mJy/beam"
    assert figure._repr_png_().startswith(PNG)


def test_axes_of_the_users_own(extraction):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot(projection=extraction.image.wcs)
    assert extraction.plot(sources=False, ax=axes) is figure
    assert len(axes.images) == 1
    assert not axes.collections


def test_a_notebook_shows_it(extraction):
    figure = extraction.plot()
    assert isinstance(figure, NotebookFigure)
    assert figure._repr_png_().startswith(PNG)


def test_a_source_and_its_profile(extraction):
    number = int(extraction.catalog["HYPER_ID"][0])
    figure = draw_source(extraction, number)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["data", "model"]
    data, model, residual = (axes.images[0] for axes in figure.axes[:3])
    assert residual.get_clim()[0] == pytest.approx(-residual.get_clim()[1])
    # In units of the noise: the residual scatters about as much as that does.
    assert 0.4 < np.std(residual.get_array()) < 2.5
    assert model.get_array().max() > 0.5 * data.get_array().max()
    profile = next(axes for axes in figure.axes if axes.get_xlabel() == "radius (arcsec)")
    measured, fitted = (line.get_ydata() for line in profile.lines[:2])
    assert abs(measured[0] / fitted[0] - 1.0) < 0.3
    assert figure._repr_png_().startswith(PNG)


def test_another_number_is_refused(extraction):
    with pytest.raises(
        hyper_py.HyperPyError, match=r"plot_source: no source with HYPER_ID 99: the catalogue has 1 to"
    ):
        extraction.plot_source(99)


def test_without_fits_only_peaks_are_drawn(extraction):
    found = hyper_py.extract_sources(extraction.image, detection_only=True)
    assert len(found.plot().axes[0].lines[0].get_xdata()) == len(found.catalog)
    with pytest.raises(hyper_py.HyperPyError, match="nothing was fitted"):
        found.plot_source(1)
