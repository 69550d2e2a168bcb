"""An index of the queued tasks that wait for a kind and model to be offered again.

Revision: 0010, after 0009
"""

from app.database.index_builds import create_index, drop_index

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_tasks_parked_as_submit_attempts_id",
        "tasks",
        ["parked_as", "submit_attempts", "id"],
        where="parked_as IS NOT NULL AND dispatch_due_at IS NOT NULL",
    )


def downgrade() -> None:
    drop_index("ix_tasks_parked_as_submit_attempts_id", "tasks")
