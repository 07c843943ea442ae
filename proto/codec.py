"""Messages of the wire to dataclasses and back; the only module that sees both.

It translates and does not judge: the rules are the study's. A function `..._from_proto` raises ValueError for a message that
has no translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast, get_args

from google.protobuf import json_format

from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.proto.status import ModelStatus, StudyStatus
from curvestop.srm.curve import Configuration, Decision, LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.report import BracketPosition, Question
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import EndState, Trial, TrialState

_Name = TypeVar("_Name")
_Number = TypeVar("_Number")

# Only the numbers travel: the British names of the .proto reach no user.
_DIRECTIONS: Mapping[Direction, pb.Direction] = {
    "maximize": pb.DIRECTION_MAXIMISE,
    "minimize": pb.DIRECTION_MINIMISE,
}
_STATES: Mapping[TrialState, pb.TrialState] = {
    "running": pb.TRIAL_STATE_RUNNING,
    "finished": pb.TRIAL_STATE_FINISHED,
    "stopped": pb.TRIAL_STATE_STOPPED,
    "failed": pb.TRIAL_STATE_FAILED,
}


def settings_to_proto(settings: StudySettings) -> pb.StudySettings:
    """Encode study settings.

    Args:
        settings: Every setting is written, defaults too, so that a receiver with other defaults makes the same study.
    """
    rule = settings.rule
    return pb.StudySettings(
        name=settings.name,
        max_epochs=settings.max_epochs,
        metric=settings.metric,
        direction=_DIRECTIONS[settings.direction],
        rule=pb.StoppingRule(threshold=rule.threshold, tolerance=rule.tolerance, rank=rule.rank, min_curves=rule.min_curves),
        predictor=pb.Predictor(name=settings.predictor, settings=settings.predictor_settings),
        log_scaled=settings.log_scaled,
        refit_growth=settings.refit_growth,
        policy=_policy_to_proto(settings),
        resource=settings.resource,
        max_resource=settings.max_resource or 0.0,
    )


def settings_from_proto(message: pb.StudySettings) -> StudySettings:
    """Decode study settings; without a policy they have the default one.

    Args:
        message: From a client of any version.

    Raises:
        ValueError: If a setting breaks its rule.
    """
    rule = message.rule
    return StudySettings(
        name=message.name,
        max_epochs=message.max_epochs,
        metric=message.metric,
        direction=_named(_DIRECTIONS, "direction", message.direction),
        rule=StoppingRule(threshold=rule.threshold, tolerance=rule.tolerance, rank=rule.rank, min_curves=rule.min_curves),
        predictor=message.predictor.name,
        predictor_settings=dict(message.predictor.settings),
        log_scaled=tuple(message.log_scaled),
        refit_growth=message.refit_growth,
        resource=message.resource or "epoch",  # clients from before there were resources send none
        max_resource=message.max_resource or None,
        # An optional message: clients from before there were policies send none.
        **(_policy_from_proto(message.policy) if message.HasField("policy") else {}),
    )


def configuration_to_proto(configuration: Configuration) -> pb.Configuration:
    """Encode a configuration.

    Args:
        configuration: Hyper-parameters and architecture numbers by name.

    Raises:
        ValueError: If an integer has more than 64 bits.
    """
    return pb.Configuration(values={name: _value_to_proto(name, value) for name, value in configuration.items()})


def configuration_from_proto(message: pb.Configuration) -> Configuration:
    """Decode a configuration.

    Raises:
        ValueError: If a value has none of the kinds.
    """
    values: dict[str, bool | int | float | str] = {}
    for name, value in message.values.items():
        # One field for each type, so that 1, 1.0 and True arrive as what they were.
        kind = value.WhichOneof("kind")
        if kind is None:
            raise ValueError(f"{name} must have a number, an integer, a text or a flag, but has none")
        values[name] = getattr(value, kind)
    return values


def decision_to_proto(decision: Decision, into: pb.ReportResponse | None = None) -> pb.ReportResponse:
    """Encode a decision with what the study knew of the trial before.

    Args:
        decision: The decision.
        into: Empty message that is part of another, to be filled: a quarter of the time of making one and copying it.
    """
    message = pb.ReportResponse() if into is None else into
    _fill_decision(message.decision, decision)
    for epoch, stored in decision.conflicts:
        message.conflicts.add(epoch=epoch, stored=stored)
    if decision.ended_as is not None:
        message.ended_as = state_to_proto(decision.ended_as)
    if decision.lacks_values:
        message.lacks_values = True
    if decision.fit_failure:
        message.fit_failure = decision.fit_failure
    return message


def decision_from_proto(message: pb.ReportResponse) -> Decision:
    """Decode a decision with what the study knew of the trial before."""
    decision = _decision_from_proto(message.decision)
    # The usual case needs no copy of the frozen decision.
    if not (message.conflicts or message.ended_as or message.lacks_values or message.fit_failure):
        return decision
    conflicts = tuple((conflict.epoch, conflict.stored) for conflict in message.conflicts)
    ended_as = end_state_from_proto(message.ended_as) if message.ended_as else None
    return replace(
        decision,
        conflicts=conflicts,
        ended_as=ended_as,
        lacks_values=message.lacks_values,
        fit_failure=message.fit_failure,
    )


def entry_to_proto(entry: Entry) -> pb.LogEntry:
    """Encode an entry of a study's log."""
    match entry:
        # By frequency: most entries of a log are values.
        case Observed(trial, epoch, value):
            return pb.LogEntry(trial=trial, observed=pb.Observation(epoch=epoch, value=value))
        case Decided(trial, asked, decision):
            # A None leaves an optional field unset.
            judged = pb.Judgement(epoch=asked.tau, target_epoch=asked.target_epoch, value_to_beat=asked.value_to_beat)
            _fill_decision(judged.decision, decision)
            return pb.LogEntry(trial=trial, judged=judged)
        case TrialAdded(trial, configuration, bracket):
            return pb.LogEntry(trial=trial, added=configuration_to_proto(configuration), bracket=bracket_to_proto(bracket))
        case Ended(trial, state, diverged_at):
            return pb.LogEntry(trial=trial, ended=pb.End(state=state_to_proto(state), diverged_at=diverged_at))
        case Resumed(trial, key):
            return pb.LogEntry(trial=trial, resumed=pb.Resumption(key=key))


def entry_from_proto(message: pb.LogEntry) -> Entry:
    """Decode an entry of a study's log.

    Args:
        message: From a server of any version.

    Raises:
        ValueError: If it is of a kind that this version does not know.
    """
    match message.WhichOneof("kind"):
        case "observed":
            return Observed(message.trial, message.observed.epoch, message.observed.value)
        case "judged":
            judged = message.judged
            # 0 is a value to beat, so only its presence tells.
            to_beat = judged.value_to_beat if judged.HasField("value_to_beat") else None
            question = Question(judged.epoch, judged.target_epoch, to_beat)
            return Decided(message.trial, question, _decision_from_proto(judged.decision))
        case "added":
            return TrialAdded(message.trial, configuration_from_proto(message.added), bracket_of(message))
        case "ended":
            diverged_at = message.ended.diverged_at if message.ended.HasField("diverged_at") else None
            return Ended(message.trial, end_state_from_proto(message.ended.state), diverged_at)
        case "resumed":
            return Resumed(message.trial, message.resumed.key)
    # A reader that left it out would rebuild another study, so it must not go on.
    raise ValueError(f"an entry of trial {message.trial!r} has a kind that this version does not know")


def bracket_to_proto(bracket: BracketPosition | None) -> pb.BracketPosition | None:
    """Encode a bracket position; None stays None."""
    if bracket is None:
        return None
    # Two lists of numbers are smaller than a message for each rung.
    n_configurations, epochs = zip(*bracket.rungs, strict=True) if bracket.rungs else ((), ())
    return pb.BracketPosition(iteration=bracket.iteration, s=bracket.s, rung_configurations=n_configurations, rung_epochs=epochs)


def bracket_of(message: pb.ReportRequest | pb.LogEntry) -> BracketPosition | None:
    """Decode the bracket position of a message; None if it has none.

    Args:
        message: A report, or the log entry that added a trial.

    Raises:
        ValueError: If its two lists differ in length.
    """
    if not message.HasField("bracket"):
        return None
    bracket = message.bracket
    if len(bracket.rung_configurations) != len(bracket.rung_epochs):
        raise ValueError("rung_configurations and rung_epochs must have the same length")
    return BracketPosition(
        bracket.iteration, bracket.s, tuple(zip(bracket.rung_configurations, bracket.rung_epochs, strict=True))
    )


def fill_prediction(message: pb.Prediction, prediction: Prediction) -> None:
    """Encode a prediction into an empty message.

    Args:
        message: An empty message, part of another one: filled in place, it needs no copy.
        prediction: Mean and sigma in the metric.
    """
    message.SetInParent()  # also where both numbers are 0
    message.mean, message.sigma = prediction


def prediction_of(message: pb.PredictResponse) -> Prediction | None:
    """Decode the prediction of a response; None if there is no model yet."""
    return prediction_from_proto(message.prediction) if message.HasField("prediction") else None


def partial_curve_to_proto(curve: LearningCurve) -> pb.PartialCurve:
    """Encode a partial curve, without the trial's name.

    Args:
        curve: Of a trial or of none: a prediction depends on its values and configuration alone.
    """
    configuration = configuration_to_proto(curve.configuration)
    return pb.PartialCurve(values=curve.values, configuration=configuration, epochs=curve.epochs)


def prediction_from_proto(message: pb.Prediction) -> Prediction:
    """Decode a prediction."""
    return Prediction(message.mean, message.sigma)


def trial_to_proto(trial: Trial) -> pb.Trial:
    """Encode a trial."""
    message = pb.Trial(
        trial=trial.trial,
        configuration=configuration_to_proto(trial.configuration),
        values=trial.values,
        state=state_to_proto(trial.state),
        epochs=trial.epochs,
        epochs_saved=trial.epochs_saved,
    )
    if trial.decision is not None:
        _fill_decision(message.decision, trial.decision)
    return message


def trial_from_proto(message: pb.Trial) -> Trial:
    """Decode a trial.

    Raises:
        ValueError: If its state or a configuration value is unknown.
    """
    return Trial(
        message.trial,
        configuration_from_proto(message.configuration),
        tuple(message.values),
        state_from_proto(message.state),
        tuple(message.epochs) or None,
        _decision_from_proto(message.decision) if message.HasField("decision") else None,
        message.epochs_saved,
    )


def second_chance_to_proto(chance: SecondChance) -> pb.SecondChance:
    """Encode a second chance."""
    return pb.SecondChance(
        trial=chance.trial,
        configuration=configuration_to_proto(chance.configuration),
        next_epoch=chance.next_epoch,
        chance=chance.chance,
    )


def second_chance_from_proto(message: pb.SecondChance) -> SecondChance:
    """Decode a second chance.

    Raises:
        ValueError: If a configuration value is unknown.
    """
    return SecondChance(message.trial, configuration_from_proto(message.configuration), message.next_epoch, message.chance)


def state_to_proto(state: TrialState) -> pb.TrialState:
    """Encode the state of a trial."""
    return _STATES[state]


def state_from_proto(state: pb.TrialState) -> TrialState:
    """Decode the state of a trial.

    Raises:
        ValueError: If the state is unknown.
    """
    return _named(_STATES, "state", state)


def end_state_from_proto(state: pb.TrialState) -> EndState:
    """Decode a state in which a trial may end.

    Raises:
        ValueError: If the state is unknown or "running".
    """
    named = state_from_proto(state)
    if named == "running":
        raise ValueError("state must be 'finished', 'stopped' or 'failed', but got 'running'")
    return named


def status_to_proto(status: StudyStatus) -> pb.GetStudyResponse:
    """Encode the status of a study."""
    return pb.GetStudyResponse(
        settings=settings_to_proto(status.settings),
        models=[pb.TargetModels(target_epoch=m.target_epoch, n_fitted=m.n_fitted, n_due=m.n_due) for m in status.models],
        n_trials=cast(Mapping[str, int], status.n_trials),
    )


def status_from_proto(message: pb.GetStudyResponse) -> StudyStatus:
    """Decode the status of a study.

    Args:
        message: From a server of any version; states that this version does not know are left out.
    """
    return StudyStatus(
        settings_from_proto(message.settings),
        tuple(ModelStatus(m.target_epoch, m.n_fitted, m.n_due) for m in message.models),
        # In the order of the states, whatever the order of the map.
        {state: message.n_trials[state] for state in get_args(TrialState) if state in message.n_trials},
    )


def _fill_decision(message: pb.Decision, decision: Decision) -> None:
    message.stop, message.would_stop, message.reason = decision.stop, decision.would_stop, decision.reason
    message.n_curves, message.model_epoch = decision.n_curves, decision.model_epoch
    # Unset means None in the fields below: 0 is a probability too.
    if decision.probability is not None:
        message.probability = decision.probability
    if decision.chance is not None:
        message.chance = decision.chance
    if decision.prediction is not None:
        fill_prediction(message.prediction, decision.prediction)


def _decision_from_proto(message: pb.Decision) -> Decision:
    return Decision(
        stop=message.stop,
        reason=message.reason,
        probability=message.probability if message.HasField("probability") else None,
        prediction=prediction_from_proto(message.prediction) if message.HasField("prediction") else None,
        n_curves=message.n_curves,
        model_epoch=message.model_epoch,
        would_stop=message.would_stop,
        chance=message.chance if message.HasField("chance") else None,
    )


def _policy_to_proto(settings: StudySettings) -> pb.Policy:
    policy = pb.Policy(name=settings.policy, shadow=settings.shadow, hold_out=settings.hold_out)
    # A Struct holds JSON with doubles; `canonical` makes 5 of 5.0 again on the other side.
    policy.settings.update(settings.policy_settings)
    return policy


def _policy_from_proto(message: pb.Policy) -> dict[str, Any]:
    return {
        "policy": message.name,
        "policy_settings": json_format.MessageToDict(message.settings),
        "shadow": message.shadow,
        "hold_out": message.hold_out,
    }


def _value_to_proto(name: str, value: bool | int | float | str) -> pb.ConfigurationValue:
    if isinstance(value, bool):  # before int, which a bool is too
        return pb.ConfigurationValue(flag=value)
    if isinstance(value, int):
        # Protobuf would raise an error that does not say which name it is about.
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} must fit in 64 bits, but got {value!r}")
        return pb.ConfigurationValue(integer=value)
    if isinstance(value, float):
        return pb.ConfigurationValue(number=value)
    return pb.ConfigurationValue(text=value)


def _named(table: Mapping[_Name, _Number], what: str, number: _Number) -> _Name:
    # proto3 lets a later version send numbers that this one has no name for.
    for name, known in table.items():
        if known == number:
            return name
    raise ValueError(f"{what} must be one of {', '.join(map(str, table))}, but got number {number}")
