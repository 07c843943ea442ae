"""Promises 2 and 12: whatever happens to a call on its way, a value is there once; whatever bytes come, none is our mistake."""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import grpc
from google.protobuf.message_factory import GetMessageClass

from curvestop.clients.remote.connection import ServerTrouble
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.server.rpc.interceptor import SERVICE
from tests.contracts import last_seen
from tests.proofs.proof import Found, Proof
from tests.proofs.proxy import Cut, FaultProxy
from tests.proofs.quick_server import QuickServer
from tests.proofs.trainers import N_EPOCHS, STUDY, Record, caller, lost, prepare, report_of

AT_ONCE = 8
RACERS = 50
WAIT_S = 30.0


def cuts(folder: Path, *, n_reports: int, every: int) -> Found:
    """Trainers that repeat a report until it is acknowledged, through a proxy that cuts one connection every few reports."""
    record, lock, numbers, n_tries = Record(), threading.Lock(), itertools.count(), itertools.count()
    kinds = itertools.cycle(get_args(Cut))
    with QuickServer(folder / "data") as server, FaultProxy(server.port) as proxy:
        prepare(server.address, server.token)

        def train() -> None:
            with caller(proxy.address, server.token) as call:
                while record.acks < n_reports:
                    with lock:
                        trial = next(numbers)
                    for epoch in range(1, N_EPOCHS + 1):
                        answer = repeated(call, trial, epoch)
                        with lock:
                            record.add(trial, epoch, answer)

        def repeated(call: Any, trial: int, epoch: int) -> Any:
            while True:
                if next(n_tries) % every == 0:
                    proxy.cut_next(next(kinds))
                try:
                    return call(report_of(trial, epoch))
                except ServerTrouble:
                    continue

        together(train, AT_ONCE)
    n_lost = lost(record.values, record.stopped, folder / "data" / "curves.db")  # raises for a row too many
    figures = {"reports": record.acks, "cuts": proxy.n_cuts, "lost or doubled": n_lost, "reversals": record.reversals}
    enough = record.acks >= n_reports and proxy.n_cuts >= n_reports / every / 2
    return Found(figures, enough and not (n_lost or record.reversals or record.changed))


def races(folder: Path, *, n_races: int) -> Found:
    """Fifty clients report another value of one epoch at the same time: one is stored, the others are told which."""
    wrong = 0
    with QuickServer(folder / "data") as server:
        prepare(server.address, server.token)
        for race in range(n_races):
            stored: list[float] = []
            gate = threading.Barrier(RACERS)
            numbers = itertools.count()

            def report(race: int = race, stored: list[float] = stored, gate: Any = gate, numbers: Any = numbers) -> None:
                value = next(numbers) / RACERS
                request = pb.ReportRequest(study=STUDY, trial=f"race-{race}", first_epoch=1, values=[value], ask=True)
                with caller(server.address, server.token) as call:
                    gate.wait()
                    conflicts = call(request).conflicts
                stored.append(conflicts[0].stored if conflicts else value)

            together(report, RACERS)
            wrong += len(stored) != RACERS or len(set(stored)) != 1
    return Found({"races of 50": n_races, "with more than one winner": wrong}, not wrong)


def mutants(folder: Path, *, n_requests: int) -> Found:
    """Valid requests with bytes changed, taken out, put in and cut off, or with strange values in their fields."""
    rng = random.Random(0)
    statuses: Counter[str] = Counter()
    with QuickServer(folder / "data") as server, ExitStack() as opened:
        prepare(server.address, server.token)
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        channel: Any = opened.enter_context(grpc.secure_channel(server.address, credentials))
        metadata = (("authorization", f"Bearer {server.token}"),)
        calls = {method: channel.unary_unary(f"/curvestop.v1.EarlyStopping/{method}") for method in valid_requests()}
        for method, request in valid_requests().items():
            calls[method](request, timeout=WAIT_S, metadata=metadata)  # answered as they are
        for number in range(n_requests):
            method, request = rng.choice(list(valid_requests().items()))
            try:
                changed = mutated(request, rng) if number % 2 else strange(method, request, rng)
                calls[method](changed, timeout=WAIT_S, metadata=metadata)
                statuses["OK"] += 1
            except grpc.RpcError as error:
                statuses[error.code().name] += 1
            if number % 1000 == 0:
                assert server.wait(0.0) is None, server.errors
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        before = stub.ListTrials(pb.ListTrialsRequest(study=STUDY), timeout=WAIT_S, metadata=metadata)
        server.kill()
    # A server starts on what they left, and knows the same.
    with QuickServer(folder / "data") as again, grpc.secure_channel(again.address, credentials) as to_again:
        stub = EarlyStoppingStub(to_again)  # type: ignore[no-untyped-call]
        after = stub.ListTrials(pb.ListTrialsRequest(study=STUDY), timeout=WAIT_S, metadata=metadata)
    differ = before != after
    ours = statuses["INTERNAL"] + statuses["UNKNOWN"] + statuses["UNAVAILABLE"] + statuses["DEADLINE_EXCEEDED"]
    return Found(
        {"requests": n_requests, "our mistakes": ours, **statuses, "differ after a restart": int(differ)}, not (ours or differ)
    )


def valid_requests() -> dict[str, bytes]:
    configuration = codec.configuration_to_proto({"lr": 0.1, "n": 3, "name": "x", "flag": True})
    report = pb.ReportRequest(
        study=STUDY, trial="m", first_epoch=1, values=[0.1, 0.2], configuration=configuration, target_epoch=9, ask=True
    )
    curve = pb.PartialCurve(values=[0.1, 0.2], configuration=configuration)
    requests: dict[str, Any] = {
        "Report": report,
        "ReportBatch": pb.ReportBatchRequest(study=STUDY, reports=[report, report]),
        "Predict": pb.PredictRequest(study=STUDY, values=[0.1], configuration=configuration, target_epoch=9),
        "PredictBatch": pb.PredictBatchRequest(study=STUDY, curves=[curve, curve], target_epoch=9),
        "CreateStudy": pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen(name="mutant"))),
        "FinishTrial": pb.FinishTrialRequest(study=STUDY, trial="complete-0", state=pb.TRIAL_STATE_FINISHED),
        "GetStudy": pb.GetStudyRequest(study=STUDY),
        "ListTrials": pb.ListTrialsRequest(study=STUDY, first=1),
        "ReadLog": pb.ReadLogRequest(study=STUDY, after=1),
    }
    return {method: request.SerializeToString() for method, request in requests.items()}


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(changed) or 1)
        match rng.randrange(4):
            case 0 if changed:
                changed[place] = rng.randrange(256)
            case 1 if changed:
                del changed[place]
            case 2:
                changed[place:place] = rng.randbytes(rng.randint(1, 9))
            case _:
                changed = changed[: max(place, len(changed) // 2)]
    return bytes(changed)


STRANGE: dict[str, tuple[Any, ...]] = {
    "int": (0, -1, 1, 49, 51, 2**31, 2**63 - 1, -(2**63)),
    "float": (math.nan, math.inf, -math.inf, -0.0, 1e-320, 1e100, 1.1e100, -1e308),
    "str": ("", "\0", "x" * 300, "é\n", STUDY, "complete-0", "threshold", "../../etc/passwd", "'; DROP TABLE study; --"),
    "bool": (False, True),
}


def strange(method: str, data: bytes, rng: random.Random) -> bytes:
    """The request with another value in one field, deep or not."""
    request = GetMessageClass(SERVICE.methods_by_name[method].input_type).FromString(data)
    message: Any = request
    while True:
        field = rng.choice(message.DESCRIPTOR.fields)
        if field.message_type is not None and not field.is_repeated:
            message = getattr(message, field.name)
            message.SetInParent()
            if not message.DESCRIPTOR.fields:
                break
            continue
        if field.message_type is not None:
            inner = getattr(message, field.name)
            if field.message_type.GetOptions().map_entry or not inner:
                message.ClearField(field.name)
                break
            message = inner[0]
            continue
        if field.is_repeated:
            kind = {field.CPPTYPE_DOUBLE: "float", field.CPPTYPE_INT64: "int"}.get(field.cpp_type, "str")
            getattr(message, field.name).extend([rng.choice(STRANGE[kind])] * rng.choice((1, 2, 60, 1100)))
        else:
            values = STRANGE[type(field.default_value).__name__] if field.enum_type is None else (0, 9)
            setattr(message, field.name, rng.choice(values))
        break
    return bytes(request.SerializeToString())


def together(work: Any, n_threads: int) -> None:
    """Run work in several threads; raises what one of them raised."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


PROOFS = (
    Proof(
        2,
        "calls cut before, during and after the answer",
        ">= 10,000 reports, >= 500 cuts, rows exact",
        cuts,
        full={"n_reports": 10_000, "every": 12},
        short={"n_reports": 400, "every": 20},
    ),
    Proof(2, "races for one epoch", "one winner, known to all", races, full={"n_races": 30}, short={"n_races": 2}),
    Proof(
        12,
        "mutated requests",
        ">= 20,000, 0 INTERNAL, 0 crashes",
        mutants,
        full={"n_requests": 20_000},
        short={"n_requests": 700},
    ),
)
