"""The trace: scripts of what clients, the vendor and time do to a gateway, and the record of all that becomes visible.

It is the net under a change of how state is saved: it knows the HTTP surface and the vendor's side alone, and says that
nothing is another than before, on both databases, without saying what is right. A chapter is a test that plays a script
(``play.py``: each verb is a step) and compares what was told with ``records/<chapter>.txt``.

How to read a record. ``#7 at 8.08s:`` begins a step, by the virtual clock. ``→`` is the answer to it. ``vendor <`` and
``client <`` are what those were sent and what they answered. ``a status: "queued" → "running"`` is a change in the
document of task ``a``, ``a/t2m_1`` its item; ``+`` a new row of the inbound log or of the notifications. Below a
notification stands how its body differs (``≠``) from the task as it is after the step. What the timelines have gained
stands at the end of each part.

How to read a failing diff. ``-`` is what is kept, ``+`` what was told now; the line above each piece names its step.
The first piece is nearest to the cause, later ones may only follow from it. Where the change is meant, ``make trace``
records all chapters anew; its diff then belongs to the change and is read with it.
"""

import functools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.stories.trace.play import Play
from tests.stories.trace.record import difference

RECORDS = Path(__file__).with_name("records")


class Chapter(Play):
    """A script on its stage. ``kept``: its record; ``records``: whether it is written."""

    def __init__(self, database_url: str, stack: AsyncExitStack, kept: Path, *, records: bool) -> None:
        super().__init__(database_url, stack)
        self._kept = kept
        self._records = records

    async def end(self) -> None:
        """Compare the record with the one that is kept, or keep it."""
        told = await self.text()
        if self._records:
            self._kept.parent.mkdir(exist_ok=True)
            self._kept.write_text(told)
        elif found := difference(self._kept, told):
            again = "Where that is meant: `make trace` records it anew; read its diff before it is committed."
            pytest.fail(f"{self._kept.name} was told otherwise:\n{found}\n{again}", pytrace=False)

    def so_far(self) -> str:
        """How what was told until now differs from the beginning of what is kept."""
        return difference(self._kept, "\n".join(self.lines) + "\n", is_part=True) or "as recorded until here"


def chapter(script: Callable[[Chapter], Awaitable[None]]) -> Any:
    """A test that plays a script and then ends it."""

    @functools.wraps(script)
    async def test(play: Chapter) -> None:
        try:
            await script(play)
        except Exception as error:
            error.add_note(play.so_far())
            raise
        await play.end()

    return test
