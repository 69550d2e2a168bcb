"""Notifications: written with the change, posted signed, in the words of the task at that time."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from standardwebhooks import Webhook

from app.notifications.deliver import Notifier
from app.runtime import metrics
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually
from tests.support.notifications import BUSY, Watching, client_of, deliver, reset, signed_by, watching
from tests.support.receiver import OK, plain
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox


def read(receiver: Watching, secret: str) -> list[dict[str, Any]]:
    """What a receiver was told, each verified as a receiver would."""
    return [
        Webhook(secret).verify(body, headers) for headers, body in zip(receiver.headers, receiver.bodies, strict=True)
    ]


def total(outcome: str) -> Any:
    return metrics.notifications.labels(outcome)._value.get()


async def test_a_whole_task_tells_each_milestone_once_and_signed(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox, egress_allow_private=True)
    studio = await client_of(gateway)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        ended = await gateway.until(task["id"], "succeeded", timeout_s=30)

        async def all_told() -> bool:
            told = {one["type"] for one in await studio.notifications(status="delivered")}
            return told == {"task.running", "task.playable", "task.succeeded"}

        await eventually(all_told, timeout_s=30)
        told = sorted(read(receiver, studio.secret), key=lambda one: one["data"]["version"])
    assert [one["type"] for one in told].count("task.running") == 1
    assert [one["type"] for one in told].count("task.playable") == 1
    assert told[-1]["type"] == "task.succeeded"
    assert {one["data"]["id"] for one in told} == {ended["id"]}


async def test_each_notification_says_what_the_task_was_at_the_change(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    documents = []
    async with watching() as receiver:
        task = await studio.submit(receiver.url(), metadata={"n": [1, None]}, reference="order-17")
        for body in (song(), song(status="main_succeeded", audio_url="https://cdn.example/a?auth_key=1"), done()):
            clock.skip(1)
            assert (await gateway.call_back("song", body, UUID(task["id"]))).status_code == 200
            documents.append(await gateway.task(task["id"]))
        clock.skip(60)
        await deliver(notifier)
        told = sorted(read(receiver, studio.secret), key=lambda one: one["data"]["version"])
        attempted = [int(headers["webhook-timestamp"]) for headers in receiver.headers]
    assert [one["type"] for one in told] == ["task.running", "task.playable", "task.succeeded"]
    assert [one["data"] for one in told] == documents
    assert [set(one) for one in told] == [{"type", "timestamp", "data"}] * 3
    # Told is the time of the change; signed is the time of the attempt.
    assert [one["timestamp"] for one in told] == [one["updated_at"] for one in documents]
    late = [at - datetime.fromisoformat(documents[-1]["updated_at"]).timestamp() for at in attempted]
    assert all(58 <= one <= 75 for one in late), late
    assert (await gateway.task(task["id"])) == documents[-1], "telling changes nothing that can be seen"


async def test_one_callback_that_ends_a_queued_task_tells_three_things_of_one_document(
    gateway: Running, notifier: Notifier
) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        await gateway.call_back("song", done(lyrics="la " * 800), UUID(task["id"]))
        await deliver(notifier)
        told = read(receiver, studio.secret)
    assert sorted(one["type"] for one in told) == ["task.playable", "task.running", "task.succeeded"]
    assert len(set(receiver.seen())) == 3
    document = await gateway.task(task["id"])
    assert [one["data"] for one in told] == [document] * 3
    assert document["items"][0]["lyrics"] == "la " * 800


async def test_large_values_are_told_as_they_were_also_when_new_ones_came_before_the_first_attempt(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    early, late = "la " * 800, "lo " * 900
    playable = song(status="main_succeeded", audio_url="https://cdn.example/a?auth_key=1", lyrics=early)
    async with watching(BUSY, BUSY, BUSY, OK) as receiver:
        task = await studio.submit(receiver.url(), metadata={"n": 1})
        await gateway.call_back("song", playable, UUID(task["id"]))
        clock.skip(1)
        await gateway.call_back("song", done(lyrics=late), UUID(task["id"]))
        await deliver(notifier)
        clock.skip(10)
        # Replaced once more between two attempts.
        await gateway.call_back("song", done(lyrics="le " * 700), UUID(task["id"]))
        await deliver(notifier)
        told = {one["type"]: one["data"] for one in read(receiver, studio.secret)}
        bodies: dict[str, Any] = {}
        for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
            bodies.setdefault(headers["webhook-id"], set()).add(body)
    assert told["task.playable"]["items"][0]["lyrics"] == early
    assert told["task.succeeded"]["items"][0]["lyrics"] == late
    assert (await gateway.task(task["id"]))["items"][0]["lyrics"] == "le " * 700
    assert {len(of_one) for of_one in bodies.values()} == {1}, "every attempt says the same"
    assert len(receiver.bodies) > len(bodies)


async def test_repeats_and_tasks_without_a_receiver_write_nothing(gateway: Running, notifier: Notifier) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        task, silent = await studio.submit(receiver.url()), await studio.submit(None)
        for one, item in ((task, "t2m_1"), (silent, "t2m_2")):
            again = song(item, status="succeeded", audio_url="https://cdn.example/a.mp3?auth_key=2")
            for body in (done(item), song(item), done(item), again):
                assert (await gateway.call_back("song", body, UUID(one["id"]))).status_code == 200
        await gateway.call_back("song", done("t2m_3"))
        await deliver(notifier)
    assert {one["task_id"] for one in await studio.notifications()} == {task["id"]}
    assert len(receiver.bodies) == 3


async def test_what_was_missing_and_comes_later_is_told_under_an_id_of_its_own(
    gateway: Running, notifier: Notifier
) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        part = done()
        audio = part["songs"][0].pop("audio_url")
        await gateway.call_back("song", part, UUID(task["id"]))
        await gateway.call_back("song", song(status="succeeded", audio_url=audio), UUID(task["id"]))
        await deliver(notifier)
        told = read(receiver, studio.secret)
    ends = sorted((one["data"] for one in told if one["type"] == "task.succeeded"), key=lambda one: one["version"])
    assert [one["items"][0]["artifacts"]["audio"]["status"] for one in ends] == ["pending", "ready"]
    assert len(set(receiver.seen())) == len(told) == 4


async def test_a_receiver_that_fails_twice_gets_the_same_bytes_under_the_same_id(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    before = {name: total(name) for name in ("rejected", "delivered", "connection_lost", "bad_answer")}
    async with watching(BUSY, reset, BUSY) as receiver:
        await studio.canceled(receiver.url())
        for _ in range(3):
            await deliver(notifier)
            clock.skip(40)
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == len(set(receiver.seen())) == 1
    assert all(signed_by(studio.secret, *one) for one in zip(receiver.headers, receiver.bodies, strict=True))
    stamps = [int(headers["webhook-timestamp"]) for headers in receiver.headers]
    assert stamps == sorted(set(stamps)), "each attempt is signed at its own time"
    found = await studio.one()
    assert (found["status"], found["attempts"], found["last_status"]) == ("pending", 3, 500)
    assert total("rejected") - before["rejected"] == 2
    lost = sum(total(name) - before[name] for name in ("connection_lost", "bad_answer"))
    assert lost == 1


async def test_every_event_arrives_at_a_receiver_that_fails_at_first(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching(BUSY, reset, BUSY, reset, OK) as receiver:
        task = await studio.submit(receiver.url())
        await gateway.call_back("song", done(), UUID(task["id"]))
        for _ in range(4):
            await deliver(notifier)
            clock.skip(160)
    found = await studio.notifications()
    assert {one["status"] for one in found} == {"delivered"}
    assert set(receiver.seen()) == {one["id"] for one in found}
    by_id: dict[str, Any] = {}
    for webhook_id, body in zip(receiver.seen(), receiver.bodies, strict=True):
        by_id.setdefault(webhook_id, set()).add(body)
    assert [len(bodies) for bodies in by_id.values()] == [1, 1, 1]


async def test_the_timeline_shows_how_each_notification_ended(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching(BUSY, OK) as receiver, watching(plain("410 Gone")) as gone:
        delivered = await studio.canceled(receiver.url())
        refused = await studio.canceled(gone.url())
        await deliver(notifier)
        assert [one["type"] for one in await gateway.timeline(delivered["id"])][-1] == "status", "not ended yet"
        clock.skip(10)
        await deliver(notifier)
    ends = {}
    for task in (delivered, refused):
        last = (await gateway.timeline(task["id"]))[-1]
        assert last["type"] == "notification"
        ends[task["id"]] = last["detail"]
    found = {one["task_id"]: one["id"] for one in await studio.notifications()}
    assert ends == {
        delivered["id"]: {
            "notification_id": found[delivered["id"]],
            "notification": "task.canceled",
            "outcome": "delivered",
            "attempts": 2,
        },
        refused["id"]: {
            "notification_id": found[refused["id"]],
            "notification": "task.canceled",
            "outcome": "dead",
            "attempts": 1,
        },
    }


async def test_whoever_notes_a_notification_passes_no_verdict_by_the_clock(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        await gateway.call_back("song", song(), UUID(task["id"]))
        clock.skip(timedelta(hours=2, minutes=1).total_seconds())
        await deliver(notifier)
    assert (await gateway.task(task["id"]))["status"] == "running"
    assert {one["type"] for one in await studio.notifications(status="delivered")} == {"task.running"}
