"""A second API key of a client while the first is being replaced, and when each was used last.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = (
    ("key_used_at", sa.DateTime(timezone=True)),
    ("previous_key_digest", sa.LargeBinary(length=32)),
    ("previous_key_until", sa.DateTime(timezone=True)),
    ("previous_key_used_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # A schema change that cannot have its lock soon must not queue everybody else up behind it.
        op.execute("SET LOCAL lock_timeout = '5s'")
    with op.batch_alter_table("clients", schema=None) as batch_op:
        for name, kind in COLUMNS:
            batch_op.add_column(sa.Column(name, kind, nullable=True))
        batch_op.create_index(batch_op.f("ix_clients_previous_key_digest"), ["previous_key_digest"], unique=True)


def downgrade() -> None:
    with op.batch_alter_table("clients", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_clients_previous_key_digest"))
        for name, _ in reversed(COLUMNS):
            batch_op.drop_column(name)
