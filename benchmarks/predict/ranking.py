"""Who ranks the good trials best from part of their curves: the last value, the predicted mean, the ranking score, or a blend?

Spearman over all test curves and within the true best fifth, on every set of curves (nothing is clipped, see
`benchmarks.replay.search_set`), over random splits: 100 curves to learn from, or half of a smaller set; all others are judged.
A blend's prior that is chosen by data is chosen on the sets of other domains. The standard errors are over sets.

    python -m benchmarks.predict.ranking --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.benchmark_cli import mean_and_error
from benchmarks.predict.scoring import crps, spearman
from benchmarks.replay.search_set import SearchSet, load_searches
from curvestop.clients.backtest.curve_set import Array
from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.stacked.level_model import normal_scores
from curvestop.srm.predictors.stacked.normal_scale import NormalScale
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from curvestop.srm.regression.nu_svr import MIN_ROWS

FRACTIONS = (0.1, 0.25, 0.5)
"""Shares of the epochs that are seen."""
MAX_TRAIN = 100
"""Curves to learn from; half of the set where it is smaller."""
TOP = 0.2
"""Share of the test curves, by final value, that counts as the best."""
PRIORS = (0.0, 25.0, 50.0, 100.0, 200.0)
"""Numbers of curves by which the score is drawn to the present rank; with 0 it is that of the package."""
LAST, BEST, MEAN, LEFT_OUT, ORACLE = (
    "last value",
    "best so far",
    "predicted mean",
    "prior from other domains",
    "best prior of each set",
)
SHIPPED, BLEND = "score, prior 0", "score, prior 25"
FLOOR = 20.0
"""For the CRPS alone: nothing is worse than the median final value by more than so many times the distance to the best."""


@dataclass(frozen=True)
class Forecasts:
    """What is known of the test curves of one split after a share of the epochs; higher is better everywhere.

    Attributes:
        finals: `(m,)` final values.
        values: `(m, tau)` values so far.
        mean: `(m,)` predicted final values.
        sigma: `(m,)` standard deviations of the predictions.
        score: `(m,)` ranking scores of the predictor.
        now: `(m,)` normal scores of the last values among those of training.
        n_train: Number of training curves of the model.
    """

    finals: Array
    values: Array
    mean: Array
    sigma: Array
    score: Array
    now: Array
    n_train: int

    def with_prior(self, prior: float) -> Array:
        """Return the scores, drawn to the present rank as if by so many curves that end at the rank they have now."""
        return (self.score * self.n_train + self.now * prior) / (self.n_train + prior)

    def smoothed(self, share: float) -> Array:
        """Return the mean of the last values, so many as are this share of all seen."""
        mean: Array = self.values[:, -max(1, round(share * self.values.shape[1])) :].mean(axis=1)
        return mean

    @property
    def crps(self) -> float:
        """The mean CRPS over the standard deviation of the final values, where nothing is worse than the FLOOR."""
        middle = float(np.median(self.finals))
        floor = middle - FLOOR * (float(self.finals.max()) - middle)
        finals, mean = np.maximum(self.finals, floor), np.maximum(self.mean, floor)
        return float(np.mean(crps(finals - mean, self.sigma))) / max(float(finals.std()), 1e-300)


def _blend(*parts: Array) -> Array:
    """Return the sum of the normal scores of each part's ranks."""
    blended: Array = np.sum([normal_scores(part) for part in parts], axis=0)
    return blended


CANDIDATES: Mapping[str, Callable[[Forecasts], Array]] = {
    LAST: lambda f: f.values[:, -1],
    BEST: lambda f: f.values.max(axis=1),
    "mean of the last 20 %": lambda f: f.smoothed(0.2),
    MEAN: lambda f: f.mean,
    "mean and last value": lambda f: _blend(f.mean, f.values[:, -1]),
    "mean, score and last value": lambda f: _blend(f.mean, f.score, f.values[:, -1]),
    "mean, score and best so far": lambda f: _blend(f.mean, f.score, f.values.max(axis=1)),
    **{f"score, prior {prior:g}": lambda f, prior=prior: f.with_prior(prior) for prior in PRIORS},  # type: ignore[misc]
}
"""What trials may be ranked by: name -> scores of the test curves, higher for a better final value."""


def forecasts(searches: SearchSet, seed: int) -> dict[float, Forecasts]:
    """Fit the default predictor on a random part of a set and ask it about all other curves.

    Args:
        searches: The set.
        seed: Of the split.

    Returns:
        By share of the epochs seen.

    Raises:
        ValueError: If the set is too small for a model.
    """
    n, n_epochs = searches.scores.shape
    order, n_train = np.random.default_rng(seed).permutation(n), min(MAX_TRAIN, n // 2)
    train, test = order[:n_train], order[n_train:]
    predictor = StackedPredictor(direction="maximize").fit([_curve(searches, i) for i in train])
    known = {}
    for fraction in FRACTIONS:
        tau = max(1, round(fraction * n_epochs))
        both = predictor.predict_and_score_alike([_curve(searches, i).head(tau) for i in test])
        length = predictor.modelled_length(tau)
        if both is None or length is None:
            raise ValueError(f"a model needs {MIN_ROWS} curves, half of a set, but {searches.name} has {n} in all: leave it out")
        last = searches.scores[:, length - 1]  # the model does not see what comes between this length and tau
        mean, sigma, score = (np.array(column) for column in zip(*((p.mean, p.sigma, s) for p, s in both), strict=True))
        now = NormalScale.of(last[train])(last[test])
        n_curves = predictor.models_[length].n_curves
        known[fraction] = Forecasts(searches.scores[test, -1], searches.scores[test, :tau], mean, sigma, score, now, n_curves)
    return known


def _curve(searches: SearchSet, row: int) -> LearningCurve:
    configuration = {f"c{j}": float(x) for j, x in enumerate(searches.configurations[row])}
    return LearningCurve(f"{row:05}", configuration, tuple(searches.scores[row].tolist()))


def top_spearman(finals: Array, scores: Array) -> float:
    """Return the rank correlation within the truly best fifth.

    Examples:
        >>> finals = np.arange(10.0)  # the best fifth is 8 and 9, with a tenth place between them and the others
        >>> top_spearman(finals, finals), top_spearman(finals, np.r_[finals[:8], 9.0, 8.0])
        (1.0, -1.0)
    """
    top = finals >= np.quantile(finals, 1 - TOP)
    return round(spearman(scores[top], finals[top]), 12)


@dataclass(frozen=True)
class Table:
    """Rank correlations of one kind.

    Attributes:
        domains: Domain of each set.
        values: Candidate -> `(sets, splits, shares)`.
    """

    domains: tuple[str, ...]
    values: Mapping[str, Array]

    def by_set(self, name: str) -> Array:
        """Return `(sets, shares)` means over splits."""
        means: Array = self.values[name].mean(axis=1)
        return means

    def with_chosen_priors(self) -> Table:
        """Return the table with two more rows: the prior chosen on other domains, and (a bound) on the set itself."""
        priors = [f"score, prior {prior:g}" for prior in PRIORS]
        by_set = np.array([self.by_set(name) for name in priors])  # (priors, sets, shares)
        left_out, oracle = (np.empty_like(self.values[LAST]) for _ in range(2))
        for s, domain in enumerate(self.domains):
            others = [i for i, other in enumerate(self.domains) if other != domain] or [s]
            left_out[s] = self.values[priors[int(by_set[:, others].mean(axis=(1, 2)).argmax())]][s]
            for share, best in enumerate(by_set[:, s].argmax(axis=0)):
                oracle[s, :, share] = self.values[priors[best]][s, :, share]
        return Table(self.domains, {**self.values, LEFT_OUT: left_out, ORACLE: oracle})


def measure(sets: Sequence[SearchSet], seeds: Sequence[int]) -> tuple[Table, Table, Array]:
    """Return rank correlations in the best fifth, over all curves, and `(sets, splits, shares)` CRPS."""
    shape = (len(sets), len(seeds), len(FRACTIONS))
    top, overall = ({name: np.empty(shape) for name in CANDIDATES} for _ in range(2))
    losses = np.empty(shape)
    for s, searches in enumerate(sets):
        for i, seed in enumerate(seeds):
            known = forecasts(searches, seed)
            for k, fraction in enumerate(FRACTIONS):
                losses[s, i, k] = known[fraction].crps
                for name, scores_of in CANDIDATES.items():
                    scores, finals = scores_of(known[fraction]), known[fraction].finals
                    top[name][s, i, k], overall[name][s, i, k] = top_spearman(finals, scores), spearman(scores, finals)
    domains = tuple(searches.domain for searches in sets)
    return Table(domains, top).with_chosen_priors(), Table(domains, overall).with_chosen_priors(), losses


def show_means(title: str, table: Table) -> None:
    """A row for each candidate: means over sets, and what it has more than the last value, with errors and sets won."""
    rows: list[list[object]] = []
    for name in table.values:
        row: list[object] = [name]
        for share in range(len(FRACTIONS)):
            gain = (table.by_set(name) - table.by_set(LAST))[:, share]
            mean, error = mean_and_error(gain.tolist())
            row += [float(table.by_set(name)[:, share].mean()), f"{mean:+.3f} +- {error:.3f}", f"{np.sum(gain > 0)}"]
        rows.append(row)
    heads = [head for f in FRACTIONS for head in (f"{f:.0%}", "more than last", "sets")]
    benchmark_cli.show(title, ["ranked by", *heads], rows)


def show_sets(sets: Sequence[SearchSet], top: Table, overall: Table, losses: Array) -> None:
    """A table for each share, a row for each set: best fifth / all curves."""
    shown = (LAST, BEST, MEAN, SHIPPED, BLEND)
    for k, fraction in enumerate(FRACTIONS):
        rows: list[list[object]] = []
        for s, searches in enumerate(sets):
            gains = (top.values[SHIPPED] - top.values[LAST])[s, :, k]
            mean, error = mean_and_error(gains.tolist())
            cells = [f"{top.by_set(n)[s, k]:.2f} / {overall.by_set(n)[s, k]:.2f}" for n in shown]
            rows.append([searches.name, *cells, f"{mean:+.3f} +- {error:.3f}", float(losses[s, :, k].mean())])
        heads = ["set", *shown, "score - last", "CRPS / sd"]
        benchmark_cli.show(f"{fraction:.0%} seen: Spearman in the best fifth / over all; errors over splits", heads, rows)


def headline(top: Table, losses: Array) -> dict[str, dict[str, float]]:
    """Return Spearman in the best fifth and the CRPS, by per cent of the epochs seen."""
    figures = {}
    for k, fraction in enumerate(FRACTIONS):
        figures[f"{fraction * 100:g}"] = found = {"crps": round(float(losses[:, :, k].mean()), 4)}
        for key, name in {"last": LAST, "mean": MEAN, "score": SHIPPED, "blend": BLEND}.items():
            gain, error = mean_and_error((top.by_set(name) - top.by_set(LAST))[:, k].tolist())
            found |= {
                key: round(float(top.by_set(name)[:, k].mean()), 4),
                f"{key}_gain": round(gain, 4),
                f"{key}_error": round(error, 4),
            }
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all but NAME-seeds)")
    parser.add_argument("--splits", type=int, default=10, help="random splits, from --seed on (default: %(default)s)")
    options: argparse.Namespace = parser.parse_args(argv)
    sets = load_searches(options.data, options.sets)
    if not sets:
        return
    top, overall, losses = measure(sets, range(options.seed, options.seed + options.splits))
    show_sets(sets, top, overall, losses)
    title = f"mean over {len(sets)} sets and {options.splits} splits (standard errors over sets)"
    show_means(f"Spearman over all test curves, {title}", overall)
    show_means(f"Spearman in the true best fifth, {title}", top)
    benchmark_cli.conclude(options.out, "predict_ranking", headline(top, losses))


if __name__ == "__main__":
    main()
