"""What one call of `prune` costs, side by side: ours and Optuna's pruners on the same study of 1,000 finished trials of 50 steps.

Once in memory and once in a SQLite file, of which every pruner gets a copy. New trials report step by step, ask, and end when
they are pruned; there are as many as it takes for so many calls. The first call of a process, which has to read the whole study
and to fit, stands by itself.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from unittest.mock import patch

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from benchmarks.curves import CurveFile
from benchmarks.replay.shuffled_study import in_order
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.clients.backtest.optuna_pruners import direction_of, parameters
from curvestop.clients.optuna import FHyperbandPruner, SRMPruner
from curvestop.srm.model_cache import FitJob

STEPS, FINISHED = 50, 1000
PRUNERS: Mapping[str, Callable[[], BasePruner]] = {
    "SRMPruner": lambda: SRMPruner(STEPS),
    "SRMPruner, asked at every epoch": lambda: SRMPruner(STEPS, policy="threshold"),
    "FHyperbandPruner": lambda: FHyperbandPruner(STEPS),
    "Optuna's MedianPruner": lambda: optuna.pruners.MedianPruner(),
    "Optuna's HyperbandPruner": lambda: optuna.pruners.HyperbandPruner(max_resource=STEPS),
}


@dataclass
class Cost:
    """Milliseconds of wall time. first: of the first call. later: `(calls,)` of the others. n_fits: made in the later calls.

    n_trials: new ones that these calls were about.
    """

    first: float
    later: Array
    n_trials: int
    n_fits: int

    def median(self) -> float:
        return float(np.median(self.later))

    def row(self) -> list[object]:
        p95, worst = float(np.percentile(self.later, 95)), float(self.later.max())
        return [self.median(), p95, worst, self.first, len(self.later), self.n_trials, self.n_fits]


COLUMNS = ["storage", "pruner", "median, ms", "95 %", "worst", "first call", "later calls", "trials", "fits"]


def resampled(curve_set: CurveFile, n: int, seed: int) -> CurveSet:
    """Return n curves of 50 steps in random order, drawn again only once all were drawn. The set's curves must be as long."""
    rng, size = np.random.default_rng(seed), len(curve_set.finite.curves)
    rows = np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n]
    study = in_order(curve_set, rows, seed)
    return CurveSet(study.name, seed, study.curves[:, :STEPS], study.configurations, study.direction)


def costs(replayed: CurveSet, n_calls: int, folder: Path) -> Iterator[tuple[str, str, Cost]]:
    """(storage, pruner, cost). The first `FINISHED` curves are the finished trials, the others those of new ones, in turns."""
    stored = folder / "finished.db"
    _fill(replayed, RDBStorage(f"sqlite:///{stored}"))
    for kind in ("memory", "SQLite"):
        for name, make in PRUNERS.items():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                storage = _storage(kind, stored, Path(place), replayed)
                yield kind, name, _cost(replayed, n_calls, storage, make())


def _storage(kind: str, stored: Path, place: Path, replayed: CurveSet) -> BaseStorage:
    if kind == "memory":
        storage: BaseStorage = InMemoryStorage()
        _fill(replayed, storage)
        return storage
    return RDBStorage(f"sqlite:///{shutil.copy(stored, place)}")


def _fill(replayed: CurveSet, storage: BaseStorage) -> None:
    space, configurations = parameters(replayed)
    study = optuna.create_study(study_name="cost", direction=direction_of(replayed), storage=storage)
    study.add_trials(
        create_trial(value=curve[-1], params=configuration, distributions=dict(space), intermediate_values=dict(enumerate(curve)))
        for curve, configuration in zip(replayed.curves[:FINISHED].tolist(), configurations, strict=False)
    )


def _cost(replayed: CurveSet, n_calls: int, storage: BaseStorage, pruner: BasePruner) -> Cost:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.load_study(study_name="cost", storage=storage, pruner=pruner, sampler=sampler)
    space: dict[str, FloatDistribution] = dict(parameters(replayed)[0])
    new = cycle(replayed.curves[FINISHED:].tolist())
    times: list[float] = []
    with patch.object(FitJob, "run", autospec=True, side_effect=FitJob.run) as fit:
        while len(times) <= n_calls:
            trial, curve = study.ask(dict(space)), next(new)
            for step, value in enumerate(curve):
                trial.report(value, step)
                began = time.perf_counter()
                pruned = trial.should_prune()
                times.append(1e3 * (time.perf_counter() - began))
                if len(times) == 1:
                    fit.reset_mock()
                if pruned:
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, curve[-1])
    return Cost(times[0], np.array(times[1:]), len(study.get_trials(deepcopy=False)) - FINISHED, fit.call_count)
