"""How well is the final value predicted from part of a learning curve?

R2 on the curves not trained on, mean and standard error over random splits (thesis, section 4.2.2 and Table 4.1).

    python -m benchmarks.predict --data ../shared/data --sets metaqnn-cifar10 --fraction 0.25
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import command
from benchmarks.curves import CurveSet, load_all
from curvestop.srm.curve import LearningCurve
from curvestop.srm.sequential import PREDICTORS

PREDICTORS_SHOWN = ("nu-svr", "nu-svr-linear", "ols", "last-seen")


def r2(target: Sequence[float], predicted: Sequence[float]) -> float:
    """1 - squared error / squared deviation from the mean."""
    y, y_hat = np.asarray(target), np.asarray(predicted)
    return float(1 - np.sum((y - y_hat) ** 2) / np.sum((y - y.mean()) ** 2))


def truncated(curves: Sequence[LearningCurve], tau: int) -> list[LearningCurve]:
    """Curves of tau + 1 values, the last being the final one: fits of a sequential model then make one model, for tau."""
    return [LearningCurve(c.trial, c.configuration, (*c.values[:tau], c.values[-1])) for c in curves]


def split_r2(curve_set: CurveSet, predictor: str, *, tau: int, n_train: int, seed: int, n_candidates: int) -> float:
    """R2 of one predictor on one random split."""
    curves = curve_set.learning_curves()
    order = np.random.default_rng(seed).permutation(len(curves))
    train, test = [curves[i] for i in order[:n_train]], [curves[i] for i in order[n_train:]]
    settings = {"n_candidates": n_candidates, "seed": seed} if predictor.startswith("nu-svr") else {}
    model = PREDICTORS[predictor](log_scaled=curve_set.log_scaled, **settings).fit(truncated(train, tau))
    predictions = [model.predict(curve.head(tau)) for curve in test]
    return r2([c.values[-1] for c in test], [p.mean for p in predictions if p is not None])


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--fraction", type=float, default=0.25, help="share of the curve observed")
    parser.add_argument("--train", type=int, default=100, help="complete curves to learn from")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=1000, help="draws of nu-SVR's random search (thesis: 1,000)")
    parser.add_argument("--predictors", nargs="+", default=PREDICTORS_SHOWN, choices=sorted(PREDICTORS))
    options = parser.parse_args(argv)
    results: dict[str, dict[str, tuple[float, float]]] = {}
    for curve_set in load_all(options.data, options.sets):
        tau = max(1, round(options.fraction * curve_set.n_epochs))
        results[curve_set.name] = {
            predictor: command.mean_and_error(
                [
                    split_r2(curve_set, predictor, tau=tau, n_train=options.train, seed=seed, n_candidates=options.candidates)
                    for seed in range(options.seed, options.seed + options.splits)
                ]
            )
            for predictor in options.predictors
        }
    command.show(
        f"R2 (mean +- standard error) at {options.fraction:.0%} of the curve, {options.train} curves, {options.splits} splits",
        ["set", *options.predictors],
        [[name, *(f"{mean:.3f} +- {error:.3f}" for mean, error in row.values())] for name, row in results.items()],
    )
    headline = {name: {predictor: round(mean, 4) for predictor, (mean, _) in row.items()} for name, row in results.items()}
    command.conclude(options.out, "predict", {"r2": headline}, results)


if __name__ == "__main__":
    main()
