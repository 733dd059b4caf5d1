"""The header of a table says what a reader needs: beam, pixel, rms."""

import numpy as np

import hyper_py
from hyper_py.writing.extraction_files import extraction_meta


def test_facts_of_the_header():
    sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    extraction = hyper_py.extract_sources(sky.image, detection={"sigma_thres": 6})
    meta = extraction_meta(extraction, name="other")
    assert meta["map"] == "other"
    assert meta["sigma_thres"] == 6.0
    assert meta["beam_major_arcsec"] == sky.image.beam.major
    rms = 1e3 * np.median(extraction.rms) * sky.image.beam.solid_angle / sky.image.pixel_scale**2
    assert np.isclose(meta["rms"], rms, rtol=1e-5)
    assert meta["rms_unit"] == "mJy/beam"
