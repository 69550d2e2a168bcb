"""Find params that are probably misspelled: no kind has them, and they differ from one that this kind has by a letter
or two. They are passed on, and cost a song that is not as it was meant."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from app.tempolor.kinds import KINDS

MOST_LOOKED_AT: Final = 50
"""Unknown params of one task."""
MOST_CHARS: Final = 40
SHORT_CHARS: Final = 5
"""In a name of up to so many one letter may differ, in a longer one two."""
_KNOWN_ANYWHERE: Final = frozenset(name for kind in KINDS.values() for name in kind.params.model_fields)


def misspelled_in(kind_name: str, params: Iterable[str]) -> list[str]:
    """The names among these params that are probably misspelled, in their order."""
    kind = KINDS.get(kind_name)
    if kind is None:
        return []
    unknown = (name for name in params if name not in _KNOWN_ANYWHERE)
    return [
        name
        for name in islice(unknown, MOST_LOOKED_AT)
        if any(_is_misspelling(name, documented) for documented in kind.params.model_fields)
    ]


def _is_misspelling(name: str, documented: str) -> bool:
    allowed = 1 if len(documented) <= SHORT_CHARS else 2
    if len(name) > MOST_CHARS or abs(len(name) - len(documented)) > allowed:
        return False
    return _distance(name.lower(), documented) <= allowed


def _distance(one: str, other: str) -> int:
    """The edit distance of two names: letters to be added, left out, replaced, or exchanged with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row, older = row, [at], before
        before = above
        for column, target in enumerate(other, 1):
            steps = min(above[column] + 1, row[-1] + 1, above[column - 1] + (letter != target))
            if at > 1 and column > 1 and letter == other[column - 2] and one[at - 2] == target:
                steps = min(steps, older[column - 2] + 1)
            row.append(steps)
    return row[-1]
