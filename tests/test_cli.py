"""`curvestop serve` and `curvestop token`: what they print, refuse and leave behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.remote.remote_study import connect
from tests.contracts import last_seen
from tests.contracts_store import stored_log
from tests.server_process import ServerProcess, refused


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as server:
        yield server


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for the tests that leave it running."""
    with ServerProcess(tmp_path_factory.mktemp("untouched") / "data") as server:
        yield server


def test_prints_where_it_listens_and_keeps_its_token_to_itself(untouched: ServerProcess) -> None:
    assert untouched.address.startswith("127.0.0.1:")
    assert untouched.printed["data folder"] == str(untouched.folder)
    assert untouched.printed["to look at"] == f"curvestop dashboard --server {untouched.address}"
    assert "alembic" not in untouched.errors
    token_file = Path(untouched.printed["token file"])
    assert token_file == untouched.folder / "token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(untouched.folder.stat().st_mode) == 0o700
    assert len(untouched.token) == 43  # 32 bytes in base64 without padding
    assert untouched.token not in str(untouched.printed) + untouched.errors


def test_a_second_server_on_the_same_data_ends_at_once(untouched: ServerProcess) -> None:
    status, message = refused("--port", "0", "--data", str(untouched.folder))
    assert status == 2
    assert message == f"curvestop: another server uses {untouched.folder}: stop it, or choose another folder with --data\n"


def test_a_port_in_use_ends_at_once(untouched: ServerProcess, tmp_path: Path) -> None:
    status, message = refused("--port", str(untouched.port), "--data", str(tmp_path / "other"))
    assert status == 2
    assert message == (
        f"curvestop: cannot listen on port {untouched.port} of 127.0.0.1 (Address already in use): choose another port\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_only_this_machine_is_served(tmp_path: Path, host: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--host", host, "--port", "0", "--data", str(tmp_path / "data")])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"curvestop: without TLS the host must be 127.0.0.1, ::1 or localhost, but got {host!r}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = CliRunner().invoke(app, ["serve", "--port", "0", "--data", str(tmp_path / "file" / "data")])
    assert result.exit_code == 2
    assert result.stderr == f"curvestop: {tmp_path / 'file' / 'data'}: Not a directory\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    result = CliRunner().invoke(app, ["serve", "--port", "0", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"curvestop: {tmp_path / 'lock'}: Permission denied\n"


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "curves.db").write_bytes(b"no database " * 1000)
    result = CliRunner().invoke(app, ["serve", "--port", "0", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"curvestop: the database {tmp_path / 'curves.db'} is damaged (file is not a database): ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(server: ServerProcess, number: signal.Signals) -> None:
    with connect(server.address, last_seen(max_epochs=100_000), token=server.token, deadline_s=2.0) as study:
        acknowledged = 0
        for epoch in range(1, 100_000):
            if "does not answer" in study.report("a", [0.5], first_epoch=epoch).reason:
                break
            acknowledged = epoch
            if epoch == 50:
                server.send(number)
        assert server.wait() == 0
    assert acknowledged >= 50
    log = stored_log(f"sqlite:///{server.folder / 'curves.db'}")
    stored = sum(type(entry).__name__ == "Observed" for entry in log)
    assert stored >= acknowledged


def test_a_signal_does_not_wait_for_a_fit(server: ServerProcess) -> None:
    slow = last_seen(max_epochs=20, predictor="nu-svr", predictor_settings={"n_candidates": 10_000})
    with connect(server.address, slow, token=server.token, deadline_s=30.0) as study:
        for number in range(6):
            study.report(str(number), [epoch / (20 + number) for epoch in range(1, 21)])
        assert study.report("a", [0.1]).reason == "models for epoch 20 are being fitted on 6 curves"
    began = time.monotonic()
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < 10.0


def test_a_signal_does_not_wait_for_a_call_that_hangs(tmp_path: Path) -> None:
    prepare = (
        "import threading\nfrom curvestop.server.rpc.servicer import EarlyStoppingService as Service\n"
        "Service.GetStudy = lambda *_: (print('hangs', flush=True), threading.Event().wait())"
    )
    with ServerProcess(tmp_path / "data", prepare=prepare) as server:
        study = connect(server.address, last_seen(), token=server.token, deadline_s=1.0)
        study.check()
        with pytest.raises(ConnectionError):
            study.status()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert "calls still run" in server.errors


def test_the_first_start_after_a_kill_works(server: ServerProcess) -> None:
    token = server.token
    server.kill()
    with ServerProcess(server.folder, port=server.port) as again:
        assert again.address == server.address
        assert again.token == token


def test_token_prints_its_path_and_shows_it_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("secret\n")
    run = CliRunner().invoke
    assert run(app, ["token", "--data", str(tmp_path)]).stdout == f"{tmp_path / 'token'}\n"
    assert run(app, ["token", "--data", str(tmp_path), "--show"]).stdout == "secret\n"
    monkeypatch.setenv("CURVESTOP_HOME", str(tmp_path))
    assert run(app, ["token", "--show"]).stdout == "secret\n"
    missing = run(app, ["token", "--data", str(tmp_path / "none")])
    assert missing.exit_code == 2
    assert missing.stderr.startswith(f"curvestop: cannot read the token file {tmp_path / 'none' / 'token'}")


@pytest.mark.parametrize("command", [[], ["serve"], ["token"]])
def test_help_has_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.stdout


def test_a_server_that_starts_does_not_wait_for_what_only_fits_need() -> None:
    code = "import sys, curvestop.cli; print(*sorted({'sklearn', 'scipy.stats', 'pandas', 'alembic'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, "curvestop 0.1.0\n")


def test_status_without_a_token_names_the_ways_to_give_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CURVESTOP_TOKEN", "CURVESTOP_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CURVESTOP_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["status", "--server", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert result.stderr == "curvestop: no token found: set CURVESTOP_TOKEN or CURVESTOP_TOKEN_FILE, or pass --data FOLDER\n"
