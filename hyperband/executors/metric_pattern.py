r"""Finds the metric in what a command prints, in the forms that programs print numbers in.

A pattern such as `val_acc=([0-9.]+)` means "the number after val_acc". It is therefore also found where the number has a form
that `[0-9.]+` does not match (`-0.3`, `1e-05`, `nan`, `0,93`), and after the name written another way: `"val_acc": 0.93`,
`val_acc = tensor(0.93)`, `val_acc | 0.93`. A pattern of another form is searched for as it is.

This file uses the standard library only, because every worker imports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A comma between digits is a decimal comma, unless a third part follows, as in the row `93,12,5` of a table.
NUMBER = r"[-+\u2212]?(?:(?:\d+(?:\.\d*|,\d+(?![\d]|[.,]\d))?|\.\d+)(?:[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)(?!\w))"
"""Regular expression of a number as programs print it, with a decimal point or a decimal comma."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Colours and the other control sequences of terminals."""

# The end of a pattern: a name, perhaps quoted, then what may stand between it and its number, then the only group.
_NAMED = re.compile(
    r"""(?:.*?)(?<![\w\\)\]])(?P<name>[A-Za-z_](?:[\w/@-]|\\[./-])*)
        (?:\\s[*+?]?|[ ][*+?]?|\\?["'=:|>-]\??|\[(?:\\s|[\s=:|])+\][*+?]?)*
        \((?:\?P<value>)?(?P<body>(?:\[[^\]]*\]|\\[dSD.-]|[.+*?-])+)\)""",
    re.VERBOSE | re.DOTALL,
)
_SEPARATOR = r"""["']?\s*(?:[=:|│┃]|=>|:=|->)?\s*"""
# As it is, or in the quotes, brackets or call around one number: tensor([0.93], device='cuda:0'), <tf.Tensor: ... numpy=0.93>.
_VALUE = (
    r"""["']?(?:<[^<>]*numpy=)?(?:[A-Za-z_][\w.]*\(\s*)?(?P<list>\[\s*)?["']?"""
    rf"""(?P<value>(?>{NUMBER}))(?![\w/])(?(list)["']?\s*\])"""
)
_WRAPPED = re.compile(
    rf"""[\["'(]*(?:[A-Za-z_][\w.]*\()?[\["'(]*(?P<number>{NUMBER})(?:\s*,\s*[a-z_]+=[^,)]*)*["'\])}}%,;\s]*(?:,\s*[a-z_]+=.*)?"""
)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
_SHOWN_NAMES = re.compile(rf"""(?<![\w/.-])([A-Za-z_][\w/.-]*)["']?\s*[=:]\s*["']?(?:[A-Za-z_][\w.]*\()?\[?{NUMBER}""")

_COUNTERS = frozenset({"epoch", "step", "iter", "iteration", "time", "lr"})
"""Names that numbers follow, but hardly a metric."""


@dataclass(frozen=True)
class Found:
    """A metric that was found in a line.

    Attributes:
        text: The number as it was printed.
        epoch: The epoch as it was printed; None if the pattern has no group `epoch` or it matched nothing.
        is_literal: Whether the pattern itself matched, apart from the form of the number.
    """

    text: str
    epoch: str | None = None
    is_literal: bool = True


class MetricPattern:
    """A regular expression of a command's metric lines, read as what it means.

    Args:
        pattern: As `Command.pattern`.

    Attributes:
        pattern: The pattern.
        name: Name of the metric that the pattern asks for; None if its form does not tell.

    Examples:
        >>> pattern = MetricPattern("val_acc=([0-9.]+)")
        >>> pattern.name
        'val_acc'
        >>> [pattern.find(line).text for line in ("epoch 3 val_acc=0.93", "val_acc=9.3e-01", 'INFO "val_acc": tensor(0.93)')]
        ['0.93', '9.3e-01', '0.93']
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.name: str | None = None
        self._literal = re.compile(pattern)
        self._any_number: re.Pattern[str] | None = None
        self._by_name: re.Pattern[str] | None = None
        groups, flags = self._literal.groupindex, self._literal.flags
        # Without its flags and word boundaries, which do not change what it names.
        named = _NAMED.fullmatch(re.sub(r"^\(\?[a-zA-Z]+\)|\\b", "", pattern))
        if named is not None and (self._literal.groups == 1 or groups.get("value") == self._literal.groups):
            self.name = re.sub(r"\\(.)", r"\1", named["name"])
            start = pattern.rindex("(")
            self._any_number = re.compile(f"{pattern[:start]}(?P<value>(?>{NUMBER}))(?![\\w/])", flags)
            if "epoch" not in groups:  # elsewhere an epoch has another form, too
                self._by_name = re.compile(rf"(?<!\w){re.escape(self.name)}{_SEPARATOR}{_VALUE}", flags)

    def find(self, line: str) -> Found | None:
        """Return the first metric in a line; None if it has none.

        Args:
            line: A line as it was printed, perhaps with colours.
        """
        plain = _ESCAPES.sub("", line)
        # A pattern may have the colours in it, so the line is also searched as it came.
        for pattern, searched in ((self._any_number, plain), (self._literal, plain), (self._literal, line)):
            if pattern is not None and (match := pattern.search(searched)) is not None:
                groups = match.groupdict()
                text = groups["value"] if "value" in groups else match[1]
                # `\S+` may have matched only the beginning of what shows the number.
                named = None if is_number(text) else self._number_by_name(plain)
                return Found(named or text, groups.get("epoch"))
        named = self._number_by_name(plain)
        return None if named is None else Found(named, is_literal=False)

    def _number_by_name(self, plain: str) -> str | None:
        match = None if self._by_name is None else self._by_name.search(plain)
        return None if match is None else match["value"]


def number_of(text: str) -> float:
    """Return the number that a metric's text shows.

    Args:
        text: What a pattern's group matched, such as `0.93`, `tensor(0.93,`, `0,93` or `"93.1%"`.

    Raises:
        ValueError: If it is no number, or a comma in it may be that of a decimal fraction or of thousands.

    Examples:
        >>> [number_of(text) for text in ("0.93", "tensor(0.93, device='cuda:0')", "0,93", "93.1%")]
        [0.93, 0.93, 0.93, 93.1]
    """
    try:
        return float(text)
    except ValueError:
        match = _WRAPPED.fullmatch(_ESCAPES.sub("", text).strip())
    if match is None or text.count("[") > text.count("]"):  # the first of several numbers
        raise ValueError(f"the metric of an epoch must be a number, but got {text.strip()!r}")
    number = match["number"]
    if _THOUSANDS.fullmatch(number):
        point, whole = number.replace(",", "."), number.replace(",", "")
        raise ValueError(f"the metric {number!r} may be {point} or {whole}: print it with a decimal point")
    return float(number.replace(",", ".").replace("\u2212", "-"))


def is_number(text: str) -> bool:
    """Return whether `number_of` returns a number of this text.

    Args:
        text: What a pattern's group matched.
    """
    try:
        number_of(text)
    except ValueError:
        return False
    return True


def names_in(lines: list[str]) -> list[str]:
    """Return the names that lines show a number after, each once, in their order.

    Args:
        lines: Lines that were printed.

    Examples:
        >>> names_in(["epoch 3: loss=0.2 accuracy: 0.93"])
        ['loss', 'accuracy']
    """
    return list(dict.fromkeys(name for line in lines for name in _SHOWN_NAMES.findall(_ESCAPES.sub("", line[:1000]))))


class MetricFinder:
    """Says which lines of a program's output have its metrics; it learns that from the first job and keeps it for the others.

    Lines that match the pattern on standard output come first. If a job has none, lines with the metric's name count, then
    standard error: a program may print the same metric in several places, and each epoch must count once.

    Args:
        pattern: As `Command.pattern`.

    Attributes:
        pattern: The pattern.
        rank: Rank of the lines that count.
    """

    N_RANKS = 4

    def __init__(self, pattern: str) -> None:
        self.pattern, self.rank = pattern, 0
        self._pattern = MetricPattern(pattern)

    def find(self, line: str, *, is_error: bool = False) -> tuple[int, Found] | None:
        """Return the first metric in a line and the rank of such lines, 0 to 3; None if it has none.

        Args:
            line: A line as it was printed.
            is_error: Whether it was printed on standard error.
        """
        # A progress bar is overwritten until its line ends: only its last state counts.
        found = None if is_error and line.endswith("\r") else self._pattern.find(line)
        return None if found is None else (2 * is_error + (not found.is_literal), found)

    def explain(self, lines: list[str]) -> str:
        """Return why no metric was found, with what was printed instead, on one line.

        Args:
            lines: The last lines that were printed, oldest first.
        """
        shown = [repr(_shortened(text)) for line in lines if (text := _ESCAPES.sub("", line).strip())]
        if not shown:
            return f"the command ended without a metric: it printed nothing; the pattern is {self.pattern!r}"
        problem = f"the command ended without a metric: no line has {self.pattern!r}; the last lines are {', '.join(shown[-3:])}"
        names = [name for name in names_in(lines) if name.lower() not in _COUNTERS]
        if not names:
            return f"{problem}; print the metric after each epoch, or change --pattern"
        return f"{problem}; numbers follow {', '.join(names[-5:])}: write for example --pattern '{names[-1]}=([0-9.]+)'"


def _shortened(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
