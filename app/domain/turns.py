"""Turns: which clients get the free slots, so that one with a thousand tasks does not starve one with a single one."""

import heapq
from collections.abc import Mapping, Sequence


def share(room: int, in_flight: Mapping[str, int], waiting: Sequence[str]) -> dict[str, int]:
    """How many slots each of the waiting clients gets: one after the other to who has the fewest tasks in flight by
    then; among equals to who stands first."""
    if not waiting:
        return {}
    turns = [(in_flight.get(name, 0), place) for place, name in enumerate(waiting)]
    heapq.heapify(turns)
    shares: dict[str, int] = {}
    for _ in range(room):
        count, place = turns[0]
        heapq.heapreplace(turns, (count + 1, place))
        shares[waiting[place]] = shares.get(waiting[place], 0) + 1
    return shares
