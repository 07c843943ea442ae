"""Orders that a searcher's drift would give: sorted, or as a TPE sampler would have proposed the trials."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import optuna

from curvestop.clients.backtest.curve_set import Array

Indices = npt.NDArray[np.intp]


def sorted_order(finals: Array, *, best_last: bool) -> Indices:
    """Return the order of final scores `(n,)` that ends with the best one, or with the worst one."""
    return np.argsort(finals if best_last else -finals, kind="stable")


def tpe_order(configurations: Array, finals: Array, seed: int) -> Indices:
    """Return the order in which TPE would propose these trials.

    It searches the box of the configurations; each proposal stands for the nearest configuration not yet taken.

    Args:
        configurations: `(n, f)` numbers.
        finals: `(n,)` final scores, higher is better.
        seed: Seed of the sampler.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
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
