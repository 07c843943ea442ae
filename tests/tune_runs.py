"""Runs of Ray Tune whose curves are known, and the lengths that must come out; as a program, one that kills itself."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray import tune

from curvestop.clients.ray_tune import SRMScheduler, SRMStopper
from curvestop.clients.remote.remote_study import connect
from curvestop.srm.settings import StudySettings

MAX_T = 4
FINALS = [0.4, 0.9, 0.6, 0.2, 0.8, 0.3, 0.7, 0.1, 0.5, 0.85]
POLICY = "median"


def value(final: float, epoch: int) -> float:
    return final * (1 - 0.7**epoch)


def lengths_of(finals: list[float] = FINALS) -> dict[float, int]:
    """Return how long each trial trains, one after another, by asking a study directly."""
    study, lengths = connect(None, StudySettings("s", MAX_T, policy=POLICY)), {}
    for number, final in enumerate(finals):
        for epoch in range(1, MAX_T + 1):
            decision = study.report(str(number), [value(final, epoch)], first_epoch=epoch, configuration={"final": final})
            lengths[final] = epoch
            if decision.stop:
                break
        study.finish(str(number), "stopped" if decision.stop else "finished")
    return lengths


def rising() -> type[tune.Trainable]:
    """Return a Trainable with checkpoints; made in a function, so that Ray pickles it by value for the workers."""

    class Rising(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.final, self.epoch = config["final"], 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            return {"score": {"accuracy": self.final * (1 - 0.7**self.epoch)}, "epoch": self.epoch}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            with open(os.path.join(checkpoint_dir, "epoch"), "w") as file:
                file.write(str(self.epoch))

        def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]
            with open(os.path.join(checkpoint_dir, "epoch")) as file:
                self.epoch = int(file.read())

    return Rising


class KilledIn(tune.Callback):
    """Kill the driver when the n-th trial reaches its second epoch; a restored run is not killed."""

    def __init__(self, n_trials: int) -> None:
        self._n_trials, self._seen, self._driver = n_trials, set[str](), os.getpid()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._seen.add(trial.trial_id)
        if len(self._seen) < self._n_trials or result["epoch"] < 2 or os.getpid() != self._driver:
            return
        trial.storage.syncer.wait()
        stored = [path for path in Path(trial.storage.experiment_fs_path).iterdir() if path.is_file()]
        # Tune copies its files while it writes them, and cannot restore an empty copy: wait for a moment with whole files.
        if all(path.stat().st_size for path in stored) or result["epoch"] == MAX_T:
            os.kill(os.getpid(), signal.SIGKILL)


def tuner(storage: Path, how: str, callbacks: list[Any]) -> tune.Tuner:
    """Return a tuner that stops by the scheduler or by the stopper, as `how` says."""
    scheduler, stop = None, None
    if how == "scheduler":
        scheduler = SRMScheduler(MAX_T, metric="score/accuracy", mode="max", policy=POLICY)
    else:
        stop = SRMStopper(MAX_T, metric="score/accuracy", mode="max", policy=POLICY)
    return tune.Tuner(
        rising(),
        param_space={"final": tune.grid_search(FINALS)},
        tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(storage),
            stop=stop,
            verbose=0,
            callbacks=callbacks,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    )


def trained(results: Any) -> dict[float, int]:
    """Return the epochs that each trial trained, by its final value."""
    return {result.config["final"]: result.metrics["epoch"] for result in results}


if __name__ == "__main__":
    address, storage, how, n_trials = sys.argv[1:]
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    tuner(Path(storage), how, callbacks=[KilledIn(int(n_trials))]).fit()
