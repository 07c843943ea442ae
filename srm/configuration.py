"""Configurations as people write them, and as a study keeps them: flat, with numbers, booleans and text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TEXT = frozenset({str})
_PLAIN = frozenset({bool, int, float, str})


def flattened(configuration: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the entries of a configuration by name; nothing is checked.

    Args:
        configuration: Hyper-parameters by name; may be nested.

    Returns:
        Those of a nested mapping as "outer/inner". Scalars of NumPy and torch become Python's; None, lists and tuples become
        text; other values stay as they are.

    Examples:
        >>> flattened({"optimizer": {"name": "sgd", "lr": 0.1}, "layers": [64, 32], "decay": None})
        {'optimizer/name': 'sgd', 'optimizer/lr': 0.1, 'layers': '[64, 32]', 'decay': 'None'}
    """
    # As configurations come over the wire, and as most people write them.
    if _TEXT.issuperset(map(type, configuration)) and _PLAIN.issuperset(map(type, configuration.values())):
        return dict(configuration)
    return dict(_entries(configuration, ""))


def n_bytes_of(configuration: Mapping[str, Any]) -> int:
    """Return the bytes of all names and values of a flat configuration: of text as UTF-8, of a number 8.

    Examples:
        >>> n_bytes_of({"lr": 0.1, "name": "é"})
        16
    """
    return sum(_n_bytes(name) + _n_bytes(value) for name, value in configuration.items())


def _n_bytes(value: Any) -> int:
    if not isinstance(value, str):
        return 8
    return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))


def entries_that_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of each mapping that the other one does not have.

    Examples:
        >>> entries_that_differ({"lr": 0.1, "width": 8}, {"lr": 0.2, "width": 8})
        ({'lr': 0.1}, {'lr': 0.2})
    """
    return dict(_entries_not_in(one, other)), dict(_entries_not_in(other, one))


def _entries(configuration: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in configuration.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _entries(value, f"{name}/")
        elif value is None or isinstance(value, list | tuple):
            yield name, str(value)
        else:  # scalars of NumPy and torch are arrays of no dimension
            yield name, value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _entries_not_in(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in one.items() if name not in other or other[name] != value)
