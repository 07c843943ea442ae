"""A run whose driver, workers and server are killed at random moments ends with the table of a run that nobody disturbed."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer

SPACE = '[x]\ntype = "float"\nlow = 0.5\nhigh = 1.0\n\n[y]\ntype = "float"\nlow = 0.2\nhigh = 0.9\n'

PROGRAM = """
import sys, time
from pathlib import Path

x, y, folder, last_epoch = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
state = folder / "epoch"
for epoch in range(int(state.read_text()) + 1 if state.exists() else 1, last_epoch + 1):
    time.sleep(0.02)
    print(f"metric={x * (1 - y ** epoch)!r}", flush=True)
    state.write_text(str(epoch))
"""

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
    "--space", "space.toml", "--max-epochs", "9", "--workers", "2", "--seed", "3", "--retries", "100", "--out", "run",
)  # fmt: skip
REPRODUCIBLE = ("--reproducible", "--predictor", "ols", "--min-curves", "6", "--sampler", "tpe")
COMMAND = f"{sys.executable} program.py {{x}} {{y}} {{checkpoint_dir}} {{last_epoch}}"
GOLDEN = Path(__file__).parents[1] / "golden"
EARLIER = ("hyperband-run-1", "hyperband-run-2")
"""Runs that were killed, of commits before and after the journal had each trial's configuration."""

POLL_S = 0.002


class Run:
    """`hyperband run` on a server, in a folder, with these arguments beside `ARGUMENTS`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "train.py").write_text(TRAIN)
        (folder / "program.py").write_text(PROGRAM)
        (folder / "space.toml").write_text(SPACE)
        self.server = QuickServer(folder / "data")
        self.process = self._start("run", *ARGUMENTS, *arguments, "--server", self.server.address)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "curvestop.hyperband.cli", *arguments],
                cwd=self.folder, env={**environment(), "CURVESTOP_TOKEN": self.server.token}, stdout=output, stderr=output,
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


def disturbed(folder: Path, arguments: tuple[str, ...], *, n_lines: int, n_kills: int, seed: int) -> tuple[Run, dict[str, int]]:
    """A run that is killed at random places of its journal, which is so long without kills; and how often each was killed."""
    run, rng, n_done = Run(folder, *arguments), random.Random(seed), dict.fromkeys(VICTIMS, 0)
    moments = sorted(rng.sample(range(1, n_lines - 10), n_kills))
    for moment, victim in zip(moments, itertools.cycle(VICTIMS), strict=False):
        if run.wait_for(moment):
            VICTIMS[victim](run)
            n_done[victim] += 1
    return run, n_done


def same_table(folder: Path, *, mode: str, n_kills: int, n_iterations: int, seed: int = 0) -> Found:
    # Eight full trainings are about as long as an iteration of Hyperband.
    size = ("--budget", str(8 * n_iterations)) if mode == "asha" else ("--iterations", str(n_iterations))
    arguments = ("train.py", *REPRODUCIBLE, "--mode", mode, *size)
    undisturbed = Run(folder / "undisturbed", *arguments)
    expected, n_lines = undisturbed.end(), undisturbed.n_lines()
    run, n_done = disturbed(folder / "disturbed", arguments, n_lines=n_lines, n_kills=n_kills, seed=seed)
    trials = run.end()
    n_different = sum(a != b for a, b in zip(trials, expected, strict=False)) + abs(len(trials) - len(expected))
    figures = {
        **{f"{victim} kills": n for victim, n in n_done.items()},
        "trials": len(expected), "stops": sum(len(t["stops"]) for t in expected), "different": n_different,
    }  # fmt: skip
    return Found(figures, n_different == 0 and sum(n_done.values()) == n_kills and any(t["stops"] for t in expected))


def own_values(folder: Path, *, n_kills: int, budget: int, seed: int = 0) -> Found:
    """As most people run it: a command, and who comes first counts first. The table is another one, but no trial's is wrong."""
    arguments = ("--command", COMMAND, "--budget", str(budget))
    undisturbed = Run(folder / "undisturbed", *arguments)
    undisturbed.end()
    run, n_done = disturbed(folder / "disturbed", arguments, n_lines=undisturbed.n_lines(), n_kills=n_kills, seed=seed)
    trials = run.end()
    n_wrong, n_epochs = sum(not has_own_values(trial) for trial in trials), sum(len(trial["values"]) for trial in trials)
    figures = {
        **{f"{victim} kills": n for victim, n in n_done.items()}, "trials": len(trials), "epochs": n_epochs, "of": 9 * budget,
        "trials with values that are not their own": n_wrong,
    }  # fmt: skip
    is_whole = any(trial["state"] == "finished" for trial in trials) and 8 * (budget - 1) <= n_epochs <= 9 * budget
    return Found(figures, n_wrong == 0 and is_whole and all(n_done.values()))


def has_own_values(trial: dict[str, Any]) -> bool:
    """Whether the values are those that its configuration gives, and no epoch is missing or twice."""
    x, y = trial["configuration"]["x"], trial["configuration"]["y"]
    return bool(trial["values"] == [x * (1 - y**epoch) for epoch in range(1, len(trial["values"]) + 1)])


def upgrades(folder: Path, *, n_runs: int) -> Found:
    """Runs that earlier versions began and that were killed, resumed by this one."""
    n_wrong, n_ended, n_trials = 0, 0, 0
    for name in EARLIER[:n_runs]:
        here = folder / name
        shutil.copytree(GOLDEN / name, here)
        (here / "train.txt").rename(here / "train.py")
        settings = json.loads((here / "run" / "run.json").read_text())
        (here / "run" / "run.json").write_text(json.dumps({**settings, "script": str(here / "train.py")}))
        before = [json.loads(line) for line in (here / "run" / "journal.jsonl").read_text().splitlines()]
        command = [sys.executable, "-m", "curvestop.hyperband.cli", "resume", "run"]
        n_ended += subprocess.run(command, cwd=here, env=environment(), capture_output=True, check=False).returncode == 0
        trials = {trial["trial"]: trial for trial in json.loads((here / "run" / "results.json").read_text())["trials"]}
        reported: dict[str, list[float]] = {}
        for line in before:
            if line["kind"] == "report":
                reported.setdefault(line["trial"], []).append(line["value"])
        n_wrong += sum(trials[trial]["values"][: len(values)] != values for trial, values in reported.items())
        n_wrong += sum(not has_own_values(trial) for trial in trials.values())
        n_trials += len(trials)
    figures = {"runs": n_runs, "ended": n_ended, "trials": n_trials, "trials with values that are not their own": n_wrong}
    return Found(figures, n_ended == n_runs and n_wrong == 0)


def environment() -> dict[str, str]:
    paths = filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


VICTIMS = {"driver": Run.kill_driver, "worker": Run.kill_worker, "server": Run.kill_server}

PROOFS = (
    *(
        Proof(
            20,
            f"hyperband run, {mode}: driver, worker and server killed in turn",
            "0 trials different from an undisturbed run's after 20 SIGKILLs",
            lambda folder, mode=mode, **counts: same_table(folder, mode=mode, **counts),
            full={"n_kills": 20, "n_iterations": 6},
            short={"n_kills": n_kills, "n_iterations": 2},
        )
        for mode, n_kills in (("asha", 3), ("async", 1), ("sync", 1))
    ),
    Proof(
        20,
        "hyperband run as it comes, with --command: driver, worker and server killed in turn",
        "the run ends within its budget, and each trial has the values of its own configuration, after 20 SIGKILLs",
        own_values,
        full={"n_kills": 20, "budget": 40},
        short={"n_kills": 3, "budget": 6},
    ),
    Proof(
        20,
        "runs of earlier versions are resumed",
        "they end, with all that was in their journals",
        upgrades,
        full={"n_runs": len(EARLIER)},
        short={"n_runs": len(EARLIER)},
    ),
)
