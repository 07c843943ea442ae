"""A real Slurm on this machine, with its files in a temporary folder: munged, slurmctld, and two nodes of two CPUs each."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_min_interval=1000,sched_interval=1,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
KillWait=5
SlurmdParameters=config_overrides
NodeName=n[0-1] NodeHostname={host} Port=[{ports[1]}-{ports[2]}] CPUs=2 CoresPerSocket=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

MUNGE_FILES = {
    "key-file": "key",
    "socket": "sock",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}

START_S = 60.0


class SlurmCluster:
    """Commands of Slurm find it by SLURM_CONF, which is set in this process while the context lives.

    Args:
        folder: An empty folder for its configuration, state and logs, with a path short enough for a socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        folder = self._folder
        for name in ("state", "spool-n0", "spool-n1"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        host, ports = socket.gethostname().partition(".")[0], free_ports(3)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, ports=ports))
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        files = [f"--{name}={folder}/munge.{suffix}" for name, suffix in MUNGE_FILES.items()]
        try:
            self._start("munged", "--foreground", "--force", *files)
            self._wait_for(lambda: (folder / "munge.sock").exists())
            self._start("slurmctld", "-D")
            for node in ("n0", "n1"):
                self._start("slurmd", "-D", "-N", node)
            self._wait_for(lambda: run("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle", "idle"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all its processes."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        del os.environ["SLURM_CONF"]

    def _start(self, *command: str) -> None:
        with (self._folder / "output.txt").open("ab") as output:
            self._processes.append(subprocess.Popen(command, stdout=output, stderr=output))

    def _wait_for(self, is_ready: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + START_S
        while not is_ready():
            ended = [process.args for process in self._processes if process.poll() is not None]
            if ended or time.monotonic() > give_up_at:
                raise RuntimeError(f"Slurm does not start ({ended}): {(self._folder / 'output.txt').read_text()}")
            time.sleep(0.05)


def run(*command: str) -> str:
    """Return what a command of Slurm prints; nothing if it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def free_ports(n: int) -> list[int]:
    """Return so many ports in a row that were free a moment ago."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.create_server(("", 0))).getsockname()[1]
            try:
                for port in range(first + 1, first + n):
                    stack.enter_context(socket.create_server(("", port)))
            except (OSError, OverflowError):
                continue
            return list(range(first, first + n))
