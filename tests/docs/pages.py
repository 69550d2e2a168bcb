"""The pages of the documentation, and the fenced blocks that stand on them.

The words after a block's language say how it is executed; ``test_blocks.py`` knows them all.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
ELSEWHERE = {"docs/upgrading.md": "tests/processes/upgrades/test_next_schema.py"}
"""Pages whose Python tells one story that a test of their own executes."""
_FENCE = re.compile(r"^( *)```(\S*) *([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences. ``line`` is that of the first one, from 1."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks_of(page: str, text: str) -> list[Block]:
    return [
        Block(page, text.count("\n", 0, one.start()) + 1, one[2], tuple(one[3].split()), one[4])
        for one in _FENCE.finditer(text)
    ]


BLOCKS = [block for page, text in PAGES.items() for block in _blocks_of(page, text)]


def blocks(language: str, *words: str) -> list[Block]:
    """The blocks of a language that carry exactly these words."""
    return [block for block in BLOCKS if block.language == language and block.words == words]


def block(page: str, language: str, *words: str) -> Block:
    """The only such block of a page."""
    [found] = [one for one in blocks(language, *words) if one.page == page]
    return found


def without_blocks(text: str) -> str:
    """The prose of a page, with each block replaced by a line."""
    return _FENCE.sub("\n", text)
