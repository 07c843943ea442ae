"""What a study accepts: names, epochs, values, configurations, reports. Checks raise ValueError and change nothing."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, SupportsIndex

from curvestop.srm.configuration import entries_that_differ, flattened, n_bytes_of
from curvestop.srm.curve import Configuration, LearningCurve
from curvestop.srm.report import BracketPosition, Report, as_sequence

LARGEST_VALUE = 1e100
"""Largest absolute value of a metric or a configuration number."""
MOST_EPOCHS = 10**9
"""Largest `max_epochs` of a study."""
LONGEST_NAME = 256
"""Largest length of a name, in bytes of UTF-8."""


MOST_NAMES, MOST_CONFIGURATION_BYTES = 1000, 64 << 10
"""Largest number of names in a configuration, and of bytes of all names and values together."""
MOST_RUNGS = 64
"""Largest number of rungs in a bracket: with eta = 2 enough for any number of epochs."""


class EpochOutOfRange(ValueError):
    """An epoch after the study's last one."""


def whole_number(name: str, value: SupportsIndex, *, least: int = 1) -> int:
    """Return a whole number as an int; integers of NumPy are taken, floats and booleans are not.

    Args:
        name: Name of the argument, for the message.
        value: What the caller gave.
        least: Smallest value allowed.

    Raises:
        ValueError: If the value is no whole number, or less than `least`.

    Examples:
        >>> whole_number("max_epochs", 10.0)
        Traceback (most recent call last):
        ValueError: max_epochs must be a whole number >= 1, but got 10.0
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number >= {least}, but got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be >= {least}, but got {number}")
    return number


def is_finite(value: float) -> bool:
    """Return whether a number is finite as a float: `math.isfinite` raises for an int that is too large for one.

    Args:
        value: Any number.

    Examples:
        >>> is_finite(1e308), is_finite(10**400)
        (True, False)
    """
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_keywords(caller: str, given: Iterable[str], taker: Callable[..., Any], *, but_not: Collection[str] = ()) -> None:
    """Check keyword arguments that a class takes for another one.

    Args:
        caller: The class that the user called.
        given: Names of the keyword arguments that it does not have itself.
        taker: The class that they are passed to.
        but_not: Arguments of that class that the caller sets itself.

    Raises:
        TypeError: If one of them is no argument of `taker`; the message names the caller.
    """
    takes = [name for name in inspect.signature(taker).parameters if name not in but_not]
    for name in given:
        if name not in takes:
            its_own = ", ".join(takes)
            raise TypeError(f"{caller} got an unexpected keyword argument {name!r}; of {taker.__name__} it takes {its_own}")


def checked_max_epochs(max_epochs: SupportsIndex) -> int:
    """Return the number of epochs of a complete trial as an int.

    Raises:
        ValueError: If it is no whole number in 1..MOST_EPOCHS.
    """
    number = whole_number("max_epochs", max_epochs)
    if number > MOST_EPOCHS:
        raise ValueError(f"max_epochs must be at most 10^9, but got {number}: count in larger steps")
    return number


def check_name(what: str, name: str) -> None:
    """Check that a name is text of 1-256 bytes of UTF-8 without control characters.

    Args:
        what: Noun for the message, like "trial".
        name: Name to check.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(name, str):
        raise ValueError(f"a {what} name must be text, but got {name!r}")
    if name.isascii() and name.isprintable() and 1 <= len(name) <= LONGEST_NAME:  # as nearly all names are
        return
    try:
        length = len(name.encode())  # fails for a lone surrogate
    except UnicodeEncodeError:
        raise ValueError(f"a {what} name must be valid Unicode, but got {name!r}") from None
    if not 1 <= length <= LONGEST_NAME:
        raise ValueError(f"a {what} name must be 1 to {LONGEST_NAME} bytes long, but got {length}")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in name):
        raise ValueError(f"a {what} name must have no control characters, but got {name!r}")


def is_name(name: str) -> bool:
    """Return whether `check_name` accepts the name."""
    try:
        check_name("", name)
    except ValueError:
        return False
    return True


def check_epoch(name: str, epoch: int, *, max_epochs: int) -> None:
    """Check that an epoch is in 1..max_epochs.

    Args:
        name: Name of the argument, for the message.
        epoch: Epoch to check, 1-based.
        max_epochs: Last epoch of the study.

    Raises:
        ValueError: If it is no whole number, or less than 1.
        EpochOutOfRange: If it is more than max_epochs.
    """
    epoch = whole_number(name, epoch)
    if epoch > max_epochs:
        raise EpochOutOfRange(f"{name} must be at most max_epochs = {max_epochs}, but got {epoch!r}")


def check_question(target_epoch: int | None, value_to_beat: float | None, *, max_epochs: int) -> None:
    """Check what a decision or prediction is asked about.

    Args:
        target_epoch: Epoch whose value counts; None for the last one, which needs no check.
        value_to_beat: In the metric; None for the study's own.
        max_epochs: Last epoch of the study.

    Raises:
        ValueError: If target_epoch is not in 1..max_epochs, or value_to_beat is not finite and within +-LARGEST_VALUE.
    """
    if target_epoch is not None:
        check_epoch("target_epoch", target_epoch, max_epochs=max_epochs)
    # `not <=`, here and below, refuses NaN too.
    if value_to_beat is not None and not abs(value_to_beat) <= LARGEST_VALUE:
        raise ValueError(f"value_to_beat must be finite and within +-{LARGEST_VALUE:g}, but got {value_to_beat!r}")


def check_bracket(bracket: BracketPosition | None) -> None:
    """Check the bracket that a trial belongs to.

    Args:
        bracket: None outside Hyperband, which is always right.

    Raises:
        ValueError: If a number is out of range, there are more than MOST_RUNGS rungs, or their epochs do not rise.
    """
    if bracket is None:
        return
    # They travel and are stored as 64-bit integers.
    numbers = [bracket.iteration, bracket.s, *(number for rung in bracket.rungs for number in rung)]
    if not all(0 <= number < 2**63 for number in numbers):
        raise ValueError(f"the numbers of a bracket must be in 0..2^63 - 1, but got {bracket!r}")
    epochs = [epochs for _, epochs in bracket.rungs]
    if len(epochs) > MOST_RUNGS or any(b <= a for a, b in pairwise(epochs)):
        raise ValueError(f"a bracket must have at most {MOST_RUNGS} rungs with rising epochs, but got {bracket.rungs!r}")


def checked_values(values: Sequence[float], first_epoch: int, *, max_epochs: int) -> tuple[float, ...]:
    """Return the values as floats. Values that are not finite are left for the caller to judge.

    Args:
        values: Metric after epochs first_epoch, first_epoch + 1, ...; may be empty.
        first_epoch: Epoch of the first value, 1-based.
        max_epochs: Last epoch of the study.

    Raises:
        ValueError: If a value is no number, or finite but beyond +-LARGEST_VALUE, or an epoch is not in 1..max_epochs.
    """
    check_epoch("first_epoch", first_epoch, max_epochs=max_epochs)
    if len(values):
        check_epoch("the last epoch reported", first_epoch + len(values) - 1, max_epochs=max_epochs)
    try:
        numbers = tuple([float(v) + 0.0 for v in values])  # + 0.0 turns -0.0 into 0.0, as SQLite would
    except (TypeError, ValueError):
        raise _no_number(values, first_epoch) from None
    except OverflowError:
        epoch = next(epoch for epoch, value in enumerate(values, start=first_epoch) if not is_finite(value))
        raise ValueError(f"a value must be within +-{LARGEST_VALUE:g}, but epoch {epoch} has a larger integer") from None
    if any(issubclass(kind, str) for kind in {*map(type, values)}):  # "0.5" is a mistake, though float takes it
        raise _no_number(values, first_epoch)
    if not numbers or -LARGEST_VALUE <= min(numbers) <= max(numbers) <= LARGEST_VALUE:  # False for a NaN that comes first
        return numbers
    for epoch, value in enumerate(numbers, start=first_epoch):
        if math.isfinite(value) and abs(value) > LARGEST_VALUE:
            raise ValueError(f"a value must be within +-{LARGEST_VALUE:g}, but epoch {epoch} has {value!r}")
    return numbers


def check_end_state(state: str) -> None:
    """Check that a trial may end in this state.

    Raises:
        ValueError: If it is not "finished", "stopped" or "failed".
    """
    if state not in ("finished", "stopped", "failed"):
        raise ValueError(f"state must be 'finished', 'stopped' or 'failed', but got {state!r}")


def checked_configuration(configuration: Mapping[str, Any], *, log_scaled: Collection[str]) -> dict[str, Any]:
    """Return a configuration as a study keeps it: flat, with plain values; see `flattened`.

    Args:
        configuration: Hyper-parameters and architecture numbers by name.
        log_scaled: Names whose values must be numbers > 0.

    Raises:
        ValueError: If a name or value breaks its rule, or there are too many or too long ones.
    """
    flat = plain_configuration(configuration, log_scaled=log_scaled)
    if len(flat) > MOST_NAMES:
        raise ValueError(
            f"a configuration must have at most {MOST_NAMES} names, but got {len(flat)}: leave out what is the same in all trials"
        )
    if (n_bytes := n_bytes_of(flat)) > MOST_CONFIGURATION_BYTES:
        longest = max(flat, key=lambda name: len(str(flat[name])))
        raise ValueError(
            f"a configuration must have at most {MOST_CONFIGURATION_BYTES} bytes, but got {n_bytes}, most of them in "
            f"{longest!r}: keep long text elsewhere, and give a short name for it"
        )
    return flat


def plain_configuration(configuration: Mapping[str, Any], *, log_scaled: Collection[str]) -> dict[str, Any]:
    """Return a configuration flat and with plain values, of any size: what was stored before sizes had limits stays.

    Args:
        configuration: Hyper-parameters and architecture numbers by name.
        log_scaled: Names whose values must be numbers > 0.

    Raises:
        ValueError: If a name or value breaks its rule.
    """
    if not isinstance(configuration, Mapping):
        raise ValueError(f"a configuration must be a mapping such as {{'lr': 0.1}}, but got {configuration!r}")
    flat = flattened(configuration)
    for name, value in flat.items():
        check_name("configuration", name)
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"{name} must be a number, a boolean, a string, a list or None, but got {value!r}: write its text")
        if not isinstance(value, str) and not abs(value) <= LARGEST_VALUE:
            raise ValueError(f"{name} must be finite and within +-{LARGEST_VALUE:g}, but got {value!r}")
        if name in log_scaled and (isinstance(value, str) or value <= 0):
            raise ValueError(f"{name} is declared log-scaled, so it must be a number > 0, but got {value!r}")
    return flat


def validated(report: Report, *, max_epochs: int, log_scaled: Collection[str], known: Configuration | None = None) -> Report:
    """Check a report, in a study or in a client before it is sent, and return it with plain values.

    Args:
        report: Report as the caller gave it.
        max_epochs: Last epoch of the study.
        log_scaled: Names of the configuration that must be > 0.
        known: Configuration that the trial was reported with before; None for a new trial.

    Returns:
        The same report: values are floats, the configuration is a dict of its own or the known one.

    Raises:
        ValueError: If a name, epoch, value or configuration breaks its rule, or the configuration is another one than before.
    """
    check_question(report.target_epoch, report.value_to_beat, max_epochs=max_epochs)
    check_name("trial", report.trial)
    check_bracket(report.bracket)
    values = checked_values(report.values, report.first_epoch, max_epochs=max_epochs)
    configuration = report.configuration
    if configuration is None or (known is not None and configuration == known):  # it was checked when it came first
        configuration = known
    else:
        configuration = checked_configuration(configuration, log_scaled=log_scaled)
        if known is not None and configuration != known:
            before, now = entries_that_differ(known, configuration)
            was = f"trial {report.trial!r} was reported with {before!r}, which stays"
            raise ValueError(f"{was}, but got {now!r}: a new trial needs a new name")
    # Not dataclasses.replace: it takes 5 us, twice as much as all checks together.
    return Report(
        report.trial,
        values,
        configuration,
        operator.index(report.first_epoch),
        report.target_epoch,
        report.value_to_beat,
        report.ask,
        report.bracket,
        report.n_known,
    )


def checked_curve(curve: LearningCurve, *, max_epochs: int, log_scaled: Collection[str]) -> LearningCurve:
    """Check a partial curve whose end is to be predicted, and return it without the trial's name.

    Args:
        curve: Metric after epochs 1..tau or after its own epochs, and the configuration; that is {} if unknown.
        max_epochs: Last epoch of the study.
        log_scaled: Names whose values must be numbers > 0.

    Returns:
        The curve with floats and a configuration of its own.

    Raises:
        ValueError: If there is no value, one is not finite, the epochs do not rise within 1..max_epochs or are not as many as
            the values, or the configuration breaks a rule.
    """
    configuration = checked_configuration(curve.configuration, log_scaled=log_scaled)
    values, epochs = as_sequence(curve.values), curve.epochs
    if epochs is not None:
        for epoch in epochs:
            check_epoch("an epoch of a curve", epoch, max_epochs=max_epochs)
        epochs = tuple(map(operator.index, epochs))
        if len(epochs) != len(values) or any(b <= a for a, b in pairwise(epochs)):
            raise ValueError(f"epochs must rise and be as many as the {len(values)} values, but got {epochs!r}")
    numbers = checked_values(values, 1, max_epochs=max_epochs)
    if not numbers or not math.isfinite(sum(numbers)):  # bounded as they are, no sum overflows
        raise ValueError(f"a curve to predict needs at least one value, all finite, but got {numbers!r}")
    return LearningCurve("", configuration, numbers, epochs)


def _no_number(values: Sequence[Any], first_epoch: int) -> ValueError:
    """Return the error for the first value that is no number."""
    for epoch, value in enumerate(values, start=first_epoch):
        try:
            if not isinstance(value, str) and float(value) is not None:
                continue
        except (TypeError, ValueError):
            pass
        return ValueError(f"a value must be a number, but epoch {epoch} has {value!r}")
    raise AssertionError("all values are numbers")
