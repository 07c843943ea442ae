"""Promise 4: models are a function of the log alone, to the last bit, and nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from curvestop.clients.remote.remote_study import connect
from curvestop.server.storage.store import CurveStore
from curvestop.server.studies.registry import Registry
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from tests.proofs.proof import Found, Proof
from tests.server_process import ServerProcess

N_CURVES, N_EPOCHS, FITTED_S = 20, 8, 120.0
PREDICTORS: Mapping[str, Mapping[str, float]] = {"stacked": {}, "nu-svr": {"n_candidates": 10}, "ols": {}, "kernel-ridge": {}}
HOOK = """
import sys
sys.addaudithook(lambda event, _: event == "pickle.find_class" and print("UNPICKLED", file=sys.stderr, flush=True))
"""
Curves = Mapping[str, tuple[Mapping[str, float], list[float]]]


def drawn(n: int, seed: int) -> Curves:
    rng = random.Random(seed)

    def curve() -> tuple[Mapping[str, float], list[float]]:
        lr, speed = rng.uniform(0.001, 0.1), rng.uniform(0.2, 1.0)
        values = [1 - lr - 0.5 * 2 ** (-speed * epoch) + rng.gauss(0, 0.01) for epoch in range(N_EPOCHS)]
        return {"lr": lr, "width": rng.randint(8, 64)}, values

    return {f"t{number}": curve() for number in range(n)}


def settings(predictor: str) -> StudySettings:
    chosen = dict(PREDICTORS[predictor])
    rule = StoppingRule(min_curves=N_CURVES)
    return StudySettings(predictor, N_EPOCHS, predictor=predictor, predictor_settings=chosen, rule=rule)


def report(registry: Registry, predictor: str, curves: Curves, order: Iterable[tuple[str, int]]) -> None:
    registry.create(settings(predictor))
    for trial, epoch in order:
        configuration, values = curves[trial]
        registry[predictor].report(
            trial, values[epoch : epoch + 1], first_epoch=epoch + 1, configuration=configuration, ask=False
        )


def shuffled(curves: Curves, rng: random.Random) -> list[tuple[str, int]]:
    """Trainers side by side, each of whom goes on at random: epochs of a trial in order, trials in any."""
    left = [trial for trial in curves for _ in range(N_EPOCHS)]
    rng.shuffle(left)
    epochs = dict.fromkeys(curves, -1)

    def following(trial: str) -> tuple[str, int]:
        epochs[trial] += 1
        return trial, epochs[trial]

    return [following(trial) for trial in left]


def fingerprint(registry: Registry, predictor: str, probes: Curves) -> str:
    """Of all that the models say about some curves, bit by bit."""
    assert registry.wait_fitted(FITTED_S)
    said = [
        registry[predictor].predict(values[:tau], configuration=configuration)
        for configuration, values in probes.values()
        for tau in range(1, N_EPOCHS)
    ]
    assert any(prediction is not None for prediction in said)
    parts = [("none" if p is None else f"{p.mean.hex()} {p.sigma.hex()}") for p in said]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def models(folder: Path, *, n_predictors: int, n_shuffles: int, n_restarts: int, seed: int = 0) -> Found:
    curves, probes, different = drawn(N_CURVES, seed), drawn(5, seed + 1), 0
    rng = random.Random(seed)
    for predictor in list(PREDICTORS)[:n_predictors]:
        found = set()
        for number in range(n_shuffles):
            url = f"sqlite:///{folder / f'{predictor}{number}.db'}"
            with closing(Registry(CurveStore(url))) as registry:
                report(registry, predictor, curves, shuffled(curves, rng))
                found.add(fingerprint(registry, predictor, probes))
            for _ in range(n_restarts if number == 0 else 0):
                with closing(Registry(CurveStore(url))) as registry:
                    found.add(fingerprint(registry, predictor, probes))
        different += len(found) - 1
    n_unpickled = unpickled(folder / "data", curves)
    figures = {
        "predictors": n_predictors, "arrival orders": n_shuffles, "restarts": n_restarts,
        "models that differ in a bit": different, "pickle.find_class": n_unpickled,
    }  # fmt: skip
    return Found(figures, different == 0 and n_unpickled == 0)


def unpickled(folder: Path, curves: Curves) -> int:
    """Audit events of a server that starts, stores, fits, is killed, and does it again from its log."""
    events = 0
    for _ in range(2):
        with ServerProcess(folder, prepare=HOOK) as server:
            with connect(server.address, settings("stacked"), token=server.token, deadline_s=10.0) as study:
                for trial, (configuration, values) in curves.items():
                    study.report(trial, values, configuration=configuration)
                deadline = time.monotonic() + FITTED_S
                while not study.status().models[0].n_fitted:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)  # the only way to wait on another process's models
            server.kill()
            events += server.errors.count("UNPICKLED")
    return events


PROOFS = (
    Proof(
        4,
        "models are a function of the log",
        "bit-identical after restarts and in any order of arrival; 0 pickle.find_class events",
        models,
        full={"n_predictors": 4, "n_shuffles": 6, "n_restarts": 3},
        short={"n_predictors": 1, "n_shuffles": 2, "n_restarts": 1},
    ),
)
