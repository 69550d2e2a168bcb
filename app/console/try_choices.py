"""What a form of "Try it" offers to choose from: models that are offered now, works and files of the client's own
newest tasks; and the forms that a finished work can go into."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from app.app_context import Context
from app.console.kind_forms import PREFIX, Field
from app.documents import read
from app.documents.document import Document
from app.limits import model_holds
from app.rules.client import Client
from app.rules.times import rfc3339
from app.tasks.task_rows import TaskFilters
from app.tempolor.kinds import KINDS, family_of

NEWEST: Final = 25
"""How many tasks are looked through for works."""
LEAST_LIFE: Final = timedelta(hours=1)
"""How long a link must still live, for the vendor to fetch it in time."""


class Choice(NamedTuple):
    """What can be chosen, and what it is called."""

    value: str
    label: str


async def choices_of(context: Context, client: Client, kind: str, fields: tuple[Field, ...]) -> dict[str, list[Choice]]:
    """The choices of each field of a form, by its name; none for a field that knows none."""
    found: dict[str, list[Choice]] = {}
    tasks: list[Document] | None = None
    for field in fields:
        if field.examples:
            found[field.name] = [Choice(one, "") for one in await _not_held(context, kind, field)]
        elif field.name == "item_id" or field.widget == "audio":
            if tasks is None:
                tasks, _ = await read.task_list(context, TaskFilters(client_name=client.name), NEWEST, summary=True)
            made = _works(tasks, KINDS[kind].family.name) if field.name == "item_id" else _files(context, tasks)
            found[field.name] = list(made)
    return {name: choices for name, choices in found.items() if choices}


async def _not_held(context: Context, kind: str, field: Field) -> list[str]:
    """The examples of a field; of its models without those that the vendor refuses for all tasks of this kind now."""
    if field.name != KINDS[kind].model_field:
        return list(field.examples)
    held = await context.db.read(model_holds.open_breakers, context.policy)
    refused = {key.model for key in held if key.kind == kind}
    return [model for model in field.examples if model not in refused]


def _works(tasks: list[Document], family: str) -> Iterator[Choice]:
    """Works of a family, by the vendor's ids."""
    for task, item, audio in _playable(tasks):
        if family_of(task["kind"]) == family and audio is not None:
            yield Choice(item["item_id"], _label(task, item))


def _files(context: Context, tasks: list[Document]) -> Iterator[Choice]:
    """Links to mp3s: to the copy that is kept, else the vendor's while that lives."""
    now = context.clock.now()
    for task, item, audio in _playable(tasks):
        if (link := _link_of(audio, now)) is not None:
            yield Choice(link, _label(task, item))


def forms_for(task: Document, item: Document, now: datetime) -> list[Choice]:
    """The forms that a finished work can go into, with its id or the link to its mp3 filled in: (address, label)."""
    audio = _ready_audio(item)
    if audio is None:
        return []
    family = family_of(task["kind"])
    filled = [(f"{family}.extend", "Extend", {"item_id": item["item_id"]})]
    if (link := _link_of(audio, now)) is not None:
        asked = {
            name: task["params"][name] for name in ("prompt", "model") if isinstance(task["params"].get(name), str)
        }
        if family != "song":
            asked.pop("model", None)  # other families have other models
        filled += [
            ("song.generate", "Cover", {**asked, "upload_audio_url": link, "action": "upload_cover"}),
            ("stems.create", "Stems", {"url": link}),
            ("midi.create", "MIDI", {"url": link}),
        ]
    return [
        Choice(f"/console/try/{kind}?{urlencode({PREFIX + name: value for name, value in params.items()})}", label)
        for kind, label, params in filled
        if kind in KINDS
    ]


def _link_of(audio: Document, now: datetime) -> str | None:
    """A link to an mp3 that lives long enough for the vendor to fetch it; None where there is none."""
    copy = audio["archive"] or {}
    if copy.get("status") == "kept" and copy.get("url"):
        return str(copy["url"])
    lives = (audio["expires_at"] or "") > rfc3339(now + LEAST_LIFE)
    return audio["url"] if lives and isinstance(audio["url"], str) else None


def _playable(tasks: list[Document]) -> Iterator[tuple[Document, Document, Any]]:
    for task in tasks:
        for item in task["items"]:
            if (audio := _ready_audio(item)) is not None:
                yield task, item, audio


def _ready_audio(item: Document) -> Any:
    """The mp3 of an item, as its document has it; None while there is none."""
    audio = item["artifacts"].get("audio")
    return audio if audio is not None and audio["status"] == "ready" else None


def _label(task: Document, item: Document) -> str:
    made_at = f"{task['created_at'][:16].replace('T', ' ')} UTC"
    return ", ".join(filter(None, (str(item["title"] or item["item_id"]), task["reference"], made_at)))
