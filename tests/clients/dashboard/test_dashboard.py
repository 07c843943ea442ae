"""The dashboard over HTTP: who is let in, what it answers, and that it never writes."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.dashboard.app import STATIC_FILES, Dashboard
from curvestop.clients.dashboard.dashboard_server import DashboardServer
from curvestop.clients.dashboard.guard import SECURITY_HEADERS, Guard, LoginLinks
from curvestop.clients.remote.connection import Connection
from curvestop.server.rpc.server import Server
from curvestop.srm.study import Study
from tests.clients.dashboard.dashboards import EPOCHS, OTHER, RUNNING, STUDY, Site, rising, settings, site

ROUTES = (
    "/", *(f"/static/{name}" for name in STATIC_FILES),
    "/api/overview", "/api/study?name=second", "/api/report?name=second",
)  # fmt: skip
WAIT_S = 60


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("dashboard")) as shown:
        yield shown


@pytest.fixture
def cookie(shown: Site) -> str:
    """As a browser sends it that came by the link."""
    answer = get(shown, shown.dashboard.link.removeprefix(shown.dashboard.origin))
    return answer.headers["set-cookie"].partition(";")[0]


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.text = response.status, response.headers, response.read().decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def get(shown: Site, path: str, *, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", shown.dashboard.port, timeout=WAIT_S)
    with closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())


def asked(shown: Site, cookie: str, path: str) -> Any:
    answer = get(shown, path, cookie=cookie)
    assert answer.status == 200, answer.text
    return answer.json


def test_nothing_is_sent_without_the_cookie(shown: Site, cookie: str) -> None:
    name, _, secret = cookie.partition("=")
    for path in ROUTES:
        assert get(shown, path, cookie=cookie).status == 200, path
        for wrong in ("", f"{name}=", f"{name}={secret[:-1]}", f"other={secret}", "; ==\x7f"):
            assert get(shown, path, cookie=wrong).status == 401, (path, wrong)


def test_the_link_lets_one_browser_in_and_the_next_one_is_passed_on(shown: Site) -> None:
    link = shown.dashboard.link
    path = link.removeprefix(shown.dashboard.origin)
    first, again = get(shown, path), get(shown, path)
    assert (first.status, again.status) == (200, 401)
    assert "set-cookie" not in again.headers
    name, *attributes = first.headers["set-cookie"].split("; ")
    assert name.startswith(f"curvestop-dashboard-{shown.dashboard.port}=")
    assert {attribute.lower() for attribute in attributes} == {"httponly", "path=/", "samesite=strict"}
    assert shown.links[-1] == shown.dashboard.link != link
    assert get(shown, "/?token=wrong").status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7071", "127.0.0.1.evil.example", "localhost.", "", "[::2]:80"])
def test_a_host_name_of_somebody_else_is_refused(shown: Site, cookie: str, host: str) -> None:
    for path in ("/api/overview", shown.dashboard.link.removeprefix(shown.dashboard.origin)):
        answer = get(shown, path, cookie=cookie, host=host)
        assert answer.status in (400, 421)
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("hosts", [("localhost", "evil.example"), ("evil.example", "localhost"), ("localhost", "localhost"), ()])
def test_two_host_headers_or_none_are_refused(hosts: Sequence[str]) -> None:
    """Asked of the guard itself: a library for HTTP may refuse them before it, or hand on one of them."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("let through")

    async def send(message: Any) -> None:
        sent.append(message)

    guard = Guard(application, hosts=("localhost",), cookie="c", links=LoginLinks())
    headers = [(b"host", host.encode()) for host in hosts]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1", "LOCALHOST:8000", "localhost", "[::1]:9"])
def test_the_names_of_this_machine_are_served_at_any_port_as_a_tunnel_may_lead_here(shown: Site, cookie: str, host: str) -> None:
    assert get(shown, "/api/overview", cookie=cookie, host=host).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_there_is_nothing_to_write_to(shown: Site, cookie: str, method: str) -> None:
    before = shown.study.trials()
    for path in (*ROUTES, "/api/nothing"):
        answer = get(shown, path, method=method, cookie=cookie)
        assert (answer.status, answer.headers.get("allow")) == (405, "GET, HEAD") or answer.status == 400, (path, answer.status)
    assert shown.study.trials() == before


def test_every_answer_has_the_headers_that_keep_others_out(shown: Site, cookie: str) -> None:
    for path in (*ROUTES, "/nothing", "/?token=wrong"):
        for headers in ({"cookie": cookie}, {}, {"host": "evil.example"}):
            answer = get(shown, path, **headers)
            assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_files_outside_are_not_served(shown: Site, cookie: str) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/guard.py", "/docs", "/openapi.json"):
        assert get(shown, path, cookie=cookie).status == 404


def test_studies_and_what_became_of_their_trials(shown: Site, cookie: str) -> None:
    overview = asked(shown, cookie, "/api/overview")
    assert (overview["ok"], overview["address"], overview["run"]) == (True, shown.serving.address, None)
    assert [study["name"] for study in overview["studies"]] == [STUDY, OTHER]
    assert overview["studies"][0]["n_trials"] == {"running": 9, "stopped": 1, "failed": 1}
    assert (overview["studies"][0]["n_fitted"], overview["studies"][0]["fitted"]) == (8, True)


def test_a_study_is_sent_in_full_and_then_only_what_is_new(shown: Site, cookie: str) -> None:
    shown.serving.registry.create(settings("growing"))
    growing = shown.serving.registry["growing"]
    growing.report("a", [0.1, 0.2], configuration={"lr": 0.1, "on": True, "kind": "cnn"})
    growing.report("b", [0.3])
    full = asked(shown, cookie, "/api/study?name=growing")
    assert (full["study"]["name"], full["study"]["max_epochs"], full["study"]["metric"]) == ("growing", EPOCHS, "accuracy")
    assert [(trial["name"], trial["values"], trial["state"], trial["configuration"]) for trial in full["trials"]] == [
        ("a", [0.1, 0.2], "running", {"lr": 0.1, "on": True, "kind": "cnn"}),
        ("b", [0.3], "running", {}),
    ]
    after = f"/api/study?name=growing&after={full['n_entries']}"
    nothing = asked(shown, cookie, after)
    assert (nothing["trials"], nothing["n_entries"], nothing["full"]) == ([], full["n_entries"], False)
    growing.report("a", [0.25], first_epoch=3)
    new = asked(shown, cookie, after)
    assert [(trial["name"], trial["values"]) for trial in new["trials"]] == [("a", [0.1, 0.2, 0.25])]
    assert new["n_entries"] == full["n_entries"] + 2  # a value and a decision
    for odd in ("x", "-1", "999999999999", "9" * 5000, "%C2%B2", ""):
        assert asked(shown, cookie, f"/api/study?name=growing&after={odd}")["full"]


@pytest.mark.parametrize("sent", ["", "GET / HTTP/1.1\r\nHost: local", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT"])
def test_a_request_that_does_not_arrive_is_not_waited_for(shown: Site, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    monkeypatch.setattr("curvestop.clients.dashboard.dashboard_server.REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", shown.dashboard.port), timeout=WAIT_S) as half:
        half.sendall(sent.encode())
        while half.recv(4096):  # until it is closed
            pass


def test_predictions_and_stops_are_sent_by_epoch(shown: Site, cookie: str) -> None:
    answer = asked(shown, cookie, f"/api/study?name={STUDY.replace(' ', '%20').replace('&', '%26')}")
    trials = {trial["name"]: trial for trial in answer["trials"]}
    running = Study(settings("s"))
    for number in range(1, 9):
        running.report(f"complete-{number}", rising(number / 10), ask=False)
    for epoch in range(1, 5):
        prediction = running.predict(RUNNING[:epoch])
        assert prediction is not None
        assert trials["running"]["means"][epoch - 1] == pytest.approx(prediction.mean, rel=1e-5)
        assert trials["running"]["sigmas"][epoch - 1] == pytest.approx(prediction.sigma, rel=1e-5)
    assert trials["complete-1"]["means"] == [None] * EPOCHS
    stop = trials["hopeless"]["stop"]
    assert (stop["epoch"], stop["acted_on"]) == (1, True)
    assert stop["reason"].startswith("P(no better than 0.8 at epoch 10) = 0.961, stops at 0.95: predicted 0.001 +- 0.45")
    assert (trials["broken"]["state"], trials["broken"]["values"]) == ("failed", [0.3])


def test_what_is_not_there_and_a_server_that_is_gone(tmp_path: Path) -> None:
    with site(tmp_path / "data") as shown:
        answer = get(shown, shown.dashboard.link.removeprefix(shown.dashboard.origin))
        cookie = answer.headers["set-cookie"].partition(";")[0]
        assert get(shown, "/api/study?name=none", cookie=cookie).status == 404
        assert get(shown, "/api/report", cookie=cookie).status == 404
        assert get(shown, "/api/study?name=second", cookie=cookie).status == 200
        shown.serving.close()
        overview = asked(shown, cookie, "/api/overview")
        assert (overview["ok"], overview["problem"]) == (False, "it cannot be reached: nothing listens on that port")
        gone = get(shown, "/api/study?name=second", cookie=cookie)
        assert (gone.status, gone.text) == (502, "the server does not answer: it cannot be reached: nothing listens on that port")


def test_no_secret_is_logged(shown: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        link = shown.dashboard.link
        cookie = get(shown, link.removeprefix(shown.dashboard.origin)).headers["set-cookie"]
        get(shown, "/api/overview", cookie=cookie.partition(";")[0])
        get(shown, "/?token=a-wrong-one")
    written = caplog.text + "".join(capfd.readouterr())
    secrets = [link.partition("token=")[2], cookie.partition("=")[2].partition(";")[0], "a-wrong-one"]
    assert not [secret for secret in secrets if secret in written]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_beyond_this_machine_it_wants_a_name(host: str) -> None:
    with closing(Connection("127.0.0.1:1", token="x")) as connection:
        dashboard = Dashboard(connection, address="x")
        with pytest.raises(ValueError, match=r"does not encrypt: .*ssh -L .*, or add --allow-remote NAME"):
            DashboardServer(dashboard, host=host, port=0)
    ended = CliRunner().invoke(app, ["dashboard", "--host", host, "--port", "0", "--token", "x"])
    assert (ended.exit_code, ended.output.count("\n")) == (2, 1)


def test_with_a_name_others_are_served_under_it_alone(tmp_path: Path) -> None:
    with (
        Server(tmp_path, host="127.0.0.1", port=0) as serving,
        closing(Connection(serving.address, token=serving.token_path.read_text().strip())) as connection,
        DashboardServer(Dashboard(connection, address="x"), host="0.0.0.0", port=0, public_name="gpu1.lan") as dashboard,
    ):
        shown = Site(serving, dashboard)
        path = dashboard.link.removeprefix(f"http://gpu1.lan:{dashboard.port}")
        assert get(shown, path, host="other.lan").status == 421
        assert get(shown, path, host="gpu1.lan:80").status == 200


def test_the_command_prints_a_link_that_opens_it(tmp_path: Path) -> None:
    with Server(tmp_path, host="127.0.0.1", port=0) as serving:
        command = [sys.executable, "-m", "curvestop.cli", "dashboard", "--port", "0", "--server", serving.address]
        process = subprocess.Popen([*command, "--data", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            line = process.stdout.readline()
            try:
                link = line.removeprefix("open in a browser  ").strip()
                host, _, path = link.removeprefix("http://").partition("/")
                connection = http.client.HTTPConnection(host, timeout=WAIT_S)
                with closing(connection):
                    connection.request("GET", f"/{path}")
                    assert connection.getresponse().status == 200
            finally:
                process.terminate()
            rest, errors = process.communicate(timeout=WAIT_S)
        assert rest.startswith("for another browser  http://127.0.0.1:")
        assert (errors, process.returncode) == ("", 0)
