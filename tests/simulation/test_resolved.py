"""Sources wider than the beam: profiles, fluxes in all and in apertures, places."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter

from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.resolved import PROFILES, draw_resolved, profile_flux, profile_values
from hyper_py.simulation.simulate import simulate_image

FIELD = {"shape": (420, 440), "n_sources": 16}
BEAM = 1.4**2 * np.eye(2)


@pytest.mark.parametrize("profile", PROFILES[1:])
def test_the_flux_of_a_profile_is_its_integral_and_its_fwhm_is_one(profile: str) -> None:
    def ring(r: float) -> float:
        return 2 * math.pi * r * float(profile_values(profile, np.array(r)))

    end = {"disc": 5.0, "core": 4.0, "ring": 1.0, "planet": 0.5}[profile]
    integral = quad(ring, 0, 0.5)[0] + quad(ring, 0.5, end)[0]
    assert profile_flux(profile) == pytest.approx(integral, rel=1e-6)
    middle, half = profile_values(profile, np.array([0.0, 0.5]))
    assert half == pytest.approx(0.5 if profile != "planet" else 1.0)
    assert middle == (1.0 if profile != "ring" else pytest.approx(0.02, abs=0.02))


@pytest.mark.parametrize("profile", PROFILES[1:])
def test_a_drawn_source_is_its_profile_seen_through_the_beam(profile: str) -> None:
    fwhm = 12.0
    seen = math.hypot(fwhm, 2.3548 * 1.4)
    one = draw_resolved(profile, x=40.3, y=51.8, shape=(seen, seen, 0.4), beam_covariance=BEAM)
    # The same on a grid five times finer, its pixels and beam by another way.
    n, fine = one.values.shape[0], 50 if profile == "planet" else 5
    at = (np.arange(n * fine) + 0.5) / fine - 0.5
    y, x = np.meshgrid(at + one.corner[0] - 51.8, at + one.corner[1] - 40.3, indexing="ij")
    sky = gaussian_filter(profile_values(profile, np.hypot(y, x) / fwhm), 1.4 * fine, mode="constant")
    pixels = sky.reshape(n, fine, n, fine).mean(axis=(1, 3))
    np.testing.assert_allclose(one.values, pixels / pixels.max(), atol=4e-3)
    assert one.flux == pytest.approx(pixels.sum() / pixels.max(), rel=5e-3)
    within = np.where(np.hypot(y, x) <= seen, sky, 0.0).sum() / sky.sum()
    assert one.in_aperture / one.flux == pytest.approx(within, rel=2e-3)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_truth_has_the_flux_of_the_map(profile: str) -> None:
    s = simulate_image("resolved", seed=3, **FIELD, resolved={"profiles": (profile,), "size": (1.5, 3.0)})
    assert set(s.truth["PROFILE"]) <= {"gaussian", profile}
    # Wings of discs and cores end beyond the border of this small map.
    assert s.sources.sum() == pytest.approx(s.truth["FLUX"].sum().value, rel=0.02)
    assert np.all(s.truth["FLUX_APER"] < s.truth["FLUX"])
    wide = s.truth[(s.truth["PROFILE"] == profile) & (s.truth["FWHM_2"].value > 1.5 * 0.043)]
    assert len(wide) >= 2
    for row in wide:
        y, x = round(row["Y"].value), round(row["X"].value)
        reach = math.ceil(row["FWHM_1"].value / 0.013)
        near = s.sources[y - reach : y + reach + 1, x - reach : x + reach + 1]
        assert near.max() == pytest.approx(row["AMPLITUDE"].value, rel=0.04)


def test_sizes_axis_ratios_and_distances_are_as_asked_for() -> None:
    s = simulate_image("resolved", seed=4)
    beams = s.truth["FWHM_1"].value / math.sqrt(0.04808 * 0.03849)
    wide = beams > 1.85
    assert 0.6 < np.mean(wide) < 0.8
    assert beams.max() < 6.1
    ratio = (s.truth["FWHM_1"] / s.truth["FWHM_2"]).value[wide]
    assert 1.0 <= ratio.min() < 1.2
    assert 2.0 < ratio.max() < 3.0
    x, y, major = s.truth["X"].value, s.truth["Y"].value, s.truth["FWHM_1"].value / 0.013
    apart = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(apart, np.inf)
    assert np.all(apart >= 0.97 * (major[:, None] + major))


def test_half_of_the_clumps_are_wider_than_two_beams() -> None:
    s = simulate_image("clumps", seed=5, shape=(600, 600), n_sources=60)
    beams = s.truth["FWHM_1"].value / math.sqrt(18.4 * 17.4)
    assert np.count_nonzero(beams > 1.99) == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resolved": {"size": (3.0, 2.0)}}, "resolved.size"),
        ({"resolved": {"profiles": ("sersic",)}}, "resolved.profiles"),
        ({"resolved": {"share": 1.5}}, "resolved.share"),
        ({"interferometer": {"image": "clean"}}, "interferometer"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        simulate_image("resolved", seed=1, **options)
