"""What is shown of tasks fits: one task, and a page of them.

Each value that is kept of an item has a bound, so an item's document has one too; a task of many large items needs one
of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from app.rules.fields import left_out
from app.rules.join import size_of
from app.tasks.task_rows import Record

Document = dict[str, Any]
Read = Callable[[list[Record]], list[Document]]

MOST_TASK_BYTES: Final = 4 * 1024 * 1024
"""Of a task's JSON, whatever the vendor or somebody with its callback URL said of it."""
_MOST_ITEMS_BYTES: Final = MOST_TASK_BYTES - 256 * 1024
_WHOLE_ITEMS: Final = 5
"""So many items fit however large each is."""
MOST_PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of tasks ends with the one that goes beyond this."""
_FIRST_PART: Final = 4
_SMALL_PART_BYTES: Final = 1024 * 1024


def fit_items(shown: Sequence[Document]) -> bool:
    """Where the items of a task are too large together, leave ``vendor`` out of those that take more than their share,
    then their lyrics. Returns whether something was left out."""
    if len(shown) <= _WHOLE_ITEMS:
        return False
    sizes = [size_of(item) for item in shown]
    if sum(sizes) <= _MOST_ITEMS_BYTES:
        return False
    share = _MOST_ITEMS_BYTES // len(shown)
    for item, size in zip(shown, sizes, strict=True):
        if size > share:
            item["vendor"] = left_out(size_of(item["vendor"]))
            if size_of(item) > share:
                item["lyrics"] = item["lyrics_sections"] = None
    return True


def page_of(records: list[Record], read: Read) -> list[Document]:
    """The documents of the first of some tasks, of all of them if they fit on a page."""
    page: list[Document] = []
    room = MOST_PAGE_BYTES
    for document, size in _in_parts(records, read):
        page.append(document)
        room -= size
        if room <= 0:
            break
    return page


def _in_parts(records: list[Record], read: Read) -> Iterator[tuple[Document, int]]:
    """Documents with their sizes, read in parts, so that not much more than a page is ever in memory: a few tasks
    first, and more while what is read is small."""
    start, count = 0, _FIRST_PART
    while part := records[start : start + count]:
        sized = [(document, size_of(document)) for document in read(part)]
        yield from sized
        start += count
        count = count * 2 if sum(size for _, size in sized) <= _SMALL_PART_BYTES else _FIRST_PART
