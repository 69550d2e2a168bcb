"""A gateway without background loops, and raw sockets to it."""

from typing import Any

import pytest

from tests.api.direct import Direct
from tests.support.gateway import Running


@pytest.fixture
def db(database_url: str) -> Direct:
    return Direct(database_url)


@pytest.fixture
async def gateway(start_gateway: Any) -> Running:
    return await start_gateway(workers=False)
