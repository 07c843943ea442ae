"""The tables of the replay and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.benchmark_cli import mean_and_error
from benchmarks.replay.calibration import Bin
from benchmarks.replay.paired import MEASURES, Pair, Results
from benchmarks.replay.search_scores import Scores
from curvestop.clients.backtest.curve_set import Array

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
    rows = [[name, *row.tolist()[:4]] for name, row in zip(names, scores.mean(axis=1), strict=True)]
    benchmark_cli.show("The default, set by set", ["set", *Scores._fields[:4]], list(rows))


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
    benchmark_cli.show("Stated chance to end among the best 4 %, and what happened; domains weigh the same", heads, rows)
    rows = [[domain, cases, f"{stated:.4f}", f"{happened:.4f}"] for domain, (cases, stated, happened) in by_domain.items()]
    benchmark_cli.show("The same below 2 %, by domain", ["domain", "cases", "stated", "happened"], rows)


def details(names: Sequence[str], results: Results, bins: Sequence[Bin]) -> dict[str, Any]:
    """Everything by rule and set, for the JSON."""
    rules = {
        label: {
            "mean": _named(scores.mean(axis=(0, 1))),
            "error_over_sets": _named(scores.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(scores)))
            if len(scores) > 1
            else None,
            "sets": {name: _named(row) for name, row in zip(names, scores.mean(axis=1), strict=True)},
        }
        for label, scores in results.items()
    }
    return {"rules": rules, "calibration": [b._asdict() for b in bins]}


def _named(values: Array) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in zip(Scores._fields, values, strict=True)}
