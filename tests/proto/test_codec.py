"""What is decoded equals what was encoded, types included."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.entries import Entry
from curvestop.proto.status import ModelStatus, StudyStatus
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.policies.rules import Combination, Rank
from curvestop.srm.policies.shadow import Shadow
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import Trial, TrialState
from tests.contracts_store import ENTRIES

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False)
epochs = st.integers(0, 2**63 - 1)
configurations = st.dictionaries(names, st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | names)
predictions = st.builds(Prediction, numbers, numbers)
decisions = st.builds(
    Decision,
    st.booleans(),
    names,
    st.none() | numbers,
    st.none() | predictions,
    epochs,
    epochs,
    st.lists(st.tuples(epochs, numbers)).map(tuple),
)
trials = st.builds(Trial, names, configurations, st.lists(numbers).map(tuple), st.sampled_from(get_args(TrialState)))


def over_the_wire(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def types(configuration: Any) -> dict[str, type]:
    return {name: type(value) for name, value in configuration.items()}


@given(configurations)
def test_configurations(configuration: Any) -> None:
    decoded = codec.configuration_from_proto(over_the_wire(codec.configuration_to_proto(configuration)))
    assert decoded == configuration
    assert types(decoded) == types(configuration)


@given(decisions)
def test_decisions(decision: Decision) -> None:
    assert codec.decision_from_proto(over_the_wire(codec.decision_to_proto(decision))) == decision


@given(trials)
def test_trials(trial: Trial) -> None:
    assert codec.trial_from_proto(over_the_wire(codec.trial_to_proto(trial))) == trial


@given(st.builds(SecondChance, names, configurations, epochs, numbers))
def test_second_chances(chance: SecondChance) -> None:
    assert codec.second_chance_from_proto(over_the_wire(codec.second_chance_to_proto(chance))) == chance


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_of_a_log(entry: Entry) -> None:
    assert codec.entry_from_proto(over_the_wire(codec.entry_to_proto(entry))) == entry


@pytest.mark.parametrize("why", ["shadow mode", "held out"])
def test_a_shadow_stop_is_marked_for_clients_in_other_languages(why: str) -> None:
    shadow_stop = Decision(True, "hopeless", 0.99).as_shadow_stop(why)
    message = over_the_wire(codec.decision_to_proto(shadow_stop))
    assert (message.decision.stop, message.decision.would_stop) == (False, True)
    assert codec.decision_from_proto(message) == shadow_stop
    assert shadow_stop == Decision(False, f"{why}, would have stopped: hopeless", 0.99, would_stop=True)


@pytest.mark.parametrize(
    "settings",
    [
        StudySettings("a", 1),
        StudySettings(
            "é",
            200,
            "loss",
            "minimize",
            StoppingRule(0.9, 0.01, 5, 30),
            "nu-svr",
            {"n_candidates": 5, "seed": 7},
            ("lr", "decay"),
            2.5,
            "all",
            {
                "rules": [
                    {"name": "risk", "risk": 0.1, "ranking": {"name": "predictive-rank", "keep": (0.1, 1)}},
                    {"name": "asha"},
                ]
            },
            True,
            0.25,
        ),
    ],
)
def test_settings_and_status(settings: StudySettings) -> None:
    assert codec.settings_from_proto(over_the_wire(codec.settings_to_proto(settings))) == settings
    status = StudyStatus(settings, (ModelStatus(5, 0, 20), ModelStatus(9, 20, 20)), {"running": 3, "failed": 1})
    assert codec.status_from_proto(over_the_wire(codec.status_to_proto(status))) == status
    assert not status.fitted


def test_settings_without_a_policy_have_the_default_one() -> None:
    message = codec.settings_to_proto(StudySettings("a", 1))
    message.ClearField("policy")
    assert codec.settings_from_proto(over_the_wire(message)) == StudySettings("a", 1)


def test_a_policy_as_a_client_in_another_language_sends_it() -> None:
    message = codec.settings_to_proto(StudySettings("a", 1))
    text = '{"name": "any", "settings": {"rules": [{"name": "rank", "keep": [0.5, 1.0], "n_early": 3.0}]}, "holdOut": 0.1}'
    message.policy.CopyFrom(json_format.Parse(text, pb.Policy()))
    settings = codec.settings_from_proto(over_the_wire(message))
    assert isinstance(settings.stopping, Shadow)
    assert settings.stopping.rule == Combination((Rank(keep=(0.5, 1), n_early=3),))
    assert settings == StudySettings(
        "a", 1, policy="any", policy_settings={"rules": [{"name": "rank", "keep": (0.5, 1), "n_early": 3}]}, hold_out=0.1
    )


def test_a_message_without_translation_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="state must be one of running, finished, stopped, failed, but got number 0"):
        codec.state_from_proto(pb.TRIAL_STATE_UNSPECIFIED)
    with pytest.raises(ValueError, match="got 'running'"):
        codec.end_state_from_proto(pb.TRIAL_STATE_RUNNING)
    message = codec.settings_to_proto(StudySettings("a", 1))
    message.policy.settings.update({"margin": math.nan})
    with pytest.raises(ValueError, match="NaN"):
        codec.settings_from_proto(message)
    with pytest.raises(ValueError, match="an entry of trial 'a' has a kind that this version does not know"):
        codec.entry_from_proto(pb.LogEntry(trial="a"))
    with pytest.raises(ValueError, match="n must fit in 64 bits"):
        codec.configuration_to_proto({"n": 2**63})
