"""The overview as it is now, looked up once for everybody who looks at it, and the streams that keep pages up to date.

However many consoles are open: of each scope (a client's own, or everything) there is one survey in some seconds, and
its page is rendered once.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from markupsafe import Markup
from sse_starlette import ServerSentEvent

from app.app_context import Context
from app.archive import rows as archive
from app.console import plots
from app.console.pages import render_in_slices
from app.console.plots import Plot
from app.console.time_series import DAY, HOUR, Series, Span
from app.errors import Unavailable
from app.operations import backlog_counts, history
from app.operations.health import Health
from app.operations.history import Arrivals, Contacts, Interval
from app.rules.client import Client
from app.submissions import hold_by_hand
from app.watching.streams import Stream

FRESH_S: Final = 5.0
"""How old what is shown may be, where a survey is cheap."""
SHARE: Final = 0.005
"""Surveys take no more than this of the time: on a full or a busy database they are rarer, so that few callbacks meet
one."""
MOST_FRESH_S: Final = 15.0
"""They are not rarer than that, whatever they take."""
_SPANS_FRESH_S: Final = {HOUR: 15.0, DAY: 60.0}
BUDGET_S: Final = 0.25
FIRST_BUDGET_S: Final = 1.0
"""How long one survey reads for the plots, at most; the rest is for the next one."""
MOST_SCOPES: Final = 100
"""Clients whose overviews are kept."""
SPREAD_S: Final = 2.5
"""Over so long the readers of a survey are spread, so that they are not all sent it at one moment."""
RECONNECT_MS: Final = 2000
AWAY: Final = ServerSentEvent("the database", event="away").encode()


@dataclass(slots=True)
class Part:
    """A part of the page: as HTML, and as the event that replaces it. ``at``: when it was made, monotonic."""

    html: Markup
    event: bytes
    at: float


@dataclass(slots=True)
class _Scope:
    """What is known of one scope. ``unread``: spans of which something was not read yet. ``looked_at``: when the last
    survey began, monotonic, and for how long it is good (``fresh_s``); ``fault``: why it failed."""

    arrivals: dict[Span, Series[Arrivals]]
    contacts: dict[Span, Series[Contacts]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    parts: dict[str, Part] = field(default_factory=dict)
    unread: set[Span] = field(default_factory=set)
    looked_at: float = float("-inf")
    fresh_s: float = FRESH_S
    fault: Unavailable | None = None


class Overview:
    """Surveys for the overview, at most one in ``FRESH_S`` for each scope, and rarer ones where they take long."""

    def __init__(self, context: Context, health: Health) -> None:
        self._context = context
        self._health = health
        self._scopes: dict[str | None, _Scope] = {}
        self.surveys = 0

    async def parts(self, scope: str | None) -> dict[str, Part]:
        """The parts of the overview, of one client's tasks or (None) of everybody's: by name, in their order.
        Raises ``Unavailable``, also where the last survey did a moment ago."""
        # The one that was used last stands last.
        kept = self._scopes.pop(scope) if scope in self._scopes else self._make_scope(scope)
        self._scopes[scope] = kept
        if len(self._scopes) > MOST_SCOPES:
            del self._scopes[next(iter(self._scopes))]
        async with kept.lock:
            now = self._context.clock.monotonic()
            if now - kept.looked_at >= kept.fresh_s:
                kept.looked_at, kept.fault = now, None
                try:
                    await self._survey(scope, kept)
                    kept.fresh_s = fresh_for_s(self._context.clock.monotonic() - now)
                except Unavailable as error:
                    kept.fault, kept.fresh_s = error, FRESH_S
                except BaseException:
                    # Whoever asked has gone, and the others ask anew.
                    kept.looked_at = float("-inf")
                    raise
            if kept.fault is not None:
                raise kept.fault
            return kept.parts

    def rest_s(self, scope: str | None) -> float:
        """How long the parts of a scope are still good."""
        kept = self._scopes.get(scope)
        return max(kept.looked_at + kept.fresh_s - self._context.clock.monotonic(), 0.0) if kept else 0.0

    async def _survey(self, scope: str | None, kept: _Scope) -> None:
        self.surveys += 1
        shown = await self._state(scope)
        now = self._context.clock.monotonic()
        parts = {"state": await _part("state", now, kept.parts.get("state"), **shown)}
        until = now + (BUDGET_S if kept.parts else FIRST_BUDGET_S)
        for span, fresh_s in _SPANS_FRESH_S.items():
            drawn = kept.parts.get(span.name)
            if drawn is None or span in kept.unread or now - drawn.at >= fresh_s:
                found = await self._plots(kept, span, until)
                (kept.unread.add if any(plot.unread for plot in found) else kept.unread.discard)(span)
                drawn = await _part("plots", now, drawn, span.name, span=span, plots=found)
            parts[span.name] = drawn
        if scope is None:
            parts["work"] = await _part("work", now, kept.parts.get("work"), **shown)
        kept.parts = parts

    async def _state(self, scope: str | None) -> dict[str, Any]:
        """What the first part shows. A client sees why things stand still, as `/backlog` tells everybody, and numbers
        of its own tasks; what counts other clients' is for admins."""
        context, db = self._context, self._context.db
        backlog, state = await self._health.backlog(), await db.read(backlog_counts.state, scope)
        shown: dict[str, Any] = {
            "is_admin": scope is None,
            "holds": backlog["standing_still"],
            "held_models": backlog["held_models"],
            "open_tasks": state.open_tasks,
            "pending": state.outbox.pending,
            "dead": state.dead,
            "most": backlog_counts.MOST,
        }
        if scope is not None:
            return shown
        due_at = state.outbox.first_due_at
        return shown | {
            "backlog": backlog,
            "readiness": await self._health.readiness(),
            "submissions": await hold_by_hand.show(context),
            "loops": self._health.loop_ages_s(),
            "late_s": (context.clock.now() - due_at).total_seconds() if due_at else 0.0,
            "archive": await db.read(archive.backlog) if context.files is not None else None,
        }

    async def _plots(self, kept: _Scope, span: Span, until: float) -> list[Plot]:
        clock = self._context.clock
        now = clock.now()

        def is_late() -> bool:
            return clock.monotonic() > until

        tasks = await kept.arrivals[span].look(now, is_late)
        drawn = [plots.of_arrivals(span, tasks)]
        await asyncio.sleep(0)
        drawn.append(plots.of_durations(span, tasks))
        if span in kept.contacts:
            drawn.append(plots.of_contacts(span, await kept.contacts[span].look(now, is_late)))
        return drawn

    def _make_scope(self, scope: str | None) -> _Scope:
        db = self._context.db

        async def arrivals(intervals: list[Interval]) -> list[Arrivals]:
            return await db.read(history.each, partial(history.arrivals, client_name=scope), intervals)

        async def contacts(intervals: list[Interval]) -> list[Contacts]:
            return await db.read(history.each, history.contacts, intervals)

        # The inbox is the admins'.
        of_contacts = {span: Series(span, contacts, lambda _: False) for span in _SPANS_FRESH_S if scope is None}
        return _Scope({span: Series(span, arrivals, lambda one: one.open > 0) for span in _SPANS_FRESH_S}, of_contacts)


class OverviewStream(Stream):
    """Keeps the overview of one reader up to date, until its session ends (``ends_at``)."""

    def __init__(self, client: Client, context: Context, overview: Overview, ends_at: datetime) -> None:
        super().__init__(client)
        self._context = context
        self._overview = overview
        self._ends_at = ends_at

    @property
    def position(self) -> str:
        """There is nothing to resume: each event is the whole of its part."""
        return ""

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the parts that are new, each as an event; ``AWAY`` where they cannot be had."""
        clock, sent = self._context.clock, dict[str, bytes]()
        apart_s = random.uniform(0, SPREAD_S)
        yield ServerSentEvent(comment="the overview", retry=RECONNECT_MS).encode()
        while not self.closed.is_set():
            try:
                parts = await self._overview.parts(self.scope)
            except Unavailable:
                parts = {}
                yield AWAY
            # What is new in one piece: a write costs more than what is in it.
            if news := b"".join(part.event for name, part in parts.items() if sent.get(name) != part.event):
                sent = {name: part.event for name, part in parts.items()}
                yield news
            if clock.now() >= self._ends_at:
                return
            await clock.wait(self.closed, self._overview.rest_s(self.scope) + apart_s)


def fresh_for_s(taken_s: float) -> float:
    """How long a survey that took so long is good."""
    return min(max(FRESH_S, taken_s / SHARE), MOST_FRESH_S)


async def _part(template: str, at: float, before: Part | None, name: str | None = None, **shown: Any) -> Part:
    """Render a part; one that says the same as ``before`` is the same event."""
    # On one line: it is sent often, and a third of it would be indentation.
    html = " ".join((await render_in_slices(f"_{template}.html", **shown)).split())
    if before is not None and before.html == html:
        return Part(before.html, before.event, at)
    return Part(Markup(html), ServerSentEvent(html, event=name or template).encode(), at)  # noqa: S704 - a template's
