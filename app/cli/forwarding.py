"""Follow a gateway's stream, and post each milestone as a signed notification to a local receiver."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec
import typer

from app.cli.milestones import Milestone, Milestones
from app.cli.output import text_of
from app.notifications.post import Answer, Answered, WebhookSender, outcome_of
from app.rules.times import from_us
from app.runtime.clock import Clock, Ids
from app.runtime.egress import EgressPolicy, is_loopback
from app.runtime.retry_after import parse_retry_after
from app.runtime.signing import sign

QUIET_S: Final = 60.0
"""A stream that says nothing for so long, not even a heartbeat (every 15 s), has broken."""
FIRST_PAUSE_S: Final = 1.0
MOST_PAUSE_S: Final = 30.0
MOST_SHOWN_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Event:
    """One block of a stream. ``id``: where to resume, if it says; ``data`` is empty where only that has moved."""

    id: str | None
    data: bytes


class StreamRefused(Exception):
    """The gateway does not give the stream, and would not if it were asked again."""


class _NotNow(Exception):
    """The gateway does not give the stream now, and may later. ``pause_s``: after how long, where it names a time."""

    def __init__(self, why: str, pause_s: float | None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


def check_secret(secret: str) -> bool:
    """Whether something can be signed with it."""
    if not secret.removeprefix("whsec_") or not secret.startswith("whsec_"):
        return False
    try:
        sign("check", b"", [secret], datetime.now(UTC))
    except ValueError:
        return False
    return True


async def events_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """The blocks of a stream of Server-Sent Events. Lines end with a line feed here, and nowhere else: a text in a task
    may hold what Unicode takes for the end of a line."""
    rest, data, event_id = b"", [], None
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"id":
                event_id = value.decode()
            elif not name and not value:
                yield Event(event_id, b"\n".join(data))
                data, event_id = [], None


class Forwarder:
    """Follows the stream at ``url`` with an API key, and posts to ``to``, signed with ``secret``. ``run`` ends only by
    being canceled, or with ``StreamRefused``."""

    def __init__(self, url: str, key: str, to: str, secret: str, *, as_json: bool) -> None:
        self._url = f"{url.rstrip('/')}/v1/stream"
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
        self._to = to
        self._secret = secret
        self._as_json = as_json
        self._ids = Ids(Clock().now)
        self._position: str | None = None
        self._milestones: Milestones | None = None

    async def run(self) -> None:
        """Forward what comes, and connect again where the stream ends."""
        # Who runs this says where to, and on its own machine: no address is guarded.
        sender = WebhookSender(EgressPolicy(allow_private=True), tls=httpx.create_ssl_context(trust_env=False))
        try:
            # A gateway on this machine is not reached through a proxy.
            trust_env = not is_loopback(httpx.URL(self._url).host)
            timeout = httpx.Timeout(10, read=QUIET_S)
            async with httpx.AsyncClient(timeout=timeout, trust_env=trust_env) as client:
                await self._follow(client, sender)
        finally:
            sender.close()

    async def _follow(self, client: httpx.AsyncClient, sender: WebhookSender) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            before = self._position
            try:
                await self._read(client, sender)
                why, asked_s = "the gateway ended the stream", None
            except (httpx.HTTPError, _NotNow) as error:
                why, asked_s = str(error) or type(error).__name__, getattr(error, "pause_s", None)
            pause_s = FIRST_PAUSE_S if self._position != before else min(pause_s * 2, MOST_PAUSE_S)
            wait_s = max(asked_s or 0.0, pause_s)
            typer.echo(f"{why}; connecting again in {wait_s:.0f} s", err=True)
            await asyncio.sleep(wait_s)

    async def _read(self, client: httpx.AsyncClient, sender: WebhookSender) -> None:
        resume = {"Last-Event-ID": self._position} if self._position is not None else {}
        async with client.stream("GET", self._url, headers=self._headers | resume) as response:
            _check(response)
            async for event in events_of(response.aiter_bytes()):
                if self._milestones is None:
                    # The first id of a stream is the time at which it begins, by the gateway's clock.
                    self._milestones = Milestones(from_us(int(event.id or 0)))
                    typer.echo("Listening.", err=True)
                if event.data:
                    task = json.loads(event.data)
                    for milestone in self._milestones.passed(task):
                        await self._forward(sender, task, milestone)
                # After what it brought was forwarded: what was not comes again.
                self._position = event.id or self._position

    async def _forward(self, sender: WebhookSender, task: dict[str, Any], milestone: Milestone) -> None:
        webhook_id = self._ids()
        body = msgspec.json.encode({"type": milestone.type, "timestamp": milestone.at, "data": task})
        answer = await sender.post(self._to, sign(str(webhook_id), body, [self._secret], datetime.now(UTC)))
        self._print(task, milestone, webhook_id, answer)

    def _print(self, task: dict[str, Any], milestone: Milestone, webhook_id: UUID, answer: Answer) -> None:
        answered = answer if isinstance(answer, Answered) else None
        forwarded = {
            "at": milestone.at,
            "type": milestone.type,
            "task_id": task["id"],
            "webhook_id": str(webhook_id),
            "outcome": outcome_of(answer),
            "status": answered.status if answered else None,
            "answer": answered.text if answered else None,
        }
        if self._as_json:
            typer.echo(json.dumps(forwarded))
        else:
            text = text_of(forwarded["answer"] or "")[:MOST_SHOWN_CHARS]
            result = forwarded["status"] or forwarded["outcome"]
            typer.echo(f"{milestone.at}  {milestone.type}  {task['id']}  {result}  {text}".rstrip())


def _check(response: httpx.Response) -> None:
    """Raises ``StreamRefused`` or ``_NotNow`` for what is no stream."""
    status = response.status_code
    if status == 200 and response.headers.get("content-type", "").startswith("text/event-stream"):
        return
    if status in (401, 403):
        raise StreamRefused(f"The gateway refused the API key ({status}).")
    if status in (429, 503) or status >= 500:
        pause_s = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        raise _NotNow(f"the gateway answered {status}", pause_s)
    raise StreamRefused(f"This URL has no stream of a gateway (it answered {status}).")
