"""The dashboard and a report in a real browser, headless Chromium.

Screenshots are kept in the folder that CURVESTOP_SCREENSHOTS names, otherwise in pytest's own (`--basetemp`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from curvestop.clients.remote.connection import Connection
from curvestop.clients.reports.report_page import html_of
from curvestop.clients.reports.study_log import StudyFollower, StudyView
from curvestop.clients.reports.study_report import report_of
from curvestop.proto.entries import Observed, TrialAdded
from curvestop.srm.settings import StudySettings
from tests.clients.dashboard.dashboards import EPOCHS, OTHER, RUNNING, STUDY, Site, rising, settings, site
from tests.system_programs import skip_without

WAIT_MS = 60_000
SIZES = {"wide": (1400, 900), "phone": (390, 844)}

expect.set_options(timeout=WAIT_MS)

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this file: while it is open, its event loop is that of the thread."""
    skip_without("chromium")
    executable = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("dashboard")) as shown:
        yield shown


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("CURVESTOP_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_page(chromium: Browser, shown: Site) -> Iterator[Open]:
    """Open the dashboard by a new link. Fails at the end for what the console said and for any request to another host."""
    contexts: list[BrowserContext] = []
    said: list[str] = []
    asked: set[str] = set()

    def open_page(study: str = STUDY, *, size: str = "wide", theme: str = "light") -> Page:
        width, height = SIZES[size]
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.add("/".join(request.url.split("/")[:3])))
        page.goto(shown.dashboard.link)
        page.wait_for_url(f"{shown.dashboard.origin}/**")
        expect(page.locator("#studies li")).not_to_have_count(0)
        choose_study(page, study)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert asked == {shown.dashboard.origin}


def choose_study(page: Page, study: str) -> None:
    page.locator("#studies li", has=page.get_by_text(study, exact=True)).click()
    expect(page.locator("#name")).to_have_text(study)
    expect(page.locator("#figures dd").first).to_be_visible()


def readout(page: Page) -> str:
    return page.locator("#readout").inner_text()


def hover(page: Page, epoch: int, value: float) -> None:
    """Put the pointer on a point of the chart, by the scales in the data of its box."""
    box = page.locator("#curves")
    box.scroll_into_view_if_needed()
    scales = json.loads(box.get_attribute("data-scales") or "")
    x, y = (scales[axis][0] + scales[axis][1] * at for axis, at in (("x", epoch), ("y", value)))
    box.hover(position={"x": x, "y": y})


def test_it_shows_the_studies_and_what_became_of_their_trials(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#studies .name").first).to_have_text(STUDY)
    expect(page.locator("#studies .name").last).to_have_text(OTHER)
    expect(page).to_have_title(f"{STUDY} · curvestop")  # as text: names come from trainers
    expect(page.locator("#name b")).to_have_count(0)
    expect(page.locator("#about")).to_contain_text(f"accuracy, maximized over {EPOCHS} epochs · policy threshold")
    expect(page.locator("#states")).to_contain_text("stopped 1")
    expect(page.locator("#states")).to_contain_text("failed 1")
    expect(page.locator("#figures")).to_contain_text("epochs saved9 9%")
    expect(page.locator("#figures")).to_contain_text("0.8000 complete-8")
    stop = page.locator("#stops tbody tr")
    expect(stop).to_have_count(1)
    expect(stop).to_contain_text("hopeless")
    expect(stop).to_contain_text("P(no better than 0.8 at epoch 10) = 0.961, stops at 0.95")
    expect(page.locator("#health-text")).to_contain_text("answers in")
    expect(page.locator("#server-table")).to_contain_text("8 curves")


def test_the_pointer_finds_a_curve_and_what_was_predicted_there(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#readout")).to_contain_text("Point at a curve")
    hover(page, 3, RUNNING[2])
    expect(page.locator("#readout")).to_contain_text("running")
    assert re.search(r"epoch 3: 0\.2850\s.*predicted final value 0\.2\d* ± 0\.\d+\s.*P\(no better\)", readout(page), re.DOTALL)
    expect(page.locator("#readout")).to_contain_text("kind=mlp, lr=0.5")
    hover(page, 9, 0.72)
    expect(page.locator("#readout")).to_contain_text("complete-8")
    expect(page.locator("#readout")).to_contain_text("no prediction at this epoch")
    hover(page, 1, 0.001)
    expect(page.locator("#readout")).to_contain_text("hopeless stopped")
    expect(page.locator("#readout")).to_contain_text("stops at 0.95: predicted 0.001")


def test_a_new_epoch_and_a_new_trial_come_without_a_reload(open_page: Open, shown: Site) -> None:
    shown.serving.registry.create(settings("live"))
    study = shown.serving.registry["live"]
    study.report("a", [0.1])
    page = open_page("live")
    page.evaluate("document.body.dataset.same = 'page'")
    page.locator("#curves").press("ArrowRight")
    expect(page.locator("#readout")).to_contain_text("epoch 1: 0.1000")
    study.report("a", [0.4375], first_epoch=2)
    expect(page.locator("#trials tbody tr")).to_contain_text("0.4375")
    page.locator("#curves").press("End")
    expect(page.locator("#readout")).to_contain_text("epoch 2: 0.4375")
    study.report("b", rising(0.5))
    expect(page.locator("#trials tbody tr")).to_have_count(2)
    expect(page.locator("#states")).to_contain_text("running 2")
    study.finish("b")
    expect(page.locator("#states")).to_contain_text("finished 1")
    expect(page.locator("#figures")).to_contain_text("0.5000 b")
    assert page.evaluate("document.body.dataset.same") == "page"


def test_a_resumed_trial_says_so(open_page: Open, shown: Site) -> None:
    shown.serving.registry.create(StudySettings("resumed", EPOCHS, predictor="last-seen"))
    study = shown.serving.registry["resumed"]
    for number in range(6):
        study.report(f"complete-{number}", rising(0.5 + number / 100), ask=False)
    assert shown.serving.registry.wait_fitted(WAIT_MS / 1000)
    decision = study.report("a", [-1.0])
    assert decision.stop
    assert decision.chance is not None
    study.finish("a", "stopped")
    page = open_page("resumed")
    stop = page.locator("#stops tbody tr")
    expect(stop).to_contain_text("stopped")
    expect(stop).to_contain_text(f"{100 * decision.chance:.2f}%")
    study.resume("a")
    expect(stop).to_contain_text("resumed at epoch 2")
    expect(page.locator("#states")).to_contain_text("running 7")
    expect(page.locator("#figures")).to_contain_text("resumed1 after a stop")
    expect(page.locator("#trials tbody tr", has_text="resumed")).to_contain_text("running, resumed at epoch 2")
    page.locator("#trials tbody tr", has_text="resumed").click()
    expect(page.locator("#readout")).to_contain_text("a running, resumed at epoch 2")


def test_filters_of_trials_and_studies(open_page: Open) -> None:
    page = open_page()
    rows = page.locator("#trials tbody tr")
    expect(rows).to_have_count(11)
    filters = {"complete": 8, "complete-8": 1, "kind=mlp": 2, "lr<=0.02": 2, "lr>0.02 cnn": 6, "lr=x": 0, "none": 0, "": 11}
    for text, n in filters.items():
        page.locator("#trial-filter").fill(text)
        expect(rows).to_have_count(n)
        expect(page.locator("#shown")).to_have_text(f"{n} of 11 trials" if n < 11 else "")
    button = page.get_by_role("button", name="running")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(rows).to_have_count(2)
    button.click()
    expect(rows).to_have_count(11)
    page.locator("#study-filter").fill("SEC")
    expect(page.locator("#studies li")).to_have_text([f"{OTHER}1 trial, 1 running"])


def test_all_of_it_by_keys(open_page: Open) -> None:
    page = open_page()
    page.locator("#study-filter").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "studies"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    below = page.locator("#studies .name").nth(1).inner_text()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#name")).to_have_text(below)
    expect(page.locator("#studies li[aria-selected=true]")).to_contain_text(below)
    page.keyboard.press("ArrowUp")
    expect(page.locator("#name")).to_have_text(STUDY)
    expect(page.locator("#trials tbody tr")).to_have_count(11)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "curves":
            break
    page.keyboard.press("ArrowRight")
    expect(page.locator("#readout")).to_contain_text("complete-8")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#readout")).to_contain_text("complete-7")
    page.keyboard.press("Home")
    expect(page.locator("#readout")).to_contain_text("epoch 1: 0.0700")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#readout")).to_contain_text("epoch 2: 0.1400")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#readout")).to_contain_text("complete-8")
    page.keyboard.press("ArrowUp")  # at epoch 2 the running one is the best
    expect(page.locator("#readout")).to_contain_text("running")
    page.locator("#trials-scroll").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#trials tr[aria-selected=true]")).to_have_count(1)
    expect(page.locator("#readout")).to_have_attribute("aria-live", "polite")


def test_a_server_that_is_gone_is_said_and_what_was_shown_stays(chromium: Browser, tmp_path: Path) -> None:
    with site(tmp_path / "data") as shown:
        page = chromium.new_page()
        page.goto(shown.dashboard.link)
        expect(page.locator("#trials tbody tr")).to_have_count(11)
        shown.serving.close()
        expect(page.locator("#health-text")).to_contain_text("it cannot be reached")
        expect(page.locator("#trials tbody tr")).to_have_count(11)
        page.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_width_and_theme_has_its_screenshot(open_page: Open, screenshots: Path, size: str, theme: str) -> None:
    page = open_page(size=size, theme=theme)
    hover(page, 3, RUNNING[2])
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]  # nothing to scroll sideways to
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(247, 247, 245)", "dark": "rgb(15, 18, 21)"}[theme]
    page.screenshot(path=screenshots / f"dashboard-{size}-{theme}.png", full_page=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_is_one_file_that_asks_for_nothing(
    chromium: Browser, shown: Site, screenshots: Path, tmp_path: Path, size: str, theme: str
) -> None:
    with closing(Connection(shown.serving.address, token=shown.serving.token_path.read_text().strip())) as connection:
        study = StudyFollower(connection, STUDY).read()
    path = tmp_path / "report.html"
    path.write_text(html_of(report_of(study), study, written=datetime(2026, 1, 31, 12)), encoding="utf-8")
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme, offline=True)  # type: ignore[arg-type]
    page, said, asked = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    expect(page.locator("#name")).to_have_text(STUDY)
    expect(page.locator("#health-text")).to_have_text(f"report of 2026-01-31 12:00, after {study.n_entries} entries of the log")
    expect(page.locator("#stops tbody tr")).to_contain_text("stops at 0.95")
    expect(page.locator("#trials tbody tr")).to_have_count(11)
    hover(page, 3, RUNNING[2])
    expect(page.locator("#readout")).to_contain_text("predicted final value")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"report-{size}-{theme}.png", full_page=True)
    assert said == []
    assert asked == [path.as_uri()]
    context.close()


def test_the_seed_noise_is_a_figure(chromium: Browser, tmp_path: Path) -> None:
    study = StudyView(StudySettings("seeds", 2))
    for i, final in enumerate([0.5, 0.52, 0.54, 0.56]):  # squares .03^2 + .01^2 + .01^2 + .03^2 over three repeats
        study.add([TrialAdded(f"t{i}", {"lr": 0.1, "seed": i}), Observed(f"t{i}", 1, 0.1), Observed(f"t{i}", 2, final)])
    path = tmp_path / "report.html"
    path.write_text(html_of(report_of(study), study, written=datetime(2026, 1, 31, 12)), encoding="utf-8")
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    expect(page.locator("#figures")).to_contain_text("seed noise0.026 1 other within it of the best")
    context.close()


def test_a_percent_sign_that_somebody_typed_stands_for_itself(open_page: Open, shown: Site) -> None:
    shown.serving.registry.create(settings("zero 50% off é"))
    page = open_page()
    page.evaluate("location.hash = '#zero 50% off é'")
    expect(page.locator("#name")).to_have_text("zero 50% off é")
