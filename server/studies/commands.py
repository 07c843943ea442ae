"""Study commands: work on a study's memory whose result is given when what it did is on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from curvestop.proto.endpoint import UnknownStudy
from curvestop.proto.entries import Entry
from curvestop.server.storage.store import CurveStore, StudyUnavailable, Transaction
from curvestop.srm.study import Study

T = TypeVar("T")


class CommandTarget(Protocol):
    """What commands are applied to: a study with its memory and its log.

    Attributes:
        id: Number of the study in the store.
        tenant: The tenant whose study it is.
        writing: Held by the writer that decides and appends; a study that became slow may have two for a moment.
    """

    id: int
    tenant: str
    writing: threading.Lock

    def load(self) -> None:
        """Read the log into memory unless it is there."""
        ...

    def forget(self, *, is_deleted: bool = False) -> None:
        """Drop the memory, which may be ahead of the log.

        Args:
            is_deleted: Whether the log is gone.
        """
        ...

    def catch_up(self, transaction: Transaction) -> None:
        """Lock the log, and bring the memory up to what other servers appended.

        Args:
            transaction: Until its end nobody else appends.
        """
        ...

    def decide(self, commands: Sequence[StudyCommand[Any]]) -> list[Entry]:
        """Apply commands to the memory, in order, and return what the log must get.

        Args:
            commands: Those of one batch for this study, in the order of their submission.
        """
        ...

    def append(self, entries: Sequence[Entry], transaction: Transaction) -> None:
        """Append what was decided to the log.

        Args:
            entries: What `decide` returned.
            transaction: The caller commits it.
        """
        ...

    def changed(self) -> None:
        """Take note that the log has grown: model fits may have become due."""
        ...


class StudyCommand(Generic[T]):
    """One command to one study, and its result once it was applied.

    Args:
        study: The study it is applied to.
        action: Works on the study's memory; returns the result and the entries that the log must get.

    Attributes:
        left_memory_unsure: Whether it ended in the middle, so that the study's memory must be read from the log again.
    """

    def __init__(self, study: CommandTarget, action: Callable[[Study], tuple[T, list[Entry]]]) -> None:
        self.study = study
        self._action = action
        self._result: T  # set by `apply`
        self._error: Exception | None = None
        self.left_memory_unsure = False

    def apply(self, study: Study) -> list[Entry]:
        """Run the action; an error is kept for `result` and does not affect other commands.

        Args:
            study: The study's memory.

        Returns:
            The entries that the log must get; none after an error.
        """
        try:
            self._result, entries = self._action(study)
        except (ValueError, LookupError) as error:  # of a caller's mistake, which changes nothing: the others go ahead
            self._error = error
            return []
        except Exception as error:  # nobody knows what was done before it
            self._error, self.left_memory_unsure = error, True
            return []
        return entries

    def refuse(self, error: Exception) -> None:
        """Make `result` raise an error, whatever the action returned.

        Args:
            error: Why nothing counts that the command did, such as a commit that failed.
        """
        self._error = error

    def result(self) -> T:
        """Return the action's result, or raise its error or the one it was refused with."""
        if self._error is not None:
            raise self._error
        return self._result


def apply_commands(store: CurveStore, commands: Sequence[StudyCommand[Any]]) -> None:
    """Apply commands to any studies, in order, with one commit.

    If the commit fails, all commands are refused and the studies forget their memory, because it is ahead of the log.

    Args:
        store: Where the logs are.
        commands: The commands.
    """
    commands_of: dict[CommandTarget, list[StudyCommand[Any]]] = {}
    for command in commands:
        commands_of.setdefault(command.study, []).append(command)
    # In one order, whatever the writer, so that two writers never wait for each other.
    writing = [study.writing for study in sorted(commands_of, key=lambda study: study.id)]
    for lock in writing:
        lock.acquire()
    try:
        _apply(store, commands_of)
    finally:
        for lock in writing:
            lock.release()


def _apply(store: CurveStore, commands_of: dict[CommandTarget, list[StudyCommand[Any]]]) -> None:
    try:
        # Outside the transaction, which would otherwise hold the write lock for as long as a log is read.
        for study in list(commands_of):
            try:
                study.load()
            except StudyUnavailable as error:  # the others go ahead
                for command in commands_of.pop(study):
                    command.refuse(error)
        _decide_and_append(store, commands_of)
    except Exception as error:
        # Whatever failed, some memory has results that are not on disk: nobody may see them.
        for study, its_commands in commands_of.items():
            study.forget(is_deleted=isinstance(error, UnknownStudy))
            for command in its_commands:
                command.refuse(error)
        return
    # From here on the results may be given out.
    for study in commands_of:
        study.changed()


def _decide_and_append(store: CurveStore, commands_of: Mapping[CommandTarget, Sequence[StudyCommand[Any]]]) -> None:
    if store.exclusive:
        # Nobody else appends, so the write lock, for which other writers wait, is not held while decisions are made.
        decided = [(study, study.decide(its_commands)) for study, its_commands in commands_of.items()]
        with store.transaction() as transaction:
            for study, entries in decided:
                study.append(entries, transaction)
        return
    with store.transaction() as transaction:
        for study, its_commands in commands_of.items():
            study.catch_up(transaction)
            study.append(study.decide(its_commands), transaction)
