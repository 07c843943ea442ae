"""What is drawn, by hand, and that a mutant is told from its original by a test that notices."""

from __future__ import annotations

from pathlib import Path

from tests.proofs.mutant_calls import Call
from tests.proofs.mutant_edits import edits
from tests.proofs.mutants import SURVIVED, TEST_FAILED, Mutants

SOURCE = b'''"""Text: 1 < 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    x = 1 + 1


def f(a: int, b: int = 0) -> bool:
    """Is a < b?"""
    print(f"{a + b}")
    return a < max(b, 3) and not g(a, b)  # a < b
'''


def test_each_edit_is_at_its_place() -> None:
    found = {(edit.kind, edit.apply(SOURCE).splitlines()[edit.line - 1].decode().strip()) for edit in edits("f.py", SOURCE)}
    assert found == {
        ("off by one", "def f(a: int, b: int = 1) -> bool:"),
        ("dropped call", "pass"),
        ("dropped value", "return None  # a < b"),
        ("comparison", "return a <= max(b, 3) and not g(a, b)  # a < b"),
        ("off by one", "return a < max(b, 4) and not g(a, b)  # a < b"),
        ("and, or", "return a < max(b, 3) or not g(a, b)  # a < b"),
        ("not", "return a < max(b, 3) and (g(a, b))  # a < b"),
        ("swapped arguments", "return a < max(b, 3) and not g(b, a)  # a < b"),
    }
    assert {edit.function for edit in edits("f.py", SOURCE)} == {9}


def test_a_mutant_is_caught_or_survives(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "halves.py").write_text("def halves(n):\n    while n > 1:\n        n = n // 2 + 0\n    return n\n")
    (tree / "test_halves.py").write_text(
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n"
        "from halves import halves\n\n\ndef test_halves():\n    assert halves(9) == 1\n"
    )
    calls = {"test_halves.py::test_halves": Call(wall_s=0.1, cpu_s=0.1, functions=["halves.py:1"])}
    mutants = Mutants(tree, calls, tmp_path / "output")
    source, verdicts = (tree / "halves.py").read_bytes(), {}
    for edit in edits("halves.py", source):
        if edit.kind in ("comparison", "sign", "condition"):
            verdicts[edit.apply(source).splitlines()[edit.line - 1].decode().strip()] = mutants.try_one(edit)[0]
    assert verdicts == {"while n >= 1:": TEST_FAILED, "while (not (n > 1)):": TEST_FAILED, "n = n // 2 - 0": SURVIVED}
    assert (tree / "halves.py").read_bytes() == source
