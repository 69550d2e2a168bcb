"""Fetching result files to this machine."""

import asyncio
import os
import secrets
from pathlib import Path

from tempolor_gateway_client.errors import Unavailable
from tempolor_gateway_client.retries import Outage
from tempolor_gateway_client.transport import Transport


async def save(transport: Transport, path: str, to: Path) -> int:
    """Fetch a file, from its beginning again where the connection breaks, and put it in its place once it is whole.
    Returns how many bytes it has. Raises ``GatewayError``, and ``OSError`` for what cannot be written."""
    outage: Outage | None = None
    while True:
        # A short name, so that ``to`` may have one as long as any; and no mkstemp, whose files nobody else may read.
        part = to.with_name(f".{secrets.token_hex(8)}.part")
        try:
            size = 0
            with await asyncio.to_thread(part.open, "xb") as file:
                async with transport.download(path) as pieces:
                    async for piece in pieces:
                        size += await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(os.replace, part, to)
            return size
        except Unavailable as error:
            outage = outage or Outage(transport.retries)
            await outage.pause(error)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
