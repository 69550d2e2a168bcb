"""The test's own way to the database: it never shares a connection with the gateway."""

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg

from tests.support.virtual_time import real_work

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
_POSTGRES_TABLES = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


class Direct:
    """Plain SQL on the test's database, each call on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.path = url.partition(":///")[2]

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        if self.is_sqlite:
            with closing(self._open()) as conn:
                return [dict(row) for row in conn.execute(sql)]
        async with self._connected() as conn:
            return [dict(row) for row in await conn.fetch(sql)]

    async def execute(self, *statements: str) -> None:
        """Run statements, each committed."""
        if self.is_sqlite:
            with closing(self._open()) as conn:
                for statement in statements:
                    conn.executescript(statement)
            return
        async with self._connected() as conn:
            for statement in statements:
                await conn.execute(statement)

    async def refuse_items(self, condition: str) -> None:
        """Make the database refuse the items (``NEW``) that meet a condition, as it would refuse a value that it
        cannot hold; until ``allow_items``. Only in a database of one's own."""
        if self.is_sqlite:
            trigger = f"CREATE TRIGGER refusal BEFORE INSERT ON items WHEN {condition}"
            await self.execute(f"{trigger} BEGIN SELECT RAISE(ABORT, 'refused'); END")
            return
        await self.execute(
            "CREATE OR REPLACE FUNCTION refusal() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22003'; END$$",
            f"CREATE TRIGGER refusal BEFORE INSERT ON items FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refusal()",
        )

    async def allow_items(self) -> None:
        """Refuse no items any more."""
        await self.execute("DROP TRIGGER refusal" if self.is_sqlite else "DROP TRIGGER refusal ON items")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        with real_work():
            conn = await asyncpg.connect(self.url)
            try:
                yield conn
            finally:
                await conn.close()

    async def everything(self) -> dict[str, list[str]]:
        """Every row of every table, as text: equal before and after means that nothing was stored."""
        names = [row["name"] for row in await self.rows(_SQLITE_TABLES if self.is_sqlite else _POSTGRES_TABLES)]
        assert len(names) > 5, names
        return {name: sorted(map(str, await self.rows(f"SELECT * FROM {name}"))) for name in names}

    async def mentions(self, *texts: str) -> list[str]:
        """Which of these texts stand anywhere in the database, with the table."""
        found = await self.everything()
        return [
            f"{text} in {name}" for name, rows in found.items() for text in texts if any(text in row for row in rows)
        ]

    def _open(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self.path, timeout=10)
        conn.row_factory = sqlite3.Row
        conn.execute("PRAGMA foreign_keys = ON")
        return conn


def ids(task_ids: Iterable[str]) -> str:
    """Task ids as an SQL list that both databases read."""
    return ", ".join(f"'{task_id.replace('-', '')}'" for task_id in task_ids)
