"""Pictures of the dashboard and of a report, light and dark, wide and narrow, of a seeded demo study on a real server.

`python -m benchmarks.pictures.dashboard --out FOLDER` takes them with Chromium; `--size 1000` measures drawing instead.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.pictures.demo_study import demo_settings, demo_trials, play
from curvestop.clients.dashboard.app import Dashboard
from curvestop.clients.dashboard.dashboard_server import DashboardServer
from curvestop.clients.remote.connection import Connection
from curvestop.clients.remote.remote_study import connect
from curvestop.clients.reports.report_page import html_of
from curvestop.clients.reports.study_log import StudyFollower
from curvestop.clients.reports.study_report import report_of
from curvestop.proto.entries import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.server.rpc.server import Server
from curvestop.server.storage.data_folder import DataFolder
from curvestop.server.storage.store import CurveStore
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.settings import StudySettings

NAME = "digits-cnn"
WIDTHS = {"wide": (1400, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
WAIT_MS = 180_000
EPOCHS_MEASURED = 100
FIT_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--size", type=int, metavar="N", help="measure with N curves of 100 epochs, and take no pictures")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served_demo(Path(folder), asked) as connection, browser() as chromium:
        if asked.size:
            print(json.dumps(measure(connection, chromium, asked.size)))
            return
        sizes = {
            **pictures(connection, chromium, asked.out),
            **report_pictures(connection, chromium, asked.out),
            **document_pictures(connection, chromium, asked.out),
        }
    print(json.dumps({"bytes": sizes}))


@contextmanager
def served_demo(folder: Path, asked: argparse.Namespace) -> Iterator[Connection]:
    """A server with the demo studies, and a connection to it."""
    if asked.size:
        store_demo(folder, asked.size, seed=asked.seed)
    with Server(folder, host="127.0.0.1", port=0) as serving:
        token = serving.token_path.read_text().strip()
        if not asked.size:
            for name, n, shadow in ((NAME, asked.trials, False), ("resnet-lr-sweep", 30, True), ("lstm-ptb", 12, False)):
                with connect(serving.address, demo_settings(name, shadow=shadow), token=token, deadline_s=30.0) as study:
                    settle = lambda: serving.registry.wait_fitted(FIT_S)  # noqa: E731
                    play(study, demo_trials(n, seed=asked.seed), workers=8, settle=settle, to_the_end=name != NAME)
        with closing(Connection(serving.address, token=token)) as connection:
            yield connection


def store_demo(folder: Path, n: int, *, seed: int) -> None:
    """Write n whole curves of 100 epochs with a prediction after each, as if a server had judged them."""
    settings = StudySettings(NAME, EPOCHS_MEASURED, metric="accuracy", predictor="last-seen")
    rng = np.random.default_rng(seed)
    with closing(DataFolder(folder)) as data, closing(CurveStore(data.database_url)) as store:
        study = store.add_study(settings)
        entries: list[Entry] = []
        for trial in demo_trials(n, seed=seed, max_epochs=EPOCHS_MEASURED):
            entries.append(TrialAdded(trial.name, trial.configuration))
            end = trial.values[-1] if math.isfinite(trial.values[-1]) else 0.1
            for epoch, value in enumerate(trial.values, start=1):
                if math.isfinite(value):
                    prediction = Prediction(end + float(rng.normal(0, 0.05)), 0.05)
                    decision = Decision(False, "behind 48% of 40 others; 53% go on", 0.97, prediction, 100, epoch)
                    entries += [
                        Observed(trial.name, epoch, value),
                        Decided(trial.name, Question(epoch, EPOCHS_MEASURED, None), decision),
                    ]
            entries.append(Ended(trial.name, "finished"))
        with store.transaction() as transaction:
            transaction.append(study.id, entries, after=0)


@contextmanager
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("pictures need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def pictures(connection: Connection, chromium: Browser, out: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for (kind, (width, height)), theme in ((item, theme) for item in WIDTHS.items() for theme in THEMES):
        with opened(connection, chromium, width=width, height=height, theme=theme) as page:
            point_at_a_curve(page)
            sizes |= taken(page, out, f"dashboard-{kind}-{theme}")
    return sizes


def report_pictures(connection: Connection, chromium: Browser, out: Path) -> dict[str, int]:
    study = StudyFollower(connection, NAME).read()
    path = out / "report.html"
    path.write_text(html_of(report_of(study), study, written=datetime(2026, 1, 31, 12)), encoding="utf-8")
    sizes = {"report.html": path.stat().st_size}
    for (kind, (width, height)), theme in ((item, theme) for item in WIDTHS.items() for theme in THEMES):
        page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
        page.goto(path.absolute().as_uri())
        page.wait_for_selector("#stops tbody tr")
        sizes |= taken(page, out, f"report-{kind}-{theme}")
        page.close()
    return sizes


def document_pictures(connection: Connection, chromium: Browser, out: Path) -> dict[str, int]:
    """Those of README and documentation (docs/images): of few colors, and so of few bytes."""
    sizes: dict[str, int] = {}
    for theme in THEMES:
        with opened(connection, chromium, width=1280, height=800, theme=theme) as page:
            point_at_a_curve(page)
            page.evaluate("scrollTo(0, 0)")
            path = out / f"docs-{theme}.png"
            page.screenshot(path=path)
        few = Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        sizes[path.name] = path.stat().st_size
    return sizes


@contextmanager
def opened(connection: Connection, chromium: Browser, *, width: int, height: int, theme: str) -> Iterator[Page]:
    """The dashboard's page on the demo study, drawn."""
    with DashboardServer(Dashboard(connection, address="localhost:7070"), host="localhost", port=0) as dashboard:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(dashboard.link)
        page.wait_for_url(f"{dashboard.origin}/", timeout=WAIT_MS)
        page.goto(f"{dashboard.origin}/#{NAME}")
        page.wait_for_selector(f"#name:has-text('{NAME}')", timeout=WAIT_MS)
        page.wait_for_selector("#calibration tbody tr", timeout=WAIT_MS)
        page.wait_for_selector("#server-table tbody tr", timeout=WAIT_MS)
        yield page
        context.close()


def point_at_a_curve(page: Page) -> None:
    box = page.locator("#curves").bounding_box()
    assert box is not None
    page.locator("#curves").scroll_into_view_if_needed()
    page.locator("#curves").hover(position={"x": box["width"] * 0.36, "y": box["height"] * 0.42})
    page.wait_for_selector("#readout b")


def taken(page: Page, out: Path, name: str) -> dict[str, int]:
    """The first screen and the whole page: file names and bytes."""
    sizes: dict[str, int] = {}
    page.evaluate("scrollTo(0, 0)")
    for whole in (False, True):
        path = out / f"{name}{'-whole' if whole else ''}.png"
        page.screenshot(path=path, full_page=whole)
        sizes[path.name] = path.stat().st_size
    return sizes


def measure(connection: Connection, chromium: Browser, size: int) -> dict[str, Any]:
    """Milliseconds in Chromium, medians: to draw all curves anew, and from a pointer's move to the mark on the curve."""
    began = time.perf_counter()
    with opened(connection, chromium, width=1400, height=900, theme="light") as page:
        page.wait_for_selector(f"#trials-note:has-text('of {size:,}')".replace(",", "\u202f"), timeout=WAIT_MS)
        opened_s = time.perf_counter() - began  # read from the service, sent, drawn, counted
        return {"curves": size, "epochs": EPOCHS_MEASURED, "opened_s": opened_s, **page.evaluate(MEASURE)}


MEASURE = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))));
  const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const idle = [];
  for (let i = 0; i < 9; i++) { const began = performance.now(); idle.push(await frame() - began); }
  const drawn = { script: [], shown: [] }, pointed = { script: [], shown: [] };
  for (let i = 0; i < 9; i++) {
    const began = performance.now();
    document.getElementById("trial-filter").dispatchEvent(new Event("input"));
    drawn.script.push(performance.now() - began);
    drawn.shown.push(await frame() - began);
  }
  const box = document.querySelector("#curves canvas:last-of-type").getBoundingClientRect();
  for (let i = 0; i < 40; i++) {
    const at = { clientX: box.x + box.width * (0.2 + i / 60), clientY: box.y + box.height * (0.3 + (i % 7) / 20), bubbles: true };
    const began = performance.now();
    document.querySelector("#curves canvas:last-of-type").dispatchEvent(new PointerEvent("pointermove", at));
    pointed.script.push(performance.now() - began);
    pointed.shown.push(await frame() - began);
  }
  return {
    draw_all_script_ms: median(drawn.script), draw_all_shown_ms: median(drawn.shown),
    hover_script_ms: median(pointed.script), hover_shown_ms: median(pointed.shown), two_idle_frames_ms: median(idle),
  };
}"""


if __name__ == "__main__":
    main()
