"""Read the values of settings (the environment before the .env file), and normalize each of them.

White space around a value is trimmed: a secret that was made with ``echo`` ends in a newline, and one that was pasted
has blanks. The rest is used as it is, so invisible characters and quotes are refused.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, DotEnvSettingsSource, InitSettingsSource

from app.runtime.normalize_text import trimmed

_QUOTES: Final = frozenset({'""', "''", "``", "“”", "„“", "‘’", "«»"})


def plain(value: str) -> str:
    """Check that a trimmed value can be used as it is. Raises ``ValueError``."""
    if not value.isprintable():
        raise ValueError("it has a control character, or another that is not printable, inside")
    _refuse_quotes(value)
    return value


def members(value: str) -> list[str]:
    """Split a comma-separated list; each value is trimmed and checked. Raises ``ValueError``."""
    _refuse_quotes(value)
    if value.startswith("[") and value.endswith("]"):
        raise ValueError("it is in brackets: separate the values by commas, and write no brackets and no quotes")
    return [plain(member) for member in map(trimmed, value.split(",")) if member]


def _refuse_quotes(value: str) -> None:
    # A shell removes them; Docker's --env-file and the environment of a Kubernetes manifest keep them.
    if len(value) > 1 and value[0] + value[-1] in _QUOTES:
        raise ValueError("it is in quotes: write the value without them")


SHARED = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
"""Variables that other programs read as well, mostly in lower case."""


class NotText(ValueError):
    """The .env file is no text."""


class PlainDotEnv(DotEnvSettingsSource):
    """Reads a .env file without interpolation: a ``${HOME}`` in a secret is a part of the secret. Raises ``NotText``,
    ``UnicodeDecodeError``."""

    def _read_env_file(self, file_path: Path) -> Mapping[str, str | None]:
        text = file_path.read_text("utf-8")
        # UTF-16 without a mark is letters with zeros between them.
        if "\0" in text:
            raise NotText
        values = dotenv_values(stream=io.StringIO(text), interpolate=False)
        return {name.lower(): value for name, value in values.items() if value != ""}


def lower_case_first(settings_cls: type[BaseSettings]) -> InitSettingsSource:
    """Read the shared variables in lower case, which win over those in upper case, also where they are empty."""
    values: dict[str, Any] = {name.upper(): os.environ[name] for name in SHARED if name in os.environ}
    return InitSettingsSource(settings_cls, values)
