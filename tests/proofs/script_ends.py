"""Promise 21: the end of a script sends what waits, or says what it could not send."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from curvestop.clients.remote.end_of_process import END_S
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from tests.contracts import last_seen
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer

AT_ONCE = 4
AWAY_S = 2.0
SLACK_S = 2.0  # of a busy machine, and of an interpreter that ends
SETTINGS = last_seen(max_epochs=10)
UNSENT = "study 's': 1 value and the end of 1 trial could not be sent ("


@dataclass(frozen=True)
class Ending:
    """How a script ends, and what its server does from the script's last report on.

    how: "line" (the last one), "with", "child" (of `multiprocessing`), "error", or "SIGTERM".
    comes_back: after AWAY_S; else never.
    """

    how: str
    comes_back: bool


ENDINGS = [Ending(how, back) for how in ("line", "SIGTERM", "child", "with", "error") for back in (True, False)]


def script_ends(folder: Path, *, endings: int, times: int) -> Found:
    """A server is frozen before the last report of a script."""
    chosen = ENDINGS[:endings] * times
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(ended, chosen, [folder / f"data{n}" for n in range(len(chosen))]))
    arrived = [exact for ending, (exact, _, _) in zip(chosen, results, strict=True) if ending.comes_back]
    told = [told for ending, (_, told, _) in zip(chosen, results, strict=True) if not ending.comes_back]
    slowest_s = max(seconds for *_, seconds in results)
    figures = {
        "scripts": len(chosen), "arrived": sum(arrived), "of": len(arrived), "not sent and told with the count": sum(told),
        "of these": len(told), "s to end at most": round(slowest_s, 1),
    }  # fmt: skip
    return Found(figures, all(arrived) and all(told) and slowest_s <= END_S + SLACK_S)


def ended(ending: Ending, data: Path) -> tuple[bool, bool, float]:
    """Whether all that the script reported is on the server, whether it said that it is not, and how long it took to end."""
    with QuickServer(data) as server:
        command = [sys.executable, "-m", __name__, server.address, server.token, str(server._process.pid), ending.how]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as script:
            assert script.stdout is not None
            assert script.stdout.readline() == "reported\n"
            began = time.monotonic()
            if ending.how == "SIGTERM":
                script.send_signal(signal.SIGTERM)
            if ending.comes_back:
                time.sleep(AWAY_S)  # an outage
                server.send(signal.SIGCONT)
            _, errors = script.communicate()
            seconds = time.monotonic() - began
        expected = {"SIGTERM": -signal.SIGTERM, "error": 1}.get(ending.how, 0)
        assert script.returncode == expected, (script.returncode, errors)
        server.send(signal.SIGCONT)
        with connect(server.address, SETTINGS, token=server.token, deadline_s=30.0) as study:
            (trial,) = study.trials()
    return (trial.values, trial.state) == ((0.1, 0.2), "finished"), errors.count(UNSENT) == 1, seconds


def script(address: str, token: str, server: str, how: str) -> None:
    if how == "child":
        process = get_context("fork").Process(target=train, args=(address, token, int(server)))
        process.start()
        process.join()
    elif how == "with":
        with connect(address, SETTINGS, token=token) as study:
            train(address, token, int(server), study)
    else:
        train(address, token, int(server))
    if how == "error":
        raise ValueError("the script's own")
    if how == "SIGTERM":
        time.sleep(60)


def train(address: str, token: str, server: int, study: RemoteStudy | None = None) -> None:
    study = study or connect(address, SETTINGS, token=token)
    study.report("t", 0.1)
    freeze(server)
    study.report("t", 0.2, first_epoch=2)
    study.finish("t")
    print("reported", flush=True)


def freeze(process: int) -> None:
    """Stop a process until SIGCONT; returns when no thread of it does anything any more."""
    os.kill(process, signal.SIGSTOP)
    threads = list(Path(f"/proc/{process}/task").iterdir())
    while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads):
        time.sleep(0.001)  # there is no event for this


PROOFS = (
    Proof(
        21,
        "the end of a script",
        "last line, SIGTERM, a child, `with`, an error: all arrives, or a warning has the count, within 5 s",
        script_ends,
        full={"endings": len(ENDINGS), "times": 2},
        short={"endings": 4, "times": 1},
    ),
)

if __name__ == "__main__":
    script(*sys.argv[1:])
