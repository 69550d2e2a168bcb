"""What is stored of items, read and damaged behind the gateway's back."""

import json
from typing import Any

from tests.api.direct import Direct


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


async def states(db: Direct) -> dict[str, dict[str, Any]]:
    """Each item's state, without the times of its values: a query that confirms one moves its time, and leaves no
    other trace."""
    found = {}
    for row in await db.rows("SELECT item_id, status, state FROM items"):
        state = _decoded(row["state"])
        for part in ("values", "large"):
            state[part] = {name: held[1] for name, held in state[part].items()}
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
