"""Training libraries' own callbacks for Optuna prune with ours: LightGBM and Lightning, trained for real."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from curvestop.clients.optuna import FHyperbandPruner, SRMPruner

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks, not ours
ROUNDS, EPOCHS = 20, 9


def test_lightgbm() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    callback = pytest.importorskip("optuna_integration").LightGBMPruningCallback
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 4))
    labels = (inputs[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(int)
    train, valid = lightgbm.Dataset(inputs[:100], labels[:100]), lightgbm.Dataset(inputs[100:], labels[100:])

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "objective": "binary", "metric": "binary_logloss", "verbosity": -1, "num_threads": 1, "num_leaves": 4,
            "feature_pre_filter": False, "learning_rate": trial.suggest_float("learning_rate", 1e-4, 0.5, log=True),
        }  # fmt: skip
        pruning = callback(trial, "binary_logloss")
        booster = lightgbm.train(settings, train, ROUNDS, valid_sets=[valid], callbacks=[pruning])
        return float(booster.best_score["valid_0"]["binary_logloss"])

    study = searched(SRMPruner(ROUNDS), objective, n_trials=25)
    rate = {s: np.mean([t.params["learning_rate"] for t in study.get_trials(states=(s,))]) for s in STATES}
    assert rate[TrialState.PRUNED] < rate[TrialState.COMPLETE]  # those that learn too slowly


def test_lightning() -> None:
    torch = pytest.importorskip("torch")
    lightning = pytest.importorskip("lightning.pytorch")
    callback = pytest.importorskip("optuna_integration").PyTorchLightningPruningCallback

    class Line(lightning.LightningModule):  # type: ignore[misc, name-defined]
        """Learns y = 3 x."""

        def __init__(self, rate: float) -> None:
            super().__init__()
            self.rate, self.slope = rate, torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch: Any, index: int) -> Any:
            return ((self.slope * batch[0] - 3 * batch[0]) ** 2).mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("loss", self.training_step(batch, index))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.rate)

    points = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.linspace(-1, 1, 8)), batch_size=8)

    def objective(trial: optuna.Trial) -> float:
        pruning = callback(trial, monitor="loss")
        trainer = lightning.Trainer(
            max_epochs=EPOCHS, callbacks=[pruning], logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(Line(trial.suggest_float("rate", 1e-4, 0.5, log=True)), points, points)
        pruning.check_pruned()
        return float(trainer.callback_metrics["loss"])

    study = searched(FHyperbandPruner(EPOCHS), objective, n_trials=16)
    assert study.best_trial.last_step == EPOCHS - 1


STATES = (TrialState.COMPLETE, TrialState.PRUNED)


def searched(pruner: BasePruner, objective: Any, *, n_trials: int) -> optuna.Study:
    """A study in which some trials were pruned and some were not, and nothing failed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=1), direction="minimize")
    study.optimize(objective, n_trials=n_trials)
    assert {t.state for t in study.trials} == set(STATES)
    return study
