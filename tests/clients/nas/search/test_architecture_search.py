"""A search: rewards of finished, stopped and failed trainings, and what a study is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Description, Training
from curvestop.clients.nas.search.q_learning import EpsilonSchedule, QLearning
from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain, Option
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

CHAIN = ChoiceChain((Choice("operation", ("a", "b", "c")),) * 4)
EPOCHS = 6


def describe(chosen: Sequence[Option]) -> Description:
    return Description("".join(map(str, chosen)), {"ap:b": chosen.count("b")})


def accuracies(training: Training) -> Iterator[float]:
    """Yield accuracies that approach the share of "b", each halving the distance."""
    text = str(training.configuration["architecture"])
    share = text.count("b") / 4 + 0.01 * text.count("c")
    for epoch in range(training.first_epoch, 100):
        yield share * (1 - 0.5**epoch)


def new_search(study: Study | None, n_models: int = 40) -> ArchitectureSearch:
    searcher = QLearning(CHAIN, seed=0, schedule=EpsilonSchedule(((1.0, n_models),)))
    return ArchitectureSearch(searcher, describe, epochs=EPOCHS, study=study, trainer_configuration={"learning_rate": 0.1})


def train_all(search: ArchitectureSearch) -> None:
    """Train one after the other, in this process."""
    while (training := search.ask()) is not None:
        for value in accuracies(training):
            if search.report(training.trial, value).stop:
                break
        search.training_over(training.trial)


def test_without_a_study_all_are_trained_to_the_end() -> None:
    search = new_search(None)
    train_all(search)
    assert search.finished
    assert search.epochs_trained == 40 * EPOCHS
    assert all(record.state == "finished" and record.reward == record.values[-1] for record in search.records)


def test_what_a_study_stops_is_rewarded_by_its_prediction() -> None:
    study = Study(StudySettings("s", EPOCHS, predictor="last-seen", policy="threshold", policy_settings={}))
    search = new_search(study, n_models=60)
    train_all(search)
    stopped = [record for record in search.records if record.state == "stopped"]
    assert stopped
    for record in stopped:
        assert record.predicted
        assert record.decision is not None
        assert record.decision.prediction is not None
        assert record.reward == record.decision.prediction.mean
        assert len(record.values) < EPOCHS
    assert search.epochs_trained < 60 * EPOCHS
    assert {trial.trial: (trial.state, trial.values) for trial in study.trials()} == {
        record.trial: (record.state, tuple(record.values)) for record in search.records
    }
    assert study.trials()[0].configuration == search.records[0].features


def test_one_that_fails_teaches_nothing() -> None:
    search = new_search(None)
    training = search.ask()
    assert training is not None
    assert training == Training("m00000", {**training.configuration}, 1, EPOCHS)
    assert training.configuration["learning_rate"] == 0.1
    search.report(training.trial, 0.5)
    search.training_over(training.trial, failure="out of memory")
    assert search.records[0].state == "failed"
    assert search.records[0].reason == "out of memory"
    assert search.records[0].reward is None


def test_a_study_must_fit() -> None:
    with pytest.raises(ValueError, match="max_epochs = 6, but has 7"):
        new_search(Study(StudySettings("s", 7)))
    with pytest.raises(ValueError, match="the name of a running trial, but got 'm9'"):
        new_search(None).report("m9", 0.5)
