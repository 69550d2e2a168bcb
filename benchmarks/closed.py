"""Callbacks as fast as they are taken: the gateway against the plain way and the floor, in rounds of one run each."""

from collections import defaultdict
from collections.abc import Iterable

from benchmarks.load import Summary
from benchmarks.repetitions import Plan, Sizer, in_order_of
from benchmarks.report import Section, Table, median, number, say, spread
from benchmarks.subjects import KINDS, Lab

Seen = dict[tuple[str, int], list[Summary]]


def measure(lab: Lab, plan: Plan) -> Section:
    """Run every subject once in each round, in a different order each time."""
    subjects = [lab.floor(), *(make(kind) for kind in KINDS for make in (lab.gateway, lab.plain)), lab.plain_sql()]
    sizer = Sizer(lab, plan)
    seen: Seen = defaultdict(list)
    sizes: list[int] = []
    for round_ in range(plan.rounds):
        for connections in plan.connections:
            for subject in in_order_of(round_, subjects):
                found = sizer.closed(subject, connections)
                seen[subject.name, connections].append(found)
                sizes = found.sizes or sizes
                say(f"  round {round_ + 1}, {connections:3} connections, {subject.name:20} {_line(found)}")
    names = [subject.name for subject in subjects]
    webhooks = "the tasks have webhooks, so notifications are written" if lab.webhook_url else "no task has a webhook"
    how = (
        f"Closed loop: each connection sends its next callback when the last one is answered. {plan.rounds} rounds, "
        f"the subjects one after the other in each, {plan.run_s:g} s after {plan.warm_s:g} s of warm-up, fresh tasks "
        f"and bodies for each run; medians of the rounds with their range. {_sizes(sizes)} `plain` is the plain way "
        "(FastAPI, a session per request, ORM get–change–commit; `plain.py`), `plain SQL` the same by hand (FastAPI, "
        "asyncpg, a transaction of plain SQL; `plain_sql.py`), `floor` a bare ASGI answer on the same "
        f"server. Commits are durable everywhere; {webhooks}."
    )
    notes = [
        f"{name} at {connections}: {note}"
        for (name, connections), found in seen.items()
        if (note := _oddities(found)) is not None
    ]
    return Section("callbacks", "Callbacks per second", how, [_table(names, seen, plan), _ratios(seen, plan)], notes)


def _line(found: Summary) -> str:
    return (
        f"{found.accepted_per_s:8.0f}/s   p50 {found.ok.p50:7.1f}  p95 {found.ok.p95:7.1f}  p99 {found.ok.p99:7.1f} ms"
        f"   generator {found.cpu:.0%}{'   RAN OUT' if found.ran_out else ''}{_others(found)}"
    )


def _others(found: Summary) -> str:
    others = {status: count for status, count in found.statuses.items() if status != "200"}
    return (f"   {others}" if others else "") + (f"   {found.errors} broken" if found.errors else "")


def _oddities(found: list[Summary]) -> str | None:
    texts = [_others(one).strip() for one in found] + [
        f"bodies ran out after {one.seconds:.1f} s" for one in found if one.ran_out
    ]
    return "; ".join(text for text in texts if text) or None


def _sizes(sizes: list[int]) -> str:
    if not sizes:
        return ""
    low, mid, high = (sizes[int(share * (len(sizes) - 1))] / 1024 for share in (0.05, 0.5, 0.95))
    return f"Requests of {low:.1f}–{high:.1f} KB (5th–95th percentile; median {mid:.1f} KB)."


def _table(names: list[str], seen: Seen, plan: Plan) -> Table:
    rows = []
    for connections in plan.connections:
        for name in names:
            found = seen[name, connections]
            rows.append(
                [
                    f"{name}, {connections} connections",
                    spread([one.accepted_per_s for one in found]),
                    *(number(median(getattr(one.ok, rank) for one in found)) for rank in ("p50", "p95")),
                    spread([one.ok.p99 for one in found]),
                ]
            )
    return Table(["subject", "accepted/s", "p50 ms", "p95 ms", "p99 ms"], rows)


def _ratios(seen: Seen, plan: Plan) -> Table:
    """Ratios of one round's runs, which stood under the same noise; medians of those."""
    rows = []
    pairs = [(kind, f"plain {kind}") for kind in KINDS] + [("postgresql", "plain SQL postgresql")]
    for kind, other in pairs:
        for connections in plan.connections:
            ours, plain = seen[f"gateway {kind}", connections], seen[other, connections]
            floor = seen["floor", connections]
            rows.append(
                [
                    f"gateway {kind} to {other}, {connections} connections",
                    _ratio((one.accepted_per_s for one in ours), (one.accepted_per_s for one in plain)),
                    _ratio((one.accepted_per_s for one in ours), (one.accepted_per_s for one in floor)),
                    _ratio((one.ok.p99 for one in ours), (one.ok.p99 for one in plain)),
                ]
            )
    columns = ["", "to plain, accepted/s", "to floor, accepted/s", "to plain, p99"]
    return Table(columns, rows)


def _ratio(ours: Iterable[float], theirs: Iterable[float]) -> str:
    return f"{median(a / max(b, 1e-9) for a, b in zip(ours, theirs, strict=True)):.2f}"
