"""A page of the console in a browser, signed in as an admin and watched for what must not happen on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.gateway import ADMIN_KEY, Running

WIDTHS: Final = (390, 1280)


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


class Looks:
    """How a page is looked at. In ``folder``, if there is one, a picture of it is kept for each width and scheme."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def fits(self, page: Any, name: str, load: Callable[[], Awaitable[object]], **options: Any) -> None:
        """Load a page as a phone does, and widen it: at no width is there anything to scroll for to the side."""
        await resize(page, min(WIDTHS))
        await load()
        for width in WIDTHS:
            await resize(page, width)
            if self._folder is not None:
                for scheme in ("dark", "light"):
                    await page.emulate_media(color_scheme=scheme)
                    await self.keep(page, f"{name}-{width}-{scheme}", **options)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)

    async def keep(self, page: Any, name: str, *, full_page: bool = True) -> None:
        """Keep a picture, if pictures are kept."""
        if self._folder is not None:
            await page.screenshot(path=self._folder / f"{name}.png", full_page=full_page)


async def resize(page: Any, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})


async def parts_have_come(page: Any) -> None:
    """Wait for what a page fetches by itself: callbacks, and what is in a zip."""
    await page.wait_for_function("() => !document.querySelector('.htmx-request')")
