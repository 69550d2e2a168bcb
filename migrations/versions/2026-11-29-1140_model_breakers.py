"""The circuit breakers of kinds and models, which of them a queued task waits for, and the model that was sent.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # A schema change that cannot have its lock soon must not queue everybody else up behind it.
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "model_breakers",
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("held_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "model", name=op.f("pk_model_breakers")),
    )
    op.add_column("tasks", sa.Column("submitted_model", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("parked_as", sa.String(length=265), nullable=True))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    # What waits for a model is due again, as the release before would have it.
    op.execute(
        "UPDATE tasks SET dispatch_due_at = coalesce(not_before_at, created_at)"
        " WHERE parked_as IS NOT NULL AND dispatch_due_at IS NOT NULL"
    )
    op.drop_column("tasks", "parked_as")
    op.drop_column("tasks", "submitted_model")
    op.drop_table("model_breakers")
