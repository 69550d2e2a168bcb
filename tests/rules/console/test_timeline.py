"""The drawn timeline: lags to scale, long waits cut, and what each step changed; the names of a zip's files."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.archive.read_zip import Member
from app.console import task_items, task_timeline
from app.console.pages import render
from app.rules.times import rfc3339

START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(seq: int, after_s: float, type_: str = "callback", **detail: Any) -> dict[str, Any]:
    return {"seq": seq, "at": rfc3339(START + timedelta(seconds=after_s)), "type": type_, "detail": detail}


def widths(*after_s: float) -> list[tuple[float, bool]]:
    drawn = task_timeline.drawn([entry(seq, at) for seq, at in enumerate(after_s)])
    return [(step.width, step.cut) for step in drawn.steps]


def test_lags_are_drawn_to_scale() -> None:
    assert widths(0, 1, 3, 4) == [(0, False), (25, False), (50, False), (25, False)]
    drawn = task_timeline.drawn([entry(seq, at) for seq, at in enumerate((0, 1, 3, 4))])
    assert [step.x for step in drawn.steps] == [0, 0, 25, 75]
    assert [(step.after_start, step.lag) for step in drawn.steps][2] == ("3.0 s", "2.0 s")
    assert (drawn.cuts, drawn.length) == (0, "4.0 s")


@pytest.mark.parametrize(
    ("after_s", "cuts"),
    [
        # A song as it usually is, a night on hold before it, and a receiver that was down for a day.
        ((0, 0.02, 0.5, 124, 164, 184), 0),
        ((0, 36_000, 36_001, 36_125, 36_165), 1),
        ((0, 1, 125, 165, 165.1, 86_565), 1),
        ((0, 36_000, 36_001, 36_125, 36_165, 300_000), 2),
        # Nothing would be left to draw.
        ((0, 0.001, 36_000), 0),
        ((0, 0), 0),
        ((0,), 0),
    ],
)
def test_long_waits_are_cut_and_the_rest_keeps_its_scale(after_s: tuple[float, ...], cuts: int) -> None:
    found = widths(*after_s)
    assert [cut for _, cut in found].count(True) == cuts
    assert all(width == task_timeline.CUT_WIDTH for width, cut in found if cut)
    lags = [after - before for before, after in pairwise(after_s)]
    scales = {round(width / lag) for (width, cut), lag in zip(found[1:], lags, strict=True) if not cut and lag > 1}
    assert len(scales) <= 1
    assert sum(width for width, _ in found) in (0, pytest.approx(100, abs=0.01))


def test_a_clock_that_went_back_draws_nothing_backwards() -> None:
    assert widths(0, 5, 3, 8) == [(0, False), (50, False), (0, False), (50, False)]


def test_a_step_tells_who_did_what_and_what_changed() -> None:
    note = {
        "item_id": "t2m_1",
        "event": "wav_complete",
        "statuses": {"status": [None, "running"], "audio_hi_status": ["running", "sub_succeeded"]},
        "fields": [f"f{number}" for number in range(20)],
        "more_fields": 3,
    }
    entries = [
        entry(1, 0, "accepted"),
        entry(2, 1, "callback", callback_id="c", items=[note, {"item_id": "t2m_2"}, "odd"]),
        entry(2, 1, "status", **{"from": "queued", "to": "running"}),
        entry(3, 2, "status", **{"from": "running", "to": "expired"}),
        entry(4, 3, "archived", items=[{"item_id": "t2m_1", "artifact": "audio", "copy": "kept"}]),
        entry(5, 4, "archived", items=[{"artifact": "stems", "copy": "failed", "reason": "too_large"}]),
    ]
    accepted, called, expired, kept, failed = task_timeline.drawn(entries).steps
    assert (accepted.actor, called.actor, expired.actor, kept.actor) == ("Gateway", "Vendor", "Gateway", "Archive")
    assert (called.words, called.moved, called.callback_id) == ("The vendor called back", ("queued", "running"), "c")
    moves = (("status", "–", "running"), ("audio_hi_status", "running", "sub_succeeded"))
    assert called.effects == (
        task_timeline.Effect("t2m_1", "wav_complete", moves, tuple(f"f{number}" for number in range(12)), 11),
    )
    assert (expired.words, expired.moved) == ("", ("running", "expired"))
    assert kept.words == "Copied: MP3"
    assert failed.words == "Not copied: Stems (zip) (it is too large)"


def _parts(*names: str) -> list[tuple[str, bool, bool]]:
    members = [Member(name, 10, "audio/flac" if name.endswith("flac") else "audio/midi") for name in names]
    return [(one.part, one.sounds, one.whole) for one in task_items.members_of("i/1", "stems", members)]


def test_stems_are_called_by_what_tells_them_apart() -> None:
    assert _parts("x.flac", "x_vocals.flac", "x_bass.flac", "notes.mid") == [
        ("vocals", True, False),
        ("bass", True, False),
        ("x", True, True),
        ("notes.mid", False, False),
    ]
    # Without a mix among them nothing is left out.
    assert _parts("vocals.flac", "a/bass.flac") == [("vocals", True, False), ("bass", True, False)]
    assert _parts("vocals.flac") == [("vocals", True, False)]
    assert _parts("a/x.flac", "b/x.flac") == [("x", True, False), ("x", True, False)]
    assert _parts() == []
    [one] = task_items.members_of("i/1", "stems", [Member("a b/100%?#é.flac", 1, "audio/flac")])
    assert one.url == "/console/items/i%2F1/files/stems/members/a%20b/100%25%3F%23%C3%A9.flac"


def test_a_member_of_a_zip_may_be_called_anything() -> None:
    names = ('"><script>alert(1)</script>.flac', "' onerror=alert(1) x='.flac", "<b>\u202e.mid")
    members = task_items.members_of("i", "stems", [Member(name, 1, "audio/flac") for name in names])
    page = render("_members.html", members=members, fault=None, most_mixed=task_items.MOST_MIXED_BYTES)
    assert page.count("Download") == 3
    for harm in ("<script", "<b>", "' onerror", "\u202e"):
        assert harm not in page
