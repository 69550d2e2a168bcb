"""Chromium, as Debian packages it. Where there is none, or Playwright is not installed, these tests are skipped.

It is started once in a worker, which costs as much as a short test, and each test has a context of its own in it. So
these tests and their fixtures share one event loop.
"""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser.one_loop import fixture
from tests.browser.watched import Looks, Watched, signed_in
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway, StartSandbox, gateways, sandboxes

CHROMIUM: Final = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOTS: Final = Path(__file__).parents[2] / "build" / "screenshots"


@fixture(scope="session")
async def chromium() -> AsyncIterator[Any]:
    playwright = pytest.importorskip("playwright.async_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: install Debian's `chromium`, or name one in CHROMIUM")
    async with playwright.async_playwright() as started:
        # Root has no sandbox of Chromium's, and containers have a small /dev/shm.
        args = ["--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"]
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=args)
        yield browser
        await browser.close()


@fixture
async def start_sandbox() -> AsyncIterator[StartSandbox]:
    async with sandboxes() as start:
        yield start


@fixture
async def start_gateway(database_url: str) -> AsyncIterator[StartGateway]:
    async with gateways(database_url) as start:
        yield start


@fixture
async def gateway(start_gateway: StartGateway, start_sandbox: StartSandbox) -> Running:
    """A gateway that works, in front of a sandbox whose songs take some seconds."""
    sandbox = await start_sandbox(scale=40)
    return await start_gateway(sandbox, egress_allow_private=True)


@fixture
async def watched(chromium: Any, gateway: Running) -> AsyncIterator[Watched]:
    async with signed_in(chromium, gateway, "/") as watched:
        yield watched


@pytest.fixture
def looks(request: pytest.FixtureRequest) -> Looks:
    return Looks(SCREENSHOTS if request.config.getoption("--screenshots") else None)
