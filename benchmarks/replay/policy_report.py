"""The tables of the replay and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.benchmark_cli import mean_and_error
from benchmarks.replay.calibration import Bin
from benchmarks.replay.paired import MEASURES, Pair, Results
from benchmarks.replay.search_scores import Scores, with_known_noise
from curvestop.clients.backtest.curve_set import Array

IN_NOISE = ("best_lost_beyond_noise", "regret_in_noise")
"""The measures that a set whose seed noise is not known does not have."""
LEAST_LEAD = 0.05
"""A set is listed as lost if a rule loses less than ours by more than this."""


def show_results(title: str, results: Results) -> None:
    """A row for each rule: means over sets, with standard errors over sets / over orders."""
    rows: list[list[object]] = []
    for label, scores in results.items():
        by_set, by_order = scores.mean(axis=1), scores.mean(axis=0)
        cells = [with_errors(by_set[:, k], by_order[:, k]) for k in range(4)]
        rows.append([label, *cells, float(by_set[:, 4].mean())])
    heads = ["rule", "saved", "best tenth lost", "best lost", "regret", "time saved"]
    benchmark_cli.show(f"{title}: mean (standard error over sets / orders)", heads, rows)


def show_noise(results: Results) -> None:
    """A row for each rule: what is lost beyond the seed noise, over the sets whose noise is known."""
    known = {label: with_known_noise(scores) for label, scores in results.items()}
    n_sets = min(map(len, known.values()))  # the same for all rules
    if not n_sets:
        return
    rows: list[list[object]] = []
    columns = [Scores._fields.index(name) for name in ("best_lost", *IN_NOISE)]
    for label, scores in known.items():
        by_set, by_order = scores.mean(axis=1), scores.mean(axis=0)
        rows.append([label, *(with_errors(by_set[:, k], by_order[:, k]) for k in columns)])
    heads = ["rule", "best lost", "by more than the seed noise", "regret in seed noises"]
    benchmark_cli.show(f"{n_sets} sets whose seed noise is known: mean (standard error over sets / orders)", heads, rows)


def with_errors(by_set: Array, by_order: Array) -> str:
    """Return a mean with its standard errors over sets and over orders."""
    mean, over_sets = mean_and_error(by_set.tolist())
    return f"{mean:.3f} ({over_sets:.3f} / {mean_and_error(by_order.tolist())[1]:.3f})"


def show_pairs(pairs: Sequence[Pair]) -> None:
    """A row for each rule beside ours at equal saving."""
    if not pairs:
        return
    rows: list[list[object]] = []
    for pair in pairs:
        cells = []
        for measure in MEASURES:
            mean, error = pair.advantage(measure)
            cells += [f"{pair.theirs[measure].mean():.3f} / {pair.ours[measure].mean():.3f}", f"{mean:+.3f} +- {error:.3f}"]
        rows.append([pair.label, pair.saved, *cells, "yes" if pair.is_above_ours else ""])
    heads = ["rule", "saved", "best tenth lost / ours", "more than ours", "best lost / ours", "more than ours", "above ours"]
    benchmark_cli.show("Beside ours at equal saving, set by set (standard errors over sets)", heads, rows)


def show_sets(names: Sequence[str], scores: Array) -> None:
    """A row for each set: the default there. scores: `(sets, orders, measures)`."""
    rows: list[list[object]] = []
    shown = [name for name in Scores._fields if name != "time_saved"]
    for name, row in zip(names, scores.mean(axis=1), strict=True):
        means = _named(row)
        rows.append([name, *("" if means[measure] is None else means[measure] for measure in shown)])
    benchmark_cli.show("The default, set by set", ["set", *shown], rows)


def show_lost_sets(names: Sequence[str], pairs: Sequence[Pair]) -> None:
    """For each set and measure, the rule that is furthest ahead of ours at equal saving, if any is by `LEAST_LEAD`."""
    rows: list[list[object]] = []
    compared = [pair for pair in pairs if pair.is_compared]
    for s, name in enumerate(names):
        for measure in MEASURES:
            best = min(compared, key=lambda pair: float(pair.theirs[measure][s] - pair.ours[measure][s]), default=None)
            if best is not None and best.ours[measure][s] - best.theirs[measure][s] > LEAST_LEAD:
                rows.append([name, measure, best.label, best.saved, float(best.theirs[measure][s]), float(best.ours[measure][s])])
    if compared:
        heads = ["set", "measure", "rule", "its mean saving", "it loses", "ours loses"]
        benchmark_cli.show("Sets where a rule loses less than ours at equal saving", heads, rows)


def show_calibration(bins: Sequence[Bin], by_domain: Mapping[str, tuple[int, float, float]]) -> None:
    """What the default stated at decision points, and what happened."""
    rows: list[list[object]] = [
        [f"{b.low:g} - {b.high:g}", b.cases, f"{b.stated:.4f}", f"{b.happened:.4f}", f"{b.factor:.2f}"] for b in bins
    ]
    heads = ["stated chance", "cases", "stated", "happened", "factor"]
    benchmark_cli.show("Stated chance to end as the best, and what happened; domains weigh the same", heads, rows)
    rows = [[domain, cases, f"{stated:.4f}", f"{happened:.4f}"] for domain, (cases, stated, happened) in by_domain.items()]
    benchmark_cli.show("The same below 2 %, by domain", ["domain", "cases", "stated", "happened"], rows)


def details(names: Sequence[str], results: Results, bins: Sequence[Bin] = ()) -> dict[str, Any]:
    """Everything by rule and set, for the JSON."""
    rules = {
        label: {
            "mean": means_of(scores),
            "error_over_sets": _named(scores.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(scores)))
            if len(scores) > 1
            else None,
            "sets": {name: _named(row) for name, row in zip(names, scores.mean(axis=1), strict=True)},
        }
        for label, scores in results.items()
    }
    return {"rules": rules, "calibration": [b._asdict() for b in bins]}


def means_of(scores: Array) -> dict[str, float | None]:
    """Return the mean of each measure over sets and orders; what is about the seed noise, over the sets where it is known."""
    known = with_known_noise(scores)
    in_noise = _named(known.mean(axis=(0, 1))) if len(known) else {}
    return _named(scores.mean(axis=(0, 1))) | {name: in_noise.get(name) for name in IN_NOISE}


def _named(values: Array) -> dict[str, float | None]:
    rounded = (None if np.isnan(value) else round(float(value), 5) for value in values)
    return dict(zip(Scores._fields, rounded, strict=True))
