"""Sign webhooks, as Standard Webhooks say."""

import base64
import secrets as random_bytes
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True)
class Signed:
    """A body, byte for byte as it is signed and sent, and the signature headers of one attempt."""

    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def sign(webhook_id: str, body: bytes, secrets: Sequence[str], at: datetime) -> Signed:
    """Sign a body with every active secret of its receiver (two of them during a rotation).

    ``webhook_id`` stays the same over all attempts of a notification, in printable ASCII; ``body`` is UTF-8;
    ``at`` is the time of this attempt. Raises ``ValueError`` for no secret, one that is no base64, or a naive time.
    """
    if not secrets:
        raise ValueError("a notification needs at least one secret")
    if at.tzinfo is None:
        raise ValueError("the time of an attempt needs a time zone")
    # The library takes the wall clock's figures for UTC, whatever the zone says.
    at = at.astimezone(UTC)
    text = body.decode()
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(webhook_id, at, text) for secret in secrets),
    }
    return Signed(headers, body)


def new_webhook_secret() -> str:
    """A secret in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(random_bytes.token_bytes(32)).decode()
