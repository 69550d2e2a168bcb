"""Every kind and family, extensions too, in every spelling that was seen."""

from tests.stories.trace.bodies import SECTIONS, audio, body, chunk, link, wav, whole
from tests.stories.trace.chapter import Chapter, chapter
from tests.stories.trace.vendor import accepted


@chapter
async def test_families(play: Chapter) -> None:
    await play.open()

    await play.part("Instrumentals")
    await play.submit("in", "instrumental.generate", accepted("123"), told=True)
    await play.callback("instrumental", body("instrumental", chunk("123")), "in")
    await play.callback("instrumental", body("instrumental", wav("123", status="succeeded", model="TemPolor i4")), "in")
    await play.callback("instrumental", body("instrumental", audio("123") | {"item_id": 123}), "in")
    await play.submit("in-x", "instrumental.extend", accepted("t2m_in"), told=True)
    seconds, milliseconds = 1747278096, 1747278158000
    times = {"created_at": seconds, "finished_at": milliseconds}
    found = audio("t2m_in", status="succeeded", audio_hi_status="sub_failed", **times)
    await play.callback("instrumental", body("instrumental", found), "in-x")

    await play.part("An extended song, and an instrumental song, in the envelope of a proxy")
    await play.submit("song-x", "song.extend", accepted("t2m_x"), told=True)
    await play.callback("song", {"status": 200000, "data": body("song", whole("t2m_x"))}, "song-x")
    quiet = {"prompt": "house", "model": "tempolor-latest", "instrumental": True, "name": "song-i"}
    await play.submit("song-i", "song.generate", accepted("t2m_i"), told=True, params=quiet)
    found = audio("t2m_i", lyrics_sections_status="waiting") | wav("t2m_i", status="succeeded")
    await play.callback("song", body("song", found), "song-i")

    await play.part("Lyrics")
    await play.submit("ly", "lyrics.generate", accepted("ly_1"), told=True)
    await play.callback("lyrics", body("lyrics", {"item_id": "ly_1", "status": "running", "title": "Rain"}), "ly")
    await play.callback("lyrics", body("lyrics", {"item_id": "ly_1", "status": "succeeded", "lyric": "la\nla"}), "ly")
    await play.callback("lyrics", body("lyrics", {"item_id": "ly_1", "status": "failed"}), "ly")

    await play.part("Stems: one link, and a list of them")
    await play.submit("st", "stems.create", accepted("mss_7"), told=True)
    zipped = {"item_id": "mss_7", "status": "succeeded", "stems_url": link("mss_7", "zip")}
    await play.callback("stems", body("stems", zipped), "st")
    await play.callback("stems", body("stems", zipped), "st", note="(again)")
    await play.submit("st-l", "stems.create", accepted("mss_8"), told=True)
    several = {"item_id": "mss_8", "status": "succeeded", "stems_url": [link("a", "flac"), {"b": link("b", "flac")}]}
    await play.callback("stems", body("stems", several), "st-l")

    await play.part("MIDI, whose callback names the other family's list")
    await play.submit("mi", "midi.create", accepted("88"), told=True)
    midi = {"item_id": "88", "status": "succeeded", "midi_url": link("88", "mid"), "stems_url": link("88", "zip")}
    await play.callback("midi", body("stems", midi), "mi")
    await play.callback("midi", body("midi", midi), "mi")

    await play.part("The same id in two families is two items")
    await play.submit("st-2", "stems.create", accepted("88"), told=True)
    await play.callback("stems", body("stems", {"item_id": "88", "status": "failed", "err_msg": "no audio"}), "st-2")
    await play.get("/v1/items/88")

    await play.part("What nobody knows: events, statuses, sub-statuses, fields, types")
    await play.submit("odd", "song.generate", accepted("t2m_odd"), told=True)
    strange = {"item_id": "t2m_odd", "status": "abnormal", "event": "cover_complete", "audio_hi_status": "resting"}
    await play.callback("song", body("song", strange | {"cover_url": link("c", "png"), "bpm": 120}), "odd")
    wrong = {"title": 7, "duration": "long", "audio_url": 5, "lyrics_sections": "la", "style": ["a"], "event": 3}
    await play.callback("song", body("song", {"item_id": "t2m_odd", "status": ["x"]} | wrong), "odd")
    await play.callback("song", body("song", {"item_id": "t2m_odd", "audio_url": "ftp://x/y", "status": None}), "odd")
    texts = {
        "title": "a\x00b",
        "style": "\ud83d",
        "lyrics_sections": [{"start_ms": 500, "end_ms": 900, "text": "\n[x]"}],
    }
    await play.callback("song", body("song", whole("t2m_odd") | texts), "odd")
    await play.callback("song", body("song", whole("t2m_odd", lyrics_sections=SECTIONS * 2)), "odd")
    await play.get("/v1/drift", by="admin")
