"""The user's own rule: what it is shown, what it saves and loses, and how its mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.own_rule import OwnRule, RuleReplay

CURVES = CurveSet("s", 0, np.array([[0.1, 0.2, 0.3], [0.1, 0.1, 0.9], [0.3, 0.4, 0.5]]), np.zeros((3, 1)), "maximize")


def rule(folder: Path, text: str) -> OwnRule:
    path = folder / "my_rule.py"
    path.write_text(text)
    return OwnRule(path)


def test_it_is_shown_what_a_running_search_would_show(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    record = f"with open({str(shown)!r}, 'a') as file: print((values, others, max_epochs), file=file)"
    replay = RuleReplay(
        CURVES, rule(tmp_path, f"def stop(values, others, max_epochs):\n    {record}\n    return len(others) == 1\n")
    )
    assert shown.read_text().splitlines() == [
        "((0.1,), [], 3)",
        "((0.1, 0.2), [], 3)",
        "((0.1,), [(0.1, 0.2, 0.3)], 3)",  # is stopped: the next run sees its first epoch only
        "((0.3,), [(0.1, 0.2, 0.3), (0.1,)], 3)",
        "((0.3, 0.4), [(0.1, 0.2, 0.3), (0.1,)], 3)",
    ]
    assert replay.ended_at.tolist() == [3, 1, 3]
    assert replay.outcome().saved == pytest.approx(2 / 9)
    assert replay.outcome().best_stopped


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def stop(values, others, max_epochs):\n    return values[7] > 0\n",
            "{path}, line 2: IndexError: tuple index out of range",
        ),
        ("def stop(values:\n", "{path}, line 1: SyntaxError: '(' was never closed"),
        ("import no_such_module\n", "{path}, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def halt(): ...\n", "{path} must define a function stop(values, others, max_epochs), but does not"),
        ("def stop(values): return False\n", "{path}: TypeError: stop() takes 1 positional argument but 3 were given"),
        ("def stop(*arguments): ...\n", "{path}: stop must return True or False, but returned None"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    own = rule(tmp_path, text)
    with pytest.raises(ValueError) as told:
        RuleReplay(CURVES, own)
    assert str(told.value).startswith(message.format(path=own.path))


def test_the_command_names_the_best_runs_that_it_stopped(tmp_path: Path) -> None:
    # Run i ends at i / 100; the rule stops the runs that end at 0.10 and 0.12, the third and the best, after epoch 2 of 3.
    table = tmp_path / "runs.csv"
    rows = [f"run-{i},{epoch},{i / 100}" for i in range(1, 13) for epoch in (1, 2, 3)]
    table.write_text("\n".join(["trial,epoch,acc", *rows]) + "\n")
    own = rule(tmp_path, "def stop(values, others, max_epochs):\n    return len(values) == 2 and values[-1] in (0.1, 0.12)\n")
    arguments = ["backtest", str(table), "--metric", "acc", "--orders", "1", "--rule", str(own.path)]
    printed = " ".join(CliRunner().invoke(app, arguments).output.split())
    assert "my_rule.py saved 5.6% of the epochs, the default policy " in printed  # 2 of 36
    assert "it stopped no. 1 (run-12, 0.12) after epoch 2, no. 3 (run-10, 0.1) after epoch 2 of the 10 best runs." in printed
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)["own_rule"]
    assert found["best_stopped"] == 1
    assert [run["stopped_after"] for run in found["best"]] == [2, None, 2, *[None] * 7]


def test_the_command_tells_a_mistake_before_it_reads_the_runs(tmp_path: Path) -> None:
    own = rule(tmp_path, "stop = 1\n")
    ended = CliRunner().invoke(app, ["backtest", "no-such.csv", "--rule", str(own.path)])
    assert ended.exit_code == 2
    assert ended.stderr == f"curvestop: {own.path} must define a function stop(values, others, max_epochs), but does not\n"
