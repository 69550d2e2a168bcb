"""Downloads of a process share what may be had in a second, however many there are."""

import asyncio

import pytest

from app.archive.download import MOST_BYTES_PER_S, Downloader
from app.runtime.egress import EgressPolicy
from app.wiring import default_tls_context


async def test_all_downloads_together_keep_the_pace() -> None:
    loop = asyncio.get_running_loop()
    downloader = Downloader(EgressPolicy(), default_tls_context(), 2**30)
    began_at = loop.time()

    async def one() -> None:
        for _ in range(100):
            await downloader.pace(MOST_BYTES_PER_S // 100)

    await asyncio.gather(*(one() for _ in range(4)))
    assert loop.time() - began_at == pytest.approx(4, abs=0.01)
    # What was not used is not made up for.
    await asyncio.sleep(60)
    began_at = loop.time()
    await downloader.pace(MOST_BYTES_PER_S)
    assert loop.time() - began_at == pytest.approx(1, abs=0.01)
    downloader.close()
