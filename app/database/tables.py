"""The tables. Migrations are the schema's history; a test holds these definitions against them.

No database enum of kinds or statuses: a new one must not need a migration. A ``*_due_at`` column is null while
nothing is due and has one partial index each, so that a scan for due rows touches only due rows, and a claim
takes a row out of the range by moving its due time to the lease's end.
"""

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its offset, always UTC. SQLite would drop an offset silently; a naive time is refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)


Json = sa.JSON(none_as_null=True)
"""``json`` on PostgreSQL, not ``jsonb``: that one refuses NUL and reorders keys; nothing queries inside."""


def _column(name: str, type_: Any, *args: Any, **kwargs: Any) -> sa.Column[Any]:
    kwargs.setdefault("nullable", False)
    return sa.Column(name, type_, *args, **kwargs)


def _optional(name: str, type_: Any, *args: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, *args, nullable=True)


def _due_index(table: sa.Table, *columns: str, where: str) -> None:
    predicate = table.c[where].is_not(None)
    sa.Index(None, *(table.c[name] for name in columns), sqlite_where=predicate, postgresql_where=predicate)


clients = sa.Table(
    "clients",
    metadata,
    _column("name", sa.String(100), primary_key=True),
    _column("key_digest", sa.LargeBinary(32)),
    _column("is_admin", sa.Boolean),
    _column("webhook_secret", sa.String(100)),
    _optional("previous_webhook_secret", sa.String(100)),
    _optional("rotated_at", UtcDateTime),
    _column("created_at", UtcDateTime),
    _optional("revoked_at", UtcDateTime),
    _optional("key_used_at", UtcDateTime),
    _optional("previous_key_digest", sa.LargeBinary(32)),
    _optional("previous_key_until", UtcDateTime),
    _optional("previous_key_used_at", UtcDateTime),
    _optional("webhook_url", sa.Text),
    _optional("webhook_events", Json),
    sa.UniqueConstraint("key_digest"),
)
sa.Index(None, clients.c.previous_key_digest, unique=True)

tasks = sa.Table(
    "tasks",
    metadata,
    _column("id", sa.Uuid, primary_key=True),
    _column("kind", sa.String(64)),
    _column("family", sa.String(32)),
    _column("client_name", sa.String(100)),
    _optional("reference", sa.String(255)),
    _column("metadata", Json, key="metadata_"),
    _column("params", Json),
    _optional("webhook_url", sa.Text),
    _optional("traceparent", sa.String(55)),
    _optional("retry_of", sa.Uuid),
    _column("sung", sa.Boolean),
    _column("submission", sa.String(16)),
    _optional("submit_id", sa.Uuid),
    _column("submit_attempts", sa.Integer),
    _optional("callback_key_id", sa.String(16)),
    _optional("claimed_at", UtcDateTime),
    _optional("unconfirmed_at", UtcDateTime),
    _optional("submitted_at", UtcDateTime),
    _optional("not_before_at", UtcDateTime),
    _optional("expired_at", UtcDateTime),
    _optional("deadline_at", UtcDateTime),
    _optional("failure", Json),
    _column("status", sa.String(16)),
    _column("version", sa.Integer),
    _optional("playable_at", UtcDateTime),
    _optional("finished_at", UtcDateTime),
    _column("created_at", UtcDateTime),
    _column("updated_at", UtcDateTime),
    _optional("dispatch_due_at", UtcDateTime),
    _optional("timer_due_at", UtcDateTime),
    _optional("slot_until", UtcDateTime),
    _column("timeline_seq", sa.Integer),
    _column("stored_bodies", sa.Integer),
    _optional("submitted_model", sa.Text),
    _optional("parked_as", sa.String(265)),
    _optional("webhook_events", Json),
)
sa.Index(None, tasks.c.client_name, tasks.c.id)
sa.Index(None, tasks.c.status, tasks.c.id)
sa.Index(None, tasks.c.reference, tasks.c.id)
_due_index(tasks, "client_name", "dispatch_due_at", "id", where="dispatch_due_at")
_due_index(tasks, "dispatch_due_at", "id", where="dispatch_due_at")
_due_index(tasks, "timer_due_at", "id", where="timer_due_at")
_due_index(tasks, "slot_until", where="slot_until")
_due_index(tasks, "finished_at", "id", where="finished_at")
_parked = sa.and_(tasks.c.parked_as.is_not(None), tasks.c.dispatch_due_at.is_not(None))
sa.Index(None, tasks.c.parked_as, tasks.c.submit_attempts, tasks.c.id, sqlite_where=_parked, postgresql_where=_parked)
"""``parked_as``: the kind of a queued task that is parked, and the model that it names; see ``limits/model_holds``."""

items = sa.Table(
    "items",
    metadata,
    _column("family", sa.String(32), primary_key=True),
    _column("item_id", sa.String(200), primary_key=True),
    _column("task_id", sa.Uuid, sa.ForeignKey("tasks.id", ondelete="CASCADE")),
    _column("named_by", sa.SmallInteger),
    _column("position", sa.Integer),
    _column("status", sa.String(16)),
    _column("state", Json),
    _column("created_at", UtcDateTime),
    _column("follow_ups", sa.Integer),
    _optional("last_callback_at", UtcDateTime),
    _optional("last_query_at", UtcDateTime),
    _optional("query_due_at", UtcDateTime),
    _optional("query_leased_until", UtcDateTime),
    _column("query_attempts", sa.Integer),
    _column("query_group", sa.String(40)),
    _optional("query_fault", sa.String(40)),
    _column("query_faults", sa.Integer, server_default="0"),
    _optional("copies", Json),
)
sa.Index(None, items.c.task_id)
sa.Index(None, items.c.item_id)
_due_index(items, "query_due_at", where="query_due_at")
_due_index(items, "family", "query_group", "query_due_at", where="query_due_at")

item_values = sa.Table(
    "item_values",
    metadata,
    _column("family", sa.String(32), primary_key=True),
    _column("item_id", sa.String(200), primary_key=True),
    _column("digest", sa.String(64), primary_key=True),
    _column("value", Json),
    sa.ForeignKeyConstraint(["family", "item_id"], ["items.family", "items.item_id"], ondelete="CASCADE"),
)
"""Large values by the digest of their JSON, which is what the item's state holds. A row never changes, so that what
was frozen with the digest in it (a notification) is read later as it was."""

callbacks = sa.Table(
    "callbacks",
    metadata,
    _column("id", sa.Uuid, primary_key=True),
    _column("digest", sa.LargeBinary(32)),
    _optional("task_id", sa.Uuid),
    _column("family", sa.String(32)),
    _column("disposition", sa.String(16)),
    _column("body", sa.LargeBinary),
    _column("received_at", UtcDateTime),
    _column("last_received_at", UtcDateTime),
    _column("count", sa.Integer, key="times"),
    _optional("address", sa.String(64)),
    _optional("detail", sa.Text),
    sa.UniqueConstraint("digest"),
)
sa.Index(None, callbacks.c.task_id)
UNCLAIMED: Final = sa.text("task_id IS NULL AND disposition IN ('malformed', 'orphan', 'poisoned')")
"""Callbacks of an unbound token that became no task's; in literals, or the partial index on them is not found."""
sa.Index(None, callbacks.c.family, callbacks.c.id, sqlite_where=UNCLAIMED, postgresql_where=UNCLAIMED)
UNAPPLIED: Final = sa.text("disposition <> 'applied'")
"""The few callbacks of which something else became; in literals, as above."""
sa.Index(
    "ix_callbacks_unapplied_disposition_id",
    callbacks.c.disposition,
    callbacks.c.id,
    sqlite_where=UNAPPLIED,
    postgresql_where=UNAPPLIED,
)

timeline = sa.Table(
    "timeline",
    metadata,
    _column("task_id", sa.Uuid, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    _column("seq", sa.Integer, primary_key=True),
    _column("at", UtcDateTime),
    _column("type", sa.String(32)),
    _column("version", sa.Integer),
    _column("detail", Json),
)

sa.Index(None, timeline.c.at)
ASKED: Final = sa.text("type IN ('query', 'query_failed')")
"""Entries of queries, answered or not: few, as long as callbacks come; in literals, as above."""
sa.Index("ix_timeline_asked_at", timeline.c.at, sqlite_where=ASKED, postgresql_where=ASKED)

notifications = sa.Table(
    "notifications",
    metadata,
    _column("id", sa.Uuid, primary_key=True),
    _column("client_name", sa.String(100)),
    _column("task_id", sa.Uuid),
    _column("type", sa.String(32)),
    _column("url", sa.Text),
    _column("receiver", sa.String(400)),
    _column("snapshot", Json),
    _optional("body", sa.LargeBinary),
    _column("status", sa.String(16)),
    _column("attempts", sa.Integer),
    _column("created_at", UtcDateTime),
    _optional("due_at", UtcDateTime),
    _optional("last_attempt_at", UtcDateTime),
    _optional("last_status", sa.Integer),
    _optional("last_error", sa.Text),
    _optional("ended_at", UtcDateTime),
    _optional("attempt_log", Json),
)
"""The outbox: written with the change that it reports. ``receiver`` and ``snapshot``: see ``tasks/notification_rows``;
``body``: as it was posted, where it may be posted again; ``attempt_log``: the latest attempts, see
``notifications/outbox``."""
sa.Index(None, notifications.c.client_name, notifications.c.id)
sa.Index(None, notifications.c.task_id)
_due_index(notifications, "receiver", "due_at", where="due_at")
_due_index(notifications, "due_at", where="due_at")
DEAD: Final = sa.text("status = 'dead'")
"""In literals, as above."""
sa.Index("ix_notifications_dead_id", notifications.c.id, sqlite_where=DEAD, postgresql_where=DEAD)
sa.Index(
    "ix_notifications_dead_client_name_id",
    notifications.c.client_name,
    notifications.c.id,
    sqlite_where=DEAD,
    postgresql_where=DEAD,
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    _column("client_name", sa.String(100), primary_key=True),
    _column("route", sa.String(64), primary_key=True),
    _column("key", sa.String(255), primary_key=True),
    _column("digest", sa.LargeBinary(32)),
    _column("task_ids", Json),
    _column("created_at", UtcDateTime),
)
sa.Index(None, idempotency_keys.c.created_at)

copy_jobs = sa.Table(
    "copy_jobs",
    metadata,
    _column("family", sa.String(32), primary_key=True),
    _column("item_id", sa.String(200), primary_key=True),
    _column("name", sa.String(32), primary_key=True),
    _column("task_id", sa.Uuid, sa.ForeignKey("tasks.id", ondelete="CASCADE")),
    _column("created_at", UtcDateTime),
    _column("ends_at", UtcDateTime),
    _column("due_at", UtcDateTime),
    _optional("leased_until", UtcDateTime),
    _column("attempts", sa.Integer),
    _column("dead_links", sa.Integer, server_default="0"),
)
"""Files to be copied into the archive; a row goes when its copy is kept or given up. ``attempts``: how
many failed at the present link; ``dead_links``: how many of it since it was dead."""
sa.Index(None, copy_jobs.c.ends_at, copy_jobs.c.due_at)
sa.Index(None, copy_jobs.c.task_id)

files = sa.Table(
    "files",
    metadata,
    _column("path", sa.Text, primary_key=True),
    _optional("task_id", sa.Uuid),
    _optional("family", sa.String(32)),
    _optional("item_id", sa.String(200)),
    _column("name", sa.String(32)),
    _column("client_name", sa.String(100)),
    _column("bytes", sa.BigInteger),
    _column("sha256", sa.String(64)),
    _column("media_type", sa.String(100)),
    _column("kept_at", UtcDateTime),
    _optional("doomed_at", UtcDateTime),
)
"""What lies in the archive's store, uploads too. ``doomed_at``: when the file is to be deleted, since the row that it
belonged to is gone, or since nobody has said by then that it is kept; the row goes after the file."""
sa.Index(None, files.c.family, files.c.item_id)
sa.Index(None, files.c.kept_at)
_due_index(files, "doomed_at", where="doomed_at")

uploads = sa.Table(
    "uploads",
    metadata,
    _column("id", sa.Uuid, primary_key=True),
    _column("client_name", sa.String(100)),
    _column("path", sa.Text),
    _column("created_at", UtcDateTime),
)
sa.Index(None, uploads.c.created_at)

upload_uses = sa.Table(
    "upload_uses",
    metadata,
    _column("upload_id", sa.Uuid, primary_key=True),
    _column("task_id", sa.Uuid, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
)
sa.Index(None, upload_uses.c.task_id)

stream_tickets = sa.Table(
    "stream_tickets",
    metadata,
    _column("digest", sa.LargeBinary(32), primary_key=True),
    _column("client_name", sa.String(100)),
    _optional("key_digest", sa.LargeBinary(32)),
    _column("expires_at", UtcDateTime),
)
"""Tickets that open a stream or the console once, see ``clients/tickets``; what has expired goes when the next one is
made."""

limits = sa.Table(
    "limits",
    metadata,
    _column("name", sa.String(32), primary_key=True),
    _optional("not_before_at", UtcDateTime),
    _column("state", Json),
)
"""Shared by all replicas: one row for submissions, one for queries. A row's lock is the permit."""

model_breakers = sa.Table(
    "model_breakers",
    metadata,
    _column("kind", sa.String(64), primary_key=True),
    _column("model", sa.String(200), primary_key=True),
    _column("refusals", sa.Integer),
    _column("touched_at", UtcDateTime),
    _optional("held_since", UtcDateTime),
    _optional("probe_at", UtcDateTime),
    _optional("probe_until", UtcDateTime),
    _column("code", sa.String(64)),
    _column("detail", sa.Text),
)
"""Read and written under the lock of the limit of submissions; a small number of rows, see ``limits/breaker_rows``."""

delays = sa.Table(
    "delays",
    metadata,
    _column("kind", sa.String(64), primary_key=True),
    _column("stage", sa.SmallInteger, primary_key=True),
    _column("bucket", sa.SmallInteger, primary_key=True),
    _column("n", sa.Integer),
)

drift = sa.Table(
    "drift",
    metadata,
    _column("sort", sa.String(16), primary_key=True),
    _column("family", sa.String(32), primary_key=True),
    _column("name", sa.String(200), primary_key=True),
    _column("first_seen_at", UtcDateTime),
    _column("last_seen_at", UtcDateTime),
    _column("count", sa.BigInteger, key="times"),
)
"""What the vendor said that nobody knew: a bounded number of rows, see ``drift/log``."""

audit = sa.Table(
    "audit",
    metadata,
    _column("id", sa.Uuid, primary_key=True),
    _column("at", UtcDateTime),
    _column("actor", sa.String(120)),
    _column("action", sa.String(64)),
    _column("target", sa.String(300)),
    _column("detail", Json),
    _optional("request_id", sa.String(100)),
)
"""What admins did. Triggers refuse to change or delete a row; a migration that copies the table must make them
anew."""
sa.Index(None, audit.c.action, audit.c.target, audit.c.id)
