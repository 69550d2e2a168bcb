"""Items and callbacks as the vendor would send them."""

from typing import Any, Final

from tests.stories.trace.vendor import KEYS, Item

SECTIONS: Final = [{"start": 0.5, "end": 2.5, "text": "la"}]


def link(item_id: str, kind: str) -> str:
    """The URL of a file."""
    return f"https://cdn.example/{item_id}.{kind}?auth_key=1"


def body(family: str, *items: Item) -> dict[str, Any]:
    """A callback."""
    return {KEYS[family]: list(items)}


def chunk(item_id: str, **more: Any) -> Item:
    """Something to listen to, for ten minutes."""
    return {
        "item_id": item_id,
        "status": "running",
        "event": "audio_chunk",
        "streamAudioUrl": link(item_id, "m3u8"),
    } | more


def audio(item_id: str, **more: Any) -> Item:
    """The mp3 is there."""
    item: Item = {
        "item_id": item_id,
        "status": "main_succeeded",
        "event": "audio_complete",
        "audio_hi_status": "running",
    }
    item |= {"title": f"Harbour {item_id}", "duration": 187, "audio_url": link(item_id, "mp3"), "audio_hi_url": None}
    return item | more


def wav(item_id: str, **more: Any) -> Item:
    """The wav is there; of the mp3 it says nothing."""
    item = {"item_id": item_id, "status": "main_succeeded", "event": "wav_complete", "audio_hi_status": "sub_succeeded"}
    return item | {"audio_hi_url": link(item_id, "wav")} | more


def sections(item_id: str, **more: Any) -> Item:
    """The aligned lyrics are there."""
    item = {"item_id": item_id, "status": "main_succeeded", "event": "lrcsections_complete"}
    return item | {"lyrics_sections_status": "sub_succeeded", "lyrics_sections": SECTIONS} | more


def whole(item_id: str, **more: Any) -> Item:
    """A song as it is in the end."""
    item = audio(item_id) | wav(item_id) | sections(item_id) | {"status": "succeeded"}
    return {key: value for key, value in item.items() if key != "event"} | more
