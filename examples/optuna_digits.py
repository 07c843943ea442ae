"""A search with Optuna and curvestop's pruner on handwritten digits: `python examples/optuna_digits.py --trials 40`."""

from __future__ import annotations

import argparse

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from curvestop import SRMPruner

PIXELS, DIGITS = load_digits(return_X_y=True)
SPLIT = train_test_split(PIXELS / 16.0, DIGITS, test_size=0.35, stratify=DIGITS, random_state=0)


def objective(trial: optuna.Trial, pruner: SRMPruner, n_epochs: int) -> float:
    """Train one network; return its validation accuracy, or the predicted one if it is pruned."""
    train_x, valid_x, train_y, valid_y = SPLIT
    model = MLPClassifier(
        hidden_layer_sizes=(trial.suggest_int("width", 8, 128, log=True),),
        solver="sgd",
        learning_rate_init=trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        momentum=trial.suggest_float("momentum", 0.0, 0.99),
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64, 128]),
        random_state=0,
    )
    accuracy = 0.0
    for epoch in range(n_epochs):
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        accuracy = float(np.mean(model.predict(valid_x) == valid_y))
        trial.report(accuracy, epoch)
        if trial.should_prune():
            print(f"trial {trial.number} is pruned after {epoch + 1} epochs: {pruner.explain(trial).reason}")
            return pruner.value_or_prune(trial)  # the sampler learns from the prediction
    return accuracy


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = SRMPruner(options.epochs, min_curves=10)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: objective(trial, pruner, options.epochs), n_trials=options.trials)
    trained = sum(len(trial.intermediate_values) for trial in study.trials)
    planned = options.epochs * options.trials
    print(f"best accuracy {study.best_value:.4f} with {study.best_params}")
    print(f"{trained} of {planned} epochs trained: {1 - trained / planned:.0%} saved")


if __name__ == "__main__":
    main()
