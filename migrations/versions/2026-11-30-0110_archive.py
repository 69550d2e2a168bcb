"""Copies of result files: what an item has of them, the queue of those to be made, and the files that are kept.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # A schema change that cannot have its lock soon must not queue everybody else up behind it.
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("items", sa.Column("copies", sa.JSON(), nullable=True))
    op.create_table(
        "copy_jobs",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_copy_jobs_task_id_tasks"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("family", "item_id", "name", name=op.f("pk_copy_jobs")),
    )
    op.create_index(op.f("ix_copy_jobs_ends_at_due_at"), "copy_jobs", ["ends_at", "due_at"])
    op.create_index(op.f("ix_copy_jobs_task_id"), "copy_jobs", ["task_id"])
    op.create_table(
        "files",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("family", sa.String(length=32), nullable=True),
        sa.Column("item_id", sa.String(length=200), nullable=True),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("client_name", sa.String(length=100), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("doomed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_files")),
    )
    op.create_index(op.f("ix_files_family_item_id"), "files", ["family", "item_id"])
    op.create_index(op.f("ix_files_kept_at"), "files", ["kept_at"])
    doomed = sa.text("doomed_at IS NOT NULL")
    op.create_index(op.f("ix_files_doomed_at"), "files", ["doomed_at"], sqlite_where=doomed, postgresql_where=doomed)
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_name", sa.String(length=100), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_created_at"), "uploads", ["created_at"])
    op.create_table(
        "upload_uses",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_upload_uses_task_id_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "task_id", name=op.f("pk_upload_uses")),
    )
    op.create_index(op.f("ix_upload_uses_task_id"), "upload_uses", ["task_id"])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("upload_uses", "uploads", "files", "copy_jobs"):
        op.drop_table(table)
    op.drop_column("items", "copies")
