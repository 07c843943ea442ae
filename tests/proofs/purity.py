"""Promise 4: models are a function of the log alone, to the last bit, and nothing stored is ever unpickled."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from curvestop.clients.remote.remote_study import connect
from curvestop.server.storage.store import CurveStore
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from tests.proofs.proof import Found, Proof
from tests.proofs.trainers import await_models
from tests.server_process import ServerProcess

N_CURVES, MIN_CURVES, N_EPOCHS, FITTED_S = 60, 20, 8, 240.0
"""Settings are searched on the first 20, 24, 29, 35, 42 and 51 curves; what can be refitted takes in the 60th."""
N_SHORT, SHORT = 50, 5
"""The first trials are finished after fewer epochs, so refits have lengths that the last search did not know."""
PREDICTORS: Mapping[str, Mapping[str, float]] = {"stacked": {}, "nu-svr": {"n_candidates": 10}, "ols": {}, "kernel-ridge": {}}
HOOK = """
import sys
def tell(event, _):
    if event != "pickle.find_class":
        return
    frame, modules = sys._getframe(1), []
    while frame is not None:
        modules.append(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    compiled = modules[0] == "curvestop.srm.regression.nu_svr_solver"
    if not compiled and not any(module.startswith("numba.") for module in modules):
        print("UNPICKLED", file=sys.stderr, flush=True)
sys.addaudithook(tell)
"""
"""numba, of the extra `fast`, unpickles its cache of machine code, and that code its constants; all else counts."""
Curves = Mapping[str, tuple[Mapping[str, float], list[float]]]


def drawn(n: int, seed: int, *, n_short: int = 0) -> Curves:
    rng = random.Random(seed)

    def curve(number: int) -> tuple[Mapping[str, float], list[float]]:
        lr, speed = rng.uniform(0.001, 0.1), rng.uniform(0.2, 1.0)
        values = [1 - lr - 0.5 * 2 ** (-speed * epoch) + rng.gauss(0, 0.01) for epoch in range(N_EPOCHS)]
        return {"lr": lr, "width": rng.randint(8, 64)}, values[: SHORT if number < n_short else N_EPOCHS]

    return {f"t{number}": curve(number) for number in range(n)}


def settings(predictor: str) -> StudySettings:
    chosen = dict(PREDICTORS[predictor])
    rule = StoppingRule(min_curves=MIN_CURVES)
    return StudySettings(predictor, N_EPOCHS, predictor=predictor, predictor_settings=chosen, rule=rule)


def report(registry: Registry, predictor: str, curves: Curves, order: Iterable[tuple[str, int]], *, patiently: bool) -> None:
    """patiently: the models of each complete curve are waited for, as if training took long."""
    registry.create(settings(predictor))
    for trial, epoch in order:
        configuration, values = curves[trial]
        registry[predictor].report(
            trial, values[epoch : epoch + 1], first_epoch=epoch + 1, configuration=configuration, ask=False
        )
        if epoch == len(values) - 1:
            registry[predictor].finish(trial)
            assert not patiently or registry.wait_fitted(FITTED_S)


def shuffled(curves: Curves, rng: random.Random) -> list[tuple[str, int]]:
    """Trainers side by side, each of whom goes on at random: trials in any order, but complete in the order of their names.

    The order of completion is a part of the log: settings are searched on the curves that were complete first.
    """
    order: list[tuple[str, int]] = []
    epochs, ending = dict.fromkeys(curves, 0), iter(curves)
    lengths = {trial: len(values) for trial, (_, values) in curves.items()}
    events = [trial for trial in curves for _ in range(lengths[trial] - 1)] + [None] * len(curves)  # None: the next trial ends
    rng.shuffle(events)
    for event in events:
        trial = event or next(ending)
        if event is None:
            order += [(trial, epoch) for epoch in range(epochs[trial], lengths[trial])]
            epochs[trial] = lengths[trial]
        elif epochs[trial] < lengths[trial] - 1:
            order.append((trial, epochs[trial]))
            epochs[trial] += 1
    return order


def said(registry: Registry, predictor: str, probes: Curves) -> str:
    """All that the models say about some curves, bit by bit."""
    assert registry.wait_fitted(FITTED_S)
    return _hash([registry[predictor].predict(values, configuration=c) for values, c in _partial(probes)])


def _partial(probes: Curves) -> list[tuple[list[float], Mapping[str, float]]]:
    return [(values[:tau], configuration) for configuration, values in probes.values() for tau in range(1, N_EPOCHS)]


def _hash(predictions: Sequence[Prediction | None]) -> str:
    assert any(prediction is not None for prediction in predictions)
    parts = [("none" if p is None else f"{p.mean.hex()} {p.sigma.hex()}") for p in predictions]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def models(folder: Path, *, n_predictors: int, n_shuffles: int, n_restarts: int, seed: int = 0) -> Found:
    curves, probes, different, n_unpickled = drawn(N_CURVES, seed, n_short=N_SHORT), drawn(5, seed + 1), 0, 0
    rng = random.Random(seed)
    for predictor in list(PREDICTORS)[:n_predictors]:
        found = set()
        for number in range(n_shuffles):
            url, order = f"sqlite:///{folder / f'{predictor}{number}.db'}", shuffled(curves, rng)
            with closing(Registry(CurveStore(url))) as registry:
                report(registry, predictor, curves, order, patiently=number == 0)
                found.add(said(registry, predictor, probes))
            for _ in range(n_restarts if number == 0 else 0):
                with closing(Registry(CurveStore(url))) as registry:
                    found.add(said(registry, predictor, probes))
        answers, events = live(
            folder / predictor, predictor, curves, probes, kill_after=rng.sample(range(MIN_CURVES, N_CURVES), 2)
        )
        found |= answers
        n_unpickled += events
        different += len(found) - 1
    figures = {
        "predictors": n_predictors, "curves": N_CURVES, "arrival orders": n_shuffles, "restarts": n_restarts,
        "kills": 2 * n_predictors, "models that differ in a bit": different, "pickle.find_class": n_unpickled,
    }  # fmt: skip
    return Found(figures, different == 0 and n_unpickled == 0)


def live(folder: Path, predictor: str, curves: Curves, probes: Curves, *, kill_after: Sequence[int]) -> tuple[set[str], int]:
    """What a server says that was killed after so many complete curves, most likely within a fit; at its end, and started again.

    Returns the answers, and the audit events of all its processes.
    """
    answers, events, first = set(), 0, 0
    for last in (*sorted(kill_after), len(curves), len(curves)):
        with ServerProcess(folder, prepare=HOOK) as server:
            with connect(server.address, settings(predictor), token=server.token, deadline_s=FITTED_S) as study:
                for trial, (configuration, values) in list(curves.items())[first:last]:
                    study.report(trial, values, configuration=configuration, ask=False)
                    study.finish(trial)
                if last == len(curves):
                    await_models(lambda: study.status().models, FITTED_S)
                    answers.add(_hash([study.predict(values, configuration=c) for values, c in _partial(probes)]))
            server.kill()
            events = server.errors.count("UNPICKLED")
        first = last
    return answers, events


PROOFS = (
    Proof(
        4,
        "models are a function of the log",
        "60 curves, refits: bit-identical after kills and restarts, in any order; only numba's cache unpickled",
        models,
        full={"n_predictors": 4, "n_shuffles": 6, "n_restarts": 3},
        short={"n_predictors": 1, "n_shuffles": 2, "n_restarts": 1},
    ),
)
