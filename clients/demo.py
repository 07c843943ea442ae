"""`curvestop demo`: half a minute of a real search, and whether the forecasts came true."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from curvestop.clients.remote.connection import Connection
from curvestop.clients.remote.remote_study import RemoteStudy
from curvestop.clients.reports.explanation import explain
from curvestop.clients.reports.study_log import RecordedDecision, StudyFollower, StudyView, TrialView
from curvestop.clients.reports.study_report import summary
from curvestop.command_line import new_console
from curvestop.hyperband.run.live_console import clock, print_line
from curvestop.server.rpc.server import Server
from curvestop.srm.curve import Configuration
from curvestop.srm.plural import plural
from curvestop.srm.settings import StudySettings

N_TRIALS, N_EPOCHS = 60, 20
HOLD_OUT = 0.2
MOST_ROWS = 8
"""Most held-out trials whose forecasts are printed."""
WIDTH = 100
"""Width of the table, in characters, if the output is not a terminal."""


def demo(seed: int) -> None:
    """Train small networks on handwritten digits, stop the hopeless ones, and print whether the forecasts came true.

    A fifth of the trials is held out: they are never stopped, so that one sees what came of those that would have been.

    Args:
        seed: Seed of the configurations.
    """
    console, began = new_console(), time.monotonic()
    if not console.is_terminal:  # a pipe has no width
        console = new_console(width=WIDTH)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="curvestop-demo-")))
        server = stack.enter_context(Server(folder, host="127.0.0.1", port=0))
        stack.enter_context(_dashboard(server, console))
        connection = stack.enter_context(closing(Connection(server.address, token=server.token_path.read_text().strip())))
        settings = StudySettings(
            "demo", N_EPOCHS, metric="accuracy", direction="maximize", log_scaled=("learning_rate",), hold_out=HOLD_OUT
        )
        print_line(
            console, f"{N_TRIALS} networks learn handwritten digits, {N_EPOCHS} epochs each; the hopeless ones are stopped."
        )
        search(RemoteStudy(settings, connection, strict=True, deadline_s=30.0), random.Random(seed), console)
        view = StudyFollower(connection, settings.name).read()
        conclude(view, console)
        print_line(console, f"It took {clock(time.monotonic() - began)}. Next: docs/tutorial.md")
        if console.is_terminal and sys.stdin.isatty() and find_spec("starlette") is not None:
            console.input("The dashboard stays until you press Enter. ")


def search(study: RemoteStudy, rng: random.Random, console: Console) -> None:
    """Train all configurations, one after another, and print each stop.

    Args:
        study: The study.
        rng: Draws the configurations.
        console: Where to print.
    """
    pixels, digits = load_digits(return_X_y=True)
    parts = train_test_split(pixels / 16.0, digits, test_size=0.35, stratify=digits, random_state=0)
    for number in range(N_TRIALS):
        configuration = {"width": rng.randint(4, 64), "learning_rate": math.exp(rng.uniform(math.log(1e-4), 0))}
        trial, decision = f"trial-{number}", None
        for epoch, accuracy in enumerate(_accuracies(configuration, parts), start=1):
            decision = study.report(trial, accuracy, first_epoch=epoch, configuration=configuration)
            if decision.stop:
                print_line(console, f"stop  {trial} after {plural(epoch, 'epoch')} at {accuracy:.3f}: {decision.reason}")
                break
        study.finish(trial, "stopped" if decision is not None and decision.stop else "finished")
        while not study.status().fitted:  # the models of the same trials for every decision: the demo is the same each time
            time.sleep(0.01)


def conclude(view: StudyView, console: Console) -> None:
    """Print the forecasts of the held-out trials beside what came of them, what was saved, and the best.

    Args:
        view: The study.
        console: Where to print.
    """
    trials = list(held_out(view))
    table = Table(title="Held out, so trained to the end: what was forecast, and what came", title_justify="left")
    for heading in ("trial", "after", "forecast", "came", "error", "would have stopped"):
        table.add_column(heading, justify="left" if heading == "trial" else "right")
    found = [(trial, recorded) for trial in trials if (recorded := early_forecast(trial)) is not None]
    for trial, recorded in found[:MOST_ROWS]:
        prediction = recorded.decision.prediction
        assert prediction is not None
        error = abs(trial.final - prediction.mean) / prediction.sigma
        stop = "no" if trial.shadow_stop is None else f"after {plural(trial.shadow_stop.epoch, 'epoch')}"
        forecast = f"{prediction.mean:.3f} +- {prediction.sigma:.2g}"
        table.add_row(trial.name, plural(recorded.epoch, "epoch"), forecast, f"{trial.final:.3f}", f"{error:.1f} sigma", stop)
    console.print(table)
    told = summary(view)
    n_stopped = told["n_trials"].get("stopped", 0)
    print_line(
        console,
        f"{n_stopped} of {len(view.trials)} trials were stopped, which saved {told['epochs_saved']} epochs "
        f"({told['saved_share']:.0%}). The best, {told['best_trial']}, has an accuracy of {told['best_value']:.3f}.",
    )
    would = [trial.name for trial in trials if trial.shadow_stop is not None]
    verdict = "the best trial is one of them" if told["best_trial"] in would else "none of them is the best"
    print_line(console, f"Of {plural(len(trials), 'trial')} that were held out, {len(would)} would have been stopped: {verdict}.")
    stopped = next((trial for trial in reversed(view.trials.values()) if trial.stop is not None), None)
    if stopped is not None:
        print_line(console, f"Why one was stopped: {explain(view, stopped.name)['words']}")


def held_out(view: StudyView) -> Iterator[TrialView]:
    """Yield the complete trials that the study never stops.

    Args:
        view: The study.
    """
    return (trial for trial in view.complete() if view.settings.is_held_out(trial.name))


def early_forecast(trial: TrialView) -> RecordedDecision | None:
    """Return the first decision, from a quarter of the training on, that has a forecast; None without one.

    Args:
        trial: The trial.
    """
    asked = (recorded for recorded in trial.decisions if recorded.epoch >= N_EPOCHS / 4)
    return next((recorded for recorded in asked if recorded.decision.prediction is not None), None)


def _accuracies(configuration: Configuration, parts: list[Any]) -> Iterator[float]:
    """Yield the validation accuracy after each epoch of a network."""
    train_x, valid_x, train_y, valid_y = parts
    width, rate = int(configuration["width"]), float(configuration["learning_rate"])
    model = MLPClassifier((width,), solver="sgd", learning_rate_init=rate, random_state=0)
    for _ in range(N_EPOCHS):
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        yield float(np.mean(model.predict(valid_x) == valid_y))


@contextmanager
def _dashboard(server: Server, console: Console) -> Iterator[None]:
    """Run `curvestop dashboard` beside the search, if its packages are installed, and print its address."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        print_line(console, "To watch it in a browser: pip install 'curvestop[dashboard]'")
        yield
        return
    command = [sys.executable, "-m", "curvestop.cli", "dashboard", "--server", server.address, "--data", str(server.folder)]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        console.print(process.stdout.readline().rstrip(), soft_wrap=True)
        yield
    finally:
        process.terminate()
        process.communicate()
