"""Clients of a gateway that runs on the test's own loop."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from app.wiring import default_tls_context
from tempolor_gateway_client import AsyncGatewayClient, Retries
from tests.support.gateway import ADMIN_KEY, Running
from tests.support.start_fixtures import StartGateway, StartSandbox

QUICK = Retries(total_s=30, first_s=0.02, most_s=0.2)


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., AsyncGatewayClient]]:
    """Clients of a URL (``connect(url, api_key=…)``), closed with the test."""
    async with AsyncExitStack() as stack:

        def make(url: str, api_key: str = ADMIN_KEY, **given: Any) -> AsyncGatewayClient:
            if "trust_env" not in given:
                # To make a context of its own takes longer than what most of these tests do.
                given = {"trust_env": False, "tls": default_tls_context(), **given}
            client = AsyncGatewayClient(url, api_key, **{"retries": QUICK, **given})
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def studio(
    start_gateway: StartGateway, start_sandbox: StartSandbox, connect: Callable[..., AsyncGatewayClient]
) -> tuple[Running, AsyncGatewayClient]:
    """A gateway that works, in front of a quick vendor, and its client."""
    gateway = await start_gateway(await start_sandbox(scale=400), egress_allow_private=True)
    return gateway, connect(gateway.url)
