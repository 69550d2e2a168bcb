"""The writes that save the state: for each table the columns, and what is done where a row is there already (upsert).

How they get to the database is in ``state_store``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from app.database.tables import callbacks, copy_jobs, item_values, items, notifications, tasks, timeline
from app.rules.task import Item, Task

Row = Sequence[Any]

FACTS: Final = tuple(name for name in Task.__struct_fields__ if name != "new")
CHANGING_FACTS: Final = FACTS[FACTS.index("submission") :]
"""Facts that never change come first."""
ITEM_COLUMNS: Final = tuple(name for name in Item.__struct_fields__ if name != "new")


@dataclass(frozen=True, eq=False)
class Write:
    """Rows of a table to be written: inserted, or, with ``keys``, updated where these are the same; ``adds`` are
    numbers that are added to those that are there. A row to insert is there already: an error, unless ``on_conflict``
    says what then. ``sorted_by``: in which order, or two processes that write the same would wait for each other.
    ``rare``: left out of the statement where there are no rows; each mixture of the others would be a statement of its
    own, to be planned on each connection."""

    table: sa.Table
    columns: tuple[str, ...]
    keys: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()
    on_conflict: str = ""
    sorted_by: tuple[str, ...] = ()
    rare: bool = False

    @cached_property
    def table_columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns themselves."""
        return tuple(self.table.c[name] for name in self.columns)

    @cached_property
    def names(self) -> list[str]:
        """The columns as the database calls them."""
        return [str(column.name) for column in self.table_columns]

    @cached_property
    def order(self) -> Callable[[Row], tuple[Any, ...]]:
        """What a row is sorted by."""
        places = [self.columns.index(name) for name in self.sorted_by]
        return lambda row: tuple(row[place] for place in places)

    def changes(self, values: Mapping[str, str]) -> str:
        """What an update sets, to values by the names of the columns."""
        added = {self.table.c[name].name for name in self.adds}
        return ", ".join(
            f"{name} = {self.table.name}.{name} + {value}" if name in added else f"{name} = {value}"
            for name, value in values.items()
            if name not in self.keys
        )

    @cached_property
    def apart(self) -> list[int]:
        """The places of the columns that travel to PostgreSQL in arrays of their own."""
        apart = (sa.JSON, sa.LargeBinary)
        return [place for place, column in enumerate(self.table_columns) if isinstance(column.type, apart)]

    @cached_property
    def in_json(self) -> list[int]:
        """The places of the columns that travel in the JSON text."""
        return [place for place in range(len(self.columns)) if place not in self.apart]

    @cached_property
    def json_row(self) -> type[msgspec.Struct]:
        """A row of the JSON text: its number, the part that it belongs to, and the columns that travel there."""
        return msgspec.defstruct(self.table.name, ["place", "part", *(self.names[place] for place in self.in_json)])


# In the order in which SQLite writes them: no row comes before one that it refers to. (PostgreSQL looks at references
# when the statement ends, and carries its parts out in an order of its own.)
NEW_TASKS: Final = Write(tasks, (*FACTS, "params", "metadata_", "reference", "retry_of"), rare=True)
CHANGED_TASKS: Final = Write(tasks, ("id", *CHANGING_FACTS), keys=("id",))
NEW_ITEMS: Final = Write(items, ITEM_COLUMNS, sorted_by=("family", "item_id"), rare=True)
CHANGED_ITEMS: Final = Write(items, ITEM_COLUMNS, keys=("family", "item_id"))
NEW_VALUES: Final = Write(
    item_values,
    ("family", "item_id", "digest", "value"),
    on_conflict="DO NOTHING",
    sorted_by=("family", "item_id", "digest"),
)
CALLBACKS: Final = Write(
    callbacks,
    (
        *("id", "digest", "task_id", "family", "disposition", "body"),
        *("received_at", "last_received_at", "times", "address", "detail"),
    ),
    # A repeat is counted, also where somebody else stored its first copy meanwhile.
    on_conflict="""(digest) DO UPDATE SET
        count = callbacks.count + excluded.count, last_received_at = excluded.last_received_at""",
    sorted_by=("digest",),
)
SETTLED_CALLBACKS: Final = Write(
    callbacks,
    ("digest", "last_received_at", "disposition", "detail", "times"),
    keys=("digest",),
    adds=("times",),
    sorted_by=("digest",),
    rare=True,
)
"""Repeats of which something else has become than of their first copies."""
NEW_ENTRIES: Final = Write(timeline, ("task_id", "seq", "at", "type", "version", "detail"))
NEW_NOTIFICATIONS: Final = Write(
    notifications,
    (
        *("id", "client_name", "task_id", "type", "url", "receiver"),
        *("snapshot", "status", "attempts", "created_at", "due_at"),
    ),
)
COPY_JOBS: Final = Write(
    copy_jobs,
    ("family", "item_id", "name", "task_id", "created_at", "ends_at", "due_at", "attempts"),
    # A new link for one that waits: it is due at once, unless somebody is copying it.
    on_conflict="""(family, item_id, name) DO UPDATE SET
        task_id = excluded.task_id, ends_at = excluded.ends_at, attempts = 0, dead_links = 0, due_at = CASE
            WHEN copy_jobs.leased_until > excluded.due_at THEN copy_jobs.due_at ELSE excluded.due_at END""",
    sorted_by=("family", "item_id", "name"),
    rare=True,
)
WRITES: Final = (
    NEW_TASKS,
    CHANGED_TASKS,
    NEW_ITEMS,
    CHANGED_ITEMS,
    NEW_VALUES,
    CALLBACKS,
    SETTLED_CALLBACKS,
    NEW_ENTRIES,
    NEW_NOTIFICATIONS,
    COPY_JOBS,
)
