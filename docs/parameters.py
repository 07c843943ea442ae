"""For the reference: the parameters and fields that a docstring explains in a line each become a list.

Our docstrings say `threshold: Delta in (0, 1], ...` on a line, or two of them on one. A name counts where it is a parameter or an
attribute of what the docstring is of.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

NAMED = re.compile(r"(?:^|(?<=[.;] ))(?P<names>[a-z]\w*(?:, [a-z]\w*)*): ", re.MULTILINE)


def as_list(text: str, known: set[str]) -> str:
    """Each explanation an item of a list; what follows on a line of its own (Raises ...) a paragraph."""

    def item(match: re.Match[str]) -> str:
        names = match["names"].split(", ")
        return f"\n- {', '.join(f'`{name}`' for name in names)}: " if known.issuperset(names) else match[0]

    listed = NAMED.sub(item, text)
    if listed == text:
        return text
    listed = re.sub(r";(?=\n+- `)", ".", listed)
    listed = re.sub(r"^(?=- `)", "\n", re.sub(r" *\n+- `", "\n- `", listed), count=1, flags=re.MULTILINE)
    return re.sub(r"\n(?=(?:Raises|Returns) )", "\n\n", listed)


class Parameters(griffe.Extension):
    """What mkdocstrings loads."""

    def on_function_instance(self, *, node: ast.AST | griffe.ObjectNode, func: griffe.Function, **kwargs: Any) -> None:
        _rewrite(func, {parameter.name for parameter in func.parameters})

    def on_class_members(self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **kwargs: Any) -> None:
        start = cls.members.get("__init__")
        parameters = {parameter.name for parameter in start.parameters} if isinstance(start, griffe.Function) else set()
        _rewrite(cls, {*cls.members, *parameters})


def _rewrite(thing: griffe.Object, known: set[str]) -> None:
    if thing.docstring is not None:
        thing.docstring.value = as_list(thing.docstring.value, known)
