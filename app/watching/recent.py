"""Find recent changes of tasks by polling the timeline: what streams rely on when an announcement was lost.

``at`` of a row is when the change happened, and the row becomes visible later, at its commit. So each check reads two
windows: the last few seconds, where nearly everything turns up; and, from where the check before ended, what is old
enough that nothing can be added to it any more. Up to there everything is known for certain, and a stream that was
interrupted resumes from there.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.app_context import Context
from app.callbacks.admission import ANSWER_TIMEOUT_S
from app.operations.clock_skew import STOP_S
from app.watching import store
from app.watching.store import Head

TRANSACTION_S: Final = 25.0
"""Longer than a transaction takes: a connection to be made and a few statements, each with a time-out of 5 s."""
OVERLAP: Final = timedelta(seconds=ANSWER_TIMEOUT_S + 2 * TRANSACTION_S + STOP_S)
"""How much later than its ``at`` a row may become visible: a callback waits to be answered, its group is committed,
perhaps twice; and the clock of the process may be off by as much as lets its loops run."""
LATELY: Final = timedelta(seconds=5)
MOST_OFFERED: Final = 50_000


class Recent:
    """Recent changes, and the versions that the streams of this process were offered. ``start`` it before the first
    stream, ``forget`` after the last. ``overlap``: how late a row may become visible at most."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.overlap = OVERLAP
        self._offered: dict[UUID, int] = {}
        self._offered_before: dict[UUID, int] = {}
        self._rotated_at = self._checked_at = self._certain_until = context.clock.now()
        self.started = False

    @property
    def position(self) -> datetime:
        """Everything that happened more than ``overlap`` before this is known."""
        return self._certain_until + self.overlap

    async def start(self) -> None:
        """Note the present versions, so that only later ones are new. Raises ``Unavailable``."""
        now = self._context.clock.now()
        self._offered, self._offered_before = {}, {}
        versions = await self._context.db.read(store.changed_between, now - self.overlap, now, now)
        for task_id, version in versions.items():
            self.note_offered(task_id, version)
        self._rotated_at = self._checked_at = now
        self._certain_until = now - self.overlap
        self.started = True

    def forget(self) -> None:
        """Forget all versions, since no stream is open."""
        self.started = False
        self._offered, self._offered_before = {}, {}

    async def check(self, *, whole_overlap: bool) -> Mapping[UUID, int] | None:
        """Find changes that were not announced: tasks and their versions. None if so much time has passed since the
        last check that each stream had better catch up by itself. ``whole_overlap``: read the whole of it, since
        announcements of other processes may have been lost. Raises ``Unavailable``."""
        now = self._context.clock.now()
        if now - self._checked_at > self.overlap or now < self._checked_at - self.overlap:
            await self.start()
            return None
        window = self.overlap if whole_overlap else min(LATELY, self.overlap)
        lately = min(self._checked_at, now) - window
        certain_until = max(self._certain_until, now - self.overlap)
        versions = await self._context.db.read(store.changed_between, lately, self._certain_until, certain_until)
        self._checked_at, self._certain_until = now, certain_until
        self._rotate(now)
        return {task_id: version for task_id, version in versions.items() if version > self._version(task_id)}

    def is_news(self, head: Head) -> bool:
        """Whether the streams were not offered this version yet."""
        return head.version > self._version(head.task_id)

    def note_offered(self, task_id: UUID, version: int) -> None:
        """Note that the streams were offered this version."""
        self._offered[task_id] = max(version, self._version(task_id))

    def _version(self, task_id: UUID) -> int:
        return max(self._offered.get(task_id, 0), self._offered_before.get(task_id, 0))

    def _rotate(self, now: datetime) -> None:
        """Forget versions that no check reaches any more. Of too many some are forgotten early, and offered again."""
        if now - self._rotated_at > 2 * self.overlap or len(self._offered) > MOST_OFFERED:
            self._offered, self._offered_before = {}, self._offered
            self._rotated_at = now
