"""Combinations of background and fit options, by the keys of the configuration file.

`combinations.py` runs them on fixed peaks and compares them with the truth; `frozen.py` freezes their
catalogues.
"""

from typing import Any

WHITE: dict[str, Any] = {"noise_model": "white", "method": "polynomial"}
TOGETHER: dict[str, Any] = {"fit_gauss_and_bg_together": True, "fit_gauss_and_bg_separately": False}
JOINT = WHITE | TOGETHER
ORIGINAL: dict[str, Any] = {
    **WHITE, "original": True, "weights": "snr", "min_method": "nmse", "vary": False, "f_scale": 0.1,
    "aper_inf": 1.0, "aperture_correction": False,
}  # fmt: skip
ALL_ESTIMATORS = ("least_squares", "huber", "theil_sen")


def combinations() -> dict[str, dict[str, Any]]:
    """Return the options of every run by its name; the first of each group is its reference."""
    runs: dict[str, dict[str, Any]] = {
        "correlated, conditional (default)": {},
        "correlated, conditional, huber loss": {"loss": "huber"},
        "correlated, conditional, fixed centres": {"vary": False},
        "white, conditional": {"noise_model": "white"},
        "correlated, polynomial": {"method": "polynomial"},
        "correlated, polynomial 2 along": {"method": "polynomial", **TOGETHER, "polynomial_orders": (2,)},
        "correlated, orders 0 to 3 along, cv": {
            "method": "polynomial",
            **TOGETHER,
            "polynomial_orders": (0, 1, 2, 3),
        },
        "correlated, both": {"method": "polynomial", "fit_gauss_and_bg_together": True},
        "white, polynomial": WHITE,
    }
    for criterion in ("nmse", "redchi", "bic"):
        runs[f"white, polynomial, {criterion}"] = {**WHITE, "min_method": criterion}
    for name in ("huber", "theil_sen"):
        runs[f"white, polynomial, {name}"] = {
            **WHITE, "bg_fitters": (name,), "pol_orders_separate": (1,), "fix_max_box": 3.0,
        }  # fmt: skip
    runs["white, polynomial, all estimators"] = {
        **WHITE, "bg_fitters": ALL_ESTIMATORS, "huber_epsilons": (1.35,), "pol_orders_separate": (0, 1),
        "fix_max_box": 3.0,
    }  # fmt: skip
    for orders in ((0,), (1,), (2,), (3,)):
        runs[f"white, polynomial, order {orders[0]}"] = {**WHITE, "pol_orders_separate": orders}
    for smallest, largest in ((1.0, 2.0), (5.0, 8.0), (0.0, 0.0)):
        runs[f"white, polynomial, boxes {smallest:g} to {largest:g}"] = {
            **WHITE, "fix_min_box": smallest, "fix_max_box": largest,
        }  # fmt: skip
    for weights in ("inverse_rms", "snr", "power_snr", "map", "mask", "spatial"):
        runs[f"white, polynomial, weights {weights}"] = {**WHITE, "weights": weights}
    for loss in ("soft_l1", "huber", "cauchy", "arctan"):
        runs[f"white, polynomial, loss {loss}"] = {**WHITE, "loss": loss}
    runs["white, polynomial, fixed centres"] = {**WHITE, "vary": False}
    for order in (0, 1, 2, 3):
        runs[f"white, order {order} along"] = {**JOINT, "polynomial_orders": (order,)}
    orders = {"polynomial_orders": (0, 1, 2, 3)}
    for criterion in ("cv", "bic"):
        runs[f"white, orders 0 to 3 along, {criterion}"] = {**JOINT, **orders, "min_method": criterion}
    runs["white, order 2 along, no ridge"] = {
        **JOINT, "polynomial_orders": (2,), "use_l2_regularization": False,
    }  # fmt: skip
    runs["white, order 2 along, ridge 1"] = {**JOINT, "polynomial_orders": (2,), "lambda_l2": 1.0}
    runs["white, order 2 along, cauchy"] = {**JOINT, "polynomial_orders": (2,), "loss": "cauchy"}
    runs["white, both, orders 0 to 2 along"] = {
        **WHITE, "fit_gauss_and_bg_together": True, "polynomial_orders": (0, 1, 2),
    }  # fmt: skip
    runs["original's defaults"] = ORIGINAL
    for weights in (None, "inverse_rms", "power_snr", "map", "mask", "spatial"):
        runs[f"original, weights {weights}"] = {**ORIGINAL, "weights": weights}
    runs["original, huber, all epsilons"] = {
        **ORIGINAL, "bg_fitters": ("huber",), "fix_max_box": 3.0, "pol_orders_separate": (1,),
    }  # fmt: skip
    runs["original, loss cauchy"] = {**ORIGINAL, "loss": "cauchy"}
    runs["original, vary"] = {**ORIGINAL, "vary": True}
    runs["original, along"] = {**ORIGINAL, **TOGETHER, "polynomial_orders": (0, 1)}
    for strength in (0.0, 1.0, 100.0):
        runs[f"original, along, ridge {strength:g}"] = {
            **ORIGINAL, **TOGETHER, "polynomial_orders": (0, 1), "lambda_l2": strength,
        }  # fmt: skip
    runs["original, both"] = {**ORIGINAL, "fit_gauss_and_bg_together": True}
    return runs


SECTIONS = {
    "fit_options": (
        "noise_model", "loss", "f_scale", "weights", "min_method", "vary", "bg_fitters", "huber_epsilons",
        "use_l2_regularization", "lambda_l2",
    ),
    "background": (
        "method", "fit_gauss_and_bg_together", "fit_gauss_and_bg_separately", "polynomial_orders",
        "pol_orders_separate", "fix_min_box", "fix_max_box",
    ),
    "photometry": ("aper_inf", "aperture_correction"),
}  # fmt: skip
"""The section of the configuration file in which each key of a combination is."""


def as_sections(changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the keys of a combination in the sections of the configuration file, without `original`."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        if key != "original":
            section = next(name for name, keys in SECTIONS.items() if key in keys)
            sections.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    return sections
