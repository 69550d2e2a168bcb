"""The callbacks that a run sends: 1–8 KB, each body distinct, the events of many songs interleaved.

A batch is a few numbers from which the process that seeds the tasks and the process that sends the callbacks
both compute the same tasks, items and bodies.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from app.tempolor.callback_tokens import Tokens

SECRET: Final = "benchmark-callback-secret-0123456789abcdef"
FAMILY: Final = "song"
TWO_ITEMS: Final = 0.3
STREAMING: Final = 0.25
DUPLICATES: Final = 0.05
UNBOUND: Final = 0.02
SPREAD: Final = 150
"""How many tasks are begun between two events of the same item: its events are far apart, as the vendor's are."""
CALLBACKS_PER_TASK: Final = (1 + TWO_ITEMS) * (3 + STREAMING)

_TEXT: Final = (
    "harbour lantern ferry orchard signal copper northern paper glass river window winter morning radio engine "
    "weather kettle garden compass feather drummer postcard railway thunder umbrella marble violin shadow "
    "pocket station summer letter bridge candle echo parade meadow silver avenue horizon"
)
_WORDS: Final = tuple(_TEXT.split())
_SIGNATURE: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Batch:
    """``tasks`` accepted songs that began at ``started_ms``; another ``seed`` gives other songs."""

    seed: int
    tasks: int
    started_ms: int


@dataclass(frozen=True, slots=True)
class SongTask:
    """A task as it must be in the database before its callbacks come: accepted, its items named."""

    id: UUID
    item_ids: tuple[str, ...]


def song_tasks(batch: Batch) -> list[SongTask]:
    """The tasks of a batch, with ids as the gateway makes them: UUIDv7, in the order of their creation."""
    rng = random.Random(f"tasks {batch.seed}")
    return [_song_task(batch.started_ms, index, rng) for index in range(batch.tasks)]


def _song_task(started_ms: int, index: int, rng: random.Random) -> SongTask:
    count = 2 if rng.random() < TWO_ITEMS else 1
    item_ids = tuple(f"t2m_{rng.getrandbits(64):016x}" for _ in range(count))
    return SongTask(uuid7(started_ms + index // 4096, index % 4096, rng), item_ids)


def uuid7(ms: int, counter: int, rng: random.Random) -> UUID:
    """An id of this millisecond; the counter (0–4095) orders those within it."""
    return UUID(int=ms << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | rng.getrandbits(62))


def callbacks(batch: Batch) -> Iterator[tuple[UUID | None, bytes]]:
    """The callbacks in the order in which they are sent, each with the task of its token (None: unbound).

    The mix of events is the same from the first callback to the last: songs that began before the batch send
    only their later events, as if the earlier ones had been lost.
    """
    rng = random.Random(f"bodies {batch.seed}")
    placed: list[tuple[float, UUID | None, dict[str, Any]]] = []
    for index, task in enumerate(song_tasks(batch)):
        unbound = rng.random() < UNBOUND
        for item_id in task.item_ids:
            # An item that nobody submitted through the gateway has an id of its own.
            name = f"ext_{rng.getrandbits(64):016x}" if unbound else item_id
            for stage, shown in enumerate(events_of(name, rng)):
                place = index + (stage - 3) * SPREAD + 8 * rng.random()
                if place < 0:
                    continue
                placed.append((place, None if unbound else task.id, shown))
                if rng.random() < DUPLICATES:
                    placed.append((place + 10 + 40 * rng.random(), None if unbound else task.id, shown))
    placed.sort(key=lambda one: one[0])
    # Past this place the songs of the batch begin to run out, and the mix would change.
    last = batch.tasks - 3 * SPREAD
    encode = msgspec.json.Encoder().encode
    return ((task_id, encode({"songs": [shown]})) for place, task_id, shown in placed if place < last)


def tasks_for(count: int) -> int:
    """How many tasks a batch needs for so many callbacks."""
    return int(count / CALLBACKS_PER_TASK) + 3 * SPREAD + 10


def requests(batch: Batch, host: str) -> list[bytes]:
    """The callbacks as HTTP requests, ready to be written to a socket."""
    tokens = Tokens([SECRET])
    return [request(tokens, task_id, body, host) for task_id, body in callbacks(batch)]


def request(tokens: Tokens, task_id: UUID | None, body: bytes, host: str) -> bytes:
    """One callback as an HTTP request."""
    head = (
        f"POST /callbacks/{FAMILY}/{tokens.sign(FAMILY, task_id)} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def events_of(item_id: str, rng: random.Random) -> list[dict[str, Any]]:
    """An item as its callbacks show it, in their order: each knows more than the one before."""
    shown: dict[str, Any] = {
        "item_id": item_id,
        "status": "running",
        "audio_hi_status": "waiting",
        "lyrics_sections_status": "waiting",
        "event": None,
        "model": "tempolor-latest",
        "title": f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}".title(),
        "style": rng.choice(("Pop", "Folk", "Jazz", "electronic,house")),
        "prompt": _text(rng, rng.randint(20, 90)),
        "created_at": 1_747_207_597 + rng.randrange(10_000_000),
        "audio_url": None,
        "audio_hi_url": None,
        "lyrics_sections": None,
    }
    steps: list[dict[str, Any]] = []
    if rng.random() < STREAMING:
        steps.append({"event": "audio_chunk", "streamAudioUrl": _url(rng, "media-pipe.api", "stream")})
    lines = [_text(rng, rng.randint(5, 10)) for _ in range(rng.randint(16, 44))]
    steps.append(
        {
            "event": "audio_complete",
            "status": "main_succeeded",
            "audio_hi_status": "running",
            "duration": rng.randint(90, 280),
            "finished_at": shown["created_at"] + rng.randint(60, 200),
            "audio_url": _url(rng, "data-sz", "mp3"),
            "lyrics": "\n".join(lines),
        }
    )
    wav: dict[str, Any] = {
        "event": "wav_complete",
        "audio_hi_status": "sub_succeeded",
        "audio_hi_url": _url(rng, "data-sz", "wav"),
    }
    aligned: dict[str, Any] = {
        "event": "lrcsections_complete",
        "lyrics_sections_status": "sub_succeeded",
        "lyrics_sections": [
            {"start": round(4.2 * n + rng.random(), 3), "end": round(4.2 * n + 4, 3), "text": f"\n{line}"}
            for n, line in enumerate(lines)
        ],
    }
    steps += [wav, aligned] if rng.random() < 0.5 else [aligned, wav]
    steps[-1]["status"] = "succeeded"
    events = []
    for step in steps:
        shown = shown | step
        events.append(shown)
    return events


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def _url(rng: random.Random, host: str, suffix: str) -> str:
    key = "".join(rng.choices(_SIGNATURE, k=rng.randint(80, 160)))
    return f"https://{host}.tianpuyue.cn/works/{rng.getrandbits(96):024x}.{suffix}?auth_key={key}"
