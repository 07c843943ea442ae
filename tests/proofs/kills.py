"""Promises 1 and 3 against SIGKILL: kill a server under load again and again; whatever it acknowledged is there afterwards."""

from __future__ import annotations

import itertools
import time
from functools import partial
from pathlib import Path

from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.trainers import AT_ONCE, Record, Trainers, caller, lost, prepare, reached

SLOWEST = 100  # acknowledgements a second: with fewer, a kill hits nothing; of a test, on a busy machine, not asked


def kills(folder: Path, *, n_kills: int, acks_between: int, slowest: int) -> Found:
    record, numbers, under_load_s = Record(), itertools.count(), 0.0
    data = folder / "data"
    for number in range(n_kills):
        stored = reached(data / "curves.db") if number else {}
        with QuickServer(data) as server:
            prepare(server.address, server.token)
            with caller(server.address, server.token) as call:
                record.check_again(call, stored)
            record.forget_answers(but=AT_ONCE)
            begin = time.monotonic()
            trainers = Trainers(partial(caller, server.address, server.token), record, numbers=numbers, enough=acks_between)
            trainers.reached.wait()
            server.kill()
            under_load_s += time.monotonic() - begin
            trainers.join()
    n_lost = lost(record.values, record.stopped, data / "curves.db")
    rate = record.acks / under_load_s
    figures = {
        "acks": record.acks, "kills": n_kills, "lost": n_lost, "stops": len(record.stopped),
        "reversals": record.reversals, "changed answers": record.changed, "acks/s": round(rate),
    }  # fmt: skip
    enough = record.acks >= n_kills * acks_between and rate >= slowest and record.stopped
    return Found(figures, bool(enough) and not (n_lost or record.reversals or record.changed))


PROOFS = (
    Proof(
        1,
        "SIGKILL under load (and promise 3: stops stay)",
        "0 lost of >= 50,000 acks over >= 100 kills, 0 reversals; void under 100 acks/s",
        kills,
        full={"n_kills": 100, "acks_between": 500, "slowest": SLOWEST},
        short={"n_kills": 3, "acks_between": 200, "slowest": 0},
    ),
)
