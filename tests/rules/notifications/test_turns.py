"""Whose notification is posted next: clients take turns, and so do the receivers of each."""

from collections import Counter

from app.notifications.deliver import FairOrder
from app.tasks.notification_rows import receiver_of

MANY = [receiver_of("greedy", f"https://h{n}.example:443") for n in range(100)]
ONE = receiver_of("studio", "https://hooks.example:443")


def test_a_client_with_many_receivers_does_not_come_before_one_with_a_single() -> None:
    assert FairOrder().ordered([*MANY, ONE], Counter()).index(ONE) <= 1


def test_the_client_with_the_least_under_way_comes_first() -> None:
    busy = Counter(dict.fromkeys(MANY[:40], 1))
    assert FairOrder().ordered([*MANY, ONE], busy)[0] == ONE


def test_of_one_client_the_idle_receiver_comes_before_the_busy_one() -> None:
    busy = Counter({MANY[0]: 4})
    assert FairOrder().ordered(MANY[:3], busy)[-1] == MANY[0]
