"""A client in another language, which knows the .proto file and nothing of ours, trains over TLS and watches the server drain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import curvestop.proto
from curvestop import StudySettings, connect
from curvestop.server.rpc.certs import make_certificates
from tests.server_process import ServerProcess
from tests.system_programs import skip_without

HERE = Path(__file__).parents[2] / "node"
EXAMPLES = Path(__file__).parents[3] / "examples"
INSTALL_S, ANSWER_S = 240.0, 60.0


@pytest.fixture(scope="module")
def node() -> str:
    """Node with the packages of the lock file."""
    skip_without("node", "npm")
    found = shutil.which("node")
    assert found is not None
    if not (HERE / "node_modules").exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=INSTALL_S)
    return found


def test_the_client_of_the_page_is_stopped(node: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        with connect(server.address, StudySettings("s", max_epochs=3), token=server.token) as study:
            for number in range(5):
                study.report(number, [0.5 + number / 10, 0.6 + number / 10, 0.7 + number / 10], ask=False)
        # Required from the folder of the script: the packages lie elsewhere.
        environment = {**os.environ, "CURVESTOP_TOKEN": server.token, "NODE_PATH": str(HERE / "node_modules")}
        proto = str(Path(*curvestop.proto.__path__))
        command = [node, str(EXAMPLES / "ask.js"), proto, server.address, "s", "bad", "0.1", "0.2", "0.3"]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=ANSWER_S, check=False)
    assert (ended.returncode, ended.stderr) == (3, "")
    assert ended.stdout.startswith("epoch 1: stop: ")
    assert "rank 6 of 6 at epoch 1 of 3" in ended.stdout


def test_a_client_of_another_language_trains_until_it_is_stopped_and_sees_the_server_drain(node: str, tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    make_certificates(certs, ["localhost"])
    tls = ["--host", "0.0.0.0", "--tls-cert", str(certs / "server.pem"), "--tls-key", str(certs / "server-key.pem")]
    protos = [str(Path(folder)) for folder in curvestop.proto.__path__]
    with ServerProcess(tmp_path / "data", *tls) as server:
        command = [node, str(HERE / "train.js"), protos[0], f"localhost:{server.port}", str(certs / "ca.pem")]
        environment = {**os.environ, "CURVESTOP_TOKEN": server.token}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            stopped, ended, healthy = (json.loads(client.stdout.readline()) for _ in range(3))
            assert 1 <= stopped["stopped_at"] < 10, stopped
            assert stopped["probability"] >= 0.95
            assert "predicted" in stopped["reason"]
            assert ended == {"ended": "TRIAL_STATE_STOPPED"}
            assert healthy == {"health": "SERVING"}
            client.stdin.write("go\n")
            client.stdin.flush()
            server.send(signal.SIGTERM)
            assert json.loads(client.stdout.readline()) == {"health": "NOT_SERVING"}
            assert client.wait(ANSWER_S) == 0
        assert server.wait() == 0
