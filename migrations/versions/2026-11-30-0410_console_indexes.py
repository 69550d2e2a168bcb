"""Indexes of what the console looks for and is rare: dead notifications, callbacks that were not applied, queries.

Revision: 0016, after 0015
"""

from app.database.index_builds import create_index, drop_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_notifications_dead_id", "notifications", ("id",), "status = 'dead'"),
    ("ix_notifications_dead_client_name_id", "notifications", ("client_name", "id"), "status = 'dead'"),
    ("ix_callbacks_unapplied_disposition_id", "callbacks", ("disposition", "id"), "disposition <> 'applied'"),
    ("ix_timeline_asked_at", "timeline", ("at",), "type IN ('query', 'query_failed')"),
)


def upgrade() -> None:
    for name, table, columns, where in INDEXES:
        create_index(name, table, columns, where)


def downgrade() -> None:
    for name, table, _, _ in reversed(INDEXES):
        drop_index(name, table)
