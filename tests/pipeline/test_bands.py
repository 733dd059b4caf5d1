"""Several maps of one field."""

import numpy as np
import pytest

from helpers.fields_of_options import small_map
from hyper_py.bands.aperture import CommonApertures
from hyper_py.bands.images import BandImage
from hyper_py.bands.offsets import BandOffsets
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.sources import JointSources
from hyper_py.diagnostics import InputError
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand


def extraction_without_sources():
    image = small_map()
    model = beam_covariance_model(np.eye(2), rms=1.0, max_lag=5)
    noise = NoiseStatistics(covariance=model, step=1, beam=model, beam_fwhm=2.4, use="")
    one = MeasuredBand(
        band=BandImage(name="s250", image=image, wavelength=250.0), noise=noise,
        parameters=np.array([[2.0, 30.0, 20.0, 3.0, 2.0, 0.4]]), shape=np.array([[5.0, 0.0, 5.0]]),
        pattern=np.full(image.shape, 0.5),
    )  # fmt: skip
    plane = TangentPlane(ra=0.0, dec=0.0)
    return BandsExtraction(
        measured=(one,), options=Options(), sources=JointSources.empty(plane, 1),
        offsets=BandOffsets.none(1, reference=0),
        apertures=CommonApertures(
            band="s250", ellipse=np.zeros((0, 3)), radius_in_fwhm=1.0, fraction=np.zeros((0, 1)),
            flux=np.zeros((0, 1)), flux_err=np.zeros((0, 1)),
        ),
    )  # fmt: skip


def test_model_and_residual_add_up_to_the_map():
    extraction = extraction_without_sources()
    image = extraction.bands[0].image
    expected = gaussians.render(extraction.measured[0].parameters, image.shape) + 0.5
    np.testing.assert_array_equal(extraction.model_image("s250"), expected)
    np.testing.assert_allclose(extraction.residual_image("s250") + expected, image.data)
    assert np.isnan(extraction.background_image("s250")).all()


def test_an_unknown_band_is_named_with_those_there_are():
    with pytest.raises(InputError, match=r"^s251: no band of this name; there are s250$"):
        extraction_without_sources().model_image("s251")


def test_offsets_that_were_not_measured_have_no_error():
    offsets = BandOffsets.none(3, reference=1)
    assert not offsets.values.any()
    assert np.isnan(offsets.errors).any(axis=1).tolist() == [True, False, True]
