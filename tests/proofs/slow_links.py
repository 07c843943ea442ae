"""Promise 20: a server at the other end of a slow link is one that answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.remote_study import connect
from curvestop.server.rpc.certs import make_certificates
from tests.contracts import last_seen
from tests.proofs.proof import Found, Proof
from tests.proofs.proxy import FaultProxy
from tests.proofs.quick_server import QuickServer

FIRST_ANSWER_S = 3.0
EPOCH_S = 0.2
SETTINGS = last_seen(max_epochs=1_000_000)


def tls_server(folder: Path) -> tuple[QuickServer, ClientTls]:
    """A server on this machine's loopback that speaks TLS, and what its clients need."""
    folder.mkdir(exist_ok=True)
    certificates = folder / "certs"
    make_certificates(certificates, ["127.0.0.1"])
    options = ("--tls-cert", str(certificates / "server.pem"), "--tls-key", str(certificates / "server-key.pem"))
    return QuickServer(folder / "data", *options), ClientTls(ca=certificates / "ca.pem")


def slow_links(folder: Path, *, seconds: int, shortest_ms: int, links: int, timed: int) -> Found:
    """A training behind each link, all side by side; each round trip is twice the one before.

    timed: 0 where a busy machine shall not break the proof.
    """
    figures: dict[str, int | float | str] = {}
    kept = True
    server, tls = tls_server(folder)

    def behind(round_trip_s: float) -> tuple[float, int, int]:
        with FaultProxy(server.port, round_trip_s=round_trip_s) as proxy:
            return train(proxy.address, server.token, tls, f"{round_trip_s:g} s", seconds)

    with server, ThreadPoolExecutor(links) as pool:
        found = {n: pool.submit(behind, shortest_ms / 1000 * 2**n) for n in range(links)}
        for n, future in found.items():
            first_s, n_reports, unanswered = future.result()
            figures[f"s to the first answer at {shortest_ms * 2**n} ms"] = round(first_s, 1)
            figures[f"unanswered of {n_reports}"] = unanswered + int(figures.get(f"unanswered of {n_reports}", 0))
            kept &= unanswered == 0 and (first_s <= FIRST_ANSWER_S or not timed)
    return Found(figures, kept)


def train(address: str, token: str, tls: ClientTls, trial: str, seconds: float) -> tuple[float, int, int]:
    """Seconds to the first answer, reports from that one on, and how many of these had no answer."""
    with connect(address, SETTINGS, token=token, tls=tls) as study:
        begin = time.monotonic()
        first_s, n_reports, unanswered, epoch = float("inf"), 0, 0, 0
        while time.monotonic() - begin < seconds:
            epoch += 1
            answered = not study.report(trial, [epoch / 7], first_epoch=epoch).reason.startswith("server ")
            first_s = min(first_s, time.monotonic() - begin) if answered else first_s
            n_reports += 1
            unanswered += not answered
            time.sleep(EPOCH_S)  # an epoch of training
    return first_s, n_reports, unanswered


PROOFS = (
    Proof(
        20,
        "a slow link",
        "TLS at 0.05, 0.1, 0.2 and 0.4 s round trip: first answer in <= 3 s, 0 unanswered",
        slow_links,
        full={"seconds": 30, "shortest_ms": 50, "links": 4, "timed": 1},
        short={"seconds": 4, "shortest_ms": 200, "links": 1, "timed": 0},
    ),
)
