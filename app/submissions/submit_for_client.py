"""Submit a task in a client's place: checked and accepted as the client's own request would be."""

from typing import Any

from app.app_context import Context
from app.audit.audit import Actor
from app.clients.clients import find_active
from app.database.database import dumps
from app.documents.document import Document
from app.errors import InvalidRequest
from app.submissions.accept_task import accept, digest_of
from app.submissions.task_requests import accepted_documents, check_task, idempotent_request


async def submit_by_hand(
    context: Context, actor: Actor, client_name: str, request: dict[str, Any], idempotency_key: str | None = None
) -> tuple[Document, bool]:
    """Store a task of a client to be sent; durable when this returns. ``request``: the decoded body of
    ``POST /v1/tasks``. ``idempotency_key``: in the same scope as those of the client's own requests. Returns the task,
    and whether it is a replay. Raises ``InvalidRequest`` with every fault, ``NotFound`` where there is no such client,
    ``IdempotencyMismatch``, ``Unavailable``."""
    if context.redactor.body(raw := dumps(request).encode()) is not raw:
        raise InvalidRequest("the request holds a secret of this gateway")
    new = check_task(request, context.egress)
    key = idempotent_request("POST /v1/tasks", idempotency_key, digest_of(request))
    client = await find_active(context.db, client_name)
    accepted = await accept(context, client, [new], key, actor)
    [task] = await accepted_documents(context, accepted)
    return task, accepted.replayed
