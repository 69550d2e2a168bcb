"""The changelog keeps its form, and the version is the same wherever it stands."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECTIONS = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_releases_have_a_number_and_a_date_the_newest_first() -> None:
    first, *rest = SECTIONS
    releases = rest if first == "Unreleased" else SECTIONS
    found = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d{2}-\d{2})", one) for one in releases]
    assert found
    keys = [(tuple(map(int, one.groups()[:3])), one[4]) for one in found if one]
    assert len(keys) == len(found), releases
    assert keys == sorted(keys, reverse=True)


def test_the_version_is_the_newest_release_or_one_that_is_being_worked_on() -> None:
    if VERSION.endswith(".dev0"):
        assert SECTIONS[0] == "Unreleased"
        assert not any(one.startswith(f"{VERSION.removesuffix('.dev0')} ") for one in SECTIONS)
    else:
        assert any(one.startswith(f"{VERSION} - ") for one in SECTIONS)


def test_the_image_has_the_version_of_the_package() -> None:
    assert f"ARG VERSION={VERSION}\n" in (ROOT / "Dockerfile").read_text()
