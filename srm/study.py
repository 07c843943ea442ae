"""A study: collects the learning curves of one search, predicts the final value of a partial one and says whether to stop it.

`Study` is the whole service in one process; `curvestop.clients.connect` gives the same interface over a wire.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from curvestop.srm.curve import Configuration, CurvePredictor, Decision, LearningCurve, Prediction, QuickRefit, SelfAware
from curvestop.srm.sequential import PREDICTORS
from curvestop.srm.stopping import Direction, StoppingRule, nth_best

TrialState = Literal["running", "finished", "stopped", "failed"]
EndState = Literal["finished", "stopped", "failed"]

LARGEST_VALUE = 1e100
LONGEST_NAME = 256  # bytes of UTF-8


class OutOfRange(ValueError):
    """An epoch after the study's last one."""


class UnknownTrial(LookupError):
    """A trial that was never reported."""


@dataclass(frozen=True)
class StudySettings:
    """What a study is; fixed when it is created.

    name: 1-256 bytes. max_epochs: T >= 1, the epoch whose value is the final one. metric: what the values are, for people.
    direction: "maximise" (higher is better) or "minimise".
    predictor: a name of `curvestop.srm.sequential.PREDICTORS`; predictor_settings: its keyword arguments.
    log_scaled: names of the configuration that matter by their logarithm; their values must be > 0.
    refit_growth: > 1; a predictor's settings are searched on min_curves complete curves and again each time their number grew
    by this factor. Where a refit at known settings is quick, every new curve is taken in at once.
    """

    name: str
    max_epochs: int
    metric: str = "value"
    direction: Direction = "maximise"
    rule: StoppingRule = field(default_factory=StoppingRule)
    predictor: str = "stacked"
    predictor_settings: Mapping[str, float] = field(default_factory=dict)
    log_scaled: tuple[str, ...] = ()
    refit_growth: float = 1.2

    def __post_init__(self) -> None:
        check_name("study", self.name)
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs must be >= 1, but got {self.max_epochs!r}")
        if self.direction not in ("maximise", "minimise"):
            raise ValueError(f"direction must be 'maximise' or 'minimise', but got {self.direction!r}")
        if self.predictor not in PREDICTORS:
            raise ValueError(f"predictor must be one of {', '.join(sorted(PREDICTORS))}, but got {self.predictor!r}")
        if not (self.refit_growth > 1 and math.isfinite(self.refit_growth)):
            raise ValueError(f"refit_growth must be > 1, but got {self.refit_growth!r}")
        object.__setattr__(self, "log_scaled", tuple(sorted(set(self.log_scaled))))
        self.new_predictor()  # wrong predictor settings are an error now, not at the first fit

    def new_predictor(self) -> CurvePredictor:
        whole = {k: int(v) if float(v).is_integer() else v for k, v in self.predictor_settings.items()}
        try:
            return PREDICTORS[self.predictor](direction=self.direction, log_scaled=self.log_scaled, **whole)
        except ImportError as error:  # of an extra that is not installed
            raise ValueError(str(error)) from None
        except TypeError as error:
            raise ValueError(f"predictor {self.predictor!r} does not take {dict(self.predictor_settings)!r}: {error}") from None


@dataclass(frozen=True)
class Trial:
    """One trial as it stands.

    values: the gap-free prefix of its curve. state: "running", "finished" (ran to its end), "stopped" or "failed".
    """

    trial: str
    configuration: Configuration
    values: tuple[float, ...]
    state: TrialState

    @property
    def curve(self) -> LearningCurve:
        return LearningCurve(self.trial, self.configuration, self.values)


class StudyLike(Protocol):
    """What a training loop needs of a study, here or on a server."""

    @property
    def settings(self) -> StudySettings: ...

    def report(
        self,
        trial: str,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
    ) -> Decision:
        """Add the values of epochs first_epoch, first_epoch + 1, ... and (unless `ask` is False) decide.

        Values already known are kept; one that differs is named in `Decision.conflicts`, and the first stays. A value
        that is not finite marks the trial as diverged: it is not stored, and the decision is to stop.
        target_epoch: predict the value there instead of the final one. value_to_beat: compare with it instead of the
        study's n-th best final value. Both are what f-Hyperband needs inside a rung.
        A stop is final for its target epoch: every later answer for the trial repeats it.
        Raises ValueError (a bad name, epoch, value or configuration) before anything is stored.
        """
        ...

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        """Predict the final value (or the one at `target_epoch`) of any partial curve; None without a model for it."""
        ...

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        """End a trial; returns the state it now has (the first one given stays). Raises UnknownTrial."""
        ...

    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of their first report."""
        ...


@dataclass(frozen=True)
class Recorded:
    """What a report added, for an owner that keeps a log.

    new: `(epoch, value)` pairs stored now. conflicts: `(epoch, stored value)` where another value was stored first.
    diverged_at: the epoch whose value was not finite; None when all were.
    """

    new: tuple[tuple[int, float], ...]
    conflicts: tuple[tuple[int, float], ...]
    diverged_at: int | None


@dataclass(frozen=True)
class Question:
    """What a decision answered: this many epochs seen, this target, this value to beat (None: the study's own)."""

    tau: int
    target_epoch: int
    value_to_beat: float | None


@dataclass(frozen=True)
class FittedModels:
    """A predictor for one target epoch, fitted on the first `n_curves` curves that reached it; never changed afterwards.

    searched: the predictor whose settings it has, found on the first `n_searched` of them.
    """

    target_epoch: int
    n_curves: int
    predictor: CurvePredictor
    n_searched: int
    searched: CurvePredictor


@dataclass(frozen=True)
class FitJob:
    """A fit that is due. `run` is a pure function of the curves and may be called in any thread.

    predictor: a new one, that searches its settings; or, when known is given, unused: those of its search are kept.
    """

    target_epoch: int
    curves: tuple[LearningCurve, ...]
    predictor: CurvePredictor
    known: FittedModels | None = None

    def run(self) -> FittedModels:
        n_curves = len(self.curves)
        if self.known is None or not isinstance(self.known.searched, QuickRefit):
            fitted = self.predictor.fit(self.curves)
            return FittedModels(self.target_epoch, n_curves, fitted, n_curves, fitted)
        return replace(self.known, n_curves=n_curves, predictor=self.known.searched.refitted(self.curves))


@dataclass
class _Record:
    """A trial's growing state. `last` answers a repeated question the same way; `stops` (by target epoch) are for good."""

    configuration: Configuration
    observed: dict[int, float] = field(default_factory=dict)
    prefix: list[float] = field(default_factory=list)
    state: TrialState = "running"
    ended_because: str = ""
    last: tuple[Question, Decision] | None = None
    stops: dict[int, Decision] = field(default_factory=dict)


class Study:
    """A study in this process.

    fit: "at_once" fits inside `report` and `predict` when models are due; "deferred" leaves that to the owner, who takes
    `due()`, runs the jobs anywhere and hands the results to `install()`.
    Not for several threads at once: a server guards it with a lock. Its state is a function of the calls made, so a log
    of them (`record`, `restore`, `finish`) gives the same study again.
    """

    def __init__(self, settings: StudySettings, *, fit: Literal["at_once", "deferred"] = "at_once") -> None:
        self._settings = settings
        self._fits_at_once = fit == "at_once"
        self._records: dict[str, _Record] = {}
        self._reached: defaultdict[int, list[str]] = defaultdict(list)  # epoch -> trials, in the order they got there
        self._finals: list[float] = []  # final values of complete trials, ascending
        self._complete_lengths: dict[str, int] = {}
        self._models: dict[int, FittedModels] = {}
        self._targets = {settings.max_epochs}

    @property
    def settings(self) -> StudySettings:
        return self._settings

    def report(
        self,
        trial: str,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
    ) -> Decision:
        self.check_question(target_epoch, value_to_beat)
        recorded = self.record(trial, values, configuration=configuration, first_epoch=first_epoch)
        self.expect(target_epoch)
        if ask:
            decision = self.decide(trial, target_epoch=target_epoch, value_to_beat=value_to_beat)
        else:
            decision = Decision.carry_on("not asked")
        return replace(decision, conflicts=recorded.conflicts)

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        self.check_question(target_epoch, None)
        curve = LearningCurve("", self._checked_configuration(configuration), self._checked_values(values, 1))
        if not curve.values or not all(map(math.isfinite, curve.values)):
            raise ValueError(f"a curve to predict needs at least one value, all finite, but got {curve.values!r}")
        models = self._models_for(target_epoch or self.settings.max_epochs)
        return None if models is None else models.predictor.predict(curve)

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        if state not in ("finished", "stopped", "failed"):
            raise ValueError(f"state must be 'finished', 'stopped' or 'failed', but got {state!r}")
        record = self._record_of(trial)
        if record.state == "running":
            record.state, record.ended_because = state, f"the trial was ended as {state}"
            if state == "finished" and record.prefix:
                self._complete(trial, record)
        return record.state

    def trials(self) -> tuple[Trial, ...]:
        return tuple(Trial(name, r.configuration, tuple(r.prefix), r.state) for name, r in self._records.items())

    # The halves of a report, for an owner that keeps a log.

    def record(
        self, trial: str, values: Sequence[float], *, configuration: Configuration | None = None, first_epoch: int = 1
    ) -> Recorded:
        """Add values. Everything is checked before anything is changed."""
        check_name("trial", trial)
        values = self._checked_values(values, first_epoch)
        configuration = self._checked_configuration(configuration, of=trial)
        record = self._records.setdefault(trial, _Record(configuration))
        new, conflicts, diverged_at = [], [], None
        for epoch, value in enumerate(values, start=first_epoch):
            if not math.isfinite(value):
                diverged_at = epoch
                self._diverge(record, epoch)
                break
            if epoch not in record.observed:
                record.observed[epoch] = value
                new.append((epoch, value))
            elif record.observed[epoch] != value:
                conflicts.append((epoch, record.observed[epoch]))
        self._extend_prefix(trial, record)
        return Recorded(tuple(new), tuple(conflicts), diverged_at)

    def decide(self, trial: str, *, target_epoch: int | None = None, value_to_beat: float | None = None) -> Decision:
        """Decide on a recorded trial. A repeated question gets the same answer, and a stop is final for its target epoch."""
        record = self._record_of(trial)
        question = self.question(trial, target_epoch, value_to_beat)
        decision = self.remembered(trial, question)
        if decision is None:
            decision = self._judge(LearningCurve(trial, record.configuration, tuple(record.prefix)), record.state, question)
            self.restore(trial, question, decision)
        return decision

    def remembered(self, trial: str, question: Question) -> Decision | None:
        """The answer `decide` gives without judging: to an ended trial, after a stop, to a repeated question."""
        record = self._record_of(trial)
        if record.state in ("failed", "stopped"):
            return Decision(stop=True, reason=record.ended_because)
        if question.target_epoch in record.stops:
            return record.stops[question.target_epoch]
        if record.last is not None and record.last[0] == question:
            return record.last[1]
        return None

    def question(self, trial: str, target_epoch: int | None, value_to_beat: float | None) -> Question:
        """What `decide` would answer now."""
        return Question(len(self._record_of(trial).prefix), target_epoch or self.settings.max_epochs, value_to_beat)

    def restore(self, trial: str, question: Question, decision: Decision) -> None:
        """Remember a decision that was made."""
        record = self._record_of(trial)
        self.expect(question.target_epoch)
        record.last = (question, decision)
        if decision.stop:
            record.stops.setdefault(question.target_epoch, decision)

    def state_of(self, trial: str) -> TrialState | None:
        """The state of a trial; None when it was never reported."""
        record = self._records.get(trial)
        return None if record is None else record.state

    def expect(self, target_epoch: int | None) -> None:
        """Questions about this epoch will come: have models ready for them."""
        self._targets.add(target_epoch or self.settings.max_epochs)

    def check_question(self, target_epoch: int | None, value_to_beat: float | None) -> None:
        """Raises ValueError (OutOfRange after the last epoch) when a question makes no sense."""
        if target_epoch is not None:
            self._check_epoch("target_epoch", target_epoch)
        if value_to_beat is not None and not abs(value_to_beat) <= LARGEST_VALUE:
            raise ValueError(f"value_to_beat must be finite and within +-{LARGEST_VALUE:g}, but got {value_to_beat!r}")

    # Models: settings are searched on the first n complete curves, at a fixed series of n, and (where that is quick) kept
    # for the curves that come between. So the models are a function of the log.

    def targets(self) -> tuple[int, ...]:
        """The target epochs that were asked for, and the last epoch."""
        return tuple(sorted(self._targets))

    def due(self) -> Iterator[FitJob]:
        """The fits that are due now, for every target epoch that was asked for."""
        for target_epoch in self.targets():
            job = self._due_for(target_epoch)
            if job is not None:
                yield job

    def install(self, models: FittedModels) -> None:
        """Use these models from now on, unless newer ones are in use."""
        used = self._models.get(models.target_epoch)
        if used is None or (models.n_searched, models.n_curves) > (used.n_searched, used.n_curves):
            self._models[models.target_epoch] = models

    def n_fitted(self, target_epoch: int) -> int:
        """How many curves the models for `target_epoch` were fitted on; 0 without models."""
        models = self._models.get(target_epoch)
        return 0 if models is None else models.n_curves

    def _due_for(self, target_epoch: int) -> FitJob | None:
        names, used = self._reached[target_epoch], self._models.get(target_epoch)
        size = due_size(len(names), first=self.settings.rule.min_curves, growth=self.settings.refit_growth)
        if used is None or used.n_searched < size:
            used = None  # search anew
        else:
            size = len(names) if isinstance(used.searched, QuickRefit) else used.n_curves
        if size <= (used.n_curves if used else 0):
            return None
        curves = tuple(self._complete_curve(name, target_epoch) for name in names[:size])
        return FitJob(target_epoch, curves, self.settings.new_predictor(), used)

    def _models_for(self, target_epoch: int) -> FittedModels | None:
        self.expect(target_epoch)
        while self._fits_at_once and (job := self._due_for(target_epoch)) is not None:
            self.install(job.run())
        return self._models.get(target_epoch)

    def _complete_curve(self, trial: str, target_epoch: int) -> LearningCurve:
        record = self._records[trial]
        length = min(target_epoch, self._complete_lengths.get(trial, target_epoch))
        return LearningCurve(trial, record.configuration, tuple(record.prefix[:length]))

    # Judging.

    def _judge(self, curve: LearningCurve, state: TrialState, question: Question) -> Decision:
        tau, target = question.tau, question.target_epoch
        if tau == 0:
            return Decision.carry_on("epoch 1 was not reported yet")
        if state == "finished":
            return Decision.carry_on("the trial was already ended as finished; what it reports now is stored and not judged")
        if tau >= target:
            return Decision.carry_on(f"epoch {target} is reached: there is nothing left to predict")
        models = self._models_for(target)
        if models is None:
            return Decision.carry_on(self._why_no_models(target))
        prediction = models.predictor.predict(curve)
        if prediction is None:
            return Decision.carry_on(f"no model for curves of {tau} of {target} epochs: too few complete curves are longer")
        predicted = Decision(stop=False, reason="", prediction=prediction, n_curves=models.n_curves, model_epoch=tau)
        to_beat = self._to_beat(target) if question.value_to_beat is None else question.value_to_beat
        if to_beat is None:
            return replace(predicted, reason=f"fewer than {self.settings.rule.rank} complete curves to compare with")
        rule = self.settings.rule
        probability = rule.probability(prediction, to_beat, self.settings.direction)
        doubt = models.predictor.doubt(curve) if isinstance(models.predictor, SelfAware) else ""
        if doubt:
            return replace(predicted, probability=probability, reason=f"not trusted: {doubt}")
        reason = (
            f"P(no better than {to_beat:.6g} at epoch {target}) = {probability:.3f}, stops at {rule.threshold:g}: "
            f"predicted {prediction.mean:.6g} +- {prediction.sigma:.2g} from {tau} epochs and {models.n_curves} complete curves"
        )
        return replace(predicted, stop=rule.stops(probability), probability=probability, reason=reason)

    def _why_no_models(self, target: int) -> str:
        n, needed = len(self._reached[target]), self.settings.rule.min_curves
        if n < needed:
            return f"fewer than {needed} curves reached epoch {target}: {n} so far"
        return f"models for epoch {target} are being fitted on {n} curves"

    def _to_beat(self, target: int) -> float | None:
        """The n-th best observed value at the target epoch (for the last epoch: final value of complete trials)."""
        rank, direction = self.settings.rule.rank, self.settings.direction
        if target < self.settings.max_epochs:
            return nth_best((self._records[t].prefix[target - 1] for t in self._reached[target]), rank, direction)
        if len(self._finals) < rank:
            return None
        return self._finals[-rank] if direction == "maximise" else self._finals[rank - 1]

    # Keeping trials.

    def _extend_prefix(self, trial: str, record: _Record) -> None:
        while (epoch := len(record.prefix) + 1) in record.observed:
            record.prefix.append(record.observed[epoch])
            if epoch == self.settings.max_epochs:
                self._complete(trial, record)
            else:
                self._reached[epoch].append(trial)

    def _complete(self, trial: str, record: _Record) -> None:
        if trial not in self._complete_lengths:
            self._complete_lengths[trial] = len(record.prefix)
            self._reached[self.settings.max_epochs].append(trial)
            insort(self._finals, record.prefix[-1])

    def _diverge(self, record: _Record, epoch: int) -> None:
        if record.state == "running":
            record.state = "failed"
            record.ended_because = f"the metric of epoch {epoch} is not a finite number: the trial diverged"

    def _record_of(self, trial: str) -> _Record:
        try:
            return self._records[trial]
        except KeyError:
            raise UnknownTrial(f"study {self.settings.name!r} has no trial {trial!r}") from None

    # Checking what comes in.

    def _check_epoch(self, name: str, epoch: int) -> None:
        if epoch < 1:
            raise ValueError(f"{name} must be >= 1, but got {epoch!r}")
        if epoch > self.settings.max_epochs:
            raise OutOfRange(f"{name} must be at most max_epochs = {self.settings.max_epochs}, but got {epoch!r}")

    def _checked_values(self, values: Sequence[float], first_epoch: int) -> tuple[float, ...]:
        self._check_epoch("first_epoch", first_epoch)
        if len(values):
            self._check_epoch("the last epoch reported", first_epoch + len(values) - 1)
        numbers = tuple(float(v) + 0.0 for v in values)  # + 0.0 turns -0.0 into 0.0
        for epoch, value in enumerate(numbers, start=first_epoch):
            if math.isfinite(value) and abs(value) > LARGEST_VALUE:
                raise ValueError(f"a value must be within +-{LARGEST_VALUE:g}, but epoch {epoch} has {value!r}")
        return numbers

    def _checked_configuration(self, configuration: Configuration | None, *, of: str | None = None) -> Configuration:
        known = self._records.get(of) if of is not None else None
        if configuration is None:
            return {} if known is None else known.configuration
        for name, value in configuration.items():
            check_name("configuration", name)
            if not isinstance(value, bool | int | float | str):
                raise ValueError(f"{name} must be a number, a boolean or a string, but got {value!r}")
            if not isinstance(value, str) and not abs(value) <= LARGEST_VALUE:
                raise ValueError(f"{name} must be finite and within +-{LARGEST_VALUE:g}, but got {value!r}")
            if name in self.settings.log_scaled and (isinstance(value, str) or value <= 0):
                raise ValueError(f"{name} is declared log-scaled, so it must be a number > 0, but got {value!r}")
        if known is not None and dict(known.configuration) != dict(configuration):
            raise ValueError(
                f"trial {of!r} was reported with {dict(known.configuration)!r}, which stays, but got {dict(configuration)!r}"
            )
        return dict(configuration)


def due_size(n: int, *, first: int, growth: float) -> int:
    """The largest size <= n at which models are fitted: first, then each time `growth` times as many; 0 when n < first."""
    size = 0
    following = first
    while following <= n:
        size, following = following, max(following + 1, math.ceil(following * growth))
    return size


def check_name(what: str, name: str) -> None:
    """Raises ValueError unless `name` is 1-256 bytes of UTF-8 without control characters."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a {what} name must be valid Unicode, but got {name!r}") from None
    if not 1 <= length <= LONGEST_NAME:
        raise ValueError(f"a {what} name must be 1 to {LONGEST_NAME} bytes long, but got {length}")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in name):
        raise ValueError(f"a {what} name must have no control characters, but got {name!r}")
