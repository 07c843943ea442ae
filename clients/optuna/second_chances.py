"""Second chances for pruned Optuna trials: those that are worth another run, by what the study knows now."""

from __future__ import annotations

import optuna

from curvestop.clients.optuna.srm_pruner import SRMPruner
from curvestop.srm.second_chances import SecondChance

RESUMES = "curvestop:second_chance_of"
"""User attribute of an enqueued trial: the number of the pruned trial whose parameters it has."""
NEXT_STEP = "curvestop:next_step"
"""User attribute of an enqueued trial: the step that a resumed training begins with."""


def second_chances(study: optuna.Study, n: int = 5) -> list[SecondChance]:
    """Enqueue the pruned trials that most likely end as the best after all; the next `study.optimize` runs them.

    An objective that keeps checkpoints reads the user attributes RESUMES and NEXT_STEP and trains on from there; any other
    trains the same parameters from the beginning. An enqueued trial may be pruned again.

    Args:
        study: A study whose pruner is an `SRMPruner` with policy "learned".
        n: Most trials to enqueue, >= 1.

    Returns:
        The second chances, the most promising first.

    Raises:
        ValueError: If n < 1, or the study's pruner is another one.
        ConnectionError: If the pruner has a server, and it does not answer.

    Examples:
        >>> import optuna
        >>> from curvestop import SRMPruner
        >>> from curvestop.clients.optuna import second_chances
        >>> def objective(trial):
        ...     level = trial.suggest_float("level", 0, 1)
        ...     for step in range(10):
        ...         trial.report(level * (1 - 0.7 ** (step + 1)), step)
        ...         if trial.should_prune():
        ...             raise optuna.TrialPruned
        ...     return level
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> sampler = optuna.samplers.RandomSampler(seed=0)
        >>> study = optuna.create_study(direction="maximize", sampler=sampler, pruner=SRMPruner(max_epochs=10))
        >>> study.optimize(objective, n_trials=40)
        >>> len(second_chances(study, n=2))
        2
        >>> study.optimize(objective, n_trials=2)  # the two chances
    """
    if not isinstance(study.pruner, SRMPruner):
        raise ValueError(f"second chances need a study with SRMPruner, but its pruner is {type(study.pruner).__name__}")
    # Names of trials in the curvestop study are the numbers of Optuna's.
    chances = study.pruner.second_chances(study, n)
    trials = study.get_trials(deepcopy=False)
    for chance in chances:
        pruned = trials[int(chance.trial)]
        next_step = study.pruner.grid.step_of(chance.next_epoch)
        attributes = {RESUMES: pruned.number, NEXT_STEP: next_step}
        # A new trial, as Optuna cannot reopen one that ended.
        study.enqueue_trial(pruned.params, user_attrs=attributes)
    return chances
