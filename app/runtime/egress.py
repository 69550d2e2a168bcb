"""Guard egress against SSRF: decide which addresses somebody else's URL may lead to, and connect to no other.

A name is looked up once, all its addresses are checked, and the connection goes to a checked address itself, so DNS
rebinding changes nothing. How an address was written (127.1, 0x7f.1, 2130706433, ::ffff:127.0.0.1) does not matter
either, since what is checked is what it resolved to. TLS still asks for the name's certificate, because httpcore
takes that name from the URL.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import httpcore
import structlog

from app.runtime.addresses import Address, parse_address, unmapped

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 5.0
"""Where the call sets no limit of its own: for looking up and connecting together."""
_RESOLVER_THREADS: Final = 80
"""More than all posts that a process has under way, so that none waits for another's slow name server."""

Resolve = Callable[..., Sequence[tuple[Any, Any, Any, Any, Any]]]
"""Called as ``socket.getaddrinfo`` is, in a thread; raises ``OSError`` where it finds nothing."""

_IPV6_UNICAST: Final = IPv6Network("2000::/3")
"""All that is allocated as global so far. The rest of IPv6 is refused without knowing what it is for: unique and site
local, multicast, IPv4-compatible, discard-only, locally used NAT64, segment routing."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SPECIAL: Final[tuple[IPv4Network | IPv6Network, ...]] = (
    # The versions of Python differ on these ("globally reachable" exceptions came with 3.12.4 and 3.13).
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # IETF protocol assignments, with Teredo
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("3fff::/20"),  # documentation
    # It carries an IPv4 address inside, which may be a private one; nobody is reached only by it.
    IPv6Network("2002::/16"),  # 6to4
    # Looks public, but leads to the host under a virtual machine of Azure, which hands out credentials.
    IPv4Network("168.63.129.16/32"),
)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Where calls may go whose address somebody else chose: to public addresses, to those in ``networks``, and with
    ``allow_private`` anywhere."""

    allow_private: bool = False
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def allows(self, address: Address) -> bool:
        """Whether a connection to this address may be made."""
        plain = unmapped(address)
        return self.allow_private or is_public(address) or any(plain in network for network in self.networks)

    def allows_host(self, host: str) -> bool:
        """Whether a URL's host may be called as far as can be told without a look-up: false only for a literal
        address that is not allowed, however it is written (127.1, 0x7f.1, 2130706433). A name is looked up and checked
        at each call."""
        try:
            # A dot at the end makes a name of an address, which the resolver reads as the address all the same.
            infos = socket.getaddrinfo(host.removesuffix("."), None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return True
        return all(self.allows(ip_address(sockaddr[0])) for *_, sockaddr in infos)


def is_loopback(host: str) -> bool:
    """Whether a host, as ``urlsplit`` has it, is this machine."""
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = parse_address(name)
    return address is not None and address.is_loopback


class EgressRefused(Exception):
    """A name or address leads to where calls must not go. No connection was made."""


class NameNotResolved(httpcore.ConnectError):
    """The name has no address."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and an address that it carries inside does too.

    A NAT64 prefix of the operator's own cannot be told from other addresses: its gateway must refuse private ones.
    """
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address not in _IPV6_UNICAST:
            return False
    # `is_global` holds for multicast too, whose private use is not private for it.
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is reached through this one, where that is a common way to reach a public host."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


class EgressGuard(httpcore.AsyncNetworkBackend):
    """httpcore's network backend for URLs that somebody else chose. ``close()`` it at the end."""

    def __init__(self, policy: EgressPolicy, *, resolve: Resolve = socket.getaddrinfo) -> None:
        self._policy = policy
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()
        # A look-up cannot be cancelled, and whoever chose the name may have chosen its slow name server: in the event
        # loop's default executor a few of these would hold up all look-ups, the vendor's too.
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="egress-resolve")

    def close(self) -> None:
        """Abandon look-ups that are under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check, connect, within ``timeout`` seconds in all.

        Raises ``EgressRefused``, ``NameNotResolved``, ``httpcore.ConnectError``, ``httpcore.ConnectTimeout``.
        """
        connect = partial(self._network.connect_tcp, local_address=local_address, socket_options=socket_options)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (CONNECT_TIMEOUT_S if timeout is None else timeout)
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._look_up(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the name server did not answer") from None
        self._check(host, port, addresses)
        failure: Exception = NameNotResolved("no address")
        tries = _one_of_each_family(addresses)
        for left, address in zip(range(len(tries), 0, -1), tries, strict=True):
            try:
                return await connect(str(address), port, timeout=(deadline - loop.time()) / left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no URL of somebody else leads to a file of ours."""
        raise EgressRefused("unix sockets are never called")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _look_up(self, host: str, port: int) -> list[Address]:
        look_up = partial(self._resolve, host, port, type=socket.SOCK_STREAM)
        try:
            infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
            return [ip_address(sockaddr[0]) for *_, sockaddr in infos]
        except (OSError, ValueError):
            raise NameNotResolved("the name could not be resolved") from None

    def _check(self, host: str, port: int, addresses: list[Address]) -> None:
        """Refuse a name of which any address is not allowed: a retry, or the next call, could take that one."""
        refused = [str(address) for address in addresses if not self._policy.allows(address)]
        if refused:
            # The host and no more of the URL: its path and query may hold somebody's secrets.
            log.warning("egress.refused", reason="address_not_public", host=host, port=port, addresses=refused[:4])
            raise EgressRefused("the address is not public")


def _one_of_each_family(addresses: list[Address]) -> list[Address]:
    """The resolver's first choice, and the first of the other family, for hosts that lack a route for one of them.

    No more, so that each gets time enough; the next attempt of a notification finds another order.
    """
    firsts: dict[int, Address] = {}
    for address in addresses:
        firsts.setdefault(address.version, address)
    return list(firsts.values())
