"""Check webhooks: their event types, and their URLs, which one parser reads here and for the call."""

import ipaddress
import re
from functools import lru_cache
from typing import Annotated, Final

import httpx
from pydantic import AfterValidator

from app.errors import InvalidRequest
from app.rules.task import NotificationType
from app.runtime.egress import EgressPolicy

MOST_URL_CHARS: Final = 2048
WebhookEvents = Annotated[list[NotificationType], AfterValidator(lambda events: list(dict.fromkeys(events)))]
"""The types of notifications that a client wants, each once; an empty list for none."""
_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
"""After IDNA. Underscores are no part of a host name by the book, but container networks have them."""


def check_url(url: str, egress: EgressPolicy) -> None:
    """Refuse what can be no receiver's URL, and a literal address that may not be called. Looks nothing up: where a
    name leads is checked at each call.

    Raises ``InvalidRequest``; its detail does not repeat the URL.
    """
    if not egress.allows_host(read_url(url).host):
        raise InvalidRequest("its address is not public, and GATEWAY_EGRESS_ALLOW_CIDRS does not allow it")


def read_url(url: str) -> httpx.URL:
    """Parse the URL: http or https, a host, no user info, a usable port. Raises ``InvalidRequest``."""
    if len(url) > MOST_URL_CHARS:
        raise InvalidRequest(f"the URL is longer than {MOST_URL_CHARS} characters")
    try:
        read = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise InvalidRequest("the URL cannot be read") from None
    if read.scheme not in ("http", "https"):
        raise InvalidRequest("the URL must begin with http:// or https://")
    if read.userinfo:
        # It would be sent as a password, shown wherever the URL is, and "https://good@evil" misleads readers.
        raise InvalidRequest("the URL must not contain user information")
    if not _is_host(read.raw_host.decode("ascii")):
        raise InvalidRequest("the URL must name a host")
    if read.port is not None and not 1 <= read.port <= 65535:
        raise InvalidRequest("the URL's port must be between 1 and 65535")
    return read


@lru_cache(maxsize=1024)
def origin_of(url: str) -> str:
    """The origin of a URL, which is who receives what is posted: its scheme, host and port. One that cannot be read has
    an empty one."""
    try:
        read = read_url(url)
    except InvalidRequest:
        return ""
    default = {"http": 80, "https": 443}[read.scheme]
    return f"{read.scheme}://{read.host}:{read.port or default}"


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        # A zone ("%eth0") names an interface of ours, which is not a stranger's to choose.
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False
