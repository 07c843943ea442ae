"""Reads a search space, a TOML file with one table per parameter, as Optuna distributions.

    [learning_rate]
    type = "float"
    low = 1e-4
    high = 0.1
    log = true

Types: "float" (low, high, log), "int" (low, high, log, step) and "categorical" (choices).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from curvestop.hyperband.scheduler.toml_file import read_toml
from curvestop.srm.validation import check_name, is_finite

Space = Mapping[str, BaseDistribution]
"""A search space: Optuna distributions, by parameter."""

Table = Mapping[str, Any]


def load_space(path: Path) -> dict[str, BaseDistribution]:
    r"""Read a search space.

    Args:
        path: The TOML file.

    Returns:
        Optuna distributions, by parameter.

    Raises:
        ValueError: If the file cannot be read or breaks a rule, in one line that names the file, the parameter and the rule.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "space.toml")
        ...     _ = file.write_text('[lr]\ntype = "float"\nlow = 1e-4\nhigh = 0.1\nlog = true')
        ...     load_space(file)
        {'lr': FloatDistribution(high=0.1, log=True, low=0.0001, step=None)}
    """
    tables = read_toml(path, "search space")
    if not tables:
        raise ValueError(f"{path}: a search space needs at least one parameter, as a table like [learning_rate]")
    return {name: _parameter(path, name, table) for name, table in tables.items()}


def log_scaled(space: Space) -> tuple[str, ...]:
    """Return the names of the parameters that are drawn, and should be compared, on a logarithmic scale.

    Args:
        space: Optuna distributions, by parameter; categorical ones have no scale.
    """
    return tuple(name for name, distribution in space.items() if getattr(distribution, "log", False))


def _parameter(path: Path, name: str, table: object) -> BaseDistribution:
    try:
        check_name("parameter", name)
        if not isinstance(table, dict):
            raise ValueError(f"must be a table like [{name}] with a type, but is {table!r}")
        kind = table.get("type")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"type must be one of {', '.join(map(repr, _KINDS))}, but got {kind!r}")
        # Keys first: a function below may then take the required ones for granted.
        make, keys = _KINDS[kind]
        _check_keys(kind, table, keys)
        return make(table)
    except ValueError as error:
        # One place adds the file and the parameter to every message.
        raise ValueError(f"{path}: [{name}]: {error}") from None


def _check_keys(kind: str, table: Table, keys: Mapping[str, bool]) -> None:
    """Check that a table has only its type's keys, and all that are required (name -> whether it is required)."""
    for key in table.keys() - {"type"} - keys.keys():
        raise ValueError(f"type {kind!r} takes {', '.join(keys)}, but got {key!r}")
    for key, required in keys.items():
        if required and key not in table:
            raise ValueError(f"type {kind!r} needs {key!r}")


def _float(table: Table) -> FloatDistribution:
    low, high, log = _number(table, "low"), _number(table, "high"), _flag(table, "log")
    _check_range(low, high, log)
    return FloatDistribution(low, high, log=log)


def _int(table: Table) -> IntDistribution:
    low, high, log = _integer(table, "low"), _integer(table, "high"), _flag(table, "log")
    _check_range(low, high, log)
    step = _integer(table, "step") if "step" in table else 1
    if step < 1:
        raise ValueError(f"step must be >= 1, but got {step}")
    if log and step != 1:
        raise ValueError(f"step cannot be combined with log = true, but got step = {step}")
    # Optuna would lower `high` with a warning instead.
    if (high - low) % step:
        raise ValueError(f"high - low must be a multiple of step, but got {low} to {high} by {step}")
    return IntDistribution(low, high, log=log, step=step)


def _categorical(table: Table) -> CategoricalDistribution:
    choices = table["choices"]
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"choices must be a list with at least one entry, but got {choices!r}")
    for choice in choices:
        if not isinstance(choice, bool | int | float | str) or (isinstance(choice, float) and not math.isfinite(choice)):
            raise ValueError(f"a choice must be a string, a finite number or a boolean, but got {choice!r}")
    # True == 1 in Python, but they are different choices.
    if len({(isinstance(choice, bool), choice) for choice in choices}) < len(choices):
        raise ValueError(f"choices must differ, but got {choices!r}")
    return CategoricalDistribution(choices)


_KINDS: Mapping[str, tuple[Callable[[Table], BaseDistribution], Mapping[str, bool]]] = {
    "float": (_float, {"low": True, "high": True, "log": False}),
    "int": (_int, {"low": True, "high": True, "log": False, "step": False}),
    "categorical": (_categorical, {"choices": True}),
}
"""Type -> (function that makes the distribution, its keys and whether each is required)."""


def _number(table: Table, key: str) -> float:
    value = table[key]
    # TOML's true is Python's True, which is an int.
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        raise ValueError(f"{key} must be a finite number, but got {value!r}")
    return float(value)


def _integer(table: Table, key: str) -> int:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} must be an integer, but got {value!r}")
    return value


def _flag(table: Table, key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, but got {value!r}")
    return value


def _check_range(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low must be at most high, but got {low:g} and {high:g}")
    if log and low <= 0:
        raise ValueError(f"low must be > 0 with log = true, but got {low:g}")
