"""Wrong keys and wrong tokens of one address have one count; right ones have none."""

from uuid import UUID

from app.web.wrong_key_limit import MOST_FAILURES, WINDOW_S
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.song_callbacks import assert_problem, song


async def test_keys_and_tokens_share_one_count_and_right_ones_have_none(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    before = await db.everything()
    wrong = {"Authorization": "Bearer nobody-has-this-key"}
    for _ in range(MOST_FAILURES // 2):
        assert (await gateway.api.get("/v1/tasks", headers=wrong)).status_code == 401
        assert (await gateway.api.post("/callbacks/song/wrong", json=song())).status_code == 403
    for answer in (
        await gateway.api.get("/v1/tasks", headers=wrong),
        await gateway.api.get("/v1/tasks", headers={"Authorization": ""}),
        await gateway.api.get("/v1/stream", headers=wrong),
        await gateway.api.post("/callbacks/song/wrong", json=song()),
    ):
        assert_problem(answer, 429, "too_many_failures")
        assert 1 <= int(answer.headers["retry-after"]) <= WINDOW_S
    assert await db.everything() == before
    for _ in range(20):
        assert (await gateway.api.get(f"/v1/tasks/{task['id']}")).status_code == 200
        assert (await gateway.call_back("song", song(), UUID(task["id"]))).status_code == 200
