"""The indexes for turns between clients and for streams by time, built while callbacks are written.

Revision: 0003, after 0002
"""

from app.database.index_builds import create_index, drop_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_tasks_client_name_dispatch_due_at_id",
        "tasks",
        ["client_name", "dispatch_due_at", "id"],
        where="dispatch_due_at IS NOT NULL",
    )
    create_index("ix_timeline_at", "timeline", ["at"])


def downgrade() -> None:
    drop_index("ix_timeline_at", "timeline")
    drop_index("ix_tasks_client_name_dispatch_due_at_id", "tasks")
