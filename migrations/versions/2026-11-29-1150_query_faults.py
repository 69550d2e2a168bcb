"""What was wrong with the latest answers to questions about an item.

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # A schema change that cannot have its lock soon must not queue everybody else up behind it.
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("items", sa.Column("query_fault", sa.String(length=40), nullable=True))
    # Whoever runs the release before does not write it.
    op.add_column("items", sa.Column("query_faults", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("items", "query_faults")
    op.drop_column("items", "query_fault")
