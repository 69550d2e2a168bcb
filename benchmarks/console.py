"""The console on a full database: how soon its first pages answer, and what open consoles cost the callbacks."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec

from app.console.overview_live import FRESH_S
from app.database.migrate import migrate
from benchmarks import bulk_insert, crowded_database, seeding
from benchmarks.bodies import uuid7
from benchmarks.load import HOST, Summary
from benchmarks.rates import connections_for
from benchmarks.repetitions import Plan, Sizer
from benchmarks.report import Section, Table, median, number, say, spread, verdict
from benchmarks.subjects import Lab, Subject

SIZE: Final = 1_000_000
SIZE_QUICK: Final = 20_000
BLOCK: Final = 50_000
DAY: Final = timedelta(days=1)
LOOKS: Final = 40
MOST_MS: Final = 200.0
CONSOLES: Final = 100
RATE: Final = 100.0
MOST_RATIO: Final = 1.2
RARE: Final = 20_000
"""Of so many notifications and callbacks one is dead, or malformed."""
ASKED: Final = 50
"""Of so many tasks one was asked about."""


def measure(lab: Lab, plan: Plan) -> Section:
    """Fill a day, read the pages by turns, then offer callbacks by turns without and with open consoles."""
    size = SIZE_QUICK if plan.quick else SIZE
    url = lab.database("postgresql", "console")
    migrate(url)
    started = time.monotonic()
    sample = _fill(url, size)
    say(f"  {size:,} tasks seeded in {time.monotonic() - started:.0f} s")
    subject = lab.serve_gateway("console postgresql", url, "--workers-off")
    subject.seed = lambda batch: seeding.seed_running(url, batch, None)
    subject.start()
    try:
        with _signed_in(subject) as browser:
            pages = _pages(browser, sample, 5 if plan.quick else LOOKS)
            beside = _beside(lab, plan, subject, browser.cookies["gateway_console"])
    finally:
        subject.stop()
    lab.drop("postgresql", "console")
    how = (
        f"PostgreSQL with {size:,} tasks of one day, as many callbacks and notifications (one in {RARE:,} malformed or "
        f"dead), and a query about one task in {ASKED}; `serve` without loops. Pages by turns, medians of "
        f"{LOOKS}, on a connection that is kept; target: under {MOST_MS:g} ms. The overview is asked for when what is "
        f"known is older than {FRESH_S:g} s, so that each look is a survey; its first look reads the day. Callbacks: "
        f"open loop, {RATE:g}/s for {plan.rate_s:g} s, by turns without consoles and with {CONSOLES} that "
        f"follow the overview from a process on the same machine; medians of {plan.rounds} rounds, target: at most "
        f"{MOST_RATIO:g}×."
    )
    return Section("console", "The console on a full database", how, [pages, beside])


def _pages(browser: httpx.Client, sample: UUID, looks: int) -> Table:
    first_ms = _look(browser, "/console")
    # What a large day needs to be read whole.
    while "to be read" in browser.get("/console").text:
        time.sleep(FRESH_S)
    paths = {
        "tasks": "/console/tasks",
        "tasks, failed": "/console/tasks?status=failed",
        "a task": f"/console/tasks/{sample}",
        "inbox": "/console/callbacks",
        "inbox, malformed": "/console/callbacks?disposition=malformed",
        "notifications": "/console/notifications",
        "notifications, dead": "/console/notifications?status=dead",
        "overview, again within seconds": "/console",
    }
    taken: dict[str, list[float]] = {"overview": []}
    for path in paths.values():
        _look(browser, path)
    for _ in range(looks):
        time.sleep(FRESH_S + 0.2)
        taken["overview"].append(_look(browser, "/console"))
        for name, path in paths.items():
            taken.setdefault(name, []).append(_look(browser, path))
    rows = [["overview, the first after a start", number(first_ms), "", ""]]
    for name, found in taken.items():
        found.sort()
        p95 = found[min(int(len(found) * 0.95), len(found) - 1)]
        rows.append([name, number(median(found)), number(p95), verdict(median(found), MOST_MS)])
        say(f"    {name:34} {median(found):7.1f} ms, p95 {p95:7.1f} ms")
    return Table(["page", "p50 ms", "p95 ms", "target"], rows)


def _look(browser: httpx.Client, path: str) -> float:
    """How long a page takes, in ms."""
    started = time.perf_counter()
    answer = browser.get(path)
    taken = time.perf_counter() - started
    assert answer.status_code == 200, (path, answer.status_code)
    return taken * 1000


def _beside(lab: Lab, plan: Plan, subject: Subject, cookie: str) -> Table:
    sizer = Sizer(lab, plan)
    found: dict[int, list[Summary]] = {0: [], CONSOLES: []}
    for round_ in range(plan.rounds):
        for count in found if round_ % 2 == 0 else reversed(found):
            with _consoles(subject.port, cookie, count):
                one = sizer.open(subject, RATE, connections_for(RATE), plan.rate_s)
            found[count].append(one)
            say(f"  round {round_ + 1}, {count:3} consoles: p50 {one.ok.p50:6.1f}  p99 {one.ok.p99:6.1f} ms")
    rows = []
    for rank in ("p50", "p95", "p99"):
        without, beside = ([getattr(one.ok, rank) for one in summaries] for summaries in found.values())
        ratio = median(beside) / median(without)
        told = f"{ratio:.2f}" + (f" ({verdict(ratio, MOST_RATIO)})" if rank == "p99" else "")
        rows.append([rank, spread(without), spread(beside), told])
    return Table(["callbacks", "ms without consoles", f"ms with {CONSOLES}", "ratio"], rows)


@contextmanager
def _signed_in(subject: Subject) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{HOST}:{subject.port}", timeout=30, trust_env=False) as browser:
        assert browser.post("/console/sign-in", data={"key": seeding.KEY}).status_code == 303
        yield browser


@contextmanager
def _consoles(port: int, cookie: str, count: int) -> Iterator[None]:
    """Have so many consoles open, each with its first survey. They are a process of their own."""
    if not count:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.consoles", str(port), cookie, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
    finally:
        process.kill()
        process.wait()


def _fill(url: str, size: int) -> UUID:
    """A day of tasks with what came and was sent for each of them. Returns one of them that has succeeded."""
    rng, now = random.Random(size), datetime.now(UTC)
    patterns = {stage: crowded_database.lean(seeding.make_pattern(url, stage)) for stage in ("ended", "running")}
    sample: UUID | None = None
    for begin in range(0, size, BLOCK):
        at = [now - DAY * (1 - index / size) for index in range(begin, min(begin + BLOCK, size))]
        tasks = [(uuid7(int(one.timestamp() * 1000), index % 4096, rng), one) for index, one in enumerate(at)]
        copies: dict[str, list[seeding.Copy]] = {}
        for task_id, accepted_at in tasks:
            changes, stage = _changes(accepted_at, now, rng)
            if stage == "ended" and changes.get("status") is None:
                sample = sample or task_id
            copies.setdefault(stage, []).append(seeding.Copy(task_id, (f"t2m_{task_id.hex}",), changes))
        for stage, some in copies.items():
            patterns[stage].copy(some)
        bulk_insert.insert(url, "callbacks", _CALLBACK, (_callback(one, rng) for one in tasks), durable=False)
        bulk_insert.insert(
            url, "notifications", _NOTIFICATION, (_notification(one, rng) for one in tasks), durable=False
        )
        entries = (_entry(one) for one in tasks[::ASKED])
        bulk_insert.insert(url, "timeline", _ENTRY, entries, durable=False)
    bulk_insert.execute(url, "VACUUM ANALYZE", "CHECKPOINT")
    assert sample is not None
    return sample


def _changes(at: datetime, now: datetime, rng: random.Random) -> tuple[dict[str, Any], str]:
    playable_at = at + timedelta(seconds=rng.lognormvariate(4.75, 0.3))
    finished_at = playable_at + timedelta(seconds=rng.uniform(15, 60))
    changes: dict[str, Any] = {"created_at": at, "updated_at": at}
    if finished_at > now:
        return changes, "running"
    changes |= {"playable_at": playable_at, "finished_at": finished_at, "updated_at": finished_at}
    if rng.random() < 0.04:
        changes |= {"status": "failed", "playable_at": None}
    if rng.random() < 0.1:
        changes["client_name"] = "radio"
    return changes, "ended"


_Task = tuple[UUID, datetime]
_CALLBACK: Final = [
    "id",
    "digest",
    "task_id",
    "family",
    "disposition",
    "body",
    "received_at",
    "last_received_at",
    "count",
    "address",
    "detail",
]
_NOTIFICATION: Final = [
    "id",
    "client_name",
    "task_id",
    "type",
    "url",
    "receiver",
    "snapshot",
    "status",
    "attempts",
    "created_at",
    "due_at",
    "last_attempt_at",
    "ended_at",
]
_ENTRY: Final = ["task_id", "seq", "at", "type", "version", "detail"]
_BODY: Final = msgspec.json.encode({"songs": [{"item_id": "t2m_1", "status": "succeeded", "title": "x" * 200}]})


def _callback(task: _Task, rng: random.Random) -> tuple[Any, ...]:
    task_id, at = task
    row_id = uuid7(int(at.timestamp() * 1000), 0, rng)
    disposition = "malformed" if rng.randrange(RARE) == 0 else "applied"
    return row_id, sha256(row_id.bytes).digest(), task_id, "song", disposition, _BODY, at, at, 1, HOST, None


def _notification(task: _Task, rng: random.Random) -> tuple[Any, ...]:
    task_id, at = task
    status = "dead" if rng.randrange(RARE) == 0 else "delivered"
    row_id = uuid7(int(at.timestamp() * 1000), 0, rng)
    url = "https://hooks.example/x"
    return row_id, seeding.CLIENT, task_id, "task.succeeded", url, url, "{}", status, 1, at, None, at, at


def _entry(task: _Task) -> tuple[Any, ...]:
    task_id, at = task
    detail = msgspec.json.encode({"items": [], "status": ["running", "succeeded"]}).decode()
    return task_id, 1_000, at, "query", 1, detail
