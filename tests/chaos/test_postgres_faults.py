"""A real PostgreSQL that fails under a load of callbacks: 503 with ``Retry-After`` meanwhile, never a false
``success``, and everything goes on by itself (G1, G3)."""

import asyncio
import time
from pathlib import Path
from typing import Any

from app.database.migrate import migrate
from tests.chaos.conftest import Tell
from tests.chaos.disks import tiny_disk
from tests.chaos.load import Load, assert_kept, submit
from tests.chaos.processes import client, holds, serving
from tests.chaos.watching import assert_all_is_well, crowded, until_answered
from tests.support.postgres import PostgresServer
from tests.support.start_fixtures import StartSandbox


async def test_the_server_ends_in_every_way_and_comes_back(
    own_postgres: PostgresServer, tmp_path: Path, start_sandbox: StartSandbox, tell: Tell
) -> None:
    sandbox = await start_sandbox(scale=100, habits={"stuck": 1})
    settings: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "submit_max_in_flight": 1000,
        "query_first_after_s": 600,
    }
    url = own_postgres.url("gateway")
    async with serving(url, tmp_path, **settings) as served, client(served.url) as api:
        recovered = []
        async with Load(served.url) as load:
            load.offer(await submit(api, 20))
            for mode in ("fast", "immediate", "kill"):
                await load.goes_on()
                await asyncio.to_thread(own_postgres.stop, mode)
                gone_at = time.monotonic()
                await until_answered(load, 503, 10)
                await asyncio.sleep(0.5)
                back_at = time.monotonic()
                # Nothing that was posted and answered while there was no server is a success.
                answered = [answer for answer in load.since(gone_at) if answer.ended_at < back_at]
                assert {answer.status for answer in answered} == {503}
                await asyncio.to_thread(own_postgres.start)
                recovered.append(round(await load.goes_on(), 2))
        load.assert_only(200, 503)
        await assert_kept(api, load.acknowledged)
        sandbox.add_rules(works=[{"outcome": "succeeded"}])
        [task_id] = await submit(api, 1)

        async def ended() -> Any:
            return (await api.get(f"/v1/tasks/{task_id}")).json()["status"] == "succeeded"

        await holds(ended, 20, lambda: task_id)
        await assert_all_is_well(api)
    tell(f"{load.by_status()}, 50 callbacks acknowledged again within {recovered} s of the start")


async def test_all_connections_are_ended_again_and_again(
    own_postgres: PostgresServer, tmp_path: Path, tell: Tell
) -> None:
    end_all = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = 'gateway' AND pid <> pg_backend_pid()"
    )
    async with serving(own_postgres.url("gateway"), tmp_path) as served, client(served.url) as api:
        ended = 0
        async with Load(served.url) as load:
            for _ in range(10):
                await load.goes_on(20)
                ended += int(await asyncio.to_thread(own_postgres.execute, end_all, "gateway"))
            await load.goes_on()
        load.assert_only(200, 503)
        await assert_kept(api, load.acknowledged)
        await assert_all_is_well(api)
    tell(f"{ended} connections ended, {load.by_status()}")


async def test_callbacks_of_other_tasks_are_quick_while_some_tasks_are_locked(
    own_postgres: PostgresServer, tmp_path: Path, tell: Tell
) -> None:
    """Another session holds the rows of three tasks for seconds, and callbacks for these tasks keep coming."""
    url = own_postgres.url("gateway")
    async with serving(url, tmp_path, workers=False) as served, client(served.url) as api:
        async with Load(served.url, senders=6, elsewhere=0.1) as others:
            held = await submit(api, 3)
            named = ", ".join(f"'{task_id}'" for task_id in held)
            others.offer(await submit(api, 20))
            await others.goes_on()
            lock = f"BEGIN; SELECT 1 FROM tasks WHERE id IN ({named}) FOR UPDATE; SELECT pg_sleep(7); COMMIT"
            locking = asyncio.create_task(asyncio.to_thread(own_postgres.execute, lock, "gateway"))
            await asyncio.sleep(0.5)
            began_at = time.monotonic()
            async with Load(served.url, senders=6, elsewhere=0) as stuck:
                stuck.offer(held)
                await asyncio.sleep(5.5)
                meanwhile = [answer for answer in others.since(began_at) if answer.ended_at < time.monotonic()]
                assert not any(answer.acknowledged and answer.callback.task_id for answer in stuck.answers)
                await locking
                await stuck.goes_on(10)
        times = sorted(answer.ended_at - answer.began_at for answer in meanwhile)
        assert len(times) > 100
        assert {answer.status for answer in meanwhile} == {200}
        assert times[-1] < 2, times[-5:]
        # Only now, when nobody posts any more: a task and its log are read one after the other.
        for load in (stuck, others):
            load.assert_only(200, 503)
            await assert_kept(api, load.acknowledged)
    median_s = times[len(times) // 2]
    tell(f"{len(times)} others in {median_s:.3f} s (median), {times[-1]:.3f} s (longest); {stuck.by_status()}")


async def test_a_server_that_only_reads_is_one_that_is_away(
    own_postgres: PostgresServer, tmp_path: Path, tell: Tell
) -> None:
    """After a failover a connection can end on a standby, or the new primary be read-only for a while: nothing can
    be stored, so 503; it is no fault of any callback, and must not be taken for one."""
    async with serving(own_postgres.url("gateway"), tmp_path) as served, client(served.url) as api:
        lyrics = {"kind": "lyrics.generate", "params": {"prompt": "rain"}}
        async with Load(served.url) as load:
            await load.goes_on()
            for setting in ("default_transaction_read_only = on", "default_transaction_read_only = off"):
                await asyncio.to_thread(own_postgres.execute, f"ALTER SYSTEM SET {setting}")
                await asyncio.to_thread(own_postgres.execute, "SELECT pg_reload_conf()")
                if setting.endswith("on"):
                    await until_answered(load, 503, 10)
                    for _ in range(5):
                        refused = await api.post("/v1/tasks", json=lyrics)
                        assert refused.status_code == 503, refused.text
                        assert "Retry-After" in refused.headers
                        await asyncio.sleep(0.1)
                    # A balancer finds another one, if there is.
                    ready = await api.get("/readyz")
                    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "read-only")
                    assert ready.json()["reason"] == "the database takes no writes"
                    await asyncio.sleep(1)
            recovered = await load.goes_on()
        assert (await api.get("/readyz")).status_code == 200
        load.assert_only(200, 503)
        await assert_kept(api, load.acknowledged)
        log = (await api.get("/v1/callbacks", params={"disposition": "poisoned"})).json()["data"]
        assert log == []
        await submit(api, 1)
        await assert_all_is_well(api)
        assert [one for one in served.faults() if one["event"] in ("loop.failed", "callback.poisoned")] == []
    tell(f"{load.by_status()}, 50 callbacks acknowledged again within {recovered:.2f} s")


async def test_a_full_disk_is_a_503_and_its_space_is_taken_up_again(
    own_postgres: PostgresServer, tmp_path: Path, tell: Tell
) -> None:
    place = own_postgres.directory / "tiny"
    place.mkdir()
    with tiny_disk(place, 48, owner=own_postgres.data_dir.stat().st_uid):
        await asyncio.to_thread(own_postgres.execute, f"CREATE TABLESPACE tiny LOCATION '{place}'")
        await asyncio.to_thread(own_postgres.execute, "CREATE DATABASE crowded TABLESPACE tiny")
        url = own_postgres.url("crowded")
        await asyncio.to_thread(migrate, url)
        async with serving(url, tmp_path) as served, client(served.url) as api:
            async with Load(served.url, padding=8000) as load:
                await load.goes_on()
                recovered = await crowded(load, place)
            load.assert_only(200, 503)
            await assert_kept(api, load.acknowledged)
            await assert_all_is_well(api)
        await asyncio.to_thread(own_postgres.stop, "immediate")
    tell(f"{load.by_status()}, 50 callbacks acknowledged again within {recovered:.2f} s")
