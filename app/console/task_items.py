"""What pages show of items: what can be played, the files and how long each can be had, lyrics, names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, unquote

from app.archive.read_zip import Member as ZipMember
from app.documents.document import Document
from app.rules.views import urls_in

PLAYED: Final = ("audio", "audio_hi", "bgm", "stream")
MOST_DRAWN_BYTES: Final = 20_000_000
"""Of a file that a browser decodes to draw its waveform."""
MOST_MIXED_BYTES: Final = 150_000_000
"""Of the files of a zip that a browser decodes to play them together."""


@dataclass(frozen=True, slots=True)
class Track:
    """A sound that can be played. ``drawn``: it comes from here, and is small enough for its waveform."""

    name: str
    url: str
    drawn: bool


@dataclass(frozen=True, slots=True)
class File:
    """A result file. ``state``: `kept`, `linked`, `lapsed` (the link has ended, and there is no copy), `pending` or
    `failed`; ``left_s``: how long the vendor's link lives; ``links``: of an artifact of several files."""

    name: str
    state: str
    url: str | None
    left_s: float | None
    expires_at: str | None
    archive: Document | None
    links: tuple[str, ...]
    zipped: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a zip. ``part``: what it is called among its like; ``whole``: it is the mix of the others."""

    name: str
    part: str
    url: str
    bytes: int
    sounds: bool
    whole: bool


def files_of(item: Document, now: datetime) -> list[File]:
    """The files of an item, in the order of its artifacts."""
    return [_file(item["item_id"], name, artifact, now) for name, artifact in item["artifacts"].items()]


def tracks_of(files: Sequence[File]) -> list[Track]:
    """What of an item's files can be played now, the best to begin with first."""
    by_name = {file.name: file for file in files}
    return [
        Track(name, file.url, _is_drawn(file))
        for name in PLAYED
        if (file := by_name.get(name)) is not None and file.url is not None and not file.links
    ]


def members_of(item_id: str, name: str, members: Sequence[ZipMember]) -> list[Member]:
    """The files of a zip, those that sound first; what is common to the names of these is left out of ``part``."""
    stems = {one.name: one.name.rpartition("/")[2].rpartition(".")[0] for one in members if _sounds(one)}
    whole = next((stem for stem in stems.values() if all(other.startswith(stem) for other in stems.values())), None)
    if len(stems) < 2 or list(stems.values()).count(whole or "") != 1:
        whole = None
    shown = []
    for one in members:
        stem = stems.get(one.name)
        part = one.name if stem is None else stem
        if stem is not None and whole is not None:
            part = stem.removeprefix(whole).strip("_- ") or stem
        url = f"{file_url(item_id, name)}/members/{quote(one.name)}"
        shown.append(Member(one.name, part, url, one.bytes, stem is not None, stem is not None and stem == whole))
    return sorted(shown, key=lambda one: (not one.sounds, one.whole))


def name_of(task: Document) -> str:
    """What a task is called: by the title that the vendor gave, else by what was asked for."""
    titles = [item["title"] for item in task["items"] if item["title"]]
    params = task["params"]
    asked = (params.get("prompt"), params.get("item_id"), _file_name(params.get("url")))
    return str(titles[0]) if titles else next((one for one in asked if isinstance(one, str) and one), task["kind"])


def prompt_of(task: Document, name: str) -> str | None:
    """What was asked for in words, where the task is called something else."""
    prompt = task["params"].get("prompt")
    return prompt if isinstance(prompt, str) and prompt and prompt != name else None


def file_url(item_id: str, name: str) -> str:
    """Where a result file is had."""
    return f"/console/items/{quote(item_id, safe='')}/files/{name}"


def _file_name(url: Any) -> str | None:
    """What a file is called by its address."""
    if not isinstance(url, str):
        return None
    if url.startswith("upload:"):
        return "an uploaded file"
    return unquote(re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/").rpartition("/")[2]) or url


def _file(item_id: str, name: str, artifact: Document, now: datetime) -> File:
    kept = (artifact["archive"] or {}).get("status") == "kept"
    expires_at: str | None = artifact["expires_at"]
    links: tuple[str, ...] = ()
    left_s = (datetime.fromisoformat(expires_at) - now).total_seconds() if expires_at else None
    if kept:
        state = "kept"
    elif artifact["status"] == "ready":
        state = "linked" if left_s is not None and left_s > 0 else "lapsed"
    else:
        state = artifact["status"]
    if not kept and isinstance(artifact["url"], (list, dict)):
        links = tuple(urls_in(artifact["url"]))
    url = file_url(item_id, name) if kept or (state == "linked" and not links) else None
    zipped = kept and artifact["archive"]["media_type"] == "application/zip"
    return File(name, state, url, left_s, expires_at, artifact["archive"], links, zipped)


def _is_drawn(file: File) -> bool:
    # Of what the vendor keeps a page's scripts may read nothing: they could not follow the redirect.
    return file.state == "kept" and ((file.archive or {}).get("bytes") or 0) <= MOST_DRAWN_BYTES


def _sounds(member: ZipMember) -> bool:
    return member.media_type.startswith("audio/") and member.media_type != "audio/midi"
