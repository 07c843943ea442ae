"""The counts of the code report, on a small checkout that is written out here."""

from __future__ import annotations

from pathlib import Path

from benchmarks import code_report

STUDY = '''"""One study."""

WIDTH = 3
"""Of the table."""


class Study:
    """Collect curves.

    Args:
        name: What it is called.

    Example:
        >>> Study("a").name
        'a'
    """

    def __init__(self, name: str) -> None:
        self.name = name  # stays

    def report(self, value: float) -> bool:
        """Raises ValueError."""
        return self._judge(value)

    def _judge(self, value: float) -> bool:
        return value > 0  # higher is better
'''


def checkout(root: Path) -> Path:
    for folder in ("srm", "server", "benchmarks"):
        (root / folder).mkdir()
    (root / "srm" / "study.py").write_text(STUDY)
    (root / "srm" / "__init__.py").write_text('"""Of a package."""\n')
    (root / "server" / "made_pb2.py").write_text("not = python\n")
    (root / "server" / "tables.py").write_text('"""Tables."""\n')
    (root / "benchmarks" / "tables.py").write_text('"""Other tables."""\n')
    return root


def test_what_is_counted(tmp_path: Path) -> None:
    counts = code_report.report(checkout(tmp_path))
    assert counts["modules_of_folders"] == {"server": 1, "srm": 1}
    assert counts["study"] == {"lines": 20, "methods": 3, "file lines": 26}
    assert (counts["public_objects"], counts["public_with_inputs"], counts["public_with_args"]) == (2, 2, 1)
    assert (counts["public_classes"], counts["public_with_example"]) == (1, 1)
    assert (counts["comments"], counts["code_lines"]) == (2, 8)
    assert counts["docstrings_beginning_with"] == {"Of": 2, "Raises": 1}
    assert counts["duplicates"] == {"tables.py": 2}


def test_moves_are_counted_where_a_call_enters_another_file() -> None:
    walk = code_report.Walk({1: ["a", "a", "b", "a"], 2: ["c"]})
    assert walk.summary() == {"calls": 5, "files": 3, "moves": 4, "threads": 2}
