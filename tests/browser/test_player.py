"""A kept file in Chromium's own player: it plays, and a place further on is fetched by itself."""

from pathlib import Path
from typing import Any

from tests.browser.one_loop import ON_ONE_LOOP
from tests.support.databases import on_sqlite
from tests.support.kept_sound import SECONDS, archive_in, keep_sound
from tests.support.start_fixtures import StartGateway

pytestmark = ON_ONE_LOOP


@on_sqlite
async def test_chromium_plays_a_kept_file_from_where_it_is_told(
    chromium: Any, start_gateway: StartGateway, tmp_path: Path
) -> None:
    kept = await keep_sound(await start_gateway(**archive_in(tmp_path / "archive")))
    page = await chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.headers.get("range", "")))
    await page.set_content(f'<audio controls preload="metadata" src="{kept.url}"></audio>')
    await page.wait_for_function("document.querySelector('audio').readyState >= 1", timeout=20_000)
    assert abs(await page.evaluate("document.querySelector('audio').duration") - SECONDS) < 0.1
    await page.evaluate("document.querySelector('audio').currentTime = 290")
    await page.evaluate("document.querySelector('audio').play()")
    await page.wait_for_function("document.querySelector('audio').currentTime > 290.5", timeout=20_000)
    assert await page.evaluate("document.querySelector('audio').error") is None
    assert await kept.parts() >= 2
    assert any(int(text.removeprefix("bytes=").partition("-")[0]) > 1_000_000 for text in asked if text), asked
    await page.close()
