"""What should the default predictor learn from? Curves cut short, stopped trials, an earlier study, other target epochs.

    python -m benchmarks.predict --data ../shared/data --splits 2 --training

Cut curves: half of the training curves end early: any half at a random 50-95 % of the epochs, or the worse half at 50-95 % or,
as when it is stopped, at 10-50 %. They are taken as they are (a curve's last value is its target: what the predictor does by
itself), left out, or completed: their target is what a model of the whole ones predicts for them. An earlier study: 100 curves
of another set with the same columns, beside 20.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks import command
from benchmarks.curves import CurveSet
from benchmarks.scoring import Score, Split, r2, score
from curvestop.srm.checkpoint import CheckpointModel, Settings
from curvestop.srm.compact import ValueScale
from curvestop.srm.curve import LearningCurve
from curvestop.srm.features import Array
from curvestop.srm.mixture import Rows, View
from curvestop.srm.part import least_squares
from curvestop.srm.stacked import StackedPredictor
from curvestop.srm.stopping import Direction

CUTS = {
    "random half cut": (False, 0.5, 0.95),
    "worse half cut": (True, 0.5, 0.95),
    "worse half stopped": (True, 0.1, 0.5),
}
"""Which half, and between which shares of the epochs it ends."""
FEW, EARLIER = 20, 100
TARGETS = (1 / 9, 1 / 3, 0.6)
"""Shares of the epochs that are targets of their own, as the rungs of f-Hyperband are."""
COLUMNS = {"r2": "R2", "spearman": "Spearman", "crps": "CRPS / sd", "coverage": "95 % covers"}

Curves = Sequence[LearningCurve]
Variant = Callable[[CurveSet, Split, Sequence[CurveSet]], Curves | None]


def cut(curve_set: CurveSet, split: Split, *, worse: bool, shortest: float, longest: float) -> tuple[Curves, Curves]:
    """The whole half and the cut half of the training curves."""
    rng = np.random.default_rng(len(split.train))
    half = curve_set.n_epochs // 2
    sign = 1.0 if curve_set.direction == "maximise" else -1.0
    order = np.argsort([sign * c.values[half] for c in split.train]) if worse else rng.permutation(len(split.train))
    lengths = np.maximum(1, rng.uniform(shortest, longest, len(order)) * curve_set.n_epochs).astype(int)
    n = len(order) // 2
    return [split.train[i] for i in order[n:]], [split.train[i].head(int(lengths[i])) for i in order[:n]]


def completed(curve_set: CurveSet, whole: Curves, short: Curves) -> Curves:
    """The short ones as long as the whole ones, ending at what is predicted for them."""
    model = StackedPredictor(direction=curve_set.direction, log_scaled=curve_set.log_scaled).fit(whole)
    return [
        c if p is None else replace(c, values=(*c.values, *[p.mean] * (curve_set.n_epochs - len(c.values))))
        for c, p in zip(short, model.predict_many(short), strict=True)
    ]


def _cut_curves(curve_set: CurveSet, split: Split, sets: Sequence[CurveSet], *, which: str, treated: str) -> Curves:
    worse, shortest, longest = CUTS[which]
    whole, short = cut(curve_set, split, worse=worse, shortest=shortest, longest=longest)
    if treated == "completed":
        short = completed(curve_set, whole, short)
    return whole if treated == "left out" else [*whole, *short]


def _few(curve_set: CurveSet, split: Split, sets: Sequence[CurveSet], *, with_earlier: bool) -> Curves | None:
    siblings = [s for s in sets if s.name != curve_set.name and s.names == curve_set.names]
    if not siblings:
        return None
    earlier = siblings[0].learning_curves()[:EARLIER] if with_earlier else ()
    return [*split.train[:FEW], *(replace(c, trial=f"earlier-{c.trial}") for c in earlier)]


VARIANTS: Mapping[str, Variant] = {
    "all whole": lambda curve_set, split, sets: split.train,
    **{
        f"{which}: {treated}": partial(_cut_curves, which=which, treated=treated)
        for which in CUTS
        for treated in ("as they are", "left out", "completed")
    },
    f"{FEW} curves": partial(_few, with_earlier=False),
    f"{FEW} curves and {EARLIER} of an earlier study": partial(_few, with_earlier=True),
}


def run(sets: Sequence[CurveSet], fractions: Sequence[float], options: argparse.Namespace) -> None:
    """Tables of means over sets, and `OUT/predict_training.json`."""
    table = {name: _scores(sets, fractions, variant, options) for name, variant in VARIANTS.items()}
    for field, title in COLUMNS.items():
        rows: list[list[object]] = [
            [name, str(len(of)), *(_mean([getattr(scores[i], field) for scores in of]) for i in range(len(fractions)))]
            for name, of in table.items()
        ]
        command.show(f"{title}, mean over sets and splits", ["learns from", "fits", *(f"{f:.0%}" for f in fractions)], rows)
    of_targets = other_targets(sets, options)
    headline = {
        name: {f"{f * 100:g}": _mean([s[i].r2 for s in of]) for i, f in enumerate(fractions)} for name, of in table.items()
    }
    command.conclude(options.out, "predict_training", headline | of_targets)


def _scores(
    sets: Sequence[CurveSet], fractions: Sequence[float], variant: Variant, options: argparse.Namespace
) -> list[list[Score]]:
    """One list (a score for each fraction) a set and split."""
    scores = []
    for curve_set in sets:
        taus = [max(1, round(f * curve_set.n_epochs)) for f in fractions]
        for seed in range(options.seed, options.seed + options.splits):
            split = Split.of(curve_set.learning_curves(), options.train, seed)
            train = variant(curve_set, split, sets)
            if train is not None:
                changed, of_set = Split(tuple(train), split.test), (curve_set.direction, curve_set.log_scaled)
                scores.append(score(changed, "stacked", taus, direction=of_set[0], log_scaled=of_set[1], settings={}))
    return scores


def other_targets(sets: Sequence[CurveSet], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Models of other target epochs: settings searched for each, or those that were found for the last epoch."""
    found: dict[float, list[tuple[float, float, float, float]]] = {share: [] for share in TARGETS}
    for curve_set in sets:
        for seed in range(options.seed, options.seed + options.splits):
            split = Split.of(curve_set.learning_curves(), options.train, seed)
            of_last = StackedPredictor(direction=curve_set.direction, log_scaled=curve_set.log_scaled).fit(split.train)
            for share, rows in found.items():
                target = max(3, round(share * curve_set.n_epochs))
                taus = [tau for tau in of_last.models_ if tau < target]
                if taus and target < curve_set.n_epochs:
                    tau = min(taus, key=lambda t: abs(t - target / 3))
                    rows.append(_two_ways(of_last, split, tau, target, curve_set.direction))
    result = {}
    for share, rows in found.items():
        own, shared, own_s, shared_s = np.mean(rows, axis=0).tolist() if rows else [0.0] * 4
        worse = float(np.mean([b < a - 0.01 for a, b, _, _ in rows]))
        result[f"target at {share:.0%}"] = {
            "fits": len(rows),
            "own R2": round(own, 4),
            "shared R2": round(shared, 4),
            "worse by > .01": round(worse, 2),
            "own ms": round(1e3 * own_s, 1),
            "shared ms": round(1e3 * shared_s, 1),
        }
    columns = list(next(iter(result.values())))
    title = "Settings of each target epoch's own search, or of the last epoch's"
    command.show(title, ["", *columns], [[name, *(row[c] for c in columns)] for name, row in result.items()])
    return result


def _two_ways(
    of_last: StackedPredictor, split: Split, tau: int, target: int, direction: Direction
) -> tuple[float, float, float, float]:
    """R2 with own and with shared settings, and seconds of CPU."""
    rows, asked = of_last._inputs(split.train, tau), of_last._inputs(split.test, tau)
    finals, truth = (np.array([c.values[target - 1] for c in curves]) for curves in (split.train, split.test))
    begin = time.process_time()
    own = CheckpointModel(rows, finals, direction)
    middle = time.process_time()
    shared = CheckpointModel(rows, finals, direction, for_target(of_last.models_[tau].settings, rows, finals, direction))
    end = time.process_time()
    of_own, of_shared = (r2(truth.tolist(), model.answer(asked).mean.tolist()) for model in (own, shared))
    return of_own, of_shared, middle - begin, end - middle


def for_target(settings: Settings, rows: Rows, finals: Array, direction: Direction) -> Settings:
    """These length scales and ridges, for other finals `(n,)`: their scale and the columns' relevance are reckoned anew."""
    scale = ValueScale.of(finals, direction)
    target, last = scale.units(finals), scale.units(rows.values[:, -1])
    healthy = scale.healthy(target)
    broken = settings.broken or settings.healthy if np.any(target != healthy) else None
    surprise = least_squares(last if broken is None else scale.healthy(last), healthy)[1]
    return replace(settings, view=View.of(rows, scale, surprise), broken=broken)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else float("nan")
