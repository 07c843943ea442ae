"""A search with PyTorch Lightning on handwritten digits; `SRMCallback` ends the trainings that are not worth continuing.

Needs `pip install 'curvestop[lightning]'`:
    python examples/lightning_digits.py --trials 20 --epochs 15 [--server localhost:7070]
"""

import argparse
import random

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from curvestop import StudySettings, connect
from curvestop.clients.lightning import SRMCallback


class Classifier(pl.LightningModule):
    """One hidden layer."""

    def __init__(self, width: int, learning_rate: float) -> None:
        super().__init__()
        self.save_hyperparameters()  # the trial's configuration in the study
        self.model = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        return cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, _):
        """Log the metric that is monitored."""
        self.log("val_accuracy", (self.model(batch[0]).argmax(1) == batch[1]).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        """Return the optimizer that trains."""
        return torch.optim.SGD(self.parameters(), lr=self.hparams.learning_rate)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--server", help="HOST:PORT of a server (default: predict in this process)")
    options = parser.parse_args()
    pixels, digits = map(torch.tensor, load_digits(return_X_y=True))
    training, validation = random_split(TensorDataset(pixels.float() / 16, digits), [0.7, 0.3], torch.Generator().manual_seed(0))
    data = DataLoader(training, batch_size=64, shuffle=True), DataLoader(validation, batch_size=512)
    settings = StudySettings("digits-lightning", options.epochs, metric="val_accuracy", log_scaled=("learning_rate", "width"))
    rng, best, n_epochs = random.Random(0), 0.0, 0
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with connect(options.server, settings) as study:
        for number in range(options.trials):
            pl.seed_everything(number, verbose=False)
            trainer = pl.Trainer(accelerator="cpu", max_epochs=options.epochs, callbacks=[SRMCallback(study)], **quiet)
            trainer.fit(Classifier(rng.randint(4, 64), 10 ** rng.uniform(-3, 0)), *data)
            best, n_epochs = max(best, float(trainer.callback_metrics.get("val_accuracy", 0))), n_epochs + trainer.current_epoch
    print(f"best accuracy {best:.4f}; {n_epochs} of {options.trials * options.epochs} epochs trained")
