"""Settings of an environment, and of nothing else that this machine has."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import BadSettings, Settings, load_settings
from tests.support.gateway import SECRET

VENDOR_KEY = "Tempo-0123456789abcdef0123456789abcdef"
REQUIRED = {
    "GATEWAY_PUBLIC_URL": "https://gateway.example",
    "GATEWAY_CALLBACK_SECRETS": SECRET,
    "GATEWAY_TEMPOLOR_API_KEY": VENDOR_KEY,
}
Load = Callable[..., Settings]
Faults = Callable[..., list[str]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Load settings from the required variables and these (None takes one away), in a folder of their own."""

    def from_environment(**given: str | None) -> Settings:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in os.environ:
                patch.delenv(name)
            for name, value in {**REQUIRED, **given}.items():
                if value is not None:
                    patch.setenv(name, value)
            return load_settings()

    return from_environment


@pytest.fixture
def faults(load: Load) -> Faults:
    """What is told of an environment that cannot be used; nothing of a usable one."""

    def of_environment(**given: str | None) -> list[str]:
        try:
            load(**given)
        except BadSettings as bad:
            return bad.faults
        return []

    return of_environment
