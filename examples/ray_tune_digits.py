"""Ray Tune searches the hyper-parameters of a network on handwritten digits; `SRMScheduler` stops trials not worth continuing.

Needs `pip install 'curvestop[ray]'`; written for Ray 2.60. After a crash, the same command continues the search:
    python examples/ray_tune_digits.py --trials 40 --epochs 20 --out results [--server localhost:7070]
"""

import argparse
import logging
import pickle
import tempfile
from pathlib import Path

import numpy as np
from ray import tune
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from curvestop.clients.ray_tune import SRMScheduler


def train(config: dict) -> None:
    """Train one network until Tune stops it, with a checkpoint after every epoch."""
    pixels, digits = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(pixels / 16, digits, stratify=digits, random_state=0)
    epoch, model = 0, MLPClassifier((config["width"],), solver="sgd", random_state=0, **config["optimizer"])
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            epoch, model = pickle.loads(Path(folder, "model.pickle").read_bytes())
    while True:
        epoch += 1
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "model.pickle").write_bytes(pickle.dumps((epoch, model)))
            accuracy = float(np.mean(model.predict(valid_x) == valid_y))
            tune.report({"accuracy": accuracy}, checkpoint=tune.Checkpoint.from_directory(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--server", help="HOST:PORT of a server (default: predict in this process)")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("curvestop").setLevel("INFO")  # every stop, with its reason
    space = {"width": tune.randint(4, 65), "optimizer": {"learning_rate_init": tune.loguniform(1e-4, 1.0), "momentum": 0.9}}
    scheduler = SRMScheduler(options.epochs, study=options.server)
    config = tune.TuneConfig(metric="accuracy", mode="max", num_samples=options.trials, scheduler=scheduler)
    folder = options.out.resolve()
    run = tune.RunConfig(name=folder.name, storage_path=str(folder.parent), verbose=0)
    if tune.Tuner.can_restore(str(folder)):
        tuner = tune.Tuner.restore(str(folder), train)
    else:
        tuner = tune.Tuner(train, param_space=space, tune_config=config, run_config=run)
    results = tuner.fit()
    best, trained = results.get_best_result("accuracy", "max"), results.get_dataframe()["training_iteration"].sum()
    print(f"best {best.metrics['accuracy']:.4f}: {best.config}; {trained} of {options.trials * options.epochs} epochs trained")
