"""Render an item as the vendor's JSON at an instant: in the answer to a query, and in each of its callbacks."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from app.rules.status import ItemStatus, SubStatus
from app.sandbox.links import STREAM_FILE
from app.sandbox.plan import AUDIO, CHUNK, COMPLETE, SECTIONS, WAV, Plan
from app.sandbox.texts import STYLES, in_milliseconds, make_lyrics, make_sections, make_title
from app.tempolor.kinds import Kind

Link = Callable[[str], str]
"""From the name of a file to its signed URL."""

_SOUND_FIELDS: Final = (
    "event",
    "audio_hi_status",
    "model",
    "title",
    "style",
    "prompt",
    "duration",
    "created_at",
    "finished_at",
    "audio_url",
    "audio_hi_url",
)
_SONG_FIELDS: Final = (*_SOUND_FIELDS, "lyrics_sections_status", "lyrics_sections", "lyrics")
_FIELDS: Final = {
    "song": _SONG_FIELDS,
    "instrumental": _SOUND_FIELDS,
    "lyrics": ("title", "lyric"),
    "stems": ("stems_url",),
    "midi": ("midi_url", "stems_url"),
}
_LEFT_OUT_WHEN_SPARSE: Final = {
    WAV: ("audio_url", "lyrics", "prompt", "lyrics_sections", "streamAudioUrl"),
    SECTIONS: ("audio_url", "lyrics", "prompt", "audio_hi_url", "streamAudioUrl"),
}
_STEMS: Final = ("vocals", "drums", "bass", "other")
"""Source: the names of the files in a stems zip of the live service, ``originalaudio_vocals.flac`` and so on."""


@dataclass(slots=True)
class Item:
    """One item. Times are epoch seconds; ``marks`` (event → time) are in the order in which things happen."""

    item_id: str
    kind: Kind
    params: dict[str, Any]
    plan: Plan
    stems_shape: str
    accepted_at: float
    running_at: float
    visible_at: float
    marks: dict[str, float]

    @property
    def ended_at(self) -> float:
        """When the vendor is done with it; infinity for one that never ends."""
        return max(self.marks.values())

    def reached(self, now: float) -> int:
        """How many of its events have happened."""
        return sum(mark <= now for mark in self.marks.values())

    def happened_at(self, reached: int) -> float:
        """When the last of so many events happened."""
        return list(self.marks.values())[reached - 1] if reached else self.accepted_at

    def end(self, now: float) -> None:
        """Let everything that is still to come happen at this instant."""
        if self.plan.outcome == "stuck":
            self.plan.outcome = "succeeded"
        self.running_at = self.visible_at = min(self.accepted_at, now)
        self.marks = {event: min(mark, now) for event, mark in self.marks.items()}

    def status(self, reached: int, now: float) -> str:
        """The vendor's status word after so many events."""
        done = set(list(self.marks)[:reached])
        if self.plan.outcome == "failed" and done & {AUDIO, COMPLETE}:
            return ItemStatus.FAILED.value
        if reached == len(self.marks):
            part = self.plan.outcome.startswith("part_failed")
            return (ItemStatus.PART_FAILED if part else ItemStatus.SUCCEEDED).value
        if AUDIO in done:
            return ItemStatus.MAIN_SUCCEEDED.value
        if self.plan.odd_status is not None:
            return self.plan.odd_status
        return (ItemStatus.RUNNING if reached or now >= self.running_at else ItemStatus.WAITING).value


def show(item: Item, reached: int, now: float, link: Link, event: str | None = None) -> dict[str, Any]:
    """Render the item as the vendor's JSON: what is known after ``reached`` events, the rest null or missing.

    The same arguments give the same JSON; ``now`` matters only before the first event.
    """
    family = item.kind.family.name
    shown: dict[str, Any] = {"item_id": item.item_id, "status": item.status(reached, now)}
    shown |= (
        _show_sound(item, reached, link) if family in {"song", "instrumental"} else _show_result(item, reached, link)
    )
    if event is not None and event != COMPLETE:
        shown["event"] = event
    if item.plan.sparse_final and len(item.marks) > 1 and event == list(item.marks)[-1]:
        for name in _LEFT_OUT_WHEN_SPARSE.get(event, ()):
            shown.pop(name, None)
    if shown["status"] == ItemStatus.FAILED:
        shown["err_msg"] = item.plan.err_msg
    rng = random.Random(f"{item.plan.seed}/{reached}/{event}")
    for name in _FIELDS[family]:
        if name not in shown and rng.random() < item.plan.null_fields:
            shown[name] = None
    if item.plan.odd_fields:
        shown |= {"bpm": rng.randint(60, 180), "cover_url": link("cover.jpg"), "tags_v2": [{"mood": "calm", "w": 0.5}]}
    if item.plan.bgm and event is None and "audio_url" in shown:
        shown["audio_bgm_url"] = link("bgm.mp3")
    return shown if item.plan.echo is None else shown | _echoing(item.plan.echo)


def _echoing(text: str) -> dict[str, Any]:
    """Fields that repeat what only the caller should know: as it is, encoded, as a field's name, and deep inside."""
    encoded = quote(text, safe="")
    return {
        "title": text,
        "style": encoded,
        "err_msg": f"callback to {text} failed",
        "debug": {"request": [{"note": encoded.upper()}, text]},
        text: 1,
    }


def _show_sound(item: Item, reached: int, link: Link) -> dict[str, Any]:
    plan = item.plan
    done = set(list(item.marks)[:reached])
    rng = random.Random(plan.seed)
    title, style = make_title(rng), rng.choice(STYLES)
    unit = 1000 if plan.milliseconds else 1
    shown: dict[str, Any] = {
        "audio_hi_status": _extra_status(item, WAV, done),
        "model": plan.model,
        "created_at": int(item.accepted_at * unit),
    }
    if "prompt" in item.params:
        shown["prompt"] = item.params["prompt"]
    if plan.sung or SECTIONS in item.marks:
        shown["lyrics_sections_status"] = _extra_status(item, SECTIONS, done)
    elif plan.waiting_sections:
        shown["lyrics_sections_status"] = SubStatus.WAITING.value
    if CHUNK in done:
        shown["streamAudioUrl"] = link(STREAM_FILE)
    if AUDIO not in done:
        return shown
    shown["finished_at"] = int(item.marks[AUDIO] * unit)
    if plan.outcome == "failed":
        return shown
    shown |= {"title": title, "style": style, "duration": plan.duration_s, "audio_url": link("audio.mp3")}
    if shown["audio_hi_status"] == SubStatus.SUB_SUCCEEDED:
        shown["audio_hi_url"] = link("audio.wav")
    if plan.sung:
        shown["lyrics"] = str(item.params.get("lyrics") or "") or make_lyrics(rng)
    if shown.get("lyrics_sections_status") == SubStatus.SUB_SUCCEEDED:
        sections = make_sections(shown.get("lyrics", "(no words)"), plan.duration_s, random.Random(plan.seed))
        shown["lyrics_sections"] = in_milliseconds(sections) if plan.sections_in_ms else sections
    return shown


def _extra_status(item: Item, event: str, done: set[str]) -> str:
    failing = {WAV: "part_failed_wav", SECTIONS: "part_failed_sections"}[event]
    if item.plan.outcome == "failed" and AUDIO in done:
        return SubStatus.SUB_FAILED.value
    if event in done:
        return (SubStatus.SUB_FAILED if item.plan.outcome == failing else SubStatus.SUB_SUCCEEDED).value
    return (SubStatus.RUNNING if AUDIO in done else SubStatus.WAITING).value


def _show_result(item: Item, reached: int, link: Link) -> dict[str, Any]:
    """Render the result of a family with one result and no events."""
    if not reached or item.plan.outcome == "failed":
        return {}
    family = item.kind.family.name
    if family == "lyrics":
        rng = random.Random(item.plan.seed)
        return {"title": make_title(rng), "lyric": make_lyrics(rng)}
    if family == "midi":
        return {"midi_url": link("notes.mid"), "stems_url": link("stems.zip")}
    if item.stems_shape == "list":
        return {"stems_url": [link(f"originalaudio_{stem}.flac") for stem in _STEMS]}
    if item.stems_shape == "object":
        return {"stems_url": {stem: link(f"originalaudio_{stem}.flac") for stem in _STEMS}}
    return {"stems_url": link("stems.zip")}
