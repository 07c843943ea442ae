"""An ordinary training program with flags and printed metrics, as `hyperband run --command` runs it.

After every epoch it saves a checkpoint, from which it resumes, and then prints the metric. Needs only the core install.
"""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

CLASSES = np.arange(10)


def main() -> None:
    """Train one configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--l2", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--checkpoints", type=Path, default=Path("."))
    options = parser.parse_args()

    pixels, digits = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(pixels / 16.0, digits, test_size=0.35, stratify=digits, random_state=0)
    checkpoint = options.checkpoints / "model.pickle"
    # Loading a pickle can run any code: load only those you have written yourself.
    trained, model = pickle.loads(checkpoint.read_bytes()) if checkpoint.exists() else (0, new_model(options.lr, options.l2))
    for epoch in range(trained + 1, options.epochs + 1):
        order = np.random.default_rng(epoch).permutation(len(train_x))
        model.partial_fit(train_x[order], train_y[order], classes=CLASSES)
        save(checkpoint, pickle.dumps((epoch, model)))
        print(f"epoch {epoch} val_acc={np.mean(model.predict(valid_x) == valid_y):.6f}", flush=True)


def new_model(learning_rate: float, l2: float) -> SGDClassifier:
    """Return an untrained classifier; unshuffled, so that a resumed training is the uninterrupted one."""
    return SGDClassifier("log_loss", learning_rate="constant", eta0=learning_rate, alpha=l2, shuffle=False, random_state=0)


def save(path: Path, content: bytes) -> None:
    """Write atomically: a program that is killed leaves the previous checkpoint."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    os.replace(part, path)


if __name__ == "__main__":
    main()
