"""``Retry-After`` as other servers write it."""

import email.utils
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.retry_after import parse_retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1),
        ("5", 5),
        (" 30 ", 30),
        ("86400", 86_400),
        ("86401", 86_400),
        ("9" * 400, 86_400),
        (email.utils.format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (email.utils.format_datetime(NOW - timedelta(seconds=90), usegmt=True), 1),
        (email.utils.format_datetime(NOW + timedelta(days=900), usegmt=True), 86_400),
        ("Sun, 01 Mar 2026 13:01:00 +0100", 60),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_a_day_and_never_at_once(text: str, seconds: int) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "  ", "soon", "-5", "1.5", "1e9", "0x10", "Sun, 32 Mar 2026 12:00:00 GMT", ","])
def test_an_unreadable_retry_after_is_none(text: str) -> None:
    assert parse_retry_after(text, NOW) is None


def test_no_retry_after_is_none() -> None:
    assert parse_retry_after(None, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Wed, 21 Oct 2099 07:28:00 +99999999999999",
        "Wed, 99999999999999999999 Oct 2026 07:28:00 GMT",
    ],
)
def test_no_retry_after_raises(text: str) -> None:
    assert parse_retry_after(text, NOW) in (None, 1, 86_400)


@pytest.mark.parametrize("zone", ["", " -0000"])
def test_a_retry_after_date_without_a_zone_is_utc_or_unreadable(zone: str) -> None:
    assert parse_retry_after(f"Sun, 01 Mar 2026 12:01:30{zone}", NOW) in (None, 90)


@given(st.text(st.characters(codec="latin-1"), max_size=30))
def test_whatever_the_header_says_it_is_a_day_at_most_or_nothing(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 1 <= seconds <= 86_400
