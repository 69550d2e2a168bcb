"""The vendor's account: its balance, cached for a minute."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final

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

FRESH_S: Final = 60.0
WATCH_S: Final = 900.0


@dataclass(slots=True)
class Account:
    """Reads the vendor's account at most once a minute, however many ask for it."""

    context: Context
    _known: Document | None = None
    _known_since: float = 0.0
    _call: asyncio.Task[Document] | None = None

    async def get(self) -> Document:
        """``balance`` and whatever else the vendor sends, with ``as_of``. Who comes while the vendor is asked shares
        what comes of it. Raises ``VendorFailed``, which is not remembered."""
        if self._known is not None and self.context.clock.monotonic() - self._known_since < FRESH_S:
            return self._known
        if self._call is None:
            self._call = asyncio.create_task(self._ask(), name="ask for the account")
        # A caller that goes away takes nothing from those who share it.
        return await asyncio.shield(self._call)

    async def _ask(self) -> Document:
        now, since = self.context.clock.now(), self.context.clock.monotonic()
        try:
            answer = await self.context.vendor.account()
        finally:
            self._call = None
        if isinstance(answer, Unanswered):
            raise VendorFailed(f"the vendor's account could not be read ({answer.reason})")
        self._known_since = since
        self._known = {"balance": as_number(answer.get("balance")), "vendor": answer, "as_of": now}
        return self._known

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
