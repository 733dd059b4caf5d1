"""Covariances of maps that lack scales, against Monte Carlo on sampled visibilities and closed forms."""

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.noise.covariance import AGAINST_NEIGHBOURS, autocovariance, covariance_model, power_spectrum
from hyper_py.noise.filtered import missing_scales, tempered
from hyper_py.noise.measure import extend_lags, measure_noise
from hyper_py.noise.whitening import whitening_matrix

N, SEED = 256, 20261129
FWHM = 6.0
BEAM = np.eye(2) * FWHM**2 / (8.0 * np.log(2.0))


def transfer():
    k = 2.0 * np.pi * np.fft.fftfreq(N)
    return np.exp(-0.5 * BEAM[0, 0] * (k[:, None] ** 2 + k**2))


def coverage(rng, *, baselines=40, natural):
    """Weights of a sampled (u, v) plane whose dirty beam has a FWHM of some 6 pixels: arcs of an hour."""
    length, start = rng.uniform(0.012, 0.1, baselines), rng.uniform(0.0, np.pi, baselines)
    hour = start[:, None] + np.linspace(0.0, 0.5, 200)
    u, v = (np.rint(N * length[:, None] * f(hour)).astype(int) for f in (np.cos, np.sin))
    count = np.zeros((N, N))
    for sign in (1, -1):
        np.add.at(count, (sign * v, sign * u), 1.0)
    count[0, 0] = 0.0
    return count if natural else (count > 0).astype(float)


def field(rng, power):
    values = np.fft.ifft2(np.fft.fft2(rng.normal(size=(N, N))) * np.sqrt(power)).real
    return values / np.sqrt(power.mean())


def autocovariances(data, *, max_lag, reach):
    """Autocovariance of a map, and of the map against its neighbours."""
    sharp = ndimage.convolve(data, AGAINST_NEIGHBOURS, mode="wrap")
    return [extend_lags(autocovariance(values, max_lag=max_lag), reach=reach) for values in (data, sharp)]


@pytest.mark.parametrize(
    "power",
    [
        pytest.param(lambda k, b: b**2, id="noise of the beam alone"),
        pytest.param(lambda k, b: 0.9 * b**2 / np.mean(b**2) + 0.1, id="and white noise"),
        pytest.param(lambda k, b: b**2 * (1.0 + (0.02 / k) ** 3), id="cirrus"),
        pytest.param(lambda k, b: np.ones_like(b), id="white noise"),
    ],
)
def test_noise_of_a_single_dish_lacks_nothing(power):
    k = np.hypot(np.fft.fftfreq(N)[:, None], np.fft.fftfreq(N))
    k[0, 0] = 1.0 / N
    for seed in range(3):
        data = field(np.random.default_rng(SEED + seed), power(k, transfer()))
        model, _ = measure_noise(data, beam_covariance=BEAM, beam_fwhm=FWHM)
        assert not model.filtered
        assert not model.assumed


@pytest.mark.parametrize("natural", [True, False])
def test_noise_of_an_interferometer_lacks_what_was_not_sampled(natural):
    rng = np.random.default_rng(SEED)
    weight = coverage(rng, natural=natural)
    data = field(rng, weight)
    model, _ = measure_noise(data, beam_covariance=BEAM, beam_fwhm=FWHM)
    assert model.filtered
    # The floor is the mean power in the band; errors come from what was measured, which has none.
    power, measured = (power_spectrum(m.lags) for m in (model, model.unconditioned))
    lags = autocovariances(data - data.mean(), max_lag=85, reach=96)
    missing = missing_scales(*lags, beam_covariance=BEAM)
    assert 0.0 < power[missing].min() == pytest.approx(power[missing].max(), rel=0.05)
    assert np.median(measured[missing]) < 0.05 * power[missing].min()
    assert model.unconditioned.variance == pytest.approx(data.var(), rel=0.1)


@pytest.mark.parametrize("side", [124, 150])
def test_small_maps_of_interferometers_are_told_from_those_of_single_dishes(side):
    """Of 430 and 620 beams: one of 960 beams was taken for a single dish's, and its peak was 36% low."""
    k = np.hypot(np.fft.fftfreq(N)[:, None], np.fft.fftfreq(N))
    k[0, 0] = 1.0 / N
    cirrus = transfer() ** 2 * (1.0 + (0.02 / k) ** 3)
    for seed in range(4):
        rng = np.random.default_rng(SEED + seed)
        for power, lacks in ((coverage(rng, natural=False), True), (cirrus, False)):
            data = field(rng, power)[:side, :side]
            assert measure_noise(data, beam_covariance=BEAM, beam_fwhm=FWHM)[0].filtered == lacks


def test_the_fewer_beams_the_more_must_be_missing():
    """Spectra of simulated single-dish maps of 400 beams lack up to .087 by chance; .04 is enough of 1000."""
    rng = np.random.default_rng(SEED)
    lags, sharp = autocovariances(field(rng, coverage(rng, natural=False)), max_lag=64, reach=64)
    plain = covariance_model(lags, sharp=sharp)
    for n_beams, lacks in ((1000.0, True), (400.0, True), (100.0, False)):
        assert tempered(plain, lags, sharp, beam_covariance=BEAM, n_beams=n_beams).filtered == lacks


def amplitude_weights(covariance, template, y, x):
    """Weights of the pixels for the amplitude of a template, the local mean being free."""
    whitening = whitening_matrix(covariance.matrix(y, x))
    seen = whitening @ template
    return whitening.T @ seen / (seen @ seen)


@pytest.mark.parametrize("natural", [True, False])
def test_amplitudes_and_their_errors_on_dirty_and_cleaned_maps(natural):
    """Of 400 maps: the scatter is the claimed error, no less than what the visibilities allow."""
    rng = np.random.default_rng(SEED + 1)
    weight = coverage(rng, baselines=100, natural=natural)
    dirty = np.roll(np.fft.ifft2(weight).real, (N // 2, N // 2), (0, 1))
    dirty /= dirty.max()
    core = dirty[N // 2, N // 2 + 2], dirty[N // 2 + 2, N // 2]
    beam = np.diag([-2.0 / np.log(value) for value in core])
    y, x = (axis.ravel() for axis in np.mgrid[-12:13, -12:13])
    disc = np.hypot(y, x) <= 12
    y, x = y[disc], x[disc]
    gaussian = np.exp(-0.5 * (x**2 / beam[0, 0] + y**2 / beam[1, 1]))
    lobed = dirty[y + N // 2, x + N // 2]

    lags, sharp = autocovariances(field(rng, weight), max_lag=64, reach=64)
    plain = covariance_model(lags, sharp=sharp)
    model = tempered(plain, lags, sharp, beam_covariance=beam, n_beams=2000.0)
    assert model.filtered
    weights = amplitude_weights(model, gaussian, y, x)
    error = np.sqrt(weights @ model.unconditioned.matrix(y, x) @ weights)
    amplitudes = [weights @ field(rng, weight)[y + N // 2, x + N // 2] for _ in range(400)]

    assert weights @ gaussian == pytest.approx(1.0)
    assert np.std(amplitudes) == pytest.approx(error, rel=0.15)
    assert weights @ lobed == pytest.approx(1.0, abs=0.15)
    # The fit with the covariance as it was measured loses much of a source that was not cleaned.
    assert amplitude_weights(plain, gaussian, y, x) @ lobed < weights @ lobed - 0.1
    # Closed form: error^2 = 1 / sum(|B|^2 / N), in natural weighting the noise of one pixel.
    sampled = weight > 0
    spectrum, noise = np.fft.fft2(dirty), weight / weight.mean()
    least = np.sqrt(N * N / np.sum(np.abs(spectrum[sampled]) ** 2 / noise[sampled]))
    assert least == pytest.approx(1.0, rel=1e-6)
    assert least < error / (weights @ lobed) < 2.0 * least


def test_scales_are_missing_where_there_is_no_noise():
    k = np.cos(2.0 * np.pi * np.fft.fftfreq(N + 1))
    response = (1.0 - 0.5 * (k[:, None] + k)) ** 2
    frequency = 2.0 * np.pi * np.fft.fftfreq(N + 1)
    power = np.exp(-BEAM[0, 0] * (frequency[:, None] ** 2 + frequency**2))

    def missing():
        both = [np.fft.fftshift(np.fft.ifft2(p).real) for p in (power, power * response)]
        return missing_scales(*both, beam_covariance=BEAM)

    assert not missing().any()
    power[5:8, 3:6] = power[-7:-4, -5:-2] = 0.0
    assert missing()[5:8, 3:6].all()
    assert np.count_nonzero(missing()) == 18
