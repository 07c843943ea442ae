"""What a tenant may store: so much and no more, and what others store is not counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import PUSHBACK
from curvestop.server.rpc.quotas import EXTRA_ENTRIES_PER_REPORT, EntryQuota, Limits, QuotaExceeded, most_entries
from curvestop.server.rpc.server import Server
from curvestop.server.rpc.tokens import add_token
from curvestop.srm.report import Report
from tests.contracts import last_seen
from tests.server.rpc.test_servicer import WAIT_S, local_channel, report

FULL = 12
FULL_TENANT = "a tenant may store 12 entries (values, decisions, trials, and each 100 bytes of configurations)"


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[[str, str, Any], Any]]:
    """Call as one of two tenants of a server, each with a study."""
    tokens = {tenant: add_token(tmp_path, tenant, tenant=tenant) for tenant in ("full", "other")}
    with (
        Server(tmp_path, host="127.0.0.1", port=0, limits=Limits(max_entries=FULL)) as serving,
        local_channel(serving.address) as channel,
    ):
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]

        def call(tenant: str, method: str, request: Any) -> Any:
            metadata = (("authorization", f"Bearer {tokens[tenant]}"),)
            return getattr(stub, method)(request, timeout=WAIT_S, metadata=metadata)

        for tenant in tokens:
            call(tenant, "CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(last_seen())))
        yield call


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())[PUSHBACK] == "-1"
    details: str = error.details()
    return details


def test_a_full_tenant_is_told_what_it_has_and_may_have(call: Callable[[str, str, Any], Any]) -> None:
    call("full", "Report", report(trial="a", values=[0.1, 0.2]))  # the trial and two values
    call("full", "Report", report(trial="b", values=[0.1, 0.2, 0.3]))
    details = "and each 100 bytes of configurations), has 7, and this call needs up to 6 more"
    assert refused(lambda: call("full", "Report", report(trial="c", values=[0.1, 0.2, 0.3]))).endswith(details)
    batch = pb.ReportBatchRequest(study="s", reports=[report(trial="c"), report(trial="d")])
    assert "has 7, and this call needs up to 8 more" in refused(lambda: call("full", "ReportBatch", batch))
    listed = call("full", "ListTrials", pb.ListTrialsRequest(study="s")).trials
    assert [(trial.trial, list(trial.values)) for trial in listed] == [("a", [0.1, 0.2]), ("b", [0.1, 0.2, 0.3])]


def test_a_full_tenant_resumes_nothing(call: Callable[[str, str, Any], Any]) -> None:
    call("full", "Report", report(trial="a", values=[0.1, 0.2, 0.3]))
    call("full", "Report", report(trial="b", values=[0.1, 0.2, 0.3]))
    stop = pb.FinishTrialRequest(study="s", trial="a", state="TRIAL_STATE_STOPPED")
    for number in range(2):  # each time the resume and the end after it
        call("full", "FinishTrial", stop)
        if number == 0:
            call("full", "Resume", pb.ResumeRequest(study="s", trial="a", key=str(number)))
    details = refused(lambda: call("full", "Resume", pb.ResumeRequest(study="s", trial="a", key="again")))
    assert details == f"{FULL_TENANT}, has 11, and this call needs up to 2 more"


def test_what_is_known_already_takes_no_room(call: Callable[[str, str, Any], Any]) -> None:
    for _ in range(10):
        call("full", "Report", report(trial="a", values=[0.1, 0.2]))
    call("full", "Report", report(trial="b", values=[0.1, 0.2]))


def test_another_tenant_has_room_of_its_own(call: Callable[[str, str, Any], Any]) -> None:
    call("full", "Report", report(trial="a", values=[0.1, 0.2, 0.3]))
    call("full", "Report", report(trial="b", values=[0.1, 0.2]))
    refused(lambda: call("full", "Report", report(trial="c", values=[0.1, 0.2, 0.3])))
    call("other", "Report", report(trial="c", values=[0.1, 0.2, 0.3]))


def test_what_other_servers_store_is_counted_within_some_entries() -> None:
    stored, n_counts = 0, 0

    def n_stored() -> int:
        nonlocal n_counts
        n_counts += 1
        return stored

    quota, one = EntryQuota(n_stored, max_entries=100_000), [Report("a", [0.1])]
    for _ in range(1000):
        quota.take(most_entries(one))
    assert n_counts == 1
    stored = 100_000
    several = one * (10_000 // (1 + EXTRA_ENTRIES_PER_REPORT) + 1)
    with pytest.raises(QuotaExceeded, match="has 100000"):
        quota.take(most_entries(several))


def test_calls_at_once_take_no_more_than_the_quota_together() -> None:
    quota, one = EntryQuota(lambda: 0, max_entries=10), [Report("a", [0.1, 0.2])]  # 5 entries at most
    quota.take(most_entries(one))
    quota.take(most_entries(one))
    with pytest.raises(QuotaExceeded):
        quota.take(most_entries(one))  # nothing is stored yet, but may be
    quota.release(most_entries(one))
    quota.take(most_entries(one))


def test_who_gives_up_while_the_store_is_counted_keeps_nothing() -> None:
    quota = EntryQuota(lambda: 0, max_entries=5)
    assert not quota.try_take(5)  # nothing was counted yet
    quota.reserve(5)  # counted in a thread, for a call that was cancelled meanwhile
    quota.take(5)
    with pytest.raises(QuotaExceeded):
        quota.take(1)


def test_studies_created_at_once_are_no_more_than_the_quota(tmp_path: Path) -> None:
    limits = Limits(max_studies=5)
    with Server(tmp_path, host="127.0.0.1", port=0, limits=limits) as serving, local_channel(serving.address) as channel:
        stub = EarlyStoppingStub(channel)  # type: ignore[no-untyped-call]
        metadata = (("authorization", f"Bearer {serving.token_path.read_text().strip()}"),)

        def create(number: int) -> Any:
            settings = codec.settings_to_proto(last_seen(name=f"s{number}"))
            return stub.CreateStudy.future(pb.CreateStudyRequest(settings=settings), timeout=WAIT_S, metadata=metadata)

        answers = [create(number) for number in range(40)]
        codes = [answer.code() for answer in answers]
        assert (codes.count(grpc.StatusCode.OK), codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)) == (5, 35)
        listed = stub.ListStudies(pb.ListStudiesRequest(), timeout=WAIT_S, metadata=metadata).studies
        assert len(listed) == 5
        create(codes.index(grpc.StatusCode.OK)).result()  # one that exists is no study more


def test_long_configurations_count_as_several_entries() -> None:
    quota = EntryQuota(lambda: 0, max_entries=20)
    quota.take(most_entries([Report("a", [0.1], {"name": "x" * 996})]))  # 4 entries, and 10 for 1,000 bytes
    with pytest.raises(QuotaExceeded, match="needs up to 14 more"):
        quota.take(most_entries([Report("b", [0.1], {"name": "x" * 996})]))


def test_stored_configurations_are_counted_too(tmp_path: Path) -> None:
    for _ in range(2):  # the second time they are read from the log
        with Server(tmp_path, host="127.0.0.1", port=0) as serving:
            serving.registry.create(last_seen())
            serving.registry["s"].report("a", [0.1], configuration={"name": "x" * 996}, ask=False)
            assert serving.registry.n_entries() == 2 + 10  # the trial and its value, and 1,000 bytes
