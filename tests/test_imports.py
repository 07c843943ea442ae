"""What an import loads, each in a fresh interpreter: the face of the package next to nothing, a client of a server little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.contracts_training import CurveServer

# What numpy, grpc and protobuf load by themselves, some of it only where it is installed.
DEPENDENCIES_OF_THEIRS = {
    "charset_normalizer",
    "cython_runtime",
    "grpc_health",
    "grpc_reflection",
    "grpc_status",
    "grpc_tools",
    "typing_extensions",
}
CLIENT = {"numpy", "scipy", "grpc", "google", *DEPENDENCIES_OF_THEIRS}
SLOW = {"scipy.special", "scipy.stats", "scipy.optimize", "sklearn", "numpy.f2py"}  # with them it takes more than 0.3 s of CPU

LIST = "import json, sys; print(json.dumps(sorted(sys.modules)))"
TRAINING = """
import json, sys
from curvestop import StudySettings, connect
with connect(sys.argv[1], StudySettings("imports", max_epochs=20), token=sys.argv[2], strict=True, deadline_s=60.0) as study:
    study.report("a", [0.1])
print(json.dumps(sorted(sys.modules)))
"""


def run(code: str, *arguments: str) -> Any:
    """Run the code in an interpreter of its own and return what it prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def third_party(modules: list[str]) -> set[str]:
    """Return the packages that are not the standard library's; an underscore begins the names of compilers and installers."""
    packages = {name.partition(".")[0] for name in modules}
    return {name for name in packages if not name.startswith("_")} - set(sys.stdlib_module_names) - {"curvestop"}


def test_the_package_loads_nothing_until_a_name_is_used() -> None:
    assert third_party(run(f"import curvestop; {LIST}")) - third_party(run(LIST)) == set()


def test_its_names_are_all_there() -> None:
    import curvestop

    assert [name for name in curvestop.__all__ if getattr(curvestop, name, None) is None] == []
    assert dir(curvestop) == sorted(curvestop.__all__)
    with pytest.raises(AttributeError, match="'curvestop' has no attribute 'nope'"):
        curvestop.nope  # type: ignore[attr-defined]  # noqa: B018


def test_a_training_that_asks_a_server_loads_little(curve_server: CurveServer) -> None:
    modules = run(TRAINING, curve_server.address, curve_server.token)
    assert third_party(modules) - third_party(run(LIST)) - CLIENT == set()
    assert SLOW.intersection(modules) == set()


@pytest.mark.parametrize("module", ["curvestop.cli", "curvestop.hyperband.cli", "curvestop.clients.nas.cli"])
def test_a_command_loads_pages_and_frameworks_only_when_it_needs_them(module: str) -> None:
    loaded = third_party(run(f"import {module}; {LIST}"))
    assert (
        loaded & {"plotly", "starlette", "uvicorn", "ray", "torch", "emcee", "numba", "cryptography", "psycopg", "mcp"} == set()
    )


WITHOUT_POSIX = """
import signal, sys
sys.modules["fcntl"] = None  # as on Windows, which has no such module and none of these signals
del signal.SIGHUP, signal.SIGKILL
from curvestop import Epochs, SRMPruner, Study, StudySettings
assert not Study(StudySettings("s", max_epochs=2)).report("a", 0.5).stop
import curvestop.hyperband.cli, curvestop.clients.nas.cli
import curvestop.cli
sys.argv = ["curvestop", *sys.argv[1:]]
curvestop.cli.main()
"""


def test_without_posix_the_client_works_and_a_server_says_what_to_do(tmp_path: Path) -> None:
    def ended(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    for command in (["serve", "--port", "0"], ["token", "add", "ann"]):
        status, message = ended(*command, "--data", str(tmp_path / "data"))
        assert status == 2, message
        assert message.startswith("curvestop: this needs Linux or macOS; on Windows run it in WSL. ")
        assert message.count("\n") == 1
    status, message = ended("ask", "s", "a", "--value", "1", "--token", "x", "--server", "127.0.0.1:1")
    assert (status, message) == (
        1,
        "curvestop: server 127.0.0.1:1 does not answer: it cannot be reached: nothing listens on that port\n",
    )
