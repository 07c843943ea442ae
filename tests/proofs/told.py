"""Promise 22: whoever must know is told once when something begins and once when it is over, and every reason has the cause."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from curvestop.clients.remote.remote_study import connect
from tests.contracts import last_seen
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer

SETTINGS = last_seen(max_epochs=1_000_000)
AT_ONCE, EPOCH_S = 3, 0.02
AWAY_S = 1.0
HEALING_S = 8.0
BEGINS, ENDS = r"server \S+ does not answer: .*", r"server \S+ answers again after \d+ s: .*"
LOST, REFUSES, UNSENT = r"server \S+ has lost .*", r"server \S+ refuses this", r"study 's': .* could not be sent .*"
CORRECT = r"\. No trial is stopped and no value is stored until this is corrected\."


@dataclass(frozen=True)
class Heard:
    """The lines of a training's log, the reasons that were not the server's, and how many epochs it had."""

    lines: list[str]
    reasons: list[str]
    n_epochs: int


@dataclass(frozen=True)
class Case:
    """What goes wrong, the lines that the log must have, and what is in each reason that is not the server's.

    happens: takes a folder; starts a server and a training, and does what goes wrong.
    """

    name: str
    happens: Callable[[Path], Heard]
    lines: tuple[str, ...]
    cause: str

    def is_told(self, folder: Path) -> bool:
        folder.mkdir()
        heard = self.happens(folder)
        matches = [re.fullmatch(pattern, line) for pattern, line in zip(self.lines, heard.lines, strict=False)]
        well = len(heard.lines) == len(self.lines) and all(matches) and all(self.cause in reason for reason in heard.reasons)
        if not well:
            print(self.name, *heard.lines, *sorted(set(heard.reasons)), sep="\n  ", file=sys.stderr)
        return well


class Training:
    """A training in a process of its own, until `end`; made after its first report."""

    def __init__(self, address: str, token: str) -> None:
        command = [sys.executable, "-m", __name__, address, token]
        self._process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def end(self) -> Heard:
        output, errors = self._process.communicate("end\n")
        assert self._process.returncode == 0, errors
        return Heard(errors.splitlines(), *json.loads(output))


def outage(folder: Path) -> Heard:
    with QuickServer(folder / "data") as server:
        training = Training(server.address, server.token)
        server.kill()
        time.sleep(AWAY_S)  # an outage
        with QuickServer(folder / "data", port=server.port):
            time.sleep(HEALING_S)
            return training.end()


def wrong_port(folder: Path) -> Heard:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        training = Training(f"127.0.0.1:{nobody.getsockname()[1]}", "any")
        time.sleep(AWAY_S)
        return training.end()


def wrong_token(folder: Path) -> Heard:
    with QuickServer(folder / "data") as server:
        training = Training(server.address, "wrong")
        time.sleep(AWAY_S)
        return training.end()


def quota(folder: Path) -> Heard:
    with QuickServer(folder / "data", "--max-entries", "20") as server:
        training = Training(server.address, server.token)
        time.sleep(AWAY_S)
        return training.end()


def emptied(folder: Path) -> Heard:
    with QuickServer(folder / "data") as server:
        training, token = Training(server.address, server.token), server.token
        server.send(signal.SIGTERM)
        server.wait()
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "token").touch(mode=0o600)
    (folder / "data" / "token").write_text(token)
    with QuickServer(folder / "data", port=server.port) as again:
        time.sleep(HEALING_S)
        heard = training.end()
        with connect(again.address, SETTINGS, token=token, deadline_s=30.0) as study:
            (trial,) = study.trials()
        assert trial.values == tuple(epoch / 7 for epoch in range(1, heard.n_epochs + 1)), "not all values came again"
        return heard


CASES = (
    Case("outage", outage, (BEGINS, ENDS), "does not answer (it cannot be reached: "),
    Case("emptied", emptied, (BEGINS, LOST, ENDS), "does not answer ("),
    Case("quota", quota, (rf"{REFUSES} call: a tenant may store .*{CORRECT}", UNSENT), "refuses this call (a tenant may store"),
    Case("wrong port", wrong_port, (rf"{BEGINS}nothing listens .*", UNSENT), "nothing listens on that port"),
    Case("wrong token", wrong_token, (rf"{REFUSES} client: .*{CORRECT}", UNSENT), "the token is missing or wrong"),
)


def told(folder: Path, *, cases: int) -> Found:
    """The log of a training process, in each case."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda case: case.is_told(folder / case.name), CASES[:cases]))
    figures = {case.name: "told" if well else "NOT as it should be" for case, well in zip(CASES, results, strict=False)}
    return Found(figures, all(results))


def train(address: str, token: str) -> None:
    """Report until a line comes; then print the reasons that were not the server's, and the number of epochs."""
    ends = threading.Event()

    def wait_for_a_line() -> None:
        sys.stdin.readline()
        ends.set()

    threading.Thread(target=wait_for_a_line, daemon=True).start()
    reasons, epoch = [], 0
    with connect(address, SETTINGS, token=token) as study:
        while not ends.is_set():
            epoch += 1
            reason = study.report("t", epoch / 7, first_epoch=epoch).reason
            if reason.startswith("server "):
                reasons.append(reason)
            if epoch == 1:
                print("reported", flush=True)
            ends.wait(EPOCH_S)
    print(json.dumps([reasons, epoch]))


PROOFS = (
    Proof(
        22,
        "a person is told",
        "outage, emptied store, quota, wrong port or token: a line when it begins, one when it ends, its cause in all reasons",
        told,
        full={"cases": len(CASES)},
        short={"cases": len(CASES)},
    ),
)

if __name__ == "__main__":
    train(*sys.argv[1:])
