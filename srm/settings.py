"""What a study is: its settings, fixed when it is created, and what follows from them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import InitVar, dataclass, field, fields
from functools import cached_property
from numbers import Real
from typing import Any, Literal

from curvestop.srm.configuration import entries_that_differ
from curvestop.srm.curve import CurvePredictor
from curvestop.srm.grid import Grid
from curvestop.srm.metric_names import warn_of_direction
from curvestop.srm.policies.evidence import Rule
from curvestop.srm.policies.registry import JSON, canonical, new_policy
from curvestop.srm.policies.rules import Threshold
from curvestop.srm.policies.shadow import Shadow
from curvestop.srm.policies.stopping_rule import BRITISH, Direction, StoppingRule
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.resource import TIME_UNITS, Axis, axis_of, singular
from curvestop.srm.validation import check_name, checked_max_epochs, is_finite

FIRST_MODEL_CURVES = 8
"""Complete curves from which on the policies that weigh a prediction against ranks have one."""


Goal = Literal["trials", "budget"]

POLICY_FOR: Mapping[Goal, tuple[str, Mapping[str, JSON]]] = {
    "trials": ("learned", {}),
    "budget": ("asha", {"first_share": 1 / 27, "eta": 3}),
}
"""Policy and its settings, by what a search has so much of: `python -m benchmarks.hyperband.anytime` compares for a budget."""


DEFAULT_REFIT_GROWTH = 1.2

THESIS: Mapping[str, Any] = {
    "policy": "threshold",
    "rule": StoppingRule(threshold=0.99, min_curves=100),
    "predictor": "nu-svr",
    "refit_growth": 1e9,  # the first 100 curves are all that the models ever learn from
}
"""The thesis's settings of a study, as keyword arguments of `StudySettings` (Baker 2017, sections 4.1.2 and 4.2.3).

nu-SVR with the best of 1,000 candidates, trained once on the first 100 complete curves, and asked after every epoch."""


def policy_for(goal: Goal, policy: str | None, policy_settings: Mapping[str, JSON]) -> tuple[str, Mapping[str, JSON]]:
    """Return the policy of a study and its settings.

    Args:
        goal: "trials" or "budget"; see `StudySettings`.
        policy: The policy that was asked for; None for that of the goal.
        policy_settings: Its settings, or those that change the default's.

    Raises:
        ValueError: If there is no such goal, or both a policy and the goal "budget" were asked for.
    """
    if goal not in POLICY_FOR:
        raise ValueError(f"goal must be one of {', '.join(POLICY_FOR)}, but got {goal!r}")
    if policy is None:
        name, settings = POLICY_FOR[goal]
        return name, {**settings, **policy_settings}
    if goal != "trials":
        raise ValueError(f"give either a goal or a policy, as the goal chooses the policy, but got {goal!r} and {policy!r}")
    return policy, policy_settings


def default_rule(policy: str) -> StoppingRule:
    """Return the rule of a study that sets none.

    Args:
        policy: Name of its policy.
    """
    return StoppingRule() if policy == "threshold" else StoppingRule(min_curves=FIRST_MODEL_CURVES)


@dataclass(frozen=True)
class StudySettings:
    """What a study is; fixed when it is created.

    Attributes:
        name: Name of the study, 1-256 bytes.
        max_epochs: T in 1..10^9, the epoch whose value is the final one: the short form of `max_resource` for a number of epochs.
            Of a study with another resource, the same in ticks; see `axis`.
        metric: Name of the metric, for people.
        direction: "maximize" (higher is better) or "minimize"; the British spelling is accepted. Default: "maximize", with a
            warning if the metric's name says that lower is better.
        rule: What "no better" means in every stated probability, from when on models are fitted (`min_curves`), and the rule
            for questions about another epoch or another value to beat (those of f-Hyperband). Default: a `StoppingRule` with
            `min_curves` of 8; of 20 for policy "threshold", which goes by the model alone.
        predictor: Name of the predictor, a key of `curvestop.srm.predictors.registry.PREDICTORS`.
        predictor_settings: Keyword arguments of the predictor.
        log_scaled: Names of the configuration that matter by their logarithm; their values must be > 0.
        refit_growth: > 1. A predictor searches its settings on `min_curves` complete curves and again each time their number
            grew by this factor. Where a refit at known settings is quick, it takes in every new curve at once.
        policy: When to stop, a key of `curvestop.srm.policies.registry.POLICIES`. "threshold" is `rule`. Default: "learned", or
            that of the goal.
        policy_settings: Keyword arguments of the policy, as JSON. Of "learned": {"risk": 0.03}, the share of searches in which
            the best trial may be lost.
        goal: Chooses the policy where none is named. "trials": so many trials are given, lose none of the best. "budget": so many
            epochs are given, and as many configurations as one likes; then bold rungs try more of them ("asha").
        shadow: Whether nothing is stopped; `Decision.would_stop` and the reasons then say what would have been.
        hold_out: Share of the trials in [0, 1), chosen by name, that is never stopped, so that what the policy loses can be
            counted.
        resource: What trainings count in: "epoch", "step", "token", "second", or any unit. Reports then say where they stand:
            `report(trial, value, at=5000)`.
        max_resource: Length of a complete training in that unit, in place of `max_epochs`. A whole number is counted; a float,
            and any unit of time, has fractions. Kept only where it is not `max_epochs`: read `axis.max_resource`.

    Raises:
        ValueError: If a setting breaks its rule.

    Examples:
        >>> StudySettings("demo", max_epochs=50, metric="val_loss", direction="minimize").direction
        'minimize'
        >>> StudySettings("demo", max_resource=50_000, resource="step").axis.at(5000)
        'step 5,000'
    """

    name: str
    max_epochs: int = None  # type: ignore[assignment]  # made in __post_init__ of max_resource
    metric: str = "value"
    direction: Direction = None  # type: ignore[assignment]  # made in __post_init__: a given one is no oversight
    rule: StoppingRule = None  # type: ignore[assignment]  # made in __post_init__: it depends on the policy
    predictor: str = "stacked"
    predictor_settings: Mapping[str, float] = field(default_factory=dict)
    log_scaled: tuple[str, ...] = ()
    refit_growth: float = DEFAULT_REFIT_GROWTH
    policy: str = None  # type: ignore[assignment]  # made in __post_init__: it depends on the goal
    policy_settings: Mapping[str, JSON] = field(default_factory=dict)
    shadow: bool = False
    hold_out: float = 0.0
    goal: InitVar[Goal] = "trials"  # what it stands for is stored, not the goal
    resource: str = "epoch"
    max_resource: float | None = None

    def __post_init__(self, goal: Goal) -> None:
        check_name("study", self.name)
        self._set_length()
        policy, policy_settings = policy_for(goal, self.policy, self.policy_settings)
        object.__setattr__(self, "policy", policy)
        # The dataclass is frozen, and settings that mean the same must be equal: a second client compares them.
        if self.rule is None:
            object.__setattr__(self, "rule", default_rule(self.policy))
        if self.direction is None:
            warn_of_direction(self.name, self.metric, "maximize")
            object.__setattr__(self, "direction", "maximize")
        object.__setattr__(self, "direction", BRITISH.get(self.direction, self.direction))
        if self.direction not in ("maximize", "minimize"):
            raise ValueError(f"direction must be 'maximize' or 'minimize', but got {self.direction!r}")
        if self.predictor not in PREDICTORS:
            raise ValueError(f"predictor must be one of {', '.join(sorted(PREDICTORS))}, but got {self.predictor!r}")
        if not (self.refit_growth > 1 and is_finite(self.refit_growth)):
            raise ValueError(f"refit_growth must be > 1, but got {self.refit_growth!r}")
        object.__setattr__(self, "log_scaled", tuple(sorted(set(self.log_scaled))))
        object.__setattr__(self, "policy_settings", canonical(policy_settings))
        self.new_predictor()  # wrong settings of a predictor or a policy are an error now, not when they are first used
        self.stopping  # noqa: B018

    def _set_length(self) -> None:
        """Set max_epochs, the number of ticks, of what was given."""
        check_name("resource", self.resource)
        object.__setattr__(self, "resource", singular(self.resource))
        given: int | None = self.max_epochs
        max_resource = self.max_resource
        if max_resource is None and self.resource in TIME_UNITS:
            given, max_resource = None, given
        if max_resource is not None:
            axis = axis_of(self.resource, max_resource)
            # Both, where settings are read from a store or the wire.
            if given not in (None, axis.ticks):
                raise ValueError(f"give max_epochs or max_resource, but got {given!r} and {max_resource!r}")
            given, max_resource = axis.ticks, axis.scaled_to
        if given is None:
            raise ValueError("max_epochs or max_resource must be given: the length of a complete training")
        object.__setattr__(self, "max_epochs", checked_max_epochs(given))
        object.__setattr__(self, "max_resource", max_resource)

    @cached_property
    def axis(self) -> Axis:
        """What the curves of the study are drawn over; inside, all is counted in its ticks, 1..max_epochs."""
        return Axis(self.resource, self.max_epochs, self.max_resource)

    def new_predictor(self) -> CurvePredictor:
        """Return a new predictor with these settings, not fitted.

        Raises:
            ValueError: If the predictor does not take the settings, or its extra is not installed.
        """
        if not all(isinstance(value, Real) and is_finite(value) for value in self.predictor_settings.values()):
            raise ValueError(f"predictor settings must be finite numbers, but got {dict(self.predictor_settings)!r}")
        # The wire carries doubles only, but a predictor may want a count.
        settings = {k: int(v) if float(v).is_integer() else v for k, v in self.predictor_settings.items()}
        try:
            return PREDICTORS[self.predictor](direction=self.direction, log_scaled=self.log_scaled, **settings)
        except ImportError as error:  # of an extra that is not installed
            raise ValueError(str(error)) from None
        except TypeError as error:
            raise ValueError(f"predictor {self.predictor!r} does not take {dict(self.predictor_settings)!r}: {error}") from None

    @cached_property
    def stopping(self) -> Rule:
        """The policy, for a trial against all others."""
        return self._shadowed(new_policy(self.policy, self.policy_settings))

    @cached_property
    def rung_stopping(self) -> Rule:
        """The rule for a question about another epoch or another value to beat.

        It relies on sigma alone, even of a model that explains little: a mistake costs a place in a rung, not a run.
        """
        return self._shadowed(Threshold(self.rule, needs_reliable_model=False))

    @cached_property
    def ranked_at(self) -> Container[int]:
        """The points of the study's grid at which the policy reads a trial's rank."""
        return frozenset(self.stopping.decision_points(len(Grid(self.max_epochs))))

    def is_held_out(self, trial: str) -> bool:
        """Return whether the trial is one of the share that is never stopped.

        Args:
            trial: Name of the trial. The choice depends on it and `hold_out` alone, so every process makes the same.
        """
        return Shadow(Threshold(), hold_out=self.hold_out).is_held_out(trial)

    def _shadowed(self, rule: Rule) -> Rule:
        shadowed = Shadow(rule, shadow=self.shadow, hold_out=self.hold_out)
        # Without an effect it is left out: the policy itself may have methods that `Shadow` lacks.
        return shadowed if self.shadow or self.hold_out else rule


def checked_settings(settings: StudySettings) -> StudySettings:
    """Return the settings of a study, if they are settings.

    Raises:
        TypeError: If they are anything else, such as the study's name.
    """
    if not isinstance(settings, StudySettings):
        raise TypeError(
            f"settings must be StudySettings, such as StudySettings('my-search', max_epochs=50), but got {settings!r}"
        )
    return settings


def how_settings_differ(one: StudySettings, other: StudySettings) -> str:
    """Return the fields in which two settings differ, with both values.

    Examples:
        >>> how_settings_differ(StudySettings("m", max_epochs=5), StudySettings("m", max_epochs=7))
        'max_epochs=5, but got 7'
    """
    its, others = entries_that_differ(_by_field(one), _by_field(other))
    for name in its:  # of settings by name, only those that differ
        if isinstance(its[name], Mapping):
            its[name], others[name] = entries_that_differ(its[name], others[name])
    if len(its) == 1:
        ((name, before),) = its.items()
        return f"{name}={before!r}, but got {others[name]!r}"
    return f"{_assignments(its)}, but got {_assignments(others)}"


def _by_field(settings: StudySettings) -> dict[str, Any]:
    by_name = {field.name: getattr(settings, field.name) for field in fields(settings)}
    rule = by_name.pop("rule")
    return {**by_name, **{f"rule.{field.name}": getattr(rule, field.name) for field in fields(rule)}}


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
