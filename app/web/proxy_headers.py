"""Find the client's address behind trusted proxies: a middleware that reads X-Forwarded-For.

Every proxy on the way appends the address that it was called from, so the list is read from its end: as long as the
peer is a proxy that the operator trusts, the entry before it is true. What stands further left may have been sent by
anybody. Uvicorn's own middleware is not used: it takes any text for an address, and does not know an IPv4 proxy that
connects to a socket of IPv6.
"""

from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.runtime.addresses import Address, Network, parse_address, parse_network

ANYBODY: Final = "*"
_EVERYWHERE: Final = ("0.0.0.0/0", "::/0")


def trust_proxies(app: ASGIApp, proxies: Sequence[str]) -> ASGIApp:
    """Wrap the application so that it sees the client's address and scheme as these proxies forward them. ``proxies``:
    addresses and networks, or ``*`` for anybody. Without any, no header is read."""
    if not proxies:
        return app
    networks = [network for entry in proxies for network in (_EVERYWHERE if entry == ANYBODY else (entry,))]
    trusted = [parse_network(network) for network in networks]

    async def forwarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client") is not None:
            scope = _as_forwarded(scope, trusted)
        await app(scope, receive, send)

    return forwarded


def _as_forwarded(scope: Scope, trusted: Sequence[Network]) -> Scope:
    peer = read_address(scope["client"][0])
    if peer is None or not _is_in(peer, trusted):
        return scope
    lists = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    schemes = [value.strip().decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    client = _last_untrusted(peer, ",".join(lists), trusted)
    scheme = schemes[0] if len(schemes) == 1 and schemes[0] in ("http", "https") else scope["scheme"]
    # The port that a proxy was called from is not forwarded.
    return {**scope, "scheme": scheme} | ({} if client is peer else {"client": (str(client), 0)})


def _last_untrusted(peer: Address, forwarded: str, trusted: Sequence[Network]) -> Address:
    """The last address of the list that is no trusted proxy; if there is none, the first one up to which all could be
    read."""
    for text in reversed(forwarded.split(",")):
        address = read_address(text)
        if address is None:
            break
        peer = address
        if not _is_in(address, trusted):
            break
    return peer


def read_address(text: str) -> Address | None:
    """Parse an address as proxies write it: bare, with a port, in brackets; an IPv4 one mapped to IPv6 as IPv4."""
    text = text.strip()
    if text.startswith("[") and "]" in text:
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    # The name of an interface, of any length, may follow a % in IPv6: it means nothing here.
    return parse_address(text.partition("%")[0])


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
