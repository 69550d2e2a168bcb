"""A sandbox and a gateway beside each other, with keys made for the occasion and a database that goes with them."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.demo.processes import HOST, Child, child, free_port


@dataclass(frozen=True, slots=True)
class Stage:
    """Both are up and answer."""

    gateway: Child
    sandbox: Child
    gateway_url: str
    sandbox_url: str
    admin_key: str


@asynccontextmanager
async def stage(
    *,
    env: Mapping[str, str],
    sandbox_arguments: Sequence[str] = (),
    ports: tuple[int, int] = (0, 0),
    quiet: bool = True,
) -> AsyncIterator[Stage]:
    """Start both, and end both with the block. ``env``: what the gateway is given besides addresses and keys;
    ``ports``: those of gateway and sandbox, taken if they are free. Raises ``Broken``."""
    gateway_port, sandbox_port = (free_port(port) for port in ports)
    gateway_url, sandbox_url = f"http://{HOST}:{gateway_port}", f"http://{HOST}:{sandbox_port}"
    vendor_key, admin_key = f"Tempo-{secrets.token_hex(24)}", secrets.token_urlsafe(36)
    with tempfile.TemporaryDirectory(prefix="tempolor-gateway-") as name:
        folder = Path(name)
        ours = {
            "GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'gateway.db'}",
            "GATEWAY_PUBLIC_URL": gateway_url,
            "GATEWAY_CALLBACK_SECRETS": secrets.token_urlsafe(36),
            "GATEWAY_TEMPOLOR_API_KEY": vendor_key,
            "GATEWAY_TEMPOLOR_BASE_URL": sandbox_url,
            "GATEWAY_BOOTSTRAP_ADMIN_KEY": admin_key,
            "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
            "GATEWAY_DRAIN_S": "0.1",
        }
        start = partial(child, folder=folder, env={**env, **ours}, quiet=quiet)
        where = ("--host", HOST, "--port")
        sandbox_command = ("sandbox", *where, str(sandbox_port), "--key", vendor_key, *sandbox_arguments)
        async with (
            start("sandbox", *sandbox_command) as sandbox,
            start("gateway", "serve", *where, str(gateway_port)) as gateway,
        ):
            await sandbox.wait_ready(f"{sandbox_url}/_sandbox")
            await gateway.wait_ready(f"{gateway_url}/readyz")
            yield Stage(gateway, sandbox, gateway_url, sandbox_url, admin_key)
