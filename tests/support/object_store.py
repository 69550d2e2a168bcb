"""An S3 server in a process of its own (moto), where there is one: ``pip install 'moto[server,s3]'``."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

import httpx
import pytest

from tests.chaos.processes import free_port
from tests.support.gateway import eventually

MOTO: Final = shutil.which("moto_server")
needs_s3: Final = pytest.mark.skipif(MOTO is None, reason="there is no moto_server, which stands in for S3")
BUCKET: Final = "music"


@dataclass
class ObjectStore:
    """A server with one bucket. ``variables``: what a process needs in its environment to use it."""

    url: str
    archive_url: str = f"s3://{BUCKET}/kept"
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {"ENDPOINT_URL": self.url, "ALLOW_HTTP": "true", "REGION": "x"}
        named |= {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
        self.variables = {f"AWS_{name}": value for name, value in named.items()}

    async def listed(self) -> list[str]:
        """The keys of all objects."""
        found, after = list[str](), ""
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                params = {"list-type": "2", "start-after": after, "encoding-type": "url"}
                text = (await client.get(f"{self.url}/{BUCKET}", params=params, timeout=60)).text
                page = [unquote(key) for key in re.findall(r"<Key>(.*?)</Key>", text)]
                if not page:
                    return found
                found += page
                after = page[-1]

    async def read(self, key: str) -> bytes:
        """The bytes of an object."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.url}/{BUCKET}/{key}", timeout=60)
            assert answer.status_code == 200, (key, answer.status_code)
            return answer.content

    async def unfinished(self) -> int:
        """How many uploads in parts were begun and are neither completed nor given up."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{self.url}/{BUCKET}?uploads", timeout=60)).text.count("<Upload>")


@asynccontextmanager
async def object_store() -> AsyncIterator[ObjectStore]:
    """Start a server with an empty bucket; it ends with the block."""
    store = ObjectStore(f"http://127.0.0.1:{(port := free_port())}")
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(str(MOTO), "-p", str(port), stdout=quiet, stderr=quiet)

    async def is_up() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.put(f"{store.url}/{BUCKET}")).status_code == 200
        except httpx.TransportError:
            return False

    try:
        await eventually(is_up, timeout_s=30)
        yield store
    finally:
        server.kill()
        await server.wait()
