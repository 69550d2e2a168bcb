"""A gateway is killed in the middle of its work, and another one on the same database carries on."""

from tests.stories.trace.bodies import audio, body, chunk, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import accepted, http


@chapter
async def test_takeover(play: Chapter) -> None:
    await play.open(item_unknown_grace_s=300)

    await play.part("Killed while it submits: nobody sends again; a callback confirms one, the other is given up")
    await play.submit("a", told=True)
    await play.submit("b", told=True)
    await play.crash()
    await play.takeover()
    await play.wait(36)
    await play.callback("song", body("song", audio("t2m_a")), "a")
    await play.wait(20)

    await play.part("Killed while it asks: the other one asks again when the lease has ended")
    await play.submit("c", "song.generate", accepted("t2m_c"), told=True)
    await play.asked(None)
    await play.works("song", whole("t2m_c"), chunk("t2m_a"))
    await play.wait(23)
    await play.crash()
    await play.takeover()
    await play.wait(32)

    await play.part("Killed with a task in the queue and a notification that was not taken")
    await play.post("/v1/submissions/hold", {}, by="admin")
    await play.submit("d", "song.generate", accepted("t2m_d"), told=True)
    await play.told(http(500))
    await play.submit("e", "lyrics.generate", by="radio", told=True)
    await play.post("/v1/tasks/{e}/cancel", by="radio")
    await play.crash()
    await play.takeover()
    await play.post("/v1/submissions/release", by="admin")
    await play.wait(5)
    await play.callback("song", body("song", whole("t2m_a"), whole("t2m_d")), "a")
    await play.callback("song", body("song", whole("t2m_d")), "d")


@chapter
async def test_thaw(play: Chapter) -> None:
    await play.open(item_unknown_grace_s=300)

    await play.part("Frozen with an answer that it could not store: the lease lapses, the other takes it for unknown")
    await play.submit("a", told=True)
    await play.submit("b", told=True)
    frozen = play.process
    await play.crash()
    await play.answer("a", accepted("t2m_a"))
    await play.takeover()
    await play.wait(36)
    await play.callback("song", body("song", whole("t2m_b")), "b")
    await play.wait(40, "and the other one is given up")

    await play.part("It thaws: what it knows is applied, and nothing is sent twice")
    await play.thaw(frozen)
    await play.callback("song", body("song", whole("t2m_a")), "a")
    await play.wait(5)
