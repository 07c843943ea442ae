"""A run whose driver, workers and server are killed at random moments ends with the table of a run that nobody disturbed."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer

SPACE = '[x]\ntype = "float"\nlow = 0.5\nhigh = 1.0\n\n[y]\ntype = "float"\nlow = 0.2\nhigh = 0.9\n'

TRAIN = """
import itertools, random, time

def train(configuration, checkpoint_dir, first_epoch):
    for epoch in itertools.count(first_epoch):
        time.sleep(0.02)
        noise = random.Random(f"{configuration['x']} {epoch}").gauss(0.0, 0.01)
        (checkpoint_dir / "epoch").write_text(str(epoch))
        yield configuration["x"] * (1 - configuration["y"] ** epoch) + noise
"""

ARGUMENTS = (
    "--space", "space.toml", "--max-epochs", "9", "--workers", "2", "--reproducible", "--seed", "3", "--retries", "100",
    "--predictor", "ols", "--min-curves", "6", "--out", "run", "--sampler", "tpe",
)  # fmt: skip

POLL_S = 0.002


class Run:
    """`hyperband run` on a server, in a folder."""

    def __init__(self, folder: Path, mode: str, n_iterations: int) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "train.py").write_text(TRAIN)
        (folder / "space.toml").write_text(SPACE)
        self.server = QuickServer(folder / "data")
        # Eight full trainings are about as long as an iteration of Hyperband.
        size = ("--budget", str(8 * n_iterations)) if mode == "asha" else ("--iterations", str(n_iterations))
        more = ("--mode", mode, *size, "--server", self.server.address)
        self.process = self._start("run", "train.py", *ARGUMENTS, *more)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        paths = filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CURVESTOP_TOKEN": self.server.token}
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "curvestop.hyperband.cli", *arguments],
                cwd=self.folder, env=environment, stdout=output, stderr=output,
            )  # fmt: skip

    def n_lines(self) -> int:
        journal = self.folder / "run" / "journal.jsonl"
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    def wait_for(self, n_lines: int) -> bool:
        """Until its journal is so long; False when it is over before."""
        while self.n_lines() < n_lines:
            if self.process.poll() is not None:
                return False
            time.sleep(POLL_S)
        return True

    def kill_driver(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._start("resume", "run")

    def kill_worker(self) -> None:
        workers = children(self.process.pid)
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)

    def kill_server(self) -> None:
        port = self.server.port
        self.server.kill()
        self.server = QuickServer(self.folder / "data", port=port)

    def end(self) -> list[dict[str, Any]]:
        """The final table. Raises AssertionError when there is none."""
        status = self.process.wait()
        self.server.kill()
        assert status == 0, (self.folder / "output").read_text()[-2000:]
        trials: list[dict[str, Any]] = json.loads((self.folder / "run" / "results.json").read_text())["trials"]
        return trials


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "curvestop.hyperband.executors.worker_main" in line]


def same_table(folder: Path, *, mode: str, n_kills: int, n_iterations: int, seed: int = 0) -> Found:
    undisturbed = Run(folder / "undisturbed", mode, n_iterations)
    expected, n_lines = undisturbed.end(), undisturbed.n_lines()
    run, rng, n_done = Run(folder / "disturbed", mode, n_iterations), random.Random(seed), dict.fromkeys(VICTIMS, 0)
    moments = sorted(rng.sample(range(1, n_lines - 10), n_kills))
    for moment, victim in zip(moments, itertools.cycle(VICTIMS), strict=False):
        if run.wait_for(moment):
            VICTIMS[victim](run)
            n_done[victim] += 1
    trials = run.end()
    n_different = sum(a != b for a, b in zip(trials, expected, strict=False)) + abs(len(trials) - len(expected))
    figures = {
        **{f"{victim} kills": n for victim, n in n_done.items()},
        "trials": len(expected), "stops": sum(len(t["stops"]) for t in expected), "different": n_different,
    }  # fmt: skip
    return Found(figures, n_different == 0 and sum(n_done.values()) == n_kills and any(t["stops"] for t in expected))


VICTIMS = {"driver": Run.kill_driver, "worker": Run.kill_worker, "server": Run.kill_server}

PROOFS = tuple(
    Proof(
        20,
        f"hyperband run, {mode}: driver, worker and server killed in turn",
        "0 trials different from an undisturbed run's after 20 SIGKILLs",
        lambda folder, mode=mode, **counts: same_table(folder, mode=mode, **counts),
        full={"n_kills": 20, "n_iterations": 6},
        short={"n_kills": 3, "n_iterations": 2},
    )
    for mode in ("asha", "async", "sync")
)
