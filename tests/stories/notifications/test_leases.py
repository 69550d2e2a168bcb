"""One sender at a time has a notification; what a dead one had is sent by another, and no result is lost or doubled."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from app.notifications import deliver as notify
from app.notifications import outbox
from app.notifications.deliver import Notifier
from app.notifications.outbox import ClaimedNotification
from app.tasks.notification_rows import NotificationStatus
from tests.support.backends import Away
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually
from tests.support.logs import capture_logs
from tests.support.notifications import (
    BUSY,
    Watching,
    client_of,
    deliver,
    finished,
    once,
    silence,
    watching,
    write,
    written,
)
from tests.support.receiver import OK
from tests.support.virtual_time import monotonic


@pytest.fixture
def sender(gateway: Running) -> Callable[..., Any]:
    """Makes senders on the gateway's database."""
    return lambda: Notifier(gateway.gateway.context, gateway.gateway.webhooks)


async def _begun(receiver: Watching, count: int = 1) -> None:
    async def enough() -> bool:
        return len(receiver.bodies) >= count

    await eventually(enough, timeout_s=30)


async def test_what_one_sender_has_another_does_not_take_until_its_lease_ends(
    gateway: Running, sender: Callable[..., Any], clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    frozen, other, answer = sender(), sender(), asyncio.Event()
    async with watching(once(answer, BUSY), OK) as receiver:
        await studio.canceled(receiver.url())
        await frozen.step()
        await _begun(receiver)
        await deliver(other)
        clock.skip(25)
        await deliver(other)
        assert len(receiver.bodies) == 1
        clock.skip(6)
        await deliver(other)
        assert len(receiver.bodies) == 2
        found = await studio.one()
        assert (found["status"], found["attempts"]) == ("delivered", 1)
        answer.set()
        await finished(frozen)
    # The late answer of the first is no word about a notification that is another's by now.
    assert await studio.one() == found
    assert len(set(receiver.seen())) == 1


async def test_who_begins_late_gives_it_back_unsent(
    gateway: Running, sender: Callable[..., Any], clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    notifier = sender()
    async with watching() as receiver:
        await studio.canceled(receiver.url())
        claimed = await gateway.gateway.context.db.write(
            notify.claim, gateway.gateway.context, notify.FairOrder(), Counter(), 64, clock.now()
        )
        clock.skip(16)
        await notifier._post(claimed.batch[0], claimed.bodies[0])
        assert receiver.connections == 0
        found = await studio.one()
        assert (found["status"], found["attempts"]) == ("pending", 0)
        await deliver(notifier)
        assert (await studio.one())["status"] == "delivered"


@pytest.fixture
async def away(database_url: str) -> AsyncIterator[Away]:
    """The database as the next sender has it."""
    backend = Away(database_url)
    yield backend
    await backend.close()


def through(gateway: Running, backend: Away) -> Notifier:
    """A sender that has the database by way of ``backend``."""
    context = replace(gateway.gateway.context, db=backend.database())
    return Notifier(context, gateway.gateway.webhooks)


async def test_a_result_is_noted_once_the_database_is_back(gateway: Running, away: Away) -> None:
    studio = await client_of(gateway)

    async def goes_away_and_answers(writer: asyncio.StreamWriter) -> None:
        away.writes_to_refuse = 2
        await OK(writer)

    async with watching(goes_away_and_answers) as receiver:
        await studio.canceled(receiver.url())
        await deliver(through(gateway, away))
    assert (await studio.one())["status"] == "delivered"
    assert (len(receiver.bodies), away.writes_to_refuse) == (1, 0)


async def test_what_cannot_be_noted_while_the_lease_lasts_is_sent_once_more(gateway: Running, away: Away) -> None:
    studio = await client_of(gateway)

    async def goes_away_and_answers(writer: asyncio.StreamWriter) -> None:
        away.writes_to_refuse = math.inf
        await OK(writer)

    notifier = through(gateway, away)
    async with watching(goes_away_and_answers, OK) as receiver:
        await studio.canceled(receiver.url())
        await notifier.step()
        began = monotonic()
        await finished(notifier)
        assert 30 <= monotonic() - began < 32
        assert (await studio.one())["attempts"] == 0
        away.writes_to_refuse = 0
        await deliver(notifier)
    assert (await studio.one())["status"] == "delivered"
    assert len(receiver.bodies) == 2
    assert len(set(receiver.seen())) == 1


async def test_a_timeline_that_cannot_be_written_has_nothing_sent_twice(
    gateway: Running, sender: Callable[..., Any], clock: ScaledClock, db: Direct
) -> None:
    studio = await client_of(gateway)

    async def damages_its_task_and_answers(writer: asyncio.StreamWriter) -> None:
        await db.execute("UPDATE tasks SET submission = 'unheard of'")
        await OK(writer)

    async with watching(damages_its_task_and_answers) as receiver:
        await studio.canceled(receiver.url())
        with capture_logs() as logs:
            await deliver(sender())
        clock.skip(60)
        await deliver(sender())
    assert [line["event"] for line in logs] == ["notification.not_told"]
    assert (await studio.one())["status"] == "delivered"
    assert len(receiver.bodies) == 1


async def test_who_stops_gives_up_what_does_not_end_and_another_sends_it_after_the_lease(
    gateway: Running, sender: Callable[..., Any], clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    stopping = sender()
    async with watching(silence, OK) as receiver:
        await studio.canceled(receiver.url())
        await stopping.step()
        await _begun(receiver)
        await stopping.finish(0.2)
        assert not stopping._posting
        await studio.canceled(receiver.url())
        assert await stopping.step() is None
        clock.skip(31)
        await deliver(sender())
    assert {one["status"] for one in await studio.notifications()} == {"delivered"}
    assert sorted(receiver.seen().count(one) for one in set(receiver.seen())) == [1, 2]


async def test_what_is_sent_again_by_hand_meanwhile_is_not_ended_by_the_answer_under_way(
    gateway: Running, sender: Callable[..., Any]
) -> None:
    studio = await client_of(gateway)
    first, answer_now = sender(), asyncio.Event()
    async with watching(once(answer_now, BUSY), OK) as receiver:
        await studio.canceled(receiver.url())
        await first.step()
        await _begun(receiver)
        found = await studio.one()
        answer = await gateway.api.post(f"/v1/notifications/{found['id']}/redeliver", headers=studio.headers)
        assert answer.status_code == 200
        await deliver(sender())
        delivered = await studio.one()
        assert delivered["status"] == "delivered"
        answer_now.set()
        await finished(first)
        assert await studio.one() == delivered


async def test_a_revoked_client_is_sent_nothing_more(
    gateway: Running, sender: Callable[..., Any], clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    notifier, answer = sender(), asyncio.Event()
    async with watching(once(answer, BUSY), BUSY) as receiver:
        task = await studio.submit(receiver.url())
        await studio.canceled(receiver.url())
        await notifier.step()
        await _begun(receiver)
        assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
        page = (await gateway.api.get("/v1/notifications")).json()["data"]
        assert [(one["status"], one["last_error"]) for one in page] == [("dead", "client_revoked")]
        answer.set()
        await finished(notifier)
        # Its tasks run to their end, and what they tell is told to nobody.
        await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
        await deliver(notifier)
        clock.skip(100_000)
        await deliver(notifier)
        page = (await gateway.api.get("/v1/notifications")).json()["data"]
        assert [(one["status"], one["last_error"]) for one in page] == [("dead", "client_revoked")] * 2
        assert len(receiver.bodies) == 1


async def test_a_lease_that_passed_on_settles_nothing(gateway: Running, clock: ScaledClock) -> None:
    studio = await client_of(gateway)
    context = gateway.gateway.context
    await write(gateway, written(gateway, "http://127.0.0.1:9/", 1))

    async def claim() -> list[ClaimedNotification]:
        found = await context.db.write(notify.claim, context, notify.FairOrder(), Counter(), 64, clock.now())
        return found.batch

    [first] = await claim()
    assert await claim() == []
    clock.skip(31)
    [second] = await claim()
    assert (first.id, first.attempts) == (second.id, second.attempts)
    ok = outbox.Attempt(NotificationStatus.DELIVERED, clock.now(), None, 200, None)
    assert not await context.db.write(outbox.settle, first, ok, None)
    await context.db.write(outbox.give_back, first, clock.now())
    assert await claim() == []
    assert await context.db.write(outbox.settle, second, ok, None)
    assert not await context.db.write(outbox.settle, second, ok, None)
    assert (await studio.one())["attempts"] == 1
