"""Does averaging the default predictor with something else predict better?

    python -m benchmarks.predict_ensembles --data ../shared/data --splits 2

R2 of its mean alone, with the one at the checkpoint before, with two variants of it, and with extremely randomised trees on the
same columns; in how many sets each is better than the default alone, and the worst loss.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks import command
from benchmarks.curves import CurveSet, load_all
from benchmarks.predict_ablation import VARIANTS, changed
from benchmarks.scoring import Split, r2
from curvestop.srm.checkpoint import CheckpointModel
from curvestop.srm.features import Array
from curvestop.srm.mixture import Rows
from curvestop.srm.stacked import StackedPredictor

FRACTIONS = (0.1, 0.25, 0.5)
BAG = ("no levels along the curve", "columns weighted alike")


def trees(model: CheckpointModel, rows: Rows, finals: Array, asked: Rows, seed: int) -> Array:
    """`(m,)` means of extremely randomised trees on the model's columns; their target is the change from the last value."""
    view = model.settings.view
    last, last_asked = (view.scale.units(r.values[:, -1]) for r in (rows, asked))
    forest = ExtraTreesRegressor(200, min_samples_leaf=2, random_state=seed)
    forest.fit(np.column_stack([view(rows), last]), view.scale.units(finals) - last)
    change = forest.predict(np.column_stack([view(asked), last_asked]))
    result: Array = view.scale.middle + view.scale.unit * (last_asked + change)
    return result


def means(curve_set: CurveSet, split: Split, seed: int) -> dict[float, Mapping[str, Array]]:
    """By share of the curve and predictor: `(m,)` predicted final values."""

    def fitted() -> StackedPredictor:
        return StackedPredictor(direction=curve_set.direction, log_scaled=curve_set.log_scaled).fit(split.train)

    default, bag = fitted(), []
    for name in BAG:
        with changed(VARIANTS[name]):
            model = fitted()
            bag.append({f: _asked(model, curve_set, split, f) for f in FRACTIONS})
    finals = np.array([c.values[-1] for c in split.train])
    result: dict[float, Mapping[str, Array]] = {}
    for fraction in FRACTIONS:
        look = bisect_right(list(default.models_), _epochs(curve_set, fraction)) - 1
        tau, before = list(default.models_)[look], list(default.models_)[max(look - 1, 0)]
        own = _asked(default, curve_set, split, fraction)
        forest = trees(default.models_[tau], default._inputs(split.train, tau), finals, default._inputs(split.test, tau), seed)
        earlier = default.models_[before].answer(default._inputs(split.test, before)).mean
        result[fraction] = {
            "default": own,
            "with .3 of the checkpoint before": 0.7 * own + 0.3 * earlier,
            "mean of three variants": np.mean([own, *(of[fraction] for of in bag)], axis=0),
            "trees": forest,
            "with .3 of trees": 0.7 * own + 0.3 * forest,
            "with .5 of trees": 0.5 * own + 0.5 * forest,
        }
    return result


def _epochs(curve_set: CurveSet, fraction: float) -> int:
    return max(1, round(fraction * curve_set.n_epochs))


def _asked(model: StackedPredictor, curve_set: CurveSet, split: Split, fraction: float) -> Array:
    heads = [c.head(_epochs(curve_set, fraction)) for c in split.test]
    return np.array([p.mean for p in model.predict_many(heads) if p is not None])


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__ or "")
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--train", type=int, default=100, help="complete curves to learn from")
    parser.add_argument("--splits", type=int, default=2)
    options = parser.parse_args(argv)
    scores: dict[tuple[str, float], list[float]] = {}  # one score a set, mean over splits
    for curve_set in load_all(options.data, options.sets):
        of_set: dict[tuple[str, float], list[float]] = {}
        for seed in range(options.seed, options.seed + options.splits):
            split = Split.of(curve_set.learning_curves(), options.train, seed)
            for fraction, by in means(curve_set, split, seed).items():
                for name, mean in by.items():
                    of_set.setdefault((name, fraction), []).append(r2(split.target.tolist(), mean.tolist()))
        for key, values in of_set.items():
            scores.setdefault(key, []).append(float(np.mean(values)))
    rows: list[list[object]] = []
    for name in dict.fromkeys(name for name, _ in scores):
        cells = []
        for fraction in FRACTIONS:
            gain = np.subtract(scores[name, fraction], scores["default", fraction])
            cells.append(f"{np.mean(scores[name, fraction]):.3f} ({int((gain > 0).sum())}, {gain.min():+.3f})")
        rows.append([name, *cells])
    command.show("R2, mean over sets (sets where it is better, worst loss)", ["", *(f"{f:.0%}" for f in FRACTIONS)], rows)
    headline: dict[str, dict[str, float]] = {}
    for (name, fraction), values in scores.items():
        headline.setdefault(name, {})[f"{fraction * 100:g}"] = round(float(np.mean(values)), 4)
    command.conclude(options.out, "predict_ensembles", headline)


if __name__ == "__main__":
    main()
