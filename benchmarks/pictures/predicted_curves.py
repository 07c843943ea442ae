"""A picture of predictions: what is said of a final value as more and more of a real curve is seen.

    python -m benchmarks.pictures.predicted_curves --data ../shared/data --out docs/images --set resnet-tinyimagenet

The default predictor learns from 100 random curves of the set; six others, from worse to better, are predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import load_all
from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.predictors.stacked.predictor import StackedPredictor, modelled_lengths

SHOWN = 6
CURVE, SAID, END = "#3b7dd8", "#24292f", "#d1495b"
Said = dict[int, Prediction]
"""Epochs seen -> what is predicted for the last one."""


def split(
    curves: Sequence[LearningCurve], n_train: int, rng: np.random.Generator
) -> tuple[list[LearningCurve], list[LearningCurve]]:
    """Curves to learn from, and `SHOWN` others at even ranks of their final values."""
    order = rng.permutation(len(curves)).tolist()
    others = sorted((curves[i] for i in order[n_train:]), key=lambda curve: curve.values[-1])
    places = np.linspace(0, len(others) - 1, SHOWN + 2).round().astype(int)[1:-1]
    return [curves[i] for i in order[:n_train]], [others[i] for i in places]


def said_of(predictor: StackedPredictor, curve: LearningCurve) -> Said:
    answers = {tau: predictor.predict(curve.head(tau)) for tau in modelled_lengths(len(curve.values))}
    return {tau: answer for tau, answer in answers.items() if answer is not None}


def draw(path: Path, shown: Sequence[tuple[LearningCurve, Said]], metric: str) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        axes = figure.subplots(2, SHOWN // 2, sharex=True, sharey=True)
        for ax, (curve, said) in zip(axes.flat, shown, strict=True):
            _draw_one(ax, curve, said)
        axes[0, 0].legend(frameon=False, fontsize=8, loc="upper left")
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel(metric, fontsize=9)
        figure.savefig(path, dpi=110)


def _draw_one(ax: Any, curve: LearningCurve, said: Said) -> None:
    ax.plot(range(1, len(curve.values) + 1), curve.values, color=CURVE, lw=1, label="the curve")
    ax.axhline(curve.values[-1], color=END, lw=1, label="its final value")
    means = [p.mean for p in said.values()]
    ax.errorbar(
        list(said), means, [1.96 * p.sigma for p in said.values()], fmt="o", ms=3, lw=1, color=SAID, label="predicted so far"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--set", default="resnet-tinyimagenet", help="name of a curve set (default: %(default)s)")
    parser.add_argument("--train", type=int, default=100, help="curves to learn from (default: %(default)s)")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for curve_set in load_all(options.data, [options.set]):
        curves = curve_set.finite.learning_curves(values=curve_set.finite.curves)
        train, tested = split(curves, options.train, np.random.default_rng(options.seed))
        predictor = StackedPredictor(direction=curve_set.direction).fit(train)
        shown = [(curve, said_of(predictor, curve)) for curve in tested]
        draw(options.out / "predicted-curves.png", shown, str(curve_set.meta.get("metric", "metric")).partition(" (")[0])
        inside = [abs(p.mean - curve.values[-1]) <= 1.96 * p.sigma for curve, said in shown for p in said.values()]
        headline = {"set": curve_set.name, "curves": len(train), "predictions": len(inside), "inside_95": float(np.mean(inside))}
        benchmark_cli.conclude(options.out, "predicted_curves", headline)


if __name__ == "__main__":
    main()
