"""Receiving notifications: believed only if the gateway signed them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tempolor_gateway_client import results
from tempolor_gateway_client.errors import BadSignature, UnexpectedAnswer
from tempolor_gateway_client.results import Notification


def verify_notification(body: bytes, headers: Mapping[str, str], secrets: str | Sequence[str]) -> Notification:
    """The notification in a request, if it was signed with one of the secrets (``whsec_…``; two during a rotation)
    within the last five minutes.

    ``body``: byte for byte as it was received; ``headers``: the request's, in any case. The same notification may
    come again under the same ``id``, and later than a newer one: ``task.version`` orders them.
    Needs the package ``standardwebhooks``. Raises ``BadSignature``; ``ValueError`` for no secret or a malformed one;
    ``UnexpectedAnswer`` if it is signed but not understood.
    """
    from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415 - only receivers need it

    given = [secrets] if isinstance(secrets, str) else list(secrets)
    if not given or not all(secret.removeprefix("whsec_") for secret in given):
        raise ValueError("at least one webhook secret is needed, and none may be empty")
    found = {name.lower(): value for name, value in headers.items()}
    reason: Exception | None = None
    for webhook in [Webhook(secret) for secret in given]:
        try:
            webhook.verify(body, found, json_parse=False)
        # A ValueError: a signature or a body that is not even of the right form.
        except (WebhookVerificationError, ValueError) as error:
            reason = error
        else:
            return results.read(lambda known: results.notification(found["webhook-id"], known), _json(body))
    raise BadSignature(f"the notification is not to be believed: {reason}")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise UnexpectedAnswer("the notification is not JSON", code="unexpected_answer") from error
