"""`curvestop report` on a real server: the file, the numbers, the warning, and what goes wrong in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from curvestop.cli import app
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.rpc.server import Server
from curvestop.server.storage.data_folder import DataFolder
from curvestop.server.storage.store import CurveStore
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from tests.contracts import last_seen

N, N_WRONG = 30, 9


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a study of which 9 of 30 predictions were wide of the mark, one of a name that is no file's, and one of four seeds."""
    folder = tmp_path_factory.mktemp("report")
    with closing(DataFolder(folder)) as data, closing(CurveStore(data.database_url)) as store:
        for name, n_wrong in (("drifting", N_WRONG), ("../odd name", 0)):
            study = store.add_study(last_seen(name=name))
            with store.transaction() as transaction:
                transaction.append(study.id, list(predicted_wrongly(n_wrong)), after=0)
        study = store.add_study(last_seen(name="repeated"))
        with store.transaction() as transaction:
            transaction.append(study.id, list(repeated()), after=0)
        study = store.add_study(last_seen(name="resumed"))
        with store.transaction() as transaction:
            stopped: list[Entry] = [TrialAdded("a", {}), Observed("a", 1, 0.1), Ended("a", "stopped")]
            transaction.append(study.id, [*stopped, Resumed("a", "key"), TrialAdded("b", {})], after=0)
    with Server(folder, host="127.0.0.1", port=0) as serving:
        yield serving


def predicted_wrongly(n_wrong: int) -> Iterator[Entry]:
    for i in range(N):
        prediction = Prediction(0.5 if i % 3 == 0 and i // 3 < n_wrong else 0.3, 0.05)
        yield TrialAdded(f"t{i}", {})
        yield Observed(f"t{i}", 1, 0.1)
        yield Decided(
            f"t{i}", Question(1, 3, None), Decision(False, "continues", 0.001, prediction, 20, 1)
        )  # all end alike: as good
        yield from (Observed(f"t{i}", epoch, 0.1 * epoch) for epoch in (2, 3))
        yield Ended(f"t{i}", "finished")


def repeated() -> Iterator[Entry]:
    for i, final in enumerate([0.5, 0.52, 0.54, 0.56]):
        yield TrialAdded(f"t{i}", {"lr": 0.1, "seed": i})
        yield from (Observed(f"t{i}", epoch, final) for epoch in (1, 2, 3))


def report(serving: Server, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments, "--server", serving.address, "--data", str(serving.folder)])


def test_a_page_and_the_gist_of_it(serving: Server, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = report(serving, "../odd name", "--out", str(page))
    assert result.output.splitlines() == ["../odd name: 30 finished; 0 epochs saved (0%)", str(page)]
    assert page.read_text().startswith("<!doctype html>")
    assert "src=" not in page.read_text()
    assert "href=" not in page.read_text()


def test_resumed_trials_are_counted_beside_the_states(serving: Server, tmp_path: Path) -> None:
    assert report(serving, "resumed", "--out", str(tmp_path / "page.html")).output.splitlines()[0] == (
        "resumed: 2 running; 1 resumed; 0 epochs saved (0%)"
    )


def test_the_default_file_lies_here_whatever_the_study_is_called(
    serving: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report(serving, "../odd name").output.splitlines()[-1] == ".._odd_name.html"
    assert [path.name for path in tmp_path.iterdir()] == [".._odd_name.html"]


def test_the_seed_noise_is_said(serving: Server, tmp_path: Path) -> None:
    lines = report(serving, "repeated", "--out", str(tmp_path / "page.html")).output.splitlines()
    # Squares .03^2 + .01^2 + .01^2 + .03^2 over three repeats.
    assert lines[1] == "seed noise 0.026 (from 1 repeated configuration): 1 other complete trial within it of the best"


def test_drift_is_warned_of(serving: Server, tmp_path: Path) -> None:
    lines = report(serving, "drifting", "--out", str(tmp_path / "page.html")).output.splitlines()
    assert lines[1].startswith(
        "warning: calibration drifts. From 25% to 50% of the curve: 9 of the last 30 final values were outside the stated 95% "
        "intervals, but 1.5 were expected (p = "
    )


def test_as_json(serving: Server) -> None:
    content = json.loads(report(serving, "drifting", "--json").output)
    assert (content["study"]["name"], content["summary"]["n_trials"]) == ("drifting", {"finished": 30})
    assert content["calibration"]["drift"]["warn"]
    stage = content["calibration"]["stages"][2]
    assert (stage["stage"], stage["n"], stage["n_covered"]) == ("25% to 50% of the curve", N, N - N_WRONG)
    assert stage["coverage"] == pytest.approx(0.7)


def test_mistakes_in_one_line(serving: Server, tmp_path: Path) -> None:
    nameless = report(serving, "nameless")
    assert (nameless.exit_code, nameless.output) == (
        2,
        f"curvestop: server {serving.address}: there is no study 'nameless' "
        "(`curvestop status` lists its studies, `curvestop create` makes one)\n",
    )
    nowhere = report(serving, "drifting", "--out", str(tmp_path / "none" / "page.html"))
    assert (nowhere.exit_code, nowhere.output.count("\n")) == (2, 1)
    gone = CliRunner().invoke(app, ["report", "drifting", "--server", "127.0.0.1:1", "--token", "x"])
    assert (gone.exit_code, gone.output) == (
        1,
        "curvestop: server 127.0.0.1:1 does not answer: it cannot be reached: nothing listens on that port\n",
    )
    wrong = CliRunner().invoke(app, ["report", "drifting", "--server", serving.address, "--token", "x"])
    assert (wrong.exit_code, wrong.output.count("\n")) == (1, 1)
    assert wrong.output.startswith(f"curvestop: server {serving.address} refuses this client: the token is missing or wrong")


def test_without_a_token_no_server_is_named(serving: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURVESTOP_TOKEN", "CURVESTOP_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CURVESTOP_HOME", str(tmp_path))
    ended = CliRunner().invoke(app, ["report", "drifting", "--server", serving.address])
    assert (ended.exit_code, ended.output) == (
        1,
        "curvestop: no token found: set CURVESTOP_TOKEN or CURVESTOP_TOKEN_FILE "
        f"({tmp_path / 'token'} does not exist; `curvestop serve` on this machine writes it), or pass --data FOLDER\n",
    )
