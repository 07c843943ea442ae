"""Print the lowest versions that pyproject.toml allows: `numpy>=2.1` gives `numpy==2.1`.

lowest_bounds.py [EXTRA ...]: of the core dependencies, and of these extras.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

LOWER_BOUND = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[^\]]*\])?>=(?P<version>[\w.]+)")


def lowest(requirement: str) -> str:
    """Return the requirement with its lower bound alone; every one must have it."""
    match = LOWER_BOUND.match(requirement.replace(" ", ""))
    if match is None:
        sys.exit(f"pyproject.toml: {requirement!r} has no lower bound; write NAME>=VERSION")
    return f"{match['name']}{match['extras'] or ''}=={match['version']}"


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    print(*map(lowest, [*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name])]), sep="\n")
