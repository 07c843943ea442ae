"""The replay's tables and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import benchmark_cli
from benchmarks.replay import thesis
from benchmarks.replay.agreement import Agreement
from benchmarks.replay.policy_scores import Result, fastest, gaps, recovery_at
from benchmarks.replay.thesis import ThesisReplay

COLUMNS = ["rule", "recovery +- orders / sets", "speed-up", "in time", "regret", "top tenth lost", "best lost", "calibration"]


def show_results(title: str, results: Sequence[Result]) -> None:
    benchmark_cli.show(title, COLUMNS, [_row(r) for r in results])


def show_against_floor(settings: Sequence[Result], floor: Sequence[Result]) -> None:
    """Each of our settings beside the model-free frontier: at the same speed-up, and at the same recovery."""
    rows: list[list[object]] = []
    for r in settings:
        plain = recovery_at(floor, r.speedup())
        slower = fastest(floor, r.recovery())
        ratio = "never" if slower is None else f"{r.speedup() / slower.speedup():.2f}x"
        rows.append([r.entry.label, r.speedup(), r.recovery(), plain, r.recovery() - plain, ratio])
    heads = ["setting", "speed-up", "recovery", "floor's there", "difference", "speed-up / floor's at that recovery"]
    benchmark_cli.show("Against the model-free floor (published rules, each at its best setting in this run)", heads, rows)


def show_sets(default: Result, plain: Sequence[Result]) -> None:
    differences = gaps(default, plain)
    rows = [[s, default.speedup([s]), default.recovery([s]), gap] for s, gap in differences.items()]
    heads = ["set", "speed-up", "recovery", "less plain rank's there"]
    benchmark_cli.show(f"{default.entry.label}, set by set, against the plain rank rule at the same speed-up", heads, list(rows))


def show_thesis(replay: ThesisReplay) -> None:
    heads = ["set", "to beat", "threshold", "speed-up", "share of orders recovered", "the thesis"]
    benchmark_cli.show("The thesis's experiment: nu-SVR on the first 100 curves", heads, thesis.rows(replay))


def held_out(results: Sequence[Result], parts: tuple[list[str], list[str]], recovery: float) -> list[list[object]]:
    """Rows: each family's fastest setting that recovers this share on one half of the sets, and what it does on the other."""
    rows: list[list[object]] = []
    for family in dict.fromkeys(r.entry.family for r in results):
        members = [r for r in results if r.entry.family == family]
        for half, chosen_on, frozen_on in (("first", *parts), ("second", *parts[::-1])):
            best = fastest(members, recovery, chosen_on) if chosen_on and frozen_on else None
            if best is not None:
                there = f"{best.recovery(chosen_on):.3f} at {best.speedup(chosen_on):.2f}x"
                rows.append([recovery, half, best.entry.label, there, best.recovery(frozen_on), best.speedup(frozen_on)])
    return rows


def show_held_out(rows: list[list[object]], parts: tuple[list[str], list[str]]) -> None:
    for half, names in zip(("first", "second"), parts, strict=True):
        print(f"{half} half of the sets: {', '.join(names)}")
    heads = ["recovery wanted", "chosen on", "setting", "there", "recovery, frozen on the other", "speed-up there"]
    benchmark_cli.show("Settings chosen on one half of the sets and frozen on the other", heads, rows)


def details(
    results: Sequence[Result], chosen: list[list[object]], thesis: ThesisReplay, agreed: Sequence[Agreement]
) -> Mapping[str, Any]:
    """Everything by rule and set, for the JSON."""
    return {
        "rules": [
            {
                "family": r.entry.family,
                "rule": r.entry.label,
                "recovery": r.recovery(),
                "recovery_errors": r.recovery_errors(),
                "speedup": r.speedup(),
                "time_speedup": r.mean("time_speedup"),
                "regret": _finite(r.median_regret()),
                "top_stopped": r.mean("top_stopped"),
                "best_stopped": r.mean("best_stopped"),
                "calibration_error": r.calibration_error(),
                "sets": {s: {"recovery": r.recovery([s]), "speedup": r.speedup([s])} for s in r.outcomes},
            }
            for r in results
        ],
        "chosen_and_frozen": chosen,
        "thesis": [vars(p) for p in thesis.points],
        "agreement": [{**vars(a), "is_equal": a.is_equal} for a in agreed],
    }


def _row(result: Result) -> list[object]:
    over_orders, over_sets = result.recovery_errors()
    calibration = result.calibration_error()
    return [
        result.entry.label,
        f"{result.recovery():.3f} +- {over_orders:.3f} / {over_sets:.3f}",
        result.speedup(),
        result.mean("time_speedup"),
        result.median_regret(),
        result.mean("top_stopped"),
        result.mean("best_stopped"),
        "" if calibration is None else calibration,
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
