"""The interpreter of scripts: each verb is a step, and after each step the record says what has become visible."""

import json
import re
from asyncio import sleep
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

from tests.stories.trace.processes import BEGINNING, Process, TraceClock, process
from tests.stories.trace.receiver import Receiver
from tests.stories.trace.record import Document, Names, changes, parts, seconds
from tests.stories.trace.vendor import Item, Vendor
from tests.stories.trace.wire import Reply, Response, call, serving
from tests.support.gateway import ADMIN_KEY, PARAMS
from tests.support.virtual_time import VirtualLoop, virtual_loop

STEP_S: Final = 1.01
"""How long a step takes. What it set off has come to rest by then. Not a whole second, so that no step falls together
with what an earlier one made due."""
SETTINGS: Final[dict[str, Any]] = {
    "submit_timeout_s": 5,
    "submit_confirm_s": 40,
    "query_first_after_s": 20,
    "query_interval_s": 8,
    "query_max_interval_s": 16,
    "task_deadline_s": 300,
    "item_unknown_grace_s": 25,
    "egress_allow_private": True,
    "loop_idle_s": 3.1,
}
"""Shorter than by default, since a second costs processor time too: the loops look for work."""
_PLACE: Final = re.compile(r"\{([\w-]+)\}")
CLIENTS: Final = ("studio", "radio")


class Play:
    """A script on its stage: gateways on one database, the vendor, and a client's receiver."""

    def __init__(self, database_url: str, stack: AsyncExitStack) -> None:
        loop = virtual_loop()
        assert loop is not None
        self._loop: VirtualLoop = loop
        self._database_url = database_url
        self._stack = stack
        self.names = Names()
        self.clock = TraceClock(loop)
        self.lines: list[str] = []
        self._noted: list[str] = []
        self.vendor = Vendor(lambda line: self._noted.append(f"  vendor {self.clock.shown_s():g}s < {line}"))
        self.receiver = Receiver()
        self._documents: dict[str, Document] = {}
        self._rows: dict[str, Document] = {}
        self._bodies: dict[str, bytes] = {}
        self._timelines: dict[str, list[Document]] = {}
        self._ids: dict[str, str] = {}
        self._keys: dict[str, str] = {"admin": ADMIN_KEY, "nobody": "x" * 40}
        self._steps = 0
        self._at = 0.0
        self._now: Process | None = None
        self._ports: tuple[int, int] = (0, 0)
        self._settings: dict[str, Any] = {}

    # --- the stage

    async def open(self, **settings: Any) -> None:
        """Start the vendor, the receiver and the first gateway, and make the clients."""
        vendor = await self._stack.enter_async_context(serving(self.vendor.answer))
        receiver = await self._stack.enter_async_context(serving(self.receiver.answer))
        self.names.hosts |= {str(vendor): "vendor", str(receiver): "receiver"}
        self._ports = vendor, receiver
        self._settings = SETTINGS | settings
        await self._start()
        for name in CLIENTS:
            made = (await self._ask("POST", "/v1/clients", {"name": name})).json()
            self._keys[name] = made["api_key"]
            self.receiver.secrets[name] = made["webhook_secret"]
        await self._pass(STEP_S)

    async def _start(self) -> None:
        vendor, _ = self._ports
        url = f"http://127.0.0.1:{vendor}"
        made = process(self._database_url, self.clock, self._loop, tempolor_base_url=url, **self._settings)
        self._now = await self._stack.enter_async_context(made)
        self.names.hosts[str(self._port)] = "gateway"

    @property
    def process(self) -> Process:
        assert self._now is not None
        return self._now

    @property
    def _port(self) -> int:
        return int(self.process.running.url.rpartition(":")[2])

    @property
    def hook(self) -> str:
        """Where the client is told."""
        return f"http://127.0.0.1:{self._ports[1]}/hook"

    # --- verbs

    async def submit(
        self,
        name: str,
        kind: str = "song.generate",
        *answers: Reply,
        by: str = "studio",
        told: bool = False,
        **more: Any,
    ) -> None:
        """A client submits a task. ``answers``: what the vendor says to each attempt; held back where there is none.
        ``told``: with a webhook."""
        self.vendor.submit_answers[name] = deque(answers)
        body = {"kind": kind, "params": PARAMS[kind] | {"name": name}} | more
        if told:
            body["webhook_url"] = self.hook
        headers = {"Idempotency-Key": body.pop("idempotency_key")} if "idempotency_key" in body else {}
        async with self._step(f"{by} submits {name}, {kind}"):
            await self._call("POST", "/v1/tasks", body, by, name, headers)

    async def post(self, path: str, body: Any = None, *, by: str = "studio", name: str = "") -> None:
        """A call of the API; ``{name}`` in the path or the body stands for the id. ``name``: of a new task."""
        said = f" {json.dumps(body)}" if body is not None else ""
        inbox, outbox = path.endswith("/replay"), path.startswith("/v1/notifications")
        async with self._step(f"{by} POST {path}{said}", inbox=inbox, outbox=outbox):
            await self._call("POST", self._with_ids(path), json.loads(self._with_ids(json.dumps(body))), by, name)

    async def get(self, path: str, *, by: str = "studio") -> None:
        async with self._step(f"{by} GET {path}"):
            await self._call("GET", self._with_ids(path), None, by, "")

    async def callback(
        self,
        family: str,
        body: Any,
        to: str | None = None,
        *,
        url: Callable[[str], str] = lambda url: url,
        note: str = "",
    ) -> None:
        """The vendor calls back about the task ``to``, by the URL that it was given; without one, by an unbound URL.
        ``url`` changes it."""
        whole = self.vendor.urls[to] if to is not None else self.process.running.callback_url(family)
        path = url(urlsplit(whole).path)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = repr(body) if isinstance(body, bytes) else json.dumps(body)
        shown = shown if len(shown) < 700 else f"{shown[:300]}… {len(content)} bytes"
        async with self._step(f"callback to {to or 'nobody'} {shown} {note}".rstrip(), inbox=True):
            headers = {"Content-Type": "application/json"}
            self._answered(await call(self._port, "POST", path, headers, content))

    async def answer(self, name: str, reply: Reply) -> None:
        """The vendor gives the answer that it held back: to a submission by its name, to a question by ``query``."""
        async with self._step(f"the vendor answers {name}: {reply.label}"):
            self.vendor.release(name, reply)

    async def works(self, family: str, *items: Item) -> None:
        """From now on the vendor's queries show these items."""
        for item in items:
            self._noted.append(f"  vendor has {family} {json.dumps(item)}")
            self.vendor.works[family, item["item_id"]] = item

    async def asked(self, *replies: Reply | None) -> None:
        """What the next questions get; None holds the answer back."""
        self.vendor.query_answers.extend(replies)

    async def told(self, *replies: Reply) -> None:
        """What the client's receiver says to the next notifications; then it takes them."""
        self._noted.extend(f"  client will say {reply.label}" for reply in replies)
        self.receiver.answers.extend(replies)

    async def redeliver(self, name: str, type_: str, *, by: str = "studio") -> None:
        """A notification of a task is sent again."""
        found = (row for row in self._rows.items() if row[1].get("type") == type_)
        notification = next(key for key, row in found if row["task_id"] == self._ids[name])
        await self.post("/v1/notifications/{%s}/redeliver" % notification, by=by)  # noqa: UP031 - braces

    async def delete(self, path: str, *, by: str = "admin") -> None:
        async with self._step(f"{by} DELETE {path}", outbox=True):
            await self._call("DELETE", self._with_ids(path), None, by, "")

    async def wait(self, seconds: float, why: str = "") -> None:
        """Time passes."""
        async with self._step(f"{seconds:g} s pass{why and ', '}{why}"):
            await self._pass(seconds)

    async def crash(self) -> None:
        """The gateway is gone without a word."""
        async with self._step("the gateway is killed"):
            self.process.freeze()

    async def takeover(self) -> None:
        """Another gateway starts on the same database."""
        async with self._step("another gateway starts"):
            await self._start()

    async def thaw(self, frozen: Process) -> None:
        """A gateway that was taken for dead goes on."""
        async with self._step("the first gateway goes on"):
            frozen.thaw()

    # --- the record

    async def part(self, title: str) -> None:
        """What follows belongs together."""
        await self._look_at_timelines()
        self.lines += ["", "", f"== {title}"]

    async def text(self) -> str:
        """The whole record, with what is visible at the end."""
        async with self._step("the end", inbox=True, outbox=True):
            pass
        await self._look_at_timelines()
        return "\n".join(self.lines) + "\n"

    @asynccontextmanager
    async def _step(
        self,
        title: str,
        *,
        looks: bool = True,
        inbox: bool = False,
        outbox: bool = False,
    ) -> AsyncIterator[None]:
        self._steps += 1
        self.lines += ["", f"#{self._steps} at {self.clock.shown_s():g}s: {self.names.plain(title)}", *self._noted]
        self._noted.clear()
        yield
        await self._pass(STEP_S)
        self.lines += [self.names.plain(line) for line in self._noted]
        self._noted.clear()
        if self.process.is_alive:
            await self._look(inbox=inbox, outbox=outbox)

    async def _pass(self, seconds: float) -> None:
        """Let time pass. Steps begin at fixed times, whatever the loop took for the ones before."""
        self._at += seconds
        await sleep(self._at - self.clock.elapsed_s())

    async def _call(
        self, method: str, path: str, body: Any, by: str, name: str, headers: dict[str, str] | None = None
    ) -> None:
        answer = await self._ask(method, path, body, by, headers)
        if name and answer.status in (200, 202):
            self.names.give(answer.json()["id"], name)
        self._answered(answer, is_change=method == "POST")

    async def _ask(
        self, method: str, path: str, body: Any = None, by: str = "admin", headers: dict[str, str] | None = None
    ) -> Response:
        given = {"Authorization": f"Bearer {self._keys[by]}", "Content-Type": "application/json"} | (headers or {})
        return await call(self._port, method, path, given, b"" if body is None else json.dumps(body).encode())

    def _answered(self, answer: Response, *, is_change: bool = False) -> None:
        head = f"  → {answer.status}"
        for header in ("retry-after", "idempotent-replayed"):
            if header in answer.headers:
                head += f" {header}: {answer.headers[header]}"
        if "json" not in answer.headers.get("content-type", ""):
            self.lines.append(f"{head} {answer.body.decode()}".rstrip())
            return
        body = answer.json()
        tasks = body["data"] if isinstance(body, dict) and isinstance(body.get("data"), list) else [body]
        if all(isinstance(one, dict) and "kind" in one and "items" in one for one in tasks):
            self.lines.append(f"{head} {', '.join(self._task_name(one) for one in tasks)}")
            for task in tasks:
                # One that was there before is read after the change: the loops that it woke may have been quicker.
                if self._task_name(task) not in self._documents:
                    self._see(parts(self._task_name(task), task))
        elif "problem" in answer.headers["content-type"]:
            faults = self.names.line(body["errors"]) if body.get("errors") else ""
            self.lines.append(self.names.plain(f"{head} {body['code']}: {body['detail']} {faults}".rstrip()))
        else:
            if is_change and "slots" in body:
                # The same of who holds a slot and who waits for one.
                body = {name: body[name] for name in ("held_models", "standing_still")}
            self.lines.append(f"{head} {self.names.line(body)}")

    async def _look(self, *, inbox: bool, outbox: bool) -> None:
        """Everything that is visible, by what has changed. A log is only read where it may have changed: to read costs
        more than the step itself."""
        tasks = (await self._ask("GET", "/v1/tasks?limit=200")).json()["data"]
        seen: dict[str, Document] = {}
        for task in reversed(tasks):
            seen |= parts(self._task_name(task), task)
        gone = [name for name in self._documents if name not in seen]
        moved = self._see(seen)
        for name in gone:
            self.lines.append(f"  {name} is gone")
            del self._documents[name]
            self._ids.pop(name, None)
        pending = any(row.get("status") == "pending" for row in self._rows.values())
        read = [("/v1/callbacks", "callback")] if inbox else []
        read += [("/v1/notifications", "notification")] if outbox or moved or pending or self.receiver.told else []
        for path, kind in read:
            listed = (await self._ask("GET", f"{path}?limit=200")).json()["data"]
            for one in reversed(listed):
                self._see_row(kind, one)
        self._look_at_told()

    def _see(self, seen: dict[str, Document]) -> set[str]:
        """Note documents. Returns the tasks that changed."""
        moved = set()
        for name, document in seen.items():
            lines = changes(self._documents.get(name), document, self.names)
            if lines:
                self.lines += [f"  {name} {line}" for line in lines]
                self._documents[name] = document
                moved.add(name.partition("/")[0])
        return moved

    async def _look_at_timelines(self) -> None:
        """What has been added to the timelines of the tasks since they were last looked at."""
        for name, task_id in self._ids.items():
            entries, before = await self._timeline(task_id), self._timelines.get(name, [])
            if entries == before:
                continue
            if entries[: len(before)] != before:
                self.lines.append(f"timeline of {name} is another than it was")
                before = []
            self.lines.append(f"timeline of {name}")
            self.lines += [f"  {line}" for line in _in_order(entries[len(before) :], self.names)]
            self._timelines[name] = entries

    async def _timeline(self, task_id: str) -> list[Document]:
        answer = await self._ask("GET", f"/v1/tasks/{task_id}/timeline?limit=200")
        entries: list[Document] = answer.json().get("data", [])
        return entries

    def _see_row(self, kind: str, row: Document) -> None:
        name = self.names.of(row["id"], kind)
        row = {key: value for key, value in row.items() if key not in ("id", "address", "url")}
        before = self._rows.get(name)
        if before == row:
            return
        self._rows[name] = row
        if before is not None:
            self.lines.append(f"  {name} {', '.join(changes(before, row, self.names))}")
            return
        shown = {key: value for key, value in row.items() if value is not None}
        self.lines.append(f"  {name} + {self.names.line(shown)}")

    def _look_at_told(self) -> None:
        """What the client was told in this step, in the order in which it was written, by how it differs from the
        task as it is now."""
        for told in sorted(self.receiver.told, key=lambda one: (one.webhook_id, one.at)):
            name, task = self.names.of(told.webhook_id, "notification"), told.body["data"]
            same = self._bodies.setdefault(name, told.raw) == told.raw
            said = f"{told.body['type']} of {self.names.plain(task['id'])} v{task['version']}"
            marks = "" if told.signed else ", signed wrongly"
            marks += "" if same else ", not as it was told before"
            at = told.at - int(BEGINNING.timestamp())
            written = self.names.plain(told.body["timestamp"])
            self.lines.append(f"  client < {name} {said} of {written}, at {at}s{marks} → {told.reply.label}")
            for part, document in parts(self._task_name(task), task).items():
                known = self._documents.get(part)
                self.lines += [f"    {part} {line}" for line in changes(known, document, self.names, "≠")]
        self.receiver.told.clear()

    def _task_name(self, task: Document) -> str:
        name = self.names.of(task["id"], "task")
        self._ids[name] = task["id"]
        return name

    def _with_ids(self, text: str) -> str:
        return _PLACE.sub(lambda found: self.names.id_of(found[1]) or found[0], text)


def _in_order(entries: list[Document], names: Names) -> list[str]:
    """What entries tell. Two notifications that end at one moment are posted side by side, and end in any order."""
    told: list[str] = []
    for (_, is_end), some in groupby(entries, key=lambda one: (seconds(one["at"]), one["type"] == "notification")):
        lines = [_told(entry, names) for entry in some]
        told += sorted(lines) if is_end else lines
    return told


def _told(entry: Document, names: Names) -> str:
    detail = names.line(entry["detail"]) if entry["detail"] else ""
    return names.plain(f"{entry['at']} v{entry['version']} {entry['type']} {detail}".rstrip())
