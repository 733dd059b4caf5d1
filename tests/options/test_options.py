"""Options that exclude each other, and every combination of noise and background that works."""

import itertools
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from helpers.fields_of_options import small_map
from hyper_py.checked import entries
from hyper_py.config import ORIGINAL_POLICY, Config
from hyper_py.diagnostics import ConfigurationError, Flag
from hyper_py.numerics.solvers import LOSSES, SolverOptions
from hyper_py.options import (
    BackgroundOptions,
    BandsOptions,
    CubeOptions,
    DetectionOptions,
    FitOptions,
    Options,
)
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.policy import Policy
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.matching import match_positions

REFUSED = [
    ({"weights": "snr"}, {"method": "polynomial"}, "noise_model: white"),
    ({"weights": "mask", "noise_model": "white"}, {}, "background.method: polynomial"),
    ({}, {"fit_gauss_and_bg_together": True}, "background.method: polynomial"),
]


@pytest.mark.parametrize(("fit", "background", "remedy"), REFUSED)
def test_contradictions_are_refused_in_one_line_that_says_what_is_needed(fit, background, remedy):
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        Options(fit_options=FitOptions(**fit), background=BackgroundOptions(**background))
    with pytest.raises(ConfigurationError, match=remedy):
        extract_sources(small_map(), fit_options=fit, background=background)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"name: .*{remedy}"):
        Config.from_mapping({"version": 2, "fit_options": fit, "background": background}, source="name")


@pytest.mark.parametrize(("method", "largest"), [("polynomial", 2), ("conditional", 6)])
def test_a_least_size_above_the_largest_is_refused_where_the_largest_follows_from_the_background(
    method, largest
):
    fit = {"noise_model": "white"}
    sections = {"fit_options": fit, "background": {"method": method}}
    assert Options(**sections, photometry={"aper_inf": largest}).largest_size == largest
    with pytest.raises(ConfigurationError, match=rf"aper_inf = {largest + 1}: .* at most {largest} beams"):
        Options(**sections, photometry={"aper_inf": largest + 1})
    with pytest.raises(ConfigurationError, match=r"name: .*set photometry\.aper_sup$"):
        Config.from_mapping(
            {"version": 2, **sections, "photometry": {"aper_inf": largest + 1}}, source="name"
        )


def test_a_policy_is_checked_as_well():
    assert Policy() == Options().policy
    assert Config.from_mapping({}).options().policy == ORIGINAL_POLICY
    with pytest.raises(ConfigurationError, match=r"^policy.residuals_column = 'residul': .* 'residual'\?$"):
        Policy(residuals_column="residul")
    with pytest.raises(ConfigurationError, match=r"^policy.shift_pix = 0: must be a number > 0 or null$"):
        Options(policy={"shift_pix": 0})


WRONG_WORD = "detection.method = 'matchd': must be one of highpass, matched; did you mean 'matched'?"


@pytest.mark.parametrize(
    "make",
    [
        lambda: DetectionOptions(method="matchd"),
        lambda: Options(detection={"method": "matchd"}),
        lambda: replace(DetectionOptions(), method="matchd"),
        lambda: replace(Options(), detection={"method": "matchd"}),
        lambda: Options().updated(detection={"method": "matchd"}),
        lambda: extract_sources(small_map(), detection={"method": "matchd"}),
    ],
)
def test_a_wrong_word_never_runs_as_another_one(make):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value) == WRONG_WORD


def every_word():
    for name, cls in SECTIONS.items():
        for path, entry in entries(cls).items():
            if "one of" in entry.allowed:
                yield name, cls, path.removeprefix(f"{name}."), entry.allowed


SECTIONS = {
    "detection": DetectionOptions, "fit_options": FitOptions, "background": BackgroundOptions,
    "cube": CubeOptions, "bands": BandsOptions,
}  # fmt: skip


@pytest.mark.parametrize(("name", "cls", "key", "allowed"), list(every_word()))
def test_every_option_that_is_a_word_takes_its_words_and_no_other(name, cls, key, allowed):
    for word in allowed.rpartition("one of ")[2].split(", "):
        cls(**{key: None if word == "null" else word})
    with pytest.raises(ConfigurationError, match=rf"^{name}\.{key} = 'nonsense': must be .*one of"):
        cls(**{key: "nonsense"})


def test_losses_of_the_options_are_those_of_the_solver():
    assert get_args(FitOptions.__annotations__["loss"]) == LOSSES


def test_keywords_change_keys_of_a_section_and_objects_replace_it():
    options = Options(detection={"sigma_thres": 7, "roundlim": [-1, 1]}, tile_size_pix=0)
    changed = options.updated(detection={"sigma_thres": 5}, convert_mJy=False)
    assert (changed.detection.sigma_thres, changed.detection.roundlim) == (5.0, (-1.0, 1.0))
    assert (changed.tile_size_pix, changed.convert_mJy) == (0, False)
    assert options.updated(detection=DetectionOptions()).detection == DetectionOptions()
    extraction = extract_sources(
        small_map(), options=options, detection={"sigma_thres": 9}, detection_only=True
    )
    assert extraction.options == options.updated(detection={"sigma_thres": 9}, detection_only=True)
    with pytest.raises(ConfigurationError, match=r"^detektion: unknown key; .* is detection$"):
        options.updated(detektion={"sigma_thres": 5})
    with pytest.raises(ConfigurationError, match=r"(?m)sigma_tres: unknown key; .* detection\.sigma_thres$"):
        extract_sources(small_map(), detection={"sigma_tres": 5})


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
    if method == "conditional" and along:
        with pytest.raises(ConfigurationError):
            Options(fit_options=FitOptions(noise_model=noise), background=background)
        return
    options = Options(fit_options=FitOptions(noise_model=noise), background=background)
    catalog = extract_sources(small_map(), options=options).catalog
    assert len(catalog) >= 15
    assert (catalog["STATUS"] > 0).all()
    # White noise takes the correlated noise of this map for structure: a few fits end at a bound.
    at_bound = (np.asarray(catalog["FLAGS"]) & Flag.FLUX_AT_BOUND) != 0
    assert np.array_equal(catalog["FLUX_ERR"] > 0, ~at_bound)
    assert np.count_nonzero(at_bound) <= (0 if noise == "correlated" else 0.25 * len(catalog))
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
    pull = pull[np.isfinite(pull)]  # at a bound there is no error
    assert pull.size > 400
    width = 1.4826 * np.median(np.abs(pull - np.median(pull)))
    assert 0.75 < width < 1.2
