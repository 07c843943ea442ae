"""How many of the ten best networks of MetaQNN's published search does each way of stopping train to the end, and how fast?

What `metaqnn select` trains longer are the ten best networks of a search. Each row replays the 1,000 public curves in several
random orders through the product's `Study`: with the thesis's rule, against the best or the tenth best, and with the learned
policy.

    python -m benchmarks.replay.ten_best --data ../shared/data --out out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load
from benchmarks.replay.thesis import thesis_study
from curvestop.clients.backtest.policy_replay import PolicyReplay
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings

SET = "metaqnn-cifar10"
N_BEST = 10
REFIT_GROWTH = 1.2
"""Models are refitted when there are a fifth more complete curves, as on a busy server."""


def by_rule(predictor: str, rank: int, threshold: float = 0.99, tolerance: float = 0.0) -> StudySettings:
    rule = StoppingRule(threshold=threshold, tolerance=tolerance, rank=rank, min_curves=100)
    return StudySettings("ten-best", 20, rule=rule, policy="threshold", predictor=predictor)


def learned(risk: float) -> StudySettings:
    return StudySettings("ten-best", 20, policy="learned", policy_settings={"risk": risk})


SETTINGS: Mapping[str, StudySettings] = {
    "threshold .99, best": by_rule("stacked", 1),
    "threshold .99, 10th best": by_rule("stacked", N_BEST),
    "threshold .99, best, tolerance .01": by_rule("stacked", 1, tolerance=0.01),
    "threshold .95, 10th best": by_rule("stacked", N_BEST, threshold=0.95),
    "the thesis's nu-SVR, .99, best": by_rule("nu-svr", 1),
    "the thesis's nu-SVR, .99, 10th best": by_rule("nu-svr", N_BEST),
    "learned, risk .03": learned(0.03),
    "learned, risk .01": learned(0.01),
}


@dataclass(frozen=True)
class TenBest:
    """One way of stopping in one order.

    speedup: all epochs over those trained. kept: how many of the ten best were trained to the end. best_kept: whether the best
    was.
    """

    speedup: float
    kept: int
    best_kept: bool


def replayed(curve_set: CurveFile, settings: StudySettings, seed: int) -> TenBest:
    search = thesis_study(curve_set, seed)
    replay = PolicyReplay(search, replace(settings, direction=search.direction), refit_growth=REFIT_GROWTH)
    whole = replay.ended_at == search.max_epochs
    best_first = np.argsort(-search.finals, kind="stable")
    return TenBest(replay.outcome().speedup, int(whole[best_first[:N_BEST]].sum()), bool(whole[best_first[0]]))


def main(argv: Sequence[str] | None = None) -> None:
    """Replay and show."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--orders", type=int, default=6, help="random orders (default: %(default)s)")
    options = parser.parse_args(argv)
    curve_set = load(options.data, SET)
    if curve_set is None:
        return
    rows: list[list[object]] = []
    for name, settings in SETTINGS.items():
        runs = [replayed(curve_set, settings, options.seed + i) for i in range(options.orders)]
        speedup = float(np.exp(np.mean([np.log(run.speedup) for run in runs])))
        kept = [run.kept for run in runs]
        rows.append([name, speedup, float(np.mean(kept)), min(kept), sum(run.best_kept for run in runs)])
    heads = ["", "speed-up", "of the ten best, whole", "fewest in an order", f"orders of {options.orders} with the best"]
    benchmark_cli.show(f"{SET}: the ten best networks", heads, rows)
    benchmark_cli.conclude(options.out, "ten_best", {str(row[0]): row[1:3] for row in rows})


if __name__ == "__main__":
    main()
