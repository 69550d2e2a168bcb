"""The self-check: whether what is posted to ``GATEWAY_PUBLIC_URL`` arrives at this gateway.

A proxy that lacks the route, a certificate that has lapsed, a name that leads elsewhere: nobody notices, since every
task still ends, later and by queries. So each `serve` posts to its own public URL as TemPolor does, with a token that
is good for nothing: only a process that has the same secrets tells it from a forgery, and refuses it in words of its
own (``callbacks/endpoint``).
"""

import random
import ssl
from typing import Any, Final

import httpx
import msgspec
import structlog

from app.app_context import Context
from app.runtime import metrics
from app.tempolor.answers import NoAnswer, Response
from app.tempolor.callback_tokens import SELF_CHECK, callback_url
from app.tempolor.exchange import exchange

START_S: Final = 1.0
"""After the process has begun to serve."""
EVERY_S: Final = 3600.0
AGAIN_S: Final = (30.0, 300.0)
"""The first and the longest pause after a check that failed: a gateway may start before its proxy knows it."""
TIMEOUT_S: Final = 15.0
MOST_BYTES: Final = 16 * 1024

log = structlog.get_logger(__name__)


class SelfCheck:
    """Checks at each ``step``, a loop iteration. ``proxy``: the URL of one on the way out."""

    def __init__(self, context: Context, tls: ssl.SSLContext, proxy: str | None) -> None:
        self._context = context
        self._tls = tls
        self._proxy = proxy
        self._pause_s = AGAIN_S[0]
        self.fault: str | None = None
        """Why TemPolor will not reach this gateway, in words that follow its public URL."""

    async def step(self) -> float | None:
        """Check, and log what is found; returns the seconds until the next check. Never raises for what the network
        does."""
        before, self.fault = self.fault, await self._check()
        metrics.callbacks_unreachable.set(self.fault is not None)
        if self.fault is None:
            self._pause_s = AGAIN_S[0]
            if before is not None:
                log.warning("callbacks.reachable_again", public_url=self._context.public_url)
            # Replicas that started together need not ask together for ever.
            return EVERY_S * random.uniform(0.9, 1.1)
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, AGAIN_S[1])
        danger = "TemPolor will not reach you; tasks end by queries, later"
        log.warning("callbacks.unreachable", public_url=self._context.public_url, fault=self.fault, danger=danger)
        return pause_s

    async def _check(self) -> str | None:
        token = self._context.tokens.sign(SELF_CHECK, self._context.ids())
        url = callback_url(self._context.public_url, "song", token)
        over_tls = self._proxy is not None and self._proxy.startswith("https:")
        proxy = None if self._proxy is None else httpx.Proxy(self._proxy, ssl_context=self._tls if over_tls else None)
        async with httpx.AsyncClient(
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            follow_redirects=False,
            verify=self._tls,
            trust_env=False,
            proxy=proxy,
        ) as http:
            return _fault(await exchange(http, url, {}, TIMEOUT_S, MOST_BYTES))


def _fault(answer: Response | NoAnswer) -> str | None:
    if isinstance(answer, NoAnswer):
        return f"was not reached ({answer.reason})"
    if answer.http_status == 403 and _code(answer.content) == SELF_CHECK:
        return None
    whose = ", by something other than this gateway" if answer.http_status == 403 else ""
    return f"answered {answer.http_status}{whose}"


def _code(content: bytes) -> Any:
    try:
        problem = msgspec.json.decode(content)
    except ValueError:
        return None
    return problem.get("code") if isinstance(problem, dict) else None
