"""Options that exclude each other, and every combination of noise and background that works."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from helpers.fields_of_options import small_map
from hyper_py.config import Config
from hyper_py.diagnostics import ConfigurationError
from hyper_py.numerics.solvers import SolverOptions
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options, check_options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.matching import match_positions

REFUSED = [
    ({"weights": "snr"}, {"method": "polynomial"}, "noise_model: white"),
    ({"weights": "mask", "noise_model": "white"}, {}, "background.method: polynomial"),
    ({}, {"fit_gauss_and_bg_together": True}, "background.method: polynomial"),
]


@pytest.mark.parametrize(("fit", "background", "remedy"), REFUSED)
def test_contradictions_are_refused_in_one_line_that_says_what_is_needed(fit, background, remedy):
    options = Options(fit_options=FitOptions(**fit), background=BackgroundOptions(**background))
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        check_options(options)
    with pytest.raises(ConfigurationError, match=remedy):
        extract_sources(small_map(), options=options)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"name: .*{remedy}"):
        Config.from_mapping({"version": 2, "fit_options": fit, "background": background}, source="name")


def test_the_defaults_old_and_new_agree_with_themselves():
    check_options(Options())
    check_options(Config.from_mapping({}).options())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("convert", [True, False])
def test_units_of_options_are_those_of_the_catalogue_in_an_original_configuration_only(version, convert):
    options = Config.from_mapping({"version": version, "units": {"convert_mJy": convert}}).options()
    assert options.flux_unit == ("mJy" if convert else "Jy")
    assert options.flux_per_jy == (1e3 if convert else 1.0)
    assert options.working_unit == (1e-3 if convert and version == 1 else 1.0)


def test_the_solver_is_told_what_the_section_says_with_residuals_in_its_own_unit():
    fit = FitOptions(loss="cauchy", f_scale=3.0, ftol=1e-5, xtol=1e-6, gtol=1e-7, max_nfev=12)
    expected = SolverOptions(loss="cauchy", f_scale=3.0, ftol=1e-5, xtol=1e-6, gtol=1e-7, max_evaluations=12)
    assert fit.solver() == expected
    assert fit.solver(residual_unit=1e3) == replace(expected, f_scale=3e-3)


COMBINATIONS = list(
    itertools.product(["white", "correlated"], ["polynomial", "conditional"], [True, False], [True, False])
)


@pytest.mark.parametrize(("noise", "method", "apart", "along"), COMBINATIONS)
def test_every_combination_of_noise_and_background_measures_or_is_refused(noise, method, apart, along):
    background = BackgroundOptions(
        method=method, fit_gauss_and_bg_separately=apart, fit_gauss_and_bg_together=along,
        polynomial_orders=(0, 1),
    )  # fmt: skip
    options = Options(fit_options=FitOptions(noise_model=noise), background=background)
    if method == "conditional" and along:
        with pytest.raises(ConfigurationError):
            extract_sources(small_map(), options=options)
        return
    catalog = extract_sources(small_map(), options=options).catalog
    assert len(catalog) >= 15
    assert (catalog["STATUS"] > 0).all()
    assert (catalog["FLUX_ERR"] > 0).all()
    polynomial = method == "polynomial" and (apart or along)
    assert ((catalog["POLYN"] >= 0) == polynomial).all()


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["white", "correlated"])
@pytest.mark.parametrize(
    "background",
    [
        {"method": "conditional"},
        {"method": "polynomial"},
        {"method": "polynomial", "fit_gauss_and_bg_together": True, "polynomial_orders": (0, 1, 2)},
        {
            "method": "polynomial", "fit_gauss_and_bg_together": True, "polynomial_orders": (0, 1, 2),
            "fit_gauss_and_bg_separately": False,
        },
    ],
    ids=["conditional", "apart", "both", "along"],
)  # fmt: skip
def test_errors_are_true_in_every_combination(noise, background):
    pulls = []
    for seed in (11, 12):
        simulation = simulate_image("alma", seed=seed)
        options = Options(
            fit_options=FitOptions(noise_model=noise), background=BackgroundOptions(**background),
            detection=DetectionOptions(deblend_residual=False),
        )  # fmt: skip
        catalog = extract_sources(simulation.image, options=options).catalog
        truth = simulation.truth[simulation.truth["ISOLATED"]]
        places = [np.column_stack([t["X"].astype(float), t["Y"].astype(float)]) for t in (catalog, truth)]
        ours, theirs = match_positions(*places, tolerance=1.7)[:2]
        flux, error = (catalog[name].to("Jy").value[ours] for name in ("FLUX", "FLUX_ERR"))
        pulls.append((flux - truth["FLUX"].to("Jy").value[theirs]) / error)
    pull = np.concatenate(pulls)
    assert pull.size > 400
    width = 1.4826 * np.median(np.abs(pull - np.median(pull)))
    assert 0.75 < width < 1.2
