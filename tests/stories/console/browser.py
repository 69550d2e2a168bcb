"""What a browser does for a page, without running anything in it: cookies, forms, links."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.plain_http import client as plain_client


@dataclass
class Browser:
    """``key``: whose session it has."""

    http: httpx.AsyncClient
    key: str = ""

    async def sign_in(self, key: str) -> None:
        answer = await self.http.post("/console/sign-in", data={"key": key})
        assert answer.status_code == 303, answer.text
        self.key = key

    async def see(self, path: str, status: int = 200) -> str:
        """The text of a page."""
        answer = await self.http.get(path, follow_redirects=True)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.text

    async def token(self) -> str:
        [token] = set(re.findall(r'name="csrf" value="([\w-]+)"', await self.see("/console")))
        return token

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """Post a form as a page of the console does."""
        return await self.http.post(path, data={"csrf": await self.token()} | fields)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Browser]:
    async with plain_client(url, timeout=20) as http:
        yield Browser(http)


def words_of(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
