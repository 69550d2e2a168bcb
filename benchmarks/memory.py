"""How much memory a gateway takes: at rest, with many callbacks at once, with half-sent bodies, with many tasks."""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import psutil

from app.database.migrate import migrate
from app.tempolor.callback_tokens import Tokens
from benchmarks import bodies, crowded_database
from benchmarks.bodies import SECRET
from benchmarks.load import HOST, Spec, run_load
from benchmarks.repetitions import Plan
from benchmarks.report import Section, Table, say, verdict
from benchmarks.subjects import KINDS, Kind, Lab, Subject

CONNECTIONS: Final = 400
BODY: Final = 1024 * 1024
HOLD_S: Final = 4.0
FLOOD: Final = 4000
FLOOD_CONNECTIONS: Final = 32
REST_S: Final = 3.0
REST_MIB: Final = 128.0
LOAD_MIB: Final = 256.0
FLOOD_MIB: Final = 512.0
"""What docker-compose.yml allows."""
MANY: Final = 1_000_000
MANY_MIX: Final = {"waiting": 0.5, "queued": 0.5}


class Peak:
    """The largest resident set of a process while the block runs, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.mib = 0.0

    def look(self) -> None:
        self.mib = max(self.mib, self._process.memory_info().rss / 2**20)


@contextlib.contextmanager
def watching(pid: int) -> Iterator[Peak]:
    """Look at a process every 20 ms."""
    peak, done = Peak(pid), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak.look()


def measure(lab: Lab, plan: Plan) -> Section:
    """A gateway with its loops on each database, and one with very many tasks on PostgreSQL."""
    rows: list[list[str]] = []
    for kind in KINDS:
        url = lab.database(kind, "memory")
        migrate(url)
        subject = lab.serve_gateway(f"memory {kind}", url).start()
        try:
            rows += _measure_one(lab, plan, subject, kind)
        finally:
            subject.stop()
            lab.drop(kind, "memory")
    if not plan.quick:
        rows.append(_with_many(lab))
    how = (
        "Resident set (RSS) of `serve` with its loops on, the largest value seen at looks 20 ms apart. Under load: "
        f"{CONNECTIONS} connections in a closed loop. Half-sent: {CONNECTIONS} connections that announce a body of "
        f"1 MiB, send all but its last byte, and hold for {HOLD_S:g} s. "
        f"Bodies over 1 MiB (413), and, while the server is away, of half of it (503): {FLOOD_CONNECTIONS} "
        f"connections. Targets: under {REST_MIB:g} MiB at rest, under "
        f"{LOAD_MIB:g} MiB with {CONNECTIONS} connections, under {FLOOD_MIB:g} MiB in a flood."
    )
    return Section("memory", "Memory", how, [Table(["", "RSS, MiB", "target"], rows)])


def _measure_one(lab: Lab, plan: Plan, subject: Subject, kind: Kind) -> list[list[str]]:
    with watching(subject.pid) as rest:
        time.sleep(REST_S)
    batch = lab.batch(bodies.tasks_for(int(4000 * (plan.warm_s + plan.rate_s))))
    subject.seed(batch)
    with watching(subject.pid) as load:
        seen = run_load(Spec(subject.port, batch, CONNECTIONS, plan.warm_s, plan.rate_s))
    with watching(subject.pid) as half:
        answered = asyncio.run(_half_send(subject.port))
    with watching(subject.pid) as large:
        refused = asyncio.run(_flood(subject.port, BODY + 1))
    with watching(subject.pid) as after:
        time.sleep(REST_S)
    away = _while_away(lab, subject) if kind == "postgresql" else []
    say(f"  {kind}: {seen.accepted_per_s:.0f}/s under load {seen.statuses}; {answered} half-sent bodies were answered")
    say(f"  {kind}: bodies over 1 MiB were answered {refused}")
    return [
        _row(f"{kind}, at rest", rest.mib, REST_MIB),
        _row(f"{kind}, {CONNECTIONS} connections", load.mib, LOAD_MIB),
        _row(f"{kind}, {CONNECTIONS} half-sent bodies of 1 MiB", half.mib, LOAD_MIB),
        _row(f"{kind}, {FLOOD:,} bodies over 1 MiB", large.mib, FLOOD_MIB),
        _row(f"{kind}, at rest again", after.mib, LOAD_MIB),
        *away,
    ]


def _while_away(lab: Lab, subject: Subject) -> list[list[str]]:
    """Large bodies, while the server is stopped."""
    lab.postgres.stop()
    try:
        with watching(subject.pid) as peak:
            answered = asyncio.run(_flood(subject.port, BODY // 2))
    finally:
        lab.postgres.start()
    say(f"  postgresql: stopped, bodies of 0.5 MiB were answered {answered}")
    return [_row(f"postgresql stopped, {FLOOD:,} bodies of 0.5 MiB", peak.mib, FLOOD_MIB)]


def _with_many(lab: Lab) -> list[str]:
    url = lab.database("postgresql", "many")
    migrate(url)
    started = time.monotonic()
    crowded_database.seed(url, MANY, MANY_MIX)
    say(f"  postgresql: {MANY:,} waiting tasks seeded in {time.monotonic() - started:.0f} s")
    subject = lab.serve_gateway("memory many", url).start()
    try:
        with watching(subject.pid) as peak:
            time.sleep(3 * REST_S)
    finally:
        subject.stop()
        lab.drop("postgresql", "many")
    return _row(f"postgresql, {MANY:,} waiting tasks (half queued), loops running", peak.mib, LOAD_MIB)


def _row(name: str, mib: float, target: float) -> list[str]:
    say(f"  {name}: {mib:.0f} MiB")
    return [name, f"{mib:.0f}", verdict(mib, target)]


async def _half_send(port: int) -> int:
    """Send bodies but for their last byte, and hold them. Returns how many were answered all the same."""
    head = _head(f"Content-Length: {BODY}")
    part = b"x" * 65_536

    async def send() -> bool:
        reader, writer = await asyncio.open_connection(HOST, port)
        answered = False
        try:
            writer.write(head)
            left = BODY - 1
            async with asyncio.timeout(HOLD_S):
                while left:
                    writer.write(part[:left])
                    await writer.drain()
                    left -= min(left, len(part))
                answered = bool(await reader.read(64))
        except (TimeoutError, OSError):
            pass
        finally:
            writer.transport.abort()
        return answered

    return sum(await asyncio.gather(*(send() for _ in range(CONNECTIONS))))


async def _flood(port: int, size: int) -> dict[int, int]:
    """Bodies of ``size`` bytes that tell no length, each on a connection of its own. Returns how many had which
    status."""
    head = _head("Transfer-Encoding: chunked")
    body = b'{"songs":[{"item_id":"t2m_flood","note":"%s"}]}'
    body %= b"x" * (size - len(body) + 2)
    chunks = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    statuses: Counter[int] = Counter()
    left = iter(range(FLOOD))

    async def send() -> None:
        for _ in left:
            reader, writer = await asyncio.open_connection(HOST, port)
            with contextlib.suppress(OSError):
                writer.write(head)
                for chunk in chunks:
                    writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            with contextlib.suppress(OSError):
                statuses[int((await reader.read(64)).split()[1])] += 1
            writer.transport.abort()

    await asyncio.gather(*(send() for _ in range(FLOOD_CONNECTIONS)))
    return dict(statuses)


def _head(header: str) -> bytes:
    path = f"/callbacks/{bodies.FAMILY}/{Tokens([SECRET]).sign(bodies.FAMILY, None)}"
    return f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\n\r\n".encode()
