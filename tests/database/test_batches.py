"""What changes any number of notifications does it a hundred at a time, and may be cut short anywhere."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from app.audit.audit import Actor
from app.clients import clients
from app.database.database import Database
from app.errors import Unavailable
from app.notifications import outbound_log
from app.notifications.deliver import Notifier
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.notifications import client_of, deliver, watching, write, written
from tests.support.song_callbacks import assert_problem

ADMIN, STUDIO = Actor("bootstrap"), Actor("studio")


class CutShort:
    """A database that fails after so many writing transactions."""

    def __init__(self, db: Database, writes: int, error: BaseException | None) -> None:
        self._db, self._left, self._error = db, writes, error

    async def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._left and self._error is not None:
            raise self._error
        self._left -= 1
        return await self._db.write(fn, *args, **kwargs)

    async def read(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._db.read(fn, *args, **kwargs)


async def states(url: str, name: str = "studio") -> dict[str, Any]:
    """How many of a client's notifications have each status."""
    sql = f"SELECT status, COUNT(*) AS n FROM notifications WHERE client_name = '{name}' GROUP BY status"
    return {row["status"]: row["n"] for row in await Direct(url).rows(sql)}


async def all_dead(url: str) -> None:
    await Direct(url).execute("UPDATE notifications SET status = 'dead', due_at = NULL, last_error = 'gone'")


@pytest.mark.parametrize(
    ("writes", "error", "left"),
    [
        (2, Unavailable("the database is away"), 150),
        (3, RuntimeError("killed"), 50),
        (99, None, 0),
    ],
)
async def test_a_client_is_revoked_first_and_what_is_pending_is_dead_in_any_case(
    gateway: Running,
    notifier: Notifier,
    clock: ScaledClock,
    database_url: str,
    writes: int,
    error: Unavailable | RuntimeError | None,
    left: int,
) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")
    context = gateway.gateway.context
    async with watching() as receiver:
        # Two receivers with much, many with one; and another client that has the same ones.
        await write(gateway, written(gateway, receiver.url(), 130))
        await write(gateway, written(gateway, receiver.url("localhost"), 80))
        for port in range(40):
            await write(gateway, written(gateway, f"http://127.0.0.{port + 2}:9/", 1))
        await write(gateway, written(gateway, receiver.url(), 3, name="radio"))
        cut = cast(Database, CutShort(context.db, writes, error))
        if isinstance(error, RuntimeError):
            with pytest.raises(RuntimeError):
                await clients.revoke(cut, clock, ADMIN, "studio")
        else:
            await clients.revoke(cut, clock, ADMIN, "studio")
        # The key went with the first transaction, and each of the others took a hundred at most.
        assert (await gateway.api.get("/v1/tasks", headers=studio.headers)).status_code == 401
        found = await states(database_url)
        assert (found.get("pending", 0), found.get("dead", 0)) == (left, 250 - left)
        assert await states(database_url, "radio") == {"pending": 3}
        # What was left is judged at its next attempt, and not posted.
        await deliver(notifier)
        assert await states(database_url) == {"dead": 250}
        assert await states(database_url, "radio") == {"delivered": 3}
        assert len(receiver.seen()) == 3
        said = {one["last_error"] for one in (await gateway.api.get("/v1/notifications?status=dead")).json()["data"]}
        assert said == {"client_revoked"}
    assert (await gateway.api.get("/v1/tasks", headers=radio.headers)).status_code == 200
    assert_problem(await gateway.api.delete("/v1/clients/studio"), 404)


async def test_a_mass_redelivery_that_is_cut_short_is_ended_by_the_next(
    gateway: Running, clock: ScaledClock, database_url: str
) -> None:
    await client_of(gateway)
    context = gateway.gateway.context
    since = clock.now()
    await write(gateway, written(gateway, "https://hooks.example/", 5, at=since - timedelta(seconds=10)))
    await write(gateway, written(gateway, "https://hooks.example/", 250, at=since))
    await write(gateway, written(gateway, "https://hooks.example/", 7, name="radio", at=since))
    await all_dead(database_url)
    short = replace(context, db=cast(Database, CutShort(context.db, 2, Unavailable("the database is away"))))
    with pytest.raises(Unavailable):
        await outbound_log.redeliver_dead(short, STUDIO, "studio", since, dry_run=False)
    assert await states(database_url) == {"pending": 200, "dead": 55}
    context.wakes.notify.clear()
    assert await outbound_log.redeliver_dead(context, STUDIO, "studio", since, dry_run=True) == 50
    assert not context.wakes.notify.is_set()
    assert await outbound_log.redeliver_dead(context, STUDIO, "studio", since, dry_run=False) == 50
    assert context.wakes.notify.is_set()
    assert await states(database_url) == {"pending": 250, "dead": 5}
    assert await states(database_url, "radio") == {"dead": 7}
    assert await outbound_log.redeliver_dead(context, STUDIO, "studio", since, dry_run=False) == 0
