"""Where the values of settings come from (the environment before the .env file), and what holds for each of them.

White space around a value is trimmed: a secret that was made with ``echo`` ends in a newline, and one that was pasted
has blanks. What remains is used as it stands, so what would only be carried along unseen is refused.
"""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, DotEnvSettingsSource, InitSettingsSource

_AROUND: Final = re.compile(r"^[\s\ufeff]+|[\s\ufeff]+$")
"""Unicode's white space, and the byte order mark that editors and shells put before a text."""
_QUOTES: Final = frozenset({'""', "''", "``", "“”", "„“", "‘’", "«»"})


def trimmed(value: str) -> str:
    """The value without what stands around it unseen."""
    return _AROUND.sub("", value)


def plain(value: str) -> str:
    """A trimmed value that can be used as it stands. Raises ``ValueError``."""
    if not value.isprintable():
        raise ValueError("it has a control character, or another that is not printable, inside")
    _refuse_quotes(value)
    return value


def members(value: str) -> list[str]:
    """The values of a comma-separated list, each trimmed and plain. Raises ``ValueError``."""
    _refuse_quotes(value)
    if value.startswith("[") and value.endswith("]"):
        raise ValueError("it is in brackets: separate the values by commas, and write no brackets and no quotes")
    return [plain(one) for one in map(trimmed, value.split(",")) if one]


def _refuse_quotes(value: str) -> None:
    # A shell takes them away; Docker's --env-file and the environment of a Kubernetes manifest keep them.
    if len(value) > 1 and value[0] + value[-1] in _QUOTES:
        raise ValueError("it is in quotes: write the value without them")


SHARED = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
"""Variables that other programs read as well, mostly in lower case."""


class NotText(ValueError):
    """The .env file is no text."""


class PlainDotEnv(DotEnvSettingsSource):
    """A .env file of which each value is taken as it is: a ``${HOME}`` in a secret is a part of the secret. Raises
    ``NotText``, ``UnicodeDecodeError``."""

    def _read_env_file(self, file_path: Path) -> Mapping[str, str | None]:
        text = file_path.read_text("utf-8")
        # UTF-16 without a mark is letters with zeros between them.
        if "\0" in text:
            raise NotText
        found = dotenv_values(stream=io.StringIO(text), interpolate=False)
        return {name.lower(): value for name, value in found.items() if value != ""}


def lower_case_first(settings_cls: type[BaseSettings]) -> InitSettingsSource:
    """The shared variables in lower case, which go before those in upper case, also where they are empty."""
    given: dict[str, Any] = {name.upper(): os.environ[name] for name in SHARED if name in os.environ}
    return InitSettingsSource(settings_cls, given)
