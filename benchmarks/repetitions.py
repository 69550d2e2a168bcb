"""How long and how often to measure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks import bodies
from benchmarks.load import Spec, Summary, run_load
from benchmarks.subjects import Lab, Subject

T = TypeVar("T")
CONNECTIONS: Final = (16, 64, 256)


@dataclass(frozen=True, slots=True)
class Plan:
    """``quick``: shorter runs and smaller tables, to see that everything works; its numbers are rough."""

    quick: bool
    rounds: int
    connections: tuple[int, ...] = CONNECTIONS
    """Of the closed loops."""

    @property
    def warm_s(self) -> float:
        return 0.5 if self.quick else 1.0

    @property
    def run_s(self) -> float:
        return 1.5 if self.quick else 5.0

    @property
    def rate_s(self) -> float:
        """How long an open loop runs."""
        return 3.0 if self.quick else 10.0


class Sizer:
    """Makes batches large enough: how many callbacks a subject took in a second is known from its last run."""

    FIRST_GUESS = 2500.0
    MARGIN = 2.0
    LEAST = 1000.0

    def __init__(self, lab: Lab, plan: Plan) -> None:
        self._lab = lab
        self._plan = plan
        self._rates: dict[str, float] = {}

    def closed(self, subject: Subject, connections: int) -> Summary:
        """Seed fresh tasks, and run a closed loop on them."""
        plan = self._plan
        rate = self._rates.get(subject.name, self.FIRST_GUESS) * self.MARGIN
        # What keeps nothing may be sent the same bodies again.
        count = 20_000 if subject.repeat else rate * (plan.warm_s + plan.run_s) + connections
        batch = self._lab.batch(bodies.tasks_for(int(count)))
        subject.seed(batch)
        seen = run_load(Spec(subject.port, batch, connections, plan.warm_s, plan.run_s, repeat=subject.repeat))
        found = max(seen.accepted_per_s, self.LEAST)
        self._rates[subject.name] = max(found * (2 if seen.ran_out else 1), self._rates.get(subject.name, 0) * 0.7)
        return seen

    def open(self, subject: Subject, rate: float, connections: int, run_s: float) -> Summary:
        """Seed fresh tasks, and offer their callbacks at a fixed rate."""
        warm_s = self._plan.warm_s
        count = rate * (warm_s + run_s) * 1.1 + 200
        batch = self._lab.batch(bodies.tasks_for(int(count)))
        subject.seed(batch)
        return run_load(Spec(subject.port, batch, connections, warm_s, run_s, rate=rate))


def by_turns(subjects: Sequence[Subject], rounds: int) -> Iterator[Subject]:
    """Each subject once in each round, in another order each time: what the machine does meanwhile meets them all."""
    for round_ in range(rounds):
        yield from in_order_of(round_, subjects)


def in_order_of(round_: int, subjects: Sequence[T]) -> list[T]:
    """The subjects as one round has them."""
    first = round_ % len(subjects)
    return [*subjects[first:], *subjects[:first]]
