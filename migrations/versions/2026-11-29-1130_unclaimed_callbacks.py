"""An index of the callbacks that became no task's, by which they are counted.

Revision: 0008, after 0007
"""

from app.database.index_builds import create_index, drop_index

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_callbacks_family_id",
        "callbacks",
        ["family", "id"],
        where="task_id IS NULL AND disposition IN ('malformed', 'orphan', 'poisoned')",
    )


def downgrade() -> None:
    drop_index("ix_callbacks_family_id", "callbacks")
