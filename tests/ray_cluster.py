"""A real Ray cluster on this machine: a head without CPUs, and nodes that can be killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.cluster_utils import Cluster

OF_A_NODE: dict[str, Any] = {"object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1", "include_dashboard": False}

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 5000,
}


class RayCluster:
    def __enter__(self) -> Self:
        head: dict[str, Any] = {**OF_A_NODE, "num_cpus": 0, "_system_config": QUICK_TO_NOTICE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            self.add_node()
        self._cluster.wait_for_nodes()
        ray.init(address=self.address, log_to_driver=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ray.shutdown()
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self) -> None:
        self._cluster.add_node(num_cpus=2, **OF_A_NODE)

    def kill_node_of(self, pid: int) -> None:
        """SIGKILL what runs the node on which this process is, as when the power fails."""
        ancestors = _ancestors(pid)
        for node in list(self._cluster.worker_nodes):
            raylets = {info.process.pid for info in node.all_processes["raylet"]}
            if raylets & ancestors:
                for raylet in raylets:
                    os.kill(raylet, signal.SIGKILL)
                self._cluster.remove_node(node, allow_graceful=False)
                return
        raise AssertionError(f"process {pid} is on none of the nodes")


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 1:
        status = Path(f"/proc/{pid}/status").read_text()
        pid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
        found.add(pid)
    return found
