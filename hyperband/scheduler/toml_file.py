"""Reads TOML files that people write."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read_toml(path: Path, content: str) -> dict[str, Any]:
    """Read the tables and values of a TOML file.

    Args:
        path: The file.
        content: What the file holds, for messages: "search space".

    Raises:
        ValueError: If the file cannot be read or is not TOML, in one line that names the file.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    # The reader of these messages has a file to mend, not a program: one line each, without a traceback.
    except OSError as error:
        raise ValueError(f"{path}: the {content} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: a {content} must be UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
