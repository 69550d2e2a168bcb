"""The schema of the plain way: what a team would map for the same story, one class for each table."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Time = sa.DateTime(timezone=True)
Json = sa.JSON(none_as_null=True)


class Base(DeclarativeBase):
    """The mapped classes."""

    type_annotation_map = {datetime: Time, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012 - SQLAlchemy's way


class Task(Base):
    """A submission, and where it stands."""

    __tablename__ = "tasks"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(64))
    family: Mapped[str] = mapped_column(sa.String(32))
    client_name: Mapped[str] = mapped_column(sa.String(100))
    reference: Mapped[str | None] = mapped_column(sa.String(255))
    webhook_url: Mapped[str | None]
    params: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(sa.String(16))
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    playable_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    timeline_seq: Mapped[int]
    __table_args__ = (
        sa.Index("ix_tasks_client_id", "client_name", "id"),
        sa.Index("ix_tasks_status_id", "status", "id"),
        sa.Index("ix_tasks_reference_id", "reference", "id"),
    )


class Item(Base):
    """One song of a task."""

    __tablename__ = "items"
    family: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    item_id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tasks.id"), index=True)
    position: Mapped[int]
    status: Mapped[str] = mapped_column(sa.String(16))
    audio_hi_status: Mapped[str] = mapped_column(sa.String(16))
    lyrics_sections_status: Mapped[str] = mapped_column(sa.String(16))
    title: Mapped[str | None]
    style: Mapped[str | None]
    model: Mapped[str | None]
    prompt: Mapped[str | None]
    duration_s: Mapped[int | None]
    lyrics: Mapped[str | None]
    lyrics_sections: Mapped[list[Any] | None]
    stream_url: Mapped[str | None]
    stream_seen_at: Mapped[datetime | None]
    audio_url: Mapped[str | None]
    audio_seen_at: Mapped[datetime | None]
    audio_hi_url: Mapped[str | None]
    audio_hi_seen_at: Mapped[datetime | None]
    vendor: Mapped[dict[str, Any]]
    last_callback_at: Mapped[datetime | None]
    query_due_at: Mapped[datetime | None]
    __table_args__ = (
        sa.Index(
            "ix_items_query_due_at",
            "query_due_at",
            postgresql_where=sa.text("query_due_at IS NOT NULL"),
            sqlite_where=sa.text("query_due_at IS NOT NULL"),
        ),
    )


class Callback(Base):
    """The inbound log: one row for each distinct body of a task, with a count."""

    __tablename__ = "callbacks"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    task_id: Mapped[UUID | None] = mapped_column(index=True)
    family: Mapped[str] = mapped_column(sa.String(32))
    body: Mapped[bytes]
    address: Mapped[str | None] = mapped_column(sa.String(64))
    received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    times: Mapped[int]


class Timeline(Base):
    """What happened to a task."""

    __tablename__ = "timeline"
    task_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tasks.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    type: Mapped[str] = mapped_column(sa.String(32))
    version: Mapped[int]
    detail: Mapped[dict[str, Any]]


class Outbox(Base):
    """Notifications to be sent to clients."""

    __tablename__ = "outbox"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tasks.id"), index=True)
    type: Mapped[str] = mapped_column(sa.String(32))
    body: Mapped[dict[str, Any]]
    due_at: Mapped[datetime] = mapped_column(index=True)


def aware(at: datetime) -> datetime:
    """SQLite gives times back without their offset."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)
