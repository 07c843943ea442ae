"""Second chances: pruned trials are enqueued again, with where they were."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from curvestop import SRMPruner
from curvestop.clients.optuna import second_chances
from curvestop.clients.optuna.second_chances import NEXT_STEP, RESUMES
from curvestop.server.rpc.server import Server

EPOCHS = 10
FITTED_S = 30.0


def objective(trial: optuna.Trial) -> float:
    level = trial.suggest_float("level", 0, 1)
    for step in range(EPOCHS):
        trial.report(level * (1 - 0.7 ** (step + 1)), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return level


def searched(pruner: optuna.pruners.BasePruner) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    study.optimize(objective, n_trials=40)
    return study


def test_the_most_promising_pruned_trials_are_enqueued_with_where_they_were() -> None:
    study = searched(SRMPruner(max_epochs=EPOCHS))
    pruned = {t.number: t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED}
    chances = second_chances(study, n=3)
    assert [int(chance.trial) in pruned for chance in chances] == [True] * 3
    assert [chance.chance for chance in chances] == sorted((chance.chance for chance in chances), reverse=True)
    waiting = [t for t in study.trials if t.state == optuna.trial.TrialState.WAITING]
    for trial, chance in zip(waiting, chances, strict=True):
        first = pruned[int(chance.trial)]
        assert first.last_step is not None
        assert trial.user_attrs == {RESUMES: first.number, NEXT_STEP: first.last_step + 1}
    study.optimize(objective, n_trials=3)
    assert [study.trials[t.number].params for t in waiting] == [pruned[int(c.trial)].params for c in chances]


def test_a_server_gives_the_same_second_chances(tmp_path: Path) -> None:
    with Server(tmp_path, host="127.0.0.1", port=0) as server:
        token = server.token_path.read_text().strip()
        on_server = searched(SRMPruner(max_epochs=EPOCHS, server=server.address, token=token))
        assert server.registry.wait_fitted(FITTED_S)  # or the chances would be those by an earlier model
        chances = second_chances(on_server, n=3)
        assert len(chances) == 3
        pruned = {t.number for t in on_server.trials if t.state == optuna.trial.TrialState.PRUNED}
        assert {int(chance.trial) for chance in chances} <= pruned
        assert chances == on_server.pruner.second_chances(on_server, 3)  # type: ignore[attr-defined]


def test_another_pruner_gives_no_second_chances() -> None:
    study = searched(optuna.pruners.NopPruner())
    with pytest.raises(ValueError, match="second chances need a study with SRMPruner, but its pruner is NopPruner"):
        second_chances(study)


def test_a_policy_without_chances_is_refused() -> None:
    study = searched(SRMPruner(max_epochs=EPOCHS, policy="asha"))
    with pytest.raises(ValueError, match="second chances need policy 'learned', but the study has 'asha'"):
        second_chances(study)
