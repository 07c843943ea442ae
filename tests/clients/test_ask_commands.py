"""`curvestop create`, `ask`, `tell`, `finish`, `explain`, `second-chances` on a real server.

`docs/howto/other-languages.md`, which the tests run, drives them from a shell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from curvestop.cli import app
from curvestop.clients.reports.explanation import explain
from curvestop.clients.reports.study_log import StudyView
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.rpc.server import Server
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import UnknownTrial

BASELINES = [0.9, 0.8, 0.7, 0.6, 0.5]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("ask"), host="127.0.0.1", port=0) as serving:
        yield serving


def command(serving: Server, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--server", serving.address, "--data", str(serving.folder)])


def object_of(serving: Server, *arguments: str) -> dict[str, object]:
    parsed = json.loads(command(serving, *arguments, "--json").stdout)
    assert isinstance(parsed, dict)
    return parsed


def test_a_search_from_its_first_trial_to_a_stop_and_a_second_chance(serving: Server) -> None:
    made = command(serving, "create", "s", "--max-epochs", "2", "--metric", "accuracy")
    assert (made.exit_code, made.output) == (0, "s: 2 epochs, maximize accuracy\n")
    for number, final in enumerate(BASELINES):
        values = ["--value", str(final - 0.1), "--value", str(final)]
        assert command(serving, "tell", "s", str(number), *values).output == f"{number}: told up to epoch 2\n"
        assert object_of(serving, "finish", "s", str(number)) == {"study": "s", "trial": str(number), "state": "finished"}

    good = object_of(serving, "ask", "s", "good", "--value", ".85", "--configuration", '{"lr": 0.1}')
    assert (good["stop"], good["epoch"]) == (False, 1)
    bad = command(serving, "ask", "s", "bad", "--value", "1e-1")
    assert bad.exit_code == 3
    assert bad.stdout.startswith("stop: ")
    assert "rank 7 of 7 at epoch 1 of 2" in bad.stdout
    # Asked once more, as by a script that lost the answer.
    again = command(serving, "ask", "s", "bad", "--value", ".1", "--epoch", "1", "--json")
    assert (again.exit_code, json.loads(again.stdout)["epoch"]) == (3, 1)
    assert command(serving, "finish", "s", "bad", "--state", "stopped").output == "bad: stopped\n"
    assert command(serving, "finish", "s", "bad").output == "bad: stopped\n"  # what it was first ended with stays

    why = object_of(serving, "explain", "s", "bad")
    assert (why["state"], why["rank"], why["n_ranked"], why["best_trial"], why["best_value"]) == ("stopped", 7, 7, "0", 0.9)
    assert str(why["words"]).startswith(
        "bad was stopped: accuracy 0.1 at epoch 1 of 2, now rank 7 of 7 there. Stop, after 1 epoch: "
    )
    assert command(serving, "explain", "s", "bad").output == f"{why['words']}\n"
    assert object_of(serving, "explain", "s", "good")["configuration"] == {"lr": 0.1}

    chances = object_of(serving, "second-chances", "s")["chances"]
    assert isinstance(chances, list)
    assert [(chance["trial"], chance["next_epoch"]) for chance in chances] == [("bad", 2)]
    assert command(serving, "second-chances", "s", "-n", "1").output.endswith("chance to end as the best, from epoch 2 on\n")


def test_a_study_that_counts_steps(serving: Server) -> None:
    made = command(serving, "create", "steps", "--max-resource", "50000", "--resource", "step", "--direction", "minimize")
    assert made.output == "steps: 50,000 steps, minimize value\n"
    assert command(serving, "tell", "steps", "a", "--value", "3.5", "--at", "1000").output == "a: told up to step 1,000\n"
    assert object_of(serving, "ask", "steps", "a", "--value", "3.1", "--at", "2000")["epoch"] == 2000
    assert "value 3.1 at step 2,000 of 50,000, now rank 1 of 1 there" in command(serving, "explain", "steps", "a").output
    both = command(serving, "ask", "steps", "a", "--value", "3", "--at", "3000", "--epoch", "3")
    assert (both.exit_code, "give --epoch or --at, not both, but got 3 and 3000" in both.output) == (2, True)
    assert command(serving, "create", "none").exit_code == 2


def test_what_is_told_twice_and_what_diverges(serving: Server) -> None:
    assert command(serving, "create", "t", "--max-epochs", "3", "--direction", "minimize").exit_code == 0
    assert command(serving, "second-chances", "t").output == "none\n"
    command(serving, "tell", "t", "a", "--value", "-3.5")
    again = command(serving, "tell", "t", "a", "--value", "-2", "--epoch", "1")
    assert (again.exit_code, again.stdout) == (0, "a: told up to epoch 1\n")
    assert again.stderr == "curvestop: warning: a has the value -3.5 at epoch 1 already, which stays\n"
    diverged = command(serving, "ask", "t", "a", "--value", "nan")
    assert (diverged.exit_code, object_of(serving, "explain", "t", "a")["state"]) == (3, "failed")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ask", "none", "a", "--value", "1"], 2, "there is no study 'none' (`curvestop status` lists its studies, "),
        (["finish", "m", "none"], 2, "has no trial 'none'"),
        (["explain", "m", "none"], 2, "study 'm' has no trial 'none'"),
        (["create", "m", "--max-epochs", "4"], 2, "max_epochs=3, but got 4"),
        (
            ["create", "n", "--max-epochs", "4", "--direction", "up"],
            2,
            "direction must be 'maximize' or 'minimize', but got 'up'",
        ),
        (["ask", "m", "a", "--value", "1", "--epoch", "4"], 2, "4"),
        (["ask", "m", "a", "--value", "1", "--configuration", "lr=1"], 2, "must be a JSON object such as '{\"lr\": 0.1}'"),
        (["ask", "m", "a", "--value", "1", "--token", "wrong"], 1, "refuses this client"),
        (["ask", "m", "a", "--value", "1", "--server", "127.0.0.1:1"], 1, "nothing listens on that port"),
    ],
)
def test_mistakes_are_one_line_and_never_the_status_of_a_stop(
    serving: Server, arguments: list[str], status: int, message: str
) -> None:
    command(serving, "create", "m", "--max-epochs", "3")
    given = ["--server", serving.address, *([] if "--token" in arguments else ["--data", str(serving.folder)])]
    ended = CliRunner().invoke(app, [arguments[0], *given, *arguments[1:]])  # the last of two options counts
    assert (ended.exit_code, ended.stdout, ended.stderr.count("\n")) == (status, "", 1), ended.output
    assert message in ended.stderr


def view(*entries: Entry) -> StudyView:
    study = StudyView(StudySettings("s", max_epochs=4, metric="loss", direction="minimize"))
    study.add(entries)
    return study


def decided(trial: str, *, stop: bool, reason: str = "because", would_stop: bool = False) -> Entry:
    decision = Decision(stop, reason, 0.9, Prediction(0.5, 0.1), chance=0.01, would_stop=would_stop)
    return Decided(trial, Question(1, 4, None), decision)


START = (TrialAdded("a", {}), Observed("a", 1, 0.7))
OTHER = (TrialAdded("b", {}), Observed("b", 1, 0.6), Observed("b", 4, 0.2))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((TrialAdded("a", {}),), "a runs. No decision was asked for."),
        (START, "a runs: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. No decision was asked for."),
        (
            (*START, *OTHER, decided("a", stop=False)),
            "a runs: loss 0.7 at epoch 1 of 4, now rank 2 of 2 there. Continue, after 1 epoch: because. "
            "The best complete trial is b with 0.2.",
        ),
        (
            (*START, decided("a", stop=True)),
            "a is to stop, but has not said that it did: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. "
            "Stop, after 1 epoch: because.",
        ),
        (
            (*START, decided("a", stop=True), decided("a", stop=False, reason="later"), Ended("a", "stopped")),
            "a was stopped: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. Stop, after 1 epoch: because.",
        ),
        (
            (*START, Ended("a", "stopped")),
            "a was ended as stopped, by its own program: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. "
            "No decision was asked for.",
        ),
        (
            (*START, decided("a", stop=True), Ended("a", "stopped"), Resumed("a", "key")),
            "a runs: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. No decision was asked for. "
            "It was stopped before, and resumed at epoch 2.",
        ),
        (
            (*START, Observed("a", 4, 0.3)),
            "a is complete: loss 0.3 at epoch 4 of 4, now rank 1 of 1 there. No decision was asked for.",
        ),
        (
            (*START, Ended("a", "finished")),
            "a is complete: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. No decision was asked for.",
        ),
        ((*START, Ended("a", "failed")), "a failed: loss 0.7 at epoch 1 of 4, now rank 1 of 1 there. No decision was asked for."),
    ],
)
def test_why_in_words(entries: tuple[Entry, ...], words: str) -> None:
    assert explain(view(*entries), "a")["words"] == words


def test_why_as_an_object() -> None:
    facts = explain(view(*START, decided("a", stop=False, would_stop=True)), "a")
    assert facts["decision"] == {
        "epoch": 1,
        "target_epoch": 4,
        "stop": False,
        "would_stop": True,
        "reason": "because",
        "chance": 0.01,
        "probability": 0.9,
        "mean": 0.5,
        "sigma": 0.1,
    }
    with pytest.raises(UnknownTrial, match="study 's' has no trial 'z'"):
        explain(view(*START), "z")
