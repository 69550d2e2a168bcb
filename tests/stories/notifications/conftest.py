"""A gateway whose notifications go out when a test says so, by a clock that a test moves."""

import pytest

from app.notifications.deliver import Notifier
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway


@pytest.fixture
async def gateway(start_gateway: StartGateway, clock: ScaledClock) -> Running:
    return await start_gateway(workers=False, egress_allow_private=True, clock=clock)


@pytest.fixture
def notifier(gateway: Running) -> Notifier:
    return Notifier(gateway.gateway.context, gateway.gateway.webhooks)
