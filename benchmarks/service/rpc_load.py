"""Trainers that call a server as fast as it answers: threads of a process of their own, so that their work is not the server's.

    python -m benchmarks.service.rpc_load '{"target": "127.0.0.1:7070", "token": "...", "call": "Report", "trainers": 16, ...}'

prints one JSON object: the wall time in seconds and every call's latency in microseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import numpy as np

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.srm.regression.features import Array

STUDY = "rpc-latency"
MAX_EPOCHS = 50
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Load:
    """call: Report, Predict, ReportBatch, PredictBatch. n_calls: of each trainer.

    prefix: of the trials' names; a new one each time.
    """

    target: str
    token: str
    call: str
    trainers: int
    n_calls: int
    seed: int
    prefix: str
    batch: int = 64


@dataclass(frozen=True)
class Latencies:
    """us: of every call. wall_s: from the first call to the last answer."""

    us: Array
    wall_s: float

    @property
    def per_s(self) -> float:
        return len(self.us) / self.wall_s

    def quantile(self, q: float) -> float:
        """In microseconds."""
        return float(np.quantile(self.us, q))


def run(load: Load) -> Latencies:
    """Put this load on a server from another process."""
    command = [sys.executable, "-m", "benchmarks.service.rpc_load", json.dumps(asdict(load))]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Latencies(np.array(answer["us"]), answer["wall_s"])


def curve(rng: np.random.Generator, n_epochs: int = MAX_EPOCHS) -> tuple[dict[str, float | int], list[float]]:
    """A rising curve that a learning rate and a width have a say in."""
    lr, width = 10 ** rng.uniform(-4, -1), int(rng.integers(1, 65))
    final = 0.9 - 0.1 * abs(rng.normal()) - lr
    values = final * (1 - 0.85 ** np.arange(1, n_epochs + 1)) + rng.normal(0, 0.004, n_epochs)
    return {"lr": lr, "width": width}, [float(value) for value in values]


def reports(prefix: str, rng: np.random.Generator) -> Iterator[pb.ReportRequest]:
    """A trainer's: epoch after epoch, trial after trial."""
    number = 0
    while True:
        configuration, values = curve(rng)
        encoded = codec.configuration_to_proto(configuration)
        for epoch, value in enumerate(values, start=1):
            yield pb.ReportRequest(
                study=STUDY,
                trial=f"{prefix}-{number}",
                first_epoch=epoch,
                values=[value],
                configuration=encoded,
                ask=True,
            )
        number += 1


def predictions(prefix: str, rng: np.random.Generator) -> Iterator[pb.PredictRequest]:
    """About a curve seen for 5 to 40 epochs, a different one each time."""
    while True:
        configuration, values = curve(rng)
        encoded = codec.configuration_to_proto(configuration)
        yield pb.PredictRequest(study=STUDY, values=values[: int(rng.integers(5, 41))], configuration=encoded)


def batches(prefix: str, rng: np.random.Generator, size: int) -> Iterator[pb.ReportBatchRequest]:
    """A driver's: one epoch of each of its workers."""
    workers = [reports(f"{prefix}-{worker}", rng) for worker in range(size)]
    while True:
        yield pb.ReportBatchRequest(study=STUDY, reports=[next(worker) for worker in workers])


def prediction_batches(prefix: str, rng: np.random.Generator, size: int) -> Iterator[pb.PredictBatchRequest]:
    """About curves of so many workers that are equally far."""
    while True:
        n_epochs, drawn = int(rng.integers(5, 41)), [curve(rng) for _ in range(size)]
        curves = [pb.PartialCurve(values=v[:n_epochs], configuration=codec.configuration_to_proto(c)) for c, v in drawn]
        yield pb.PredictBatchRequest(study=STUDY, curves=curves)


def requests_of(load: Load, trainer: int) -> list[Any]:
    rng = np.random.default_rng([load.seed, trainer])
    prefix = f"{load.prefix}-{trainer}"
    makers: dict[str, Callable[[], Iterator[Any]]] = {
        "Report": lambda: reports(prefix, rng),
        "Predict": lambda: predictions(prefix, rng),
        "ReportBatch": lambda: batches(prefix, rng, load.batch),
        "PredictBatch": lambda: prediction_batches(prefix, rng, load.batch),
    }
    stream = makers[load.call]()
    return [next(stream) for _ in range(load.n_calls)]


def main() -> None:
    load = Load(**json.loads(sys.argv[1]))
    metadata = (("authorization", f"Bearer {load.token}"),)
    credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    gate = threading.Barrier(load.trainers + 1)
    latencies: list[list[float]] = [[] for _ in range(load.trainers)]

    def train(trainer: int) -> None:
        todo = requests_of(load, trainer)
        mine = latencies[trainer]
        with grpc.secure_channel(load.target, credentials) as channel:
            call = getattr(EarlyStoppingStub(channel), load.call)  # type: ignore[no-untyped-call]
            grpc.channel_ready_future(channel).result(TIMEOUT_S)
            gate.wait()
            for request in todo:
                began = time.perf_counter_ns()
                call(request, timeout=TIMEOUT_S, metadata=metadata)
                mine.append((time.perf_counter_ns() - began) / 1e3)

    threads = [threading.Thread(target=train, args=(trainer,)) for trainer in range(load.trainers)]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    print(json.dumps({"wall_s": time.perf_counter() - began, "us": [us for mine in latencies for us in mine]}))


if __name__ == "__main__":
    main()
