"""How long does one decision take on a fitted predictor: features, mean, sigma and the probability of not being worth it?

One by one and in batches of 64, for every predictor that is fitted fast; nu-SVR's mean beside scikit-learn's `predict` on the
same model, with the same answer to 1e-10.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python -m benchmarks.predict.query_speed
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.svm import NuSVR

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.predict.scoring import truncated
from curvestop.srm.curve import CurvePredictor, LearningCurve
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.predictors.sequential import features_of
from curvestop.srm.regression.features import Array, ConfigurationFeatures
from curvestop.srm.regression.kernel_expansion import Expansion
from curvestop.srm.regression.nu_svr import NuSVRRegressor
from curvestop.srm.regression.standardize import Scaler

BATCH = 64
"""Decisions in a batch."""
SETS = ("metaqnn-cifar10", "naap440-cifar10", "resnet-cifar10")
PREDICTORS_SHOWN = tuple(p for p in ("stacked", "nu-svr", "ols") if p in PREDICTORS)
FITS_ALL_LENGTHS = "stacked"
"""This predictor learns from complete curves at its own lengths; the sequential ones are given one length only."""


@dataclass(frozen=True)
class Decisions:
    """Wall time of one decision, in microseconds.

    Attributes:
        single_us: Median, alone.
        batch_us: Median of a batch of 64, for each decision in it.
        least_single_us: Least, alone: that of a quiet moment.
        least_batch_us: Least of a batch, for each decision in it.
    """

    single_us: float
    batch_us: float
    least_single_us: float
    least_batch_us: float


@dataclass(frozen=True)
class Means:
    """Wall time of one predicted mean.

    Attributes:
        own_us: Median microseconds of our query.
        scikit_learn_us: Median microseconds of scikit-learn's `predict`.
        difference: Largest difference between both, in standard deviations of the target.
    """

    own_us: float
    scikit_learn_us: float
    difference: float


def times_us(work: Callable[[], object], repeats: int = 2000) -> Array:
    """Return the wall times of repeated calls, in microseconds."""
    times = np.empty(repeats)
    for i in range(repeats):
        begin = time.perf_counter_ns()
        work()
        times[i] = (time.perf_counter_ns() - begin) / 1e3
    return times


def median_us(work: Callable[[], object]) -> float:
    """Return the median wall time of one call, in microseconds."""
    return float(np.median(times_us(work)))


def decisions(predictor: CurvePredictor, curves: Sequence[LearningCurve], to_beat: float) -> Decisions:
    """Time decisions about partial curves, a different one each time."""
    rule = StoppingRule()
    batch = list(itertools.islice(itertools.cycle(curves), BATCH))
    queue = itertools.cycle(curves)  # another curve each time, so that no cache answers
    predict_many = getattr(predictor, "predict_many", None) or (lambda many: [predictor.predict(c) for c in many])

    def single() -> float | None:
        prediction = predictor.predict(next(queue))
        return None if prediction is None else rule.probability(prediction, to_beat, "maximize")

    def batched() -> list[float]:
        return [rule.probability(p, to_beat, "maximize") for p in predict_many(batch) if p is not None]

    alone, together = times_us(single), times_us(batched) / BATCH
    return Decisions(float(np.median(alone)), float(np.median(together)), float(alone.min()), float(together.min()))


def means(curve_set: CurveFile, *, tau: int, n: int, seed: int) -> Means:
    """Time nu-SVR's mean alone against scikit-learn's `predict` of the same model, one row at a time.

    Ours starts from the curve's values and the configuration's numbers, scikit-learn's from its standardized features.
    """
    features, target, rows, linear_map = problem(curve_set, tau=tau, n=n + 100, seed=seed)
    # The same settings and standardization for both, so that only the query differs.
    of_features, of_target = Scaler.of(features[:n]), Scaler.of(target[:n])
    settings = NuSVRRegressor(n_candidates=60, seed=seed).fit(features[:n], target[:n]).best_
    standardized = of_features(features)
    model = NuSVR(C=settings.C, nu=settings.nu, gamma=settings.gamma).fit(standardized[:n], of_target(target[:n]))
    dual, offset = model.dual_coef_[0], float(model.intercept_[0])
    same = Expansion("rbf", settings.gamma, model.support_vectors_, dual, offset, of_features, of_target)
    query = same.as_query(linear_map, rows[:n].mean(axis=0))
    difference = np.abs(query(rows) - of_target.back(model.predict(standardized))).max() / of_target.spread
    ours, theirs = itertools.cycle(np.split(rows, len(rows))), itertools.cycle(np.split(standardized, len(rows)))
    return Means(median_us(lambda: query(next(ours))), median_us(lambda: model.predict(next(theirs))), float(difference))


def problem(curve_set: CurveFile, *, tau: int, n: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Return features, targets, rows and map of at most `n` random curves, where features = rows @ map."""
    curves = curve_set.learning_curves()
    chosen = [curves[i] for i in np.random.default_rng(seed).permutation(len(curves))[:n]]
    configurations = [c.configuration for c in chosen]
    columns = ConfigurationFeatures(curve_set.log_scaled).fit(configurations).transform(configurations)
    rows = np.hstack([np.array([c.values[:tau] for c in chosen]), columns])
    target = np.array([c.values[-1] for c in chosen])
    return features_of(rows, tau), target, rows, features_of(np.eye(rows.shape[1]), tau)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and write `OUT/query_speed.json`."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=SETS, help="names of the curve sets (default: %(default)s)")
    parser.add_argument("--fraction", type=float, default=0.25, help="share of the curve observed (default: %(default)s)")
    parser.add_argument("--train", type=int, default=100, help="number of training curves (default: %(default)s)")
    parser.add_argument(
        "--predictors", nargs="+", default=PREDICTORS_SHOWN, choices=sorted(PREDICTORS), help="predictors to time"
    )
    options = parser.parse_args(argv)
    asked: dict[tuple[str, str], Decisions] = {}
    compared: dict[str, Means] = {}
    for curve_set in load_all(options.data, options.sets):
        tau = max(1, round(options.fraction * curve_set.n_epochs))
        curves = curve_set.learning_curves()
        order = np.random.default_rng(options.seed).permutation(len(curves))
        train, test = [curves[i] for i in order[: options.train]], [curves[i].head(tau) for i in order[options.train :]]
        for name in options.predictors:
            predictor = PREDICTORS[name](log_scaled=curve_set.log_scaled).fit(
                train if name == FITS_ALL_LENGTHS else truncated(train, tau)
            )
            asked[curve_set.name, name] = decisions(predictor, test, max(c.values[-1] for c in train))
        compared[curve_set.name] = means(curve_set, tau=tau, n=options.train, seed=options.seed)
    benchmark_cli.show(
        f"one decision at {options.fraction:.0%} of the curve, {options.train} curves: wall us each",
        ["set", "predictor", "alone: median", "least", f"in {BATCH}: median", "least"],
        [[name, p, d.single_us, d.least_single_us, d.batch_us, d.least_batch_us] for (name, p), d in asked.items()],
    )
    benchmark_cli.show(
        "nu-SVR's mean of one row, the same model: wall us",
        ["set", "scikit-learn", "ours", "x faster", "difference / sd"],
        [[n, m.scikit_learn_us, m.own_us, m.scikit_learn_us / m.own_us, f"{m.difference:.0e}"] for n, m in compared.items()],
    )
    default = [d for (_, p), d in asked.items() if p == options.predictors[0]]
    headline = {
        "single_us": round(max(d.single_us for d in default), 2),
        "batch64_us": round(max(d.batch_us for d in default), 2),
        "least_single_us": round(max(d.least_single_us for d in default), 2),
        "least_batch64_us": round(max(d.least_batch_us for d in default), 2),
        "ratio_to_sklearn": round(min(m.scikit_learn_us / m.own_us for m in compared.values()), 1),
    }
    details = {
        "decisions": {f"{name}/{p}": asdict(d) for (name, p), d in asked.items()},
        "means": {name: asdict(m) for name, m in compared.items()},
    }
    benchmark_cli.conclude(options.out, "query_speed", headline, details)


if __name__ == "__main__":
    main()
