"""Notifications, believed only as the gateway signed them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.runtime.signing import sign
from tempolor_gateway_client import (
    AsyncGatewayClient,
    BadSignature,
    LoggedNotification,
    UnexpectedAnswer,
    verify_notification,
)
from tests.support.gateway import SONG, Running, eventually
from tests.support.not_none import present
from tests.support.receiver import plain, receiving

OLD, NEW, FOREIGN = ("whsec_" + letter * 43 + "=" for letter in "ABC")
PING = b'{"type":"gateway.ping","timestamp":"2026-01-31T12:00:00Z","data":{"client":"studio"}}'


async def test_what_the_gateway_sends_is_believed_and_logged(
    studio: tuple[Running, AsyncGatewayClient], connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway, admin = studio
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    client, secret = connect(gateway.url, made["api_key"]), made["webhook_secret"]
    async with receiving() as receiver:
        task = await client.submit("song.generate", SONG, webhook_url=receiver.url())

        async def told() -> bool:
            return any(b'"task.succeeded"' in body for body in receiver.bodies)

        await eventually(told, 60)
        pairs = list(zip(receiver.bodies, receiver.headers, strict=True))
        found = [verify_notification(body, headers, secret) for body, headers in pairs]
        assert [one.type for one in found][-1] == "task.succeeded"
        last = found[-1]
        assert (present(last.task).id, present(last.task).status, present(last.task).complete) == (
            task.id,
            "succeeded",
            True,
        )
        assert last.timestamp.tzinfo is not None

        async def delivered() -> list[LoggedNotification]:
            return [one async for one in client.notifications(status="delivered", page_size=1)]

        logged = await eventually(delivered)
        [row] = [one async for one in client.notifications(task_id=task.id) if one.id == last.id]
        assert (row.type, row.task_id, row.url, row.client) == (last.type, task.id, receiver.url(), "studio")
        assert {one.id for one in logged} <= {one.id for one in found}
        receiver.bodies.clear()
        again = await client.redeliver(last.id)
        assert again.id == last.id
        await eventually(told, 60)
        repeat = verify_notification(receiver.bodies[-1], receiver.headers[-1], [FOREIGN, secret])
        assert repeat == last
    body, headers = pairs[-1]
    for changed in (body.replace(b"succeeded", b"canceled"), body + b" ", b"", b"\xff"):
        with pytest.raises(BadSignature):
            verify_notification(changed, headers, secret)
    with pytest.raises(BadSignature):
        verify_notification(body, headers, FOREIGN)
    assert [one async for one in admin.notifications(status="dead")] == []


async def test_dead_letters_are_listed(studio: tuple[Running, AsyncGatewayClient]) -> None:
    _, client = studio
    async with receiving(plain("410 Gone")) as receiver:
        task = await client.submit("lyrics.generate", {"prompt": "rain"}, webhook_url=receiver.url())

        async def dead() -> list[LoggedNotification]:
            return [one async for one in client.notifications(task_id=task.id, status="dead")]

        [first, *_] = await eventually(dead, 60)
    assert (first.last_status, first.next_attempt_at, first.attempts) == (410, None, 1)


def signed(body: bytes, secrets: list[str], at: datetime | None = None) -> dict[str, str]:
    return dict(sign("0192-a", body, secrets, at or datetime.now(UTC)).headers)


def test_during_a_rotation_either_secret_is_enough() -> None:
    assert verify_notification(PING, signed(PING, [NEW, OLD]), OLD).id == "0192-a"
    assert verify_notification(PING, signed(PING, [OLD]), (NEW, OLD)).task is None
    found = verify_notification(PING, {k.upper(): v for k, v in signed(PING, [NEW]).items()}, [NEW])
    assert found.timestamp == datetime(2026, 1, 31, 12, tzinfo=UTC)
    with pytest.raises(BadSignature):
        verify_notification(PING, signed(PING, [FOREIGN]), [NEW, OLD])


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "0192-b"},
        {"webhook-id": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e99"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1,abc v1,"},
        {"webhook-signature": "v2,QUJD"},
        {"webhook-signature": "v1,a,b"},
    ],
)
def test_headers_that_do_not_vouch_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verify_notification(PING, signed(PING, [NEW]) | changed, NEW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_what_is_too_old_or_from_the_future_is_refused(minutes: int) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    with pytest.raises(BadSignature):
        verify_notification(PING, signed(PING, [NEW], at), NEW)
    with pytest.raises(BadSignature):
        verify_notification(PING, {}, NEW)


def test_a_secret_that_is_none_is_an_error_of_the_receiver() -> None:
    for secrets in ([], "", [NEW, ""], "whsec_", "whsec_a"):
        with pytest.raises(ValueError, match=r"secret|base64"):
            verify_notification(PING, signed(PING, [NEW]), secrets)


@pytest.mark.parametrize("body", [b"[]", b"no", b'{"type": "task.failed", "timestamp": "2026-01-31T12:00:00Z"}'])
def test_what_is_signed_and_not_understood_is_told(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        verify_notification(body, signed(body, [NEW]), NEW)
