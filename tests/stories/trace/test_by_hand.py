"""What clients and people do to tasks: cancel, retry, refresh, adopt, hold, read, submit twice."""

from typing import Any

from tests.stories.trace.bodies import audio, body, chunk, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import accepted, refused


@chapter
async def test_by_hand(play: Chapter) -> None:
    await play.open(submit_max_in_flight=2, submit_timeout_s=30)

    await play.part("What waits is canceled; what is sent is not; what was canceled may turn up all the same")
    await play.submit("a", told=True)
    await play.submit("b", "song.generate", accepted("t2m_b"))
    await play.submit("c", "song.generate", accepted("t2m_c"), told=True)
    await play.post("/v1/tasks/{c}/cancel")
    await play.post("/v1/tasks/{c}/cancel")
    await play.post("/v1/tasks/{a}/cancel")
    await play.post("/v1/tasks/{a}/cancel", by="radio")
    await play.post("/v1/tasks/{a}/cancel", by="nobody")
    await play.answer("a", refused(400003))
    await play.post("/v1/tasks/{a}/retry", name="a+")
    await play.post("/v1/tasks/{b}/retry")
    await play.callback("song", body("song", whole("t2m_a")), "a", note="(of what was refused)")
    await play.answer("a+", accepted("t2m_a2"))
    await play.callback("song", body("song", whole("t2m_a2")), "a+")

    await play.part("Submissions are held: a callback proves a queued one; it is not sent any more")
    await play.post("/v1/submissions/hold", {"reason": "stocktaking"}, by="admin")
    await play.submit("d", "song.generate", refused(400001), accepted("t2m_d"), told=True)
    await play.post("/v1/submissions/release", by="admin")
    await play.post("/v1/submissions/hold", {}, by="admin")
    await play.callback("song", body("song", chunk("t2m_d")), "d")
    await play.post("/v1/submissions/release", by="admin")
    await play.callback("song", body("song", {"item_id": "t2m_d", "status": "failed", "err_msg": "no"}), "d")

    await play.part("The same again, by key; several at once")
    key: dict[str, Any] = {"idempotency_key": "k-1", "reference": "order-17"}
    await play.submit("e", "lyrics.generate", accepted("ly_e"), **key)
    await play.submit("e", "lyrics.generate", **key)
    await play.submit("e", "lyrics.generate", idempotency_key="k-1", reference="order-18")
    await play.submit("f", "song.generate", params={"prompt": ""})
    lyrics = {"kind": "lyrics.generate", "params": {"prompt": "rain", "name": "g"}}
    await play.post("/v1/tasks/batch", {"tasks": [lyrics, {"kind": "lyrics.generate", "params": {}}]})
    await play.post("/v1/tasks/batch", {"tasks": [lyrics]})
    await play.get("/v1/tasks?reference=order-17")
    await play.get("/v1/tasks?status=failed&limit=1")

    await play.part("Adopted: an item that is new, one that only a callback named, one of another's")
    await play.callback("song", body("song", audio("t2m_x")), None)
    await play.works("song", whole("t2m_x"), whole("t2m_y"))
    await play.post(
        "/v1/tasks/adopt", {"family": "song", "item_ids": ["t2m_x", "t2m_y"], "client": "radio"}, by="admin"
    )
    await play.wait(10)
    await play.post(
        "/v1/tasks/adopt", {"family": "song", "item_ids": ["t2m_y", "t2m_b"], "client": "radio"}, by="admin"
    )
    await play.post("/v1/tasks/adopt", {"family": "song", "item_ids": ["t2m_z"]})
    await play.get("/v1/tasks?client=radio", by="admin")
    await play.post("/v1/tasks/{task-1}/retry", by="radio")
    await play.submit("h", "song.generate", accepted("t2m_y"), told=True)
    await play.post("/v1/tasks/{b}/refresh")
