"""A search with a plain training loop on handwritten digits; a study ends the trainings that are not worth continuing.

Needs only the core install: `python examples/plain_loop.py --trials 40 --epochs 30 [--server localhost:7070]`.
"""

from __future__ import annotations

import argparse
import math
import random

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from curvestop import Epochs, StudySettings, connect
from curvestop.srm.study_like import StudyLike

PIXELS, DIGITS = load_digits(return_X_y=True)
SPLIT = train_test_split(PIXELS / 16.0, DIGITS, test_size=0.35, stratify=DIGITS, random_state=0)


def train(study: StudyLike, configuration: dict[str, float]) -> tuple[float, int]:
    """Train one network; return its last accuracy and the number of epochs it trained."""
    train_x, valid_x, train_y, valid_y = SPLIT
    model = MLPClassifier(
        (int(configuration["width"]),), solver="sgd", learning_rate_init=configuration["learning_rate"], random_state=0
    )
    accuracy, n_epochs = 0.0, 0
    epochs = Epochs(study, range(study.settings.max_epochs), configuration=configuration)
    for _ in epochs:
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        accuracy, n_epochs = float(np.mean(model.predict(valid_x) == valid_y)), n_epochs + 1
        epochs.report(accuracy)
    if epochs.decision is not None and epochs.decision.stop:
        print(f"{epochs.trial} is stopped after {n_epochs} epochs: {epochs.decision.reason}")
    return accuracy, n_epochs


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--server", help="HOST:PORT of a server (default: predict in this process)")
    options = parser.parse_args()
    settings = StudySettings("digits-plain", options.epochs, metric="accuracy", log_scaled=("learning_rate", "width"))
    rng, runs = random.Random(0), []
    with connect(options.server, settings) as study:
        for _ in range(options.trials):
            configuration = {"width": rng.randint(4, 64), "learning_rate": math.exp(rng.uniform(math.log(1e-4), 0))}
            runs.append(train(study, configuration))
    print(f"best accuracy {max(runs)[0]:.4f}; {sum(n for _, n in runs)} of {options.trials * options.epochs} epochs trained")


if __name__ == "__main__":
    main()
