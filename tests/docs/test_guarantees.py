"""Each guarantee of the README has its section: the same promise, what keeps it, and tests that exist.

That the files and tests exist is checked with those of all pages, in ``test_blocks.py``.
"""

import re

import pytest

from tests.docs.pages import PAGES

PROMISES = dict(re.findall(r"^\| (G\d+) \| (.+?) \| `tests/.+\|$", PAGES["README.md"], re.MULTILINE))
PROOFS = dict(re.findall(r"^\| (G\d+) \| .+? \| (`tests/.+) \|$", PAGES["README.md"], re.MULTILINE))
SECTIONS = dict(re.findall(r"^## (G\d+) (.+?)(?=^## |\Z)", PAGES["docs/guarantees.md"], re.MULTILINE | re.DOTALL))


def test_there_are_thirteen() -> None:
    names = [f"G{n}" for n in range(1, 14)]
    assert list(PROMISES) == list(PROOFS) == list(SECTIONS) == names


@pytest.mark.parametrize("name", PROMISES)
def test_a_guarantee_says_how_it_is_kept_and_proved(name: str) -> None:
    kept, _, proved = SECTIONS[name].partition("**Proved by:**")
    assert re.search(r"\*\*Kept by:\*\*.*`app/[\w/]+\.py`", kept, re.DOTALL)
    assert len(re.findall(r"`tests/[\w/]+\.py::\w+`", proved)) >= 3


@pytest.mark.parametrize("name", PROOFS)
def test_the_files_that_the_readme_names_are_spoken_of(name: str) -> None:
    told = set(re.findall(r"`(tests/[\w/]+\.py)", PROOFS[name]))
    assert told & set(re.findall(r"`(tests/[\w/]+\.py)", SECTIONS[name]))
