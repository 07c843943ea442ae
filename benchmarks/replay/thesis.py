"""The thesis's own experiment: MetaQNN (and two ResNet) searches, its rule, its nu-SVR trained on the first 100 curves.

Baker 2017 (thesis), section 4.2.3, Figures 4-1 and 4-5. The rule is asked after every epoch. Beside it stands, as in the figure,
the extrapolation of each curve by itself (LCE, Domhan et al. 2015), which learns from no other curve: in one order of fewer
networks, as one prediction takes a fifth of a second with a tenth of the default steps.

    python -m benchmarks.replay.thesis --data ../shared/data --out out --lce 200
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.replay.policy_figures import subplots
from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.shuffled_study import Forecast, shuffled
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.srm.curve import Decision, LearningCurve, Prediction
from curvestop.srm.policies.evidence import Evidence, IgnoresPredictedRanks
from curvestop.srm.policies.stopping_rule import StoppingRule, nth_best
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.regression.features import curve_features, group_of
from curvestop.srm.regression.regressors import REGRESSORS

SETS = ("metaqnn-cifar10", "resnet-cifar10", "resnet-tinyimagenet")
N_TRAIN = 100
LCE_STEPS = {"n_steps": 100, "burn_in": 33}
LCE_FIRST = 4
"""Epoch from which on LCE is asked: its families have up to four parameters, and one value alone is drawn on as it is."""
THRESHOLDS = (0.5, 0.9, 0.95, 0.99)
CLAIMS = {
    "metaqnn-cifar10": "Figure 4-5, beside 3.8x in a live run at 0.99",
    "resnet-cifar10": "deep ResNets: 3.4x, recovered only at 0.99",
    "resnet-tinyimagenet": "deep ResNets: 3.4x, recovered only at 0.99",
}


@dataclass(frozen=True)
class ThesisRule(IgnoresPredictedRanks):
    """The thesis's rule, asked after every epoch."""

    beat: StoppingRule

    def decision_points(self, horizon: int) -> Sequence[int]:
        return range(1, horizon)

    def decide(self, evidence: Evidence) -> Decision:
        decision = evidence.answer(False, "", beat=self.beat)
        stop = decision.probability is not None and self.beat.stops(decision.probability)
        return evidence.answer(stop, "the thesis's rule", beat=self.beat)


VARIANTS: dict[str, list[StoppingRule]] = {
    "best": [StoppingRule(threshold=t) for t in THRESHOLDS],
    "best, delta = 0.005": [StoppingRule(threshold=t, tolerance=0.005) for t in THRESHOLDS],
    "best, delta = 0.01": [StoppingRule(threshold=t, tolerance=0.01) for t in THRESHOLDS],
    "10th best": [StoppingRule(threshold=t, rank=10) for t in THRESHOLDS],
}


@dataclass
class FirstCurves:
    """A `Forecaster`: nu-SVR fitted once, on the first `N_TRAIN` trials, for each decision point."""

    study: CurveSet
    n_candidates: int = 1000
    _by_epoch: dict[int, Forecast] = field(default_factory=dict)

    def forecast(self, epoch: int, completed: Sequence[int]) -> Forecast | None:
        if len(completed) < N_TRAIN:
            return None
        if epoch not in self._by_epoch:
            self._by_epoch[epoch] = self._learn(epoch)
        return self._by_epoch[epoch]

    def _learn(self, epoch: int) -> Forecast:
        curves, finals = self.study.curves, self.study.curves[:, -1]
        features = np.hstack([curve_features(curves[:, :epoch]), self.study.configurations])
        model = REGRESSORS["nu-svr"](n_candidates=self.n_candidates, seed=self.study.seed)
        model.fit(features[:N_TRAIN], finals[:N_TRAIN])
        mean = model.predict(features)
        return Forecast(self.study.sign * mean, mean, np.full(len(mean), model.sigma_), N_TRAIN, 0.0)


@dataclass
class Extrapolation:
    """LCE on the first trials of a study, each extrapolated by itself from its first epoch on."""

    study: CurveSet
    n_trials: int
    _known: dict[tuple[int, int], Prediction] = field(default_factory=dict)

    def point(self, beat: StoppingRule) -> ThesisPoint:
        """Replay the rule, which compares with the best of the trials that were trained to the end."""
        curves, direction, finals, ended_at = self.study.curves[: self.n_trials], self.study.direction, list[float](), []
        for trial, curve in enumerate(curves):
            best = nth_best(finals, beat.rank, direction)
            looks = range(LCE_FIRST, len(curve)) if best is not None else ()
            chances = ((e, beat.probability(self._prediction(trial, e), best or 0.0, direction)) for e in looks)
            ended_at.append(next((e for e, p in chances if beat.stops(p)), len(curve)))
            if ended_at[-1] == len(curve):
                finals.append(float(curve[-1]))
        recovered = max(self.study.sign * curves[:, -1]) == max(self.study.sign * np.array(finals))
        name = f"best, LCE ({self.n_trials} trials)"
        return ThesisPoint(self.study.name, name, beat.threshold, curves.size / sum(ended_at), float(recovered))

    def _prediction(self, trial: int, epoch: int) -> Prediction:
        if (trial, epoch) not in self._known:
            # Of other curves it takes the length and the scale only, which the first one has.
            first, curve = (LearningCurve(str(i), {}, tuple(self.study.curves[i].tolist())) for i in (0, trial))
            model = PREDICTORS["lce"](direction=self.study.direction, seed=self.study.seed, **LCE_STEPS).fit([first])
            answer = model.predict(curve.head(epoch))
            assert answer is not None  # the curve is shorter than the horizon
            self._known[trial, epoch] = answer
        return self._known[trial, epoch]


@dataclass(frozen=True)
class ThesisPoint:
    """One variant and threshold on one set: geometric mean speed-up and share of orders that recover the best."""

    set_name: str
    variant: str
    threshold: float
    speedup: float
    recovered: float


@dataclass(frozen=True)
class ThesisReplay:
    """points: of Figure 4-5. example: `(n, T)` curves of one order, and ended_at `(n,)` where each was stopped, of Figure 4-1."""

    points: Sequence[ThesisPoint]
    example: tuple[Array, Array] | None


def replayed(sets: Sequence[CurveFile], n_orders: int, seed: int, *, n_candidates: int = 1000, n_lce: int = 0) -> ThesisReplay:
    points, example = [], None
    for curve_set in sets:
        if curve_set.name not in SETS or len(curve_set.curves) <= N_TRAIN:
            continue
        orders = [FirstCurves(thesis_study(curve_set, seed + i), n_candidates=n_candidates) for i in range(n_orders)]
        for variant, rules in VARIANTS.items():
            for beat in rules:
                runs = [SearchReplay(models.study, ThesisRule(beat), models=models) for models in orders]
                outcomes = [run.outcome() for run in runs]
                speedup = float(np.exp(np.mean([np.log(o.speedup) for o in outcomes])))
                recovered = float(np.mean([o.recovered for o in outcomes]))
                points.append(ThesisPoint(curve_set.name, variant, beat.threshold, speedup, recovered))
                if curve_set.name == SETS[0] and beat == StoppingRule(threshold=0.95):
                    example = (orders[0].study.curves, runs[0].ended_at)
        if n_lce and curve_set.name == SETS[0]:
            extrapolation = Extrapolation(thesis_study(curve_set, seed), n_lce)
            points += [extrapolation.point(beat) for beat in VARIANTS["best"]]
    return ThesisReplay(points, example)


def thesis_study(curve_set: CurveFile, seed: int) -> CurveSet:
    """All trials of the set, with the thesis's columns: architecture and hyper-parameters."""
    study = shuffled(curve_set, seed, n_trials=len(curve_set.curves))
    kept = [j for j, name in enumerate(curve_set.names) if group_of(name) != "BoW"]
    return CurveSet(study.name, seed, study.curves, study.configurations[:, kept], study.direction)


def rows(replay: ThesisReplay) -> list[list[object]]:
    return [[p.set_name, p.variant, p.threshold, p.speedup, p.recovered, CLAIMS[p.set_name]] for p in replay.points]


def draw(out: Path, thesis: ThesisReplay) -> None:
    """`thesis_4_1.png`: curves as they are, and as the rule stopped them. `thesis_4_5.png`: speed-up by threshold."""
    out.mkdir(parents=True, exist_ok=True)
    if thesis.example is not None:
        curves, ended_at = thesis.example
        figure, axes = subplots(1, 2)
        for curve, end in zip(curves, ended_at.astype(int), strict=True):
            axes[0].plot(range(1, len(curve) + 1), curve, lw=0.3, alpha=0.4)
            axes[1].plot(range(1, end + 1), curve[:end], lw=0.3, alpha=0.4)
        axes[0].set(title="all curves", xlabel="epoch", ylabel="validation accuracy")
        axes[1].set(title="stopped, threshold 0.95", xlabel="epoch")
        figure.savefig(out / "thesis_4_1.png", dpi=150)
    names = list(dict.fromkeys(p.set_name for p in thesis.points))
    if not names:
        return
    figure, axes = subplots(1, len(names))
    for ax, name in zip(axes, names, strict=True):
        for variant in dict.fromkeys(p.variant for p in thesis.points):
            points = [p for p in thesis.points if (p.set_name, p.variant) == (name, variant)]
            line = ax.plot([p.threshold for p in points], [p.speedup for p in points], lw=0.8, label=variant)
            for p in points:  # as in the thesis: a triangle where more than half of the orders recover the best
                ax.plot(p.threshold, p.speedup, "^" if p.recovered > 0.5 else "x", color=line[0].get_color())
        ax.set(title=name, xlabel="threshold", ylabel="speed-up")
    axes[0].legend(fontsize=7)
    figure.savefig(out / "thesis_4_5.png", dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Replay, show and draw."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--orders", type=int, default=10, help="orders of every set (default: %(default)s)")
    parser.add_argument("--lce", type=int, default=0, help="trials of metaqnn-cifar10 that LCE extrapolates (default: none)")
    options = parser.parse_args(argv)
    found = replayed(load_all(options.data), options.orders, options.seed, n_lce=options.lce)
    heads = ["set", "to beat", "threshold", "speed-up", "share of orders recovered", "the thesis"]
    benchmark_cli.show("The thesis's experiment: nu-SVR on the first 100 curves", heads, rows(found))
    draw(options.out, found)
    headline = {f"{p.set_name} {p.threshold:g}": [p.speedup, p.recovered] for p in found.points if p.variant == "best"}
    benchmark_cli.conclude(options.out, "thesis", headline, [vars(p) for p in found.points])


if __name__ == "__main__":
    main()
