"""A slow or dead receiver delays nobody but itself, and none gets more than its share at once."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import pytest

from app.notifications import deliver, outbox
from app.notifications.deliver import OPEN_TO_ALL, PER_CLIENT, PER_RECEIVER, SENDERS, FairOrder, Notifier
from app.runtime.loops import Loop, Supervisor
from app.tasks import notification_rows
from tests.support.gateway import Running, eventually
from tests.support.notifications import Watching, after_s, client_of, silence, watching, write, written
from tests.support.virtual_time import monotonic


@pytest.fixture
async def sending(gateway: Running, notifier: Notifier) -> AsyncIterator[Callable[..., Any]]:
    """Starts the sender's loop."""
    context = gateway.gateway.context
    supervisor = Supervisor(context.clock)
    yield lambda: supervisor.start(Loop("notify", notifier.step, 1.0, context.wakes.notify))
    await supervisor.stop(5)
    await notifier.finish(0)


async def until(receiver: Watching, count: int) -> float:
    """Seconds until a receiver has so many posts."""
    began = monotonic()

    async def enough() -> bool:
        return len(receiver.bodies) >= count

    await eventually(enough, timeout_s=200, every_s=0.1)
    return monotonic() - began


async def test_a_dead_receiver_with_a_backlog_delays_nobody_else(gateway: Running, sending: Callable[..., Any]) -> None:
    await client_of(gateway)
    async with watching(silence) as dead, watching() as other:
        await write(gateway, written(gateway, dead.url(), SENDERS + 1))
        sending()
        await until(dead, PER_RECEIVER)
        await write(gateway, written(gateway, other.url(), 10))
        assert await until(other, 10) < 4, "who waited for the dead one waited 15 s"
        assert dead.most_at_once == len(dead.bodies) == PER_RECEIVER


async def test_more_dead_receivers_than_there_are_places_delay_nobody_for_long(
    gateway: Running, sending: Callable[..., Any]
) -> None:
    await client_of(gateway)
    hosts = [f"127.0.3.{number}" for number in range(1, PER_CLIENT + 7)]
    async with watching(silence) as dead, watching() as other:
        await write(gateway, [one for host in hosts for one in written(gateway, dead.url(host), 6)])
        sending()
        await until(dead, PER_CLIENT)
        await write(gateway, written(gateway, other.url(), 1))
        note_claimed = await until(other, 1)
    assert note_claimed < 31, (
        "each of the dead has its turn before; by due time alone it would be each of their 324 rows"
    )


async def test_a_receiver_has_a_few_at_once_and_all_of_its_own(gateway: Running, sending: Callable[..., Any]) -> None:
    await client_of(gateway)
    count = PER_RECEIVER * 5 + 1
    async with watching(after_s(0.05)) as receiver:
        await write(gateway, written(gateway, receiver.url(), count))
        sending()
        await until(receiver, count)
        assert receiver.most_at_once == PER_RECEIVER
    assert len(set(receiver.seen())) == count


async def claimed(
    gateway: Running,
    places: int,
    busy: Iterable[tuple[str, int]] | Mapping[str, int] = (),
    order: FairOrder | None = None,
) -> Counter[Any]:
    context = gateway.gateway.context
    found = await context.db.write(
        deliver.claim, context, order or FairOrder(), Counter(dict(busy)), places, context.clock.now()
    )
    return Counter(notification.receiver for notification in found.batch)


async def test_half_of_the_places_are_for_receivers_that_have_nothing_under_way(gateway: Running) -> None:
    urls = [f"http://127.0.0.1:{port}/" for port in range(1, 21)]
    await write(gateway, [one for url in urls for one in written(gateway, url, 10)])
    first = await claimed(gateway, SENDERS)
    assert len(first) == 20, "each gets a place"
    assert max(first.values()) == PER_RECEIVER
    assert sum(first.values()) < SENDERS
    second = await claimed(gateway, SENDERS - OPEN_TO_ALL, first)
    assert second == {}, "what is left is for those that come later"
    await write(gateway, written(gateway, "http://127.0.0.1:99/", 10))
    assert await claimed(gateway, SENDERS - OPEN_TO_ALL, first) == {
        notification_rows.receiver_of("studio", "http://127.0.0.1:99"): 1
    }


async def test_more_receivers_than_are_looked_at_in_one_claim_all_get_their_turn(gateway: Running) -> None:
    context = gateway.gateway.context
    [due] = written(gateway, "http://z.example/", 1)
    far = context.clock.now().replace(year=9000)
    # The first ones by name have nothing but what is tried again later.
    later = [
        row
        for number in range(outbox.MOST_RECEIVERS)
        for row in written(gateway, f"http://a{number}.example/", 1, at=far)
    ]
    await write(gateway, [*later, due])
    order, found = FairOrder(), []
    for _ in range(2):
        claimed = await context.db.write(deliver.claim, context, order, Counter(), 64, context.clock.now())
        order.note_claimed(claimed.batch, claimed.cursor)
        found.append([notification.receiver for notification in claimed.batch])
    assert found == [[], [notification_rows.receiver_of("studio", "http://z.example:80")]]


def test_whoever_was_served_longest_ago_comes_first_among_equals() -> None:
    order = FairOrder()
    unused: Any = None

    def note_claimed(*names: str) -> None:
        order.note_claimed(
            [
                outbox.ClaimedNotification(unused, unused, "", "", "", name, unused, unused, unused, 0, [], unused, ())
                for name in names
            ],
            "",
        )

    note_claimed("a", "b", "c")
    note_claimed("a")
    assert order.ordered(["a", "b", "c", "new"], Counter()) == ["new", "b", "c", "a"]
    assert order.ordered(["a", "b", "c", "new"], Counter({"new": 1, "b": 2})) == ["c", "a", "new", "b"]


async def test_an_unreadable_url_is_refused_and_holds_nothing_up(gateway: Running, sending: Callable[..., Any]) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        await write(gateway, [*written(gateway, "http://user:pw@127.0.0.1/", 1), *written(gateway, receiver.url(), 1)])
        sending()
        await until(receiver, 1)

        async def refused() -> bool:
            return [one["last_error"] for one in await studio.notifications() if one["last_error"]] == ["invalid_url"]

        await eventually(refused, timeout_s=30)
