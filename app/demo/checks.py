"""Whether all tasks of the demo ended as they should, and how each fault was overcome."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from tempolor_gateway_client import AsyncGatewayClient, Retries, Task

SCALE: Final = 40
"""Vendor seconds a second: a song's mp3 takes three seconds."""
FIRST_QUERY_S: Final = 5
"""Silence after which the gateway asks. No callback that comes keeps it waiting so long at this scale."""
ANSWER_LATE_S: Final = 0.8

LOST_CALLBACK: Final = "lost callback"
EARLY_CALLBACK: Final = "early callback"
LOST_ANSWER: Final = "lost answer"


@dataclass(frozen=True, slots=True)
class Part:
    """One task. ``rules`` is what the sandbox is told of it beforehand, by its control API."""

    kind: str
    params: dict[str, Any]
    fault: str | None = None
    rules: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


_AUDIO: Final = {"url": "https://files.example/harbour-lights.mp3"}

STORY: Final = (
    Part("song.generate", {"prompt": "slow pop ballad about a harbour at night, piano", "model": "tempolor-latest"}),
    Part(
        "song.extend",
        {"item_id": "t2m_81f0", "start_time": 60},
        LOST_ANSWER,
        # The vendor takes the task, and the connection breaks before it has said so.
        {"answers": [{"operation": "submit", "kind": "song.extend", "reset": True}]},
    ),
    Part(
        "instrumental.generate",
        {"prompt": "house, 120 BPM, A minor", "model": "TemPolor i4"},
        EARLY_CALLBACK,
        {
            "works": [{"kind": "instrumental.generate", "early": ["audio_complete"]}],
            "answers": [{"operation": "submit", "kind": "instrumental.generate", "delay_s": ANSWER_LATE_S}],
        },
    ),
    Part("instrumental.extend", {"item_id": "178001", "start_time": 30}),
    Part("lyrics.generate", {"prompt": "rain on a tin roof"}),
    Part(
        "stems.create",
        _AUDIO,
        LOST_CALLBACK,
        # Its only callback: nothing will ever be heard of this task.
        {"works": [{"kind": "stems.create", "drop": ["*"]}]},
    ),
    Part("midi.create", _AUDIO),
)


Document = dict[str, Any]


def gateway_at(url: str, api_key: str) -> AsyncGatewayClient:
    """The gateway's client. Nothing is tried again: a gateway of the demo that is away has failed."""
    return AsyncGatewayClient(url, api_key, retries=Retries(total_s=0), trust_env=False)


async def tasks_of(gateway: AsyncGatewayClient) -> list[Task]:
    """All tasks, oldest first."""
    return [task async for task in gateway.list()][::-1]


class Vendor:
    """The sandbox's control API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def configure(self, changes: Document) -> None:
        """Change its configuration."""
        _content(await self._http.patch("/_sandbox/config", json=changes))

    async def script(self, rules: Document) -> None:
        """Tell it what shall happen."""
        _content(await self._http.post("/_sandbox/script", json=rules))

    async def truth(self, part: str = "") -> Any:
        """``works``, ``calls`` or ``callbacks``: a list; without a name the counters."""
        content = _content(await self._http.get(f"/_sandbox/{part}" if part else "/_sandbox"))
        return content["data"] if part else content


def _content(answer: httpx.Response) -> Document:
    if answer.is_error:
        message = f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {answer.text}"
        raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
    found: Document = answer.json()
    return found


WIDTH: Final = 116


@dataclass(slots=True)
class Step:
    """One thing that happened, ``at_s`` seconds after the first. ``moved``: the statuses before and after."""

    at_s: float
    type: str
    events: list[str] = field(default_factory=list)
    moved: tuple[str, str] | None = None

    def __str__(self) -> str:
        what = " ".join([self.type.replace("_", " "), *self.events])
        if self.moved is None or self.moved[1] == self.type:
            return f"{self.at_s:.2f} {what}"
        return f"{self.at_s:.2f} {what} → {self.moved[1]}"


def read_steps(entries: Iterable[dict[str, Any]]) -> list[Step]:
    """The steps of a timeline, in order."""
    steps: dict[int, Step] = {}
    began: datetime | None = None
    for entry in entries:
        at = datetime.fromisoformat(entry["at"])
        began = began or at
        detail = entry["detail"]
        step = steps.setdefault(entry["seq"], Step((at - began).total_seconds(), entry["type"]))
        if entry["type"] == "status":
            step.moved = (detail["from"], detail["to"])
        else:
            step.events = [item["event"] for item in detail.get("items", ()) if item.get("event")]
    return list(steps.values())


def first(steps: Iterable[Step], type_: str) -> Step | None:
    """The first step of a type."""
    return next((step for step in steps if step.type == type_), None)


def arrival(steps: Iterable[Step], status: str) -> Step | None:
    """The step that brought a status for the first time."""
    return next((step for step in steps if step.moved is not None and step.moved[1] == status), None)


def tell(title: str, steps: Iterable[Step], width: int = WIDTH) -> str:
    """A timeline in a few lines."""
    text = " · ".join(str(step).replace(" ", "\xa0") for step in steps)
    lines = textwrap.wrap(text, max(width - 4, 40), break_on_hyphens=False)
    return "\n".join([title, *(f"    {line}" for line in lines)]).replace("\xa0", " ")


@dataclass(frozen=True, slots=True)
class Evidence:
    """``task`` and ``steps`` are the gateway's; ``submissions`` and ``queries`` are calls that the vendor received,
    ``works`` what it took, ``callbacks`` what it tried to deliver, ``dropped`` the events that it did not."""

    part: Part
    task: Document
    steps: list[Step]
    works: list[Document]
    submissions: list[Document]
    queries: list[Document]
    callbacks: list[Document]

    @property
    def dropped(self) -> list[str]:
        return [event for work in self.works for item in work["items"] for event in item["dropped"]]


async def gather(gateway: AsyncGatewayClient, vendor: Vendor, tasks: Iterable[Task]) -> list[Evidence]:
    """The evidence of all tasks, in the order of the story."""
    by_kind = {task.kind: task for task in tasks}
    works = await vendor.truth("works")
    calls = await vendor.truth("calls")
    callbacks = await vendor.truth("callbacks")
    found = []
    for part in STORY:
        task = by_kind[part.kind]
        own = [work for work in works if work["kind"] == part.kind]
        item_ids = {item_id for work in own for item_id in work["item_ids"]}
        found.append(
            Evidence(
                part,
                task.raw,
                read_steps(entry.raw for entry in await gateway.timeline(task.id)),
                own,
                [call for call in calls if call["operation"] == "submit" and call["kind"] == part.kind],
                [call for call in calls if call["operation"] == "query" and item_ids & set(call["item_ids"])],
                [one for one in callbacks if one["item_id"] in item_ids],
            )
        )
    return found


Telling = tuple[str, list[str]]
"""How a fault was overcome, and what was not as it should be."""


def faults_in(all_evidence: Iterable[Evidence]) -> list[str]:
    """What is wrong, one line each; nothing if all ended as it should."""
    wrong: list[str] = []
    for one in all_evidence:
        wrong += [f"{one.part.kind}: {line}" for line in _faults_of_task(one)]
        if one.part.fault is not None:
            wrong += [f"{one.part.kind}, {one.part.fault}: {line}" for line in _TELL[one.part.fault](one)[1]]
    return wrong


def summary(all_evidence: Sequence[Evidence]) -> list[str]:
    """How each fault was overcome, then the vendor's own count of everything."""
    lines = [
        f"{one.part.fault}, {one.part.kind}: {_TELL[one.part.fault](one)[0]}"
        for one in all_evidence
        if one.part.fault is not None
    ]
    submissions = sum(len(one.submissions) for one in all_evidence)
    works = sum(len(one.works) for one in all_evidence)
    made = [callback for one in all_evidence for callback in one.callbacks]
    acknowledged = sum(callback["acknowledged"] for callback in made)
    lost = sum(len(one.dropped) for one in all_evidence)
    queries = {call["number"] for one in all_evidence for call in one.queries}
    lines.append(
        f"the vendor's count: {submissions} submissions received, {works} taken; {len(made)} callbacks sent, "
        f"{acknowledged} acknowledged, {lost} lost; {len(queries)} {_plural('query', len(queries))} received"
    )
    return lines


def _faults_of_task(one: Evidence) -> list[str]:
    wrong = []
    if one.task["status"] != "succeeded":
        error = one.task["error"]
        wrong.append(f"it is {one.task['status']}, not succeeded{': ' + error['message'] if error else ''}")
    if len(one.submissions) != 1 or len(one.works) != 1:
        wrong.append(f"the vendor received {len(one.submissions)} submissions and took {len(one.works)}, not 1")
    refused = [callback for callback in one.callbacks if not callback["acknowledged"]]
    if refused:
        wrong.append(f"{len(refused)} callbacks were not acknowledged")
    unready = [
        name for item in one.task["items"] for name, file in item["artifacts"].items() if file["status"] != "ready"
    ]
    if unready:
        wrong.append(f"not ready: {', '.join(unready)}")
    return wrong


def _lost_callback(one: Evidence) -> Telling:
    wrong = []
    if not one.dropped:
        wrong.append("the vendor lost no callback")
    if first(one.steps, "callback") is not None:
        wrong.append("a callback arrived")
    done = arrival(one.steps, "succeeded")
    if done is None or done.type != "query" or not one.queries:
        wrong.append("it was not a query that finished it")
    at_s = f"{done.at_s:.1f} s" if done else "never"
    queries = len(one.queries)
    return f"nobody called back; {queries} {_plural('query', queries)} brought the result after {at_s}", wrong


def _early_callback(one: Evidence) -> Telling:
    called, submitted = first(one.steps, "callback"), first(one.steps, "submitted")
    if called is None or submitted is None:
        return "did not happen", ["there was no callback, or no answer to the submission"]
    ahead_s = submitted.at_s - called.at_s
    wrong = [] if one.steps.index(called) < one.steps.index(submitted) else ["the answer came first"]
    return f"{' '.join(called.events)} found its task {ahead_s:.1f} s before the submission was answered", wrong


def _lost_answer(one: Evidence) -> Telling:
    wrong = []
    if not any(call["fault"] == "reset" for call in one.submissions):
        wrong.append("the vendor answered")
    if first(one.steps, "submitted") is not None:
        wrong.append("the gateway got an answer")
    lost = arrival(one.steps, "unconfirmed")
    settled = next((step for step in one.steps if step.moved is not None and step.moved[0] == "unconfirmed"), None)
    if lost is None or settled is None or settled.type != "callback":
        return "did not happen", [*wrong, "the task was not unconfirmed until a callback settled it"]
    waited_s = settled.at_s - lost.at_s
    return f"the connection broke; unconfirmed for {waited_s:.1f} s, settled by its callback, not sent again", wrong


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word.removesuffix('y')}ies"


_TELL: Final[dict[str, Callable[[Evidence], Telling]]] = {
    LOST_CALLBACK: _lost_callback,
    EARLY_CALLBACK: _early_callback,
    LOST_ANSWER: _lost_answer,
}
