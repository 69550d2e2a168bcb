"""Finished songs as a busy service has them: long titles, lyrics of its own, two items with four files each. No text or
key stands in two of them, so that they compress as real ones do."""

import random
from collections.abc import Iterator
from typing import Any, Final

_SYLLABLES: Final = [consonant + vowel for consonant in "bdfghklmnprstvw" for vowel in ("a", "e", "i", "o", "u", "ee")]
_FILES: Final = {
    "streamAudioUrl": "stream.m3u8",
    "audio_url": "audio.mp3",
    "audio_hi_url": "audio_hi.wav",
    "audio_bgm_url": "bgm.mp3",
}
LYRICS_LINES: Final = 40


def finished_songs(count: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The request for each, and the items of the one callback that finishes it."""
    rng = random.Random(18)
    vocabulary = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(2000)]

    def words(least: int, most: int) -> str:
        return " ".join(rng.choices(vocabulary, k=rng.randint(least, most)))

    for _ in range(count):
        lyrics = "\n".join(words(5, 9) for _ in range(LYRICS_LINES))
        params = {"prompt": words(15, 30), "model": "tempolor-latest", "lyrics": lyrics}
        request = {"kind": "song.generate", "params": params, "reference": f"order-{rng.randrange(10**8)}"}
        yield request, [_item(rng, words(8, 14), words(4, 8), lyrics) for _ in range(2)]


def _item(rng: random.Random, title: str, style: str, lyrics: str) -> dict[str, Any]:
    item_id = f"t2m_{rng.randbytes(8).hex()}"
    place = f"https://data-sz.tianpuyuecdn.com/song/{item_id}"
    return {
        "item_id": item_id,
        "status": "succeeded",
        "audio_hi_status": "sub_succeeded",
        "lyrics_sections_status": "sub_succeeded",
        "model": "tempolor-latest",
        "title": title.title(),
        "style": style,
        "duration": rng.randint(120, 240),
        "lyrics": lyrics,
        "lyrics_sections": [
            {"start": 4.0 * number, "end": 4.0 * number + 3.5, "text": line}
            for number, line in enumerate(lyrics.splitlines())
        ],
        **{name: f"{place}/{file}?auth_key=1795000000-0-0-{rng.randbytes(16).hex()}" for name, file in _FILES.items()},
    }
