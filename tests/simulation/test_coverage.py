"""Coverage of scanned maps: hits, noise, ragged edges, holes."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.coverage import Coverage, expected_hits, relative_noise
from hyper_py.simulation.presets import sky_model
from hyper_py.simulation.recipe import Recipe
from hyper_py.simulation.simulate import simulate_image

SHAPE, BEAM = (300, 340), 3.0
SMALL = {"shape": SHAPE, "n_sources": 20}


def test_hits_without_ragged_ends_are_the_part_of_the_array_that_sees_the_scanned_field() -> None:
    coverage = Coverage(raggedness=0.0, footprint=24.0)
    hits = expected_hits(np.random.default_rng(1), SHAPE, beam=BEAM, coverage=coverage)
    radius = 36.0
    # Referee: the area of a disc beyond a chord at distance d from its centre.
    for d in (-30, -18, 0, 12, 24):
        column = round(36 + d)  # the scans begin 36 pixels from the border
        h = d / radius
        seen = 0.5 + (h * np.sqrt(1 - h**2) + np.arcsin(h)) / np.pi
        assert hits[150, column] == pytest.approx(seen, abs=0.03)
        assert hits[150, 339 - column] == pytest.approx(seen, abs=0.03)
    assert hits[0, 0] < 1e-12
    assert hits[100:200, 100:240].min() > 1 - 1e-9


def test_noise_rises_ten_times_and_goes_as_the_root_of_the_hits() -> None:
    noise = relative_noise(np.random.default_rng(2), SHAPE, beam=BEAM, coverage=Coverage(holes=0))
    seen = np.isfinite(noise)
    assert noise[seen].max() == 10.0
    hits = (10.0 / noise[seen]) ** 2
    np.testing.assert_allclose(hits, np.rint(hits), atol=1e-9)
    middle = (10.0 / noise[110:190, 110:230]) ** 2
    # A Poisson number around 100: mean and variance, each to four of its errors.
    assert middle.mean() == pytest.approx(100.0, abs=4 * 10 / np.sqrt(middle.size))
    assert middle.var() == pytest.approx(100.0, abs=4 * 100 * np.sqrt(2 / middle.size))
    assert np.median(middle) == pytest.approx(100.0, abs=1.0)


def test_borders_are_ragged_and_holes_are_inside() -> None:
    options = {"shape": SHAPE, "beam": BEAM}
    whole = relative_noise(np.random.default_rng(3), coverage=Coverage(holes=0), **options)
    holed = relative_noise(np.random.default_rng(3), coverage=Coverage(holes=6), **options)
    both = np.isfinite(whole) & np.isfinite(holed)
    np.testing.assert_array_equal(whole[both], holed[both])
    hole = np.isfinite(whole) & ~np.isfinite(holed)
    assert 1 <= label(hole)[1] <= 24  # six patches of at most four discs
    assert hole.sum() > 100
    inside = distance_transform_edt(
        expected_hits(np.random.default_rng(3).spawn(3)[0], coverage=Coverage(), **options) > 0
    )
    assert inside[hole].min() > 6.0
    # Blank pixels among seen ones, and the border of no two rows at the same place.
    first = np.argmax(np.isfinite(whole[100:200]), axis=1)
    assert len(np.unique(first)) > 5
    assert np.ptp(first) > 4
    rim = [whole[100 + k, start : start + 20] for k, start in enumerate(first)]
    assert 5 < np.isnan(rim).sum() < 0.3 * np.size(rim)


def test_the_noise_of_the_map_is_what_its_error_map_says() -> None:
    skies = [simulate_image("edges_error", seed=k, noise_white_fraction=1.0, **SMALL) for k in range(6)]
    pulls = [(s.noise / s.image.error)[np.isfinite(s.image.error)] for s in skies]
    loud = [s.image.error[np.isfinite(s.image.error)] > 4 * np.nanmin(s.image.error) for s in skies]
    for part in (loud, [~one for one in loud]):
        values = np.concatenate([p[one] for p, one in zip(pulls, part, strict=True)])
        assert values.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * values.size))
    for s in skies:
        np.testing.assert_array_equal(np.isnan(s.image.error), np.isnan(s.image.data))
        edge = np.nanmax(s.image.error) / np.nanmedian(s.image.error[110:190, 130:210])
        assert edge == pytest.approx(10.0, rel=0.05)
    plain = simulate_image("edges", seed=0, noise_white_fraction=1.0, **SMALL)
    assert plain.image.error is None
    np.testing.assert_array_equal(plain.image.data, skies[0].image.data)


def test_sources_stay_off_the_blanks_and_have_the_peaks_of_their_place() -> None:
    s = simulate_image("edges", seed=5, **SMALL)
    x, y = np.rint(s.truth["X"].value).astype(int), np.rint(s.truth["Y"].value).astype(int)
    distance = distance_transform_edt(np.isfinite(s.image.data))
    assert distance[y, x].min() > s.model.margin * s.model.beam_fwhm_pix
    snr = s.truth["AMPLITUDE"].value / s.noise_rms[y, x]
    np.testing.assert_allclose(snr, s.truth["PEAK_SNR"])
    assert 4.0 <= snr.min() <= snr.max() <= 60.0
    assert len(set(np.round(s.noise_rms[y, x] / s.noise_rms.min(), 3))) > 5


def test_the_noise_level_is_that_of_full_coverage() -> None:
    recipe = Recipe.of(sky_model("edges", **SMALL), 1)
    s = simulate_image("edges", seed=1, **SMALL)
    assert np.median(s.noise_rms[110:190, 130:210]) == pytest.approx(recipe.rms, rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coverage": {"largest_noise": 0.5}}, "coverage.largest_noise"),
        ({"coverage": {"holes": 1.5}}, "coverage.holes"),
        ({"coverage": {"footprint": 80.0}}, "too large for a map"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        simulate_image("edges", seed=1, shape=SHAPE, **options)
    assert "\n" not in str(error.value)
