"""Multi-layer perceptrons on handwritten digits, as a training script for `hyperband run`.

`train` yields the validation accuracy after each epoch and resumes from its checkpoint. Needs only the core install.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

CLASSES = np.arange(10)
PIXELS, DIGITS = load_digits(return_X_y=True)
SPLIT = train_test_split(PIXELS / 16.0, DIGITS, test_size=0.35, stratify=DIGITS, random_state=0)


def train(configuration: dict[str, Any], checkpoint_dir: Path) -> Iterator[float]:
    """Yield the validation accuracy, in [0, 1], after each epoch, without end: the caller stops it."""
    train_x, valid_x, train_y, valid_y = SPLIT
    checkpoint = checkpoint_dir / "model.pickle"
    # Loading a pickle can run any code: load only those you have written yourself.
    epoch, model = pickle.loads(checkpoint.read_bytes()) if checkpoint.exists() else (0, new_model(configuration))
    while True:
        order = np.random.default_rng(epoch).permutation(len(train_x))
        model.partial_fit(train_x[order], train_y[order], classes=CLASSES)
        epoch += 1
        save(checkpoint, pickle.dumps((epoch, model)))
        yield float(np.mean(model.predict(valid_x) == valid_y))


def new_model(configuration: dict[str, Any]) -> MLPClassifier:
    """Return an untrained network; widths go in equal steps from the first layer's to the last layer's."""
    widths = np.linspace(configuration["first_width"], configuration["last_width"], configuration["depth"])
    return MLPClassifier(
        hidden_layer_sizes=tuple(int(width) for width in widths),
        solver="sgd",
        learning_rate_init=configuration["learning_rate"],
        momentum=configuration["momentum"],
        batch_size=configuration["batch_size"],
        alpha=configuration["l2"],
        shuffle=False,
        random_state=0,
    )


def save(path: Path, content: bytes) -> None:
    """Write atomically: a worker that is killed leaves the previous checkpoint."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    os.replace(part, path)
