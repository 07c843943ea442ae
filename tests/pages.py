"""Run the code of a page of the documentation, block after block, as a reader would who does what it says.

    python tests/pages.py docs/tutorial.md --installs --say-when "stops after"

In the page's own empty folder, in order: a block with a title is written to the file of that name; `bash` runs in one terminal,
which keeps its folder and its variables from block to block; `python` runs in one interpreter; `text` right after them is
what they print, with `...` for anything. A comment on the line before the block says what else there is to know:
"not run: REASON", "in the background, until it prints: TEXT", or of a `text`: "numbers may differ" (from machine to machine).
Port 7070 is a free one instead. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

NOT_RUN, BACKGROUND, DIFFERING = "not run: ", "in the background, until it prints: ", "numbers may differ"
NUMBER = re.compile(r"\d[\d.,]*(?:e[+-]?\d+)?")
INCLUDED = "--8<--"
PORT = "7070"
AS_SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
OPENING = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')
COMMENT = re.compile(r"^<!-- (?P<text>.+) -->$")
DONE = "--- done ---"
INTERPRETER = f"""
import ast, sys
names = {{"__name__": "__main__"}}
for code in map(ast.literal_eval, sys.stdin):
    exec(compile(code, "<page>", "exec"), names)
    print({DONE!r}, flush=True)
"""
TERMINAL = "set -eo pipefail\ntrap 'env -0 > \"$PAGE_STATE\"' EXIT\n"


class PageError(Exception):
    """A block that does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """line: of the opening fence. comment: of the line before it, empty when there is none."""

    line: int
    language: str
    title: str
    comment: str
    code: str

    @property
    def is_run(self) -> bool:
        """By a terminal or an interpreter, rather than written, shown, or left alone for a reason."""
        shown = self.title or self.comment.startswith(NOT_RUN) or self.code.startswith(INCLUDED)
        return self.language in ("bash", "python") and not shown


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page. Raises PageError for a fence that is never closed."""
    blocks, lines = [], iter(enumerate(text.splitlines(), start=1))
    before = ""
    for number, line in lines:
        if opening := OPENING.match(line):
            code = []
            for _, inner in lines:
                if inner == "```":
                    break
                code.append(inner)
            else:
                raise PageError(f"line {number}: the block has no end")
            comment = COMMENT.match(before)
            said = comment["text"] if comment else ""
            blocks.append(Block(number, opening["language"], opening["title"] or "", said, "\n".join(code) + "\n"))
        before = line
    return blocks


class Reader:
    """Someone who follows a page in `folder`.

    hear: is told every line that is printed. installs: whether blocks that install something are run.
    """

    def __init__(self, folder: Path, *, hear: Callable[[str], None] = lambda line: None, installs: bool = False) -> None:
        self._folder, self._hear, self._installs = folder, hear, installs
        self._port = str(_free_port())
        self._environment = _fresh_environment(folder)
        self._interpreter: subprocess.Popen[str] | None = None
        self._background: list[subprocess.Popen[str]] = []
        self._printed = ""

    def follow(self, blocks: list[Block]) -> None:
        """Raises PageError at the first block that fails, or prints something else than the page says."""
        previous: Block | None = None
        for block in blocks:
            try:
                self._do(block, previous)
            except PageError as error:
                raise PageError(f"line {block.line}: {error}") from None
            previous = block

    def _do(self, block: Block, previous: Block | None) -> None:
        code = block.code.replace(PORT, self._port)
        if block.title:
            (self._folder / block.title).write_text(code)
        elif block.is_run:
            if "pip install" not in code or self._installs:
                self._run(block, code)
        elif block.language == "text" and previous is not None and previous.is_run:
            self._compare(code, numbers_differ=block.comment == DIFFERING)

    def _compare(self, said: str, *, numbers_differ: bool) -> None:
        shown, printed = (NUMBER.sub("0", text) if numbers_differ else text for text in (said, self._printed))
        if not doctest.OutputChecker().check_output(shown, printed, AS_SHOWN):
            raise PageError(f"the page says\n{said}\nbut this is printed\n{self._printed}")

    def _run(self, block: Block, code: str) -> None:
        if block.comment.startswith(BACKGROUND):
            self._leave_running(code, block.comment.removeprefix(BACKGROUND))
        elif block.language == "bash":
            self._in_terminal(code)
        else:
            self._in_interpreter(code)

    def _in_terminal(self, code: str) -> None:
        state = self._folder / ".state"
        with self._start(["bash", "-c", TERMINAL + code], PAGE_STATE=str(state)) as process:
            self._printed = self._listen(process)
        if process.returncode != 0:
            raise PageError(f"exit status {process.returncode}\n{self._printed}")
        self._environment = dict(pair.split("=", 1) for pair in state.read_text().rstrip("\0").split("\0"))

    def _leave_running(self, code: str, text: str) -> None:
        process = self._start(["bash", "-c", f"exec {code}"])
        self._background.append(process)
        self._printed = self._listen(process, until=text)
        if text not in self._printed:
            raise PageError(f"it never printed {text!r}\n{self._printed}")

    def _in_interpreter(self, code: str) -> None:
        if self._interpreter is None:
            self._interpreter = self._start(["python", "-c", INTERPRETER], stdin=subprocess.PIPE)
        assert self._interpreter.stdin is not None
        self._interpreter.stdin.write(f"{code!r}\n")
        self._interpreter.stdin.flush()
        said = self._listen(self._interpreter, until=DONE)
        if DONE not in said:
            raise PageError(said)
        self._printed = said.replace(f"{DONE}\n", "")

    def _start(self, command: list[str], *, stdin: int = subprocess.DEVNULL, **more: str) -> subprocess.Popen[str]:
        # PWD is where the terminal is: `cd` lasts from block to block.
        where = self._environment.get("PWD", str(self._folder))
        return subprocess.Popen(
            command, cwd=where, env={**self._environment, **more}, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    def _listen(self, process: subprocess.Popen[str], until: str | None = None) -> str:
        """What is printed up to the line with `until`, or to the end."""
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip() != DONE:
                self._hear(line)
            if until is not None and until in line:
                break
        return "".join(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        started = [*self._background, *([self._interpreter] if self._interpreter else [])]
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            process.communicate()  # read to its end, so that it never waits for a reader


def _fresh_environment(folder: Path) -> dict[str, str]:
    """This process's, without anything of curvestop's, and with the page's folder for a home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CURVESTOP_", "XDG_"))}
    return {**kept, "HOME": str(folder), "PWD": str(folder), "COLUMNS": "100"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _timed(out: IO[str], when: str | None) -> Callable[[str], None]:
    """Shows each line with the seconds since now; the first that has `when` in it is told apart."""
    began, waiting = time.monotonic(), iter([when] if when else [])
    wanted = next(waiting, None)

    def hear(line: str) -> None:
        nonlocal wanted
        elapsed = time.monotonic() - began
        out.write(f"{elapsed:7.1f} s  {line}")
        if wanted is not None and wanted in line:
            out.write(f"{elapsed:7.1f} s from the first command to {wanted!r}\n")
            wanted = None
        out.flush()

    return hear


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, help="where to work; otherwise a temporary folder")
    parser.add_argument("--installs", action="store_true", help="also run blocks with `pip install`")
    parser.add_argument("--say-when", metavar="TEXT", help="say how long it took until a line with this was printed")
    options = parser.parse_args()
    with (
        _folder(options.folder) as folder,
        Reader(folder, hear=_timed(sys.stdout, options.say_when), installs=options.installs) as reader,
    ):
        try:
            reader.follow(blocks_of(options.page.read_text()))
        except PageError as error:
            sys.exit(f"{options.page}, {error}")


if __name__ == "__main__":
    main()
