"""The derivation of the default predictor and the code that follows it name the same equations."""

from __future__ import annotations

import re
from pathlib import Path

from curvestop.srm.predictors import stacked
from curvestop.srm.regression import kernel_ridge

PAGE = Path(__file__).resolve().parents[4] / "docs" / "stacked.md"
SOURCES = [Path(kernel_ridge.__file__), *Path(stacked.__path__[0]).glob("*.py")]


def test_every_equation_of_the_page_is_tagged_in_the_code_and_the_other_way_round() -> None:
    on_the_page = [int(n) for n in re.findall(r" \((\d+)\)$", PAGE.read_text().replace(";\n", "\n"), re.MULTILINE)]
    in_the_code = {int(n) for path in SOURCES for n in re.findall(r"eq\. \(?(\d+)", path.read_text())}
    assert on_the_page == list(range(1, len(on_the_page) + 1))
    assert in_the_code == set(on_the_page)
