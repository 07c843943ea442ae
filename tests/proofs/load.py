"""Promises 8 and 13: memory stays where it is, too many calls are told to come again, and one tenant's storm is not another's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import grpc
import numpy as np

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.server.rpc.tokens import add_token
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.storm import Storm
from tests.proofs.trainers import N_EPOCHS, STUDY, prepare, settings

WAIT_S = 60.0
SHARE = 0.2
MAX_CALLS = 32
AT_ONCE = 16
KNOWN_TRIALS = 20
ACCEPTED_MS, REFUSED_MS = 1000.0, 50.0


def stormed(storms: Sequence[Storm]) -> list[Storm]:
    """Each storm from a process of its own, all at once."""
    command = [sys.executable, "-m", "tests.proofs.storm"]
    processes = [subprocess.Popen([*command, json.dumps(asdict(storm))], stdout=subprocess.PIPE, text=True) for storm in storms]
    return [Storm(**json.loads(process.communicate()[0])) for process in processes]


def quantile(ms: Sequence[float], q: float) -> float:
    return float(np.quantile(ms, q)) if ms else 0.0


def overload(folder: Path, *, clients: int, seconds: int, processes: int, timed: int) -> Found:
    """Many more clients than the server lets in at once. timed: 0 where a busy machine shall not break the proof."""
    with QuickServer(folder / "data", "--max-calls", str(MAX_CALLS)) as server:
        prepare(server.address, server.token)
        storms = stormed([Storm(server.address, server.token, clients // processes, seconds, f"s{n}") for n in range(processes)])
        alive = server.wait(0.0) is None
    accepted = [ms for storm in storms for ms in storm.accepted_ms]
    refused = [ms for storm in storms for ms in storm.refused_ms]
    other = sum(storm.other for storm in storms)
    figures = {
        "accepted": len(accepted), "p99 ms": round(quantile(accepted, 0.99)), "refused": len(refused),
        "ms to refuse (p50)": round(quantile(refused, 0.5)), "ms to refuse (p99)": round(quantile(refused, 0.99)), "other": other,
    }  # fmt: skip
    in_time = not timed or (quantile(accepted, 0.99) <= ACCEPTED_MS and quantile(refused, 0.5) <= REFUSED_MS)
    return Found(figures, bool(alive and accepted and refused and in_time and not other))


def soak(folder: Path, *, n_reports: int) -> Found:
    """Trials that are reported again and again, as a client that repeats itself does: what memory does after the first fifth."""
    with QuickServer(folder / "data") as server, ExitStack() as opened:
        prepare(server.address, server.token)
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        stub = EarlyStoppingStub(opened.enter_context(grpc.secure_channel(server.address, credentials)))  # type: ignore[no-untyped-call]
        metadata = (("authorization", f"Bearer {server.token}"),)

        def report(n: int) -> None:
            def train(trainer: int) -> None:
                for number in range(trainer, n, AT_ONCE):
                    trial, epoch = f"soak-{number % KNOWN_TRIALS}", number // KNOWN_TRIALS % (N_EPOCHS - 1) + 1
                    request = pb.ReportRequest(study=STUDY, trial=trial, first_epoch=epoch, values=[0.5], ask=True)
                    stub.Report(request, timeout=WAIT_S, metadata=metadata)

            threads = [threading.Thread(target=train, args=(trainer,)) for trainer in range(AT_ONCE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        first = int(SHARE * n_reports)
        report(first)
        before_kib = resident_kib(server)
        report(n_reports - first)
        grown_mib = (resident_kib(server) - before_kib) / 1024
    per_100k = grown_mib / (n_reports - first) * 100_000
    figures = {"reports": n_reports, "MiB grown": round(grown_mib, 2), "MiB per 100k reports": round(per_100k, 2)}
    return Found(figures, grown_mib <= 1.0 + (n_reports - first) / 100_000)


def resident_kib(server: QuickServer, what: str = "VmRSS") -> int:
    """what: "VmHWM" for the largest so far."""
    status = Path(f"/proc/{server._process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1])


def neighbours(folder: Path, *, seconds: int, clients: int, timed: int) -> Found:
    """One trainer of a tenant, alone and while another tenant storms with what it is allowed."""
    with QuickServer(folder / "data", "--max-calls", "8") as server:
        prepare(server.address, server.token)
        token = add_token(folder / "data", "quiet", tenant="quiet")
        make_study(server.address, token)
        quiet = Storm(server.address, token, 1, seconds, "alone")
        loud = Storm(server.address, server.token, clients, seconds + 2, "loud")
        (alone,) = stormed([quiet])
        quiet.name = "beside"
        beside, storm = stormed([quiet, loud])
    ratio = quantile(beside.accepted_ms, 0.99) / quantile(alone.accepted_ms, 0.99)
    figures = {
        "p99 ms alone": round(quantile(alone.accepted_ms, 0.99), 1),
        "p99 ms in the storm": round(quantile(beside.accepted_ms, 0.99), 1),
        "times": round(ratio, 2), "refused of the quiet one": len(beside.refused_ms) + beside.other,
        "calls/s of the storm": round((len(storm.accepted_ms) + len(storm.refused_ms)) / storm.seconds),
    }  # fmt: skip
    return Found(figures, (ratio <= 2.0 or not timed) and not (beside.refused_ms or beside.other))


def make_study(address: str, token: str) -> None:
    credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    deadline = time.monotonic() + WAIT_S
    with grpc.secure_channel(address, credentials) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        request = pb.CreateStudyRequest(settings=codec.settings_to_proto(settings()))
        while True:
            try:
                stub.CreateStudy(request, timeout=WAIT_S, metadata=(("authorization", f"Bearer {token}"),))
                return
            except grpc.RpcError:  # a server looks for new tokens once a second
                assert time.monotonic() < deadline
                time.sleep(0.1)


PROOFS = (
    Proof(
        8,
        "400 clients at many times the capacity",
        "accepted p99 <= 1 s, the rest UNAVAILABLE with pushback in <= 50 ms",
        overload,
        full={"clients": 400, "seconds": 20, "processes": 4, "timed": 1},
        short={"clients": 80, "seconds": 2, "processes": 1, "timed": 0},
    ),
    Proof(
        8,
        "soak",
        ">= 150,000 reports, <= 1 MiB per 100k reports",
        soak,
        full={"n_reports": 150_000},
        short={"n_reports": 2_000},
    ),
    Proof(
        13,
        "a tenant's storm beside another tenant",
        "p99 of the other <= 2x, none of its calls refused",
        neighbours,
        full={"seconds": 20, "clients": 64, "timed": 1},
        short={"seconds": 2, "clients": 16, "timed": 0},
    ),
)
