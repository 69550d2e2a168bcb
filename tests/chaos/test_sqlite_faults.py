"""A SQLite file that cannot be written for a while: 503, never a false ``success``, and then it goes on (G1)."""

import asyncio
import contextlib
import resource
import sqlite3
from pathlib import Path

import pytest

from tests.chaos.conftest import Tell
from tests.chaos.disks import tiny_disk
from tests.chaos.load import Load, assert_kept, submit
from tests.chaos.processes import client, serving
from tests.chaos.watching import assert_all_is_well, crowded, until_answered
from tests.support.not_none import present


async def assert_whole(path: Path) -> None:
    """The file is not damaged."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_full_disk_is_a_503_and_its_space_is_taken_up_again(tmp_path: Path, tell: Tell) -> None:
    place = tmp_path / "tiny"
    place.mkdir()
    with tiny_disk(place, 24):
        async with serving(f"sqlite:///{place}/gateway.db", tmp_path) as served, client(served.url) as api:
            async with Load(served.url, padding=8000) as load:
                load.offer(await submit(api, 5))
                await load.goes_on()
                recovered = await crowded(load, place)
            load.assert_only(200, 503)
            await assert_kept(api, load.acknowledged)
            await assert_all_is_well(api)
        await assert_whole(place / "gateway.db")
    tell(f"{load.by_status()}, 50 callbacks acknowledged again within {recovered:.2f} s")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux lets limits of a running process be changed")
async def test_a_file_that_may_not_grow_is_a_503_and_then_it_goes_on(tmp_path: Path, tell: Tell) -> None:
    """A limit on the size of files: the error is another than that of a full disk (EFBIG, not ENOSPC)."""
    path = tmp_path / "gateway.db"
    async with serving(f"sqlite:///{path}", tmp_path) as served, client(served.url) as api:
        async with Load(served.url, padding=8000) as load:
            load.offer(await submit(api, 5))
            await load.goes_on()
            _, most = resource.prlimit(present(served.pid), resource.RLIMIT_FSIZE)
            size = max(one.stat().st_size for one in tmp_path.glob("gateway.db*"))
            resource.prlimit(present(served.pid), resource.RLIMIT_FSIZE, (size + 100_000, most))
            await until_answered(load, 503, 30)
            await asyncio.sleep(2)
            resource.prlimit(present(served.pid), resource.RLIMIT_FSIZE, (most, most))
            recovered = await load.goes_on()
        load.assert_only(200, 503)
        await assert_kept(api, load.acknowledged)
        await assert_all_is_well(api)
    await assert_whole(path)
    tell(f"{load.by_status()}, 50 callbacks acknowledged again within {recovered:.2f} s")


async def test_another_process_that_holds_the_file_is_waited_for(tmp_path: Path, tell: Tell) -> None:
    """Longer than the gateway waits for another's transaction: 503 then, and it goes on when the other has ended."""
    path = tmp_path / "gateway.db"
    async with serving(f"sqlite:///{path}", tmp_path) as served, client(served.url) as api:
        async with Load(served.url) as load:
            await load.goes_on()
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await until_answered(load, 503, 20)
                other.execute("ROLLBACK")
            recovered = await load.goes_on()
        load.assert_only(200, 503)
        await assert_kept(api, load.acknowledged)
        await assert_all_is_well(api)
    tell(f"{load.by_status()}, 50 callbacks acknowledged again within {recovered:.2f} s")
