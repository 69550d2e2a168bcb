"""What is said of arguments, and kept apart from what it is said of so that a command starts quickly."""

from app.cli.shared_options import FAMILY_NAMES
from app.tempolor.kinds import FAMILIES


def test_the_help_names_every_family() -> None:
    assert ", ".join(FAMILIES) == FAMILY_NAMES
