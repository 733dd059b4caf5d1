"""How wrong is the background under a source, for each estimator, order, box and criterion?

    python benchmarks/background.py [--trials 200] [--seed 1]

Simulated cutouts of 41 x 41 pixels, beam of 5 pixels, noise of rms 1 correlated over the beam (with 10% of
white noise), and a source of peak 10 masked down to 0.135 of its peak. Heavy tails are
those of Student's t of 1.5 degrees of freedom, added to each pixel. Errors are (background - truth),
averaged over the mask, in units of the rms: 1 is a tenth of the source's peak. Tables are Markdown.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import HuberRegressor, TheilSenRegressor

from hyper_py.background import selection
from hyper_py.background.cutout_polynomial import CutoutPolynomial
from hyper_py.background.selection import Choice
from hyper_py.numerics.polynomial import Box, Scaling, polynomial_design
from hyper_py.numerics.regression import huber_regression, random_subsets, spatial_median, subset_solutions

SIDE, CENTRE, FWHM, PEAK = 41, 20, 5.0, 10.0
SCALING = Scaling(CENTRE, CENTRE, CENTRE, CENTRE)
SIGMA = FWHM / 2.3548
BEAM_AREA = 1.1331 * FWHM**2
Y, X = np.mgrid[:SIDE, :SIDE] - CENTRE
BOXES = [(CENTRE - h, CENTRE + h + 1, CENTRE - h, CENTRE + h + 1) for h in range(12, 21)]
MASK = X**2 + Y**2 <= (2.0 * SIGMA) ** 2
ESTIMATORS = {
    "least squares": {},
    "the same, clipped at 3 sigma": {"clip_sigma": 3.0},
    "Huber 1.1": {"estimators": ("huber",), "huber_epsilons": (1.1,)},
    "Huber 1.35": {"estimators": ("huber",), "huber_epsilons": (1.35,)},
    "Huber 2.0": {"estimators": ("huber",), "huber_epsilons": (2.0,)},
    "Theil-Sen": {"estimators": ("theil_sen",)},
}


def gaussian(y: float, x: float, fwhm: float, peak: float) -> np.ndarray:
    return peak * np.exp(-4.0 * np.log(2.0) * ((Y - y) ** 2 + (X - x) ** 2) / fwhm**2)


def noise(rng: np.random.Generator) -> np.ndarray:
    wide = gaussian_filter(rng.normal(size=(SIDE + 40, SIDE + 40)), SIGMA)[20:-20, 20:-20]
    wide *= 2.0 * SIGMA * np.sqrt(np.pi)
    return np.sqrt(0.99) * wide + 0.1 * rng.normal(size=wide.shape)


def theil_sen(design: np.ndarray, values: np.ndarray, *, n_subsets: int) -> np.ndarray:
    subsets = random_subsets(values.size, design.shape[1], n_subsets=n_subsets, seed=0)
    return spatial_median(subset_solutions(design, values, subsets=subsets))[0]


def polynomial(rng: np.random.Generator, order: int, slope: float = 0.1) -> np.ndarray:
    """Return a background whose terms of each order reach about `slope` x 20 at the edge."""
    design = polynomial_design(Y + CENTRE, X + CENTRE, order=order, scaling=SCALING)
    return design @ rng.normal(scale=slope * CENTRE, size=design.shape[-1])


def clean(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return polynomial(rng, 1), np.zeros((SIDE, SIDE))


def outliers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    hit = rng.random((SIDE, SIDE)) < 0.05
    return polynomial(rng, 1), hit * rng.exponential(20.0, size=hit.shape)


def heavy_tails(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return polynomial(rng, 1), rng.standard_t(1.5, size=(SIDE, SIDE))


def neighbour(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle, distance = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(1.5, 3.0) * FWHM
    return polynomial(rng, 1), gaussian(distance * np.sin(angle), distance * np.cos(angle), FWHM, 2 * PEAK)


def gradient(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return polynomial(rng, 1, slope=2.0), np.zeros((SIDE, SIDE))


def curved(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return polynomial(rng, 2, slope=1.0), np.zeros((SIDE, SIDE))


def extended(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y, x = rng.uniform(-10, 10, 2)
    return gaussian(y, x, 6.0 * FWHM, 2 * PEAK), np.zeros((SIDE, SIDE))


CASES: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "clean, order 1": clean,
    "5% outliers": outliers,
    "heavy tails": heavy_tails,
    "neighbour unmasked": neighbour,
    "strong gradient": gradient,
    "strong curvature": curved,
    "extended emission": extended,
}


def cutouts(case: str, *, seed: int, trials: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield data and true background."""
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        truth, contamination = CASES[case](rng)
        yield truth + contamination + gaussian(0.0, 0.0, FWHM, PEAK) + noise(rng), truth


def error(background: CutoutPolynomial, truth: np.ndarray) -> float:
    return float((background.evaluate(Y[MASK] + CENTRE, X[MASK] + CENTRE) - truth[MASK]).mean())


def select(
    data: np.ndarray, mask: np.ndarray, *, boxes: list[Box], rms: float, beam_area: float, **choice: Any
) -> list[CutoutPolynomial]:
    return selection.select_backgrounds(
        data, mask, boxes=boxes, rms=rms, beam_area=beam_area, choice=Choice(**choice)
    )


def fit(data: np.ndarray, **options: object) -> CutoutPolynomial:
    defaults = {"boxes": BOXES, "orders": (0, 1, 2), "rms": 1.0, "beam_area": BEAM_AREA, "n_subsets": 500}
    return select(data[None], MASK[None], **(defaults | options))[0]


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def estimators_on_one_candidate(seed: int, trials: int) -> None:
    rows = []
    for name, options in ESTIMATORS.items():
        row = [name]
        for case in CASES:
            order = 2 if case in ("strong curvature", "extended emission") else 1
            errors = [
                error(fit(data, boxes=BOXES[4:5], orders=(order,), criterion="nmse", **options), truth)
                for data, truth in cutouts(case, seed=seed, trials=trials)
            ]
            row.append(f"{np.mean(errors):+.2f} ± {np.std(errors):.2f}")
        rows.append(row)
    table(
        "Bias ± scatter under the source: box of 33 pixels, true order (extended emission: 2)",
        ["estimator", *CASES],
        rows,
    )


def heavy_contamination(seed: int, trials: int) -> None:
    shares, rows = (0.05, 0.1, 0.2, 0.3, 0.4), []
    for name, options in ESTIMATORS.items():
        row = [name]
        for share in shares:
            rng, errors = np.random.default_rng(seed), []
            for _ in range(trials):
                truth, hit = polynomial(rng, 1), rng.random((SIDE, SIDE)) < share
                data = truth + hit * rng.exponential(20.0, size=hit.shape) + noise(rng)
                chosen = fit(data, boxes=BOXES[4:5], orders=(1,), criterion="nmse", **options)
                errors.append(error(chosen, truth))
            row.append(f"{np.mean(errors):+.2f}")
        rows.append(row)
    table("Bias by the share of outliers", ["estimator", *(f"{share:.0%}" for share in shares)], rows)


def criteria(seed: int, trials: int) -> None:
    rows = []
    for case, true_order in (("flat", 0), ("slope 1", 1), ("slope 2", 2), *((c, None) for c in CASES)):
        rng = np.random.default_rng(seed)
        if true_order is None:
            pairs = list(cutouts(case, seed=seed, trials=trials))
        else:
            truths = [polynomial(rng, true_order, 0.2) for _ in range(trials)]
            pairs = [(t + gaussian(0, 0, FWHM, PEAK) + noise(rng), t) for t in truths]
        data = np.stack([d for d, _ in pairs])
        every = {}
        for criterion in ("nmse", "redchi", "bic", "cv, plain", "cv, guard", "cv"):
            chosen = select(
                data,
                np.broadcast_to(MASK, data.shape),
                boxes=BOXES,
                orders=(0, 1, 2),
                rms=1.0,
                beam_area=BEAM_AREA,
                criterion=criterion[:2] if criterion.startswith("cv") else criterion,
                guard=0 if criterion == "cv, plain" else 1,
                parsimony=1.0 if criterion == "cv" else 0.0,
            )
            every[criterion] = chosen
        fixed = {
            (box, order): [
                error(b, t)
                for b, (_, t) in zip(
                    select(
                        data,
                        np.broadcast_to(MASK, data.shape),
                        boxes=[box],
                        orders=(order,),
                        rms=1.0,
                        beam_area=BEAM_AREA,
                        criterion="nmse",
                    ),
                    pairs,
                    strict=True,
                )
            ]
            for box in BOXES
            for order in (0, 1, 2)
        }
        rms = {key: float(np.sqrt(np.mean(np.square(values)))) for key, values in fixed.items()}
        best = min(rms, key=rms.__getitem__)
        for criterion, chosen in every.items():
            errors = np.array([error(b, t) for b, (_, t) in zip(chosen, pairs, strict=True)])
            share = [f"{np.mean([b.order == o for b in chosen]):.2f}" for o in (0, 1, 2)]
            side = np.mean([b.box[1] - b.box[0] for b in chosen])
            rows.append(
                [
                    case,
                    criterion,
                    *share,
                    f"{side:.1f}",
                    f"{np.sqrt(np.mean(errors**2)):.2f}",
                    f"{rms[best]:.2f} ({best[1]}, {best[0][1] - best[0][0]})",
                ]
            )
    table(
        "Least squares: what each criterion chooses, and the rms error under the source it leads to",
        [
            "background",
            "criterion",
            "order 0",
            "1",
            "2",
            "mean side",
            "rms error",
            "best fixed (order, side)",
        ],
        rows,
    )


def all_estimators(seed: int, trials: int) -> None:
    rows = []
    options = {"estimators": ("least_squares", "huber", "theil_sen"), "huber_epsilons": (1.35,)}
    for case, criterion in itertools.product(CASES, ("nmse", "cv")):
        chosen = [
            (fit(d, criterion=criterion, n_subsets=200, **options), t)
            for d, t in cutouts(case, seed=seed, trials=trials)
        ]
        errors = np.array([error(b, t) for b, t in chosen])
        names = [b.estimator for b, _ in chosen]
        rows.append(
            [
                case,
                criterion,
                *(f"{names.count(n) / trials:.2f}" for n in options["estimators"]),
                f"{errors.mean():+.2f} ± {errors.std():.2f}",
            ]
        )
    table("All estimators together", ["background", "criterion", *options["estimators"], "error"], rows)


def best_time(function: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times) * 1e3


def speed(seed: int) -> None:
    data = np.stack([d for d, _ in cutouts("5% outliers", seed=seed, trials=64)])
    mask = np.broadcast_to(MASK, data.shape)
    options = {"boxes": BOXES, "orders": (0, 1, 2), "rms": 1.0, "beam_area": BEAM_AREA}
    rows = [
        [
            f"least squares, {c}, many at once",
            f"{best_time(lambda c=c: select(data, mask, criterion=c, **options), 5) / 64:.2f}",
        ]
        for c in ("nmse", "bic", "cv")
    ]
    rows += [
        [f"{name}, cv, one at a time", f"{best_time(lambda o=o: fit(data[0], criterion='cv', **o), 3):.2f}"]
        for name, o in ESTIMATORS.items()
    ]
    table(f"Milliseconds of processor time per source ({len(BOXES)} boxes x 3 orders)", ["what", "ms"], rows)
    y, x = np.mgrid[:SIDE, :SIDE]
    design = polynomial_design(y.ravel(), x.ravel(), order=2, scaling=SCALING)
    values = data[0].ravel()
    model = HuberRegressor(alpha=0.0, max_iter=1000)
    forest = TheilSenRegressor(n_subsamples=6, max_subpopulation=10000, random_state=0)
    rows = [
        [
            "Huber 1.35",
            best_time(lambda: huber_regression(design, values), 20),
            best_time(lambda: model.fit(design[:, 1:], values), 10),
        ],
        [
            "Theil-Sen, 10000 subsets",
            best_time(lambda: theil_sen(design, values, n_subsets=10000), 5),
            best_time(lambda: forest.fit(design[:, 1:], values), 2),
        ],
    ]
    rows = [[name, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}"] for name, ours, theirs in rows]
    table(
        "One fit, 41 x 41 pixels, order 2 (ms of processor time)",
        ["estimator", "here", "scikit-learn", "ratio"],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    estimators_on_one_candidate(arguments.seed, arguments.trials)
    heavy_contamination(arguments.seed, max(arguments.trials // 3, 5))
    criteria(arguments.seed, arguments.trials)
    all_estimators(arguments.seed, max(arguments.trials // 5, 5))
    speed(arguments.seed)


if __name__ == "__main__":
    main()
