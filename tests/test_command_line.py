"""What the three commands share: text is printed as it is, and passwords are not printed."""

from __future__ import annotations

import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

import curvestop
from curvestop.command_line import errors_in_one_line, hide_passwords, new_console, print_error, printable, signals_interrupt


@pytest.mark.parametrize("text", ["cell[identity(0)]", "optimizer=[sgd]", "[/] [bold]x", ":smile: lr:warning:", "a[/b]"])
def test_a_console_prints_text_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(text, title=text)
    table.add_row(text)
    console = new_console(width=80)
    console.print(text)
    console.print(table)
    assert capsys.readouterr().out.count(text) == 4


@pytest.mark.parametrize("mark", ["\u202e", "\u202a", "\u2066", "\u200f", "\u061c"])
def test_what_turns_the_direction_of_text_is_written_as_an_escape(mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, shown = f"safe{mark}txt.exe", f"safe\\u{ord(mark):04x}txt.exe"
    table = Table(name)
    table.add_row(name)
    console = new_console(width=80)
    console.print(name)
    console.print(table)
    print_error(name)
    said = capsys.readouterr()
    assert mark not in said.out + said.err
    assert (said.out.count(shown), said.err) == (3, f"curvestop: {shown}\n")
    assert printable("שלום é ✓ 日本") == "שלום é ✓ 日本"


def test_every_command_prints_on_such_a_console() -> None:
    package = Path(curvestop.__file__).parent
    files = [
        package / "cli.py",
        *(file for folder in ("server", "hyperband", "clients") for file in (package / folder).rglob("*.py")),
    ]
    assert [file for file in files if " Console(" in file.read_text() or "from_markup" in file.read_text()] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:secret@db:5432/runs", "postgresql://ann:***@db:5432/runs"),
        ("postgresql+psycopg://ann:s%40/e:t@db/runs?x=1", "postgresql+psycopg://ann:***@db/runs?x=1"),
        ("mysql://ann:se@cret@db/runs", "mysql://ann:***@db/runs"),
        ("redis://:secret@db", "redis://:***@db"),
        ("postgresql://db/runs?user=ann&password=secret&x=1", "postgresql://db/runs?user=ann&password=***&x=1"),
        (
            "storage must be 'postgresql://ann:secret@db' or 'sqlite:///x'",
            "storage must be 'postgresql://ann:***@db' or 'sqlite:///x'",
        ),
        ("mysql://db?password=***, but got mysql://ann:***@db", "mysql://db?password=***, but got mysql://ann:***@db"),
        ("sqlite:////home/ann/runs.db", "sqlite:////home/ann/runs.db"),
        ("postgresql://ann@db/runs", "postgresql://ann@db/runs"),
        ("http://localhost:8080/a?b=c", "http://localhost:8080/a?b=c"),
        ("see http://localhost:8080, mail ann@db", "see http://localhost:8080, mail ann@db"),
        ("", ""),
    ],
)
def test_passwords_of_urls_are_hidden(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown


def test_an_error_hides_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("no answer from postgresql://ann:secret@db:\n  password authentication failed")
    assert capsys.readouterr().err == "curvestop: no answer from postgresql://ann:***@db: password authentication failed\n"


def test_a_missing_package_is_named_with_its_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_in_one_line():
        raise ModuleNotFoundError("No module named 'plotly'", name="plotly")
    assert capsys.readouterr().err == (
        "curvestop: this needs the package plotly, which is not installed: pip install 'curvestop[plots]'\n"
    )
    with pytest.raises(ModuleNotFoundError), errors_in_one_line():  # a fault of ours, which needs its traceback
        raise ModuleNotFoundError("No module named 'x'", name="x")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_interrupts_once_and_what_was_before_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number), signal.getsignal(signal.SIGINT)

    def block() -> None:
        with signals_interrupt():
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                os.kill(os.getpid(), number)  # a second one does not interrupt what is written now
                os.kill(os.getpid(), signal.SIGINT)
                raise

    try:
        with pytest.raises(KeyboardInterrupt):
            block()
        assert signal.getsignal(number) == before[0]
    finally:
        signal.signal(signal.SIGINT, before[1])


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("module", "arguments", "program"),
    [
        ("curvestop.cli", [], "curvestop"),
        ("curvestop.cli", ["delete"], "curvestop delete"),
        ("curvestop.hyperband.cli", [], "hyperband"),
        ("curvestop.clients.nas.cli", [], "metaqnn"),
    ],
)
def test_a_command_that_needs_another_word_shows_its_help(
    module: str, arguments: list[str], program: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [program.split()[0], *arguments])
    with pytest.raises(SystemExit):
        import_module(module).main()
    said = "".join(capfd.readouterr()).lstrip("\n")  # older versions of typer print it on standard output
    assert said.startswith(f"Usage: {program} [OPTIONS] COMMAND [ARGS]...\n")
    assert "\nCommands:\n" in said


@pytest.mark.parametrize(
    ("module", "program", "completed"),
    [
        ("curvestop.cli", "curvestop", ["restore", "report"]),
        ("curvestop.hyperband.cli", "hyperband", ["run", "resume"]),
        ("curvestop.clients.nas.cli", "metaqnn", ["run", "resume"]),
    ],
)
def test_a_shell_completes_the_words_of_each_command(
    module: str, program: str, completed: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"_{program.upper()}_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"{program} r")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        import_module(module).main()
    assert capfd.readouterr().out.split() == completed


@pytest.mark.parametrize(
    ("module", "headings"),
    [
        ("curvestop.hyperband.cli", ["Arguments", "What trains", "Schedule", "Configurations", "Workers", "Stopping", "Run"]),
        ("curvestop.clients.nas.cli", ["Arguments", "Search", "Training", "Workers", "Stopping"]),
    ],
)
def test_the_help_of_a_search_has_each_option_once_in_its_group(
    module: str, headings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    app = import_module(module).app
    shown = CliRunner().invoke(app, ["run", "--help"]).stdout
    assert re.findall(r"^(\w.*):$", shown, re.MULTILINE) == [*headings, "Other options"]
    options = {
        option for param in typer.main.get_group(app).commands["run"].params for option in param.opts if option[:2] == "--"
    }
    assert sorted(re.findall(r"^  (--[\w-]+)", shown, re.MULTILINE)) == sorted({*options, "--help"})
    assert re.findall(r"^  (--[\w-]+)", shown.partition("Other options:")[2], re.MULTILINE) == ["--help"]
