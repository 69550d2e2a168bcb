"""A client is told: its receiver refuses, is slow to recover, has gone; somebody sends again."""

from tests.stories.trace.bodies import audio, body, wav, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import CUT, accepted, http


@chapter
async def test_notifications(play: Chapter) -> None:
    await play.open()

    await play.part("Refused, broken off, too many, then taken; meanwhile the song goes on")
    await play.told(http(500), CUT, http(429, Retry_After="20"), http(302, Location="http://127.0.0.1:1/"))
    await play.submit("a", "song.generate", accepted("t2m_a"), told=True)
    await play.wait(5)
    await play.callback("song", body("song", audio("t2m_a")), "a")
    await play.callback("song", body("song", wav("t2m_a", lyrics_sections_status="sub_failed")), "a")
    await play.wait(35)
    await play.callback("song", body("song", whole("t2m_a", status="part_failed")), "a")

    await play.part("Gone for good: it is dead at once; sent again by hand it is taken, under its old id and body")
    await play.told(http(410))
    await play.submit("b", "lyrics.generate", accepted("ly_b"), told=True)
    await play.callback("lyrics", body("lyrics", {"item_id": "ly_b", "status": "succeeded", "lyric": "la"}), "b")
    await play.redeliver("a", "task.running")
    await play.redeliver("b", "task.running")
    await play.redeliver("b", "task.running", by="radio")

    await play.part("A canceled task, and one of a client that goes")
    await play.post("/v1/submissions/hold", {}, by="admin")
    await play.submit("c", "song.generate", accepted("t2m_c"), told=True)
    await play.submit("d", "song.generate", accepted("t2m_d"), told=True, by="radio")
    await play.told(http(500))
    await play.post("/v1/tasks/{c}/cancel")
    await play.wait(7)
    await play.told(http(500))
    await play.post("/v1/submissions/release", by="admin")
    await play.delete("/v1/clients/radio")
    await play.callback("song", body("song", whole("t2m_d")), "d")
