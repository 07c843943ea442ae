"""What a study accepts: names, epochs, values and configurations. Every check raises ValueError and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from curvestop.srm.curve import Configuration

LARGEST_VALUE = 1e100
LONGEST_NAME = 256  # bytes of UTF-8


class EpochOutOfRange(ValueError):
    """An epoch after the study's last one."""


def check_name(what: str, name: str) -> None:
    """Raises ValueError unless `name` is 1-256 bytes of UTF-8 without control characters."""
    if name.isascii() and name.isprintable() and 1 <= len(name) <= LONGEST_NAME:  # as nearly all are
        return
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a {what} name must be valid Unicode, but got {name!r}") from None
    if not 1 <= length <= LONGEST_NAME:
        raise ValueError(f"a {what} name must be 1 to {LONGEST_NAME} bytes long, but got {length}")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in name):
        raise ValueError(f"a {what} name must have no control characters, but got {name!r}")


def is_name(name: str) -> bool:
    """Whether `check_name` lets it pass."""
    try:
        check_name("", name)
    except ValueError:
        return False
    return True


def check_epoch(name: str, epoch: int, *, max_epochs: int) -> None:
    if epoch < 1:
        raise ValueError(f"{name} must be >= 1, but got {epoch!r}")
    if epoch > max_epochs:
        raise EpochOutOfRange(f"{name} must be at most max_epochs = {max_epochs}, but got {epoch!r}")


def check_value_to_beat(value: float | None) -> None:
    if value is not None and not abs(value) <= LARGEST_VALUE:
        raise ValueError(f"value_to_beat must be finite and within +-{LARGEST_VALUE:g}, but got {value!r}")


def checked_values(values: Sequence[float], first_epoch: int, *, max_epochs: int) -> tuple[float, ...]:
    """The values as numbers; those that are not finite are left for the caller to judge."""
    check_epoch("first_epoch", first_epoch, max_epochs=max_epochs)
    if len(values):
        check_epoch("the last epoch reported", first_epoch + len(values) - 1, max_epochs=max_epochs)
    numbers = tuple([float(v) + 0.0 for v in values])  # + 0.0 turns -0.0 into 0.0
    if not numbers or -LARGEST_VALUE <= min(numbers) <= max(numbers) <= LARGEST_VALUE:  # a NaN that comes first is not
        return numbers
    for epoch, value in enumerate(numbers, start=first_epoch):
        if math.isfinite(value) and abs(value) > LARGEST_VALUE:
            raise ValueError(f"a value must be within +-{LARGEST_VALUE:g}, but epoch {epoch} has {value!r}")
    return numbers


def check_configuration(configuration: Configuration, *, log_scaled: Collection[str]) -> None:
    for name, value in configuration.items():
        check_name("configuration", name)
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"{name} must be a number, a boolean or a string, but got {value!r}")
        if not isinstance(value, str) and not abs(value) <= LARGEST_VALUE:
            raise ValueError(f"{name} must be finite and within +-{LARGEST_VALUE:g}, but got {value!r}")
        if name in log_scaled and (isinstance(value, str) or value <= 0):
            raise ValueError(f"{name} is declared log-scaled, so it must be a number > 0, but got {value!r}")
