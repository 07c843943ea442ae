"""Targets and hosts as people type them."""

from pathlib import Path

import pytest

from curvestop.proto.endpoint import home_folder, parse_target, with_port


@pytest.mark.parametrize(
    ("target", "parsed"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:8080", ("127.0.0.1", 8080)),
        ("localhost", ("127.0.0.1", 7070)),
        ("[::1]:8080", ("::1", 8080)),
        ("[::1]", ("::1", 7070)),
        ("gpu1.example.com", ("gpu1.example.com", 7070)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
    ],
)
def test_targets(target: str, parsed: tuple[str, int]) -> None:
    assert parse_target(target) == parsed


@pytest.mark.parametrize("target", ["", ":", "localhost:", "localhost:-1", "localhost:99999", "a b", "a b:7070", "[::1", "a,b:1"])
def test_no_targets(target: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_target(target)


def test_addresses() -> None:
    assert with_port("::1", 7070) == "[::1]:7070"
    assert with_port("127.0.0.1", 7070) == "127.0.0.1:7070"


def test_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVESTOP_HOME", "/somewhere")
    assert home_folder() == Path("/somewhere")
    monkeypatch.delenv("CURVESTOP_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert home_folder() == Path("/home/me/.local/share/curvestop")
