"""`curvestop mcp`, driven by the SDK's own client over standard input and output, on a real server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.connection import Connection
from curvestop.clients.remote.study_calls import StudyCalls
from curvestop.server.rpc.server import Server
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings

mcp = pytest.importorskip("mcp")

READING = ["list_studies", "list_trials", "should_stop", "explain", "second_chances", "backtest"]
WRITING = ["create_study", "report", "finish"]
BASELINES = [0.9, 0.8, 0.7, 0.6, 0.5]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("mcp"), host="127.0.0.1", port=0) as serving:
        yield serving


class Agent:
    """Calls tools; `content` of an answer is its structured one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, **arguments: Any) -> Any:
        answer = await self._client.call_tool(tool, arguments)
        assert not answer.is_error, answer
        content = answer.structured_content
        return content.get("result", content)

    async def mistake(self, tool: str, **arguments: Any) -> str:
        answer = await self._client.call_tool(tool, arguments)
        assert answer.is_error, answer
        return str(answer.content[0].text)


def converse(serving: Server, conversation: Any, *options: str) -> None:
    token = (serving.folder / "token").read_text().strip()
    process = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "curvestop.cli", "mcp", "--server", serving.address, *options],
        env={"CURVESTOP_TOKEN": token, "PYTHONPATH": ":".join(filter(None, sys.path))},
    )

    async def connected() -> None:
        async with mcp.Client(process) as client:
            await conversation(Agent(client))

    asyncio.run(connected())


def test_a_search_by_an_agent_stops_what_it_should(serving: Server, tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    rows = [f"{run},{epoch},{run / 20 + epoch / 50}" for run in range(8) for epoch in range(1, 6)]
    table.write_text("\n".join(["run,epoch,accuracy", *rows]))

    async def search(agent: Agent) -> None:
        assert await agent.tools() == READING + WRITING
        await agent.call("create_study", study="s", max_epochs=2, metric="accuracy")
        for number, final in enumerate(BASELINES):
            went = await agent.call(
                "report", study="s", trial=str(number), values=[final - 0.1, final], configuration={"lr": 0.1}
            )
            assert not went["stop"]
            assert await agent.call("finish", study="s", trial=str(number), state="finished") == f"{number} is finished"
        assert (await agent.call("report", study="s", trial="good", values=[0.85]))["stop"] is False
        assert (await agent.call("report", study="s", trial="bad", values=[0.1]))["stop"] is True
        why = await agent.call("should_stop", study="s", trial="bad")
        assert (why["stop"], why["epoch"]) == (True, 1)
        assert "rank 7 of 7 at epoch 1 of 2" in why["reason"]
        assert (await agent.call("finish", study="s", trial="bad", state="stopped")) == "bad is stopped"
        assert (await agent.call("explain", study="s", trial="bad"))["words"].startswith("bad was stopped: accuracy 0.1 at ")
        (chance,) = await agent.call("second_chances", study="s")
        assert (chance["trial"], chance["next_epoch"]) == ("bad", 2)
        listed = await agent.call("list_trials", study="s", n=2)
        assert [trial["trial"] for trial in listed["trials"]] == ["0", "good"]
        assert listed["summary"]["n_trials"] == {"finished": 5, "running": 1, "stopped": 1}
        assert {"study": "s", "metric": "accuracy", "direction": "maximize", "max_epochs": 2} in await agent.call("list_studies")
        replayed = await agent.call("backtest", path=str(table), metric="accuracy")
        assert replayed["curves"]["runs"] == 8
        json.dumps(replayed, allow_nan=False)

    converse(serving, search, "--allow-writes")


def test_without_leave_it_only_reads_and_says_what_was_wrong(serving: Server) -> None:
    with closing(Connection(serving.address, token=(serving.folder / "token").read_text().strip())) as connection:
        study = StudyCalls.create(connection, StudySettings("told", max_epochs=2))
        study.answer(Report("a", [0.5], ask=False))

    async def look(agent: Agent) -> None:
        assert await agent.tools() == READING
        assert await agent.call("should_stop", study="told", trial="a") == {"stop": False, "reason": "no decision was asked for"}
        assert "there is no study 'none'" in await agent.mistake("explain", study="none", trial="a")
        assert "has no trial 'z'" in await agent.mistake("should_stop", study="told", trial="z")
        assert "report" in await agent.mistake("report", study="told", trial="a", values=[0.9])
        assert "/none.csv" in await agent.mistake("backtest", path="/none.csv")

    converse(serving, look)
