"""Real studies: four processes on one storage."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from curvestop.clients.optuna import FHyperbandPruner, SRMPruner
from tests.optuna_studies import EPOCHS, curve_of

N_PROCESSES, N_EACH = 4, 8
PRUNERS: dict[str, type[BasePruner]] = {"srm": SRMPruner, "f-hyperband": FHyperbandPruner}


def storage_of(kind: str, folder: str) -> BaseStorage:
    if kind == "journal":
        return JournalStorage(JournalFileBackend(f"{folder}/study.log"))
    return RDBStorage(f"sqlite:///{folder}/study.db", engine_kwargs={"connect_args": {"timeout": 60}})


def objective(trial: optuna.Trial) -> float:
    curve = curve_of(trial.suggest_float("level", -1, 1))
    for step, value in enumerate(curve):
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return curve[-1]


def work(kind: str, folder: str, pruner: BasePruner, seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.load_study(study_name="shared", storage=storage_of(kind, folder), pruner=pruner, sampler=sampler)
    study.optimize(objective, n_trials=N_EACH)


@pytest.mark.parametrize(("kind", "name"), [("sqlite", "srm"), ("journal", "f-hyperband")])
def test_four_processes_share_a_storage(kind: str, name: str, tmp_path: Path) -> None:
    study = optuna.create_study(study_name="shared", storage=storage_of(kind, str(tmp_path)), direction="maximize")
    settings: dict[str, Any] = {"predictor": "last-seen", "min_curves": 6, "n_startup_trials": 3}
    pruner = PRUNERS[name](EPOCHS, **settings)  # type: ignore[call-arg]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(kind, str(tmp_path), pruner, seed)) for seed in range(N_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * N_PROCESSES
    states = [t.state for t in study.get_trials()]
    assert len(states) == N_PROCESSES * N_EACH
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.best_trial.last_step == EPOCHS - 1
