"""README and documentation: their code runs, their links lead somewhere, their commands exist, their pages build."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

import curvestop
import curvestop.cli as server_cli
import curvestop.clients.nas.cli as nas_cli
import curvestop.hyperband.cli as hyperband_cli
from curvestop.srm.policies.registry import POLICIES
from curvestop.srm.predictors.registry import PREDICTORS
from tests.pages import NOT_RUN, Block, PageError, Reader, blocks_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]\[]*\]\((?!https?://)(?P<file>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
MODULE = re.compile(r"python -m ((?:benchmarks|tests)\.[\w.]+)")
DIRECTIVE = re.compile(r"^::: (\S+)", re.MULTILINE)
IN_REFERENCE = {name for page in (ROOT / "docs" / "reference").glob("*.md") for name in DIRECTIVE.findall(page.read_text())}
LANGUAGES = {"bash", "python", "text", "toml", "js", ""}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_blocks(page: Path) -> bool:
    return any(block.is_run for block in blocks_of(page.read_text()))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "`code`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Of the page's headings, as the generator and the usual hosts make them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands and packages that are under test, one thread for each program."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(path).resolve()) for path in paths if path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("page", [page for page in PAGES if run_blocks(page)], ids=name_of)
def test_the_code_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    if "ray" in page.stem:
        pytest.importorskip("ray")
    with Reader(tmp_path) as reader:
        reader.follow(blocks_of(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_known_kind_and_says_why_it_is_not_run(page: Path) -> None:
    for block in blocks_of(page.read_text()):
        assert block.language in LANGUAGES, f"line {block.line}"
        if block.comment.startswith(NOT_RUN):
            assert len(block.comment) > len(NOT_RUN) + 10, f"line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(without_code(page.read_text())):
        target = page.parent / link["file"] if link["file"] else page
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_modules_that_commands_name_exist(page: Path) -> None:
    for name in MODULE.findall(page.read_text()):
        assert any((ROOT / name.replace(".", "/")).with_suffix(end).exists() for end in ("", ".py")), name


def test_the_pages_build_without_a_warning_and_need_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"?(https?:[^\"\s>]+)", page.read_text())
        loaded += re.findall(
            r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon)\"?[^>]+href=\"?(https?:[^\"\s>]+)", page.read_text()
        )
        assert loaded == [], page


def says(name: str) -> str | None:
    """Return the docstring of `curvestop.PACKAGE.MODULE.THING`, wherever it was imported from; a text below a constant counts."""
    module, _, thing = name.rpartition(".")
    path = Path(curvestop.__file__).parent.joinpath(*module.split(".")[1:])
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    for node, after in pairwise([*tree.body, ast.Pass()]):
        match node:
            case ast.ClassDef() | ast.FunctionDef() if node.name == thing and (text := ast.get_docstring(node)):
                return text
            case ast.ImportFrom(module=str(origin)) if any(alias.name == thing for alias in node.names):
                return says(f"{origin}.{thing}")
            case ast.Assign(targets=[ast.Name(id=one)]) | ast.AnnAssign(target=ast.Name(id=one)) if one == thing:
                return str(after.value.value) if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
    inner = path / f"{thing}.py"
    return ast.get_docstring(ast.parse(inner.read_text())) if inner.exists() else None


@pytest.mark.parametrize("name", [name for name in curvestop.__all__ if not name.startswith("_")])
def test_what_people_may_import_is_in_the_reference(name: str) -> None:
    value = getattr(curvestop, name)
    assert (value.__name__ if isinstance(value, ModuleType) else f"{value.__module__}.{name}") in IN_REFERENCE


@pytest.mark.parametrize("name", sorted(IN_REFERENCE))
def test_what_is_in_the_reference_says_what_it_is(name: str) -> None:
    assert says(name)


def test_every_policy_and_predictor_is_named() -> None:
    howto, reference = ((ROOT / "docs" / page).read_text() for page in ("howto/policies.md", "reference/srm.md"))
    assert [name for name in POLICIES if f"`{name}`" not in reference] == []
    assert [name for name in POLICIES if f'`"{name}"`' not in howto and name != "shadow"] == []
    assert [name for name in PREDICTORS if f"`{name}`" not in reference] == []


@pytest.mark.parametrize("command", [server_cli, hyperband_cli, nas_cli], ids=["curvestop", "hyperband", "metaqnn"])
def test_every_command_is_in_the_reference(command: ModuleType, request: pytest.FixtureRequest) -> None:
    program = request.node.callspec.id
    rows = [line for line in (ROOT / "docs/reference/commands.md").read_text().splitlines() if line.startswith(f"| `{program} ")]
    offered = typer.main.get_group(command.app).commands
    assert [name for name in offered if not any(re.search(rf"\b{name}`", row) for row in rows)] == []


# The runner itself.


PAGE = """
```python title="two.py"
print(1 + 1)
```

```bash
python two.py
export WHERE=here
mkdir sub; cd sub
```

```text
2
```

```bash
echo $WHERE in $(basename $PWD)
```

```text
here in ...
```

```python
x = 3
```

```python
print(x)
```
"""


@pytest.mark.usefixtures("reading")
def test_blocks_of_a_page_share_files_variables_and_an_interpreter(tmp_path: Path) -> None:
    heard: list[str] = []
    with Reader(tmp_path, hear=heard.append) as reader:
        reader.follow(blocks_of(PAGE))
    assert heard == ["2\n", "here in sub\n", "3\n"]


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```bash\nfalse\ntrue\n```", "line 1: exit status 1"),
        ("```python\nraise ValueError('no')\n```", "ValueError: no"),
        ("```bash\necho one\n```\n\n```text\ntwo\n```", "line 5: the page says\ntwo\n\nbut this is printed\none"),
        ("```bash\ntrue", "line 1: the block has no end"),
        ("<!-- in the background, until it prints: ready -->\n```bash\necho gone\n```", "never printed 'ready'\ngone"),
    ],
)
def test_a_block_that_does_something_else_is_told_by_its_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PageError, match=re.escape(said)), Reader(tmp_path) as reader:
        reader.follow(blocks_of(text))


def test_what_is_left_alone() -> None:
    day = "<!-- not run: it takes a day -->\n```bash\ntrain\n```\n"
    others = '```toml title="a.toml"\n```\n```python\n--8<-- "a.py"\n```\n```bash\nls\n```\n'
    blocks = blocks_of(day + others)
    assert [block.is_run for block in blocks] == [False, False, False, True]
    assert blocks[0] == Block(2, "bash", "", "not run: it takes a day", "train\n")
