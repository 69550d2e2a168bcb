"""``python -m benchmarks.code_shape``: how much of the code one callback, submission, question and notification passes.

Each is carried out in this process, on SQLite against the sandbox, and every function of ours that runs until it is
done is noted: what somebody opens who wants to follow it. What the plainest request passes as well (the server's
connection, the middleware) is a row of its own, and not counted again; nor is how loops run, and what the writer of
callbacks does in others' turns, which only happens to run meanwhile. ``--write`` brings the table of
``docs/architecture.md`` up to date.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final
from uuid import UUID

from app.database.migrate import migrate
from app.notifications.deliver import Notifier
from app.reconcile.ask import Reconciler
from app.runtime.logging import set_up
from app.sandbox.config import SandboxConfig
from app.sandbox.run import running as running_sandbox
from app.submissions.dispatch import Dispatcher
from benchmarks.report import Table, say
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, running_gateway
from tests.support.receiver import receiving
from tests.support.song_callbacks import done

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "architecture.md"
BESIDE: Final = ("sandbox", "client", "demo")
"""Programs beside the gateway, which take part here."""
IDLE_S: Final = 1.5
ANY_REQUEST: Final = "any request"
ACTS: Final = (ANY_REQUEST, "submission", "callback", "question", "notification")
_TABLE: Final = re.compile(r"(?<=<!-- shape -->\n).*?(?=<!-- /shape -->)", re.DOTALL)
_MADE: Final = re.compile(r"<(listcomp|setcomp|dictcomp|genexpr|lambda)>$")

Act = Callable[[], Awaitable[Any]]


class Walk:
    """Notes the functions of ours that run while it is on, in every thread."""

    def __init__(self) -> None:
        self._is_on = False
        self._seen: dict[CodeType, dict[str, Any]] = {}
        self._beside: set[CodeType] = set()

    async def beside(self, act: Act, packages: Sequence[str] = ("",)) -> None:
        """Do not count from now on what runs during an act in some packages; in all, if none is named."""
        await self._note_during(act)
        self._beside |= {code for code in self._seen if _is_of(code, packages)}

    async def along(self, act: Act) -> list[str]:
        """What ran from the beginning of an act to its end: distinct functions, files, types, and lines of the
        files."""
        await self._note_during(act)
        self._seen = {code: names for code, names in self._seen.items() if code not in self._beside}
        functions = {code for code in self._seen if not _MADE.search(code.co_qualname)}
        files = {code.co_filename for code in self._seen}
        types = {kind for code, names in self._seen.items() for kind in _types_of(code, names)}
        lines = sum(_lines_of(name) for name in files)
        return [f"{number:,}" for number in (len(functions), len(files), len(types), lines)]

    async def _note_during(self, act: Act) -> None:
        self._seen, self._is_on = {}, True
        try:
            await act()
        finally:
            self._is_on = False

    def listing(self) -> str:
        """The functions of each file."""
        found: dict[str, list[str]] = {}
        for code in self._seen:
            found.setdefault(str(Path(code.co_filename).relative_to(ROOT)), []).append(code.co_qualname)
        return "\n".join(f"{file}: {', '.join(found[file])}" for file in sorted(found))

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        """For ``sys.setprofile``."""
        code = frame.f_code
        if self._is_on and event == "call" and code not in self._seen and _is_ours(code.co_filename):
            self._seen[code] = frame.f_globals


def _lines_of(file: str) -> int:
    return len(Path(file).read_text().splitlines())


def _is_ours(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(ROOT / "app") and path.relative_to(ROOT / "app").parts[0] not in BESIDE


def _is_of(code: CodeType, packages: Sequence[str]) -> bool:
    path = str(Path(code.co_filename).relative_to(ROOT / "app"))
    return any(path.startswith(package) for package in packages)


def _types_of(code: CodeType, names: dict[str, Any]) -> set[type]:
    """The classes of ours that a function belongs to or names."""
    named = (names.get(name) for name in (*code.co_names, code.co_qualname.partition(".")[0]))
    return {one for one in named if isinstance(one, type) and one.__module__.startswith("app.")}


async def walk(directory: Path, *, names: bool) -> list[list[str]]:
    """The rows of the table. Each act is carried out twice, and the second time counts: what is made once and
    kept is on nobody's way."""
    walk_ = Walk()
    threading.setprofile(walk_.note)
    url = f"sqlite:///{directory / 'gateway.db'}"
    await asyncio.to_thread(migrate, url)
    clock = ScaledClock()
    async with (
        running_sandbox(SandboxConfig(habits={"stuck": 1})) as sandbox,
        receiving() as receiver,
        running_gateway(
            url, workers=False, clock=clock, tempolor_base_url=sandbox.base_url, egress_allow_private=True
        ) as gateway,
    ):
        sys.setprofile(walk_.note)
        stories = _Stories(gateway, clock, f"http://127.0.0.1:{receiver.port}/hook")
        stories.pause(writers=False)
        await walk_.beside(stories.idle, ("runtime/",))
        rows = []
        for name in ACTS:
            make = getattr(stories, name.replace(" ", "_"))
            await (await make())()
            act = await make()
            stories.pause(writers=name != "callback")
            rows.append([name, *await walk_.along(act)])
            if name == ANY_REQUEST:
                await walk_.beside(act)
            stories.pause(writers=False)
            if names:
                say(walk_.listing())
        sys.setprofile(None)
    return rows


class _Stories:
    """Each makes ready what it needs, and returns the act itself."""

    def __init__(self, gateway: Running, clock: ScaledClock, hook: str) -> None:
        context = gateway.gateway.context
        self._gateway, self._clock, self._hook = gateway, clock, hook
        self._sender, self._asker = Dispatcher(context), Reconciler(context)
        self._notifier_of = partial(Notifier, context, gateway.gateway.webhooks)

    def pause(self, *, writers: bool) -> None:
        """Pause all loops; of the writers of callbacks only where nothing is to be written."""
        for loop in self._gateway.gateway.supervisor._loops:
            loop.paused = (lambda: True) if writers or not loop.name.startswith("callbacks-") else (lambda: False)
            loop.wake.set()

    async def idle(self) -> None:
        """Let the loops have some turns, with nothing to do."""
        await asyncio.sleep(IDLE_S)

    async def any_request(self) -> Act:
        async def act() -> None:
            assert (await self._gateway.api.request("GET", "/healthz", content=b"{}")).status_code == 200

        return act

    async def submission(self) -> Act:
        async def act() -> None:
            task = await self._gateway.submit(webhook_url=self._hook)
            await self._sender.step()
            await self._gateway.until(task["id"], "running")

        return act

    async def callback(self) -> Act:
        task = await self._running_task()
        url, body = self._gateway.callback_url("song", UUID(task["id"])), done(task["items"][0]["item_id"])

        async def act() -> None:
            assert (await self._gateway.api.post(url, json=body)).text == "success"

        return act

    async def question(self) -> Act:
        await self._running_task()
        self._clock.skip(600)

        async def act() -> None:
            await self._asker.step()
            await self._asker.finish(5)

        return act

    async def notification(self) -> Act:
        await (await self.callback())()
        notifier = self._notifier_of()

        async def act() -> None:
            await notifier.step()
            await notifier.finish(5)

        return act

    async def _running_task(self) -> dict[str, Any]:
        task = await self._gateway.submit(webhook_url=self._hook)
        await self._sender.step()
        return await self._gateway.until(task["id"], "running")


def main() -> None:
    """Show the table, and write it down if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.code_shape", description=__doc__)
    parser.add_argument("--write", action="store_true", help="bring the table of docs/architecture.md up to date")
    parser.add_argument("--names", action="store_true", help="show the functions of each file too")
    given = parser.parse_args()
    set_up("console", "error")
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(walk(Path(directory), names=given.names))
    table = Table(["one", "functions", "files", "types", "lines of the files"], rows).markdown()
    say(table)
    if given.write:
        PAGE.write_text(_TABLE.sub(table, PAGE.read_text()))


if __name__ == "__main__":
    main()
