"""When a notification is tried again, and when it is given up."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from app.notifications.deliver import SCHEDULE_S, Notifier, judge
from app.notifications.post import Delivered, Failed, Forbidden, Gone, Rejected
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running
from tests.support.logs import capture_logs
from tests.support.not_none import present
from tests.support.notifications import BUSY, client_of, deliver, silence, watching
from tests.support.receiver import OK, endless, plain
from tests.support.start_fixtures import StartGateway
from tests.support.virtual_time import monotonic

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEFORE_IT_IS_DUE_S = 1.5


def seconds(notification: dict[str, Any]) -> float:
    """From its last attempt to its next one."""
    last, following = (datetime.fromisoformat(notification[f"{name}_attempt_at"]) for name in ("last", "next"))
    return (following - last).total_seconds()


def wait_s(attempts: int, answer: Any) -> float | None:
    """What ``judge`` says after an attempt, in seconds; None for the end."""
    due_at = judge(attempts, answer, NOW).due_at
    return (due_at - NOW).total_seconds() if due_at else None


async def test_after_seven_waits_of_the_schedule_it_is_dead_and_nothing_more_is_sent(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching(BUSY) as receiver:
        await studio.canceled(receiver.url())
        waits = []
        for attempt in range(1, len(SCHEDULE_S) + 1):
            await deliver(notifier)
            found = await studio.one()
            assert (found["status"], found["attempts"], len(receiver.bodies)) == ("pending", attempt, attempt)
            assert (found["last_status"], found["last_error"], found["ended_at"]) == (500, "rejected", None)
            waits.append(seconds(found))
            due = datetime.fromisoformat(found["next_attempt_at"])
            clock.skip((due - clock.now()).total_seconds() - BEFORE_IT_IS_DUE_S)
            await deliver(notifier)
            assert len(receiver.bodies) == attempt or clock.now() >= due, "too early"
            clock.skip(max((due - clock.now()).total_seconds(), 0))
        await deliver(notifier)
        found = await studio.one()
        assert (found["status"], found["attempts"], found["next_attempt_at"]) == ("dead", 8, None)
        assert found["ended_at"] == found["last_attempt_at"]
        clock.skip(timedelta(days=8).total_seconds())
        await deliver(notifier)
        assert len(receiver.bodies) == 8
        assert len(set(receiver.seen())) == 1
    assert SCHEDULE_S == (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
    for waited_s, planned in zip(waits, SCHEDULE_S, strict=True):
        assert 0.8 * planned <= waited_s <= 1.2 * planned
    assert any(abs(found - planned) > 0.001 * planned for found, planned in zip(waits, SCHEDULE_S, strict=True))


async def test_of_a_dead_receiver_the_first_failure_and_the_end_are_warnings(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    with capture_logs() as logs:
        async with watching(BUSY, BUSY, BUSY, plain("410 Gone")) as receiver:
            await studio.canceled(receiver.url())
            for _ in range(4):
                await deliver(notifier)
                clock.skip(1000)
            assert (await studio.one())["attempts"] == 4
    told = [one for one in logs if one["event"] == "notification.failed" and one["log_level"] == "warning"]
    assert [(one["attempts"], one["dead"]) for one in told] == [(1, False), (4, True)]


def test_the_waits_are_spread_over_a_fifth_to_either_side() -> None:
    found = [present(wait_s(2, Failed("timeout"))) for _ in range(2000)]
    assert 96 <= min(found) < 100
    assert 140 < max(found) <= 144


def test_a_receiver_is_tried_again_when_it_asks_to() -> None:
    asked = [1.0, 77.0, 86_400.0]
    assert [wait_s(0, Rejected(503, asked_s)) for asked_s in asked] == asked


def test_a_receiver_that_always_asks_for_soon_does_not_use_up_the_schedule() -> None:
    waits = [present(wait_s(attempts, Rejected(503, 1.0))) for attempts in range(len(SCHEDULE_S))]
    assert waits[:3] == [1, 1, 1]
    assert sum(waits) > 0.8 * sum(SCHEDULE_S[3:])
    assert wait_s(3, Rejected(503, 5000.0)) == 5000.0


@pytest.mark.parametrize(
    ("answer", "error", "status"),
    [
        (Rejected(302), "rejected", 302),
        (Failed("timeout"), "timeout", None),
        (Failed("tls_failed"), "tls_failed", None),
    ],
)
def test_whatever_else_goes_wrong_is_tried_again_and_noted(answer: Any, error: str, status: int | None) -> None:
    found = judge(0, answer, NOW)
    assert (found.status, found.error, found.http_status) == ("pending", error, status)
    last = judge(len(SCHEDULE_S), answer, NOW)
    assert (last.status, last.due_at, last.error, last.http_status) == ("dead", None, error, status)


def test_what_may_not_be_called_is_dead_at_once() -> None:
    attempt = judge(0, Forbidden("address_not_public"), NOW)
    assert (attempt.status, attempt.due_at, attempt.error) == ("dead", None, "address_not_public")


@pytest.mark.parametrize("attempts", [0, 3, 7])
def test_what_arrives_is_over_and_what_is_gone_too(attempts: int) -> None:
    delivered, gone = judge(attempts, Delivered(204), NOW), judge(attempts, Gone(), NOW)
    assert (delivered.status, delivered.due_at, delivered.error, delivered.http_status) == (
        "delivered",
        None,
        None,
        204,
    )
    assert (gone.status, gone.due_at, gone.error, gone.http_status) == ("dead", None, "gone", 410)


async def test_retry_after_is_honoured_as_seconds_and_as_a_date(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    date = format_datetime((clock.now() + timedelta(minutes=20)).replace(microsecond=0), usegmt=True)
    async with watching(
        plain("503 Busy", "Retry-After: 77"), plain("429 Slow", f"Retry-After: {date}"), OK
    ) as receiver:
        await studio.canceled(receiver.url())
        await deliver(notifier)
        assert seconds(await studio.one()) == pytest.approx(77, abs=0.01)
        clock.skip(70)
        await deliver(notifier)
        assert len(receiver.bodies) == 1
        clock.skip(8)
        await deliver(notifier)
        assert seconds(await studio.one()) == pytest.approx(1200 - 78, abs=15)
        clock.skip(1200)
        await deliver(notifier)
        assert (await studio.one())["status"] == "delivered"


async def test_gone_ends_it_at_once(gateway: Running, notifier: Notifier, clock: ScaledClock) -> None:
    studio = await client_of(gateway)
    async with watching(plain("410 Gone")) as receiver:
        await studio.canceled(receiver.url())
        await deliver(notifier)
        found = await studio.one()
        assert (found["status"], found["attempts"], found["last_status"]) == ("dead", 1, 410)
        assert (found["last_error"], found["next_attempt_at"]) == ("gone", None)
        clock.skip(timedelta(days=2).total_seconds())
        await deliver(notifier)
        assert len(receiver.bodies) == 1


async def test_a_redirect_is_not_followed(gateway: Running, notifier: Notifier) -> None:
    studio = await client_of(gateway)
    async with watching() as inner, watching(plain("307 Temporary", f"Location: {inner.url()}")) as outer:
        await studio.canceled(outer.url())
        await deliver(notifier)
    found = await studio.one()
    assert (found["status"], found["last_status"], found["last_error"]) == ("pending", 307, "rejected")
    assert (outer.connections, inner.connections) == (1, 0)


async def test_a_private_address_is_refused_unless_allowed_and_said_so(
    start_gateway: StartGateway, clock: ScaledClock
) -> None:
    gateway = await start_gateway(workers=False, clock=clock)
    studio = await client_of(gateway)
    async with watching() as receiver:
        refused = await studio.gateway.api.post(
            "/v1/tasks",
            json={"kind": "song.generate", "params": SONG, "webhook_url": receiver.url("0x7f.1")},
            headers=studio.headers,
        )
        assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "webhook_url")
        await studio.canceled(receiver.url("localhost"))
        await deliver(Notifier(gateway.gateway.context, gateway.gateway.webhooks))
        assert receiver.connections == 0
    found = await studio.one()
    assert (found["status"], found["attempts"]) == ("dead", 1)
    assert (found["last_status"], found["last_error"]) == (None, "address_not_public")


async def test_what_a_receiver_does_to_its_answer_is_bounded(gateway: Running, notifier: Notifier) -> None:
    studio = await client_of(gateway)
    replies = {
        "huge": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536), ("delivered", None)),
        "slow body": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x", every_s=0.5), ("delivered", None)),
        "slow head": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", every_s=0.5), ("pending", "timeout")),
        "silence": (silence, ("pending", "timeout")),
    }
    async with AsyncExitStack() as receivers:
        for name, (reply, _) in replies.items():
            receiver = await receivers.enter_async_context(watching(reply))
            await studio.canceled(receiver.url(), reference=name)
        began = monotonic()
        await deliver(notifier)
        assert monotonic() - began < 16
    answer = await gateway.api.get("/v1/tasks", headers=studio.headers)
    names = {one["id"]: one["reference"] for one in answer.json()["data"]}
    found = {names[one["task_id"]]: (one["status"], one["last_error"]) for one in await studio.notifications()}
    assert found == {name: end for name, (_, end) in replies.items()}
