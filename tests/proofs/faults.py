"""Promises 1, 9 and 16: death at named places, a disk that fails or is full, a second server on the same data."""

from __future__ import annotations

import itertools
import random
import time
from functools import partial
from pathlib import Path

from curvestop.server.storage.failpoints import VARIABLE
from curvestop.server.storage.store import FAILED_EXIT
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.trainers import N_EPOCHS, Record, Trainers, caller, lost, prepare, reached, report_of
from tests.proofs.write_log import Disk, compiled, logging_to, operations
from tests.server_process import ServerProcess, refused

DATABASE = "curves.db"
FAILPOINTS = ("before-commit", "after-commit")
ENDLESS = 1_000_000


def train_until_gone(server: QuickServer | ServerProcess, record: Record, numbers: itertools.count[int]) -> int | None:
    """Returns the exit status."""
    Trainers(partial(caller, server.address, server.token), record, numbers=numbers, enough=ENDLESS).join()
    return server.wait()


def failpoints(folder: Path, *, n_deaths: int, seed: int = 0) -> Found:
    """Die before or after a commit: what was not acknowledged may be there or not, and sent again it is there once."""
    rng, record, numbers, n_dead, n_sent_again = random.Random(seed), Record(), itertools.count(), 0, 0
    data = folder / "data"
    with QuickServer(data) as server:
        prepare(server.address, server.token)
        server.kill()
    for number in range(n_deaths):
        where = f"{FAILPOINTS[number % len(FAILPOINTS)]}:{rng.randint(2, 40)}"
        with QuickServer(data, environment={VARIABLE: where}) as server:
            n_dead += train_until_gone(server, record, numbers) == -9
        stored = reached(data / DATABASE)
        with QuickServer(data) as server, caller(server.address, server.token) as call:
            record.check_again(call, stored)
            for trial, (epoch, _) in list(record.answers.items()):  # as a client whose last report was cut off
                following = min(epoch + 1, N_EPOCHS)
                answer = call(report_of(trial, following))
                assert not answer.conflicts
                record.add(trial, following, answer)
                n_sent_again += 1
            server.kill()
        record.answers.clear()
    n_lost = lost(record.values, record.stopped, data / DATABASE)
    figures = {
        "acks": record.acks, "deaths": n_dead, "lost": n_lost, "sent again": n_sent_again,
        "reversals": record.reversals, "changed answers": record.changed,
    }  # fmt: skip
    return Found(figures, n_dead == n_deaths and not (n_lost or record.reversals or record.changed))


def failed_syncs(folder: Path, *, n_faults: int, seed: int = 0) -> Found:
    """fsync answers EIO: the process ends, and what it acknowledged is in what was synced before."""
    rng, n_exits, n_lost, acks = random.Random(seed), 0, 0, 0
    library = compiled(folder)
    for number in range(n_faults):
        data, log, record = folder / f"data{number}", folder / f"writes{number}", Record()
        environment = logging_to(log, database=data / DATABASE, library=library, fsync_fails_at=rng.randint(30, 200))
        with ServerProcess(data, environment=environment) as server:
            prepare(server.address, server.token)
            n_exits += train_until_gone(server, record, itertools.count()) == FAILED_EXIT
        disk, after = Disk(), folder / f"after{number}" / DATABASE
        after.parent.mkdir()
        for operation in operations(log):
            disk.apply(operation)
        disk.cut(after, survives=0.0, rng=rng)
        n_lost += lost(record.values, record.stopped, after)
        acks += record.acks
    figures = {"failed fsyncs": n_faults, "exits": n_exits, "acks": acks, "acked but missing": n_lost}
    return Found(figures, n_exits == n_faults and acks > 0 and n_lost == 0)


def full_disks(folder: Path, *, n_faults: int, seed: int = 0) -> Found:
    """No file can grow beyond a limit: the process ends, and with more room goes on from what it acknowledged."""
    rng, n_exits, record, numbers = random.Random(seed), 0, Record(), itertools.count()
    data = folder / "data"
    limit = 500_000
    for number in range(n_faults):
        limit += rng.randint(150_000, 300_000)
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))"
        with ServerProcess(data, prepare=code) as server:
            if number == 0:
                prepare(server.address, server.token)
            n_exits += train_until_gone(server, record, numbers) == FAILED_EXIT
    n_lost = lost(record.values, record.stopped, data / DATABASE)
    figures = {"full disks": n_faults, "exits": n_exits, "acks": record.acks, "acked but missing": n_lost}
    return Found(figures, n_exits == n_faults and record.acks > 0 and n_lost == 0)


def one_writer(folder: Path, *, n_tries: int) -> Found:
    """A second server on the same data, or the same port, ends at once; after kill -9 the first start works."""
    n_refused, slowest, n_started = 0, 0.0, 0
    data = folder / "data"
    for number in range(n_tries):
        with QuickServer(data) as server:
            n_started += 1
            same = ["--data", str(data)] if number % 2 else ["--data", str(folder / "other"), "--port", str(server.port)]
            begin = time.monotonic()
            status, message = refused(*same, *([] if "--port" in same else ["--port", "0"]))
            slowest = max(slowest, time.monotonic() - begin)
            n_refused += status == 2 and message.count("\n") == 1
            server.kill()
    figures = {
        "second starts": n_tries, "refused": n_refused, "first starts after kill -9": n_started, "s at most": round(slowest, 1),
    }  # fmt: skip
    return Found(figures, n_refused == n_tries == n_started)


PROOFS = (
    Proof(
        1,
        "death at named places: before a commit, after it and before the answer",
        "0 lost, 0 doubled; a report sent again has the same answer",
        failpoints,
        full={"n_deaths": 24},
        short={"n_deaths": 2},
    ),
    Proof(
        9,
        "fsync fails (EIO)",
        "the process exits; 0 acked but missing",
        failed_syncs,
        full={"n_faults": 10},
        short={"n_faults": 1},
        needs=("gcc",),
    ),
    Proof(
        9,
        "the disk is full",
        "the process exits; 0 acked but missing; goes on when there is room",
        full_disks,
        full={"n_faults": 10},
        short={"n_faults": 2},
    ),
    Proof(
        16,
        "one writer",
        "a second server on the same data or port exits 2; after kill -9 the first start works",
        one_writer,
        full={"n_tries": 6},
        short={"n_tries": 2},
    ),
)
