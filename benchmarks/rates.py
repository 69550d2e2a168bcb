"""Callbacks at a rate of their own, whether they are answered or not: steady, too many, and everything between."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from benchmarks import chart
from benchmarks.load import Summary
from benchmarks.repetitions import Plan, Sizer, by_turns
from benchmarks.report import Section, Table, median, number, say, spread, verdict
from benchmarks.subjects import KINDS, Lab

STEADY_RATE: Final = 200.0
STEADY_P99_MS: Final = 25.0
CAPACITY_CONNECTIONS: Final = 64
OVERLOAD: Final = 2.0
MOST_CONNECTIONS: Final = 1500
"""More than the gateway lets wait at once, so that a free connection is there for each request that is due."""
REFUSED_P99_MS: Final = 100.0
ACCEPTED_SHARE: Final = 0.6
LATE_MS: Final = 25.0
"""The generator counts as a bottleneck where it writes one request in a hundred later than this."""
CURVE: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.2, 1.5)


def steady(lab: Lab, plan: Plan) -> Section:
    """A comfortable rate: how long an acknowledgement takes, and how much of that is the machine's and the server's."""
    sizer = Sizer(lab, plan)
    seen: dict[str, list[Summary]] = defaultdict(list)
    floor = lab.floor()
    for subject in by_turns([floor, *(lab.gateway(kind) for kind in KINDS)], plan.rounds):
        one = sizer.open(subject, STEADY_RATE, connections_for(STEADY_RATE), plan.rate_s)
        say(f"  {subject.name:19} {_line(one)}")
        seen[subject.name].append(one)
    rows, notes = [], []
    for name, found in seen.items():
        p99 = median(one.ok.p99 for one in found)
        rows.append(
            [
                name,
                number(median(one.accepted_per_s for one in found)),
                *(number(median(getattr(one.ok, rank) for one in found)) for rank in ("p50", "p95")),
                spread([one.ok.p99 for one in found]),
                "" if name == floor.name else verdict(p99, STEADY_P99_MS),
            ]
        )
        notes += _generator_notes(name, found)
    how = (
        f"Open loop, {STEADY_RATE:g} callbacks/s with random (exponential) gaps for {plan.rate_s:g} s; the latency "
        f"counts from when a callback was due. Medians of {plan.rounds} rounds, the subjects one after the other in "
        f"each. Target of the gateway: p99 under {STEADY_P99_MS:g} ms."
    )
    columns = ["subject", "accepted/s", "p50 ms", "p95 ms", "p99 ms", "target"]
    return Section("steady", "Steady load", how, [Table(columns, rows)], notes)


@dataclass(slots=True)
class _Flood:
    """What one subject did under twice its capacity, round by round."""

    capacities: list[float] = field(default_factory=list)
    found: list[Summary] = field(default_factory=list)

    @property
    def shares(self) -> list[float]:
        """Accepted, of the capacity."""
        return [one.accepted_per_s / capacity for one, capacity in zip(self.found, self.capacities, strict=True)]


def overload(lab: Lab, plan: Plan) -> Section:
    """Twice what is possible: refusals must be fast, and the rest must go on."""
    sizer = Sizer(lab, plan)
    seen: dict[str, _Flood] = defaultdict(_Flood)
    for subject in by_turns([lab.gateway(kind) for kind in KINDS], plan.rounds):
        capacity = sizer.closed(subject, CAPACITY_CONNECTIONS).accepted_per_s
        one = sizer.open(subject, OVERLOAD * capacity, connections_for(OVERLOAD * capacity), plan.rate_s)
        say(f"  {subject.name:19} capacity {capacity:.0f}/s   {_line(one)}")
        seen[subject.name].capacities.append(capacity)
        seen[subject.name].found.append(one)
    rows, notes = [], []
    for name, flood in seen.items():
        refused_p99 = median(one.refused.p99 for one in flood.found)
        share = median(flood.shares)
        rows.append(
            [
                name,
                number(median(flood.capacities)),
                number(median(one.answers / one.seconds for one in flood.found)),
                f"{median(one.refused_share for one in flood.found):.0%}",
                f"{number(refused_p99)} ({verdict(refused_p99, REFUSED_P99_MS)})",
                number(median(one.ok.p99 for one in flood.found)),
                f"{share:.0%} ({verdict(share, ACCEPTED_SHARE, at_least=True)})",
            ]
        )
        notes += _generator_notes(name, flood.found)
    how = (
        f"The capacity is measured in a closed loop with {CAPACITY_CONNECTIONS} connections, and then twice that is "
        f"offered in an open loop over up to {MOST_CONNECTIONS} connections for {plan.rate_s:g} s; latencies count "
        f"from when a callback was due. Medians of {plan.rounds} rounds, the subjects one after the other in each. "
        f"Targets: p99 of the refusals (503) under {REFUSED_P99_MS:g} ms, at least {ACCEPTED_SHARE:.0%} of the "
        "capacity still accepted."
    )
    columns = ["subject", "capacity/s", "answered/s", "503", "p99 of 503, ms", "p99 of 200, ms", "accepted of capacity"]
    return Section("overload", "Overload", how, [Table(columns, rows)], notes)


def curve(lab: Lab, plan: Plan) -> Section:
    """Latency against the offered load, from idle to beyond the capacity."""
    sizer = Sizer(lab, plan)
    rows, notes = [], []
    lines: dict[str, list[chart.Point]] = {}
    for kind in KINDS:
        subject = lab.gateway(kind)
        capacity = median(
            sizer.closed(subject, CAPACITY_CONNECTIONS).accepted_per_s for _ in range(min(plan.rounds, 3))
        )
        for share in CURVE[::3] if plan.quick else CURVE:
            one = sizer.open(subject, share * capacity, connections_for(share * capacity), plan.run_s)
            say(f"  {subject.name:19} {share:4.0%} of {capacity:.0f}/s   {_line(one)}")
            offered = share * capacity
            lines.setdefault(kind, []).append(chart.Point(offered, one.ok.p50, one.ok.p99))
            cells = [number(offered), number(one.accepted_per_s), number(one.ok.p50), number(one.ok.p99)]
            rows.append([f"{subject.name}, {share:.0%}", *cells, f"{one.refused_share:.0%}"])
            notes += _generator_notes(f"{subject.name} at {share:.0%}", [one])
    how = (
        f"Open loop, {plan.run_s:g} s at each share of the capacity (closed loop, {CAPACITY_CONNECTIONS} connections); "
        "latencies of accepted callbacks from when they were due."
    )
    columns = ["", "offered/s", "accepted/s", "p50 ms", "p99 ms", "503"]
    section = Section("curve", "Latency against offered load", how, [Table(columns, rows)], notes)
    section.picture = chart.NAME
    chart.DRAWN[chart.NAME] = chart.draw(lines)
    return section


def connections_for(rate: float) -> int:
    """Enough for two seconds of requests, each on one of its own."""
    return int(min(max(2 * rate, 64), MOST_CONNECTIONS))


def _line(found: Summary) -> str:
    return (
        f"{found.accepted_per_s:7.0f}/s accepted   p50 {found.ok.p50:6.1f}  p99 {found.ok.p99:7.1f} ms   "
        f"503: {found.refused_share:.0%}, p99 {found.refused.p99:.1f} ms   generator {found.cpu:.0%}, "
        f"late p99 {found.late.p99:.1f} ms, {found.waited} without a connection, {found.errors} broken"
    )


def _generator_notes(name: str, found: list[Summary]) -> list[str]:
    """Where the generator may have been the bottleneck, or answers were missing."""
    notes = []
    late = median(one.late.p99 for one in found)
    if late > LATE_MS:
        notes.append(f"{name}: the generator itself was late (p99 {number(late)} ms after a request was due)")
    waited = sum(one.waited for one in found)
    if waited > 0.01 * sum(one.answers for one in found):
        notes.append(f"{name}: {waited} requests found no free connection when they were due; their wait is counted")
    if broken := sum(one.errors for one in found):
        notes.append(f"{name}: {broken} requests got no answer")
    return notes
