"""Normalize text that somebody typed or pasted."""

import re
from typing import Final

_AROUND: Final = re.compile(r"^[\s\ufeff]+|[\s\ufeff]+$")
"""Unicode's white space, and the byte order mark that editors and shells put before a text."""


def trimmed(value: str) -> str:
    """Strip invisible characters around a value."""
    return _AROUND.sub("", value)
