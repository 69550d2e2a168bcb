"""Stories run on virtual time, with one gateway that does nothing behind a test's back."""

import pytest

from tests.support.waking import LOOKS_S


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.flows.watch.CHECK_S", LOOKS_S)
