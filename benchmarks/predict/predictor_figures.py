"""Draw the prediction benchmark: R2 by share seen (4-3), predicted against true (4-4), R2 by number of curves (B-1)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.curves import CurveFile
from benchmarks.predict.scoring import Score, Split
from curvestop.srm.predictors.stacked.predictor import StackedPredictor

Scores = Mapping[str, Mapping[str, Mapping[float, list[Score]]]]


def draw(
    out: Path, scores: Scores, counts: Mapping[int, Mapping[str, float]], sets: Sequence[CurveFile], options: argparse.Namespace
) -> None:
    """Write the figures into the folder `out`; nothing if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    out.mkdir(parents=True, exist_ok=True)
    _by_fraction(out / "figure-4-3.png", scores)
    _predicted_against_true(out / "figure-4-4.png", sets, options)
    if counts:
        _by_curves(out / "figure-b-1.png", counts)


def _by_fraction(path: Path, scores: Scores) -> None:
    """Draw R2 by share of the curve seen, one panel for each set."""
    from matplotlib import pyplot as plt

    columns = min(4, len(scores))
    rows = math.ceil(len(scores) / columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=(4 * columns, 3 * rows))
    for axis, (name, of) in zip(axes.flat, scores.items(), strict=False):
        for predictor, by in of.items():
            means = [Score.mean(row).r2 for row in by.values()]
            errors = [np.std([s.r2 for s in row]) / math.sqrt(len(row)) for row in by.values()]
            axis.errorbar([100 * f for f in by], means, errors, label=predictor, marker=".")
        axis.set(title=name, ylim=(0, 1), xlabel="% of the curve seen", ylabel="R2")
    axes.flat[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _predicted_against_true(path: Path, sets: Sequence[CurveFile], options: argparse.Namespace) -> None:
    """Draw predicted against true final values at 25 % of the curve, of four sets."""
    from matplotlib import pyplot as plt

    shown = sets[:4]
    figure, axes = plt.subplots(1, len(shown), squeeze=False, figsize=(4 * len(shown), 4))
    for axis, curve_set in zip(axes.flat, shown, strict=True):
        split = Split.of(curve_set.learning_curves(), options.train, options.seed)
        model = StackedPredictor(direction=curve_set.direction, log_scaled=curve_set.log_scaled).fit(split.train)
        answers = model.predict_many([c.head(max(1, round(curve_set.n_epochs / 4))) for c in split.test])
        predicted = [(p.mean, p.sigma, y) for p, y in zip(answers, split.target, strict=True) if p is not None]
        mean, sigma, true = (np.array(column) for column in zip(*predicted, strict=True))
        axis.errorbar(true, mean, sigma, fmt=".", alpha=0.3)
        axis.plot([true.min(), true.max()], [true.min(), true.max()], "k-")
        axis.set(title=f"{curve_set.name}, 25 % seen", xlabel="true", ylabel="predicted")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _by_curves(path: Path, counts: Mapping[int, Mapping[str, float]]) -> None:
    """Draw R2 by number of training curves."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots()
    for predictor in next(iter(counts.values())):
        if "covers" not in predictor:
            axis.plot(list(counts), [row[predictor] for row in counts.values()], marker=".", label=predictor)
    axis.set(xlabel="training curves", ylabel="R2 at 25 % of the curve, mean over sets")
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
