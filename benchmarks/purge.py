"""How long an acknowledgement takes while retention deletes what ended, against when there is nothing to delete."""

import time
from typing import Final

import httpx

from app.database.migrate import migrate
from benchmarks import crowded_database, seeding
from benchmarks.bodies import Batch
from benchmarks.load import HOST, Summary
from benchmarks.rates import STEADY_RATE, connections_for
from benchmarks.repetitions import Plan, Sizer
from benchmarks.report import Section, Table, median, number, say, spread, verdict
from benchmarks.subjects import KINDS, Kind, Lab, Subject

ENDED: Final = 1_000_000
ENDED_QUICK: Final = 20_000
MOST_RATIO: Final = 2.0
AT_ONCE_DAYS: Final = "0.0001"
"""What ended some seconds ago is old enough."""
NEVER: Final = "0"


def measure(lab: Lab, plan: Plan) -> Section:
    """Steady callbacks on a database full of ended tasks: by turns with retention off and with all of them old."""
    size = ENDED_QUICK if plan.quick else ENDED
    rows = []
    for kind in KINDS:
        url = lab.database(kind, "purge")
        migrate(url)
        started = time.monotonic()
        crowded_database.seed(url, size, {"ended": 1.0})
        say(f"  {kind}: {size:,} ended tasks seeded in {time.monotonic() - started:.0f} s")
        found: dict[str, list[Summary]] = {NEVER: [], AT_ONCE_DAYS: []}
        purged = []
        for _ in range(plan.rounds):
            for days, summaries in found.items():
                one, deleted = _run(lab, plan, kind, url, days)
                summaries.append(one)
                if days == AT_ONCE_DAYS:
                    purged.append(deleted)
        lab.drop(kind, "purge")
        quiet, busy = ([one.ok.p99 for one in summaries] for summaries in found.values())
        ratio = median(busy) / median(quiet)
        told = f"{ratio:.2f} ({verdict(ratio, MOST_RATIO)})"
        rows.append([f"gateway {kind}", spread(quiet), spread(busy), told, number(median(purged))])
    how = (
        f"Open loop, {STEADY_RATE:g} callbacks/s for {plan.rate_s:g} s, on a database with {size:,} ended tasks; "
        "`serve` with its loops on, by turns with retention off and with all of them old enough. Rows of "
        f"all tables deleted in a run. Median of {plan.rounds} interleaved rounds; target: at most {MOST_RATIO:g}×."
    )
    columns = ["subject", "p99 ms, quiet", "p99 ms, purging", "ratio", "rows deleted"]
    return Section("purge", "Retention under load", how, [Table(columns, rows)])


def _run(lab: Lab, plan: Plan, kind: Kind, url: str, days: str) -> tuple[Summary, float]:
    subject = lab.serve_gateway(f"purge {kind}", url, RETENTION_DAYS=days)

    def seed(batch: Batch) -> None:
        seeding.seed_running(url, batch, None)

    subject.seed = seed
    subject.start()
    try:
        before = _deleted(subject)
        one = Sizer(lab, plan).open(subject, STEADY_RATE, connections_for(STEADY_RATE), plan.rate_s)
        deleted = _deleted(subject) - before
    finally:
        subject.stop()
    say(f"  {kind} {'quiet  ' if days == NEVER else 'purging'} p99 {one.ok.p99:6.1f} ms, {deleted:,.0f} rows deleted")
    return one, deleted


def _deleted(subject: Subject) -> float:
    lines = httpx.get(f"http://{HOST}:{subject.port}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("gateway_purged_rows_total{"))
