"""The dashboard and a report in a real browser, headless Chromium.

Screenshots are kept in the folder that CURVESTOP_SCREENSHOTS names, otherwise in pytest's own (`--basetemp`).
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from curvestop.clients.remote.connection import Connection
from curvestop.clients.reports.report_page import html_of
from curvestop.clients.reports.study_log import StudyFollower, StudyView
from curvestop.clients.reports.study_report import report_of
from curvestop.frozen_page import page_with
from curvestop.proto.entries import Decided, Ended, Observed, TrialAdded
from curvestop.srm.curve import Decision
from curvestop.srm.report import BracketPosition, Question
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
    box.hover(position={axis: pixel_of(scales[axis], at) for axis, at in (("x", epoch), ("y", value))})  # type: ignore[arg-type]


def pixel_of(scale: dict[str, Any], value: float) -> float:
    """scale: `low` and `high`, their two `pixels`, and whether it is a `log` one."""
    low, high, at = (math.log10(number) if scale["log"] else number for number in (scale["low"], scale["high"], value))
    first, last = scale["pixels"]
    return float(first + (at - low) / (high - low) * (last - first))


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
    filters |= {"lr <= 0.02": 2, "failed": 1, "accuracy > 0.75": 1, "epochs<10": 3, "lr<": 10 + 1, "stopped lr>0.5": 1}
    for text, n in filters.items():
        page.locator("#trial-filter").fill(text)
        expect(rows).to_have_count(n)
        expect(page.locator("#shown")).to_have_text(f"{n} of 11 trials" if n < 11 else "")
    for text, said in {
        "foo>3": "no parameter foo; there are epochs, accuracy, kind, lr",
        "lr<x": "lr<x: x is not a number",
    }.items():
        page.locator("#trial-filter").fill(text)
        expect(page.locator("#shown")).to_have_text(said)
    page.locator("#trial-filter").fill("")
    button = page.locator("#states").get_by_role("button", name="running")
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
        expect(page.locator("#banner")).to_have_text(
            re.compile(r"^Not live since \d\d:\d\d: .* it cannot be reached\b.* What is shown was read")
        )
        expect(page.locator("#health-text")).to_have_text("not live")
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


def written(folder: Path, study: StudyView) -> str:
    """Write the study's report; its address."""
    path = folder / "report.html"
    path.write_text(html_of(report_of(study), study, written=datetime(2026, 1, 31, 12)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def report_page(chromium: Browser) -> Iterator[Page]:
    """A page without a network; it fails for what the console says."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def test_the_seed_noise_is_a_figure(report_page: Page, tmp_path: Path) -> None:
    study = StudyView(StudySettings("seeds", 2))
    for i, final in enumerate([0.5, 0.52, 0.54, 0.56]):  # squares .03^2 + .01^2 + .01^2 + .03^2 over three repeats
        study.add([TrialAdded(f"t{i}", {"lr": 0.1, "seed": i}), Observed(f"t{i}", 1, 0.1), Observed(f"t{i}", 2, final)])
    report_page.goto(written(tmp_path, study))
    expect(report_page.locator("#figures")).to_contain_text("seed noise0.026 1 other within it of the best")


def test_a_study_of_seconds_is_shown_in_seconds(report_page: Page, tmp_path: Path) -> None:
    settings = StudySettings("timed", max_resource=600, resource="second")
    study = StudyView(settings)
    study.add(
        [TrialAdded("a", {}), Observed("a", settings.axis.tick(150.5), 0.5), Observed("a", settings.axis.tick(302.25), 0.6)]
    )
    report_page.goto(written(tmp_path, study))
    expect(report_page.locator("#about")).to_contain_text("over 600 seconds")
    expect(report_page.locator("#figures")).to_contain_text("seconds trained302.25")
    expect(report_page.locator("#trials th").nth(2)).to_contain_text("seconds")
    expect(report_page.locator("#trials td").nth(2)).to_have_text("302.25")


def test_losses_over_decades_have_a_log_axis_and_others_a_button_for_it(report_page: Page, tmp_path: Path) -> None:
    page, button = report_page, report_page.locator("#log-axis")
    for last, is_log in ((0.5, "false"), (0.001, "true")):  # from 1: a third of a decade, and three
        study = StudyView(StudySettings("losses", 3, metric="loss", direction="minimize"))
        for i in (1, 2):
            study.add(
                [TrialAdded(f"t{i}", {}), *(Observed(f"t{i}", epoch, i * last ** ((epoch - 1) / 2)) for epoch in (1, 2, 3))]
            )
        page.goto(written(tmp_path, study))
        expect(button).to_have_attribute("aria-pressed", is_log)
        scale = json.loads(page.locator("#curves").get_attribute("data-scales") or "")["y"]
        assert scale["log"] is (is_log == "true")
        assert scale["low"] < last < 2 < scale["high"]
        button.click()
        expect(button).to_have_attribute("aria-pressed", {"true": "false", "false": "true"}[is_log])


def many_parameters() -> StudyView:
    """Twelve trials: 0.01, 0.02, ... after epoch 1, the first six twice that after epoch 2; eight parameters of nine differ."""
    study = StudyView(StudySettings("a study", 2, metric="accuracy"))
    for i in range(12):
        different = {f"p{number}": i * number for number in range(1, 8)} | {"kind": "=cnn" if i % 2 else "mlp, wide"}
        study.add([TrialAdded(f"trial-{i}", {"same": 1, **different}), Observed(f"trial-{i}", 1, (i + 1) / 100)])
        if i < 6:
            study.add([Observed(f"trial-{i}", 2, (i + 1) / 50), Ended(f"trial-{i}", "finished")])
    return study


def test_tables_sort_choose_their_parameters_and_are_saved(report_page: Page, tmp_path: Path) -> None:
    page = report_page
    page.goto(written(tmp_path, many_parameters()))
    headings, names = page.locator("#trials th"), page.locator("#trials td.trial")
    expect(headings).to_have_text(
        ["trial", "state", "epochs", "last accuracy", "predicted final", "P(no better)", "kind", "p1", "p2", "p3", "p4", "p5"]
    )
    expect(page.locator("#columns summary")).to_have_text("Parameters: 6 of 8")
    expect(names.first).to_have_text("trial-5")  # .12 after two epochs, as trial-11 after one
    page.get_by_role("button", name="trial", exact=True).click()
    expect(names).to_have_text([f"trial-{i}" for i in range(12)])  # 2 before 10
    page.get_by_role("button", name="p1", exact=True).click()
    expect(names.first).to_have_text("trial-11")  # numbers: the largest first
    expect(page.locator("#trials th[aria-sort=descending]")).to_have_text("p1 ↓")
    page.locator("#columns summary").click()
    page.get_by_role("checkbox", name="p7").check()
    page.get_by_role("checkbox", name="kind").uncheck()
    expect(headings.last).to_have_text("p7")
    with page.expect_download() as saved:
        page.locator("#trials-scroll + .below").get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "a_study-trials.csv"
    rows = list(csv.reader(saved.value.path().read_text(encoding="utf-8").splitlines()))
    assert rows[0] == [
        "trial",
        "state",
        "epochs",
        "last accuracy",
        "predicted final",
        "P(no better)",
        "p1",
        "p2",
        "p3",
        "p4",
        "p5",
        "p7",
    ]
    assert rows[1] == ["trial-11", "running", "1", "0.12", "", "", "11", "22", "33", "44", "55", "77"]
    page.get_by_role("checkbox", name="kind").check()
    with page.expect_download() as saved:
        page.locator("#trials-scroll + .below").get_by_role("button", name="CSV").click()
    text = saved.value.path().read_text(encoding="utf-8")
    assert ",'=cnn," in text  # no formula of a spreadsheet
    assert ',"mlp, wide",' in text


def test_the_best_so_far_its_configuration_and_no_empty_panels(report_page: Page, tmp_path: Path) -> None:
    page = report_page
    page.goto(written(tmp_path, many_parameters()))
    expect(page.locator("#figures")).to_contain_text("best accuracy0.1200 trial-5")
    expect(page.locator("#best")).to_have_text(
        "Best configuration: kind==cnn, p1=5, p2=10, p3=15, p4=20, p5=25 and 2 others (trial-5)"
    )
    for panel in ("stops-panel", "final-panel", "reliability-panel", "calibration-panel", "brackets-panel"):
        expect(page.locator(f"#{panel}")).to_be_hidden()
    study = StudyView(StudySettings("running", 9, metric="accuracy"))
    study.add([TrialAdded("a", {"lr": 1}), Observed("a", 1, 0.5), TrialAdded("b", {"lr": 2}), Observed("b", 1, 0.25)])
    page.goto(written(tmp_path, study))
    expect(page.locator("#figures")).to_contain_text("best accuracy so far0.5000 a, at epoch 1")
    expect(page.locator("#marks")).to_have_text("━ the best so far")


def test_a_rung_with_more_than_planned_names_no_plan(report_page: Page, tmp_path: Path) -> None:
    study = StudyView(StudySettings("brackets", 2))
    for name in ("a", "b"):  # one is planned to reach epoch 2, both do
        study.add([TrialAdded(name, {}, BracketPosition(0, 1, ((4, 1), (1, 2)))), Observed(name, 1, 0.5), Observed(name, 2, 0.6)])
    report_page.goto(written(tmp_path, study))
    expect(report_page.locator("#brackets .muted")).to_have_text(["2 of 4 reached it", "2 reached it"])


def test_parameters_against_results(report_page: Page, tmp_path: Path) -> None:
    page = report_page
    page.goto(written(tmp_path, many_parameters()))
    page.locator("#parameters select").select_option("p2")
    box = page.locator("#parameters .scatter")
    scales = json.loads(box.get_attribute("data-scales") or "")
    box.hover(position={"x": pixel_of(scales["x"], 22), "y": pixel_of(scales["y"], 0.12)})
    expect(page.locator("#readout")).to_contain_text("trial-11")
    expect(page.locator("#trials tr[aria-selected=true]")).to_contain_text("trial-11")


def test_shadow_mode_begins_with_what_would_have_been_saved(report_page: Page, tmp_path: Path) -> None:
    study = StudyView(StudySettings("shadow", 4, metric="accuracy", shadow=True))
    would = Decision(False, "would stop", None, None, 1, 5, would_stop=True)
    for i in range(3):
        study.add(
            [
                TrialAdded(f"t{i}", {}),
                Observed(f"t{i}", 1, 0.1 * i),
                *([Decided(f"t{i}", Question(1, 4, None), would)] if i < 2 else []),
            ]
        )
    study.add([*(Observed("t0", epoch, 0.2) for epoch in (2, 3, 4)), Ended("t0", "finished")])
    report_page.goto(written(tmp_path, study))
    figures = report_page.locator("#figures dt")
    expect(figures).to_have_text(["trials", "would have saved", "would have been stopped", "best accuracy", "epochs trained"])
    expect(report_page.locator("#figures")).to_contain_text("trials3 2 running, 1 of them would have been stopped")
    expect(report_page.locator("#figures")).to_contain_text(
        "would have saved6 epochs, 100% of those trained"
    )  # 3 of each of two; 6 were trained
    expect(report_page.locator("#figures")).to_contain_text("would have been stopped2 ")
    expect(report_page.locator("#states")).to_contain_text("would have been stopped 2")


def test_a_percent_sign_that_somebody_typed_stands_for_itself(open_page: Open, shown: Site) -> None:
    shown.serving.registry.create(settings("zero 50% off é"))
    page = open_page()
    page.evaluate("location.hash = '#zero 50% off é'")
    expect(page.locator("#name")).to_have_text("zero 50% off é")


@pytest.mark.parametrize("size", SIZES)
def test_no_label_of_a_backtest_lies_on_another(chromium: Browser, tmp_path: Path, size: str) -> None:
    crowd = [(0.40, 0.1, "0.9"), (0.41, 0.1, "0.95"), (0.42, 0.1, "0.99"), (0.40, 0.12, "median"), (0.99, 1.0, "Hyperband")]
    points = [{"x": x, "y": y, "kind": "finished", "text": text, "words": [text]} for x, y, text in crowd]
    study = {"metric": "acc", "direction": "maximize", "max_epochs": 2, "max_resource": 2, "resource": "epoch", "n_points": 2}
    shown = {
        "metric": "acc", "about": [], "orders": "", "figures": [], "conclusions": ["<b>no tag</b>"], "table": [["", "saved"]],
        "meanings": "",
        "tradeoff": {"points": points, "kinds": [["finished", "learned"]]},
        "curves": {"title": "", "study": study, "trials": [], "best": ""},
        "calibration": {"points": [], "kinds": []},
    }  # fmt: skip
    file = tmp_path / "backtest.html"
    file.write_text(page_with(shown, template="backtest.html"), encoding="utf-8")
    width, height = SIZES[size]
    with closing(chromium.new_page(viewport={"width": width, "height": height})) as page:
        page.goto(file.as_uri())
        expect(page.locator("#conclusions")).to_have_text("<b>no tag</b>")
        labels = json.loads(page.locator("#tradeoff").get_attribute("data-labels") or "[]")
        assert {"median", "Hyperband"} <= {label["text"] for label in labels}
        for a, b in combinations([label["box"] for label in labels], 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
