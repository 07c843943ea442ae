"""A search with the Hugging Face Trainer on handwritten digits; `SRMCallback` ends the trainings that are not worth continuing.

Needs `pip install 'curvestop[transformers]'`; the models, tiny vision transformers, are made here, not downloaded:
    python examples/transformers_digits.py --trials 20 --epochs 15 [--server localhost:7070]
"""

import argparse
import random
import tempfile

import torch
from sklearn.datasets import load_digits
from transformers import PrinterCallback, Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from curvestop import StudySettings, connect
from curvestop.clients.transformers import SRMCallback


def model(width: int) -> ViTForImageClassification:
    """Return a vision transformer for 8 x 8 images."""
    size = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_hidden_layers": 2, "num_attention_heads": 4}
    return ViTForImageClassification(ViTConfig(hidden_size=width, intermediate_size=2 * width, num_labels=10, **size))


def accuracy(predictions) -> dict[str, float]:
    """Return the metric that is monitored; the Trainer calls it eval_accuracy."""
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--server", help="HOST:PORT of a server (default: predict in this process)")
    options = parser.parse_args()
    images, digits = load_digits(return_X_y=True)
    pixels = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    rows = [{"pixel_values": pixels[row], "labels": digit} for row, digit in enumerate(digits)]
    settings = StudySettings("digits-vit", options.epochs, metric="eval_accuracy", log_scaled=("learning_rate", "width"))
    rng, best, n_epochs = random.Random(0), 0.0, 0
    quiet = {"eval_strategy": "epoch", "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    with connect(options.server, settings) as study:
        for number in range(options.trials):
            set_seed(number)
            configuration = {"width": rng.choice([16, 32, 64]), "learning_rate": 10 ** rng.uniform(-4, -2)}
            callback = SRMCallback(study, configuration=configuration)
            with tempfile.TemporaryDirectory() as folder:
                sizes = {"num_train_epochs": options.epochs, "per_device_train_batch_size": 64}
                arguments = TrainingArguments(folder, learning_rate=configuration["learning_rate"], **sizes, **quiet)
                data = {"train_dataset": rows[:1200], "eval_dataset": rows[1200:]}
                trainer = Trainer(
                    model(configuration["width"]), arguments, **data, compute_metrics=accuracy, callbacks=[callback]
                )
                trainer.remove_callback(PrinterCallback)
                trainer.train()
            accuracies = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
            best, n_epochs = max(best, *accuracies), n_epochs + len(accuracies)
    print(f"best accuracy {best:.4f}; {n_epochs} of {options.trials * options.epochs} epochs trained")
