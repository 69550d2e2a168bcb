"""How the databases carry out the statements that an operation really runs: the indexes used, and scans of tables.

PostgreSQL logs the plan of each statement as it ran it (``auto_explain``), so a prepared statement's generic plan
is seen too. SQLite's driver tells each statement with its values, which is then explained.
"""

import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from app.database import tables
from app.database.connect import parse_url
from tests.support.postgres import PostgresServer

_TABLES: Final = frozenset(tables.metadata.tables)
SMALL: Final = frozenset({"limits", "clients", "delays", "model_breakers", "alembic_version"})
"""Tables of a handful of rows, or of a bounded number of which all are wanted: they are best read whole."""
_PARTIAL: Final = frozenset(
    index.name
    for table in tables.metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["postgresql"]["where"] is not None
)
"""Indexes that hold only what is open or due: read whole, they are still short."""
_PLAN: Final = re.compile(r"plan:\n((?:\t.*\n)+)")
_EXPLAINED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
_SQLITE_TABLE: Final = re.compile(r"\b(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?(?:INDEX|PRIMARY KEY) ?(\w*))?")


@dataclass(slots=True)
class Access:
    """How tables are reached: ``indexes`` used, ``scans`` of whole tables, anything else worth a note."""

    statements: int = 0
    indexes: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)

    def text(self) -> str:
        """In a few words; a scan stands out."""
        used = ", ".join(sorted(self.indexes)) or ("none" if self.statements else "no statement was seen")
        return f"{used}; FULL SCAN of {', '.join(sorted(self.scans))}" if self.scans else used


@dataclass(slots=True)
class Watch:
    """Collects what is run between two looks."""

    url: str
    server: PostgresServer | None
    _seen: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _offset: int = 0

    def begin(self) -> None:
        """Forget what was run so far."""
        self._seen.clear()
        if self.server is not None:
            self._offset = self.server.log_path.stat().st_size

    def end(self) -> Access:
        """How the statements since ``begin`` were carried out."""
        if self.server is not None:
            return _read_log(self.server.log_path, self._offset)
        return _explain(parse_url(self.url), list(dict.fromkeys(self._seen)))

    def note(self, statement: str) -> None:
        with self._lock:
            self._seen.append(statement)


@contextlib.contextmanager
def watching(url: str, server: PostgresServer | None) -> Iterator[Watch]:
    """Watch what connections that are opened from now on run. ``server``: None for SQLite."""
    watch = Watch(url, server)
    if server is not None:
        name = parse_url(url).database
        for setting in ("session_preload_libraries = 'auto_explain'", *_AUTO_EXPLAIN):
            server.execute(f'ALTER DATABASE "{name}" SET {setting}')
        yield watch
        server.execute(f'ALTER DATABASE "{name}" RESET ALL')
        return

    def trace(connection: Any, _record: Any) -> None:
        connection.set_trace_callback(watch.note)

    sa.event.listen(sa.Engine, "connect", trace)
    try:
        yield watch
    finally:
        sa.event.remove(sa.Engine, "connect", trace)


_AUTO_EXPLAIN: Final = (
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_format = 'json'",
    "auto_explain.log_parameter_max_length = 0",
)


def _read_log(path: Path, offset: int) -> Access:
    access = Access()
    with path.open("rb") as log:
        log.seek(offset)
        text = log.read().decode(errors="replace")
    for found in _PLAN.findall(text):
        document = json.loads("\n".join(line[1:] for line in found.splitlines()))
        if "pg_catalog" in document["Query Text"] or "alembic_version" in document["Query Text"]:
            continue
        access.statements += 1
        _walk(document["Plan"], access, limited=False)
    return access


def _walk(node: dict[str, Any], access: Access, *, limited: bool) -> None:
    index = node.get("Index Name")
    if index is not None:
        access.indexes.add(index)
        if not (limited or "Index Cond" in node or index in _PARTIAL):
            access.scans.add(f"the index {index}")
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in SMALL:
        access.scans.add(node["Relation Name"])
    # Written rows find their conflicts by this index.
    access.indexes.update(node.get("Conflict Arbiter Indexes", ()))
    for child in node.get("Plans", ()):
        _walk(child, access, limited=limited or node["Node Type"] == "Limit")


def _explain(url: sa.URL, statements: list[str]) -> Access:
    access = Access()
    connection = sqlite3.connect(str(url.database), isolation_level=None)
    try:
        for statement in statements:
            if not statement.lstrip().upper().startswith(_EXPLAINED) or "alembic_version" in statement:
                continue
            access.statements += 1
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                _note_sqlite(detail, access, limited="LIMIT" in statement.upper())
    finally:
        connection.close()
    return access


def _note_sqlite(detail: str, access: Access, *, limited: bool) -> None:
    for how, table, index in _SQLITE_TABLE.findall(detail):
        if table not in _TABLES - SMALL:
            continue
        if "USING" in detail:
            access.indexes.add(index or f"{table} by rowid")
            if how == "SCAN" and not limited and index not in _PARTIAL:
                access.scans.add(f"the index {index}")
        elif how == "SCAN":
            access.scans.add(table)
