"""Promises 6 and 7: a server that is away in any way costs a training one deadline, and a fork never hangs."""

from __future__ import annotations

import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from tests.contracts import last_seen
from tests.proofs.proof import Found, Proof
from tests.proofs.proxy import Fault, FaultProxy
from tests.proofs.quick_server import QuickServer
from tests.proofs.slow_links import tls_server

DEADLINE_S = 1.0
EPOCH_S = 0.02
SLACK_S = 0.25  # of a busy machine
HEALING_S = 10.0
SLOW_S = 0.3
MINUTE_S = 59  # a little less: within the pause of a client
FORK_S = 30.0
SETTINGS = last_seen(max_epochs=1_000_000)


def incidents(folder: Path, *, seconds: int, round_trip_ms: int) -> Found:
    """Each kind of absence, all side by side, while a training goes on; and after it, until all that was reported has arrived.

    round_trip_ms: 0 for no TLS and no latency.
    """
    kinds: dict[str, Fault | None] = {
        "refused": "refuse", "swallowed": "swallow", "5 s late": "delay", "garbled": "garble", "frozen": None,
    }  # fmt: skip
    figures: dict[str, int | float | str] = {}
    kept = True

    round_trip_s, n_told = round_trip_ms / 1000, 0
    (first, tls), (second, tls_of_frozen) = (
        tls_server(folder / name) if round_trip_ms else (QuickServer(folder / name), None) for name in ("all", "frozen")
    )

    def had(name: str, fault: Fault | None) -> tuple[float, float, int, bool, bool]:
        server, its_tls = (first, tls) if fault else (second, tls_of_frozen)
        with FaultProxy(server.port, round_trip_s=round_trip_s) as proxy:
            return *incident(server, proxy, fault, seconds, trial=name, tls=its_tls), told_twice(told, proxy.address)

    with first, second, listening() as told, ThreadPoolExecutor(len(kinds)) as pool:
        found = {name: pool.submit(had, name, fault) for name, fault in kinds.items()}
        for name, future in found.items():
            added_s, healed_s, n_slow, exact, is_told = future.result()
            figures[f"s added, server {name}"] = round(added_s, 2)
            figures[f"s to arrive after {name}"] = round(healed_s, 1)
            n_told += is_told
            kept &= added_s <= DEADLINE_S + SLACK_S and healed_s <= HEALING_S and exact and is_told
            kept &= n_slow <= 1 + seconds // MINUTE_S
        told.clear()
        added_s = wrong_token(first.address, tls)
        figures |= {"told when they began and ended": n_told, "s added, wrong token": round(added_s, 2), "warnings": len(told)}
        return Found(figures, kept and added_s <= DEADLINE_S + SLACK_S and len(told) == 1)


@contextmanager
def listening() -> Iterator[list[str]]:
    """The warnings of all clients, as they come."""
    told: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    handler = Listening(logging.WARNING)
    logging.getLogger("curvestop.clients").addHandler(handler)
    try:
        yield told
    finally:
        logging.getLogger("curvestop.clients").removeHandler(handler)


def told_twice(told: Sequence[str], address: str) -> bool:
    """Whether a person was told when a server was away, and when it was over, and nothing else."""
    of_this = [message.removeprefix(f"server {address} ") for message in told if address in message]
    return len(of_this) == 2 and of_this[0].startswith("does not answer: ") and of_this[1].startswith("answers again after ")


def incident(
    server: QuickServer, proxy: FaultProxy, fault: Fault | None, seconds: int, *, trial: str, tls: ClientTls | None
) -> tuple[float, float, int, bool]:
    """Seconds added in the first minute, seconds afterwards until all had arrived, slow calls, whether all is exact.

    Added is what calls took beyond the median of those before the incident.
    """
    study = connect(proxy.address, SETTINGS, token=server.token, deadline_s=DEADLINE_S, tls=tls)
    times: list[float] = []
    epoch = 0

    def train(while_: Callable[[], bool]) -> None:
        nonlocal epoch
        while while_():
            epoch += 1
            began = time.monotonic()
            study.report(trial, [epoch / 7], first_epoch=epoch)
            times.append(time.monotonic() - began)
            time.sleep(EPOCH_S)

    train(lambda: epoch < 20)
    usual_s = statistics.median(times)
    begin = time.monotonic()
    with absent(server, proxy, fault):
        times.clear()
        train(lambda: time.monotonic() - begin < min(seconds, MINUTE_S))
        added_s = sum(max(0.0, t - usual_s) for t in times)
        train(lambda: time.monotonic() - begin < seconds)
        n_slow = sum(t > SLOW_S + usual_s for t in times)
    healed = time.monotonic()
    train(lambda: not study._outbox.is_empty() and time.monotonic() - healed < 3 * HEALING_S)
    healed_s = time.monotonic() - healed
    study.close()
    values = stored(server, trial, tls)
    exact = values == [e / 7 for e in range(1, epoch + 1)]
    return added_s, healed_s, n_slow, exact


@contextmanager
def absent(server: QuickServer, proxy: FaultProxy, fault: Fault | None) -> Iterator[None]:
    if fault is None:
        server.send(signal.SIGSTOP)
    else:
        proxy.start(fault)
    try:
        yield
    finally:
        if fault is None:
            server.send(signal.SIGCONT)
        else:
            proxy.stop()


def stored(server: QuickServer, trial: str, tls: ClientTls | None) -> list[float]:
    with connect(server.address, SETTINGS, token=server.token, deadline_s=30.0, tls=tls) as direct:
        return next(list(t.values) for t in direct.trials() if t.trial == trial)


def wrong_token(address: str, tls: ClientTls | None) -> float:
    """Seconds that calls took."""
    study = connect(address, SETTINGS, token="wrong", deadline_s=DEADLINE_S, tls=tls)
    begin = time.monotonic()
    for epoch in range(1, 101):
        study.report("denied", [0.1], first_epoch=epoch)
    seconds = time.monotonic() - begin
    study._sender.close()
    return seconds


def forks(folder: Path, *, n_forks: int) -> Found:
    with QuickServer(folder / "data") as server:
        command = [sys.executable, "-W", "ignore", "-m", __name__, server.address, server.token, str(n_forks)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=n_forks * FORK_S)
    if ended.returncode != 0:
        raise AssertionError(ended.stderr[-2000:])
    figures = json.loads(ended.stdout.splitlines()[-1])
    well = not figures["hung"] and not figures["crashed"] and figures["s for the slowest"] < FORK_S
    return Found(figures, well and figures["forks"] == n_forks)


def fork_under_load(address: str, token: str, n_forks: int) -> dict[str, float]:
    """Fork while threads report. Every other child reports too, the rest only ends, as a data loader's worker does."""
    study = connect(address, SETTINGS, token=token, deadline_s=20.0)
    study.report("first", [0.1])
    done = threading.Event()

    def report(trial: str) -> None:
        epoch = 0
        while not done.is_set():
            epoch += 1
            study.report(trial, [0.1], first_epoch=epoch)

    threads = [threading.Thread(target=report, args=(f"load-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    found: dict[str, float] = {"forks": 0, "hung": 0, "crashed": 0, "reported": 0, "s for the slowest": 0.0}
    for number in range(n_forks):
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _live_as_a_child(study, number)
        found["forks"] += 1
        found["s for the slowest"] = round(max(found["s for the slowest"], time.monotonic() - began), 3)
        status = _wait(child)
        found["hung"] += status is None
        if status not in (None, 0, 3):
            found["crashed"] += 1
            print(f"fork {number} ended with {status}", file=sys.stderr, flush=True)
        found["reported"] += status == 3
    done.set()
    for thread in threads:
        thread.join()
    return found


def _live_as_a_child(study: RemoteStudy, number: int) -> None:
    if number % 2:
        sys.exit(0)  # with all finalizers
    answered = "does not answer" not in study.report(f"child-{number}", [0.5]).reason
    os._exit(3 if answered else 0)


def _wait(child: int) -> int | None:
    """The exit status; None when it had to be killed."""
    deadline = time.monotonic() + FORK_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)  # there is no event for this
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main(address: str, token: str, n_forks: str) -> None:
    pid = os.getpid()
    try:
        print(json.dumps(fork_under_load(address, token, int(n_forks))), flush=True)
    except SystemExit:
        assert os.getpid() != pid
        raise
    os._exit(0)


PROOFS = (
    Proof(
        6,
        "a server that is away",
        "<= 1 s added per incident, <= 1 slow call a minute, all arrived <= 10 s after it, told twice, no exception",
        incidents,
        full={"seconds": 65, "round_trip_ms": 0},
        short={"seconds": 2, "round_trip_ms": 0},
    ),
    Proof(
        6,
        "a server that is away, over TLS with 0.1 s of round trip",
        "the same; a person is told when it begins and when it is over",
        incidents,
        full={"seconds": 65, "round_trip_ms": 100},
        short={"seconds": 2, "round_trip_ms": 100},
    ),
    Proof(
        7,
        "forks under load",
        "200 forks, 0 hangs, 0 crashes",
        forks,
        full={"n_forks": 200},
        short={"n_forks": 8},
    ),
)

if __name__ == "__main__":
    main(*sys.argv[1:])
