"""Promise 1 against power cuts: of all that was written only what was synced is certain, whenever the power goes.

One run under load is logged write by write (`write_log.c`); the disk is then put together as it was at random moments, with
the sectors that were not synced there or not, and must have all that was acknowledged until then.
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from pathlib import Path

from tests.proofs.kills import SLOWEST
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.trainers import AT_ONCE, Record, Trainers, caller, lost, prepare, reached
from tests.proofs.write_log import Disk, compiled, logging_to, operations
from tests.server_process import ServerProcess

SURVIVES = (0.0, 0.5, 0.9)
DATABASE = "curves.db"


def power_cuts(
    folder: Path, *, n_acks: int, n_cuts: int, n_starts: int, slowest: int, seed: int = 0, prepare_server: str = ""
) -> Found:
    """prepare_server: Python that runs first in the server."""
    data, log = folder / "data", folder / "writes"
    logged = logging_to(log, database=data / DATABASE, library=compiled(folder))
    record = Record(clock=lambda: log.stat().st_size)
    with ServerProcess(data, environment=logged, prepare=prepare_server) as server:
        prepare(server.address, server.token)
        first = log.stat().st_size
        trainers = Trainers(partial(caller, server.address, server.token), record, numbers=itertools.count(), enough=n_acks)
        trainers.join()
        server.kill()
    rng = random.Random(seed)
    cuts = sorted(rng.randrange(first, log.stat().st_size) for _ in range(n_cuts))
    starting = set(rng.sample(cuts, n_starts))
    disk, history, n_lost = Disk(), operations(log), 0
    operation = next(history)
    for number, place in enumerate(cuts):
        while operation.end <= place:
            disk.apply(operation)
            operation = next(history)
        after = folder / "after" / DATABASE
        after.parent.mkdir(exist_ok=True)
        disk.cut(after, survives=SURVIVES[number % len(SURVIVES)], rng=rng)
        values = [where for where, time in record.values.items() if time <= place]
        stopped = [trial for trial, time in record.stopped.items() if time <= place]
        n_lost += lost(values, stopped, after)
        if place in starting:
            go_on(after.parent, record, place)
        for file in after.parent.iterdir():
            file.unlink()
    rate = record.acks / trainers.seconds
    figures = {
        "acks": record.acks, "power cuts": n_cuts, "lost": n_lost, "servers started on what was left": n_starts,
        "reversals": record.reversals, "MB written": log.stat().st_size >> 20, "acks/s": round(rate),
    }  # fmt: skip
    return Found(figures, record.acks >= n_acks and rate >= slowest and not (n_lost or record.reversals))


def go_on(folder: Path, record: Record, place: int) -> None:
    """A server on what was left stops whom it had stopped."""
    until = Record(stopped={trial: time for trial, time in record.stopped.items() if time <= place})
    last = list(until.stopped)[-AT_ONCE:]
    stored = reached(folder / DATABASE)
    with QuickServer(folder) as server, caller(server.address, server.token) as call:
        until.answers = {trial: (stored[trial], None) for trial in last}
        until.check_again(call, {})
    record.reversals += until.reversals


PROOFS = (
    Proof(
        1,
        "power cuts under load, only synced sectors certain",
        "0 lost of >= 50,000 acks over >= 100 power cuts; void under 100 acks/s",
        power_cuts,
        full={"n_acks": 50_000, "n_cuts": 120, "n_starts": 10, "slowest": SLOWEST},
        short={"n_acks": 600, "n_cuts": 20, "n_starts": 1, "slowest": 0},
        needs=("gcc",),
    ),
)
