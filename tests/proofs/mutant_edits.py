"""Small changes of a program, each at one place of its text: what a slip of the hand would make of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
SIGNS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
}
SYMMETRIC = ("max", "min", "maximum", "minimum", "hypot", "compare_digest", "isclose", "allclose", "array_equal")
"""Functions of which the order of arguments does not matter."""
SAYS_ONLY = ("_log", "logger", "logging", "warnings")
"""Calls of these are for people; that they say something has tests where it matters."""


@dataclass(frozen=True, order=True)
class Edit:
    """file: from the root. begin, end: the bytes whose place `text` takes. function: its first line, 0 outside any."""

    file: str
    line: int
    begin: int
    end: int
    kind: str
    text: str
    function: int

    def apply(self, source: bytes) -> bytes:
        return source[: self.begin] + self.text.encode() + source[self.end :]


def edits(file: str, source: bytes) -> Iterator[Edit]:
    """Yield every edit of a file, in the order of its syntax tree."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    yield from _Finder(file, source, starts).found(ast.parse(source), 0)


class _Finder:
    def __init__(self, file: str, source: bytes, starts: list[int]) -> None:
        self._file, self._source, self._starts = file, source, starts

    def found(self, node: ast.AST, function: int) -> Iterator[Edit]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        for kind, begin, end, text in self._at(node):
            yield Edit(self._file, getattr(node, "lineno", 0), begin, end, kind, text, function)
        for child in _children(node):
            yield from self.found(child, function)

    def _at(self, node: ast.AST) -> Iterator[tuple[str, int, int, str]]:
        match node:
            case ast.Compare(ops=[op], comparators=[right]):
                yield from self._between("comparison", node.left, right, *COMPARISONS[type(op)])
            case ast.BinOp() if type(node.op) in SIGNS:
                yield from self._between("sign", node.left, node.right, *SIGNS[type(node.op)])
            case ast.UnaryOp(op=ast.USub()):
                yield "sign", *self._span(node), self._text(node.operand)
            case ast.BoolOp():
                ours, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                for left, right in zip(node.values, node.values[1:], strict=False):
                    yield from self._between("and, or", left, right, ours, other)
            case ast.UnaryOp(op=ast.Not()):
                yield "not", *self._span(node), f"({self._text(node.operand)})"
            case ast.If() | ast.IfExp() | ast.While():
                yield "condition", *self._span(node.test), f"(not ({self._text(node.test)}))"
            case ast.Constant(value=bool()):
                yield "truth", *self._span(node), str(not node.value)
            case ast.Constant(value=int() | float() as number) if number < 2**31:
                yield "off by one", *self._span(node), repr(number + 1)
            case ast.Call(args=[first, second, *_]) if _is_ordered(node):
                begin, end = self._span(first)[0], self._span(second)[1]
                yield "swapped arguments", begin, end, f"{self._text(second)}, {self._text(first)}"
            case ast.Expr(value=ast.Call() as call) if not _says_only(call):
                yield "dropped call", *self._span(node), "pass"
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant) or value.value is not None:
                yield "dropped value", *self._span(value), "None"

    def _between(self, kind: str, left: ast.AST, right: ast.AST, ours: str, other: str) -> Iterator[tuple[str, int, int, str]]:
        """The operator between two operands; none where a comment is between them, which may have its text too."""
        begin, end = self._span(left)[1], self._span(right)[0]
        gap = self._source[begin:end].decode()
        if gap.count(ours) == 1 and "#" not in gap:
            place = begin + len(gap[: gap.index(ours)].encode())
            yield kind, place, place + len(ours), other

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.AST) -> str:
        begin, end = self._span(node)
        return self._source[begin:end].decode()


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Those in which an edit changes what the program does: no annotations, decorators, f-strings, nor type checkers' imports."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params") or (
            name == "test" and isinstance(node, ast.Assert)
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr) and not _for_type_checkers(child):
                yield child


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_ordered(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    return name not in SYMMETRIC and not any(isinstance(argument, ast.Starred) for argument in call.args[:2])


def _says_only(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id in SAYS_ONLY
