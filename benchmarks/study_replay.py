"""Does a `Study` with default settings do to real curves what the replay benchmark says of its policy? Both, on the same orders.

The two share the rule, the history and the models' mathematics, but not the sizes at which models are fitted: the study searches
at 20, 24, 29, ... complete curves and takes in every curve between, the benchmark fits at a few sizes and searches at fewer.

    python -m benchmarks.study_replay --data ../shared/data --out out --sets metaqnn-cifar10
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import command
from benchmarks.curves import load_all
from benchmarks.replay_study import Models, shuffled
from benchmarks.replaying import Replay
from curvestop.clients.backtest.replay_study import Outcome, ReplayStudy
from curvestop.clients.backtest.study_replay import StudyReplay
from curvestop.srm.study import StudySettings


def default_settings(study: ReplayStudy) -> StudySettings:
    return StudySettings(study.name, study.curves.shape[1], direction=study.direction)


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--orders", type=int, default=3, help="random orders of every set")
    parser.add_argument("--trials", type=int, default=200, help="most trials in a study")
    options = parser.parse_args(argv)
    rows: list[list[object]] = []
    outcomes: list[tuple[Outcome, Outcome]] = []
    for curve_set in load_all(options.data, options.sets):
        for seed in range(options.seed, options.seed + options.orders):
            study = shuffled(curve_set, seed, n_trials=options.trials)
            settings = default_settings(study)
            ours, theirs = StudyReplay(study, settings), Replay(study, settings.stopping, models=Models(study))
            outcomes.append((ours.outcome(), theirs.outcome()))
            same = float(np.mean(ours.ended_at == theirs.ended_at))
            rows.append([f"{study.name}/{seed}", *_both(*outcomes[-1]), same, ours.judging_s])
    columns = ["order", "saved", "benchmark", "recovered", "benchmark", "regret", "benchmark", "same end", "judging, s"]
    command.show("A study with default settings, and the replay benchmark's rule", columns, rows)
    headline = {
        "saved": float(np.mean([ours.saved for ours, _ in outcomes])),
        "saved_by_benchmark": float(np.mean([theirs.saved for _, theirs in outcomes])),
        "recovered": float(np.mean([ours.recovered for ours, _ in outcomes])),
        "recovered_by_benchmark": float(np.mean([theirs.recovered for _, theirs in outcomes])),
    }
    command.conclude(options.out, "study_replay", headline, {"orders": rows})


def _both(ours: Outcome, theirs: Outcome) -> list[object]:
    pairs = [(o.saved, o.recovered, o.regret) for o in (ours, theirs)]
    return [value for pair in zip(*pairs, strict=True) for value in pair]


if __name__ == "__main__":
    main()
