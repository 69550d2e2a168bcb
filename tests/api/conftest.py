"""A gateway without background loops: nothing is sent or queried behind a test's back."""

from typing import Any

import pytest

from tests.api.direct import Direct
from tests.api.waking import LOOKS_S
from tests.support.gateway import Running


@pytest.fixture
def db(database_url: str) -> Direct:
    return Direct(database_url)


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.flows.watch.CHECK_S", LOOKS_S)


@pytest.fixture
async def gateway(start_gateway: Any) -> Running:
    return await start_gateway(workers=False)
