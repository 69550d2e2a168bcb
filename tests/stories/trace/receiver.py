"""The client's receiver of notifications: it keeps what it is sent, and answers as a script says."""

import json
from asyncio import sleep
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from tests.stories.trace.wire import Reply, Request
from tests.support.notifications import signed_by

TAKEN: Final = Reply("taken", 204)
APART_S: Final = 0.1


@dataclass(frozen=True)
class Told:
    """One post. ``signed``: by the secret of the client whose task it tells of."""

    webhook_id: str
    at: int
    signed: bool
    body: dict[str, Any]
    raw: bytes
    reply: Reply


class Receiver:
    """``answers`` are given in turn, then ``TAKEN``. ``told`` is what came since it was last emptied. What comes at one
    instant is answered in the order in which it was written, so that its ends have an order too."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.answers: deque[Reply] = deque()
        self.told: list[Told] = []
        self._here: list[str] = []

    async def answer(self, request: Request) -> Reply:
        webhook_id = request.headers["webhook-id"]
        self._here.append(webhook_id)
        await sleep(APART_S)
        while webhook_id != min(self._here):  # noqa: ASYNC110 - at fixed times, or the next one follows at any time
            await sleep(APART_S)
        # Not at the instant at which the others look.
        await sleep(APART_S / 2)
        self._here.remove(webhook_id)
        reply = self.answers.popleft() if self.answers else TAKEN
        body = json.loads(request.body)
        secret = self.secrets.get(body["data"]["client"], "")
        signed = bool(secret) and signed_by(secret, request.headers, request.body)
        at = int(request.headers["webhook-timestamp"])
        self.told.append(Told(webhook_id, at, signed, body, request.body, reply))
        return reply
