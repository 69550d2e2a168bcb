"""Notifications are signed as Standard Webhooks say: judged by the official verifier, over what was received."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.notifications.post import Delivered
from app.runtime.signing import sign
from tests.support.receiver import calling, receiving

OLD, NEW, FOREIGN = ("whsec_" + letter * 43 + "=" for letter in "ABC")
BODY = '{"type":"task.succeeded","data":{"title":"Hafenlichter — 港の灯"}}'.encode()


async def received(secrets: list[str], body: bytes = BODY, at: datetime | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and body as they arrive over a socket."""
    async with receiving() as receiver:
        with calling() as caller:
            answer = await caller.post(receiver.url(), sign("0192-a", body, secrets, at or datetime.now(UTC)))
    assert answer == Delivered(200, "thanks")
    return receiver.headers[0], receiver.bodies[0]


async def test_the_official_verifier_accepts_what_arrives() -> None:
    headers, body = await received([NEW])
    assert body == BODY
    assert Webhook(NEW).verify(body, headers)["type"] == "task.succeeded"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "0192-a"


async def test_during_a_rotation_either_secret_verifies_and_no_other() -> None:
    headers, body = await received([NEW, OLD])
    for secret in (OLD, NEW):
        Webhook(secret).verify(body, headers)
    assert len(headers["webhook-signature"].split(" ")) == 2
    with pytest.raises(WebhookVerificationError):
        Webhook(FOREIGN).verify(body, headers)


async def test_a_changed_body_id_or_time_is_refused() -> None:
    headers, body = await received([NEW])
    changed = [
        (body.replace(b"succeeded", b"failed!!!"), headers),
        (body, headers | {"webhook-id": "0192-b"}),
        (body, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
    ]
    for forged_body, forged_headers in changed:
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW).verify(forged_body, forged_headers)


async def test_the_time_of_the_attempt_is_signed_in_whatever_zone_it_is_given() -> None:
    at = datetime.now(timezone(timedelta(hours=9)))
    headers, body = await received([NEW], at=at)
    assert headers["webhook-timestamp"] == str(int(at.timestamp()))
    Webhook(NEW).verify(body, headers)


def test_a_repeat_keeps_its_id_and_signs_its_own_time() -> None:
    first_at = datetime.now(UTC)
    first, second = (sign("0192-a", BODY, [NEW], first_at + timedelta(seconds=wait)) for wait in (0, 30))
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_what_cannot_be_signed_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="secret"):
        sign("0192-a", BODY, [], datetime.now(UTC))
    with pytest.raises(ValueError, match="zone"):
        sign("0192-a", BODY, [NEW], datetime(2026, 1, 1))


def test_a_signed_message_does_not_print_what_it_holds() -> None:
    assert "Hafenlichter" not in repr(sign("0192-a", BODY, [NEW], datetime.now(UTC)))
