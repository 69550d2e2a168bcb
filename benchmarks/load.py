"""Load on a server, made by a process of its own: what to send, and what was seen.

Closed loop: every connection sends its next request when the last one is answered. Open loop: requests are due
at random times of a fixed mean rate, whatever the answers do, and are timed from when they were due.
"""

import json
import subprocess
import sys
from array import array
from dataclasses import asdict, dataclass, field
from typing import Final

from benchmarks.bodies import Batch

HOST: Final = "127.0.0.1"
STRAGGLERS_S: Final = 20.0
"""How long an open loop waits for the answers to what it sent."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One run. ``rate`` (requests per second) makes it an open loop. ``repeat``: the bodies may be sent again."""

    port: int
    batch: Batch
    connections: int
    warm_s: float
    run_s: float
    rate: float | None = None
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """Latencies in milliseconds."""

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run saw between its warm-up and its end.

    ``late``: how much later than due requests were written (open loop). ``waited``: requests that found no idle
    connection. ``cpu``: the generator's share of one core. ``ran_out``: the bodies did not last to the end.
    """

    seconds: float
    accepted_per_s: float
    ok: Times
    refused: Times
    late: Times
    statuses: dict[str, int]
    errors: int
    waited: int
    cpu: float
    ran_out: bool
    sizes: list[int] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return sum(self.statuses.values())

    @property
    def refused_share(self) -> float:
        return self.refused.count / max(self.answers, 1)


def run_load(spec: Spec) -> Summary:
    """Run the generator to its end, and return what it saw."""
    process = start_load(spec)
    return finish_load(process)


def start_load(spec: Spec) -> "subprocess.Popen[str]":
    """Start the generator."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.generator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(spec)))
    process.stdin.close()
    process.stdin = None
    return process


def finish_load(process: "subprocess.Popen[str]") -> Summary:
    """Wait for the generator, and return what it saw."""
    out, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the load generator failed")
    found = json.loads(out)
    for name in ("ok", "refused", "late"):
        found[name] = Times(**found[name])
    return Summary(**found)


def times(seconds: "array[float] | list[float]") -> Times:
    """Percentiles by nearest rank."""
    if not seconds:
        return Times()
    ordered = sorted(seconds)
    ranked = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000 for share in (0.50, 0.95, 0.99, 1)]
    return Times(len(ordered), *ranked)
