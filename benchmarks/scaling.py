"""What the hot operations cost in small and large tables: they should cost the same."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import uvloop

from app.database.migrate import migrate
from app.documents import read
from app.documents.document import Document
from app.gateway import Gateway, build
from app.reconcile import claims
from app.submissions import dispatch
from app.tasks import task_rows
from app.tasks.task_rows import TaskFilters
from benchmarks import crowded_database, query_plans
from benchmarks.repetitions import Plan
from benchmarks.report import Section, Table, median, number, say
from benchmarks.seeding import CLIENT, make_settings, take_callbacks
from benchmarks.subjects import KINDS, Kind, Lab
from tests.support.postgres import PostgresServer

SIZES: Final = (10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (5_000, 20_000)
GROUP: Final = 32
PAGE: Final = 50
WRITES: Final = 40
READS: Final = 100
WARM_UP: Final = 5
LOOKS: Final = 8
MOST_RATIO: Final = 1.5

T = TypeVar("T")
Operation = Callable[[], Awaitable[float]]
"""Runs once, and returns the seconds of what is measured."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of many runs, in milliseconds, and how the database went about it."""

    ms: float
    access: query_plans.Access


class _Source:
    """Callbacks of tasks that are in flight, and ids to read: each is used once."""

    def __init__(self, seeded: crowded_database.Seeded) -> None:
        self.rng = random.Random(17)
        self.ids = seeded.sample_ids
        self._callbacks = seeded.callbacks()

    def group(self) -> list[crowded_database.Callback]:
        return [next(self._callbacks) for _ in range(GROUP)]


@dataclass(frozen=True, slots=True)
class _Filled:
    size: int
    url: str
    source: _Source


Costs = dict[tuple[Kind, str, int], Cost]


def measure(lab: Lab, plan: Plan) -> Section:
    """Fill a fresh database of each size, and measure each operation in all of them by turns."""
    sizes = QUICK_SIZES if plan.quick else SIZES
    costs: Costs = {}
    for kind in KINDS:
        filled: list[_Filled] = []
        for size in sizes:
            url = lab.database(kind, f"sizes_{size}")
            started = time.monotonic()
            migrate(url)
            filled.append(_Filled(size, url, _Source(crowded_database.seed(url, size))))
            say(f"  {kind}: {size:,} tasks seeded in {time.monotonic() - started:.0f} s")
        server = lab.postgres if kind == "postgresql" else None
        taken = uvloop.run(_time(filled))
        accesses = uvloop.run(_look(filled, server))
        for (operation, size), ms in taken.items():
            costs[kind, operation, size] = Cost(ms, accesses[operation, size])
            say(f"    {operation:30} {size:9,} {ms:8.2f} ms   {accesses[operation, size].text()}")
        for size in sizes:
            lab.drop(kind, f"sizes_{size}")
    return _section(costs, sizes)


def _section(costs: Costs, sizes: tuple[int, ...]) -> Section:
    how = (
        f"Tasks with one item each: {crowded_database.MIX}. Medians of {WRITES} writes or {READS} reads, in "
        "milliseconds, in one process with nothing else to do, by turns in the databases of all sizes; the "
        f"{GROUP} callbacks are of as many tasks and go through the writers. "
        f"Target: at most {MOST_RATIO:g} times as slow at {sizes[-1]:,} as at {sizes[0]:,}. PostgreSQL after "
        "`ANALYZE`, SQLite without it, as it is in use."
    )
    section = Section("sizes", "Cost against size", how)
    for kind in KINDS:
        rows, plan_rows = [], []
        for operation in dict.fromkeys(name for of_kind, name, _ in costs if of_kind == kind):
            at = [costs.get((kind, operation, size)) for size in sizes]
            last = costs[kind, operation, sizes[-1]]
            cells = ["–" if one is None else number(one.ms) for one in at]
            rows.append([operation, *cells, _ratio(at[0], last)])
            plan_rows.append([operation, last.access.text()])
            if last.access.scans:
                section.notes.append(f"{kind}: {operation} scans {', '.join(sorted(last.access.scans))}")
        columns = [kind, *(f"{size:,}" for size in sizes), "largest/smallest"]
        section.tables.append(Table(columns, rows))
        section.tables.append(Table([kind, f"indexes used at {sizes[-1]:,}"], plan_rows, words=True))
    return section


def _ratio(first: Cost | None, last: Cost) -> str:
    if first is None:
        return "–"
    ratio = last.ms / max(first.ms, 1e-9)
    return f"{ratio:.2f}{'' if ratio <= MOST_RATIO else ' MISSED'}"


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Gateway]:
    # The limits must not be what is measured.
    gateway = build(make_settings(url, submit_max_in_flight=10**9, query_rate_per_s=1e9), workers=False)
    try:
        await gateway.start()
        # What is done once at the start is over then.
        await asyncio.sleep(0.5)
        yield gateway
    finally:
        await gateway.stop()


async def _time(filled: Sequence[_Filled]) -> dict[tuple[str, int], float]:
    """The cost of each operation, in ms: in all databases by turns, so that they stand under the same noise."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        by_size = {
            one.size: await _operations(await stack.enter_async_context(_opened(one.url)), one.source) for one in filled
        }
        for name, (_, times) in by_size[filled[-1].size].items():
            for turn in range(WARM_UP + times):
                for size, operations in by_size.items():
                    if name in operations:
                        seconds = await operations[name][0]()
                        found[name, size] += [seconds] if turn >= WARM_UP else []
    return {key: median(seconds) * 1000 for key, seconds in found.items()}


async def _look(filled: Sequence[_Filled], server: PostgresServer | None) -> dict[tuple[str, int], query_plans.Access]:
    """How the database carries out each operation."""
    accesses: dict[tuple[str, int], query_plans.Access] = {}
    for one in filled:
        with query_plans.watching(one.url, server) as watch:
            async with _opened(one.url) as gateway:
                for name, (operation, _) in (await _operations(gateway, one.source)).items():
                    # A prepared statement may get another plan once it was run a few times: the last runs count. A
                    # loop that has its turn meanwhile is seen too, so of those the one with the fewest statements.
                    looks = []
                    for _ in range(LOOKS):
                        watch.begin()
                        await operation()
                        looks.append(watch.end())
                    accesses[name, one.size] = min(looks[-3:], key=lambda look: look.statements)
    return accesses


async def _operations(gateway: Gateway, source: _Source) -> dict[str, tuple[Operation, int]]:
    """The operations by name, each with how often it is run."""
    context = gateway.context
    db, loops = context.db, context.loops_db()

    async def group() -> float:
        return await _timed(take_callbacks(gateway, source.group()))

    async def claim_due() -> float:
        return await _timed(loops.write(claims.claim, context, context.clock.now()), _asked)

    async def claim_queued() -> float:
        started = context.clock.monotonic()
        return await _timed(loops.write(dispatch.claim, context, 10, context.clock.now(), started), _claimed)

    async def by_id() -> float:
        return await _timed(read.task(context, source.rng.choice(source.ids), None))

    async def survey() -> float:
        return await _timed(gateway.health.survey())

    operations: dict[str, tuple[Operation, int]] = {
        f"{GROUP} callbacks at once": (group, WRITES),
        "claim of 10 due items": (claim_due, WRITES),
        "claim of 10 queued tasks": (claim_queued, WRITES),
        "task by id": (by_id, READS),
        "survey of the backlog": (survey, WRITES),
    }
    filters = {
        "": TaskFilters(),
        ", one client's": TaskFilters(client_name=CLIENT),
        ", one status": TaskFilters(statuses=("succeeded",)),
        ", a rare status": TaskFilters(statuses=("queued",)),
    }
    for words, wanted in filters.items():
        pages = {"first page": wanted}
        before = await db.read(task_rows.list_page, wanted, 99 * PAGE)
        if len(before) == 99 * PAGE:
            ended = before[-1].task.id
            pages["hundredth page"] = replace(wanted, before_id=ended)
        for page, narrowed in pages.items():
            operations[f"{page}{words}"] = (_page(gateway, narrowed), READS)
    return operations


def _page(gateway: Gateway, filters: TaskFilters) -> Operation:
    async def run() -> float:
        return await _timed(read.task_list(gateway.context, filters, PAGE), _is_full)

    return run


async def _timed(work: Awaitable[T], check: Callable[[T], bool] | None = None) -> float:
    started = time.perf_counter()
    found = await work
    taken = time.perf_counter() - started
    # A quick answer that did nothing would be no measurement.
    assert check is None or check(found), found
    return taken


def _asked(turn: claims.ClaimResult) -> bool:
    return turn.question is not None and len(turn.question.items) == 10


def _claimed(found: dispatch.Claims) -> bool:
    return len(found.claims) == 10


def _is_full(found: tuple[list[Document], bool]) -> bool:
    return len(found[0]) == PAGE
