"""A report of a trial's values, and the question that it asks: one object from the caller to the stopping policy."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from curvestop.srm.curve import Configuration


@dataclass(frozen=True)
class BracketPosition:
    """The bracket of Hyperband that a trial belongs to; said once, with its first report.

    Attributes:
        iteration: Number of the Hyperband iteration, from 0.
        s: Number of the bracket as in Li et al. 2018: it has s + 1 rungs.
        rungs: `(number of configurations, epochs)` of each rung, in order.
    """

    iteration: int
    s: int
    rungs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Report:
    """Values of one trial, and the question that comes with them.

    Attributes:
        trial: Name of the trial, unique in the study, 1-256 bytes. An int is taken as its text.
        values: Metric after epochs first_epoch, first_epoch + 1, ...; not finite means diverged. May be empty. A number is
            taken as one value.
        configuration: Hyper-parameters and architecture numbers; None if unknown or reported before.
        first_epoch: Epoch of the first value, >= 1.
        target_epoch: Epoch whose value the decision is about; None for the last one, max_epochs.
        value_to_beat: Value that the trial must beat there; None for the study's n-th best final value.
        ask: Whether a decision is wanted; False only stores the values.
        bracket: Bracket that the trial belongs to; None outside Hyperband.
        n_known: Number of the trial's epochs that the study acknowledged before, as far as the caller knows. A study that has
            fewer was given another store.
    """

    trial: str
    values: Sequence[float]
    configuration: Configuration | None = None
    first_epoch: int = 1
    target_epoch: int | None = None
    value_to_beat: float | None = None
    ask: bool = True
    bracket: BracketPosition | None = None
    n_known: int = 0

    def __post_init__(self) -> None:
        # As people write them: `report(trial.number, accuracy)`.
        if not isinstance(self.trial, str):
            object.__setattr__(self, "trial", trial_name(self.trial))
        if not isinstance(self.values, tuple | list):
            object.__setattr__(self, "values", as_sequence(self.values))


@dataclass(frozen=True)
class Question:
    """What a decision answers.

    Attributes:
        tau: The latest epoch that was reported; 0 before the first.
        target_epoch: Epoch whose value the decision is about.
        value_to_beat: Value to beat there; None for the study's own.
    """

    tau: int
    target_epoch: int
    value_to_beat: float | None


def reports_of(trial: str, values: Iterable[tuple[int, float]], configuration: Configuration | None = None) -> Iterator[Report]:
    """Yield reports of values at any epochs, none of which asks: one for each run of epochs without a gap, at least one.

    Args:
        trial: Name of the trial.
        values: `(epoch, value)` pairs with rising epochs; they may be none.
        configuration: Sent with the first report; None if unknown or reported before.

    Examples:
        >>> [(report.first_epoch, report.values) for report in reports_of("a", [(1, 0.1), (2, 0.2), (5, 0.5)])]
        [(1, [0.1, 0.2]), (5, [0.5])]
    """
    first, run = 1, list[float]()
    for epoch, value in values:
        if run and epoch != first + len(run):
            yield Report(trial, run, configuration, first, ask=False)
            configuration, run = None, []
        first = first if run else epoch
        run.append(value)
    yield Report(trial, run, configuration, first, ask=False)


def trial_name(trial: str | int) -> str:
    """Return the name of a trial as text.

    Args:
        trial: Its name; a whole number, such as Optuna's `trial.number`, is taken as its text.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(trial, str):
        return trial
    try:
        if not isinstance(trial, bool):
            return str(operator.index(trial))
    except TypeError:
        pass
    raise ValueError(f"a trial name must be text or a whole number, but got {trial!r}")


def as_sequence(values: float | Sequence[float]) -> Sequence[float]:
    """Return values that may be a single number as a sequence.

    Args:
        values: A number, or a list, tuple or array of numbers.

    Raises:
        ValueError: If it is text, bytes, a mapping or a set, whose items are no values of epochs.
    """
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping | Set):
        raise ValueError(f"values must be a number or a list of numbers, but got {values!r}")
    try:
        len(values)  # type: ignore[arg-type]  # arrays of no dimension have the method, too, but raise
    except TypeError:
        return (values,)  # type: ignore[return-value]
    return values  # type: ignore[return-value]
