"""Browsers without a browser: clients with cookies that sign in and post forms."""

from collections.abc import AsyncIterator

import pytest

from tests.stories.console.browser import Browser, opened
from tests.support.gateway import ADMIN_KEY, Running


@pytest.fixture
async def admin(gateway: Running) -> AsyncIterator[Browser]:
    """An admin's browser."""
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        yield browser


@pytest.fixture
async def studio(gateway: Running) -> AsyncIterator[Browser]:
    """The browser of the client ``studio``, which is no admin."""
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    async with opened(gateway.url) as browser:
        await browser.sign_in(made["api_key"])
        yield browser
