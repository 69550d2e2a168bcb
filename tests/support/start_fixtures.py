"""How a test starts what it speaks to: the fixtures ``start_sandbox`` and ``start_gateway``, their types, and what they
do on any event loop."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from app.sandbox.config import SandboxConfig
from app.sandbox.run import running as running_sandbox
from app.sandbox.state import Sandbox
from tests.support.gateway import Running, running_gateway
from tests.support.virtual_time import virtual_loop


class StartSandbox(Protocol):
    """Start a sandbox, of a config or of its fields; it ends with the test."""

    async def __call__(self, config: SandboxConfig | None = None, **given: Any) -> Sandbox: ...


class StartGateway(Protocol):
    """Start a gateway on the test's database, in front of a sandbox if there is one; it is stopped with the test.
    ``given``: as ``running_gateway`` takes it."""

    async def __call__(self, sandbox: Sandbox | None = None, **given: Any) -> Running: ...


class Retain(Protocol):
    """Delete what is older than so many days, until nothing is left to delete."""

    async def __call__(self, days: float = 30) -> None: ...


@asynccontextmanager
async def sandboxes() -> AsyncIterator[StartSandbox]:
    """Sandboxes, started one by one (``await start(scale=…)``), that end with the block."""
    async with AsyncExitStack() as stack:

        async def start(config: SandboxConfig | None = None, **given: Any) -> Sandbox:
            loop = virtual_loop()
            now = loop.epoch_s if loop else time.time
            return await stack.enter_async_context(running_sandbox(config or SandboxConfig(**given), now=now))

        yield start


@asynccontextmanager
async def gateways(database_url: str) -> AsyncIterator[StartGateway]:
    """Gateways on one database, started one by one (``await start(sandbox, submit_timeout_s=…)``), that end with the
    block."""
    async with AsyncExitStack() as stack:

        async def start(sandbox: Sandbox | None = None, **given: Any) -> Running:
            if sandbox is not None:
                given.setdefault("tempolor_base_url", sandbox.base_url)
            return await stack.enter_async_context(running_gateway(database_url, **given))

        yield start
