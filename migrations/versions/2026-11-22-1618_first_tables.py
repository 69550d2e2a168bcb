"""The first tables, and a row for each limit.

Revision: 0001, after none
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # A schema change that cannot have its lock soon must not queue everybody else up behind it.
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "callbacks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("disposition", sa.String(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callbacks")),
        sa.UniqueConstraint("digest", name=op.f("uq_callbacks_digest")),
    )
    with op.batch_alter_table("callbacks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_callbacks_task_id"), ["task_id"], unique=False)

    op.create_table(
        "clients",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("webhook_secret", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clients")),
        sa.UniqueConstraint("key_digest", name=op.f("uq_clients_key_digest")),
    )
    op.create_table(
        "delays",
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.SmallInteger(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "stage", "bucket", name=op.f("pk_delays")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("client_name", sa.String(length=100), nullable=False),
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("task_ids", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client_name", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_created_at"), ["created_at"], unique=False)

    op.create_table(
        "limits",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("not_before_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_limits")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("client_name", sa.String(length=100), nullable=False),
        sa.Column("reference", sa.String(length=255), nullable=True),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("retry_of", sa.Uuid(), nullable=True),
        sa.Column("sung", sa.Boolean(), nullable=False),
        sa.Column("submission", sa.String(length=16), nullable=False),
        sa.Column("submit_id", sa.Uuid(), nullable=True),
        sa.Column("submit_attempts", sa.Integer(), nullable=False),
        sa.Column("callback_key_id", sa.String(length=16), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unconfirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("playable_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dispatch_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timer_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slot_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timeline_seq", sa.Integer(), nullable=False),
        sa.Column("stored_bodies", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tasks_client_name_id"), ["client_name", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_tasks_dispatch_due_at_id"),
            ["dispatch_due_at", "id"],
            unique=False,
            sqlite_where=sa.text("dispatch_due_at IS NOT NULL"),
            postgresql_where=sa.text("dispatch_due_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_tasks_reference_id"), ["reference", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_tasks_slot_until"),
            ["slot_until"],
            unique=False,
            sqlite_where=sa.text("slot_until IS NOT NULL"),
            postgresql_where=sa.text("slot_until IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_tasks_status_id"), ["status", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_tasks_timer_due_at_id"),
            ["timer_due_at", "id"],
            unique=False,
            sqlite_where=sa.text("timer_due_at IS NOT NULL"),
            postgresql_where=sa.text("timer_due_at IS NOT NULL"),
        )

    op.create_table(
        "items",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=200), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("named_by", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("state", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("follow_ups", sa.Integer(), nullable=False),
        sa.Column("last_callback_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_query_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("query_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("query_leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("query_attempts", sa.Integer(), nullable=False),
        sa.Column("query_group", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_items_task_id_tasks"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("family", "item_id", name=op.f("pk_items")),
    )
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_items_family_query_group_query_due_at"),
            ["family", "query_group", "query_due_at"],
            unique=False,
            sqlite_where=sa.text("query_due_at IS NOT NULL"),
            postgresql_where=sa.text("query_due_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_items_item_id"), ["item_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_items_query_due_at"),
            ["query_due_at"],
            unique=False,
            sqlite_where=sa.text("query_due_at IS NOT NULL"),
            postgresql_where=sa.text("query_due_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_items_task_id"), ["task_id"], unique=False)

    op.create_table(
        "timeline",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_timeline_task_id_tasks"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "seq", name=op.f("pk_timeline")),
    )
    op.create_table(
        "item_values",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["family", "item_id"],
            ["items.family", "items.item_id"],
            name=op.f("fk_item_values_family_item_id_items"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("family", "item_id", "digest", name=op.f("pk_item_values")),
    )
    limits = sa.table("limits", sa.column("name", sa.String), sa.column("state", sa.JSON))
    op.bulk_insert(limits, [{"name": name, "state": {}} for name in ("query", "submit")])


def downgrade() -> None:
    op.drop_table("item_values")
    op.drop_table("timeline")
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_items_task_id"))
        batch_op.drop_index(
            batch_op.f("ix_items_query_due_at"),
            sqlite_where=sa.text("query_due_at IS NOT NULL"),
            postgresql_where=sa.text("query_due_at IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_items_item_id"))
        batch_op.drop_index(
            batch_op.f("ix_items_family_query_group_query_due_at"),
            sqlite_where=sa.text("query_due_at IS NOT NULL"),
            postgresql_where=sa.text("query_due_at IS NOT NULL"),
        )

    op.drop_table("items")
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.drop_index(
            batch_op.f("ix_tasks_timer_due_at_id"),
            sqlite_where=sa.text("timer_due_at IS NOT NULL"),
            postgresql_where=sa.text("timer_due_at IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_tasks_status_id"))
        batch_op.drop_index(
            batch_op.f("ix_tasks_slot_until"),
            sqlite_where=sa.text("slot_until IS NOT NULL"),
            postgresql_where=sa.text("slot_until IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_tasks_reference_id"))
        batch_op.drop_index(
            batch_op.f("ix_tasks_dispatch_due_at_id"),
            sqlite_where=sa.text("dispatch_due_at IS NOT NULL"),
            postgresql_where=sa.text("dispatch_due_at IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_tasks_client_name_id"))

    op.drop_table("tasks")
    op.drop_table("limits")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_keys_created_at"))

    op.drop_table("idempotency_keys")
    op.drop_table("delays")
    op.drop_table("clients")
    with op.batch_alter_table("callbacks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_callbacks_task_id"))

    op.drop_table("callbacks")
