"""How much CPU does a fit take, against scikit-learn doing the same?

nu-SVR's random search and leave-one-out sigma beside RandomizedSearchCV + LeaveOneOut with the same candidates and folds in
the same run (thesis, section 4.2.4); then whole predictors: all models of the default one, and its refit after one new curve.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python -m benchmarks.predict.fit_speed
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import LeaveOneOut, RandomizedSearchCV, cross_val_predict
from sklearn.svm import NuSVR

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.regression.features import Array, ConfigurationFeatures, curve_features
from curvestop.srm.regression.nu_svr import Candidate, NuSVRRegressor, canonical_order, draw_candidates, draw_folds
from curvestop.srm.regression.standardize import Scaler

TOLERANCE = 1e-6
"""Tolerance of libsvm in the reference; at its default, 1e-3, the winner and sigma are off."""
SETS = ("metaqnn-cifar10", "naap440-cifar10", "resnet-cifar10")
N_LENGTHS = 12
"""Models of a sequential predictor, one for each of so many lengths; the default predictor chooses its own 12 or 13."""
DEFAULT_PREDICTOR = "stacked"
REPEATS = 3
"""Our own times are the least of this many runs; scikit-learn runs once."""


@dataclass(frozen=True)
class InOrder:
    """A "distribution" whose draws are these values one after another.

    Attributes:
        values: The values.
    """

    values: Iterator[float]

    def rvs(self, random_state: object = None) -> float:
        """Return the next value; scikit-learn calls this."""
        return next(self.values)


@dataclass(frozen=True)
class Fitted:
    """What a fit found and what it cost.

    Attributes:
        candidate: Index of the winner.
        sigma: Root mean square leave-one-out residual of standardized targets.
        cpu_s: CPU seconds.
    """

    candidate: int
    sigma: float
    cpu_s: float


def cpu_s(work: Callable[[], Any], repeats: int = 1) -> float:
    """Return the least CPU seconds of `repeats` runs."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def problem(curve_set: CurveFile, *, fraction: float, n: int, seed: int) -> tuple[Array, Array]:
    """Return standardized features `(n, p)` and targets `(n,)` of random curves, in the order in which a regressor puts them."""
    curves = curve_set.learning_curves()
    chosen = [curves[i] for i in np.random.default_rng(seed).permutation(len(curves))[:n]]
    tau = max(1, round(fraction * curve_set.n_epochs))
    configurations = [c.configuration for c in chosen]
    columns = ConfigurationFeatures(curve_set.log_scaled).fit(configurations).transform(configurations)
    features = np.hstack([curve_features(np.array([c.values[:tau] for c in chosen])), columns])
    target = np.array([c.values[-1] for c in chosen])
    features, target = Scaler.of(features)(features), Scaler.of(target)(target)
    order = canonical_order(features, target)
    return features[order], target[order]


def scikit_learn(
    features: Array, target: Array, candidates: Sequence[Candidate], folds: Sequence[npt.NDArray[np.intp]]
) -> Fitted:
    """Fit by scikit-learn: RandomizedSearchCV, then leave-one-out predictions of the winner."""
    everyone = np.arange(len(target))
    columns = {name: InOrder(iter([getattr(c, name) for c in candidates])) for name in ("C", "nu", "gamma")}
    search = RandomizedSearchCV(
        NuSVR(tol=TOLERANCE),
        columns,
        n_iter=len(candidates),
        scoring="r2",
        cv=[(np.setdiff1d(everyone, fold), fold) for fold in folds],
        refit=False,
        random_state=0,
    )
    begin = time.process_time()
    search.fit(features, target)
    predicted = cross_val_predict(NuSVR(tol=TOLERANCE, **search.best_params_), features, target, cv=LeaveOneOut())
    return Fitted(int(search.best_index_), float(np.sqrt(np.mean((target - predicted) ** 2))), time.process_time() - begin)


def ours(features: Array, target: Array, candidates: Sequence[Candidate], seed: int, *, compiled: bool) -> Fitted:
    """Fit by our regressor, with numba (`compiled`) or without."""
    regressor = NuSVRRegressor(n_candidates=len(candidates), seed=seed, compiled=compiled)
    seconds = cpu_s(lambda: regressor.fit(features, target), REPEATS)
    return Fitted(list(candidates).index(regressor.best_), regressor.sigma_, seconds)


def compare(curve_set: CurveFile, *, n: int, n_candidates: int, fraction: float, seed: int) -> dict[str, Fitted]:
    """Fit one problem by scikit-learn and by our engines, with the same candidates and folds."""
    features, target = problem(curve_set, fraction=fraction, n=n, seed=seed)
    # The regressor draws candidates and folds from the same seed in the same order.
    rng = np.random.default_rng(seed)
    candidates = draw_candidates(n_candidates, rng)
    folds = draw_folds(len(target), rng)
    engines = {"numpy": False, **({"numba": True} if importlib.util.find_spec("numba") else {})}
    fits = {name: ours(features, target, candidates, seed, compiled=flag) for name, flag in engines.items()}
    return {"scikit-learn": scikit_learn(features, target, candidates, folds), **fits}


def fit_row(name: str, n: int, fits: Mapping[str, Fitted]) -> list[object]:
    """Return a row of the table of fits."""
    reference = fits["scikit-learn"]
    own = [fits[engine] for engine in ("numpy", "numba") if engine in fits]
    times = [x for f in own for x in (f"{1e3 * f.cpu_s:.1f}", f"{reference.cpu_s / f.cpu_s:.1f}")] + [""] * (4 - 2 * len(own))
    same = all(f.candidate == reference.candidate for f in own)
    error = max(abs(f.sigma / reference.sigma - 1) for f in own)
    return [name, n, f"{1e3 * reference.cpu_s:.0f}", *times, "yes" if same else "no", f"{error:.1e}"]


def ratio(fits: Iterable[Mapping[str, Fitted]], engine: str) -> float | None:
    """Return the CPU time of scikit-learn over ours, summed over problems; None if the engine did not run."""
    pairs = [(f["scikit-learn"].cpu_s, f[engine].cpu_s) for f in fits if engine in f]
    return round(sum(a for a, _ in pairs) / sum(b for _, b in pairs), 1) if pairs else None


def predictor_cost(
    curve_set: CurveFile, predictor: str, *, n: int, seed: int, n_lengths: int = N_LENGTHS
) -> tuple[float, float | None]:
    """Return the CPU seconds of a predictor's fit, and of its refit after one new curve (None if it has none).

    The default predictor chooses its own lengths; a sequential one gets curves of `n_lengths` + 1 values, which make
    `n_lengths` models (or one fewer than the curves have epochs).
    """
    curves = curve_set.learning_curves()
    # The last curve is the one that a refit adds.
    curves = tuple(curves[i] for i in np.random.default_rng(seed).permutation(len(curves))[: n + 1])
    if predictor != DEFAULT_PREDICTOR:
        epochs = np.unique(np.linspace(1, curve_set.n_epochs, n_lengths + 1).round().astype(int)) - 1
        curves = tuple(LearningCurve(c.trial, c.configuration, tuple(c.values[i] for i in epochs)) for c in curves)
    model = PREDICTORS[predictor](log_scaled=curve_set.log_scaled)
    fit_s = cpu_s(lambda: model.fit(curves[:n]), REPEATS)
    refit = getattr(model, "refitted", None) or getattr(model, "refit", None)
    return fit_s, None if refit is None else cpu_s(lambda: refit(curves), REPEATS)


def cost(curve_set: CurveFile, *, n: int, n_candidates: int, fraction: float, seed: int) -> float:
    """Return the CPU seconds of our nu-SVR fit alone, with numba where it is installed."""
    features, target = problem(curve_set, fraction=fraction, n=n, seed=seed)
    return cpu_s(lambda: NuSVRRegressor(n_candidates=n_candidates, seed=seed).fit(features, target))


def draw_scale(path: Path, scale: Mapping[tuple[str, int], float]) -> None:
    """Draw CPU seconds against the number of curves, both on logarithmic axes, one line for each set."""
    from matplotlib.figure import Figure  # the extra `bench`

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for name in sorted({name for name, _ in scale}):
        points = sorted((n, seconds) for (other, n), seconds in scale.items() if other == name)
        axes.loglog(*zip(*points, strict=True), "o-", label=name)
    axes.set(xlabel="training curves", ylabel="CPU s: search and leave-one-out")
    axes.legend()
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and write `OUT/fit_speed.json`."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=SETS, help="names of the curve sets (default: %(default)s)")
    parser.add_argument("--fraction", type=float, default=0.25, help="share of the curve observed (default: %(default)s)")
    parser.add_argument("--train", type=int, nargs="+", default=[100], help="numbers of training curves (default: %(default)s)")
    parser.add_argument(
        "--scale",
        type=int,
        nargs="+",
        default=[],
        help="numbers of training curves for which our fit alone is timed (default: none)",
    )
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        default=[N_LENGTHS],
        help="numbers of models of a sequential predictor (default: %(default)s)",
    )
    parser.add_argument("--candidates", type=int, default=1000, help="draws of nu-SVR's random search (default: %(default)s)")
    options = parser.parse_args(argv)
    sets = load_all(options.data, options.sets)
    fits = {
        (curve_set.name, n): compare(
            curve_set, n=n, n_candidates=options.candidates, fraction=options.fraction, seed=options.seed
        )
        for curve_set in sets
        for n in options.train
    }
    benchmark_cli.show(
        f"nu-SVR at {options.fraction:.0%} of the curve: CPU ms to search {options.candidates} candidates and leave one out",
        ["set", "curves", "scikit-learn", "numpy", "x faster", "numba", "x faster", "same winner", "sigma off by"],
        [fit_row(name, n, fit) for (name, n), fit in fits.items()],
    )
    predictors = [p for p in (DEFAULT_PREDICTOR, "nu-svr", "ols") if p in PREDICTORS]
    n = options.train[0]
    banks = {
        (s.name, p, k): predictor_cost(s, p, n=min(n, len(s.curves) - 1), seed=options.seed, n_lengths=k)
        for s in sets
        for p in predictors
        for k in (options.lengths if p != DEFAULT_PREDICTOR else [N_LENGTHS])
    }
    benchmark_cli.show(
        f"whole predictors, {n} curves: CPU",
        ["set", "predictor", "models", "fit s", "refit ms"],
        [[name, p, k, fit, "" if refit is None else 1e3 * refit] for (name, p, k), (fit, refit) in banks.items()],
    )
    scale = {
        (s.name, n): cost(s, n=n, n_candidates=options.candidates, fraction=options.fraction, seed=options.seed)
        for s in sets
        for n in options.scale
        if n <= len(s.curves)
    }
    if scale:
        benchmark_cli.show("our nu-SVR fit: CPU s", ["set", "curves", "s"], [[name, n, s] for (name, n), s in scale.items()])
        draw_scale(options.out / "fit_speed_scale.png", scale)
    default = [b for (_, p, _), b in banks.items() if p == DEFAULT_PREDICTOR]
    headline = {
        "nu_svr_ratio": ratio(fits.values(), "numpy"),
        "nu_svr_fast_ratio": ratio(fits.values(), "numba"),
        "bank12_cpu_s": round(float(np.mean([fit for fit, _ in default])), 4) if default else None,
        "refit_cpu_ms": round(1e3 * float(np.mean([r for _, r in default if r is not None])), 2) if default else None,
    }
    benchmark_cli.conclude(
        options.out,
        "fit_speed",
        headline,
        {
            "nu_svr": {f"{name}/{n}": {engine: asdict(f) for engine, f in fit.items()} for (name, n), fit in fits.items()},
            "banks": {f"{name}/{p}/{k}": {"fit_s": fit, "refit_s": refit} for (name, p, k), (fit, refit) in banks.items()},
            "scale": {f"{name}/{n}": seconds for (name, n), seconds in scale.items()},
        },
    )


if __name__ == "__main__":
    main()
