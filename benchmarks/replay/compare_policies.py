"""How much do stopping rules save, and what do they lose? Real learning curves replayed in random orders.

A study is up to --trials curves of a set in one order. Every epoch of every trial counts, warm-up included: speed-up is
n T / epochs spent. Curves of more than 150 epochs are read at 100 even points. A study is recovered when its best complete
trial is within 0.001 of the best of all. Pooled: sets weigh the same; speed-ups are geometric means.

    python -m benchmarks.replay --data ../shared/data --out out
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.replay import agreement, policy_figures, policy_report, thesis
from benchmarks.replay.compared_rules import OURS, PLAIN_RANK, PRUNERS, Entry, in_parallel, model_free, ours, thresholds
from benchmarks.replay.orders import drifted
from benchmarks.replay.policy_scores import Result, fastest, gaps
from benchmarks.replay.rule_replay import Replay
from benchmarks.replay.shuffled_study import Models, shuffled
from curvestop.clients.backtest.curve_set import CurveSet, Outcome
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.risk_budget import RiskBudget

RISK = 0.05
Studies = dict[str, list[CurveSet]]


def run(entry: Entry, studies: Studies, *, workers: int = 1) -> Result:
    """Replay every study under a rule. More than one worker: epochs last differently long from trial to trial."""
    return Result(entry, {name: [_replay(entry, study, workers) for study in some] for name, some in studies.items()})


def _replay(entry: Entry, study: CurveSet, workers: int) -> Outcome:
    n = len(study.curves)
    durations = np.exp(np.random.default_rng(study.seed).normal(0, 0.5, n)) if workers > 1 and not entry.together else None
    models = Models(study) if entry.uses_model else None
    at_once = n if entry.together else workers
    return Replay(study, entry.rule, workers=at_once, models=models, durations=durations).outcome()


def run_pruners(studies: Studies, n_orders: int) -> list[Result]:
    """Optuna's pruners on the first orders of every set."""
    results = []
    for name, pruner in PRUNERS.items() if n_orders else ():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental pruners say so
            outcomes = {
                s: [Outcome.of(study, ended_at(study, pruner(study.curves.shape[1]))) for study in some[:n_orders]]
                for s, some in studies.items()
            }
        results.append(Result(Entry("optuna", name, RiskBudget()), outcomes))
    return results


def halves(sets: Sequence[CurveFile]) -> tuple[list[str], list[str]]:
    """The sets by name, every other one in each half."""
    names = sorted(s.name for s in sets)
    return names[::2], names[1::2]


def measured_risk(sets: Sequence[CurveFile], studies: Studies, *, n_orders: int, n_trials: int, seed: int) -> list[Result]:
    """The risk budget on the random orders and on drifted ones, a `Result` for each kind of order."""
    kinds: dict[str, Studies] = {"random": studies}
    for curve_set in sets:
        for order in range(n_orders):
            for kind, study in drifted(curve_set, seed + order, n_trials=n_trials).items():
                kinds.setdefault(kind, {}).setdefault(curve_set.name, []).append(study)
    entry = RiskBudget(risk=RISK)
    return [run(Entry("risk", f"risk {RISK:g}, {kind} orders", entry, uses_model=True), some) for kind, some in kinds.items()]


def lost_share(results: Sequence[Result]) -> float:
    """Share of all these studies that were not recovered."""
    return float(np.mean([not o.recovered for r in results for outcomes in r.outcomes.values() for o in outcomes]))


def speedup_at(results: Sequence[Result], recovery: float) -> float | None:
    best = fastest(results, recovery)
    return None if best is None else best.speedup()


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--orders", type=int, default=10, help="random orders of every set")
    parser.add_argument("--trials", type=int, default=400, help="most trials in a study")
    parser.add_argument("--workers", type=int, default=8, help="for the replay in parallel (default: %(default)s)")
    parser.add_argument("--optuna-orders", type=int, default=2, help="orders for Optuna's pruners, which are slow; 0 for none")
    parser.add_argument("--drifted-orders", type=int, default=3, help="studies of each set and kind of drift")
    parser.add_argument("--thesis-orders", type=int, default=10, help="orders of the thesis's experiment; 0 for none")
    parser.add_argument("--other-replay", type=Path, help="a replay to agree with (default: DATA/../tools/rules_replay.py)")
    parser.add_argument("--frozen", action="store_true", help="only the shipped setting of the default rule: choose nothing")
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sets = load_all(options.data, options.sets)
    if not sets:
        return
    seeds = range(options.seed, options.seed + options.orders)
    studies = {s.name: [shuffled(s, seed, n_trials=options.trials) for seed in seeds] for s in sets}

    floor, candidates = [run(e, studies) for e in model_free()], [run(e, studies) for e in ours(frozen=options.frozen)]
    with_model, plain = [[r for r in [*floor, *candidates] if r.entry.family == f] for f in (OURS, PLAIN_RANK)]
    default = next(r for r in with_model if r.entry.rule == PredictiveRank())
    everything = [*floor, *candidates, *(run(e, studies) for e in thresholds()), *run_pruners(studies, options.optuna_orders)]
    policy_report.show_results(f"{len(sets)} sets x {options.orders} orders, one trial after another", everything)
    policy_report.show_against_floor(candidates, floor)
    policy_report.show_sets(default, plain)
    chosen: list[list[object]] = []
    if not options.frozen:
        parts = halves(sets)
        chosen = [row for wanted in (0.95, 0.9) for row in policy_report.held_out([*floor, *candidates], parts, wanted)]
        policy_report.show_held_out(chosen, parts)

    parallel = [run(e, studies, workers=options.workers) for e in in_parallel()]
    policy_report.show_results(f"{options.workers} workers, simulated time", parallel)
    risky = measured_risk(sets, studies, n_orders=options.drifted_orders, n_trials=options.trials, seed=options.seed)
    policy_report.show_results(f"A stated risk of {RISK:g}", risky)
    thesis_rows = thesis.replayed(sets, options.thesis_orders, options.seed)
    policy_report.show_thesis(thesis_rows)
    script = options.other_replay or options.data / ".." / "tools" / "rules_replay.py"
    agreed = agreement.agreements(sets, script, n_trials=options.trials, seed=options.seed)
    agreement.show(agreed)

    options.out.mkdir(parents=True, exist_ok=True)
    policy_figures.draw_frontiers(options.out, everything)
    policy_figures.draw_thesis(options.out, thesis_rows)
    headline = {
        "speedup_at_95": speedup_at(with_model, 0.95),
        "speedup_at_90": speedup_at(with_model, 0.9),
        "floor_speedup_at_95": speedup_at(floor, 0.95),
        "floor_speedup_at_90": speedup_at(floor, 0.9),
        "worst_recovery_gap_to_rank": min(gaps(default, plain).values()),
        "risk_stated": RISK,
        "risk_measured": lost_share(risky),
    }
    details = policy_report.details([*everything, *parallel, *risky], chosen, thesis_rows, agreed)
    benchmark_cli.conclude(options.out, "replay", headline, details)


if __name__ == "__main__":
    main()
