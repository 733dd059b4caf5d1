"""Side lobes are told by their lines through bright sources; sources, filaments and planes are none."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from helpers.maps import make_image
from hyper_py.cautions.catalogues import cautions
from hyper_py.cautions.side_lobes import lined_up

SIDE, FWHM = 400.0, 4.0


def field(rng, n=60, n_bright=5):
    """Faint sources anywhere, the first ones bright."""
    x, y = rng.uniform(20.0, SIDE - 20.0, (2, n))
    return x, y, np.concatenate([np.geomspace(300.0, 100.0, n_bright), rng.uniform(6.0, 15.0, n - n_bright)])


def with_lobes(rng, sources, *, n_sources=3, angles=(0.4, 0.4 + np.pi / 2), per_arm=3):
    """The sources, then lobes on both arms of each line through the brightest."""
    x, y, peak = sources
    for k in range(n_sources):
        for angle in angles:
            along = rng.uniform(3.0, 28.0, 2 * per_arm) * FWHM * np.repeat([-1.0, 1.0], per_arm)
            off = rng.normal(0.0, 0.15 * FWHM, 2 * per_arm)
            x = np.append(x, sources[0][k] + along * np.cos(angle) - off * np.sin(angle))
            y = np.append(y, sources[1][k] + along * np.sin(angle) + off * np.cos(angle))
            peak = np.append(peak, rng.uniform(5.0, 12.0, along.size))
    return x, y, peak


@pytest.mark.parametrize("seed", range(20))
def test_lobes_of_three_sources_are_found(seed):
    rng = np.random.default_rng(seed)
    table = with_lobes(rng, field(rng))
    rows, n_sources = lined_up(*table, fwhm=FWHM)
    assert n_sources >= 3
    assert np.count_nonzero(rows >= 60) > 0.6 * 36
    assert np.count_nonzero(rows < 60) < 20


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [0, 1, 30, 200, 800])
def test_sources_anywhere_are_no_lobes(n, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, SIDE, (2, n))
    for peak in (rng.uniform(5.0, 10.0, n), 5.0 * rng.pareto(1.0, n) + 5.0):
        assert lined_up(x, y, peak, fwhm=FWHM)[0].size == 0


@pytest.mark.parametrize("seed", range(10))
def test_sources_in_a_filament_a_narrow_plane_or_clusters_are_no_lobes(seed):
    rng = np.random.default_rng(seed)
    along, peak = rng.uniform(0.0, SIDE, 120), 5.0 * rng.pareto(1.0, 120) + 5.0
    for width in (0.3, 2.0, 6.0):
        across = width * FWHM * rng.standard_normal(120)
        x, y = 0.8 * along - 0.6 * across, 0.6 * along + 0.8 * across
        assert lined_up(x, y, peak, fwhm=FWHM)[0].size == 0
    x, y = (rng.uniform(50, 350, (2, 6))[:, :, None] + 25.0 * rng.standard_normal((2, 6, 20))).reshape(2, -1)
    assert lined_up(x, y, peak, fwhm=FWHM)[0].size == 0


def test_lobes_are_said():
    rng = np.random.default_rng(3)
    x, y, peak = with_lobes(rng, field(rng))
    peak[4] = np.nan
    numbers = np.arange(1, x.size + 1)
    table = QTable({"X": x * u.pix, "Y": y * u.pix, "FLUX_PEAK": peak * u.mJy, "HYPER_ID": numbers})
    image = make_image(rng.standard_normal((400, 400)), fwhm=FWHM)
    (said,) = cautions(table, image)
    assert " rows lie on lines through " in said
    assert cautions(table[:60], image) == ()
