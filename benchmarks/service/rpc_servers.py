"""The servers that `rpc_latency` calls, each in a process of its own: a bare echo, ours with fitted models, Optuna's proxy.

python -m benchmarks.service.rpc_servers echo|ours|optuna ...     # prints one line when it serves, then its CPU seconds at each
                                                                  # line of standard input; ends when standard input does
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import grpc
import numpy as np
import optuna
from optuna.storages import RDBStorage, run_grpc_proxy_server

from benchmarks.service.rpc_load import MAX_EPOCHS, STUDY, Latencies, curve
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.server.rpc.server import Server, prepare_process
from curvestop.server.rpc.tenant_pools import N_THREADS
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings

N_COMPLETE = 100
FIT_S = 120.0


@dataclass(frozen=True)
class Serving:
    """A server in another process.

    printed: What it said when it began to serve, such as {"target": ..., "token": ...}.
    ask: its standard input. answers: its standard output.
    """

    printed: dict[str, Any]
    ask: IO[str]
    answers: IO[str]

    def cpu_s(self) -> float:
        """Return the CPU seconds of all threads of the server so far."""
        self.ask.write("\n")
        self.ask.flush()
        return float(self.answers.readline())


@contextmanager
def serving(kind: str, *arguments: str) -> Iterator[Serving]:
    """A server as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service.rpc_servers", kind, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        try:
            yield Serving(json.loads(process.stdout.readline()), process.stdin, process.stdout)
        finally:
            process.stdin.close()
            process.wait()


def until_told(**printed: object) -> None:
    print(json.dumps(printed), flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)


def some_report_response() -> pb.ReportResponse:
    """An answer of usual size."""
    reason = "behind 21% of 130 others after 10 epochs; the best 60% go on"
    decision = pb.Decision(reason=reason, probability=0.3, prediction=pb.Prediction(mean=0.8, sigma=0.02), n_curves=100)
    return pb.ReportResponse(decision=decision)


def echo() -> None:
    """The same messages in and out, and nothing in between."""
    report = some_report_response()
    decision = report.decision
    answers: dict[str, tuple[Any, Any]] = {
        "Report": (pb.ReportRequest, report),
        "Predict": (pb.PredictRequest, pb.PredictResponse(prediction=decision.prediction)),
        "PredictBatch": (
            pb.PredictBatchRequest,
            pb.PredictBatchResponse(predictions=[pb.PredictResponse(prediction=decision.prediction)] * 64),
        ),
        "ReportBatch": (pb.ReportBatchRequest, pb.ReportBatchResponse(results=[pb.ReportResult(answer=report)] * 64)),
    }
    server = grpc.server(ThreadPoolExecutor(N_THREADS))
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            lambda request, context, answer=answer: answer,
            request_deserializer=request_type.FromString,
            response_serializer=type(answer).SerializeToString,
        )
        for name, (request_type, answer) in answers.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("curvestop.v1.EarlyStopping", methods),))
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP))
    server.start()
    until_told(target=f"127.0.0.1:{port}", token="none")
    server.stop(0)


def ours(folder: str, seed: str) -> None:
    """A study with complete curves and fitted models; its fits go on while it is asked, as in life."""
    prepare_process()
    rng = np.random.default_rng(int(seed))
    with Server(Path(folder), host="127.0.0.1", port=0) as server:
        server.registry.create(StudySettings(STUDY, MAX_EPOCHS, log_scaled=("lr",)))
        study = server.registry[STUDY]
        curves = [curve(rng) for _ in range(N_COMPLETE)]
        study.report_many([Report(f"complete-{n}", values, c, ask=False) for n, (c, values) in enumerate(curves)])
        if not server.registry.wait_fitted(FIT_S):
            raise TimeoutError(f"the models were not fitted within {FIT_S} s")
        until_told(target=server.address, token=server.token_path.read_text().strip())


def optuna_proxy(folder: str, n_trials: str, seed: str) -> None:
    """Optuna's gRPC storage proxy over SQLite, as its documentation starts it, with complete trials in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = RDBStorage(f"sqlite:///{folder}/optuna.db")
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    rng = np.random.default_rng(int(seed))
    for _ in range(int(n_trials)):
        _, values = curve(rng)
        study.add_trial(optuna.trial.create_trial(value=values[-1], intermediate_values=dict(enumerate(values, start=1))))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = partial(run_grpc_proxy_server, storage, host="127.0.0.1", port=port)
    threading.Thread(target=serve, daemon=True).start()
    until_told(port=port)


def optuna_latencies(port: int, *, n_calls: int, seed: int) -> Latencies:
    """`report` and `should_prune` of one trainer through the proxy."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
    storage.wait_server_ready(timeout=FIT_S)
    study = optuna.load_study(storage=storage, study_name=STUDY, pruner=optuna.pruners.MedianPruner())
    rng = np.random.default_rng(seed)
    latencies: list[float] = []
    began = time.perf_counter()
    while len(latencies) < n_calls:
        trial = study.ask()
        for epoch, value in enumerate(curve(rng)[1], start=1):
            call = time.perf_counter_ns()
            trial.report(value, epoch)
            trial.should_prune()
            latencies.append((time.perf_counter_ns() - call) / 1e3)
    storage.close()
    return Latencies(np.array(latencies), time.perf_counter() - began)


SERVERS: dict[str, Callable[..., None]] = {"echo": echo, "ours": ours, "optuna": optuna_proxy}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    SERVERS[sys.argv[1]](*sys.argv[2:])
