"""The vendor's account, for everybody who submits."""

from typing import Annotated

from fastapi import APIRouter, Response

from app.clients.auth import TheClient
from app.documents import schemas
from app.operations.account import Account
from app.web.answers import PROBLEMS, VENDOR_FAILED, json_answer
from app.web.services import service

router = APIRouter(prefix="/v1", responses=PROBLEMS)
TheAccount = Annotated[Account, service("account")]


@router.get("/account", response_model=schemas.Account, responses=VENDOR_FAILED, summary="The vendor's account")
async def get_account(_client: TheClient, account: TheAccount) -> Response:
    """The vendor's balance, at most a minute old."""
    found = await account.get()
    return json_answer(found)
