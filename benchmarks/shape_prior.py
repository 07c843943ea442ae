"""Do other curve sets tell how a curve of this set goes on? A prior over curve shapes, learnt without the family it is judged on.

    python -m benchmarks.shape_prior --data ../shared/data

Squared correlation of the final value with: the last value; the last value plus a share of the recent slope over log t times what
is left of log t; the last value plus a ridge regression of what is left on the curve's shape, learnt from all other families of
sets (TaskSet, DeepOBS, ResNet, ...), each of which weighs the same. All values in units of the set's own spread, squashed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import command
from benchmarks.curves import CurveSet, load_all
from curvestop.srm.compact import ValueScale, curve_shape
from curvestop.srm.features import Array

FRACTIONS = (0.1, 0.25, 0.5)
SHARES = (0.25, 0.5, 1.0)
RIDGES = (0.1, 1.0, 10.0)
POINTS = 10
"""Curves of any length are seen as so many values, evenly spaced, so that shapes of all sets have the same columns."""


def family(curve_set: CurveSet) -> str:
    return curve_set.name.partition("-")[0]


def squashed(curve_set: CurveSet, fraction: float) -> tuple[Array, Array]:
    """`(n, tau)` curves seen so far and `(n,)` final values, higher is better."""
    values = curve_set.scored()
    scale = ValueScale.of(values[:, -1], curve_set.direction)
    sign = 1.0 if curve_set.direction == "maximise" else -1.0
    units = np.arcsinh(sign * scale.units(values))
    return units[:, : max(2, round(fraction * curve_set.n_epochs))], units[:, -1]


def shapes(seen: Array) -> Array:
    """`(n, p)`: the last value, and the default predictor's shape features of the curve relative to it."""
    grid = np.linspace(0, seen.shape[1] - 1, POINTS)
    even = np.array([np.interp(grid, np.arange(seen.shape[1]), row) for row in seen])
    return np.column_stack([even[:, -1], curve_shape(even - even[:, -1:])[:, 1:]])


def extrapolated(seen: Array, share: float, horizon: int) -> Array:
    time = np.log(np.arange(1, seen.shape[1] + 1))
    window = max(2, seen.shape[1] // 2)
    centred = time[-window:] - time[-window:].mean()
    slope = seen[:, -window:] @ centred / (centred @ centred)
    result: Array = seen[:, -1] + share * slope * np.log(horizon / seen.shape[1])
    return result


def learnt(curve_set: CurveSet, sets: Sequence[CurveSet], fraction: float, ridge: float) -> Array:
    """`(n,)` last value plus the regression from all other families."""
    others = [s for s in sets if family(s) != family(curve_set)]
    seen = {s.name: squashed(s, fraction) for s in (*others, curve_set)}
    rows = {name: shapes(curves) for name, (curves, _) in seen.items()}
    sizes = [len(rows[s.name]) * sum(family(o) == family(s) for o in others) for s in others]
    weights = np.concatenate([np.full(len(rows[s.name]), 1 / size) for s, size in zip(others, sizes, strict=True)])
    pooled = np.vstack([rows[s.name] for s in others])
    left = np.concatenate([seen[s.name][1] - seen[s.name][0][:, -1] for s in others])
    mean = np.average(pooled, axis=0, weights=weights)
    spread = np.sqrt(np.average((pooled - mean) ** 2, axis=0, weights=weights)) + 1e-12
    design = np.column_stack([(pooled - mean) / spread, np.ones(len(pooled))])
    penalty = ridge * weights.sum() * np.eye(design.shape[1])
    slopes = np.linalg.solve(design.T @ (design * weights[:, None]) + penalty, design.T @ (weights * left))
    own = np.clip((rows[curve_set.name] - mean) / spread, -3, 3)
    result: Array = seen[curve_set.name][0][:, -1] + own @ slopes[:-1]
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__ or "")
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    options = parser.parse_args(argv)
    sets = load_all(options.data, options.sets)
    if len({family(s) for s in sets}) < 2:
        command.conclude(options.out, "shape_prior", {})
        return
    table: dict[str, dict[str, float]] = {}
    for fraction in FRACTIONS:
        for curve_set in sets:
            seen, final = squashed(curve_set, fraction)
            guesses = {"last value": seen[:, -1]}
            guesses |= {f"+ {share:g} of the slope": extrapolated(seen, share, curve_set.n_epochs) for share in SHARES}
            guesses |= {f"+ learnt, ridge {ridge:g}": learnt(curve_set, sets, fraction, ridge) for ridge in RIDGES}
            for name, guess in guesses.items():
                found = table.setdefault(name, {}).setdefault(f"{fraction:.0%}", 0.0)
                table[name][f"{fraction:.0%}"] = found + float(np.corrcoef(guess, final)[0, 1] ** 2) / len(sets)
    shares = [f"{f:.0%}" for f in FRACTIONS]
    title = f"Squared correlation with the final value, mean over {len(sets)} sets"
    command.show(title, ["guess", *shares], [[name, *(of[s] for s in shares)] for name, of in table.items()])
    command.conclude(options.out, "shape_prior", {name: {s: round(v, 4) for s, v in of.items()} for name, of in table.items()})


if __name__ == "__main__":
    main()
