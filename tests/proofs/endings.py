"""Promises 10 and 11: a decision does not know what time it is, and SIGTERM loses nothing and takes its six seconds at most."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from curvestop.proto import early_stopping_pb2 as pb
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.trainers import N_EPOCHS, STUDY, Record, Trainers, caller, lost, prepare, report_of, value_of, wait_fitted
from tests.server_process import ServerProcess
from tests.system_programs import FAKETIME

STOP_S = 6.0
DAYS = 400
JUDGED = 9  # epochs


def drains(folder: Path, *, n_stops: int, acks_between: int) -> Found:
    """Stop a server under load again and again."""
    record, numbers, statuses, slowest_s = Record(), itertools.count(), set[int | None](), 0.0
    for _ in range(n_stops):
        with QuickServer(folder / "data") as server:
            prepare(server.address, server.token)
            trainers = Trainers(partial(caller, server.address, server.token), record, numbers=numbers, enough=acks_between)
            trainers.reached.wait()
            begin = time.monotonic()
            server.send(signal.SIGTERM)
            statuses.add(server.wait())
            slowest_s = max(slowest_s, time.monotonic() - begin)
            trainers.join()
    n_lost = lost(record.values, record.stopped, folder / "data" / "curves.db")
    figures: dict[str, int | float | str] = {
        "stops": n_stops, "acks": record.acks, "lost": n_lost, "exit statuses": str(statuses), "s at most": round(slowest_s, 1),
    }  # fmt: skip
    return Found(figures, n_lost == 0 and statuses == {0} and slowest_s <= STOP_S)


def clocks(folder: Path, *, n_jumps: int) -> Found:
    """The same reports to a server whose clock stands right, and to one whose clock jumps by years between them."""
    now = folder / "now"
    steady = decisions(folder / "steady", n_jumps, lambda _: None, {})

    def jump(number: int) -> None:
        now.write_text(f"{'+' if number % 2 else '-'}{DAYS}d\n")

    jump(0)
    faked = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(now), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
    jumping = decisions(folder / "jumping", n_jumps, jump, faked)
    different = sum(a != b for a, b in zip(steady, jumping, strict=True))
    stops = sum(decision.stop for decision in steady)
    n_models = len({decision.n_curves for decision in steady})
    figures = {
        "jumps": n_jumps, "days": DAYS, "decisions": len(steady), "stops": stops, "models": n_models, "different": different,
    }  # fmt: skip
    return Found(figures, different == 0 and 0 < stops < len(steady) and n_models >= 3)


def decisions(folder: Path, n_trials: int, before: Callable[[int], None], environment: dict[str, str]) -> list[pb.Decision]:
    """Of trials that end after their first epochs were judged, so that models are fitted again in between."""
    with ServerProcess(folder, environment=environment) as server:
        prepare(server.address, server.token)
        with caller(server.address, server.token) as call:
            answers = []
            for trial in range(n_trials):
                before(trial)
                answers += [call(report_of(trial, epoch)).decision for epoch in range(1, JUDGED + 1)]
                rest = [value_of(trial, epoch) for epoch in range(JUDGED + 1, N_EPOCHS + 1)]
                call(pb.ReportRequest(study=STUDY, trial=f"t{trial}", first_epoch=JUDGED + 1, values=rest))
                wait_fitted(call)
            return answers


PROOFS = (
    Proof(
        11,
        "SIGTERM under load",
        "20 stops, 0 lost, exit 0 in <= 6 s",
        drains,
        full={"n_stops": 20, "acks_between": 300},
        short={"n_stops": 2, "acks_between": 100},
    ),
    Proof(
        10,
        "a clock that jumps by 400 days",
        "50 jumps, the same decisions, with newer models in between",
        clocks,
        full={"n_jumps": 50},
        short={"n_jumps": 5},
        needs=("faketime",),
    ),
)
