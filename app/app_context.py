"""What every story works with: the database, the vendor, the rules, the clock. Made once by the root of a process."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from uuid import UUID

from app.database.database import Database, Lane
from app.drift.log import Drift
from app.limits.heartbeats import Timekeeper
from app.rules.loaded_state import Rules
from app.rules.policy import Policy
from app.runtime.clock import Clock
from app.runtime.egress import EgressPolicy
from app.runtime.file_links import FileLinks
from app.tasks import after_commit
from app.tasks.apply import Effects
from app.tasks.learned_delays import Delays
from app.tempolor.callback_tokens import Tokens
from app.tempolor.client import VendorClient
from app.tempolor.redact import Redactor


@dataclass(slots=True)
class Wakes:
    """Set when a loop has something to do before its sleep would end; only for the loops of this process."""

    dispatch: asyncio.Event = field(default_factory=asyncio.Event)
    reconcile: asyncio.Event = field(default_factory=asyncio.Event)
    notify: asyncio.Event = field(default_factory=asyncio.Event)
    archive: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Context:
    """``committed`` is told of each transaction that changed tasks, once it is durable: the place for what follows.
    ``watchers`` are told which tasks those were."""

    db: Database
    vendor: VendorClient
    tokens: Tokens
    public_url: str
    policy: Policy
    clock: Clock
    ids: Callable[[], UUID]
    delays: Delays
    rules: Rules
    timekeeper: Timekeeper
    redactor: Redactor
    drift: Drift
    egress: EgressPolicy
    files: FileLinks | None = None
    wakes: Wakes = field(default_factory=Wakes)
    watchers: list[Callable[[Collection[UUID]], None]] = field(default_factory=list)

    def committed(self, effects: Effects) -> None:
        """Follow up on a committed transaction."""
        self.announce(effects.changed)
        self.delays.note(effects.delay_samples)
        after_commit.report(effects, self.clock.now(), self.policy.deadline_s)
        if any(moved.task.slot_until is None for moved in effects.status_changes):
            self.wakes.dispatch.set()
        if effects.notifies:
            self.wakes.notify.set()
        if effects.copies:
            self.wakes.archive.set()

    def announce(self, task_ids: Collection[UUID]) -> None:
        """Tell those who watch that these tasks were made or changed, durably."""
        if task_ids:
            for tell in self.watchers:
                tell(task_ids)

    def loops_db(self) -> Database:
        return self.db.on(Lane.LOOPS)
