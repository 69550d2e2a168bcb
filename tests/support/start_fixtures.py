"""How a test starts what it speaks to: the types of the fixtures ``start_sandbox`` and ``start_gateway``."""

from typing import Any, Protocol

from app.sandbox.config import SandboxConfig
from app.sandbox.state import Sandbox
from tests.support.gateway import Running


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
