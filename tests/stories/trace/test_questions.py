"""The vendor is asked: what it answers, and what passes with time."""

from tests.stories.trace.bodies import audio, body, chunk, wav, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import CUT, accepted, http, plain, refused, shows


@chapter
async def test_questions(play: Chapter) -> None:
    await play.open()

    await play.part("All callbacks lost: a question finds the whole song")
    await play.submit("a", "song.generate", accepted("t2m_a"), told=True)
    await play.works("song", whole("t2m_a"))
    await play.wait(23)

    await play.part("A question finds more each time; a callback puts it off")
    await play.submit("b", "song.generate", accepted("t2m_b"), told=True)
    await play.works("song", chunk("t2m_b"))
    await play.wait(23)
    await play.works("song", audio("t2m_b"))
    await play.wait(11)
    await play.callback("song", body("song", wav("t2m_b")), "b")
    await play.wait(12)
    await play.works("song", whole("t2m_b", status="part_failed", lyrics_sections_status="sub_failed"))
    await play.wait(12)

    await play.part("A final song of which the mp3 is missing: asked three times, then it stays as it is")
    await play.submit("c", "song.generate", accepted("t2m_c"), told=True)
    await play.callback(
        "song", body("song", wav("t2m_c", status="succeeded", lyrics_sections_status="sub_failed")), "c"
    )
    await play.works("song", wav("t2m_c", status="succeeded"))
    await play.wait(60)
    await play.callback("song", body("song", audio("t2m_c")), "c")

    await play.part("Answers of no use: an error, a broken connection, no JSON, too fast")
    await play.submit("d", "instrumental.generate", accepted("in_d"), told=True)
    await play.asked(refused(400001), CUT, plain(b"<html>"), http(429, Retry_After="15"), shows("song", whole("in_d")))
    await play.works("instrumental", audio("in_d", status="succeeded", audio_hi_status="sub_failed"))
    await play.wait(100)


@chapter
async def test_questions_about_what_nobody_knows(play: Chapter) -> None:
    await play.open()

    await play.part("One unknown id spoils the call; it is found by halves, and given up")
    play.vendor.refuses_unknown = True
    await play.submit("a", "song.generate", accepted("t2m_a1", "t2m_a2", "t2m_a3"), told=True)
    await play.works("song", chunk("t2m_a1"), whole("t2m_a3"))
    await play.wait(23)
    await play.wait(32)
    await play.works("song", whole("t2m_a1"))
    await play.wait(18)

    await play.part("Only missing from the answer; known again at last")
    play.vendor.refuses_unknown = False
    await play.submit("b", "song.generate", accepted("t2m_b"), told=True)
    await play.wait(55)
    await play.callback("song", body("song", audio("t2m_b")), "b")

    await play.part("A refresh asks now; of what has ended it asks nothing")
    await play.works("song", audio("t2m_b", title="Refreshed"))
    await play.post("/v1/tasks/{b}/refresh")
    await play.post("/v1/tasks/{a}/refresh")
    await play.post("/v1/tasks/{b}/refresh", by="radio")


@chapter
async def test_expiry(play: Chapter) -> None:
    await play.open(task_deadline_s=50)

    await play.part("The deadline passes: one last question, then it is expired; a late callback still settles it")
    await play.submit("a", "song.generate", accepted("t2m_a"), told=True)
    await play.works("song", chunk("t2m_a"))
    await play.callback("song", body("song", audio("t2m_a")), "a")
    await play.wait(42)
    await play.wait(8)
    await play.callback("song", body("song", wav("t2m_a")), "a")
    await play.callback("song", body("song", whole("t2m_a")), "a")

    await play.part("The vendor cannot be asked: it waits, and then expires all the same")
    await play.submit("b", "lyrics.generate", accepted("ly_b"), told=True)
    await play.asked(*[http(503)] * 30)
    await play.wait(58)
    await play.wait(58)
    await play.post("/v1/tasks/{b}/retry", name="b+")
    await play.callback("lyrics", body("lyrics", {"item_id": "ly_b", "status": "failed", "err_msg": "late"}), "b")
    await play.answer("b+", accepted("ly_b2"))
