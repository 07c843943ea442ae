"""Curve sets as searches to replay: what was measured stays as it is, and sets of one kind know that they belong together.

Nothing is clipped: see `CurveFile.finite`. Curves of more than 150 epochs are read at 100 even points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.curves import CurveFile, load, names
from benchmarks.replay.orders import sorted_order, tpe_order
from benchmarks.replay.shuffled_study import read_curves
from curvestop.clients.backtest.curve_set import Array, CurveSet

DOMAINS = {
    "taskset": "taskset",
    "algoperf-wmt": "algoperf-wmt",
    "algoperf-fastmri": "algoperf-fastmri",
    "algoperf-criteo1tb": "algoperf-criteo1tb",
    "metaqnn": "baker-metaqnn",
    "resnet": "baker-resnet",
    "lstm-ptb": "baker-lstm",
    "naap440": "naap440",
    "deepobs-tolstoi": "deepobs-tolstoi",
    "deepobs-fmnist-vae": "deepobs-vae",
    "deepobs-mnist-vae": "deepobs-vae",
    "deepobs": "deepobs-image",
    "opda": "opda",
    "parameter-golf": "parameter-golf",
    "nasbench-nlp": "nasbench-nlp",
}
"""How the name of a set begins, and its domain: what is left out together. The first that fits counts."""

Order = Literal["random", "best-last", "worst-last", "tpe"]
"""In which order trials come: at random, ascending or descending by final value, or as a TPE sampler would propose them."""


def domain_of(name: str) -> str:
    """Return the domain of a set; of an unknown name, the part before the first hyphen.

    Examples:
        >>> domain_of("taskset-imdb-patch32-gru128-bs128"), domain_of("whisper-tiny")
        ('taskset', 'whisper')
    """
    return next((domain for start, domain in DOMAINS.items() if name.startswith(start)), name.split("-")[0])


@dataclass(frozen=True)
class SearchSet:
    """The runs that a search may draw from.

    Attributes:
        name: Name of the set.
        domain: What is left out together with it.
        scores: `(n, T)` values after epochs 1..T, all finite; higher is better.
        configurations: `(n, f)` finite numbers; columns that span two decades are logarithms.
        noise: Seed noise of the final values, in the metric; None if it is not known.
    """

    name: str
    domain: str
    scores: Array
    configurations: Array
    noise: float | None = None

    @staticmethod
    def of(curve_file: CurveFile) -> SearchSet:
        """Return a set with its values made finite."""
        sign = 1.0 if curve_file.direction == "maximize" else -1.0
        curves, configurations = read_curves(curve_file)
        noise = curve_file.seed_noise()
        deviation = None if noise is None else noise.deviation
        return SearchSet(curve_file.name, domain_of(curve_file.name), sign * curves, configurations, deviation)

    def shorter(self) -> SearchSet:
        """Return the same runs, of which only the first half of the epochs is known: the value there counts as the last."""
        return replace(self, scores=self.scores[:, : self.scores.shape[1] // 2])

    def better_half(self) -> SearchSet:
        """Return the half of the runs that end best: what a search sees whose ranges were chosen well."""
        finals = self.scores[:, -1]
        rows = np.sort(np.argsort(-finals, kind="stable")[: len(finals) // 2])
        return replace(self, scores=self.scores[rows], configurations=self.configurations[rows])

    def search(self, seed: int, n_trials: int, *, order: Order = "random") -> CurveSet:
        """Return a search of n_trials of the runs (all, if there are fewer), chosen at random, in an order."""
        rows = np.random.default_rng(seed).permutation(len(self.scores))[:n_trials]
        finals = self.scores[rows, -1]
        if order == "tpe":
            rows = rows[tpe_order(self.configurations[rows], finals, seed)]
        elif order != "random":
            rows = rows[sorted_order(finals, best_last=order == "best-last")]
        return CurveSet(self.name, seed, self.scores[rows], self.configurations[rows], "maximize")


def load_searches(folder: Path, wanted: Iterable[str] | None = None) -> tuple[SearchSet, ...]:
    """Return the wanted sets of a folder (default: all, but those of repeated runs, NAME-seeds)."""
    chosen: Sequence[str] = [n for n in names(folder) if not n.endswith("-seeds")] if wanted is None else list(wanted)
    loaded = (load(folder, name) for name in chosen)
    return tuple(SearchSet.of(curve_file) for curve_file in loaded if curve_file is not None)


def epoch_durations(search: CurveSet, workers: int) -> npt.NDArray[np.float64] | None:
    """Return how long an epoch of each trial takes: all the same with one worker, else log-normal with a sigma of 0.5."""
    if workers == 1:
        return None
    return np.exp(np.random.default_rng(search.seed).normal(0, 0.5, len(search.curves)))
