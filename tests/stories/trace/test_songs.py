"""What the vendor calls back about songs: in any order, twice, contradicting, early."""

from tests.stories.trace.bodies import audio, body, chunk, link, sections, wav, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import Item, accepted


@chapter
async def test_songs_in_any_order(play: Chapter) -> None:
    await play.open()

    await play.part("As it should be, with a stream before the mp3")
    await play.submit("a", "song.generate", accepted("t2m_a"), told=True)
    await play.callback("song", body("song", chunk("t2m_a")), "a")
    await play.callback("song", body("song", audio("t2m_a", lyrics_sections_status="waiting")), "a")
    await play.callback("song", body("song", wav("t2m_a", lyrics_sections_status="running")), "a")
    await play.callback("song", body("song", sections("t2m_a", status="succeeded")), "a")
    await play.callback("song", body("song", sections("t2m_a", status="succeeded")), "a", note="(again)")
    await play.callback("song", body("song", chunk("t2m_a")), "a", note="(long after)")

    await play.part("The wav first and final, the lyrics between, the mp3 last")
    await play.submit("b", "song.generate", accepted("t2m_b"), told=True, reference="order-17", metadata={"shelf": 3})
    await play.callback("song", body("song", wav("t2m_b", status="succeeded")), "b")
    await play.callback("song", body("song", sections("t2m_b")), "b")
    await play.callback("song", body("song", audio("t2m_b")), "b")
    await play.callback("song", body("song", wav("t2m_b", status="succeeded")), "b", note="(again)")

    await play.part("Contradicting: back, empty, other titles, another signature")
    await play.submit("c", "song.generate", accepted("t2m_c"), told=True)
    await play.callback("song", body("song", audio("t2m_c")), "c")
    await play.callback("song", body("song", {"item_id": "t2m_c", "status": "waiting", "title": "Old"}), "c")
    blank: Item = {"title": "", "audio_url": None, "lyrics_sections": [], "duration": None, "style": ""}
    await play.callback("song", body("song", {"item_id": "t2m_c", "status": "running"} | blank), "c")
    await play.callback("song", body("song", audio("t2m_c", audio_url=link("t2m_c", "mp3") + "2")), "c")
    await play.callback("song", body("song", whole("t2m_c", title="New", lyrics="la\nla")), "c")
    await play.callback("song", body("song", {"item_id": "t2m_c", "status": "failed", "err_msg": "no"}), "c")
    await play.callback("song", body("song", whole("t2m_c", audio_url=link("t2m_c", "mp3") + "3")), "c")

    await play.part("Failed, and not")
    await play.submit("d", "song.generate", accepted("t2m_d"), told=True)
    await play.callback("song", body("song", audio("t2m_d")), "d")
    await play.callback("song", body("song", {"item_id": "t2m_d", "status": "failed", "err_msg": "broken"}), "d")
    await play.callback(
        "song",
        body("song", whole("t2m_d", status="part_failed", audio_hi_status="sub_failed", audio_hi_url=None)),
        "d",
    )
    await play.submit("e", "song.generate", accepted("t2m_e"), told=True)
    await play.callback("song", body("song", {"item_id": "t2m_e", "status": "failed", "error": "too odd"}), "e")
    await play.callback("song", body("song", whole("t2m_e")), "e", note="(after all)")


@chapter
async def test_songs_of_several_items(play: Chapter) -> None:
    await play.open()

    await play.part("Two that the answer names, in one callback and apart")
    await play.submit("a", "song.generate", accepted("t2m_1", "t2m_2"), told=True)
    await play.callback("song", body("song", audio("t2m_1"), chunk("t2m_2")), "a")
    await play.callback("song", body("song", audio("t2m_2"), whole("t2m_1")), "a")
    await play.callback("song", body("song", {"item_id": "t2m_2", "status": "failed"}), "a")

    await play.part("More than the answer named")
    await play.submit("b", "song.generate", accepted("t2m_3"), told=True)
    await play.callback("song", body("song", whole("t2m_3")), "b")
    await play.callback("song", body("song", audio("t2m_4")), "b")
    await play.callback("song", body("song", whole("t2m_4"), whole("t2m_3")), "b")

    await play.part("The same item twice in a body, and one that is none")
    await play.submit("c", "song.generate", accepted("t2m_5"), told=True)
    await play.callback("song", body("song", whole("t2m_5"), chunk("t2m_5"), {"status": "running"}, {}), "c")

    await play.part("Before the answer, and finished before it")
    await play.submit("d", told=True)
    await play.callback("song", body("song", chunk("t2m_6")), "d")
    await play.callback("song", body("song", whole("t2m_6")), "d")
    await play.answer("d", accepted("t2m_6", "t2m_7"))
    await play.callback("song", body("song", {"item_id": "t2m_7", "status": "failed"}), "d")
