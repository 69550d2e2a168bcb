"""Every page, in light and dark and on a phone, by axe, by keyboard alone, and as a screen reader has it."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.browser.one_loop import ON_ONE_LOOP, fixture
from tests.browser.stage import Stage, staged
from tests.browser.watched import WIDTHS, Looks, Watched, parts_have_come, resize, signed_in
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = ON_ONE_LOOP

AXE: Final = Path(__file__).parent / "assets" / "axe.min.js"
RUN_AXE: Final = """async ([exclude, runOnly]) => {
    const found = await axe.run({ exclude }, { resultTypes: ["violations"], runOnly });
    return found.violations
        .filter(one => ["serious", "critical"].includes(one.impact))
        .map(one => [one.id, ...one.nodes.slice(0, 3).map(node => `${node.target} ${node.failureSummary}`)].join(" "));
}"""
NOT_OURS: Final = {"api": [".swagger-ui"]}
"""What Swagger UI makes of the page."""
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOR_RULES: Final = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""What another scheme of colors can break."""

FOCUSABLE: Final = """() => [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, audio[controls], [tabindex='0']")]
    .filter(one => !one.disabled && one.checkVisibility({ visibilityProperty: true }))
    .map((one, number) => (one.dataset.tabbed = String(number)))"""
FOCUSED: Final = """() => {
    const one = document.activeElement;
    // A link that fills a card shows the focus around all of it.
    const styles = [undefined, "::after"].map(part => getComputedStyle(one, part));
    const box = one.getBoundingClientRect();
    return {
        number: one.dataset.tabbed ?? null,
        what: one.outerHTML.slice(0, 120),
        // A player shows the focus within itself.
        seen: (one.matches("audio") || styles.some(
            style => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0))
            && box.width > 0 && box.right > 0,
    };
}"""
NAMED_ROLES: Final = {
    "Audio",
    "button",
    "checkbox",
    "combobox",
    "comboBoxMenuList",
    "dialog",
    "DisclosureTriangle",
    "image",
    "link",
    "meter",
    "navigation",
    "progressIndicator",
    "region",
    "searchbox",
    "slider",
    "spinbutton",
    "textbox",
    "textField",
}


@fixture
async def stage(start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct, tmp_path: Path) -> Stage:
    sandbox = await start_sandbox(scale=60)
    gateway = await start_gateway(sandbox, egress_allow_private=True, archive_url=f"file://{tmp_path / 'archive'}")
    return await staged(gateway, db)


@fixture
async def watched(chromium: Any, stage: Stage) -> AsyncIterator[Watched]:
    async with signed_in(chromium, stage.gateway) as watched:
        yield watched


async def _open(page: Any, path: str) -> None:
    await page.goto(f"/console{path}")
    if path == "/api":
        await page.locator(".opblock").first.wait_for()
    await parts_have_come(page)


async def _faults(page: Any, rules: object = RULES, *, besides: Sequence[str] = ()) -> list[str]:
    """What axe finds on a page, of what is serious. ``besides``: selectors of what is not looked at."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    found: list[str] = await page.evaluate(RUN_AXE, [list(besides), rules])
    return found


@on_sqlite
async def test_axe_finds_nothing_serious_on_any_page(watched: Watched, stage: Stage) -> None:
    page = watched.page
    found: dict[str, list[str]] = {}
    for name, path in stage.paths.items():
        await resize(page, min(WIDTHS))
        await _open(page, path)
        for width in WIDTHS:
            await resize(page, width)
            found[f"{name} {width}"] = await _faults(page, besides=NOT_OURS.get(name, []))
        await page.emulate_media(color_scheme="dark")
        found[f"{name} dark"] = await _faults(page, COLOR_RULES, besides=NOT_OURS.get(name, []))
        await page.emulate_media(color_scheme="light")
    await page.context.clear_cookies()
    for path in ("/sign-in", "/link"):
        await _open(page, path)
        found[path] = await _faults(page)
    assert {name: faults for name, faults in found.items() if faults} == {}


@on_sqlite
async def test_everything_is_reached_by_the_tab_key_and_its_focus_is_seen(watched: Watched, stage: Stage) -> None:
    for name, path in stage.paths.items():
        if name not in ("api", "missing"):
            await _open(watched.page, path)
            # A part that came anew meanwhile would have lost its numbers.
            await watched.page.context.set_offline(True)
            reached, expected = await _tabbed(watched.page)
            assert reached == expected, name
            await watched.page.context.set_offline(False)


async def _tabbed(page: Any) -> tuple[list[int], list[int]]:
    """What the Tab key reaches from the top of the page on, and what it should, in the order of the page."""
    expected = [int(one) for one in await page.evaluate(FOCUSABLE)]
    await page.evaluate("document.activeElement.blur()")
    reached: list[int] = []
    # A player has stops of its own within.
    for _ in range(4 * len(expected) + 10):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(FOCUSED)
        number = None if focused["number"] is None else int(focused["number"])
        # At its end it leaves the page, or begins anew.
        if reached and number in (None, reached[0]) and number != reached[-1]:
            break
        if number is not None:
            assert focused["seen"], focused["what"]
            if reached[-1:] != [number]:
                reached.append(number)
    return reached, expected


@on_sqlite
async def test_a_screen_reader_has_a_name_for_everything(watched: Watched, stage: Stage) -> None:
    page = watched.page
    session = await page.context.new_cdp_session(page)
    for name, path in stage.paths.items():
        if name == "api":
            continue
        await _open(page, path)
        nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
        shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED_ROLES]
        # What the browser makes of a player within is named by it.
        unnamed = [node["role"]["value"] for node in shown if not node.get("name", {}).get("value", "").strip()]
        assert shown, name
        assert [role for role in unnamed if role not in ("slider",)] == [], (name, unnamed)
    await _open(page, stage.paths["song"])
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    named = {(node["role"]["value"], node["name"]["value"]) for node in nodes if not node["ignored"] and "name" in node}
    assert ("button", "Ask the vendor now") in named
    assert {role for role, name in named} >= {"banner", "main", "navigation", "heading"}


@on_sqlite
async def test_a_question_is_asked_in_a_sheet_that_escape_leaves(watched: Watched, stage: Stage) -> None:
    page = watched.page
    await page.goto("/console/holds")
    await page.get_by_role("button", name="Release submissions").press("Enter")
    await page.get_by_text("Submissions are released.").wait_for()
    opener = page.get_by_role("button", name="Hold submissions…")
    await opener.focus()
    await page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog")
    await sheet.wait_for()
    assert await page.evaluate("document.activeElement.id") == "reason"
    assert await _faults(page) == []
    await page.keyboard.press("Escape")
    await sheet.wait_for(state="hidden")
    assert await page.evaluate("document.activeElement.id") == "ask-hold"
    await page.keyboard.press("Enter")
    await page.keyboard.type("the vendor moves")
    await page.keyboard.press("Enter")
    await page.get_by_text("the vendor moves").wait_for()
    assert watched.faults == []


@on_sqlite
async def test_pages_fit_and_are_looked_at(watched: Watched, stage: Stage, looks: Looks) -> None:
    for name in ("try", "try-stems", "inbox", "callback", "notifications", "notification", "dead", "holds", "api"):
        load = partial(_open, watched.page, stage.paths[name])
        await looks.fits(watched.page, name, load, full_page=name != "api")
    assert watched.faults == []
