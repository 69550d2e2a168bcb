"""The database itself keeps the audit as it was written, by triggers of its own."""

import pytest

from tests.support.direct_sql import Direct
from tests.support.gateway import Running

STATEMENTS = {
    "sqlite": (
        "UPDATE audit SET actor = 'somebody else'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT id, at, 'x', action, target, detail, request_id FROM audit",
    ),
    "postgresql": ("UPDATE audit SET actor = 'somebody else'", "DELETE FROM audit", "TRUNCATE audit"),
}


async def test_the_database_refuses_to_change_or_take_away_a_row(gateway: Running, db: Direct) -> None:
    await gateway.api.post("/v1/clients", json={"name": "studio"})
    before = await db.rows("SELECT * FROM audit")
    for statement in STATEMENTS["sqlite" if db.is_sqlite else "postgresql"]:
        with pytest.raises(Exception, match="append-only"):
            await db.execute(statement)
        assert await db.rows("SELECT * FROM audit") == before != [], statement
