"""A search whose trials are pruned when their learning curves predict that they will not be among the best."""

import math

import optuna
import optunahub

N_EPOCHS = 50


def objective(trial: optuna.Trial) -> float:
    """Report a curve that rises to a drawn level at a drawn rate."""
    rate, level = trial.suggest_float("rate", 1e-3, 1.0, log=True), trial.suggest_float("level", 0.0, 1.0)
    value = 0.0
    for epoch in range(N_EPOCHS):
        value = level * (1 - math.exp(-rate * (epoch + 1)))
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


if __name__ == "__main__":
    module = optunahub.load_module("pruners/curvestop")
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=module.SRMPruner(max_epochs=N_EPOCHS))
    study.optimize(objective, n_trials=100)
    n_steps = sum(len(trial.intermediate_values) for trial in study.trials)
    print(f"best {study.best_value:.3f}; {n_steps} epochs of {N_EPOCHS * len(study.trials)} trained")
