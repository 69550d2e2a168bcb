"""Who acts with a request, for the audit."""

from fastapi import Request
from structlog.contextvars import get_contextvars

from app.domain.audit import By
from app.domain.client import Client

MOST_CHARS = 100


def by(request: Request, client: Client) -> By:
    """The caller as an actor. The request's id is the one that the log knows it by, else what the caller named it
    in ``X-Request-ID``."""
    known = get_contextvars().get("request_id") or request.headers.get("x-request-id")
    usable = isinstance(known, str) and 0 < len(known) <= MOST_CHARS and known.isascii() and known.isprintable()
    return By(client.name, known if usable else None)
