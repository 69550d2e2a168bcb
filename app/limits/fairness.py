"""Turns: which clients get the free slots, so that one with a thousand tasks does not starve one with a single one."""

import heapq
from collections.abc import Mapping, Sequence


def in_turn(names: Sequence[str], last: str | None) -> list[str]:
    """Clients in the order of their turns: by name, beginning after the one that came last."""
    return sorted(names, key=lambda name: (last is not None and name <= last, name))


def share(room: int, in_flight: Mapping[str, int], waiting: Sequence[str]) -> list[str]:
    """Who gets each of the slots, one after the other: the client with the fewest tasks in flight by then, among
    equals the one that stands first in ``waiting``."""
    turns = [(in_flight.get(name, 0), place) for place, name in enumerate(waiting)]
    heapq.heapify(turns)
    served = []
    for _ in range(room if turns else 0):
        count, place = turns[0]
        heapq.heapreplace(turns, (count + 1, place))
        served.append(waiting[place])
    return served
