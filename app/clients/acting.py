"""Who acts with a request, for the audit."""

from structlog.contextvars import get_contextvars

from app.audit.acts import By
from app.rules.client import Client


def by(client: Client) -> By:
    """The caller as an actor. The request's id is the one that the log and the answer know it by."""
    return By(client.name, get_contextvars().get("request_id"))
