"""Learn the coefficients of the stopping policy `learned` from replayed searches.

Two rounds. In the first, a rule that stops bad ranks at random says which decision points are met. In the second, the policy of
the first round does, on each set with coefficients that never saw the set's domain: so the cases are those that the policy
itself will meet. Relatives of each set join in the second round: its better half, and the first half of its epochs. Every domain
weighs the same. A threshold belongs to each risk: replays with left-out coefficients lose the best
trial in that share of searches.

    python -m benchmarks.replay.train_policy --data ../shared/data --seed 0
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from benchmarks import benchmark_cli
from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.search_scores import Scores, is_best
from benchmarks.replay.search_set import SearchSet, epoch_durations, load_searches
from benchmarks.replay.shuffled_study import Models
from curvestop.clients.backtest.curve_set import Array
from curvestop.srm.curve import Decision
from curvestop.srm.policies.boosted_trees import DEPTH, N_LEAVES, N_QUESTIONS, BoostedTrees, Tree
from curvestop.srm.policies.evidence import Evidence
from curvestop.srm.policies.learned import Coefficients, LearnedPolicy, Regression, experience
from curvestop.srm.policies.trial_features import FEATURES

SHIPPED = Path(__file__).parents[2] / "srm" / "policies" / "learned_coefficients.json"
LEFT_OUT = Path(__file__).with_name("left_out_coefficients.json")
SIZES = (20, 30, 40, 60, 100)
WORKERS = (1, 1, 8, 64)
LEAST_EPOCHS_TO_HALVE = 20
RIDGE = 1e-3
N_TREES = 60
LABEL = "the best trial, halved"
RISKS = (0.003, 0.01, 0.03, 0.1, 0.2)
CALIBRATED_SIZES = (20, 40, 60, 100)
THRESHOLDS = tuple(0.0012 * 10 ** (k / 5) for k in range(9))
"""Thresholds that are replayed, from .0012 to .048; between them the share of lost searches is interpolated."""
KEPT_IN_A_ROW = 2
"""A search that keeps its best trial at so many thresholds in a row is taken to keep it at all lower ones."""
FIRST_CALIBRATED_ORDER = 1000
"""The searches on which thresholds are chosen are others than those of the comparison, which begin at order 0."""

LeftOut = Mapping[str, Coefficients]
"""Domain -> coefficients that never saw it."""


@dataclass(frozen=True)
class Cases:
    """Trials at decision points, one a row.

    Attributes:
        features: `(n, 16)` by `FEATURES`.
        has_model: `(n,)` whether the search had a model.
        label: `(n,)` 1 if the trial ended as the best, else 0.
        group: `(n,)` which cases come from the same set, number of trials and number of workers.
        domain: `(n,)` name of the domain.
    """

    features: npt.NDArray[np.float32]
    has_model: npt.NDArray[np.bool_]
    label: Array
    group: npt.NDArray[np.intp]
    domain: npt.NDArray[np.str_]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Cases:
        """Return the chosen cases."""
        return Cases(self.features[chosen], self.has_model[chosen], self.label[chosen], self.group[chosen], self.domain[chosen])

    @property
    def weights(self) -> Array:
        """`(n,)` the same sum for every domain; within one, groups weigh by the root of their cases."""
        of_group = 1 / np.sqrt(np.bincount(self.group))[self.group]
        index = np.unique(self.domain, return_inverse=True)[1]
        weights: Array = of_group / np.bincount(index, weights=of_group)[index]
        return weights


@dataclass(frozen=True)
class Case:
    """What a behavior decides by: the features of a trial at a decision point, and what they were made of."""

    features: list[float]
    share: float
    n_others: int
    n_completed: int
    has_model: bool


Behavior = Callable[[Case], bool]
"""Whether a trial is stopped."""


class Recorder:
    """A rule that notes the features at every decision point and stops by a behavior."""

    reads_neighbors = True

    def __init__(self, behavior: Behavior) -> None:
        self._behavior, self._policy = behavior, LearnedPolicy()
        self.noted: list[tuple[int, Case]] = []

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return those of the policy."""
        return self._policy.decision_points(max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return those of the policy."""
        return self._policy.ranked_epochs(tau, previous, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Note the case, unless there is no other trial to compare with."""
        epoch, history = evidence.tau, evidence.history
        if evidence.n_others(epoch) < 1:
            return Decision.carry_on("")
        features = self._policy.features(evidence, epoch)
        has_model = history.predicted_better(evidence.trial, epoch) is not None
        case = Case(features, epoch / evidence.max_epochs, evidence.n_others(epoch), history.n_completed, has_model)
        self.noted.append((int(evidence.trial), case))
        return Decision(self._behavior(case), "")


def random_rank(rng: np.random.Generator) -> Behavior:
    """Return a behavior that stops ranks below a random one, with a random probability."""
    keep, probability, rank = rng.uniform(0.4, 1), rng.uniform(0.1, 0.6), FEATURES.index("rank_least")
    return lambda case: 1 / (1 + math.exp(-case.features[rank])) > keep and rng.random() < probability


def learned(coefficients: Coefficients, rng: np.random.Generator) -> Behavior:
    """Return the policy at a random threshold and a random least number of complete trials."""
    policy = at_threshold(coefficients, math.exp(rng.uniform(math.log(0.003), math.log(0.03))))
    min_completed = int(rng.choice((1, 3, 5, 5)))

    def stops(case: Case) -> bool:
        if case.n_others < policy.min_others or experience(case.n_others, case.n_completed) < min_completed:
            return False
        return coefficients.chance(case.features, has_model=case.has_model) < policy.threshold(
            case.share, case.n_others, case.n_completed
        )

    return stops


def at_threshold(coefficients: Coefficients, threshold: float) -> LearnedPolicy:
    """Return the policy whose threshold, before it is adapted to the trial, is this one."""
    return LearnedPolicy(risk=0.5, coefficients=replace(coefficients, thresholds=((0.5, threshold),)))


# Replays.


@dataclass(frozen=True)
class Task:
    """One search to replay for its cases.

    Attributes:
        searches: The set.
        group: Number of its set, number of trials and number of workers together.
        n_trials: Number of trials.
        workers: Number of workers.
        seed: Seed of everything random.
        coefficients: Those of the behavior; None for random ranks.
    """

    searches: SearchSet
    group: int
    n_trials: int
    workers: int
    seed: tuple[int, ...]
    coefficients: Coefficients | None


def cases_of(task: Task) -> Cases:
    """Replay a search and return its cases."""
    rng = np.random.default_rng(task.seed)
    search = task.searches.search(int(rng.integers(2**31)), task.n_trials)
    recorder = Recorder(random_rank(rng) if task.coefficients is None else learned(task.coefficients, rng))
    durations = epoch_durations(search, task.workers)
    SearchReplay(search, recorder, workers=task.workers, models=Models(search), durations=durations)
    trials, cases = zip(*recorder.noted, strict=True)
    return Cases(
        features=np.array([case.features for case in cases], np.float32),
        has_model=np.array([case.has_model for case in cases]),
        label=is_best(search)[list(trials)],
        group=np.full(len(cases), task.group),
        domain=np.full(len(cases), task.searches.domain),
    )


def tasks(
    sets: Sequence[SearchSet],
    known: LeftOut | None,
    *,
    seed: int,
    repeats: int,
    sizes: Sequence[int] = SIZES,
    workers: Sequence[int] = WORKERS,
    first_group: int = 0,
) -> list[Task]:
    """Return the searches of a round: of every set, size (no larger than the set), number of workers and repeat."""
    found, groups = [], first_group
    for number, searches in enumerate(sets):
        n = len(searches.scores)
        for size in sorted({min(size, n) for size in sizes}):
            for repeat in range(repeats):
                for k, n_workers in enumerate(workers):
                    group = groups + sorted(set(workers)).index(n_workers)
                    coefficients = None if known is None else known[searches.domain]
                    found.append(Task(searches, group, size, n_workers, (seed, number, size, repeat, k), coefficients))
            groups += len(set(workers))
    return found


def relatives(sets: Sequence[SearchSet]) -> list[SearchSet]:
    """Return other searches that the runs of the sets make: with closer final values, and shorter.

    A set of fewer than `2 * SIZES[0]` runs has no better half here, one of fewer than `LEAST_EPOCHS_TO_HALVE` epochs is not
    halved.
    """
    better = [searches.better_half() for searches in sets if len(searches.scores) >= 2 * SIZES[0]]
    return [*better, *(searches.shorter() for searches in sets if searches.scores.shape[1] >= LEAST_EPOCHS_TO_HALVE)]


def collect(found: Sequence[Task], jobs: int) -> Cases:
    """Replay all and return their cases."""
    tables = list(mapped(cases_of, found, jobs))
    columns = ("features", "has_model", "label", "group", "domain")
    return Cases(*(np.concatenate([getattr(table, column) for table in tables]) for column in columns))


def training_cases(sets: Sequence[SearchSet], *, seed: int, repeats: int, jobs: int) -> Cases:
    """Return the cases of the second round, of the sets and of their relatives."""
    known = learn_left_out(collect(tasks(sets, None, seed=seed, repeats=1, sizes=(20, 60), workers=(1, 8)), jobs))
    second = tasks(sets, known, seed=seed + 1, repeats=repeats)
    n_groups = 1 + max(task.group for task in second)
    second += tasks(relatives(sets), known, seed=seed + 2, repeats=1, first_group=n_groups)
    return collect(second, jobs)


def mapped(function: Callable[[Any], Any], items: Sequence[Any], jobs: int) -> Iterable[Any]:
    """Yield the function of every item, in order, on so many processes."""
    if jobs == 1:
        yield from map(function, items)
        return
    with Pool(jobs) as pool:
        yield from pool.imap(function, items, chunksize=4)


# Fits.


def fit(features: Array, label: Array, weights: Array) -> Regression:
    """Fit a logistic regression by Newton's method.

    Args:
        features: `(n, f)`; they are standardized, and a ridge of `RIDGE` is on all weights but the intercept.
        label: `(n,)` in [0, 1].
        weights: `(n,)`.
    """
    weights = weights / weights.sum()
    center = weights @ features
    scale = np.sqrt(weights @ (features - center) ** 2)
    is_constant = scale < 1e-9
    scale[is_constant] = 1.0
    x = np.column_stack([np.ones(len(features)), np.where(is_constant, 0.0, (features - center) / scale)])
    ridge = np.r_[0.0, np.full(features.shape[1], RIDGE)]
    beta, mean = np.zeros(x.shape[1]), min(max(float(weights @ label), 1e-6), 1 - 1e-6)
    beta[0] = math.log(mean / (1 - mean))

    def loss(beta: Array) -> float:
        z = x @ beta
        return float(weights @ (np.logaddexp(0, z) - label * z) + ridge @ beta**2 / 2)

    now = loss(beta)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ beta)))
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(ridge + 1e-12)
        step = np.linalg.solve(hessian, x.T @ (weights * (p - label)) + ridge * beta)
        while (new := loss(beta - step)) > now and np.abs(step).max() > 1e-9:
            step /= 2
        beta, gain, now = beta - step, now - new, new
        if gain < 1e-10:
            break
    slopes = np.where(is_constant, 0.0, beta[1:] / scale)
    return Regression(round(float(beta[0] - slopes @ center), 6), tuple(round(float(slope), 6) for slope in slopes))


def grow(features: Array, label: Array, weights: Array) -> BoostedTrees:
    """Grow trees by gradient boosting (scikit-learn's, on histograms).

    Args:
        features: `(n, 16)` by `FEATURES`.
        label: `(n,)` 0 or 1.
        weights: `(n,)`.
    """
    boosting = HistGradientBoostingClassifier(
        max_iter=N_TREES,
        learning_rate=0.1,
        max_depth=DEPTH,
        max_leaf_nodes=None,
        min_samples_leaf=200,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=0,
    )
    with threadpool_limits(1):  # sums of floats are the same on every machine
        boosting.fit(features, label, sample_weight=weights / weights.mean())
    trees = tuple(complete_tree(grown.nodes) for (grown,) in boosting._predictors)
    return BoostedTrees(round(float(boosting._baseline_prediction.item()), 4), trees)


def complete_tree(nodes: npt.NDArray[np.void]) -> Tree:
    """Return scikit-learn's tree with all leaves at one depth."""
    features, thresholds, leaves = [FEATURES[0]] * N_QUESTIONS, [math.inf] * N_QUESTIONS, [0.0] * N_LEAVES

    def fill(node: int, position: int) -> None:
        found = nodes[node]
        if position >= N_QUESTIONS:
            leaves[position - N_QUESTIONS] = round(float(found["value"]), 5)
        elif found["is_leaf"]:  # behind a question that is always answered by no
            fill(node, 2 * position + 1)
        else:
            features[position], thresholds[position] = FEATURES[found["feature_idx"]], float(f"{found['num_threshold']:.6g}")
            fill(found["left"], 2 * position + 1)
            fill(found["right"], 2 * position + 2)

    fill(0, 0)
    return Tree(tuple(features), tuple(thresholds), tuple(leaves))


def learn(cases: Cases, *, left_out: str | None = None) -> Coefficients:
    """Return coefficients, without thresholds, learnt from all domains but one."""

    def regression(*, has_model: bool) -> Regression:
        some = cases.where((cases.has_model == has_model) & (cases.domain != left_out))
        # Half the label: see `Regression.chance`.
        return fit(some.features.astype(float), some.label / 2, some.weights)

    seen = cases.where(cases.domain != left_out)
    trees = grow(seen.features.astype(float), seen.label, seen.weights)
    return Coefficients(regression(has_model=False), regression(has_model=True), trees, ())


def learn_left_out(cases: Cases) -> dict[str, Coefficients]:
    """Return, for each domain, coefficients that never saw it; with a single domain, those that did."""
    domains = sorted(set(cases.domain.tolist()))
    return {domain: learn(cases, left_out=domain if len(domains) > 1 else None) for domain in domains}


# Thresholds.


def lost_by_threshold(key: tuple[SearchSet, int, int], known: LeftOut) -> list[float]:
    """Return whether the best of a search, (set, number of trials, order), is lost at each of `THRESHOLDS`."""
    searches, n_trials, order = key
    search = searches.search(order, n_trials)
    models, lost = Models(search), [0.0] * len(THRESHOLDS)
    kept = 0
    for k in reversed(range(len(THRESHOLDS))):
        policy = at_threshold(known[searches.domain], THRESHOLDS[k])
        lost[k] = Scores.of(search, SearchReplay(search, policy, models=models).ended_at).best_lost
        kept = 0 if lost[k] else kept + 1
        if kept == KEPT_IN_A_ROW:
            break
    return lost


def lost_shares(sets: Sequence[SearchSet], known: LeftOut, *, seed: int, orders: int, jobs: int) -> Array:
    """Return `(sets, thresholds)` shares of searches whose best trial is lost, means over `CALIBRATED_SIZES` and orders."""
    seeds = range(seed + FIRST_CALIBRATED_ORDER, seed + FIRST_CALIBRATED_ORDER + orders)
    keys = [(searches, n, order) for searches in sets for n in CALIBRATED_SIZES for order in seeds]
    lost = np.array(list(mapped(partial(lost_by_threshold, known=known), keys, jobs)))
    shares: Array = lost.reshape(len(sets), -1, len(THRESHOLDS)).mean(axis=1)
    return shares


def thresholds_for(lost: Array, risks: Sequence[float] = RISKS) -> dict[float, float]:
    """Return the threshold of each risk: where so many searches lose their best trial.

    Args:
        lost: `(thresholds,)` share of the replayed searches that lose their best trial at each of `THRESHOLDS`.
        risks: Shares that may.

    Returns:
        Risk -> threshold.
    """
    shares = isotonic(lost)
    return {risk: float(f"{_threshold(shares, risk):.3g}") for risk in risks}


def _threshold(shares: Array, risk: float) -> float:
    """Return the threshold of a risk, interpolated over the logarithm; outside `THRESHOLDS`, in proportion."""
    above = int(np.searchsorted(shares, risk, side="right"))  # the first that loses more
    if above == len(shares):
        # Where nothing was lost, as on few searches, nothing bolder was tried.
        return THRESHOLDS[-1] * (risk / float(shares[-1]) if shares[-1] else 1.0)
    if above == 0:
        return THRESHOLDS[0] * risk / float(shares[0])
    part = (risk - shares[above - 1]) / (shares[above] - shares[above - 1])
    return math.exp(math.log(THRESHOLDS[above - 1]) + part * math.log(THRESHOLDS[above] / THRESHOLDS[above - 1]))


def isotonic(values: Array) -> Array:
    """Return the nearest values that do not fall, by pooling adjacent ones."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    return np.array([value for value, n in blocks for _ in range(n)])


def show_thresholds(sets: Sequence[SearchSet], lost: Array, thresholds: Mapping[float, float]) -> None:
    """Print what was stated and what happened; also with thresholds that never saw the domain either."""
    rows: list[list[object]] = []
    for risk, threshold in thresholds.items():
        happened = [lost_at(row, threshold) for row in lost]
        unseen = []
        for row, searches in zip(lost, sets, strict=True):
            others = lost[[other.domain != searches.domain for other in sets]]
            unseen.append(lost_at(row, thresholds_for(others.mean(axis=0), [risk])[risk]) if len(others) else math.nan)
        mean, error = benchmark_cli.mean_and_error(happened)
        rows.append([risk, f"{threshold:.3g}", mean, error, float(np.mean(unseen))])
    heads = ["risk stated", "threshold", "best lost", "error over sets", "with thresholds of other domains"]
    benchmark_cli.show("Risk stated and happened, left out, other orders than those of the comparison", heads, rows)


def lost_at(lost: Array, threshold: float) -> float:
    """Return the share lost at a threshold, interpolated between `THRESHOLDS`."""
    return float(np.interp(math.log(threshold), np.log(THRESHOLDS), lost))


# Files.


def left_out_coefficients(path: Path) -> dict[str, Coefficients]:
    """Return the coefficients of a file that `main` wrote, by the domain that they never saw."""
    return {domain: Coefficients.from_json(stored) for domain, stored in json.loads(path.read_text()).items()}


def as_json(coefficients: Coefficients, thresholds: Mapping[float, float]) -> dict[str, Any]:
    """Return what `Coefficients.from_json` reads."""

    def regression(learnt: Regression) -> dict[str, Any]:
        return {"intercept": learnt.intercept, "weights": dict(zip(FEATURES, learnt.weights, strict=True))}

    return {
        "thresholds": {f"{risk:g}": threshold for risk, threshold in thresholds.items()},
        "without_model": regression(coefficients.without_model),
        "with_model": regression(coefficients.with_model),
        "trees": coefficients.trees.as_json(),
    }


def write(path: Path, stored: Mapping[str, Any]) -> None:
    """Write a file of coefficients for people to read: a list of numbers or names is one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(stored, indent=1)
    path.write_text(re.sub(r"\[[^\[\]{}]*\]", lambda listed: re.sub(r"\s+", " ", listed[0]), text) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, calibrate, write both files."""
    parser = benchmark_cli.parser(__doc__)
    parser.set_defaults(out=SHIPPED)
    parser.add_argument("--left-out", type=Path, default=LEFT_OUT, help="file for the left-out coefficients")
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="searches of each set, size and number of workers")
    parser.add_argument("--orders", type=int, default=24, help="searches of each set and size that thresholds are chosen on")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the files do not depend on it")
    options = parser.parse_args(argv)
    sets = load_searches(options.data, options.sets)
    if not sets:
        return
    cases = training_cases(sets, seed=options.seed, repeats=options.repeats, jobs=options.jobs)
    print(f"{len(cases.label)} cases of {len(sets)} sets in {len(set(cases.domain.tolist()))} domains", flush=True)
    left_out = learn_left_out(cases)
    lost = lost_shares(sets, left_out, seed=options.seed, orders=options.orders, jobs=options.jobs)
    thresholds = thresholds_for(lost.mean(axis=0))
    by_threshold = (f"{t:.2g}: {share:.3f}" for t, share in zip(THRESHOLDS, lost.mean(axis=0), strict=True))
    print("share of searches that lose their best trial, by threshold:", ", ".join(by_threshold))
    show_thresholds(sets, lost, thresholds)
    made = {
        "made_by": f"python -m benchmarks.replay.train_policy --seed {options.seed}",
        "label": LABEL,
        "cases": len(cases.label),
        "sets": [searches.name for searches in sets],
    }
    write(options.out, {**made, **as_json(learn(cases), thresholds)})
    write(options.left_out, {domain: as_json(learnt, thresholds) for domain, learnt in left_out.items()})
    print(f"written: {options.out} and {options.left_out}")


if __name__ == "__main__":
    main()
