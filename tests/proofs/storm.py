"""A storm of clients from one process, which loads little so that it begins soon: `python -m tests.proofs.storm JSON`."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub

STUDY, N_EPOCHS = "s", 50
PUSHBACK = "grpc-retry-pushback-ms"
WAIT_S = 60.0


@dataclass
class Storm:
    """Clients that report as fast as they are answered; told to come again, they wait as long as they are told.

    accepted_ms, refused_ms: of each call. other: calls with another status.
    """

    target: str
    token: str
    clients: int
    seconds: float
    name: str
    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    other: int = 0

    def run(self) -> None:
        ends = time.monotonic() + self.seconds
        threads = [threading.Thread(target=self._report, args=(number, ends)) for number in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _report(self, number: int, ends: float) -> None:
        epoch = 0
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", number % 8 == 0))
        metadata = (("authorization", f"Bearer {self.token}"),)
        with grpc.secure_channel(self.target, credentials, options=options) as channel:
            stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
            while time.monotonic() < ends:
                trial, epoch_of = divmod(epoch, N_EPOCHS - 1)
                request = pb.ReportRequest(
                    study=STUDY, trial=f"{self.name}-{number}-{trial}", first_epoch=epoch_of + 1, values=[0.5], ask=True
                )
                began = time.perf_counter()
                try:
                    stub.Report(request, timeout=WAIT_S, metadata=metadata)
                except grpc.RpcError as error:
                    self._refused(error, 1e3 * (time.perf_counter() - began))
                    continue
                self.accepted_ms.append(1e3 * (time.perf_counter() - began))
                epoch += 1

    def _refused(self, error: Any, ms: float) -> None:
        pushback = dict(error.trailing_metadata() or ()).get(PUSHBACK)
        if error.code() != grpc.StatusCode.UNAVAILABLE or pushback is None:
            self.other += 1
            return
        self.refused_ms.append(ms)
        time.sleep(int(pushback) / 1000)


def main(storm: str) -> None:
    running = Storm(**json.loads(storm))
    running.run()
    print(json.dumps(asdict(running)))


if __name__ == "__main__":
    main(*sys.argv[1:])
