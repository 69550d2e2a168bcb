"""What a notification says is frozen at the change: whatever comes between that and its attempts."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.database.tables import notifications
from app.notifications.deliver import Notifier
from app.tasks.apply import CLEAN_FROM_BODIES
from tests.stories.notifications.test_milestones_told import read
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.notifications import BUSY, Watching, client_of, deliver, watching
from tests.support.receiver import OK
from tests.support.song_callbacks import done, song


def bodies_by_id(receiver: Watching) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
        found.setdefault(headers["webhook-id"], set()).add(body)
    return found


async def damage(gateway: Running, values: dict[str, Any]) -> None:
    await gateway.gateway.context.db.write(lambda conn: conn.execute(notifications.update().values(**values)).rowcount)


async def test_a_body_that_was_posted_once_stays_though_what_renders_it_has_changed(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching(BUSY, OK) as receiver:
        task = await studio.submit(receiver.url())
        await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
        await deliver(notifier)
        # As a release would find it that reads snapshots otherwise.
        await damage(gateway, {"snapshot": {"of": "another release"}})
        clock.skip(10)
        await deliver(notifier)
        assert [one["type"] for one in read(receiver, studio.secret)] == ["task.canceled"] * 2
    assert [len(same) for same in bodies_by_id(receiver).values()] == [1]
    assert (await studio.one())["status"] == "delivered"


async def test_other_settings_do_not_change_what_was_to_be_told(gateway: Running, notifier: Notifier) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        # Final with the mp3 missing, which is asked about three times before it is given up.
        await gateway.call_back("song", song(status="succeeded", event="wav_complete"), UUID(task["id"]))
        then = await gateway.task(task["id"])
        context = gateway.gateway.context
        context.policy = replace(context.policy, follow_ups=0)
        await deliver(notifier)
        told = {one["type"]: one["data"] for one in read(receiver, studio.secret)}
    assert told["task.succeeded"] == then
    assert then["items"][0]["artifacts"]["audio"]["status"] == "pending"
    assert (await gateway.task(task["id"]))["items"][0]["artifacts"]["audio"]["status"] == "failed"


async def test_a_flood_takes_nothing_from_what_is_still_to_be_told(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        await gateway.call_back("song", done(lyrics="la " * 800), UUID(task["id"]))
        last = CLEAN_FROM_BODIES + 4
        for n in range(last + 1):
            clock.skip(1)
            await gateway.call_back("song", song(lyrics=f"lo {n} " * 300), UUID(task["id"]))
        await deliver(notifier)
        told = {one["type"]: one["data"] for one in read(receiver, studio.secret)}
    assert told["task.succeeded"]["items"][0]["lyrics"] == "la " * 800
    assert (await gateway.task(task["id"]))["items"][0]["lyrics"] == f"lo {last} " * 300
    count = sa.text("SELECT count(*) FROM item_values")
    kept = await gateway.gateway.context.db.read(lambda conn: conn.execute(count).scalar_one())
    assert kept == 2, "what is told, and what is"


async def test_a_snapshot_that_cannot_be_read_holds_nobody_up(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching() as broken, watching() as well:
        first = await studio.submit(broken.url())
        await gateway.api.post(f"/v1/tasks/{first['id']}/cancel")
        await damage(gateway, {"snapshot": {"task": {"id": 7}}})
        second = await studio.submit(well.url())
        await gateway.api.post(f"/v1/tasks/{second['id']}/cancel")
        await deliver(notifier)
        assert (len(broken.bodies), len(well.bodies)) == (0, 1)
    [held] = [one for one in await studio.notifications() if one["task_id"] == first["id"]]
    assert (held["status"], held["attempts"], held["last_error"]) == ("pending", 1, "unreadable")
    assert held["next_attempt_at"]
