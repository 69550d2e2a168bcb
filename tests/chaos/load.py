"""A load of callbacks that remembers what was acknowledged, and holds the gateway to it afterwards (G1).

Every callback tells one thing of its item that no other tells (its mp3, its WAV, its lyrics), so it can be seen in
the state whether that very callback took effect.
"""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

import httpx

from app.tempolor.callback_tokens import Tokens
from tests.chaos.processes import client, pages
from tests.support.gateway import SECRET, SONG

TOKENS = Tokens([SECRET])
ITEMS_PER_TASK = 12
"""Three bodies each: well under the number of bodies that are stored for one task."""
EVENTS = ("audio_complete", "wav_complete", "lrcsections_complete")


@dataclass(frozen=True, slots=True)
class Callback:
    """One thing that the vendor tells once. ``task_id`` is None for a task that was submitted elsewhere."""

    task_id: str | None
    item_id: str
    event: str
    padding: str = ""

    @property
    def path(self) -> str:
        return f"/callbacks/song/{TOKENS.sign('song', UUID(self.task_id) if self.task_id else None)}"

    @property
    def body(self) -> bytes:
        bodies: dict[str, dict[str, Any]] = {
            "audio_complete": {"status": "main_succeeded", "audio_url": self.link},
            "wav_complete": {"status": "succeeded", "audio_hi_status": "sub_succeeded", "audio_hi_url": self.link},
            "lrcsections_complete": {
                "lyrics_sections_status": "sub_succeeded",
                "lyrics_sections": [{"start": 0.0, "end": 1.5, "text": self.link}],
            },
        }
        more = {"prompt": self.padding} if self.padding else {}
        return json.dumps(
            {"songs": [{"item_id": self.item_id, "event": self.event, **bodies[self.event], **more}]}
        ).encode()

    @property
    def link(self) -> str:
        return f"https://cdn.example/{self.item_id}/{self.event}?auth_key=1"

    def is_in(self, item: dict[str, Any]) -> bool:
        """Whether the item shows what this callback told."""
        if self.event == "lrcsections_complete":
            return [one["text"] for one in item["lyrics_sections"] or []] == [self.link]
        artifact = item["artifacts"]["audio" if self.event == "audio_complete" else "audio_hi"]
        return artifact["status"] == "ready" and artifact["url"] == self.link


@dataclass(frozen=True, slots=True)
class Answer:
    """How a delivery ended: ``status`` is 0 where the connection broke. Times are those of the monotonic clock."""

    callback: Callback
    status: int
    began_at: float
    ended_at: float
    text: str
    retry_after: str | None

    @property
    def acknowledged(self) -> bool:
        return self.status == 200 and self.text == "success"


@dataclass
class Load:
    """Senders that post callbacks of ever new items until the block ends. Tasks are those of ``offer``; without
    any, items are of tasks that were submitted elsewhere. ``pause_s``: between two callbacks of one sender."""

    url: str
    senders: int = 8
    pause_s: float = 0.004
    padding: int = 0
    elsewhere: float = 0.25
    answers: list[Answer] = field(default_factory=list)
    _ready: deque[Callback] = field(default_factory=deque)
    _room: deque[str] = field(default_factory=deque)
    _name: str = field(default_factory=lambda: uuid4().hex)
    _number: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _ending: bool = False

    def offer(self, task_ids: Iterable[str]) -> None:
        """Let the next items be of these tasks."""
        self._room.extend(task_id for task_id in task_ids for _ in range(ITEMS_PER_TASK))

    async def __aenter__(self) -> "Load":
        self._api = client(self.url)
        self._tasks = [asyncio.create_task(self._send()) for _ in range(self.senders)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is under way comes to its end: an acknowledgement that nobody read would not be held to.
        self._ending = True
        await asyncio.gather(*self._tasks)
        await self._api.aclose()

    @property
    def acknowledged(self) -> list[Callback]:
        return [answer.callback for answer in self.answers if answer.acknowledged]

    def by_status(self) -> dict[int, int]:
        """How many answers of each status; 0: none came."""
        return dict(Counter(answer.status for answer in self.answers))

    def since(self, at: float) -> list[Answer]:
        """Answers to what was posted from then on."""
        return [answer for answer in self.answers if answer.began_at >= at]

    async def goes_on(self, more: int = 50, timeout_s: float = 20) -> float:
        """Wait until so many callbacks that are posted from now on were acknowledged. Returns seconds."""
        began_at = time.monotonic()
        while sum(answer.acknowledged for answer in self.since(began_at)) < more:
            assert time.monotonic() - began_at < timeout_s, f"not acknowledged: {self.tail()}"
            await asyncio.sleep(0.02)
        return time.monotonic() - began_at

    def tail(self) -> list[tuple[int, str]]:
        return [(answer.status, answer.text) for answer in self.answers[-10:]]

    def assert_only(self, *statuses: int) -> None:
        """No answer was another, and whoever was told to come later was told when."""
        others = [answer for answer in self.answers if answer.status not in statuses]
        assert others == [], Counter((answer.status, answer.text) for answer in others).most_common(5)
        refused = [answer for answer in self.answers if answer.status == 503]
        assert all(int(answer.retry_after or 0) >= 1 for answer in refused)

    def _next(self) -> Callback:
        if not self._ready:
            # Three items at a time, their events mixed: neighbours in a group are of one item and of several.
            mixed = []
            for _ in range(3):
                elsewhere = not self._room or random.random() < self.elsewhere
                task_id = None if elsewhere else self._room.popleft()
                self._number += 1
                item_id = f"t2m_{self._name}_{self._number}"
                padding = random.randbytes(self.padding // 2).hex()
                mixed += [Callback(task_id, item_id, event, padding) for event in EVENTS]
            random.shuffle(mixed)
            self._ready.extend(mixed)
        return self._ready.popleft()

    async def _send(self) -> None:
        again: Callback | None = None
        while not self._ending:
            callback = again or self._next()
            answer = await self._post(callback)
            # What was not taken is posted again half of the time, and some of what was taken as well.
            again = callback if random.random() < (0.05 if answer.acknowledged else 0.5) else None
            await asyncio.sleep(self.pause_s if answer.status else 0.02)

    async def _post(self, callback: Callback) -> Answer:
        began_at = time.monotonic()
        status, text, retry_after = 0, "", None
        try:
            got = await self._api.post(callback.path, content=callback.body)
            status, text, retry_after = got.status_code, got.text, got.headers.get("Retry-After")
        except httpx.TransportError as error:
            text = type(error).__name__
        answer = Answer(callback, status, began_at, time.monotonic(), text, retry_after)
        self.answers.append(answer)
        return answer


async def submit(api: httpx.AsyncClient, number: int) -> list[str]:
    """Submit songs; their ids."""
    task = {"kind": "song.generate", "params": SONG}
    answers = await asyncio.gather(*(api.post("/v1/tasks", json=task) for _ in range(number)))
    assert {answer.status_code for answer in answers} == {202}, answers[0].text
    return [answer.json()["id"] for answer in answers]


async def assert_kept(api: httpx.AsyncClient, acknowledged: Iterable[Callback]) -> None:
    """Each of these callbacks is in the inbound log, and what it told is in the state of its item; and of a bound
    task, no callback is in the log without its effect, or the other way round."""
    by_task: dict[str, list[Callback]] = defaultdict(list)
    by_item: dict[str, list[Callback]] = defaultdict(list)
    for callback in set(acknowledged):
        if callback.task_id is None:
            by_item[callback.item_id].append(callback)
        else:
            by_task[callback.task_id].append(callback)
    for task_id, callbacks in by_task.items():
        await _assert_task(api, task_id, callbacks)
    for item_id, callbacks in by_item.items():
        answer = await api.get(f"/v1/items/{item_id}")
        assert answer.status_code == 200, (item_id, answer.text)
        [item] = answer.json()["items"]
        lost = [one for one in callbacks if not one.is_in(item)]
        assert not lost, lost


async def _assert_task(api: httpx.AsyncClient, task_id: str, callbacks: list[Callback]) -> None:
    answer = await api.get(f"/v1/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    items = {item["item_id"]: item for item in answer.json()["items"]}
    lost = [one for one in callbacks if one.item_id not in items or not one.is_in(items[one.item_id])]
    assert not lost, lost[:3]
    logged = [row async for row in pages(api, "/v1/callbacks", task_id=task_id)]
    assert {row["disposition"] for row in logged} <= {"applied"}
    shown = [
        (item_id, event)
        for item_id, item in items.items()
        for event in EVENTS
        if Callback(task_id, item_id, event).is_in(item)
    ]
    assert len(logged) == len(shown), (task_id, len(logged), len(shown))


async def count_logged_elsewhere(api: httpx.AsyncClient) -> int:
    """How many callbacks of tasks that were submitted elsewhere are in the inbound log, all of them applied."""
    rows = [row async for row in pages(api, "/v1/callbacks") if row["task_id"] is None]
    assert {row["disposition"] for row in rows} <= {"applied"}
    return len(rows)
