"""Plan an item when its submission is accepted: when it ends, how, and what callbacks it makes.

Chance depends on (seed, number of the submission, number of the item) alone, so that the same submissions in the same
order have the same plans, however many run at once.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from app.sandbox.config import Habits, Outcome, SandboxConfig
from app.sandbox.fetch_inputs import FIELDS as INPUTS
from app.sandbox.script import WorkRule
from app.tempolor.kinds import Kind

CHUNK: Final = "audio_chunk"
AUDIO: Final = "audio_complete"
WAV: Final = "wav_complete"
SECTIONS: Final = "lrcsections_complete"
COMPLETE: Final = "complete"
"""Our name for the only callback of a family without events; never sent."""
ALL: Final = "*"

DEFAULT_MODELS: Final = {"song": "tempolor-latest", "instrumental": "TemPolor i4"}
"""By family: what an extension is made with, since it names no model."""

_ODD_STATUSES: Final = ("pending", "queued", "processing")
_ODD_EVENTS: Final = ("cover_complete", "video_complete", "loudness_complete")
_FAILURES: Final = ("generation failed", "audio quality check failed", "source audio could not be read")


@dataclass(slots=True)
class Send:
    """One callback to make. ``reached`` is how many of the item's events it reports; seconds are vendor seconds."""

    event: str
    at_s: float
    reached: int
    early: bool = False
    copy: bool = False


@dataclass(slots=True)
class Plan:
    """The plan of an item. ``marks``: event → vendor seconds after acceptance, in order of time."""

    seed: str
    outcome: Outcome
    marks: dict[str, float]
    sung: bool = False
    model: str = ""
    duration_s: int = 0
    err_msg: str | None = None
    odd_status: str | None = None
    odd_fields: bool = False
    sparse_final: bool = False
    null_fields: float = 0.5
    milliseconds: bool = False
    enveloped: bool = False
    sections_in_ms: bool = False
    waiting_sections: bool = False
    bgm: bool = False
    echo: str | None = None
    sends: list[Send] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def decide(kind: Kind, params: dict[str, Any], n: int, index: int, config: SandboxConfig, rule: WorkRule) -> Plan:
    """Plan the ``index``-th item of the ``n``-th submission; what ``rule`` names is not left to chance."""
    seed = f"{config.seed}/{n}/{index}"
    rng = random.Random(seed)
    habits = config.habits
    sung = kind.family.name == "song" and params.get("instrumental") is not True
    marks = _course(kind.family.name, params, sung, config, rng)
    outcome = _outcome(kind.family.name, sung, config, rule, rng)
    # A generator of its own: a habit that is added here leaves what the others draw as it is.
    forms = random.Random(f"{seed}/forms")
    if kind.family.name == "instrumental" and _strikes("instrumental_sections", habits, rule, forms):
        marks[SECTIONS] = max(marks.values()) + config.durations.song_sections_s
    model = str(params.get("model") or DEFAULT_MODELS.get(kind.family.name, ""))
    plan = Plan(seed, outcome, marks, sung, model, rng.randint(120, 260))
    if _strikes("dead_input", habits, rule, forms) and any(params.get(name) for name in INPUTS):
        outcome = plan.outcome = "failed"
    if outcome == "failed":
        plan.marks = _until_main(marks)
        plan.err_msg = rule.err_msg or rng.choice(_FAILURES)
    plan.odd_status = rule.odd_status or _sometimes(habits.odd_status, _ODD_STATUSES, rng)
    plan.odd_fields = _chosen_or_drawn(rule.odd_fields, rng.random() < habits.odd_fields)
    plan.sparse_final = _chosen_or_drawn(rule.sparse_final, rng.random() < habits.sparse_final)
    plan.milliseconds = _chosen_or_drawn(rule.milliseconds, rng.random() < habits.milliseconds)
    plan.null_fields = habits.null_fields if rule.null_fields is None else rule.null_fields
    plan.enveloped = _strikes("enveloped", habits, rule, forms)
    plan.sections_in_ms = _strikes("sections_in_ms", habits, rule, forms)
    plan.bgm = _strikes("bgm", habits, rule, forms)
    plan.waiting_sections = kind.family.name == "song" and _strikes("waiting_sections", habits, rule, forms)
    odd_event = rule.odd_event or _sometimes(habits.odd_event, _ODD_EVENTS, rng)
    if outcome != "stuck":
        _plan_callbacks(plan, odd_event, config, rule, rng)
    return plan


def _chosen_or_drawn(chosen: bool | None, drawn: bool) -> bool:
    return drawn if chosen is None else chosen


def _strikes(name: str, habits: Habits, rule: WorkRule, rng: random.Random) -> bool:
    """Whether a habit of this name shows in a work: as the rule says, else by its chance."""
    drawn: bool = rng.random() < getattr(habits, name)
    return _chosen_or_drawn(getattr(rule, name), drawn)


def _sometimes(chance: float, names: tuple[str, ...], rng: random.Random) -> str | None:
    drawn, name = rng.random(), rng.choice(names)
    return name if drawn < chance else None


def _course(
    family: str, params: dict[str, Any], sung: bool, config: SandboxConfig, rng: random.Random
) -> dict[str, float]:
    took = config.durations

    def about(seconds: float) -> float:
        return seconds * rng.uniform(1 - took.jitter, 1 + took.jitter)

    if family not in {"song", "instrumental"}:
        return {COMPLETE: about({"lyrics": took.lyrics_s, "stems": took.stems_s, "midi": took.midi_s}[family])}
    model = str(params.get("model", "")).lower()
    fast = family == "instrumental" and any(part.lower() in model for part in config.fast_models)
    if family == "song":
        audio, wav = about(took.song_audio_s), about(took.song_wav_s)
    else:
        audio = about(took.fast_audio_s if fast else took.instrumental_audio_s)
        wav = about(took.fast_wav_s if fast else took.instrumental_wav_s)
    marks = {AUDIO: audio, WAV: audio + wav}
    if sung:
        extras = [audio + wav, audio + about(took.song_sections_s)]
        rng.shuffle(extras)
        marks[WAV], marks[SECTIONS] = extras
    if any(part.lower() in model for part in config.stream_models):
        marks[CHUNK] = audio * 0.2
    return _in_time(marks)


def _in_time(marks: dict[str, float]) -> dict[str, float]:
    rank = {event: place for place, event in enumerate((CHUNK, AUDIO, COMPLETE, WAV, SECTIONS))}
    return dict(sorted(marks.items(), key=lambda mark: (mark[1], rank[mark[0]])))


def _until_main(marks: dict[str, float]) -> dict[str, float]:
    """A work that fails makes no extras: its last event is the one that would have brought the main file."""
    return {event: at for event, at in marks.items() if event in {CHUNK, AUDIO, COMPLETE}}


def _outcome(family: str, sung: bool, config: SandboxConfig, rule: WorkRule, rng: random.Random) -> Outcome:
    drawn, extra = rng.random(), rng.random()
    habits = config.habits
    edges: tuple[tuple[float, Outcome], ...] = (
        (habits.failed, "failed"),
        (habits.failed + habits.part_failed, "part_failed"),
        (habits.failed + habits.part_failed + habits.stuck, "stuck"),
        (float("inf"), "succeeded"),
    )
    by_chance = next(name for edge, name in edges if drawn < edge)
    outcome = by_chance if rule.outcome is None else rule.outcome
    if outcome.startswith("part_failed"):
        if family not in {"song", "instrumental"}:
            return "succeeded"
        if not sung:
            return "part_failed_wav"
        if outcome == "part_failed":
            return "part_failed_wav" if extra < 0.5 else "part_failed_sections"
    return outcome


def _plan_callbacks(
    plan: Plan, odd_event: str | None, config: SandboxConfig, rule: WorkRule, rng: random.Random
) -> None:
    faults = config.callbacks
    first = next(iter(plan.marks))
    early = _named(rule.early, plan.marks, {first} if rng.random() < faults.early else set())
    _hurry(plan, early)
    events = list(plan.marks)
    sends = [Send(event, plan.marks[event], place, event in early) for place, event in enumerate(events, start=1)]
    if odd_event is not None:
        at_s = plan.marks[first] + rng.uniform(0, plan.marks[events[-1]] - plan.marks[first])
        sends.append(Send(odd_event, at_s, sum(mark <= at_s for mark in plan.marks.values())))
        events.append(odd_event)
    _reorder(sends, rule.order, rng.random() < faults.reorder, rng)
    chances = {event: (rng.random(), rng.random(), rng.random(), rng.uniform(*faults.delay_s)) for event in events}
    drop = _named(rule.drop, events, {event for event in events if chances[event][0] < faults.drop})
    double = _named(rule.double, events, {event for event in events if chances[event][1] < faults.double})
    for send in sends:
        if rule.delay_s is not None:
            send.at_s += rule.delay_s.get(send.event, rule.delay_s.get(ALL, 0))
        elif chances[send.event][2] < faults.delay and not send.early:
            send.at_s += chances[send.event][3]
    plan.dropped = [event for event in events if event in drop]
    plan.sends = [send for send in sends if send.event not in drop]
    plan.sends += [
        Send(send.event, send.at_s + rng.choice((0.0, rng.uniform(0, 20))), send.reached, copy=True)
        for send in plan.sends
        if send.event in double
    ]


def _named(chosen: tuple[str, ...] | None, events: Iterable[str], drawn: set[str]) -> set[str]:
    if chosen is None:
        return drawn
    return set(events) if ALL in chosen else set(chosen)


def _hurry(plan: Plan, early: set[str]) -> None:
    """Let the events that early callbacks report, and those that must come before them, happen at once."""
    if not early & plan.marks.keys():
        return
    needed = early | ({CHUNK, AUDIO} if early & {WAV, SECTIONS} else set()) | ({CHUNK} if AUDIO in early else set())
    plan.marks = _in_time({event: 0.0 if event in needed else at for event, at in plan.marks.items()})


def _reorder(sends: list[Send], wanted: tuple[str, ...] | None, drawn: bool, rng: random.Random) -> None:
    """Swap the times of sending between callbacks; early ones keep theirs."""
    movable = [send for send in sends if not send.early]
    turn = rng.randrange(1, len(movable)) if len(movable) > 1 else 0
    if wanted is not None:
        rank = {event: place for place, event in enumerate(wanted)}
        arranged = sorted(movable, key=lambda send: rank.get(send.event, len(rank)))
    elif drawn:
        arranged = movable[turn:] + movable[:turn]
    else:
        return
    for send, at_s in zip(arranged, sorted(send.at_s for send in movable), strict=True):
        send.at_s = at_s
