"""Databases between which and the gateway a test stands."""

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from app.database.connect import open_backend
from app.database.database import Backend, Database, Lane
from app.errors import Unavailable
from tests.support.virtual_time import StillBackend, virtual_loop

T = TypeVar("T")


class PassedOn:
    """A database of its own connections, to which everything is passed on. ``close`` it at the end."""

    def __init__(self, url: str) -> None:
        backend, loop = open_backend(url), virtual_loop()
        self._backend: Backend = StillBackend(backend, loop) if loop else backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        return await self._backend.run(lane, fn, write=write, whole=whole)

    def database(self) -> Database:
        return Database(self)


class Away(PassedOn):
    """Refuses ``writes_to_refuse`` transactions that write, as a database that is away, and loses the answers to
    ``commits_to_lose``. ``writes``: how many were asked for; ``failed``: how many of these came to nothing."""

    writes_to_refuse = 0.0
    commits_to_lose = 0
    writes = 0
    failed = 0

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        self.writes += write
        if write and self.writes_to_refuse > 0:
            self.writes_to_refuse -= 1
            raise Unavailable("the database is away")
        try:
            found = await super().run(lane, fn, write=write, whole=whole)
        except Exception:
            self.failed += write
            raise
        if write and self.commits_to_lose > 0:
            self.commits_to_lose -= 1
            raise Unavailable("the answer to the commit was lost")
        return found
