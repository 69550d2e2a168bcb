"""A slow or dead receiver delays nobody but itself, and none gets more than its share at once."""

from collections import Counter

import pytest

from app.caller.post import Caller
from app.flows import notify
from app.flows.loops import Loop, Supervisor
from app.flows.notify import OPEN_TO_ALL, PER_RECEIVER, SENDERS, Notifier, Turns
from app.storage import outbox
from app.wiring import usual_authorities
from tests.support.gateway import eventually
from tests.support.notifications import after_s, client_of, silence, watching, write, written
from tests.support.virtual_time import monotonic


@pytest.fixture
async def gateway(start_gateway):
    return await start_gateway(workers=False, egress_allow_private=True)


@pytest.fixture
async def sending(gateway):
    """Starts a sender whose calls last a second at most."""
    caller = Caller(allow_private=True, timeout_s=1.0, tls=usual_authorities())
    context = gateway.gateway.context
    notifier, supervisor = Notifier(context, caller), Supervisor(context.clock)

    def start():
        supervisor.start(Loop("notify", notifier.step, 0.05, context.wakes.notify))
        return notifier

    yield start
    await supervisor.stop(5)
    await notifier.finish(0)
    caller.close()


async def until(receiver, count):
    """Seconds until a receiver has so many posts."""
    began = monotonic()

    async def enough():
        return len(receiver.bodies) >= count

    await eventually(enough, timeout_s=30)
    return monotonic() - began


async def test_a_dead_receiver_with_a_backlog_delays_nobody_else(start_gateway, record_property):
    gateway = await start_gateway(egress_allow_private=True)
    await client_of(gateway)
    async with watching(silence) as dead, watching() as other:
        await write(gateway, written(gateway, dead.url(), 300))
        await until(dead, PER_RECEIVER)
        began = monotonic()
        for _ in range(20):
            await write(gateway, written(gateway, other.url(), 1))
        last = monotonic()
        await until(other, 20)
        waited, took = monotonic() - last, monotonic() - began
        assert dead.most_at_once == PER_RECEIVER
    record_property("figures", f"20 to the other receiver: {took:.2f} s, the last {waited:.2f} s after it was written")
    # The dead one's calls last 15 s: who waited for one of them would be told of here.
    assert waited < 4
    assert len(dead.bodies) == PER_RECEIVER


async def test_more_dead_receivers_than_there_are_places_delay_nobody_for_long(gateway, sending, record_property):
    await client_of(gateway)
    hosts = [f"127.0.3.{number}" for number in range(1, 101)]
    async with watching(silence, hosts=hosts) as dead, watching() as other:
        await write(gateway, [one for host in hosts for one in written(gateway, dead.url(host), 30)])
        sending()
        await until(dead, SENDERS)
        await write(gateway, written(gateway, other.url(), 3))
        took = await until(other, 3)
    record_property("figures", f"100 dead receivers, calls of 1 s: the living one had its three after {took:.2f} s")
    assert took < 20, "by due time alone its turn comes after 3,000 calls to the dead"


async def test_a_receiver_has_a_few_at_once_and_all_of_its_own(gateway, sending):
    await client_of(gateway)
    async with watching(after_s(0.05)) as receiver:
        await write(gateway, written(gateway, receiver.url(), 60))
        sending()
        await until(receiver, 60)
        assert receiver.most_at_once == PER_RECEIVER
    assert len(set(receiver.seen())) == 60


async def claimed(gateway, places, busy=(), turns=None):
    context = gateway.gateway.context
    found = await context.db.write(
        notify.claim, context, turns or Turns(), Counter(dict(busy)), places, context.clock.now()
    )
    return Counter(letter.receiver for letter in found.letters)


async def test_half_of_the_places_are_for_receivers_that_have_nothing_under_way(gateway):
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
        outbox.receiver_of("studio", "http://127.0.0.1:99"): 1
    }


async def test_more_receivers_than_are_looked_at_in_one_claim_all_get_their_turn(gateway, monkeypatch):
    monkeypatch.setattr(outbox, "MOST_RECEIVERS", 5)
    context = gateway.gateway.context
    far = context.clock.now().replace(year=9000)
    urls = [f"http://127.0.0.1:{port}/" for port in range(10, 28)]
    # The first ones by name have nothing but what is tried again later.
    await write(gateway, [one for url in urls[:-1] for one in written(gateway, url, 1, at=far)])
    await write(gateway, written(gateway, urls[-1], 1))
    turns, found = Turns(), Counter()
    for _ in range(5):
        claimed = await context.db.write(notify.claim, context, turns, Counter(), 64, context.clock.now())
        turns.took(claimed.letters, claimed.go_on)
        found.update(letter.receiver for letter in claimed.letters)
    assert found == {outbox.receiver_of("studio", "http://127.0.0.1:27"): 1}


def test_whoever_was_served_longest_ago_comes_first_among_equals():
    turns = Turns()

    def took(*names):
        turns.took([outbox.Letter(None, None, "", "", "", name, None, None, None, 0, None, ()) for name in names], "")

    took("a", "b", "c")
    took("a")
    assert turns.ordered(["a", "b", "c", "new"], Counter()) == ["new", "b", "c", "a"]
    assert turns.ordered(["a", "b", "c", "new"], Counter({"new": 1, "b": 2})) == ["c", "a", "new", "b"]


async def test_an_unreadable_url_is_refused_and_holds_nothing_up(gateway, sending):
    studio = await client_of(gateway)
    async with watching() as receiver:
        await write(gateway, [*written(gateway, "http://user:pw@127.0.0.1/", 1), *written(gateway, receiver.url(), 1)])
        sending()
        await until(receiver, 1)

        async def refused():
            return [one["last_error"] for one in await studio.notifications() if one["last_error"]] == ["invalid_url"]

        await eventually(refused, timeout_s=30)
