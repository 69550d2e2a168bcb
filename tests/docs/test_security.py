"""SECURITY.md names tests that there are, for every defence."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
WITH_PROOFS = ("From the internet", "A client with a key", "A lying vendor")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 40
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert not name or re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_every_defence_names_a_test() -> None:
    for title in WITH_PROOFS:
        section = TEXT.partition(f"### {title}\n")[2].partition("\n##")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
        assert len(rows) >= 5
        assert [row for row in rows if "`tests/" not in row.rpartition(" | ")[2]] == []
