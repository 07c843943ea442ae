"""How well is the final value predicted from part of a learning curve?

R2, rank correlation, CRPS and coverage on curves not trained on, by share of the curve observed and by number of training
curves (thesis, section 4.2.2, Figures 4-3, 4-4 and B-1); means with standard errors over random splits and over sets. Table
4.1, and the thesis's own sets by shares of 10 %: `benchmarks.predict.thesis_table`.

    python -m benchmarks.predict --data ../shared/data --sets metaqnn-cifar10 --fraction 0.25
    python -m benchmarks.predict --data ../shared/data --splits 3 --candidates 60   # all sets, quickly

Predictors that need a second for every prediction (lce, bnn) are judged on --few test curves of one split, beside all others
on the same curves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.predict import ablation, predictor_figures
from benchmarks.predict.scoring import Score, Split, score, simultaneous_coverage
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.regression.features import CONFIGURATION_GROUPS

PREDICTORS_SHOWN = ("stacked", "nu-svr", "nu-svr-linear", "ols", "kernel-ridge", "last-seen", "lce", "bnn")
SLOW = ("lce", "bnn")
"""Predictors that are judged on few test curves only."""
WITHOUT_GROUPS = ("last-seen", *SLOW)
"""Predictors that cannot leave out groups of configuration columns."""
DEFAULT, REFERENCE = "stacked", "nu-svr"
FRACTIONS = (0.1, 0.25, 0.5)
CURVE_COUNTS = (10, 15, 20, 25, 50)
THE_THESIS = {"bow": 0}
"""Settings of the thesis, which switched this group off in all but one of its experiments."""
Scores = Mapping[str, Mapping[str, Mapping[float, list[Score]]]]
"""Scores by set, predictor and share of the curve; one score for each split."""


def epochs(curve_set: CurveFile, fraction: float) -> int:
    """Return the observed length, in epochs, that is this share of the set's curves."""
    return max(1, round(fraction * curve_set.n_epochs))


def scores_of(
    curve_set: CurveFile, predictor: str, fractions: Sequence[float], options: argparse.Namespace, **changes: Any
) -> dict[float, list[Score]]:
    """Score one predictor on one set.

    Args:
        curve_set: Curves.
        predictor: A name of `PREDICTORS`.
        fractions: Shares of the curve observed.
        options: Of the command line.
        **changes: `train` (number of training curves), `few` (number of test curves, of one split only).

    Returns:
        One score for each split, by fraction.
    """
    curves, few = curve_set.learning_curves(CONFIGURATION_GROUPS), changes.get("few")
    taus = [epochs(curve_set, f) for f in fractions]
    rows = []
    for seed in range(options.seed, options.seed + (1 if few else options.splits)):
        settings: dict[str, Any] = dict(THE_THESIS) if predictor not in WITHOUT_GROUPS else {}
        if predictor.startswith("nu-svr"):
            settings |= {"n_candidates": options.candidates, "seed": seed}
        # The same seed is the same split for every predictor, so that scores are compared curve by curve.
        split = Split.of(curves, changes.get("train", options.train), seed).with_few_tests(few)
        rows.append(
            score(split, predictor, taus, direction=curve_set.direction, log_scaled=curve_set.log_scaled, settings=settings)
        )
    return {fraction: [row[i] for row in rows] for i, fraction in enumerate(fractions)}


def on_few_curves(sets: Sequence[CurveFile], fractions: Sequence[float], options: argparse.Namespace) -> Scores:
    """Score all predictors on the same few test curves, for those too slow for more; empty if no slow one is wanted."""
    if not set(SLOW) & set(options.predictors):
        return {}
    scores = {s.name: {p: scores_of(s, p, fractions, options, few=options.few) for p in options.predictors} for s in sets}
    rows: list[list[object]] = [
        [p, *("{:.3f} +- {:.3f}".format(*mean_over_sets(scores, p, f, n)) for n in ("r2", "crps") for f in fractions)]
        for p in options.predictors
    ]
    columns = [f"{n} {f:.0%}" for n in ("R2", "CRPS / sd") for f in fractions]
    title = f"{options.few} test curves of one split of each set (mean +- standard error over sets)"
    benchmark_cli.show(title, ["predictor", *columns], rows)
    return scores


def mean_over_sets(scores: Scores, predictor: str, fraction: float, name: str) -> tuple[float, float]:
    """Return the mean over sets of the mean over splits, and its standard error over sets."""
    return benchmark_cli.mean_and_error(
        [float(np.mean([getattr(s, name) for s in of[predictor][fraction]])) for of in scores.values()]
    )


def headline(scores: Scores, fractions: Sequence[float]) -> dict[str, Any]:
    """Return R2 and CRPS of the default and the reference, and how they compare by set and share; None for what was not run."""
    run = set(next(iter(scores.values()))) if scores else set()
    result: dict[str, Any] = {}
    for prefix, predictor in (("", DEFAULT), ("srm_", REFERENCE)):
        for name in ("r2", "crps"):
            means = {f: mean_over_sets(scores, predictor, f, name)[0] for f in fractions if predictor in run}
            result[prefix + name] = {f"{f * 100:g}": round(mean, 4) for f, mean in means.items()} or None
    # One gap for each set and share: how often, and at worst by how much, the default is behind the reference.
    gaps = (
        [Score.mean(of[DEFAULT][f]).r2 - Score.mean(of[REFERENCE][f]).r2 for of in scores.values() for f in fractions]
        if {DEFAULT, REFERENCE} <= run
        else []
    )
    result["wins_over_srm"] = round(float(np.mean([gap > 0 for gap in gaps])), 4) if gaps else None
    result["worst_gap_to_srm"] = round(min(gaps), 4) if gaps else None
    return result


def show_r2(scores: Scores, fraction: float, options: argparse.Namespace) -> None:
    """Print R2 of every set and predictor."""
    rows: list[list[object]] = []
    for name, of in scores.items():
        cells = [benchmark_cli.mean_and_error([s.r2 for s in by[fraction]]) for by in of.values()]
        rows.append([name, *(f"{mean:.3f} +- {error:.3f}" for mean, error in cells)])
    shown = list(next(iter(scores.values())))
    means = [mean_over_sets(scores, p, fraction, "r2") for p in shown]
    rows.append(["mean +- error over sets", *(f"{mean:.3f} +- {error:.3f}" for mean, error in means)])
    title = f"R2 (mean +- standard error) at {fraction:.0%} of the curve, {options.train} curves, {options.splits} splits"
    benchmark_cli.show(title, ["set", *shown], rows)


def show_other_scores(scores: Scores, fractions: Sequence[float], options: argparse.Namespace) -> None:
    """Print rank correlation, CRPS and coverage, mean over sets."""
    names = {"spearman": "Spearman", "top_spearman": "in the top fifth", "crps": "CRPS / sd", "coverage": "95 % covers"}
    rows: list[list[object]] = [
        [f"{p}, {f:.0%}", *("{:.3f} +- {:.3f}".format(*mean_over_sets(scores, p, f, n)) for n in names)]
        for p in next(iter(scores.values()))
        for f in fractions
    ]
    benchmark_cli.show("Mean +- standard error over sets", ["predictor, share seen", *names.values()], rows)


def by_number_of_curves(sets: Sequence[CurveFile], options: argparse.Namespace) -> dict[int, dict[str, float]]:
    """Return the numbers of Figure B-1: mean R2 over sets at 25 % of the curve, by number of training curves and predictor."""
    shown = [p for p in (DEFAULT, REFERENCE) if p in options.predictors]
    table: dict[int, dict[str, float]] = {}
    for count in options.curve_counts:
        of = {p: [Score.mean(scores_of(s, p, (0.25,), options, train=count)[0.25]) for s in sets] for p in shown}
        table[count] = {p: float(np.mean([s.r2 for s in scores])) for p, scores in of.items()}
        table[count] |= {f"{p} 95 % covers": float(np.mean([s.coverage for s in scores])) for p, scores in of.items()}
    if table:
        columns = list(next(iter(table.values())))
        benchmark_cli.show(
            "R2 and coverage at 25 % of the curve by number of training curves, mean over sets",
            ["curves", *columns],
            [[str(count), *(row[c] for c in columns)] for count, row in table.items()],
        )
    return table


def coverage(sets: Sequence[CurveFile], options: argparse.Namespace) -> dict[str, float]:
    """Return the coverage of the nominal 95 % bound over all decision points at once.

    Returns:
        `coverage`, the mean over sets, and `coverage_top2`, that of the pooled true top 2 % of each set.
    """
    everywhere, top = [], []
    for curve_set in sets:
        for seed in range(options.seed, options.seed + options.splits):
            split = Split.of(curve_set.learning_curves(), options.train, seed)
            share, of_top = simultaneous_coverage(split, curve_set.direction, curve_set.log_scaled)
            everywhere.append(share)
            top += of_top
    return {"coverage": round(float(np.mean(everywhere)), 4), "coverage_top2": round(float(np.mean(top)), 4)}


def curves_to_match(scores: Scores, counts: Mapping[int, Mapping[str, float]]) -> int | None:
    """Return the fewest training curves with which the default's R2 at 25 % reaches the reference's with all of them."""
    of = next(iter(scores.values()))
    if not {DEFAULT, REFERENCE} <= set(of) or 0.25 not in of[REFERENCE] or not counts:
        return None
    wanted = mean_over_sets(scores, REFERENCE, 0.25, "r2")[0]
    return min((count for count, row in counts.items() if row[DEFAULT] >= wanted), default=None)


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = benchmark_cli.parser(__doc__ or "")
    parser.add_argument("--sets", nargs="+", help="names of the curve sets (default: all)")
    parser.add_argument("--fraction", type=float, nargs="+", help="shares of the curve observed; if omitted, everything is run")
    parser.add_argument("--train", type=int, default=100, help="number of training curves (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=10, help="random splits of each set (default: %(default)s)")
    parser.add_argument("--candidates", type=int, default=1000, help="draws of nu-SVR's random search (default: %(default)s)")
    parser.add_argument("--predictors", nargs="+", default=PREDICTORS_SHOWN, choices=sorted(PREDICTORS), help="predictors to run")
    parser.add_argument("--few", type=int, default=15, help="test curves for lce and bnn, which are slow (default: %(default)s)")
    parser.add_argument(
        "--curve-counts", type=int, nargs="*", default=CURVE_COUNTS, help="training curves in Figure B-1 (default: %(default)s)"
    )
    variants = ", ".join(ablation.VARIANTS)
    parser.add_argument(
        "--ablation",
        nargs="*",
        choices=list(ablation.VARIANTS),
        metavar="NAME",
        help=f"compare variants of {DEFAULT} only: {variants} (default: all of them)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and write its figures and `OUT/predict.json`."""
    options = options_of(argv)
    everything = options.fraction is None  # the runs by number of curves take hours
    fractions = FRACTIONS if everything else tuple(options.fraction)
    sets = load_all(options.data, options.sets)
    if options.ablation is not None:
        ablation.run(sets, fractions, THE_THESIS, options)
        return
    quick = [p for p in options.predictors if p not in SLOW]
    scores = {s.name: {p: scores_of(s, p, fractions, options) for p in quick} for s in sets}
    if not scores:
        benchmark_cli.conclude(options.out, "predict", {})
        return
    for fraction in fractions:
        show_r2(scores, fraction, options)
    show_other_scores(scores, fractions, options)
    few = on_few_curves(sets, fractions, options)
    counts = by_number_of_curves(sets, options) if everything else {}
    last = headline(scores, fractions) | {"curves_to_match_srm100": curves_to_match(scores, counts)}
    measured = everything and DEFAULT in options.predictors
    last |= coverage(sets, options) if measured else {"coverage": None, "coverage_top2": None}
    predictor_figures.draw(options.out, scores, counts, sets, options)
    details = {"scores": plain(scores), "on_few_curves": plain(few), "by_curves": counts}
    benchmark_cli.conclude(options.out, "predict", last, details)


def plain(scores: Scores) -> dict[str, dict[str, dict[str, list[dict[str, float]]]]]:
    """Return the scores as JSON can hold them."""
    return {
        name: {p: {str(f): [asdict(s) for s in row] for f, row in by.items()} for p, by in of.items()}
        for name, of in scores.items()
    }


if __name__ == "__main__":
    main()
