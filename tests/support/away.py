"""A database that is away when a test says so, and is reached as ever otherwise."""

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from app.errors import Unavailable
from app.storage.connect import open_backend
from app.storage.database import Backend, Database, Lane
from tests.support.virtual_time import StillBackend, virtual_loop

T = TypeVar("T")


class AwayBackend:
    """Refuses ``writes_to_refuse`` transactions that write."""

    def __init__(self, url: str) -> None:
        backend, loop = open_backend(url), virtual_loop()
        self._backend: Backend = StillBackend(backend, loop) if loop else backend
        self.writes_to_refuse = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        if write and self.writes_to_refuse > 0:
            self.writes_to_refuse -= 1
            raise Unavailable("the database is away")
        return await self._backend.run(lane, fn, write=write, whole=whole)

    def database(self) -> Database:
        return Database(self)
