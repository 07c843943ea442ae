"""Trainers that keep a record of what was acknowledged to them, and the check that nothing of it was lost or taken back."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from curvestop.clients.remote.connection import Connection, ServerTrouble
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.codec import settings_to_proto
from curvestop.server.storage.store import DEFAULT_TENANT
from curvestop.srm.settings import StudySettings
from tests.contracts import COMPLETE, last_seen

STUDY = "s"
N_EPOCHS = 50
DEADLINE_S = 60.0
PATIENCE_S = 120.0
ENTRIES = " UNION ALL ".join(
    f"SELECT study, sequence FROM {table}" for table in ("trial", "observation", "decision", "finish", "resume")
)
AT_ONCE = 16


def settings(**changes: Any) -> StudySettings:
    """A study in which the trials that start low are stopped, once it has its first curves."""
    return last_seen(**{"name": STUDY, "max_epochs": N_EPOCHS, **changes})


def value_of(trial: int, epoch: int) -> float:
    """Every third trial is hopeless."""
    return (0.1 if trial % 3 == 0 else 0.55) + (trial % 97) / 10_000 + epoch / 1_000


@dataclass
class Record:
    """What was acknowledged. answers: the last one for a trial, with the epoch of its question.

    clock: of any kind; `values` and `stopped` have the time by which they were acknowledged.
    """

    clock: Callable[[], float] = time.monotonic
    values: dict[tuple[int, int], float] = field(default_factory=dict)
    stopped: dict[int, float] = field(default_factory=dict)
    answers: dict[int, tuple[int, Any]] = field(default_factory=dict)
    reversals: int = 0
    changed: int = 0

    @property
    def acks(self) -> int:
        return len(self.values)

    def add(self, trial: int, epoch: int, answer: Any) -> None:
        self.values[trial, epoch] = self.clock()
        self._check(trial, epoch, answer.decision)
        self.answers[trial] = (epoch, answer.decision)

    def check_again(self, call: Callable[[Any], Any], reached: Mapping[int, int]) -> None:
        """Repeat the last question of the trials that are remembered here.

        reached: the epochs that are stored. More than were acknowledged make it another question, to which a stop is the answer
        if it was one before.
        """
        for trial, (epoch, _) in list(self.answers.items()):
            decision = call(report_of(trial, epoch)).decision
            self._check(trial, epoch if reached.get(trial) == epoch else 0, decision)

    def _check(self, trial: int, epoch: int, decision: Any) -> None:
        self.reversals += trial in self.stopped and not decision.stop
        if decision.stop:
            self.stopped.setdefault(trial, self.clock())
        before = self.answers.get(trial)
        self.changed += before is not None and before[0] == epoch and before[1] != decision

    def forget_answers(self, *, but: int) -> None:
        """Keep the last few, so that asking again stays quick."""
        self.answers = dict(itertools.islice(reversed(self.answers.items()), but))


def report_of(trial: int, epoch: int) -> pb.ReportRequest:
    return pb.ReportRequest(study=STUDY, trial=f"t{trial}", first_epoch=epoch, values=[value_of(trial, epoch)], ask=True)


@contextmanager
def caller(address: str, token: str) -> Iterator[Callable[[Any], Any]]:
    """Sends requests, each to the method of its name; raises ServerTrouble when one was not acknowledged."""
    with closing(Connection(address, token=token)) as connection:
        yield lambda request: connection.call(type(request).__name__.removesuffix("Request"), request, deadline_s=DEADLINE_S)


def prepare(address: str, token: str, **changes: Any) -> None:
    """Make the study and its first complete curves."""
    with closing(Connection(address, token=token)) as connection:
        study = pb.CreateStudyRequest(settings=settings_to_proto(settings(**changes)))
        connection.call("CreateStudy", study, deadline_s=DEADLINE_S)
        for number, (first, _, last) in enumerate(COMPLETE):
            values = [first] * (N_EPOCHS - 1) + [last]
            request = pb.ReportRequest(study=STUDY, trial=f"complete-{number}", first_epoch=1, values=values)
            connection.call("Report", request, deadline_s=DEADLINE_S)
    with caller(address, token) as call:
        wait_fitted(call)


def wait_fitted(call: Callable[[Any], Any]) -> None:
    """Until there are models of all complete curves."""
    await_models(lambda: call(pb.GetStudyRequest(study=STUDY)).models, PATIENCE_S)


def await_models(models: Callable[[], Iterable[Any]], patience_s: float) -> None:
    """Until the models of a study, which has one target, are fitted on all curves that are due."""
    deadline = time.monotonic() + patience_s
    while True:
        (fitted,) = models()
        if 0 < fitted.n_fitted == fitted.n_due:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)  # the only way to wait on another process's models; a fit rests while calls come


@contextmanager
def patient_caller(addresses: Sequence[str], token: str) -> Iterator[Callable[[Any], Any]]:
    """Goes on trying; of several servers, as every client does, one after the other."""
    with closing(Connection(",".join(addresses), token=token)) as connection:

        def call(request: Any) -> Any:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    return connection.call("Report", request, deadline_s=DEADLINE_S)
                except ServerTrouble:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)  # as a client does between tries

        yield call


class Trainers:
    """Threads that train trial after trial and record what is acknowledged, until the server is gone or `enough` was."""

    def __init__(
        self,
        make_caller: Callable[[], AbstractContextManager[Callable[[Any], Any]]],
        record: Record,
        *,
        numbers: Iterator[int],
        enough: int,
    ) -> None:
        self._record, self._numbers, self._enough = record, numbers, record.acks + enough
        self._lock = threading.Lock()
        self.reached = threading.Event()
        self.seconds = 0.0  # until `enough`
        self.half = record.acks + enough // 2
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._train, args=(make_caller,)) for _ in range(AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _train(self, make_caller: Callable[[], AbstractContextManager[Callable[[Any], Any]]]) -> None:
        try:
            with make_caller() as call:
                while not self.reached.is_set():
                    with self._lock:
                        trial = next(self._numbers)
                    self._train_one(trial, call)
        except ServerTrouble:
            self.reached.set()

    def _train_one(self, trial: int, call: Callable[[Any], Any]) -> None:
        for epoch in range(1, N_EPOCHS + 1):
            if self.reached.is_set():
                return
            answer = call(report_of(trial, epoch))
            with self._lock:
                self._record.add(trial, epoch, answer)
                if self._record.acks >= self._enough and not self.reached.is_set():
                    self.seconds = time.monotonic() - self._began
                    self.reached.set()


@contextmanager
def opened(database: Path | str) -> Iterator[sa.Connection]:
    """A SQLite file or a URL, to look at."""
    engine = sa.create_engine(f"sqlite:///{database}" if isinstance(database, Path) else database)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


OF_STUDY = "study IN (SELECT id FROM study WHERE tenant = :tenant AND name = :study) AND trial LIKE 't%'"


def reached(database: Path | str, *, tenant: str = DEFAULT_TENANT) -> dict[int, int]:
    """The last epoch of each trial."""
    with opened(database) as connection:
        query = sa.text(f"SELECT trial, max(epoch) FROM observation WHERE {OF_STUDY} GROUP BY trial")
        return {int(trial[1:]): epoch for trial, epoch in connection.execute(query, {"tenant": tenant, "study": STUDY})}


def lost(values: Iterable[tuple[int, int]], stopped: Iterable[int], database: Path | str, *, tenant: str = DEFAULT_TENANT) -> int:
    """How many acknowledged values and stops the database does not have.

    Raises AssertionError when it is broken: a row twice, a value that nobody sent, a gap in a log.
    """
    of_study = {"tenant": tenant, "study": STUDY}
    with opened(database) as connection:
        if isinstance(database, Path):
            assert connection.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
        rows = connection.execute(sa.text(f"SELECT trial, epoch, value FROM observation WHERE {OF_STUDY}"), of_study).all()
        stops = connection.execute(sa.text(f"SELECT trial FROM decision WHERE stop AND {OF_STUDY}"), of_study).scalars().all()
        logs = connection.execute(sa.text(f"SELECT study, count(*), max(sequence) FROM ({ENTRIES}) AS log GROUP BY study")).all()
    stored = {(int(trial[1:]), epoch): value for trial, epoch, value in rows}
    assert len(stored) == len(rows)
    for study, n_entries, last in logs:
        assert n_entries == last, f"{n_entries} entries of study {study} are numbered up to {last}"
    assert all(value == value_of(*place) for place, value in stored.items())
    in_stops = {int(trial[1:]) for trial in stops}
    return sum(place not in stored for place in values) + sum(trial not in in_stops for trial in stopped)
