"""`plain_numbers`: numbers as programs and spreadsheets of all countries write them, as Python reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d*|[1-9]\d{0,2}(?:\.\d{3})+),\d+(?:[eE][+-]?\d+)?(?: ?%)?")
_DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?(?: ?%)?")
_GROUPED_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?: ?%)?")
_GROUPED_BY_COMMAS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?: ?%)?")
_PERCENT = re.compile(r"([+-]?\d*\.?\d+) ?%")


def plain_numbers(rows: Sequence[Sequence[str]], delimiter: str) -> Callable[[str], str]:
    """Return a function that turns the numbers of a table into Python's spelling; other cells stay as they are.

    A table has decimal commas if it has no decimal point, and a number with a comma that does not only group thousands. Where
    the comma does not separate cells, it is a decimal one even if three digits follow it everywhere.

    Args:
        rows: All cells, without the space around them.
        delimiter: What separates cells.

    Examples:
        >>> plain = plain_numbers([["1", "0,5"], ["2", "0,75"]], ";")
        >>> plain("0,75"), plain("12,5%"), plain("sgd")
        ('0.75', '12.5e-2', 'sgd')
        >>> plain_numbers([["0.5", "1,000"]], ",")("1,000")
        '1000'
    """
    commas = {cell for row in rows for cell in row if "," in cell and _DECIMAL_COMMA.fullmatch(cell)}
    has_points = any(
        "." in cell and _DECIMAL_POINT.fullmatch(cell) and not _GROUPED_BY_POINTS.fullmatch(cell) for row in rows for cell in row
    )
    only_groups = delimiter == "," and all(map(_GROUPED_BY_COMMAS.fullmatch, commas))
    has_decimal_commas = bool(commas) and not has_points and not only_groups

    def plain(cell: str) -> str:
        if has_decimal_commas and (_DECIMAL_COMMA.fullmatch(cell) or _GROUPED_BY_POINTS.fullmatch(cell)):
            cell = cell.replace(".", "").replace(",", ".")
        elif not has_decimal_commas and "," in cell and _GROUPED_BY_COMMAS.fullmatch(cell):
            cell = cell.replace(",", "")
        percent = _PERCENT.fullmatch(cell) if cell.endswith("%") else None
        return f"{percent[1]}e-2" if percent else cell

    return plain
