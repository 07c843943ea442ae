"""Stopping policies by name, made from settings as JSON, which is how settings travel and are stored.

A list is a tuple of a setting; an object with a "name" is a policy of its own:
`new_policy("any", {"rules": [{"name": "patience", "share": 0.2}, {"name": "predictive-rank", "margin": 2}]})`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import signature
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from curvestop.srm.policies.evidence import Rule
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.risk_budget import RiskBudget
from curvestop.srm.policies.rules import Combination, Halving, Median, Patience, Rank, i_epoch, successive_halving, threshold
from curvestop.srm.policies.saving_budget import SavingBudget
from curvestop.srm.policies.shadow import Shadow
from curvestop.srm.validation import is_finite

JSON = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]

POLICIES: Mapping[str, Callable[..., Rule]] = {
    "learned": LearnedPolicy,
    "predictive-rank": PredictiveRank,
    "risk": RiskBudget,
    "saving": SavingBudget,
    "threshold": threshold,
    "rank": Rank,
    "asha": Halving,
    "successive-halving": successive_halving,
    "median": Median,
    "i-epoch": i_epoch,
    "patience": Patience,
    "any": partial(Combination, needs="any"),
    "all": partial(Combination, needs="all"),
    "shadow": Shadow,
}
"""All stopping policies by name: `POLICIES[name](**settings)`."""


def new_policy(name: str, settings: Mapping[str, JSON]) -> Rule:
    """Return the policy of this name with these settings.

    Args:
        name: A key of `POLICIES`.
        settings: Keyword arguments of the policy, as JSON.

    Raises:
        ValueError: If there is no such policy or setting, or a setting has the wrong type or value.

    Examples:
        >>> new_policy("asha", {"eta": 2}).decision_points(20)
        (2, 4, 8, 16)
    """
    if name not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(sorted(POLICIES))}, but got {name!r}")
    try:
        policy = POLICIES[name](**{key: _as_setting(value) for key, value in settings.items()})
    except TypeError as error:
        known = list(signature(POLICIES[name]).parameters)
        why = f"it takes {', '.join(known) or 'no settings'}" if set(settings) - set(known) else error
        raise ValueError(f"policy {name!r} does not take {dict(settings)!r}: {why}") from None
    # Dataclasses do not check types: a text for a number would fail at a decision, much later.
    _check_types(name, policy)
    return policy


def canonical(value: Any) -> Any:
    """Return the one form of equal JSON values: numbers without a fraction are integers, sequences are lists.

    Args:
        value: JSON as a caller wrote it, or as the wire or a store gave it back.

    Raises:
        ValueError: If the value is not JSON, is null, or has a number that is not finite.
    """
    match value:
        case bool() | str():
            return value
        case int() | float():
            if not is_finite(value):
                raise ValueError(f"policy_settings must be finite, but got {value!r}")
            # A protobuf Struct knows doubles only, so 5 comes back as 5.0; above 2^53 a double is not every integer.
            return int(value) if abs(value) < 2**53 and float(value).is_integer() else float(value)
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise ValueError(f"policy_settings must have strings as keys, but got {value!r}")
            return {key: canonical(its) for key, its in value.items()}
        case list() | tuple():
            return [canonical(item) for item in value]
    raise ValueError(f"policy_settings must be numbers, strings, booleans, lists and objects, but got {value!r}")


def _as_setting(value: Any) -> Any:
    # An object with a name is a policy within a policy, such as the ranking of "risk".
    if isinstance(value, Mapping) and isinstance(name := value.get("name"), str):
        return new_policy(name, {key: its for key, its in value.items() if key != "name"})
    return tuple(map(_as_setting, value)) if isinstance(value, list | tuple) else value


def _check_types(name: str, settings: Any) -> None:
    """Check that every field has the type that it is declared with."""
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if not _has_type(value, hints[field.name]):
            raise ValueError(f"{field.name} of policy {name!r} must be {_described(hints[field.name])}, but got {value!r}")
        # A policy within a policy.
        if is_dataclass(value):
            _check_types(name, value)


def _has_type(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (int, float):  # a bool is an int, but True is no number of trials
        return isinstance(value, int | float if hint is float else int) and not isinstance(value, bool)
    if origin is tuple and isinstance(value, tuple):
        # `tuple[X, ...]` has any length, `tuple[X, Y]` just this one.
        hints = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        return len(value) == len(hints) and all(map(_has_type, value, hints))
    if origin is Literal:
        return value in arguments
    if origin is UnionType:
        return any(_has_type(value, one) for one in arguments)
    # A Protocol that isinstance does not take.
    if hint is Rule:
        return hasattr(value, "decide")
    return origin is None and isinstance(value, hint)


def _described(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
