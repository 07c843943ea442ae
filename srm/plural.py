"""Counts in messages for people."""

from __future__ import annotations


def plural(n: int, noun: str) -> str:
    """Return a count with its noun.

    Args:
        n: The count, >= 0.
        noun: Its singular; the plural gets an s.

    Examples:
        >>> plural(1, "epoch"), plural(2, "epoch")
        ('1 epoch', '2 epochs')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
