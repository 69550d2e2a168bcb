"""What is stored of items, read and damaged behind the gateway's back."""

import json
from typing import Any

from tests.support.direct_sql import Direct


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


async def states(db: Direct) -> dict[str, dict[str, Any]]:
    """Each item's state with what can be seen of it: of its URLs the latest, and no times of its values. A query that
    confirms a value moves its time, or tells of an older URL, and the record does not say so."""
    found = {}
    for row in await db.rows("SELECT item_id, status, state FROM items"):
        state = _decoded(row["state"])
        for part in ("values", "large"):
            state[part] = {name: held[1] for name, held in state[part].items()}
        state["urls"] = {name: max((at, url) for url, at in urls.items()) for name, urls in state["urls"].items()}
        found[row["item_id"]] = {"shown": row["status"], **state}
    return found


async def large_values(db: Direct) -> dict[tuple[str, str], Any]:
    """The values that are stored apart and that a state names."""
    rows = await db.rows("SELECT item_id, digest, value FROM item_values")
    named = {(item_id, digest) for item_id, state in (await states(db)).items() for digest in state["large"].values()}
    found = {(row["item_id"], row["digest"]): _decoded(row["value"]) for row in rows}
    return {key: found[key] for key in named & found.keys()}


async def change_state(db: Direct, item_id: str, change: Any) -> None:
    """Let ``change(state)`` damage the stored state of one item."""
    [row] = await db.rows(f"SELECT state FROM items WHERE item_id = '{item_id}'")
    state = _decoded(row["state"])
    change(state)
    text = json.dumps(state).replace("'", "''")
    await db.execute(f"UPDATE items SET state = '{text}' WHERE item_id = '{item_id}'")
