"""What does each ingredient of the default predictor bring? Compare with the predictor without it, on the same curves.

python -m benchmarks.predict --data ../shared/data --splits 2 --ablation
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile
from benchmarks.predict.scoring import Score, Split, score
from curvestop.srm.predictors.stacked import components, curve_summary, level_model, mixture_kernel
from curvestop.srm.regression.features import Array

COLUMNS = {"r2": "R2", "spearman": "Spearman", "crps": "CRPS / sd", "coverage": "95 % covers"}


@dataclass(frozen=True)
class Change:
    """Another value for a name of a module, in effect while a variant is fitted and evaluated.

    Attributes:
        module: The module that has the name.
        name: A constant or a function.
        value: What it is meanwhile.
    """

    module: ModuleType
    name: str
    value: object


def _no_share(target: object, kernel: object, plain: object) -> float:
    """Stand in for `components._best_share`: the kernel model gets no weight."""
    return 0.0


def _equal_weights(rows: Array, target: Array) -> Array:
    """Stand in for `curve_summary._dependence`: all columns are equally relevant."""
    return np.ones(rows.shape[1])


VARIANTS: Mapping[str, tuple[Change, ...]] = {
    "as it is": (),
    "calibrated last value alone": (Change(components, "_best_share", _no_share),),
    "one sigma but for the kernel's": (Change(components, "NOISE_FLOOR", 1e6),),
    "columns weighted alike": (Change(curve_summary, "_dependence", _equal_weights),),
    "the best pair of length scales": (Change(mixture_kernel, "SHARPNESS", 1000),),
    "no linear kernel": (Change(mixture_kernel, "LINEAR", 0.0),),
    "diverged runs as all others": (Change(curve_summary, "OUTLIER_DISTANCE", 1e6),),
    "no prior that a value persists": (Change(components, "PERSISTENCE", 0.0),),
    "no prior that errors are alike": (Change(level_model, "NOISE_PRIOR", 0.0),),
    "three more curve features": (
        Change(curve_summary, "WINDOWS", (0.1, 0.25, 0.5, 1.0)),
        Change(curve_summary, "LEVELS", (0, 0.1, 0.25, 0.5, 0.75, 0.9)),
    ),
    "no levels along the curve": (Change(curve_summary, "LEVELS", ()),),
}
"""Changes by the variant's name; without an ingredient that pays, scores are lower."""


@contextmanager
def changed(changes: Sequence[Change]) -> Iterator[None]:
    """Apply the changes within a `with` block and restore the modules' own values afterwards, also after an error."""
    before = [getattr(change.module, change.name) for change in changes]
    try:
        _set(changes, [change.value for change in changes])
        yield
    finally:
        _set(changes, before)


def _set(changes: Sequence[Change], values: Sequence[object]) -> None:
    for change, value in zip(changes, values, strict=True):
        setattr(change.module, change.name, value)
    curve_summary._linear_features.cache_clear()  # its matrices depend on WINDOWS and LEVELS


def run(sets: Sequence[CurveFile], fractions: Sequence[float], settings: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print tables of means over sets and write `OUT/predict_ablation.json`.

    Args:
        sets: Curve sets.
        fractions: Shares of the curve observed.
        settings: Of the stacked predictor.
        options: Of the command line.
    """
    names = options.ablation or list(VARIANTS)
    table = {name: _scores(sets, fractions, VARIANTS[name], settings, options) for name in names}
    for field, title in COLUMNS.items():
        rows: list[list[object]] = [[name, *(getattr(by[f], field) for f in fractions)] for name, by in table.items()]
        shares = [f"{f:.0%}" for f in fractions]
        benchmark_cli.show(f"{title}, mean over {len(sets)} sets and {options.splits} splits", ["variant", *shares], rows)
    headline = {name: {f"{f * 100:g}": round(by[f].r2, 4) for f in fractions} for name, by in table.items()}
    benchmark_cli.conclude(options.out, "predict_ablation", headline)


def _scores(
    sets: Sequence[CurveFile],
    fractions: Sequence[float],
    changes: Sequence[Change],
    settings: Mapping[str, Any],
    options: argparse.Namespace,
) -> dict[float, Score]:
    """Return the mean score over all sets and splits with these changes, by share of the curve observed."""
    rows = []
    with changed(changes):
        for curve_set in sets:
            taus = [max(1, round(f * curve_set.n_epochs)) for f in fractions]
            direction, log_scaled = curve_set.direction, curve_set.log_scaled
            for seed in range(options.seed, options.seed + options.splits):
                split = Split.of(curve_set.learning_curves(), options.train, seed)
                rows.append(score(split, "stacked", taus, direction=direction, log_scaled=log_scaled, settings=settings))
    # Every set has as many splits, so the mean over all is the mean over sets.
    return {f: Score.mean([row[i] for row in rows]) for i, f in enumerate(fractions)}
