"""A page of the console in a browser, signed in as an admin and watched for what must not happen on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.gateway import ADMIN_KEY, Running

WIDTHS: Final = (1280, 390)
SCHEMES: Final = ("light", "dark")


class Watched:
    """A page, and what must not happen on it: errors in its console, and requests to other hosts that are no sound."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda asked: self._look(asked, url))

    def _look(self, asked: Any, url: str) -> None:
        if not asked.url.startswith(url) and asked.resource_type != "media":
            self.faults.append(f"{asked.resource_type} from {asked.url}")


@asynccontextmanager
async def signed_in(
    chromium: Any, gateway: Running, path: str = "/console/sign-in", **options: Any
) -> AsyncIterator[Watched]:
    """A page of an admin. ``path``: one that leads to signing in."""
    context = await chromium.new_context(base_url=gateway.url, locale="de-DE", timezone_id="Europe/Berlin", **options)
    watched = Watched(await context.new_page(), gateway.url)
    await watched.page.goto(path)
    await watched.page.get_by_label("API key").fill(ADMIN_KEY)
    await watched.page.keyboard.press("Enter")
    await watched.page.wait_for_url("**/console")
    yield watched
    await context.close()
