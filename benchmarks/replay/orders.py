"""Orders that a searcher's drift would give: sorted, good ones last, or as a TPE sampler would have proposed them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import optuna

from benchmarks.curves import CurveFile
from benchmarks.replay.shuffled_study import in_order, read_curves
from curvestop.clients.backtest.curve_set import CurveSet

Order = npt.NDArray[np.intp]


def drifted(curve_set: CurveFile, seed: int, *, n_trials: int) -> dict[str, CurveSet]:
    """One study for each kind of drift, each on its own random part of the set."""
    rng = np.random.default_rng(seed)
    curves, configurations = read_curves(curve_set)
    sign = 1.0 if curve_set.direction == "maximize" else -1.0
    finals = sign * curves[:, -1]
    part = rng.permutation(len(finals))[:n_trials]
    kinds = {
        "sorted by a hyper-parameter": part[np.argsort(configurations[part, _varied(configurations)], kind="stable")],
        "good ones last": part[np.argsort(finals[part], kind="stable")],
        "as TPE proposes": part[_tpe_order(configurations[part], finals[part], seed)],
    }
    return {kind: in_order(curve_set, order, seed) for kind, order in kinds.items()}


def _varied(configurations: npt.NDArray[np.float64]) -> int:
    """The column with the most distinct values."""
    return int(np.argmax([len(np.unique(column)) for column in configurations.T]))


def _tpe_order(configurations: npt.NDArray[np.float64], finals: npt.NDArray[np.float64], seed: int) -> Order:
    """TPE searches the box of the configurations; each proposal stands for the nearest configuration not yet taken."""
    lowest, span = configurations.min(axis=0), np.ptp(configurations, axis=0)
    unit = (configurations - lowest) / np.where(span > 0, span, 1.0)
    left = np.ones(len(finals), dtype=bool)
    search = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    order = []
    for _ in range(len(finals)):
        trial = search.ask()
        wanted = np.array([trial.suggest_float(f"x{j}", 0.0, 1.0) for j in range(unit.shape[1])])
        nearest = int(np.where(left, ((unit - wanted) ** 2).sum(axis=1), np.inf).argmin())
        left[nearest] = False
        order.append(nearest)
        search.tell(trial, float(finals[nearest]))
    return np.array(order)
