"""The checks of the demo: what is not as it should be fails it, also a fault that did not strike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.demo.checks import EARLY_CALLBACK, LOST_ANSWER, LOST_CALLBACK, Evidence, Step, failures, read_steps
from app.demo.demo import FAULTS, TASKS, timeline_text
from app.tempolor.kinds import KINDS
from tempolor_gateway_client import TimelineEntry

CALLBACK = {"acknowledged": True, "item_id": "1"}
QUERY = {"number": 9, "operation": "query"}


def moved(at_s: float, type_: str, before: str, after: str) -> Step:
    return Step(at_s, type_, [], before, after)


def evidence(fault: str | None = None, **changes: Any) -> Evidence:
    """Of a task that went as it should."""
    steps = {
        None: [Step(0, "submitted"), moved(1, "callback", "running", "succeeded")],
        LOST_CALLBACK: [Step(0, "submitted"), moved(1, "query", "running", "succeeded")],
        EARLY_CALLBACK: [Step(0, "callback", ["audio_complete"]), Step(1, "submitted")],
        LOST_ANSWER: [
            moved(0, "outcome_unknown", "submitting", "unconfirmed"),
            moved(1, "callback", "unconfirmed", "succeeded"),
        ],
    }[fault]
    lost = fault == LOST_CALLBACK
    made = Evidence(
        "song.generate",
        fault,
        {"status": "succeeded", "error": None, "items": [{"artifacts": {"audio": {"status": "ready"}}}]},
        steps,
        [{"items": [{"dropped": ["complete"] if lost else []}]}],
        [{"fault": "reset" if fault == LOST_ANSWER else None}],
        [QUERY] if lost else [],
        [] if lost else [CALLBACK],
    )
    return replace(made, **changes)


def test_the_demo_has_one_task_of_every_kind_and_three_faults() -> None:
    assert sorted(TASKS) == sorted(KINDS)
    assert set(FAULTS) <= set(TASKS)
    assert sorted(FAULTS.values()) == sorted([LOST_CALLBACK, EARLY_CALLBACK, LOST_ANSWER])


@pytest.mark.parametrize("fault", [None, LOST_CALLBACK, EARLY_CALLBACK, LOST_ANSWER])
def test_what_went_as_it_should_is_no_fault(fault: str | None) -> None:
    assert failures([evidence(fault)]) == []


@pytest.mark.parametrize(
    ("fault", "changes", "words"),
    [
        (None, {"task": {"status": "failed", "error": {"message": "no such voice"}, "items": []}}, "no such voice"),
        (None, {"submissions": [{"fault": None}, {"fault": None}]}, "2 submissions"),
        (None, {"works": []}, "took 0"),
        (None, {"callbacks": [{**CALLBACK, "acknowledged": False}]}, "not acknowledged"),
        (
            None,
            {"task": {"status": "succeeded", "error": None, "items": [{"artifacts": {"a": {"status": "failed"}}}]}},
            "not ready: a",
        ),
        (LOST_CALLBACK, {"works": [{"items": [{"dropped": []}]}]}, "lost no callback"),
        (LOST_CALLBACK, {"queries": []}, "not a query"),
        (LOST_CALLBACK, {"steps": [moved(1, "callback", "running", "succeeded")]}, "a callback arrived"),
        (EARLY_CALLBACK, {"steps": [Step(0, "submitted"), Step(1, "callback", ["a"])]}, "the answer came first"),
        (EARLY_CALLBACK, {"steps": [Step(0, "submitted")]}, "no callback"),
        (LOST_ANSWER, {"submissions": [{"fault": None}]}, "the vendor answered"),
        (LOST_ANSWER, {"steps": [Step(0, "submitted")]}, "the gateway got an answer"),
        (LOST_ANSWER, {"steps": [moved(0, "outcome_unknown", "submitting", "unconfirmed")]}, "settled it"),
    ],
)
def test_what_did_not_go_as_it_should_is_told(fault: str | None, changes: dict[str, Any], words: str) -> None:
    assert any(words in line for line in failures([evidence(fault, **changes)]))


def test_a_timeline_is_told_in_steps() -> None:
    accepted = datetime(2026, 1, 1, tzinfo=UTC)
    called = accepted + timedelta(seconds=2.5)
    steps = read_steps(
        [
            TimelineEntry(1, accepted, "accepted", 1, {}, {}),
            TimelineEntry(2, called, "callback", 2, {"items": [{"event": "wav_complete"}]}, {}),
            TimelineEntry(2, called, "status", 2, {"from": "running", "to": "succeeded"}, {}),
        ]
    )
    assert timeline_text(steps, 80) == "    0.00 accepted · 2.50 callback wav_complete → succeeded"
    assert timeline_text(steps, 44) == "    0.00 accepted ·\n    2.50 callback wav_complete → succeeded"
