"""Erasing one client's data: all of it, nobody else's, never under a task that is open, and again after a stop."""

import threading
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.database.database import Database
from app.operations.erase import erase
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running
from tests.support.notifications import Told, client_of
from tests.support.retention import BY, DAY_S
from tests.support.song_callbacks import assert_problem, done, song

NOWHERE = "https://receiver.example/hook"


async def lived_in(gateway: Running, db: Direct, name: str) -> Told:
    """A client with something of everything; what of it is stored mentions its name."""
    client = await client_of(gateway, name)
    song_task = await client.submit(NOWHERE, reference=f"order of {name}")
    body = done(f"t2m_{name}", title=f"Song of {name}", lyrics=f"{name} " * 200)
    await gateway.call_back("song", body, UUID(song_task["id"]))
    await gateway.call_back("song", {"songs": [{"item_id": f"late_{name}"}], "odd": name}, UUID(song_task["id"]))
    await gateway.call_back("song", done(f"late_{name}"), UUID(song_task["id"]))
    await gateway.call_back("song", b'{"malformed": "%s"' % name.encode(), UUID(song_task["id"]))
    again = {"kind": "song.generate", "params": SONG}
    headers = {**client.headers, "Idempotency-Key": f"key of {name}"}
    made = await gateway.api.post("/v1/tasks", json=again, headers=headers)
    await gateway.api.post(f"/v1/tasks/{made.json()['id']}/cancel", headers=client.headers)
    # One that another system submitted: its callbacks are bound to nobody.
    await gateway.call_back("song", done(f"ext_{name}", title=f"Stranger of {name}"))
    adopted = {"family": "song", "item_ids": [f"ext_{name}"], "client": name}
    answer = await gateway.api.post("/v1/tasks/adopt", json=adopted)
    assert answer.status_code == 202, answer.text
    return client


async def revoke(gateway: Running, name: str) -> None:
    assert (await gateway.api.delete(f"/v1/clients/{name}")).status_code == 204


async def traces(db: Direct, name: str) -> set[str]:
    """Tables with a row that names the client, also inside of bodies."""
    found = await db.everything()
    return {table for table, rows in found.items() if any(name in row for row in rows)}


async def test_everything_of_a_client_goes_and_nothing_of_another(gateway: Running, db: Direct) -> None:
    for name in ("studio", "radio"):
        await lived_in(gateway, db, name)
    everywhere = await traces(db, "studio")
    assert everywhere >= {"tasks", "items", "callbacks", "notifications", "idempotency_keys", "item_values"}
    await revoke(gateway, "studio")
    theirs = await gateway.api.get("/v1/tasks", params={"client": "radio"})
    logged = (await gateway.api.get("/v1/callbacks", params={"limit": 200})).json()["data"]
    answer = await gateway.api.delete("/v1/clients/studio/data")
    assert answer.status_code == 200, answer.text
    erased = answer.json()
    assert (erased["client"], erased["done"]) == ("studio", True)
    assert erased["deleted"]["tasks"] == 3
    assert erased["deleted"]["callbacks"] == 5
    assert erased["deleted"]["idempotency_keys"] == 1
    assert erased["deleted"]["notifications"] >= 1
    assert await traces(db, "studio") == {"clients", "audit"}
    assert (await gateway.api.get("/v1/tasks", params={"client": "radio"})).json() == theirs.json()
    assert await traces(db, "radio") == everywhere
    left = (await gateway.api.get("/v1/callbacks", params={"limit": 200})).json()["data"]
    assert len(left) == len(logged) - 5
    # Again: there is nothing left, and that is fine.
    again = (await gateway.api.delete("/v1/clients/studio/data")).json()
    assert (again["done"], set(again["deleted"].values())) == (True, {0})


async def test_the_name_rests(gateway: Running, clock: ScaledClock) -> None:
    await client_of(gateway)
    await revoke(gateway, "studio")
    assert (await gateway.api.delete("/v1/clients/studio/data")).json()["done"]
    assert_problem(await gateway.api.post("/v1/clients", json={"name": "studio"}), 409, "conflict")
    clock.skip(31 * DAY_S)
    assert (await gateway.api.post("/v1/clients", json={"name": "studio"})).status_code == 201


async def test_only_of_a_client_that_was_revoked(gateway: Running, db: Direct) -> None:
    studio = await client_of(gateway)
    await studio.canceled(NOWHERE)
    before = await db.everything()
    problem = assert_problem(await gateway.api.delete("/v1/clients/studio/data"), 409, "conflict")
    assert "revoke it first" in problem["detail"]
    assert_problem(await gateway.api.delete("/v1/clients/nobody/data"), 404, "not_found")
    assert_problem(await gateway.api.delete("/v1/clients/studio/data", headers=studio.headers), 403, "forbidden")
    assert await db.everything() == before


async def test_not_while_a_task_is_open(gateway: Running, db: Direct) -> None:
    for what in ("queued", "running", "unsettled"):
        client = await client_of(gateway, what)
        await client.canceled(NOWHERE)
        task = UUID((await client.submit(NOWHERE))["id"])
        if what == "running":
            await gateway.call_back("song", song("t2m_1"), task)
        elif what == "unsettled":
            await gateway.call_back("song", song("t2m_2", "succeeded", audio_url="https://cdn.example/a.mp3"), task)
            assert (await gateway.task(str(task)))["status"] == "succeeded"
        await revoke(gateway, what)
        before = await db.everything()
        problem = assert_problem(await gateway.api.delete(f"/v1/clients/{what}/data"), 409, "conflict")
        assert problem["detail"].startswith(f"1 tasks of '{what}' are open")
        assert await db.everything() == before
        if what == "queued":
            await gateway.api.post(f"/v1/tasks/{task}/cancel")
        else:
            await gateway.call_back("song", done("t2m_1" if what == "running" else "t2m_2"), task)
        assert (await gateway.api.delete(f"/v1/clients/{what}/data")).json()["deleted"]["tasks"] == 2


async def test_stopped_anywhere_it_goes_on(gateway: Running, db: Direct) -> None:
    """Each transaction is complete in itself: after any number of them, doing it again leaves nothing."""
    await lived_in(gateway, db, "studio")
    await revoke(gateway, "studio")
    context = gateway.gateway.context

    class Stopped(Exception):
        pass

    class Stopping:
        def __init__(self, left: int) -> None:
            self.left = left

        async def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if self.left == 0:
                raise Stopped
            self.left -= 1
            return await context.db.write(fn, *args, **kwargs)

    runs = 0
    while True:
        runs += 1
        try:
            erased = await erase(cast(Database, Stopping(1)), context.clock, BY, "studio", rows=2)
        except Stopped:
            # No inbound row is left behind by its task.
            owners = {
                row["task_id"] for row in await db.rows("SELECT task_id FROM callbacks WHERE task_id IS NOT NULL")
            }
            assert owners <= {row["id"] for row in await db.rows("SELECT id FROM tasks")}
            continue
        assert erased.done
        break
    assert runs > 5
    assert await traces(db, "studio") == {"clients", "audit"}


@on_sqlite
@pytest.mark.real_time
async def test_it_does_not_hold_up_the_event_loop(gateway: Running, db: Direct) -> None:
    """What requests write runs on the event loop, and a part may take long."""
    await lived_in(gateway, db, "studio")
    await revoke(gateway, "studio")
    deleted_by: set[str] = set()

    def note(_conn: sa.Connection, _cursor: Any, statement: str, *_given: Any) -> None:
        if statement.startswith("DELETE FROM tasks"):
            deleted_by.add(threading.current_thread().name)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert (await gateway.api.delete("/v1/clients/studio/data")).json()["done"]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert deleted_by
    assert threading.current_thread().name not in deleted_by
