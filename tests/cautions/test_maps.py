"""What is said of rows of pixels that were kept."""

import numpy as np

from helpers.maps import make_image
from hyper_py.cautions.maps import map_cautions
from hyper_py.noise.level import NoiseLevel


def test_bad_columns_that_were_kept_are_said_with_the_remedy():
    data = np.random.default_rng(1).standard_normal((60, 80))
    data[:, 31] += 20.0
    (line,) = map_cautions(make_image(data, fwhm=3.0), NoiseLevel(mean=0.0, rms=1.0))
    assert line.startswith("1 column of pixels (x = 31) differs")
    assert "detection.defects" in line
    assert "io.mask" in line
