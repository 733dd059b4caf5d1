"""Complexes: clumps, envelopes, and compact sources in and beside them."""

import numpy as np
import pytest
from astropy.table import QTable
from scipy.ndimage import maximum_filter

from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.complexes import Complexes, draw_complexes, on_clumps
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.validation import validate

SMALL = {"shape": (260, 280), "n_sources": 30, "complexes": {"number": 2, "clumps": 12}}


def test_clumps_are_in_the_truth_marked_and_not_among_the_sources() -> None:
    s = simulate_image("complex", seed=3, **SMALL)
    clump = np.asarray(s.truth["CLUMP"])
    assert clump.sum() == 24
    assert len(s.truth) == 54
    assert list(s.truth["ID"]) == list(range(1, 55))
    assert s.sources.sum() == pytest.approx(s.truth["FLUX"][~clump].sum().value, rel=1e-3)


def test_the_emission_is_the_clumps_on_their_envelopes() -> None:
    sky = {**SMALL, "background_rms": 0.0, "background_level": 0.0}
    smooth = {**sky, "complexes": {"number": 2, "clumps": 12, "envelope": 0.0}}
    with_envelope, clumps_only = (simulate_image("complex", seed=3, **one) for one in (sky, smooth))
    clump = np.asarray(clumps_only.truth["CLUMP"])
    flux = clumps_only.truth["FLUX"][clump].sum().value
    assert clumps_only.background.sum() == pytest.approx(flux, rel=5e-3)
    envelope = with_envelope.background - clumps_only.background
    assert envelope.min() > -1e-9 * envelope.max()
    assert 10 < envelope.max() / with_envelope.noise_rms[0, 0] < 200


def test_the_envelope_has_half_its_peak_at_the_radius() -> None:
    complexes = Complexes(number=1, radius=(20.0, 20.0), structure=0.0, envelope=8.0)
    emission = draw_complexes(
        np.random.default_rng(1), complexes, shape=(400, 400), beam=3.0, beam_covariance=1.6 * np.eye(2)
    )
    iy, ix = np.unravel_index(np.argmax(emission.envelope), (400, 400))
    assert emission.envelope.max() == pytest.approx(8.0, rel=1e-2)
    for dy, dx in ((60, 0), (0, -60), (36, 48)):
        assert emission.envelope[iy + dy, ix + dx] == pytest.approx(4.0, rel=0.02)


def test_compact_sources_are_in_and_beside_the_complexes_and_each_is_a_peak() -> None:
    s = simulate_image("complex", seed=4, noise_rms=1e-9, background_rms=0.0)
    truth = s.truth[~np.asarray(s.truth["CLUMP"])]
    noise = s.noise_rms[0, 0]
    level = s.model.background_level
    under = truth["BACKGROUND"].value / noise - level
    assert 0.4 < np.mean(under > 0.5) < 0.65
    assert (under > 15.0).sum() >= 5  # inside
    assert ((under > 1.0) & (under < 15.0)).sum() >= 10  # beside
    assert np.all(truth["PEAK_SNR"] >= np.maximum(under, 15.0) * 0.999)
    # Without noise nearly all are the highest pixel within half a beam: steep flanks hide a few.
    clear = s.background + s.sources
    top = maximum_filter(clear, size=3)
    y, x = (np.rint(truth[name].value).astype(int) for name in ("Y", "X"))
    near = [np.any((clear == top)[b - 1 : b + 2, a - 1 : a + 2]) for a, b in zip(x, y, strict=True)]
    assert np.mean(near) > 0.9


def test_rows_on_clumps_count_neither_way() -> None:
    truth = simulate_image("complex", seed=3, **SMALL).truth
    clump = np.asarray(truth["CLUMP"])
    beam = truth.meta["beam_pixels"]
    wide = truth[clump][np.argmax(truth["FWHM_1"][clump])]
    reach = 0.5 * wide["FWHM_1"].value / np.sqrt(truth.meta["beam"][0] * truth.meta["beam"][1]) * beam
    x = np.array([wide["X"].value, wide["X"].value + 0.9 * reach, 1.0, np.nan])
    y = np.array([wide["Y"].value, wide["Y"].value, 1.0, np.nan])
    np.testing.assert_array_equal(on_clumps(x, y, truth), [True, True, False, False])
    assert not on_clumps(x, y, truth[~clump]).any()
    assert not on_clumps([], [], truth).size
    plain = QTable({"X": truth["X"], "Y": truth["Y"]})
    assert not on_clumps(x, y, plain).any()

    found = QTable(
        {"X": np.append(truth["X"].value[~clump], x[:3]), "Y": np.append(truth["Y"].value[~clump], y[:3])}
    )
    neutral = on_clumps(found["X"], found["Y"], truth)
    judged = validate(found, truth, beam_fwhm=beam, counted=~clump, neutral=neutral)
    assert (judged.completeness.part, judged.completeness.whole) == (30, 30)
    assert (judged.purity.part, judged.purity.whole) == (30, 31)  # the row at (1, 1) is false
    assert validate(found, truth, beam_fwhm=beam, counted=~clump).purity.whole > 31


def test_the_noise_is_that_of_the_map_without_complexes() -> None:
    a = simulate_image("complex", seed=3, **SMALL)
    b = simulate_image("complex", seed=3, **{**SMALL, "complexes": None})
    np.testing.assert_array_equal(a.noise, b.noise)
    c = simulate_image("complex", seed=3, noise_rms=1.43e-2, **SMALL)
    np.testing.assert_allclose(c.image.data, 1e3 * a.image.data, rtol=1e-9)
    np.testing.assert_array_equal(c.truth["X"], a.truth["X"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"complexes": {"number": 0}}, "complexes.number"),
        ({"complexes": {"clump_size": [3, 1]}}, "complexes.clump_size"),
        ({"complexes": {"source_share": 2.0}}, "complexes.source_share"),
        ({"complexes": {"radius": [60.0, 80.0]}}, "too large for a map"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        simulate_image("complex", seed=1, **options)
    assert "\n" not in str(error.value)
