"""Promise 17 and more: PostgreSQL is restarted under load; of two servers on one database one is killed."""

from __future__ import annotations

import itertools
import shutil
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from curvestop.proto.endpoint import TOKEN_FILE
from tests.postgres import Postgres
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.trainers import Record, Trainers, caller, lost, patient_caller, prepare, reached, report_of

ENDLESS = 10_000_000


def restarts(folder: Path, *, n_restarts: int, acks_between: int) -> Found:
    """Half of them crashes. The server itself goes on."""
    record, numbers = Record(), itertools.count()
    with closing(Postgres()) as postgres:
        url = postgres.database()
        with QuickServer(folder / "data", "--store", url) as server:
            prepare(server.address, server.token)
            patient = partial(patient_caller, [server.address], server.token)
            for number in range(n_restarts):
                trainers = Trainers(patient, record, numbers=numbers, enough=acks_between)
                trainers.reached.wait()
                going_on = Trainers(patient, record, numbers=numbers, enough=acks_between // 4)
                postgres.stop(("fast", "immediate")[number % 2])
                postgres.start()
                trainers.join()
                going_on.join()
            with caller(server.address, server.token) as call:
                record.forget_answers(but=200)
                record.check_again(call, reached(url))
            alive = server.wait(timeout_s=0) is None
        n_lost = lost(record.values, record.stopped, url)
    figures = {
        "restarts": n_restarts, "acks": record.acks, "missing": n_lost,
        "reversals": record.reversals, "changed answers": record.changed,
    }  # fmt: skip
    return Found(figures, alive and record.acks > n_restarts and not (n_lost or record.reversals or record.changed))


def two_servers(folder: Path, *, n_kills: int, acks_between: int) -> Found:
    """Trainers' clients know both servers, and half of them begins with each; one is killed under load, and started again."""
    record, numbers, different = Record(), itertools.count(), 0
    with closing(Postgres()) as postgres, ExitStack() as stack:
        url = postgres.database()
        one = stack.enter_context(QuickServer(folder / "one", "--store", url))
        (folder / "two").mkdir(mode=0o700)
        shutil.copy(folder / "one" / TOKEN_FILE, folder / "two")
        servers = [one, stack.enter_context(QuickServer(folder / "two", "--store", url))]
        prepare(one.address, one.token)
        addresses = [server.address for server in servers]
        for number in range(n_kills):
            spread = map(patient_caller, itertools.cycle([addresses, addresses[::-1]]), itertools.repeat(one.token))
            trainers = Trainers(spread.__next__, record, numbers=numbers, enough=acks_between)
            while record.acks < trainers.half:
                trainers.reached.wait(0.01)
            victim = number % 2
            servers[victim].kill()
            trainers.join()
            servers[victim] = stack.enter_context(QuickServer(servers[victim].folder, "--store", url, port=servers[victim].port))
        stored = reached(url)
        with caller(addresses[0], one.token) as ask_one, caller(addresses[1], one.token) as ask_other:
            record.check_again(ask_one, stored)
            record.check_again(ask_other, stored)
            for trial, (epoch, _) in record.answers.items():
                different += ask_one(report_of(trial, epoch)) != ask_other(report_of(trial, epoch))
        n_lost = lost(record.values, record.stopped, url)
    figures = {
        "kills": n_kills, "acks": record.acks, "lost": n_lost, "stops": len(record.stopped), "reversals": record.reversals,
        "changed answers": record.changed, "different answers of the two": different,
    }  # fmt: skip
    kept = not (n_lost or record.reversals or record.changed or different)
    return Found(figures, kept and record.acks >= n_kills * acks_between and bool(record.stopped))


PROOFS = (
    Proof(
        17,
        "PostgreSQL restarts under load",
        "0 missing over 20 restarts",
        restarts,
        full={"n_restarts": 20, "acks_between": 500},
        short={"n_restarts": 2, "acks_between": 100},
        needs=("psycopg", "postgresql"),
    ),
    Proof(
        3,
        "two servers on one PostgreSQL, one killed under load",
        "0 lost, 0 doubled, 0 reversals; both give the same answers",
        two_servers,
        full={"n_kills": 12, "acks_between": 1_000},
        short={"n_kills": 2, "acks_between": 200},
        needs=("psycopg", "postgresql"),
    ),
)
