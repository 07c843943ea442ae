from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_MAXIMISE: _ClassVar[Direction]
    DIRECTION_MINIMISE: _ClassVar[Direction]

class TrialState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAL_STATE_UNSPECIFIED: _ClassVar[TrialState]
    TRIAL_STATE_RUNNING: _ClassVar[TrialState]
    TRIAL_STATE_FINISHED: _ClassVar[TrialState]
    TRIAL_STATE_STOPPED: _ClassVar[TrialState]
    TRIAL_STATE_FAILED: _ClassVar[TrialState]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_MAXIMISE: Direction
DIRECTION_MINIMISE: Direction
TRIAL_STATE_UNSPECIFIED: TrialState
TRIAL_STATE_RUNNING: TrialState
TRIAL_STATE_FINISHED: TrialState
TRIAL_STATE_STOPPED: TrialState
TRIAL_STATE_FAILED: TrialState

class StoppingRule(_message.Message):
    __slots__ = ("threshold", "tolerance", "rank", "min_curves")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    MIN_CURVES_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    tolerance: float
    rank: int
    min_curves: int
    def __init__(self, threshold: _Optional[float] = ..., tolerance: _Optional[float] = ..., rank: _Optional[int] = ..., min_curves: _Optional[int] = ...) -> None: ...

class Predictor(_message.Message):
    __slots__ = ("name", "settings")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    settings: _containers.ScalarMap[str, float]
    def __init__(self, name: _Optional[str] = ..., settings: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "settings", "shadow", "hold_out")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    HOLD_OUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    settings: _struct_pb2.Struct
    shadow: bool
    hold_out: float
    def __init__(self, name: _Optional[str] = ..., settings: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., shadow: bool = ..., hold_out: _Optional[float] = ...) -> None: ...

class StudySettings(_message.Message):
    __slots__ = ("name", "max_epochs", "metric", "direction", "rule", "predictor", "log_scaled", "refit_growth", "policy", "resource", "max_resource")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    LOG_SCALED_FIELD_NUMBER: _ClassVar[int]
    REFIT_GROWTH_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    MAX_RESOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    max_epochs: int
    metric: str
    direction: Direction
    rule: StoppingRule
    predictor: Predictor
    log_scaled: _containers.RepeatedScalarFieldContainer[str]
    refit_growth: float
    policy: Policy
    resource: str
    max_resource: float
    def __init__(self, name: _Optional[str] = ..., max_epochs: _Optional[int] = ..., metric: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., rule: _Optional[_Union[StoppingRule, _Mapping]] = ..., predictor: _Optional[_Union[Predictor, _Mapping]] = ..., log_scaled: _Optional[_Iterable[str]] = ..., refit_growth: _Optional[float] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., resource: _Optional[str] = ..., max_resource: _Optional[float] = ...) -> None: ...

class ConfigurationValue(_message.Message):
    __slots__ = ("number", "integer", "text", "flag")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    number: float
    integer: int
    text: str
    flag: bool
    def __init__(self, number: _Optional[float] = ..., integer: _Optional[int] = ..., text: _Optional[str] = ..., flag: bool = ...) -> None: ...

class Configuration(_message.Message):
    __slots__ = ("values",)
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ConfigurationValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ConfigurationValue, _Mapping]] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.MessageMap[str, ConfigurationValue]
    def __init__(self, values: _Optional[_Mapping[str, ConfigurationValue]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("mean", "sigma")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    SIGMA_FIELD_NUMBER: _ClassVar[int]
    mean: float
    sigma: float
    def __init__(self, mean: _Optional[float] = ..., sigma: _Optional[float] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("stop", "probability", "prediction", "reason", "n_curves", "model_epoch", "would_stop", "chance")
    STOP_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    N_CURVES_FIELD_NUMBER: _ClassVar[int]
    MODEL_EPOCH_FIELD_NUMBER: _ClassVar[int]
    WOULD_STOP_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    stop: bool
    probability: float
    prediction: Prediction
    reason: str
    n_curves: int
    model_epoch: int
    would_stop: bool
    chance: float
    def __init__(self, stop: bool = ..., probability: _Optional[float] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., reason: _Optional[str] = ..., n_curves: _Optional[int] = ..., model_epoch: _Optional[int] = ..., would_stop: bool = ..., chance: _Optional[float] = ...) -> None: ...

class Conflict(_message.Message):
    __slots__ = ("epoch", "stored")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    stored: float
    def __init__(self, epoch: _Optional[int] = ..., stored: _Optional[float] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("trial", "configuration", "values", "state", "epochs", "decision", "epochs_saved")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_SAVED_FIELD_NUMBER: _ClassVar[int]
    trial: str
    configuration: Configuration
    values: _containers.RepeatedScalarFieldContainer[float]
    state: TrialState
    epochs: _containers.RepeatedScalarFieldContainer[int]
    decision: Decision
    epochs_saved: int
    def __init__(self, trial: _Optional[str] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., values: _Optional[_Iterable[float]] = ..., state: _Optional[_Union[TrialState, str]] = ..., epochs: _Optional[_Iterable[int]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., epochs_saved: _Optional[int] = ...) -> None: ...

class TargetModels(_message.Message):
    __slots__ = ("target_epoch", "n_fitted", "n_due")
    TARGET_EPOCH_FIELD_NUMBER: _ClassVar[int]
    N_FITTED_FIELD_NUMBER: _ClassVar[int]
    N_DUE_FIELD_NUMBER: _ClassVar[int]
    target_epoch: int
    n_fitted: int
    n_due: int
    def __init__(self, target_epoch: _Optional[int] = ..., n_fitted: _Optional[int] = ..., n_due: _Optional[int] = ...) -> None: ...

class CreateStudyRequest(_message.Message):
    __slots__ = ("settings",)
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: StudySettings
    def __init__(self, settings: _Optional[_Union[StudySettings, _Mapping]] = ...) -> None: ...

class CreateStudyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStudyRequest(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: str
    def __init__(self, study: _Optional[str] = ...) -> None: ...

class GetStudyResponse(_message.Message):
    __slots__ = ("settings", "models", "n_trials")
    class NTrialsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    N_TRIALS_FIELD_NUMBER: _ClassVar[int]
    settings: StudySettings
    models: _containers.RepeatedCompositeFieldContainer[TargetModels]
    n_trials: _containers.ScalarMap[str, int]
    def __init__(self, settings: _Optional[_Union[StudySettings, _Mapping]] = ..., models: _Optional[_Iterable[_Union[TargetModels, _Mapping]]] = ..., n_trials: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ListStudiesRequest(_message.Message):
    __slots__ = ("first",)
    FIRST_FIELD_NUMBER: _ClassVar[int]
    first: int
    def __init__(self, first: _Optional[int] = ...) -> None: ...

class ListStudiesResponse(_message.Message):
    __slots__ = ("studies", "next")
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    studies: _containers.RepeatedCompositeFieldContainer[StudySettings]
    next: int
    def __init__(self, studies: _Optional[_Iterable[_Union[StudySettings, _Mapping]]] = ..., next: _Optional[int] = ...) -> None: ...

class BracketPosition(_message.Message):
    __slots__ = ("iteration", "s", "rung_configurations", "rung_epochs")
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    S_FIELD_NUMBER: _ClassVar[int]
    RUNG_CONFIGURATIONS_FIELD_NUMBER: _ClassVar[int]
    RUNG_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    iteration: int
    s: int
    rung_configurations: _containers.RepeatedScalarFieldContainer[int]
    rung_epochs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, iteration: _Optional[int] = ..., s: _Optional[int] = ..., rung_configurations: _Optional[_Iterable[int]] = ..., rung_epochs: _Optional[_Iterable[int]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("study", "trial", "first_epoch", "values", "configuration", "target_epoch", "value_to_beat", "ask", "diverged", "bracket", "n_known")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    FIRST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_EPOCH_FIELD_NUMBER: _ClassVar[int]
    VALUE_TO_BEAT_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    DIVERGED_FIELD_NUMBER: _ClassVar[int]
    BRACKET_FIELD_NUMBER: _ClassVar[int]
    N_KNOWN_FIELD_NUMBER: _ClassVar[int]
    study: str
    trial: str
    first_epoch: int
    values: _containers.RepeatedScalarFieldContainer[float]
    configuration: Configuration
    target_epoch: int
    value_to_beat: float
    ask: bool
    diverged: bool
    bracket: BracketPosition
    n_known: int
    def __init__(self, study: _Optional[str] = ..., trial: _Optional[str] = ..., first_epoch: _Optional[int] = ..., values: _Optional[_Iterable[float]] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., target_epoch: _Optional[int] = ..., value_to_beat: _Optional[float] = ..., ask: bool = ..., diverged: bool = ..., bracket: _Optional[_Union[BracketPosition, _Mapping]] = ..., n_known: _Optional[int] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("decision", "conflicts", "ended_as", "lacks_values", "fit_failure")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AS_FIELD_NUMBER: _ClassVar[int]
    LACKS_VALUES_FIELD_NUMBER: _ClassVar[int]
    FIT_FAILURE_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    conflicts: _containers.RepeatedCompositeFieldContainer[Conflict]
    ended_as: TrialState
    lacks_values: bool
    fit_failure: str
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., conflicts: _Optional[_Iterable[_Union[Conflict, _Mapping]]] = ..., ended_as: _Optional[_Union[TrialState, str]] = ..., lacks_values: bool = ..., fit_failure: _Optional[str] = ...) -> None: ...

class ReportBatchRequest(_message.Message):
    __slots__ = ("study", "reports")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    study: str
    reports: _containers.RepeatedCompositeFieldContainer[ReportRequest]
    def __init__(self, study: _Optional[str] = ..., reports: _Optional[_Iterable[_Union[ReportRequest, _Mapping]]] = ...) -> None: ...

class Mistake(_message.Message):
    __slots__ = ("code", "name", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    name: str
    details: str
    def __init__(self, code: _Optional[int] = ..., name: _Optional[str] = ..., details: _Optional[str] = ...) -> None: ...

class ReportResult(_message.Message):
    __slots__ = ("answer", "mistake")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    MISTAKE_FIELD_NUMBER: _ClassVar[int]
    answer: ReportResponse
    mistake: Mistake
    def __init__(self, answer: _Optional[_Union[ReportResponse, _Mapping]] = ..., mistake: _Optional[_Union[Mistake, _Mapping]] = ...) -> None: ...

class ReportBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ReportResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ReportResult, _Mapping]]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("study", "values", "configuration", "target_epoch")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_EPOCH_FIELD_NUMBER: _ClassVar[int]
    study: str
    values: _containers.RepeatedScalarFieldContainer[float]
    configuration: Configuration
    target_epoch: int
    def __init__(self, study: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., target_epoch: _Optional[int] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("prediction",)
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    prediction: Prediction
    def __init__(self, prediction: _Optional[_Union[Prediction, _Mapping]] = ...) -> None: ...

class PartialCurve(_message.Message):
    __slots__ = ("values", "configuration", "epochs")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    configuration: Configuration
    epochs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[float]] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., epochs: _Optional[_Iterable[int]] = ...) -> None: ...

class PredictBatchRequest(_message.Message):
    __slots__ = ("study", "curves", "target_epoch")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    TARGET_EPOCH_FIELD_NUMBER: _ClassVar[int]
    study: str
    curves: _containers.RepeatedCompositeFieldContainer[PartialCurve]
    target_epoch: int
    def __init__(self, study: _Optional[str] = ..., curves: _Optional[_Iterable[_Union[PartialCurve, _Mapping]]] = ..., target_epoch: _Optional[int] = ...) -> None: ...

class PredictBatchResponse(_message.Message):
    __slots__ = ("predictions",)
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[PredictResponse]
    def __init__(self, predictions: _Optional[_Iterable[_Union[PredictResponse, _Mapping]]] = ...) -> None: ...

class FinishTrialRequest(_message.Message):
    __slots__ = ("study", "trial", "state")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    study: str
    trial: str
    state: TrialState
    def __init__(self, study: _Optional[str] = ..., trial: _Optional[str] = ..., state: _Optional[_Union[TrialState, str]] = ...) -> None: ...

class FinishTrialResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: TrialState
    def __init__(self, state: _Optional[_Union[TrialState, str]] = ...) -> None: ...

class SecondChancesRequest(_message.Message):
    __slots__ = ("study", "n", "first")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    study: str
    n: int
    first: int
    def __init__(self, study: _Optional[str] = ..., n: _Optional[int] = ..., first: _Optional[int] = ...) -> None: ...

class SecondChancesResponse(_message.Message):
    __slots__ = ("chances", "next")
    CHANCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    chances: _containers.RepeatedCompositeFieldContainer[SecondChance]
    next: int
    def __init__(self, chances: _Optional[_Iterable[_Union[SecondChance, _Mapping]]] = ..., next: _Optional[int] = ...) -> None: ...

class SecondChance(_message.Message):
    __slots__ = ("trial", "configuration", "next_epoch", "chance")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    NEXT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    trial: str
    configuration: Configuration
    next_epoch: int
    chance: float
    def __init__(self, trial: _Optional[str] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., next_epoch: _Optional[int] = ..., chance: _Optional[float] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("study", "trial", "key")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    study: str
    trial: str
    key: str
    def __init__(self, study: _Optional[str] = ..., trial: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTrialsRequest(_message.Message):
    __slots__ = ("study", "first")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    study: str
    first: int
    def __init__(self, study: _Optional[str] = ..., first: _Optional[int] = ...) -> None: ...

class ListTrialsResponse(_message.Message):
    __slots__ = ("trials", "next")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    next: int
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., next: _Optional[int] = ...) -> None: ...

class ReadLogRequest(_message.Message):
    __slots__ = ("study", "after")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    study: str
    after: int
    def __init__(self, study: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class ReadLogResponse(_message.Message):
    __slots__ = ("entries", "last")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    last: int
    def __init__(self, entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ..., last: _Optional[int] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("trial", "added", "observed", "judged", "ended", "resumed", "bracket")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    BRACKET_FIELD_NUMBER: _ClassVar[int]
    trial: str
    added: Configuration
    observed: Observation
    judged: Judgement
    ended: End
    resumed: Resumption
    bracket: BracketPosition
    def __init__(self, trial: _Optional[str] = ..., added: _Optional[_Union[Configuration, _Mapping]] = ..., observed: _Optional[_Union[Observation, _Mapping]] = ..., judged: _Optional[_Union[Judgement, _Mapping]] = ..., ended: _Optional[_Union[End, _Mapping]] = ..., resumed: _Optional[_Union[Resumption, _Mapping]] = ..., bracket: _Optional[_Union[BracketPosition, _Mapping]] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("epoch", "value")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    value: float
    def __init__(self, epoch: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("epoch", "target_epoch", "value_to_beat", "decision")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TARGET_EPOCH_FIELD_NUMBER: _ClassVar[int]
    VALUE_TO_BEAT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    target_epoch: int
    value_to_beat: float
    decision: Decision
    def __init__(self, epoch: _Optional[int] = ..., target_epoch: _Optional[int] = ..., value_to_beat: _Optional[float] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("state", "diverged_at")
    STATE_FIELD_NUMBER: _ClassVar[int]
    DIVERGED_AT_FIELD_NUMBER: _ClassVar[int]
    state: TrialState
    diverged_at: int
    def __init__(self, state: _Optional[_Union[TrialState, str]] = ..., diverged_at: _Optional[int] = ...) -> None: ...

class Resumption(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...
