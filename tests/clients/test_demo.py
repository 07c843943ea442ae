"""`curvestop demo`, shortened: real trainings, stops, forecasts beside what came of them."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients import demo


def test_a_short_demo_says_what_was_saved_and_whether_the_forecasts_came_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "N_TRIALS", 26)
    monkeypatch.setattr(demo, "N_EPOCHS", 8)
    ended = CliRunner().invoke(app, ["demo", "--seed", "0"])
    assert ended.exit_code == 0, ended.output
    stops = re.findall(
        r"^stop  (trial-\d+) after \d epochs? at 0\.\d{3}: .* chance to end as the best ", ended.output, re.MULTILINE
    )
    said = re.search(r"(\d+) of 26 trials were stopped, which saved \d+ epochs \(\d+%\)\. The best, trial-\d+, ", ended.output)
    assert said is not None
    assert int(said[1]) == len(stops) > 0
    assert re.search(r"│ trial-\d+ +│ +[2-7] epochs │ +-?\d\.\d+ \+- [\d.]+ │ +0\.\d{3} │ +[\d.]+ sigma │", ended.output)
    assert f"Why one was stopped: {stops[-1]} was stopped: accuracy " in ended.output
