"""`text_of`: the text of a file in whatever encoding programs write tables and logs."""

from __future__ import annotations

import codecs
from pathlib import Path

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def text_of(path: Path) -> str:
    """Return the text of a file: by its byte order mark, else as UTF-8, else as Latin-1.

    Args:
        path: The file.

    Raises:
        ValueError: If the file is not text.
        OSError: If the file cannot be read.
    """
    content = path.read_bytes()
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        # Any bytes are Latin-1, but no text has a zero.
        if encoding != "utf-8" or b"\0" in content:
            raise ValueError(f"{path} is not a text file: {error}") from None
        return content.decode("latin-1")
