"""The vendor's account: its balance, cached for a minute."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response

from app.app_context import Context
from app.clients.auth import TheClient
from app.documents import schemas
from app.documents.document import Document
from app.errors import VendorFailed
from app.runtime import metrics
from app.tempolor.answers import Unanswered
from app.tempolor.values import as_number
from app.web.answers import PROBLEMS, VENDOR_FAILED, json_answer
from app.web.services import service

ACCOUNT_FRESH = timedelta(seconds=60)
WATCH_S: Final = 900.0


@dataclass(slots=True)
class Account:
    """Reads the vendor's account at most once a minute, however many ask for it."""

    context: Context
    _known: Document | None = None
    _asked_at: Any = None
    _lock: asyncio.Lock | None = None

    async def get(self) -> Document:
        """``balance`` and whatever else the vendor sends, with ``as_of``. Raises ``VendorFailed``."""
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            now = self.context.clock.now()
            # Asked later than now: the clock was set back since.
            if self._known is None or not timedelta() <= now - self._asked_at < ACCOUNT_FRESH:
                answer = await self.context.vendor.account()
                if isinstance(answer, Unanswered):
                    raise VendorFailed(f"the vendor did not tell its account ({answer.reason})")
                self._known, self._asked_at = {"balance": as_number(answer.get("balance")), "vendor": answer}, now
            return {**self._known, "as_of": self._asked_at}

    async def watch(self) -> float | None:
        """Read it every quarter of an hour, for the gauge; one that is set where somebody asks would be stale. A loop
        iteration."""
        with suppress(VendorFailed):
            balance = (await self.get())["balance"]
            if balance is not None:
                metrics.vendor_balance.set(balance)
        return WATCH_S


router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Account"])
TheAccount = Annotated[Account, service("account")]


@router.get("/account", response_model=schemas.Account, responses=VENDOR_FAILED, summary="The vendor's account")
async def get_account(_client: TheClient, account: TheAccount) -> Response:
    """The vendor's balance, at most a minute old."""
    return json_answer(await account.get())
