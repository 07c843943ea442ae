"""Trainings with Lightning whose metric is known in advance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Scripted(pl.LightningModule):
    """A linear model on 64 rows that logs the values of a curve as "accuracy".

    Args:
        curve: The values.
        begin: Called with the number, from 1, of each epoch that begins.
        per: Whether the curve has a value for each epoch or for each validation.
    """

    def __init__(
        self, curve: Sequence[float], begin: Callable[[int], None] = lambda _: None, per: Literal["epoch", "validation"] = "epoch"
    ) -> None:
        super().__init__()
        self._curve, self._begin, self._per = curve, begin, per
        self.n_validations = 0
        self.layer = torch.nn.Linear(4, 1)

    def train_dataloader(self) -> Any:
        rows = torch.linspace(-1, 1, 64 * 4).reshape(64, 4)
        return DataLoader(TensorDataset(rows, rows.sum(1, keepdim=True)), batch_size=32)

    val_dataloader = train_dataloader

    def on_train_epoch_start(self) -> None:
        self._begin(self.current_epoch + 1)

    def training_step(self, batch: Any, batch_number: int) -> torch.Tensor:
        rows, targets = batch
        loss = torch.nn.functional.mse_loss(self.layer(rows), targets)
        self.log("loss", loss, on_epoch=True, on_step=False)
        self.log("train_accuracy", self._at(self.current_epoch), on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Any, batch_number: int) -> None:
        self.log("accuracy", self._at(self.n_validations if self._per == "validation" else self.current_epoch))

    def on_validation_epoch_end(self) -> None:
        self.n_validations += 1

    def _at(self, number: int) -> float:
        return self._curve[min(number, len(self._curve) - 1)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(n_epochs: int, callbacks: list[Any], **settings: Any) -> pl.Trainer:
    """Return a silent trainer on one CPU; it makes checkpoints only if one of the callbacks does."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(callback, pl.callbacks.ModelCheckpoint) for callback in callbacks),
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(max_epochs=n_epochs, callbacks=callbacks, **{**quiet, **settings})
