"""How does the code read, in numbers: modules a folder, files that one report enters, docstrings, comments, names?

The counts are of the product alone: no tests, no generated code, and of the benchmarks only the names of files. With `--root`
the report is of the text of another checkout. In this checkout two calls of `report` are traced too: one in process, one through
a server on loopback.

    python -m benchmarks.code_report
    python -m benchmarks.code_report --root ../before
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import sys
import tempfile
import threading
import time
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("srm", "proto", "hyperband", "server", "clients")
UNHELPFUL_BEGINNINGS = ("Of", "As", "Raises")
N_COMPLETE, MAX_EPOCHS = 30, 50  # epoch 2 of 50 is a decision point of the default policy
GOOD = 0.88  # the limit of the traced trial, which is not stopped before
FIT_S = 60.0
NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the product.

    Attributes:
        path: Path below the root of the checkout.
        text: The file's text.
        tree: The text, parsed.
    """

    path: Path
    text: str
    tree: ast.Module


@dataclass(frozen=True)
class Public:
    """One public class, function or method: no part of its dotted name begins with an underscore.

    Attributes:
        name: Dotted name within its module.
        node: Its definition.
        inputs: Names of its parameters, or of a class's fields and constructor parameters.
    """

    name: str
    node: Definition
    inputs: tuple[str, ...]

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def says_inputs(self) -> bool:
        """Return whether the docstring has a section for parameters or for fields."""
        return "Args:" in self.docstring or "Attributes:" in self.docstring


@dataclass
class Walk:
    """The calls of one report into files of the project, in the order in which they happened in each thread.

    Attributes:
        paths: For each thread, the file of every call.
    """

    paths: dict[int, list[str]] = field(default_factory=dict)

    def summary(self) -> dict[str, int]:
        """Count calls, files, moves between files and threads."""
        files = {file for path in self.paths.values() for file in path}
        moves = sum(before != after for path in self.paths.values() for before, after in pairwise(path))
        return {
            "calls": sum(map(len, self.paths.values())),
            "files": len(files),
            "moves": moves + len(self.paths),  # the first call of a thread is a move into a file, too
            "threads": len(self.paths),
        }


def product(root: Path) -> list[Source]:
    """Read the product's files: the packages and the modules at the root, without generated code."""
    paths = [*root.glob("*.py"), *(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))]
    texts = {path: path.read_text() for path in sorted(paths) if "_pb2" not in path.name}
    return [Source(path.relative_to(root), text, ast.parse(text)) for path, text in texts.items()]


def modules_of_folders(sources: Sequence[Source]) -> dict[str, int]:
    """Count the modules that lie directly in each folder; packages' `__init__.py` do not count."""
    folders = Counter(str(source.path.parent) for source in sources if source.path.name != "__init__.py")
    return dict(sorted(folders.items()))


def duplicate_names(root: Path, sources: Sequence[Source]) -> dict[str, int]:
    """Count file names that more than one folder of product and benchmarks has."""
    paths = [*(source.path for source in sources), *(root / "benchmarks").rglob("*.py")]
    names = Counter(path.name for path in paths if not path.name.startswith("__"))
    return {name: n for name, n in sorted(names.items()) if n > 1}


def study_size(sources: Sequence[Source]) -> dict[str, int]:
    """Count the lines and methods of the class `Study`, and the lines of its file."""
    for source in sources:
        for node in source.tree.body if source.path == Path("srm/study.py") else ():
            if isinstance(node, ast.ClassDef) and node.name == "Study":
                methods = sum(isinstance(member, Function) for member in node.body)
                return {"lines": _n_lines(node), "methods": methods, "file lines": len(source.text.splitlines())}
    return {}


def public_objects(sources: Sequence[Source]) -> Iterator[Public]:
    """Yield every public class, function and method."""
    for source in sources:
        if not any(part.startswith("_") for part in source.path.with_suffix("").parts if part != "__init__"):
            yield from _public("", source.tree.body)


def bad_beginnings(sources: Sequence[Source]) -> Counter[str]:
    """Count docstrings, those below constants included, that begin with half a sentence."""
    found: Counter[str] = Counter()
    for source in sources:
        for text in _texts(source.tree):
            found.update(word for word in UNHELPFUL_BEGINNINGS if text.split(maxsplit=1)[:1] == [word])
    return found


def comments_per_code_line(source: str) -> tuple[int, int]:
    """Count comments and lines of code in one file; docstrings and comments are not code."""
    comments = 0
    lines: set[int] = set()
    documentation = _documentation_lines(ast.parse(source))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        comments += token.type == tokenize.COMMENT
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return comments, len(lines - documentation)


def local_walk() -> Walk:
    """Trace one `Study.report` in process: a trial's second epoch, after 30 complete trials."""
    from curvestop import Study, StudySettings

    study = Study(StudySettings("walk", max_epochs=MAX_EPOCHS))
    _prepare(study)
    with _traced() as walk:
        study.report("traced", _curve(GOOD)[1:2], first_epoch=2)
    return walk


def remote_walk() -> Walk:
    """Trace one `report` through a server of this process, warm: both sides and all their threads count."""
    from curvestop import StudySettings, connect
    from curvestop.server.rpc.server import Server

    with (
        tempfile.TemporaryDirectory() as folder,
        _threads_can_be_traced(),
        closing(Server(Path(folder), host="127.0.0.1", port=0)) as server,
    ):
        token = server.token_path.read_text().strip()
        settings = StudySettings("walk", max_epochs=MAX_EPOCHS)
        with connect(f"127.0.0.1:{server.port}", settings, token=token, strict=True, deadline_s=30.0) as study:
            _prepare(study)
            with _traced() as walk:
                study.report("traced", _curve(GOOD)[1:2], first_epoch=2)
    return walk


def report(root: Path) -> dict[str, Any]:
    """Count everything that the text of a checkout says."""
    sources = product(root)
    objects = list(public_objects(sources))
    with_inputs = [thing for thing in objects if thing.inputs]
    classes = [thing for thing in objects if isinstance(thing.node, ast.ClassDef)]
    comments = [comments_per_code_line(source.text) for source in sources]
    n_comments, n_code = (sum(column) for column in zip(*comments, strict=True))
    by_folder = {
        folder: _ratio([comments_per_code_line(source.text) for source in sources if source.path.parts[0] == folder])
        for folder in FOLDERS
    }
    beginnings = bad_beginnings(sources)
    return {
        "modules": len(sources),
        "modules_of_folders": modules_of_folders(sources),
        "study": study_size(sources),
        "public_objects": len(objects),
        "public_without_docstring": sum(not thing.docstring for thing in objects),
        "public_with_inputs": len(with_inputs),
        "public_with_args": sum(thing.says_inputs for thing in with_inputs),
        "public_classes": len(classes),
        "public_with_example": sum("Example" in thing.docstring and ">>>" in thing.docstring for thing in objects),
        "comments": n_comments,
        "code_lines": n_code,
        "comments_per_code_line": round(n_comments / n_code, 3),
        "comments_per_code_line_of_folders": by_folder,
        "docstrings_beginning_badly": sum(beginnings.values()),
        "docstrings_beginning_with": dict(beginnings),
        "duplicate_file_names": len(duplicate_names(root, sources)),
        "duplicates": duplicate_names(root, sources),
    }


def _ratio(counts: Sequence[tuple[int, int]]) -> float:
    return round(sum(comments for comments, _ in counts) / max(1, sum(lines for _, lines in counts)), 3)


def _public(prefix: str, body: Sequence[ast.stmt]) -> Iterator[Public]:
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_") or _is_overload(node):
            continue
        yield Public(prefix + node.name, node, tuple(_inputs(node)))
        if isinstance(node, ast.ClassDef):
            yield from _public(f"{prefix}{node.name}.", node.body)


def _is_overload(node: Definition) -> bool:
    return any("overload" in ast.unparse(decorator) or ".setter" in ast.unparse(decorator) for decorator in node.decorator_list)


def _inputs(node: Definition) -> Iterator[str]:
    """Yield the names of a function's parameters, or of a class's public fields and constructor parameters."""
    if isinstance(node, Function):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        yield from (argument.arg for argument in arguments if argument.arg not in ("self", "cls"))
        return
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name) and not member.target.id.startswith("_"):
            yield member.target.id
        elif isinstance(member, Function) and member.name == "__init__":
            yield from _inputs(member)


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield every docstring, and every text that stands alone below a constant or a field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value.strip()


def _documentation_lines(tree: ast.Module) -> set[int]:
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _n_lines(node: Definition) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _curve(limit: float) -> list[float]:
    """Make a curve that rises towards the limit: plain arithmetic, the same everywhere."""
    return [limit * (1.0 - 0.7**epoch) for epoch in range(1, MAX_EPOCHS + 1)]


def _prepare(study: Any) -> None:
    """Report 30 complete trials and the first epoch of one more, and wait until a model has answered."""
    for trial in range(N_COMPLETE):
        limit = 0.6 + 0.3 * (trial * 7 % N_COMPLETE) / N_COMPLETE  # 7 and 30 have no common divisor: each limit once
        study.report(f"complete-{trial}", _curve(limit), configuration={"width": trial})
    study.report("traced", _curve(GOOD)[:1], configuration={"width": N_COMPLETE})
    until = time.monotonic() + FIT_S
    while study.predict(_curve(GOOD)[:1], configuration={"width": N_COMPLETE}) is None:
        if time.monotonic() > until:
            raise TimeoutError(f"no model within {FIT_S:g} s of {N_COMPLETE} complete trials")
        time.sleep(0.1)


_walk: Walk | None = None


def _record(frame: FrameType, event: str, argument: object) -> None:
    """Note the file of a call into the project; called by the interpreter at every call of every traced thread."""
    walk = _walk
    if walk is not None and event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/"):
        file = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
        if not file.startswith((".venv", "benchmarks/")):
            walk.paths.setdefault(threading.get_ident(), []).append(file)


@contextmanager
def _threads_can_be_traced() -> Iterator[None]:
    """Let threads that start within be traced: a profile function is set when a thread starts, not later."""
    threading.setprofile(_record)
    try:
        yield
    finally:
        threading.setprofile(None)


@contextmanager
def _traced() -> Iterator[Walk]:
    global _walk
    _walk = walk = Walk()
    sys.setprofile(_record)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        _walk = None


def main() -> None:
    """Print the report as a table and its counts as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to read (default: this one)")
    options = parser.parse_args()
    root = options.root.resolve()
    counts = report(root)
    if root == ROOT:
        counts |= {"local_report": local_walk().summary(), "remote_report": remote_walk().summary()}
    table = Table(title=f"code of {root}", title_justify="left", show_header=False)
    for name, value in counts.items():
        shown = ", ".join(f"{key} {n}" for key, n in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name.replace("_", " "), shown)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
