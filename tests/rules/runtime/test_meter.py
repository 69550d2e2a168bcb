"""Wrong keys and tokens are throttled per address, in bounded memory; right ones never."""

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import TooManyFailures
from app.web.wrong_key_limit import MOST_ADDRESSES, MOST_FAILURES, WINDOW_S, FailureMeter, network_of


class Ticks:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failures_until_throttled(meter: FailureMeter, addresses: list[str] | Iterator[Any]) -> int:
    for count, address in enumerate(addresses, start=1):
        try:
            meter.fail(address)
        except TooManyFailures:
            return count
    return 0


def test_the_addresses_of_one_ipv6_network_share_a_count() -> None:
    network = ipaddress.ip_network("2001:db8:1:2::/64")
    addresses = [str(network[n * 7919]) for n in range(MOST_FAILURES + 1)]
    assert failures_until_throttled(FailureMeter(), addresses) == MOST_FAILURES + 1
    # A neighbouring network is somebody else.
    meter = FailureMeter()
    assert failures_until_throttled(meter, addresses[:-1]) == 0
    meter.fail("2001:db8:1:3::1")


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:DB8:0:0:ffff::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, "no address", True),
    ],
)
def test_one_address_has_one_count_however_it_is_written(one: str | None, other: str, alike: bool) -> None:
    assert (network_of(one) == network_of(other)) is alike


def test_a_flood_of_networks_stays_in_bounded_memory() -> None:
    meter = FailureMeter()
    for n in range(MOST_ADDRESSES + 1000):
        meter.fail(str(ipaddress.IPv6Address((0x20010DB8 << 96) | (n << 64) | n)))
    assert len(meter._windows) == MOST_ADDRESSES
    # Who goes on failing meanwhile is not forgotten.
    meter = FailureMeter()
    flood = (str(ipaddress.IPv6Address((0x20010DB8 << 96) | (n << 64))) for n in range(3 * MOST_ADDRESSES))
    mixed = (address for n, one in enumerate(flood) for address in ((one,) if n % 100 else (one, "192.0.2.1")))
    assert failures_until_throttled(meter, mixed) > MOST_ADDRESSES


def test_the_window_ends_and_retry_after_says_when() -> None:
    ticks = Ticks()
    meter = FailureMeter(monotonic=ticks)
    for _ in range(MOST_FAILURES):
        meter.fail("192.0.2.1")
    ticks.now += 20
    with pytest.raises(TooManyFailures) as caught:
        meter.fail("192.0.2.1")
    assert caught.value.retry_after_s == WINDOW_S - 20
    ticks.now += 40
    meter.fail("192.0.2.1")
