"""Which tasks changed lately, by the timeline: what a stream relies on when nobody told of a change.

``at`` of a row is when the change happened, and the row becomes visible later, at its commit. So each check looks at
two windows: the last few seconds, where nearly everything turns up; and, each time where the check before ended, what
is old enough that nothing can be added to it any more. Up to there everything is known for certain, and a stream that
was interrupted resumes from there.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.callbacks.admission import ANSWER_TIMEOUT_S
from app.context import Context
from app.operations.clock_skew import STOP_S
from app.watching import store
from app.watching.store import Head

TRANSACTION_S: Final = 25.0
"""Longer than a transaction takes: a connection to be made and a few statements, each with a time-out of 5 s."""
OVERLAP_S: Final = ANSWER_TIMEOUT_S + 2 * TRANSACTION_S + STOP_S
"""How much later than its ``at`` a row may become visible: a callback waits to be answered, its group is committed,
perhaps twice; and the clock of the process may be off by as much as lets its loops turn."""
LATELY: Final = timedelta(seconds=5)
MOST_TOLD: Final = 50_000
OVERLAP: Final = timedelta(seconds=OVERLAP_S)


class Recent:
    """Knows what the streams of this process were told. ``start`` it before the first stream, ``forget`` after the
    last. ``overlap``: how late a row may become visible at most."""

    def __init__(self, context: Context, overlap: timedelta = OVERLAP) -> None:
        self._context = context
        self.overlap = overlap
        self._told: dict[UUID, int] = {}
        self._told_before: dict[UUID, int] = {}
        self._turned_at = self._checked_at = self._certain_until = context.clock.now()
        self.started = False

    @property
    def position(self) -> datetime:
        """Everything that happened more than ``overlap`` before this is known."""
        return self._certain_until + self.overlap

    async def start(self) -> None:
        """Take note of what is there, so that only what comes after is new. Raises ``Unavailable``."""
        now = self._context.clock.now()
        self._told, self._told_before = {}, {}
        found = await self._context.db.read(store.changed_between, now - self.overlap, now, now)
        for task_id, version in found.items():
            self.note(task_id, version)
        self._turned_at = self._checked_at = now
        self._certain_until = now - self.overlap
        self.started = True

    def forget(self) -> None:
        self.started = False
        self._told, self._told_before = {}, {}

    async def look(self, *, everywhere: bool) -> Mapping[UUID, int] | None:
        """Tasks of whose change nobody told, and their versions. None if so much time has passed since the last
        look that each stream had better read on by itself. ``everywhere``: over the whole overlap, since others'
        changes were perhaps not heard. Raises ``Unavailable``."""
        now = self._context.clock.now()
        if now - self._checked_at > self.overlap or now < self._checked_at - self.overlap:
            await self.start()
            return None
        reach = self.overlap if everywhere else min(LATELY, self.overlap)
        lately = min(self._checked_at, now) - reach
        certain_until = max(self._certain_until, now - self.overlap)
        found = await self._context.db.read(store.changed_between, lately, self._certain_until, certain_until)
        self._checked_at, self._certain_until = now, certain_until
        self._turn(now)
        return {task_id: version for task_id, version in found.items() if version > self._known(task_id)}

    def is_news(self, head: Head) -> bool:
        """Whether the streams were not told of this version."""
        return head.version > self._known(head.task_id)

    def note(self, task_id: UUID, version: int) -> None:
        """The streams were told of this version."""
        self._told[task_id] = max(version, self._known(task_id))

    def _known(self, task_id: UUID) -> int:
        return max(self._told.get(task_id, 0), self._told_before.get(task_id, 0))

    def _turn(self, now: datetime) -> None:
        """Forget what no look reaches any more; too many are forgotten early, and then told once more."""
        if now - self._turned_at > 2 * self.overlap or len(self._told) > MOST_TOLD:
            self._told, self._told_before = {}, self._told
            self._turned_at = now
