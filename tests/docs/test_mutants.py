"""The faults of ``make mutants`` can all be made, and the page tells of each."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT
from tests.mutants.mutation import Misplaced, Mutation
from tests.mutants.table import MUTATIONS


def test_each_can_be_made() -> None:
    for one in MUTATIONS:
        one.check(ROOT)


def test_there_are_enough_and_each_has_an_id_of_its_own() -> None:
    assert len({one.id for one in MUTATIONS}) == len(MUTATIONS) >= 64


def test_the_page_lists_them_as_they_are() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\w+) \| (.+?) \|", PAGES["docs/mutants.md"], re.MULTILINE)
    assert rows == [(one.id, one.subject, one.breaks) for one in MUTATIONS]


def test_one_whose_text_is_gone_or_not_the_only_one_names_itself() -> None:
    for old in ("no such text", "import"):
        with pytest.raises(Misplaced, match=r"^gone: .* times in app/main\.py, not once$"):
            Mutation("gone", "join", "app/main.py", old, "", "nothing", ()).check(ROOT)
