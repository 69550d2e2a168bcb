"""Callbacks that are not what they should be: their bodies, their tokens, their items."""

from tests.stories.trace.bodies import audio, body, chunk, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import accepted


@chapter
async def test_strangers(play: Chapter) -> None:
    await play.open(callback_max_bytes=20_000)
    await play.submit("a", "song.generate", accepted("t2m_a"), told=True)
    await play.submit("b", "song.generate", accepted("t2m_b"), by="radio", told=True)

    await play.part("Bodies")
    for raw in (b"", b"{", b"[]", b"null", b'{"songs":{}}', b'{"songs":"x"}', b"\xff\xfe", b'{"other":[]}'):
        await play.callback("song", raw, "a")
    await play.callback("song", b"{", "a", note="(again)")
    await play.callback("song", body("song"), "a")
    await play.callback("song", body("song", {"status": "succeeded"}, {"item_id": ""}, {"item_id": "x" * 201}), "a")
    await play.callback("song", b'{"songs":[{"item_id":"t2m_a","status":"running","x":"\\ud800","y":1e400}]}', "a")
    await play.callback("song", body("song", whole("t2m_a", prompt="x" * 20_000)), "a")

    await play.part("Tokens")
    await play.callback("song", body("song", whole("t2m_a")), "a", url=lambda url: url[:-2] + "xx", note="(forged)")
    await play.callback("song", body("song", whole("t2m_a")), "a", url=lambda url: url[:-1], note="(cut short)")
    await play.callback(
        "song",
        body("song", whole("t2m_a")),
        "a",
        url=lambda url: url.replace("/song/", "/stems/"),
        note="(another family)",
    )
    await play.callback("song", body("song", whole("t2m_a")), "a", url=lambda url: url + "/x", note="(and more)")
    await play.callback("song", body("song", whole("t2m_a")), "a", url=lambda _: "/callbacks/song/", note="(none)")

    await play.part("Items of another task: alone, beside its own, beside a new one")
    await play.callback("song", body("song", whole("t2m_b")), "a")
    await play.callback("song", body("song", whole("t2m_b"), audio("t2m_a")), "a")
    await play.callback("song", body("song", chunk("t2m_b"), chunk("t2m_new")), "a")
    await play.callback("song", body("song", audio("t2m_b")), "b")

    await play.part("Nobody's: an unbound token, which names an item of a task, and one that is new")
    await play.callback("song", body("song", whole("t2m_b")), None)
    await play.callback("song", body("song", chunk("t2m_x"), whole("t2m_y")), None)
    await play.callback("song", body("song", audio("t2m_x")), None)
    await play.callback("lyrics", body("lyrics", {"item_id": "t2m_x", "status": "succeeded", "lyric": "la"}), None)
    await play.get("/v1/items/t2m_x", by="admin")
    await play.get("/v1/items/t2m_x")
    await play.get("/v1/tasks?client=external", by="admin")

    await play.part("A bound token takes over what an unbound one had named, an answer what a bound one had")
    await play.submit("c", told=True)
    await play.callback("song", body("song", chunk("t2m_y"), chunk("t2m_z")), "c")
    await play.submit("d", "song.generate", accepted("t2m_z", "t2m_x"), by="radio", told=True)
    await play.callback("song", body("song", whole("t2m_z")), "c")
    await play.answer("c", accepted("t2m_y", "t2m_x"))
    await play.callback("song", body("song", whole("t2m_x"), whole("t2m_z")), "d")

    await play.part("A stored callback is replayed: one that was malformed, a stranger's, one that was applied")
    for name in ("callback-1", "callback-12", "callback-16", "callback-20"):
        await play.post("/v1/callbacks/{" + name + "}/replay", by="admin")
    await play.post("/v1/callbacks/{callback-1}/replay", by="studio")
    await play.get("/v1/callbacks/{callback-2}", by="admin")
