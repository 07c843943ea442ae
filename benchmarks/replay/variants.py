"""What does each ingredient of the default stopping rule bring? The rule without it, or with another choice, on the same orders.

python -m benchmarks.replay.variants --data ../shared/data --out out --seed 100
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks import benchmark_cli
from benchmarks.curves import load_all
from benchmarks.replay.compare_policies import run
from benchmarks.replay.compared_rules import OURS, Entry
from benchmarks.replay.shuffled_study import shuffled
from curvestop.srm.policies.evidence import DECISION_SHARES
from curvestop.srm.policies.predictive_rank import PredictiveRank

VARIANTS: Mapping[str, PredictiveRank] = {
    "as shipped": PredictiveRank(),
    "as before: margin 2.5, no hasty decision_points, 8 complete": PredictiveRank(
        margin=2.5, shares=DECISION_SHARES, start=0.6, min_completed=8, protected=1, late=0.0
    ),
    "no hasty decision_points": PredictiveRank(shares=DECISION_SHARES),
    "hasty decision_points no milder": PredictiveRank(hasty=1.0),
    "late decision_points no milder": PredictiveRank(late=0.0),
    "late decision_points milder still": PredictiveRank(late=1.0),
    "60 % kept until 8 are complete": PredictiveRank(start=0.6, min_completed=8),
    "only the best protected": PredictiveRank(protected=1),
    "3 leaders": PredictiveRank(n_leaders=3),
    "8 leaders": PredictiveRank(n_leaders=8),
    "slack .02, at least 5 % kept": PredictiveRank(slack=0.02, keep=(0.05, 0.9)),
    "mean of raw and predicted place": PredictiveRank(combine="mean"),
    "no model": PredictiveRank(combine="raw"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--orders", type=int, default=3, help="random orders of every set, from --seed on (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=400, help="most trials in a study (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="default: all")
    options = parser.parse_args(argv)
    sets = load_all(options.data, options.sets)
    seeds = range(options.seed, options.seed + options.orders)
    studies = {s.name: [shuffled(s, seed, n_trials=options.trials) for seed in seeds] for s in sets}
    rows: list[list[object]] = []
    for name in options.variants if sets else ():
        rule = VARIANTS[name]
        result = run(Entry(OURS, name, rule, uses_model=rule.combine != "raw"), studies)
        lost = " ".join(f"{s} {result.recovery([s]):.2f}" for s in studies if result.recovery([s]) < 1)
        rows.append([name, result.recovery(), result.recovery_errors()[0], result.speedup(), lost])
    title = f"{len(sets)} sets x {options.orders} orders"
    benchmark_cli.show(title, ["variant", "recovery", "+- over orders", "speed-up", "less than 1 on"], rows)
    headline = {str(name): [recovery, speedup] for name, recovery, _, speedup, _ in rows}
    benchmark_cli.conclude(options.out, "replay_variants", headline, rows)


if __name__ == "__main__":
    main()
