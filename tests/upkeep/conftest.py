"""A gateway whose days pass at once, without background loops: nothing is sent, queried or deleted behind a test."""

from typing import Any

import pytest

from app.domain.audit import By
from app.flows.retain import Retainer
from tests.api.direct import Direct
from tests.support.clock import ScaledClock
from tests.support.gateway import Running

DAY_S = 86400.0
BY = By("cli:root")


@pytest.fixture
def db(database_url: str) -> Direct:
    return Direct(database_url)


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock()


@pytest.fixture
async def gateway(start_gateway: Any, clock: ScaledClock) -> Running:
    return await start_gateway(workers=False, clock=clock)


@pytest.fixture
def retain(gateway: Running) -> Any:
    """Turn the loop by hand until it idles; what it deleted is in the database."""

    async def turn(days: float = 30) -> None:
        retainer = Retainer(gateway.gateway.context, days)
        while await retainer.step() is not None:
            pass

    return turn
