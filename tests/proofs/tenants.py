"""Promises 12, 13, 18 and 19: whatever a tenant makes a server keep, list and fit, others are answered, and it starts again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.server.rpc.tokens import Role, add_token
from curvestop.srm.policies.registry import POLICIES
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.settings import StudySettings
from tests.proofs.load import quantile, resident_kib
from tests.proofs.proof import Found, Proof
from tests.proofs.quick_server import QuickServer
from tests.proofs.storm import Storm
from tests.proofs.trainers import prepare

WAIT_S, FITTED_S = 60.0, 300.0
MOST_MIB, MOST_MS, MOST_LATER_S = 300.0, 20.0, 2.0
BATCH = 256

CallAs = Callable[[str, Any], Any]
LENGTHS = (1, 2, 7, 50, 400, 401, 20_000, 10**9, 2**63 - 1)
NUMBERS = (0, 1, 2, 0.5, 1e-9, 3, 16, 1e4, 1e18, -1)
SETTINGS_OF_PREDICTORS: Mapping[str, tuple[str, ...]] = {
    "nu-svr": ("n_candidates", "seed"), "stacked": ("hp", "ap"), "bnn": ("n_hidden", "n_chains", "burn_in", "batch_size"),
    "lce": ("n_walkers", "n_steps", "burn_in", "max_points"),
}  # fmt: skip
SETTINGS_OF_POLICIES: Mapping[str, tuple[str, ...]] = {
    "learned": ("risk",), "predictive-rank": ("margin", "n_leaders", "min_arrivals", "late"), "risk": ("risk", "least"),
    "saving": ("saving", "n_repaying"), "threshold": ("threshold", "rank"), "asha": ("first_share", "eta", "pool"),
    "successive-halving": ("pool", "eta"), "median": ("warm_up", "min_trials"), "i-epoch": ("share", "keep"),
    "patience": ("share", "min_change"),
}  # fmt: skip
OURS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


def caller_as(address: str, token: str) -> CallAs:
    """Calls methods; raises grpc.RpcError."""
    credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    stub = EarlyStoppingStub(grpc.secure_channel(address, credentials, options=(("grpc.use_local_subchannel_pool", 1),)))  # type: ignore[no-untyped-call]
    metadata = (("authorization", f"Bearer {token}"),)
    return lambda method, request: getattr(stub, method)(request, timeout=WAIT_S, metadata=metadata)


def tokens(folder: Path) -> dict[Role, str]:
    roles: tuple[Role, ...] = ("trainer", "viewer")
    return {role: add_token(folder, role, tenant="they", role=role) for role in roles}


@contextmanager
def beside(server: QuickServer, seconds: float) -> Iterator[list[float]]:
    """A trainer of the other tenant meanwhile, in a process of its own. Yields what will be its milliseconds for each call."""
    storm = Storm(server.address, server.token, 1, seconds, f"beside-{time.monotonic_ns()}")
    command = [sys.executable, "-m", "tests.proofs.storm", json.dumps(asdict(storm))]
    process, ms = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), list[float]()
    try:
        yield ms
    finally:
        ended = Storm(**json.loads(process.communicate()[0]))
        ms += ended.accepted_ms + [1e3 * WAIT_S] * (len(ended.refused_ms) + ended.other)


def listings(folder: Path, *, n_trials: int, n_wide: int, viewers: int, seconds: int, timed: int) -> Found:
    """Viewers that list many small trials and read a log of the largest configurations, all the time and all at once."""
    given = tokens(folder / "data")
    with QuickServer(folder / "data") as server:
        prepare(server.address, server.token)
        trainer = caller_as(server.address, given["trainer"])
        trainer("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(StudySettings("many", 50))))
        for first in range(0, n_trials, BATCH):
            reports = [pb.ReportRequest(trial=f"t{first + i}", first_epoch=1, values=[0.5]) for i in range(BATCH)]
            trainer("ReportBatch", pb.ReportBatchRequest(study="many", reports=reports))
        trainer("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(StudySettings("wide", 50))))
        for number in range(n_wide):
            configuration = codec.configuration_to_proto({f"name-{i:04}": f"{number:03}-{i:04}-{'x' * 46}" for i in range(1000)})
            request = pb.ReportRequest(study="wide", trial=f"t{number}", first_epoch=1, values=[0.5], configuration=configuration)
            trainer("Report", request)
        idle_kib, n_pages, ended = resident_kib(server), Counter[str](), threading.Event()

        def view(number: int) -> None:
            call, first, after = caller_as(server.address, given["viewer"]), 0, 0
            while not ended.is_set():
                if number % 2:
                    first = call("ListTrials", pb.ListTrialsRequest(study="many", first=first)).next
                else:
                    page = call("ReadLog", pb.ReadLogRequest(study="wide", after=after))
                    after = (after + len(page.entries)) % page.last
                n_pages["pages"] += 1

        threads = [threading.Thread(target=view, args=(number,)) for number in range(viewers)]
        with beside(server, seconds) as ms:
            for thread in threads:
                thread.start()
        ended.set()
        for thread in threads:
            thread.join()
        grown_mib = (resident_kib(server, "VmHWM") - idle_kib) / 1024
    figures = {
        "trials": n_trials, "of 62 KB": n_wide, "viewers": viewers, **n_pages, "MiB over idle at most": round(grown_mib),
        "reports beside": len(ms), "p50 ms": round(quantile(ms, 0.5), 1), "p99 ms": round(quantile(ms, 0.99), 1),
    }  # fmt: skip
    in_time = not timed or quantile(ms, 0.5) <= MOST_MS
    return Found(figures, bool(ms) and n_pages["pages"] > 0 and grown_mib <= MOST_MIB and in_time)


def drawn(rng: random.Random, number: int, *, slow: bool) -> pb.StudySettings:
    """Settings of a study as any client may send them: about half of them are legal."""
    predictor = rng.choice([name for name in sorted(PREDICTORS) if slow or name not in ("bnn", "lce")])
    message = codec.settings_to_proto(StudySettings(f"drawn-{number}", 10, rule=StoppingRule(min_curves=6)))
    message.max_epochs = rng.choice(LENGTHS)
    message.predictor.name = predictor
    for name in SETTINGS_OF_PREDICTORS.get(predictor, ()):
        if rng.random() < 0.3:
            message.predictor.settings[name] = rng.choice(NUMBERS)
    if not slow and predictor.startswith("nu-svr") and "n_candidates" not in message.predictor.settings:
        message.predictor.settings["n_candidates"] = 60  # with as many as it takes by itself, fits at 400 lengths take minutes
    policy = drawn_policy(rng, depth=0)
    message.policy.name = policy.pop("name")
    message.policy.settings.Clear()
    message.policy.settings.update(policy)
    return message


def drawn_policy(rng: random.Random, *, depth: int) -> dict[str, Any]:
    name = rng.choice(sorted(POLICIES))
    if name in ("any", "all"):
        return {
            "name": name,
            "rules": [drawn_policy(rng, depth=depth + 1) for _ in range(rng.choice((1, 3, 30)) if depth < 2 else 0)],
        }
    if name == "shadow":
        return {"name": name, "rule": drawn_policy(rng, depth=depth + 1)}
    return {"name": name, **{key: rng.choice(NUMBERS) for key in SETTINGS_OF_POLICIES.get(name, ()) if rng.random() < 0.3}}


def studies(folder: Path, *, n_studies: int, seconds: int, seed: int, slow: int, timed: int) -> Found:
    """Each study that is made gets complete trials and one that asks; then the server is killed and starts on what they left."""
    given, rng, statuses, made = tokens(folder / "data"), random.Random(seed), Counter[str](), list[str]()
    with QuickServer(folder / "data") as server:
        prepare(server.address, server.token)
        call = caller_as(server.address, given["trainer"])
        fill(call, StudySettings("libraries", 7, predictor="nu-svr"), rng)  # scikit-learn alone takes 100 MiB
        await_fitted(call, ["libraries"])
        idle_kib = resident_kib(server)

        def try_call(method: str, request: Any) -> bool:
            try:
                call(method, request)
                statuses["OK"] += 1
                return True
            except grpc.RpcError as error:
                status = error.code().name
                statuses[status] += 1
                if status in OURS:
                    print(method, error.details(), request, file=sys.stderr)
                return False

        with beside(server, seconds) as ms:
            for number in range(n_studies):
                settings = drawn(rng, number, slow=bool(slow))
                if not try_call("CreateStudy", pb.CreateStudyRequest(settings=settings)):
                    continue
                made.append(settings.name)
                for request in reports_to(settings, rng):
                    try_call("Report", request)
            await_fitted(call, made)
        grown_mib = (resident_kib(server, "VmHWM") - idle_kib) / 1024
        server.kill()
    with QuickServer(folder / "data") as again:
        call = caller_as(again.address, given["trainer"])
        n_answered = sum(try_again(call, study) for study in made)
        grown_again_mib = (resident_kib(again, "VmHWM") - idle_kib) / 1024
    ours = sum(statuses[status] for status in OURS)
    figures: dict[str, int | float | str] = {
        "settings drawn": n_studies, "studies made": len(made), "our mistakes": ours, **statuses,
        "MiB over idle at most": round(grown_mib), "after the restart": round(grown_again_mib),
        "answer after the restart": n_answered, "reports beside": len(ms), "p50 ms": round(quantile(ms, 0.5), 1),
    }  # fmt: skip
    small = max(grown_mib, grown_again_mib) <= MOST_MIB
    in_time = not timed or quantile(ms, 0.5) <= MOST_MS
    return Found(figures, bool(made and ms) and not ours and small and in_time and n_answered == len(made))


def reports_to(settings: pb.StudySettings, rng: random.Random) -> Iterator[pb.ReportRequest]:
    """The first, a middle and the last epoch of seven trials, and the first two of one that asks."""
    last = settings.max_epochs
    for trial in range(7):
        configuration = codec.configuration_to_proto({"lr": rng.uniform(0.001, 0.1), "name": f"{trial}"})
        for epoch in sorted({1, (last + 1) // 2, last}):
            yield pb.ReportRequest(
                study=settings.name,
                trial=f"t{trial}",
                first_epoch=epoch,
                values=[rng.random()],
                configuration=configuration,
                ask=True,
            )
    yield pb.ReportRequest(study=settings.name, trial="asks", first_epoch=(last + 3) // 4, values=[rng.random()], ask=True)


def await_fitted(call: CallAs, studies: Sequence[str]) -> None:
    deadline = time.monotonic() + FITTED_S
    for study in studies:
        while any(model.n_fitted != model.n_due for model in call("GetStudy", pb.GetStudyRequest(study=study)).models):
            assert time.monotonic() < deadline, study
            time.sleep(0.2)  # the only way to wait on another process's models


def try_again(call: CallAs, study: str) -> bool:
    try:
        listed = call("ListTrials", pb.ListTrialsRequest(study=study)).trials
        call("Report", pb.ReportRequest(study=study, trial="again", first_epoch=1, values=[0.5], ask=True))
        return bool(listed)
    except grpc.RpcError:
        return False


def fits(folder: Path, *, n_epochs: int, timed: int) -> Found:
    """The first model of a small study, alone and beside another tenant's study whose fit takes long."""
    seconds = {heavy: first_model_s(folder / str(heavy), n_epochs if heavy else 0) for heavy in (False, True)}
    later_s = seconds[True] - seconds[False]
    figures = {"s alone": round(seconds[False], 2), "s beside": round(seconds[True], 2), "s later": round(later_s, 2)}
    return Found(figures, later_s <= MOST_LATER_S or not timed)


def first_model_s(folder: Path, n_epochs: int) -> float:
    given, rng = tokens(folder), random.Random(0)
    with QuickServer(folder) as server:
        if n_epochs:
            fill(caller_as(server.address, given["trainer"]), StudySettings("heavy", n_epochs, predictor="nu-svr"), rng)
        owner = caller_as(server.address, server.token)
        began = time.monotonic()
        fill(owner, StudySettings("light", 50), rng)
        while not owner("GetStudy", pb.GetStudyRequest(study="light")).models[0].n_fitted:
            assert time.monotonic() < began + FITTED_S
            time.sleep(0.05)  # the only way to wait on another process's models
        return time.monotonic() - began


def fill(call: CallAs, settings: StudySettings, rng: random.Random) -> None:
    """Twenty complete curves."""
    call("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(settings)))
    for trial in range(20):
        lr, speed, last = rng.uniform(0.001, 0.1), rng.uniform(0.2, 1.0), settings.max_epochs
        values = [1 - lr - 0.5 * 2 ** (-8 * speed * epoch / last) + rng.gauss(0, 0.01) for epoch in range(last)]
        configuration = codec.configuration_to_proto({"lr": lr, "width": rng.randint(8, 64)})
        for first in range(0, last, 500):
            part = values[first : first + 500]
            request = pb.ReportRequest(
                study=settings.name, trial=f"t{trial}", first_epoch=first + 1, values=part, configuration=configuration
            )
            call("Report", request)


PROOFS = (
    Proof(
        13,
        "a tenant's listings and logs beside another tenant",
        "p50 of the other <= 20 ms, <= 300 MiB over idle",
        listings,
        full={"n_trials": 102_400, "n_wide": 300, "viewers": 24, "seconds": 20, "timed": 1},
        short={"n_trials": 1024, "n_wide": 30, "viewers": 4, "seconds": 2, "timed": 0},
    ),
    Proof(
        18,
        "studies of policy x length x predictor drawn at random, and a restart (promise 12)",
        "no mistake of ours, <= 300 MiB over idle, p50 of others <= 20 ms, the server starts and all studies answer",
        studies,
        full={"n_studies": 300, "seconds": 120, "seed": 0, "slow": 1, "timed": 1},
        short={"n_studies": 6, "seconds": 2, "seed": 0, "slow": 0, "timed": 0},
    ),
    Proof(
        19,
        "a heavy fit beside a small study of another tenant",
        "first model at most 2 s later than alone",
        fits,
        full={"n_epochs": 600, "timed": 1},
        short={"n_epochs": 60, "timed": 0},
    ),
)
