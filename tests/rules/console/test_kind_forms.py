"""The params that a filled form stands for."""

from typing import Any

import pytest

from app.console.kind_forms import PREFIX, params_of


@pytest.mark.parametrize(
    ("written", "number"), [("30", 30), (" 30 ", 30), ("30.5", 30.5), ("30.0", 30.0), ("1e2", 100.0), ("soon", "soon")]
)
def test_a_number_is_what_was_written(written: str, number: Any) -> None:
    """A whole one too: a param that takes no other refuses 30.0."""
    read = params_of("song.extend", {f"{PREFIX}start_time": written})["start_time"]
    assert (read, type(read)) == (number, type(number))


@pytest.mark.parametrize("written", ["inf", "-inf", "nan", "1_000", "1e400", "٣", "9" * 5000])
def test_what_json_has_no_number_for_is_left_to_be_refused(written: str) -> None:
    assert params_of("song.extend", {f"{PREFIX}start_time": written})["start_time"] == written
