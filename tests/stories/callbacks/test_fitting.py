"""Whatever comes under a leaked token: a task's document and a page of tasks have a bound."""

import json
from uuid import UUID

from app.documents.document import MOST_TASK_BYTES
from app.rules.transition import MOST_ITEMS
from app.tempolor.kinds import SONG
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.song_callbacks import worst_item


async def test_a_task_of_many_large_items_stays_within_its_bound(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    large = {name: value for name, value in worst_item(SONG, letter="港").items() if name != "lyrics_sections"}
    for start in range(0, 28, 4):
        body = {"songs": [{"item_id": f"t2m_{n}", "status": "running", **large} for n in range(start, start + 4)]}
        answer = await gateway.call_back("song", json.dumps(body, ensure_ascii=False).encode(), UUID(task["id"]))
        assert answer.is_success
    # Each of them has some 200 KB.
    others = [{"item_id": f"t2m_{n}", "status": "running"} for n in range(28, MOST_ITEMS)]
    assert (await gateway.call_back("song", {"songs": others}, UUID(task["id"]))).is_success
    beyond = {"songs": [{"item_id": "t2m_more", "status": "running"}, {"item_id": "t2m_0", "title": "known"}]}
    assert (await gateway.call_back("song", beyond, UUID(task["id"]))).text == "success"
    answer = await gateway.api.get(f"/v1/tasks/{task['id']}")
    found = answer.json()
    assert len(answer.content) <= MOST_TASK_BYTES
    assert len(found["items"]) == MOST_ITEMS
    assert (found["items"][0]["title"], found["items"][1]["title"]) == ("known", large["title"])
    assert found["warnings"] == ["values_left_out", "items_left_out"]
    assert (await gateway.api.get("/v1/items/t2m_more")).status_code == 404
    more = [(await gateway.submit())["id"] for _ in range(3)]
    page = (await gateway.api.get("/v1/tasks?limit=4")).json()
    assert [one["id"] for one in page["data"]] == [*more[::-1], task["id"]]
    assert page["next_cursor"] is None


async def test_bodies_of_new_fields_without_end_leave_a_small_task(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    for n in range(40):
        body = {"songs": [{"item_id": "t2m_1", f"news_{n}": f"{n}" * 100_000, f"small_{n}": "s" * 4000}]}
        assert (await gateway.call_back("song", body, UUID(task["id"]))).text == "success"
    answer = await gateway.api.get(f"/v1/tasks/{task['id']}")
    assert len(answer.content) < 200_000
    assert answer.json()["warnings"] == ["values_left_out"]
    rows = await db.rows("SELECT value FROM item_values")
    assert sum(len(str(row["value"])) for row in rows) < 200_000
