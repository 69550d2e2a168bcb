"""Where values come from: the environment before the .env file."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, DotEnvSettingsSource, InitSettingsSource

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
