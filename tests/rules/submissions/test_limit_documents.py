"""What is stored of a limit, as each release has written it: read by the next one, and by the one before."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from app.limits.hold import NO_HOLD, Hold, HoldState, Reason
from app.limits.shared_limits import LimitState, dump, load
from app.rules.downtime import Absence, Availability

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STORED: dict[str, Any] = {
    "hold": {
        "reason": "vendor_queue_full",
        "since": "2026-03-01T12:00:00+00:00",
        "until": "2026-03-01T12:00:07.500000+00:00",
        "wait_s": 7.5,
        "detail": "the queue is full",
        "probe_until": "2026-03-01T12:01:00.000001+00:00",
        "in_flight": 9,
    },
    "by_hand": "maintenance",
    "by_hand_since": "2026-03-01T12:00:01+00:00",
    "unknown_tasks": ["0195-a", "0195-b"],
    "last_client": "studio",
    "last_permit": "due",
    "operating": {
        "beat_at": "2026-03-01T12:00:02+00:00",
        "absences": [
            ["2026-03-01T09:00:00+00:00", "2026-03-01T10:00:00.250000+00:00", False],
            ["2026-03-01T10:30:00+00:00", "2026-03-01T11:00:00+00:00", True],
        ],
        "went_back_at": "2026-03-01T11:59:00+00:00",
    },
}
"""As the releases before wrote it."""
STATE = LimitState(
    HoldState(
        Hold(
            Reason.QUEUE_FULL,
            NOON,
            NOON + timedelta(seconds=7.5),
            7.5,
            "the queue is full",
            NOON + timedelta(seconds=60, microseconds=1),
            9,
        ),
        "maintenance",
        NOON + timedelta(seconds=1),
        ("0195-a", "0195-b"),
    ),
    NOON + timedelta(seconds=3),
    "studio",
    "due",
    Availability(
        NOON + timedelta(seconds=2),
        (
            Absence(NOON - timedelta(hours=3), NOON - timedelta(hours=2) + timedelta(milliseconds=250), False),
            Absence(NOON - timedelta(minutes=90), NOON - timedelta(hours=1), True),
        ),
        NOON - timedelta(minutes=1),
    ),
)


def as_read_before(value: Any) -> Any:
    """A document with its times as the releases before read them."""
    if isinstance(value, dict):
        return {name: as_read_before(part) for name, part in value.items()}
    if isinstance(value, list):
        return [as_read_before(part) for part in value]
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def test_what_was_stored_before_is_read() -> None:
    assert load(STORED, STATE.not_before_at) == STATE


def test_what_a_later_release_adds_is_passed_over() -> None:
    parts = {name: STORED[name] | {"new": {"of": "later"}} for name in ("hold", "operating")}
    assert load(STORED | parts | {"new": 1}, STATE.not_before_at) == STATE


def test_what_is_stored_is_read_by_the_release_before() -> None:
    written = json.loads(json.dumps(dump(STATE)))
    assert as_read_before(written) == as_read_before(STORED)
    going = json.loads(json.dumps(dump(LimitState(NO_HOLD))))
    assert going == {
        **{"hold": None, "by_hand": None, "by_hand_since": None, "unknown_tasks": []},
        **{"last_client": None, "last_permit": None},
        "operating": {"beat_at": None, "absences": [], "went_back_at": None},
    }


def test_of_nothing_it_is_as_it_begins() -> None:
    documents: list[dict[str, Any]] = [{}, {"operating": {}}, {"operating": None}, {"hold": None, "unknown_tasks": []}]
    for document in documents:
        assert load(document, None) == LimitState(NO_HOLD)
