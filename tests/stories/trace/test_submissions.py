"""What the vendor answers to submissions, and what becomes of their tasks."""

from tests.stories.trace.bodies import audio, body, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import CUT, accepted, envelope, http, plain, refused


@chapter
async def test_submissions_refused(play: Chapter) -> None:
    await play.open(query_first_after_s=1000)

    await play.part("For good: a parameter, content, a work that cannot be extended")
    await play.submit("a", "song.generate", refused(400003, "callback_url not blank"), told=True)
    await play.submit("b", "song.generate", refused(400004, "content"), told=True)
    await play.submit("c", "song.extend", refused(400011), told=True)
    await play.submit("d", "stems.create", refused(499999, "news"), told=True)

    await play.part("For a while: an error, busy, too fast, with and without a time")
    await play.submit("e", "song.generate", refused(400001), accepted("t2m_e"), told=True)
    await play.wait(3)
    await play.submit("f", "lyrics.generate", refused(400006), refused(400006), accepted("ly_f"))
    await play.wait(8)
    await play.submit("g", "midi.create", http(429, Retry_After="7"), accepted("88"))
    await play.wait(9)

    await play.part("No slot: all wait, one probes when a task has ended")
    await play.submit("h", "song.generate", refused(400007), accepted("t2m_h"))
    await play.submit("i", "song.generate", accepted("t2m_i"))
    await play.get("/v1/submissions", by="admin")
    await play.callback("song", body("song", whole("t2m_e")), "e")
    await play.wait(6)

    await play.part("No points, then a key that is rejected: all stand still, and go on by themselves")
    await play.submit("j", "song.generate", refused(400005, "points"), accepted("t2m_j"))
    await play.submit("k", "song.generate", accepted("t2m_k"))
    await play.wait(31)
    await play.submit("l", "song.generate", http(401), accepted("t2m_l"), told=True)
    await play.callback("song", body("song", audio("t2m_i")), "i")
    await play.wait(31)

    await play.part("A model that is gone: one, two, three, then its tasks stay; others go on")
    for name in ("m", "n", "o"):
        await play.submit(name, "instrumental.generate", refused(400003, "model not support"), told=True)
    await play.submit("p", "instrumental.generate", refused(400010), accepted("in_p"), told=True)
    await play.submit("q", "song.generate", accepted("t2m_q"))
    await play.wait(62)
    await play.post("/v1/submissions/release", by="admin")
    await play.wait(3)


@chapter
async def test_submissions_of_unknown_outcome(play: Chapter) -> None:
    await play.open(submit_max_in_flight=4)

    await play.part("No answer in time; a callback confirms it; the answer is too late")
    await play.submit("a", told=True)
    await play.wait(5)
    await play.callback("song", body("song", audio("t2m_a")), "a")
    await play.answer("a", accepted("t2m_a"))
    await play.callback("song", body("song", whole("t2m_a")), "a")

    await play.part("A connection that breaks; nobody confirms it; a callback comes after all")
    await play.submit("b", "song.generate", CUT, told=True)
    await play.wait(41)
    await play.callback("song", body("song", whole("t2m_b")), "b")

    await play.part("Answers that cannot be read")
    await play.submit("c", "lyrics.generate", http(500))
    await play.callback("lyrics", body("lyrics", {"item_id": "ly_c", "status": "succeeded", "lyric": "la"}), "c")
    await play.submit("d", "song.generate", plain(b"<html>"))
    await play.submit("e", "song.generate", plain(envelope(200000, {"item_ids": []})))
    await play.submit("f", "song.generate", accepted("t2m_f"), told=True)
    await play.get("/v1/submissions", by="admin")

    await play.part("A person says what became of them")
    await play.post("/v1/tasks/{d}/resolve", {"item_id": "t2m_d"}, by="admin")
    await play.post("/v1/tasks/{e}/resolve", {"not_sent": True}, by="admin")
    await play.post("/v1/tasks/{e}/resolve", {"item_id": "t2m_e"}, by="admin")
    await play.post("/v1/tasks/{d}/resolve", {"not_sent": True}, by="studio")
    await play.answer("e", accepted("t2m_e"))
    await play.wait(20)
    await play.get("/v1/submissions", by="admin")

    await play.part("Bare ids at the top level; some of them unusable")
    await play.submit("g", "song.generate", plain(b'{"item_ids":["t2m_g",7,"",null]}'), told=True)
