"""Whose request it is behind a proxy: the innermost middleware that reads X-Forwarded-For, where it is believed.

Every proxy on the way appends the address that it was called from, so the list is read from its end: as long as the
speaker is a proxy that the operator named, the entry before it is true. What stands further left may have been sent
by anybody. Uvicorn's own middleware is not used: it takes any text for an address, and does not know an IPv4 proxy
that speaks to a socket of IPv6.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYBODY: Final = "*"
_EVERYWHERE: Final = ("0.0.0.0/0", "::/0")


def believe(app: ASGIApp, proxies: Sequence[str]) -> ASGIApp:
    """The application, with the address (and scheme) that these proxies forward. ``proxies``: addresses and
    networks, or ``*`` for anybody. Without any, the application as it is: no header is looked at."""
    if not proxies:
        return app
    named = [one for entry in proxies for one in (_EVERYWHERE if entry == ANYBODY else (entry,))]
    trusted = [ipaddress.ip_network(one, strict=False) for one in named]

    async def forwarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client") is not None:
            scope = _as_forwarded(scope, trusted)
        await app(scope, receive, send)

    return forwarded


def _as_forwarded(scope: Scope, trusted: Sequence[IpNetwork]) -> Scope:
    speaker = read_address(scope["client"][0])
    if speaker is None or not _is_in(speaker, trusted):
        return scope
    lists = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    schemes = [value.strip().decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    client = _first_stranger(speaker, ",".join(lists), trusted)
    scheme = schemes[0] if len(schemes) == 1 and schemes[0] in ("http", "https") else scope["scheme"]
    # The port that a proxy was called from is not forwarded.
    return {**scope, "scheme": scheme} | ({} if client is speaker else {"client": (str(client), 0)})


def _first_stranger(speaker: IpAddress, forwarded: str, trusted: Sequence[IpNetwork]) -> IpAddress:
    """From the end: the first that is no proxy of ours; else the last one that could be read."""
    for text in reversed(forwarded.split(",")):
        found = read_address(text)
        if found is None:
            break
        speaker = found
        if not _is_in(found, trusted):
            break
    return speaker


def read_address(text: str) -> IpAddress | None:
    """An address as proxies write it: bare, with a port, in brackets; an IPv4 one mapped to IPv6 as IPv4."""
    text = text.strip()
    if text.startswith("[") and "]" in text:
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # The name of an interface, of any length, may follow a % in IPv6: it means nothing here.
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_in(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    return any(address in network for network in networks)
