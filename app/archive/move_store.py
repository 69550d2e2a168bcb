"""Move the archive to another store: every kept file is copied there, and its digest checked on the way.

Beside whatever else runs. What is there already is passed over, so a move that was interrupted, or that others have
kept files behind, is run again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from app.archive import rows
from app.archive.file_store import FileMissing, FileStore
from app.archive.verify_and_retry import DAMAGED, MISSING, Damaged, checked, fault_of
from app.database.database import Database

AT_ONCE: Final = 4
PAGE: Final = 200


@dataclass(slots=True)
class Moved:
    """How far a move is. ``wrong``: what is the matter with each file that could not be copied, by path."""

    copied: int = 0
    bytes: int = 0
    there: int = 0
    wrong: dict[str, str] = field(default_factory=dict)


async def move(
    db: Database, source: FileStore, target: FileStore, *, deep: bool, tell: Callable[[Moved], None]
) -> Moved:
    """Copy all files that are kept. ``deep``: of those that are there already read the content, too; others are taken
    for right by their size, since only whole files are ever stored. ``tell`` is called after each page. Raises
    ``StoreFailed``, ``Unavailable``."""
    moved, places, after = Moved(), asyncio.Semaphore(AT_ONCE), ""

    async def one(row: Any) -> None:
        async with places:
            await _move_one(db, source, target, row, moved, deep=deep)

    while page := await db.read(rows.list_files, after, PAGE):
        await asyncio.gather(*map(one, page))
        after = page[-1].path
        tell(moved)
    return moved


async def _move_one(db: Database, source: FileStore, target: FileStore, row: Any, moved: Moved, *, deep: bool) -> None:
    if await fault_of(target, row, deep=deep) is None:
        moved.there += 1
        return
    try:
        await target.put(row.path, checked(source, row))
    except FileMissing:
        # Unless it was deleted in order since the page was read.
        if await db.read(rows.is_kept, row.path):
            moved.wrong[row.path] = MISSING
    except Damaged:
        # It has no end then, so that nothing was stored.
        moved.wrong[row.path] = DAMAGED
    else:
        moved.copied += 1
        moved.bytes += row.bytes


async def unlisted(db: Database, store: FileStore) -> AsyncIterator[str]:
    """The paths of files in a store that the gateway does not know: somebody else's, or deleted elsewhere while they
    were moved. Raises ``StoreFailed``, ``Unavailable``."""
    async for paths in store.pages(PAGE):
        known = await db.read(rows.listed, paths)
        for path in paths:
            if path not in known:
                yield path
