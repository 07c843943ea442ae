"""How long does an answer take beside a bare gRPC echo of the same messages, and beside Optuna's storage proxy?

Echo and service run in processes of their own on loopback and are called in turn, round after round, so that a busy machine
slows both. `Report` is stored durably and returns a decision of the default policy on fitted models; `Predict` stores nothing.
A batch has 64 reports or curves, of workers that are equally far.
The time of one fsync of the same folder is printed beside it: a report cannot be acknowledged sooner. So are the microseconds of
CPU that the server's process takes for a call: a busy machine changes them less than the time on the clock.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python -m benchmarks.service.rpc_latency
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from benchmarks import benchmark_cli
from benchmarks.service.rpc_load import MAX_EPOCHS, STUDY, Latencies, Load, curve, run
from benchmarks.service.rpc_servers import Serving, optuna_latencies, serving, some_report_response
from curvestop.clients.remote.study_requests import Requests, decision_of
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings

BATCH = 64
CASES = (
    ("Predict", 1),
    ("Report", 1),
    ("Report", 16),
    ("Report", 64),
    ("ReportBatch", 1),
    ("ReportBatch", 4),
    ("PredictBatch", 1),
)


@dataclass(frozen=True)
class Round:
    """Calls of one case to one server. cpu_us: CPU microseconds of the server for each of them."""

    latencies: Latencies
    cpu_us: float


@dataclass(frozen=True)
class Compared:
    """One case: calls of ours and of the echo, all rounds together, and the ratios of the rounds: ours over the echo.

    ours_cpu_us, echo_cpu_us: CPU microseconds of the server for a call, medians of the rounds.
    """

    ours: Latencies
    echo: Latencies
    throughput: float
    p50: float
    p99: float
    ours_cpu_us: float
    echo_cpu_us: float


def compared(measured: Sequence[tuple[Round, Round]]) -> Compared:
    """Medians over the rounds' ratios: a round that something else disturbed does not count."""
    rounds = [(ours.latencies, echo.latencies) for ours, echo in measured]
    ours, echo = (joined(side) for side in zip(*rounds, strict=True))
    return Compared(
        ours,
        echo,
        float(np.median([o.per_s / e.per_s for o, e in rounds])),
        float(np.median([o.quantile(0.5) / e.quantile(0.5) for o, e in rounds])),
        float(np.median([o.quantile(0.99) / e.quantile(0.99) for o, e in rounds])),
        float(np.median([o.cpu_us for o, _ in measured])),
        float(np.median([e.cpu_us for _, e in measured])),
    )


def joined(parts: Iterable[Latencies]) -> Latencies:
    parts = tuple(parts)
    return Latencies(np.concatenate([part.us for part in parts]), sum(part.wall_s for part in parts))


def measured(folder: Path, *, calls: int, rounds: int, seed: int) -> dict[tuple[str, int], Compared]:
    results: dict[tuple[str, int], list[tuple[Round, Round]]] = {case: [] for case in CASES}
    with serving("echo") as echo, serving("ours", str(folder), str(seed)) as ours:
        for number in range(rounds):
            for call, trainers in CASES:
                n_calls = max(20, calls // trainers // (BATCH // 4 if call.endswith("Batch") else 1))
                name = f"{number}-{call}-{trainers}"
                one, other = (loaded(server, call, trainers, n_calls, seed, name) for server in (ours, echo))
                results[call, trainers].append((one, other))
    return {case: compared(pairs) for case, pairs in results.items()}


def loaded(server: Serving, call: str, trainers: int, n_calls: int, seed: int, name: str) -> Round:
    printed, before_s = server.printed, server.cpu_s()
    latencies = run(Load(printed["target"], printed["token"], call, trainers, n_calls, seed, name, BATCH))
    return Round(latencies, 1e6 * (server.cpu_s() - before_s) / len(latencies.us))


def proxy(folder: Path, *, n_trials: int, n_calls: int, seed: int) -> Latencies:
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with serving("optuna", str(folder), str(n_trials), str(seed)) as server:
        return optuna_latencies(server.printed["port"], n_calls=n_calls, seed=seed)


def fsync_us(folder: Path, repeats: int = 50) -> float:
    """Median time of an fsync of a page just written."""
    times = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(repeats):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter_ns()
            os.fsync(file.fileno())
            times.append((time.perf_counter_ns() - began) / 1e3)
    return float(np.median(times))


def client_us(seed: int, n_reports: int = 2000) -> float:
    """CPU microseconds of a client's own work for a report: to check and encode it, and to decode the answer; the median."""
    requests, rng = Requests(StudySettings(STUDY, MAX_EPOCHS, log_scaled=("lr",))), np.random.default_rng(seed)
    answer, times = some_report_response().SerializeToString(), []
    for number in range(n_reports // MAX_EPOCHS):
        configuration, values = curve(rng)
        for epoch, value in enumerate(values, start=1):
            began = time.thread_time_ns()
            prepared = requests.prepare(Report(f"trial-{number}", [value], configuration, epoch))
            for request in prepared.requests:
                request.SerializeToString()
            decision_of([pb.ReportResponse.FromString(answer)])
            times.append((time.thread_time_ns() - began) / 1e3)
    return float(np.median(times))


def row(name: str, side: str, latencies: Latencies, cpu_us: float | str = "") -> list[object]:
    return [name, side, latencies.per_s, latencies.quantile(0.5) / 1e3, latencies.quantile(0.99) / 1e3, cpu_us]


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--calls", type=int, default=1600, help="calls of a case and round, of all trainers together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--proxy-trials", type=int, default=500, help="complete trials in Optuna's storage; 0 leaves it out")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        disk_us = fsync_us(Path(folder))
        cases = measured(Path(folder) / "data", calls=options.calls, rounds=options.rounds, seed=options.seed)
        theirs = None
        if options.proxy_trials:
            theirs = proxy(Path(folder), n_trials=options.proxy_trials, n_calls=100, seed=options.seed)
    rows, ratios = [], []
    for (call, trainers), case in cases.items():
        name = f"{call} x {trainers}"
        rows += [row(name, "ours", case.ours, case.ours_cpu_us), row(name, "echo", case.echo, case.echo_cpu_us)]
        ratios.append([name, case.throughput, case.p50, case.p99])
    if theirs is not None:
        rows.append(row(f"report + should_prune at {options.proxy_trials} trials", "Optuna's proxy", theirs))
    columns = ["call x trainers", "server", "calls/s", "p50 ms", "p99 ms", "server CPU us a call"]
    benchmark_cli.show(f"calls on loopback; one fsync here: {disk_us / 1e3:.2f} ms", columns, rows)
    benchmark_cli.show("ours / echo, medians of the rounds", ["call x trainers", "throughput", "p50", "p99"], ratios)
    report = cases["Report", 1].ours.quantile(0.5)
    headline = {
        "predict_p50_ratio": round(cases["Predict", 1].p50, 2),
        "report16_throughput_ratio": round(cases["Report", 16].throughput, 2),
        "report16_p99_ratio": round(cases["Report", 16].p99, 2),
        "batch64_us_per_decision": round(cases["ReportBatch", 1].ours.quantile(0.5) / BATCH, 1),
        "predict_batch64_us_per_curve": round(cases["PredictBatch", 1].ours.quantile(0.5) / BATCH, 1),
        "client_us_per_report": round(client_us(options.seed), 1),
        "server_cpu_us": {f"{call} x {trainers}": round(case.ours_cpu_us) for (call, trainers), case in cases.items()},
        "optuna_proxy_p50_ratio": None if theirs is None else round(theirs.quantile(0.5) / report, 1),
    }
    details = {
        "fsync_us": disk_us,
        "batches_in_flight_4_us_per_decision": 1e6 / (cases["ReportBatch", 4].ours.per_s * BATCH),
        "rows": rows,
        "ratios": ratios,
    }
    benchmark_cli.conclude(options.out, "rpc_latency", headline, details)


if __name__ == "__main__":
    main()
