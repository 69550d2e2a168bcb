"""How many queued tasks a second are sent and known to be running, where the vendor answers at once."""

import time
from typing import Final
from uuid import UUID

from app.database.migrate import migrate
from benchmarks import bulk_insert, seeding
from benchmarks.load import HOST
from benchmarks.repetitions import Plan
from benchmarks.report import Section, Table, say, spread
from benchmarks.subjects import KINDS, Kind, Lab, Subject

QUEUED: Final = 3000
QUEUED_QUICK: Final = 600
ALL_AT_ONCE: Final = "1000000"
"""Tasks in flight: the limit of the vendor's plan is not what is measured."""
TIMEOUT_S: Final = 120.0


def measure(lab: Lab, plan: Plan) -> Section:
    """Start a gateway on a database full of queued tasks, and see how soon they run; both databases by turns."""
    size = QUEUED_QUICK if plan.quick else QUEUED
    vendor = lab.instant_vendor()
    found: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for round_ in range(plan.rounds):
        for kind in KINDS if round_ % 2 == 0 else reversed(KINDS):
            rate = _run(lab, kind, vendor, size)
            found[kind].append(rate)
            say(f"  round {round_ + 1}, {kind:10} {rate:6.0f} submissions/s")
    how = (
        f"{size:,} tasks stand queued when `serve` starts, with its loops on and no limit to what is in flight; the "
        f"vendor is a bare server that accepts each submission at once. Between a tenth of them and nine tenths. "
        f"Medians of {plan.rounds} rounds with their range."
    )
    rows = [[f"gateway {kind}", spread(rates)] for kind, rates in found.items()]
    return Section("submissions", "Submissions per second", how, [Table(["subject", "running/s"], rows)])


def _run(lab: Lab, kind: Kind, vendor: Subject, size: int) -> float:
    url = lab.database(kind, "submissions")
    migrate(url)
    pattern = seeding.make_pattern(url, "queued")
    pattern.copy((seeding.Copy(UUID(int=pattern.task_id.int + place), ()) for place in range(1, size)), durable=True)
    subject = lab.serve_gateway(
        f"submissions {kind}",
        url,
        TEMPOLOR_BASE_URL=f"http://{HOST}:{vendor.port}",
        SUBMIT_MAX_IN_FLIGHT=ALL_AT_ONCE,
    )
    subject.start()
    try:
        return _rate(url, size)
    finally:
        subject.stop()
        lab.drop(kind, "submissions")


def _rate(url: str, size: int) -> float:
    """Tasks a second that came to run, between a tenth of them and nine tenths."""
    seen: list[tuple[float, int]] = []
    deadline = time.monotonic() + TIMEOUT_S
    while not seen or seen[-1][1] < size * 0.9:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{size} tasks were not sent in {TIMEOUT_S:g} s")
        time.sleep(0.1)
        [[running]] = bulk_insert.fetch(url, "SELECT count(*) FROM tasks WHERE status = 'running'")[1]
        if running >= size / 10:
            seen.append((time.monotonic(), running))
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    return (last - first) / (last_at - first_at)
