"""Promises 1 and 3 for what else is acknowledged: batches, ends of trials, new studies of two tenants; an import, an upgrade."""

from __future__ import annotations

import itertools
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.service.restart import log, write
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.codec import settings_to_proto
from curvestop.server.rpc.tokens import add_token
from curvestop.server.storage.export_import import export_study, import_study
from curvestop.server.storage.migrations import HEAD
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore
from curvestop.srm.settings import StudySettings
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer, _context
from tests.proofs.trainers import AT_ONCE, STUDY, Record, Trainers, caller, lost, opened, prepare, reached, report_of, settings

TENANTS = (DEFAULT_TENANT, "other")
AT_A_TIME, EPOCHS = 8, 6
DATABASE = "curves.db"
FIRST_VERSION = Path(__file__).parents[1] / "golden" / "store-v1.sql"


@dataclass
class MixedRecord(Record):
    """ended: the state that was acknowledged for a trial. studies: the names of those that were made."""

    ended: dict[int, int] = field(default_factory=dict)
    studies: set[str] = field(default_factory=set)

    def missing(self, database: Path, tenant: str) -> int:
        with opened(database) as connection:
            query = (
                "SELECT trial, state FROM finish JOIN study ON study.id = finish.study WHERE tenant = :tenant AND name = :study"
            )
            ends: dict[str, str] = dict(connection.execute(sa.text(query), {"tenant": tenant, "study": STUDY}).all())
            studies = connection.execute(sa.text("SELECT name FROM study WHERE tenant = :tenant"), {"tenant": tenant}).scalars()
            n_studies = len(self.studies - set(studies))
        states: dict[int, str] = {pb.TRIAL_STATE_FINISHED: "finished", pb.TRIAL_STATE_STOPPED: "stopped"}
        n_ends = sum(ends.get(f"t{trial}") != states[state] for trial, state in self.ended.items())
        return lost(self.values, self.stopped, database, tenant=tenant) + n_ends + n_studies


class MixedTrainers(Trainers):
    """Each trains several trials at a time, a batch for each epoch, ends some of them and makes a study."""

    _record: MixedRecord

    def _train_one(self, trial: int, call: Callable[[Any], Any]) -> None:
        trials = range(trial * AT_A_TIME, (trial + 1) * AT_A_TIME)
        for epoch in range(1, EPOCHS + 1):
            if self.reached.is_set():
                return
            batch = pb.ReportBatchRequest(study=STUDY, reports=[report_of(number, epoch) for number in trials])
            results = call(batch).results
            with self._lock:
                for number, result in zip(trials, results, strict=True):
                    self._record.add(number, epoch, result.answer)
        for number in trials[:2]:
            with self._lock:
                self._record.answers.pop(number)  # the end changes what is answered, acknowledged or not
            wanted = pb.TRIAL_STATE_FINISHED if number % 2 else pb.TRIAL_STATE_STOPPED
            state = call(pb.FinishTrialRequest(study=STUDY, trial=f"t{number}", state=wanted)).state
            with self._lock:
                self._record.ended[number] = state
        name = f"made-{trial}"
        call(pb.CreateStudyRequest(settings=settings_to_proto(settings(name=name))))
        with self._lock:
            self._record.studies.add(name)
            if self._record.acks >= self._enough:
                self.reached.set()


def kills(folder: Path, *, n_kills: int, acks_between: int) -> Found:
    data = folder / "data"
    records, numbers = {tenant: MixedRecord() for tenant in TENANTS}, itertools.count()
    other = add_token(data, "other", tenant=TENANTS[1])
    for number in range(n_kills):
        with QuickServer(data) as server, ExitStack() as stack:
            trainers = []
            for (tenant, record), token in zip(records.items(), (server.token, other), strict=True):
                prepare(server.address, token)
                call = stack.enter_context(caller(server.address, token))
                record.check_again(call, reached(data / DATABASE, tenant=tenant) if number else {})
                record.forget_answers(but=AT_ONCE)
            for record, token in zip(records.values(), (server.token, other), strict=True):
                make_caller = partial(caller, server.address, token)
                trainers.append(MixedTrainers(make_caller, record, numbers=numbers, enough=acks_between))
            trainers[number % 2].reached.wait()
            server.kill()
            for trainer in trainers:
                trainer.join()
    n_lost = sum(record.missing(data / DATABASE, tenant) for tenant, record in records.items())
    reversals, changed = (sum(getattr(record, name) for record in records.values()) for name in ("reversals", "changed"))
    figures = {
        "kills": n_kills, "tenants": len(TENANTS), "reports in batches": sum(record.acks for record in records.values()),
        "ends": sum(len(record.ended) for record in records.values()),
        "studies": sum(len(record.studies) for record in records.values()), "lost": n_lost,
        "stops": sum(len(record.stopped) for record in records.values()), "reversals": reversals, "changed answers": changed,
    }  # fmt: skip
    enough = all(record.ended and record.studies and record.stopped for record in records.values())
    return Found(figures, enough and not (n_lost or reversals or changed))


def imports(folder: Path, *, n_kills: int, n_observations: int, seed: int = 0) -> Found:
    """Killed at random moments: the study is there whole, or not at all, and then it can be imported again."""
    rng, url, file = random.Random(seed), f"sqlite:///{folder / DATABASE}", folder / "study.csv"
    with closing(CurveStore(url)) as store:
        study = store.add_study(StudySettings("original", 100))
        write(store, study, log(n_observations // 100, 100, decisions=True, seed=seed))
        n_entries = export_study(store, "original", file)
    seconds, halves, n_whole = killed_after(None, _import, url, file, "whole"), 0, 0
    for number in range(n_kills):
        killed_after(rng.uniform(0, seconds), _import, url, file, f"study-{number}")
        with closing(CurveStore(url)) as store:
            found = store.find(f"study-{number}")
            n_found = 0 if found is None else sum(1 for _ in store.log(found.id))
            n_whole += found is not None
            halves += found is not None and n_found != n_entries
            if found is None:
                import_study(store, file, f"study-{number}")
    figures = {"kills": n_kills, "entries": n_entries, "there in spite of the kill": n_whole, "halves": halves}
    return Found(figures, halves == 0 and n_whole < n_kills)


def upgrades(folder: Path, *, n_kills: int, n_observations: int, seed: int = 0) -> Found:
    """A database of the first version, killed at random moments of its upgrade: the next start has all that was in it."""
    rng, path, different, n_upgraded = random.Random(seed), folder / DATABASE, 0, 0
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_VERSION.read_text())
        sequence = itertools.count(43)  # after those that are there
        for trial in (f"more-{number}" for number in range(n_observations // 3)):
            connection.execute("INSERT INTO trials VALUES ('default', 's', ?, ?, '{}')", (trial, next(sequence)))
            rows = [(trial, epoch, next(sequence), epoch / 10) for epoch in (1, 2, 3)]
            connection.executemany("INSERT INTO observations VALUES ('default', 's', ?, ?, ?, ?)", rows)
        connection.commit()
    original = path.read_bytes()
    seconds = killed_after(None, _open, f"sqlite:///{path}")
    expected = contents(path)
    for _ in range(n_kills):
        for leftover in folder.glob(f"{DATABASE}*"):
            leftover.unlink()
        path.write_bytes(original)
        killed_after(rng.uniform(0, seconds), _open, f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            n_upgraded += bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())
        different += contents(path) != expected
    figures: dict[str, int | float | str] = {
        "kills": n_kills, "schema": HEAD, "rows": sum(map(len, expected.values())), "upgraded in spite of the kill": n_upgraded,
        "different": different,
    }  # fmt: skip
    return Found(figures, different == 0 and n_upgraded < n_kills)


def contents(path: Path) -> dict[str, list[Any]]:
    """All rows, by table, after opening the store, which upgrades it where that was not done."""
    _open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def killed_after(seconds: float | None, work: Callable[..., None], *arguments: Any) -> float:
    """Do the work in a process that is killed after so many seconds; None: it ends by itself. Returns how long it took."""
    ready, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_told, args=(theirs, work, arguments), daemon=True)
    process.start()
    ready.recv()
    begin = time.monotonic()
    process.join(seconds)  # a random moment of its work
    if seconds is None:
        assert process.exitcode == 0
    process.kill()
    process.join()
    return time.monotonic() - begin


def _told(ready: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    ready.send(None)
    work(*arguments)


def _open(url: str) -> None:
    CurveStore(url).close()


def _import(url: str, file: Path, name: str) -> None:
    with closing(CurveStore(url)) as store:
        import_study(store, file, name)


PROOFS = (
    Proof(
        1,
        "SIGKILL under batches, ends of trials and new studies of two tenants (and promise 3: stops stay)",
        "0 lost, 0 reversals, over >= 40 kills",
        kills,
        full={"n_kills": 40, "acks_between": 2_000},
        short={"n_kills": 2, "acks_between": 200},
    ),
    Proof(
        1,
        "SIGKILL of an import",
        "the study is there whole or not at all, and can be imported again",
        imports,
        full={"n_kills": 20, "n_observations": 20_000},
        short={"n_kills": 2, "n_observations": 2_000},
    ),
    Proof(
        1,
        "SIGKILL of an upgrade from the first version",
        "the next start has all that was in the database",
        upgrades,
        full={"n_kills": 30, "n_observations": 100_000},
        short={"n_kills": 3, "n_observations": 2_000},
    ),
)
