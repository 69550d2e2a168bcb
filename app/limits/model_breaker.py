"""A circuit breaker for each kind and model: refusals that concern everybody hold that kind and model alone.

Closed, it counts refusals in a row, and each of them fails its task. The last one that is allowed opens it: from
then on tasks of that kind and model wait, and one goes out as a probe at a time. A probe that is refused again waits
again and fails nothing; one that is accepted closes the breaker.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from app.rules.times import later

PROBE_S: Final = 60.0
MOST_MODEL_CHARS: Final = 200


class ModelKey(NamedTuple):
    """The key of a circuit breaker: a kind, with the model that is sent ("" where none is)."""

    kind: str
    model: str

    @property
    def text(self) -> str:
        """The key as one text. No kind has a blank in it."""
        return f"{self.kind} {self.model}"


def key_of(kind: str, model: str | None) -> ModelKey:
    """The key of a submission; names that agree in their first ``MOST_MODEL_CHARS`` are held together."""
    return ModelKey(kind, (model or "")[:MOST_MODEL_CHARS])


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit breaker of one kind and model. ``refusals``: in a row. ``held_since``: when it opened, None while it
    is closed. ``probe_at``: when the next probe may go; ``probe_until``: one is out, at most until then. ``code`` and
    ``detail``: our word and the vendor's for the latest refusal."""

    refusals: int
    touched_at: datetime
    code: str
    detail: str
    held_since: datetime | None = None
    probe_at: datetime | None = None
    probe_until: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.held_since is not None

    def probe_out_until(self, now: datetime) -> datetime | None:
        """Until when the answer to a probe is awaited; None if none is out."""
        return self.probe_until if self.probe_until is not None and now < self.probe_until else None


def refused(
    before: Breaker | None, claimed_at: datetime, now: datetime, allowed: int, code: str, detail: str
) -> Breaker:
    """Count a refusal that concerns everybody. ``allowed``: so many in a row open it."""
    if before is not None and before.is_open:
        updated = replace(before, touched_at=now, code=code, detail=detail)
        return _after_probe(updated, now, PROBE_S) if _is_probe(before, claimed_at) else updated
    refusals = 1 if before is None else before.refusals + 1
    opened = {"held_since": now, "probe_at": later(now, PROBE_S)} if refusals >= allowed else {}
    return Breaker(refusals, now, code, detail, **opened)


def accepted(before: Breaker | None, claimed_at: datetime, now: datetime) -> Breaker | None:
    """Close the breaker after an acceptance: None, and nothing is counted. One that was sent before it opened proves
    less: the next probe is due at once."""
    if before is None or not before.is_open or _is_probe(before, claimed_at):
        return None
    return replace(before, probe_at=now, touched_at=now)


def inconclusive(before: Breaker | None, claimed_at: datetime, now: datetime, *, at_once: bool) -> Breaker | None:
    """Plan the next probe after a submission that does not say whether the model is offered. ``at_once``: it was
    refused for what it is itself, and the next one may show more; else the next probe waits again."""
    if before is None or not before.is_open or not _is_probe(before, claimed_at):
        return before
    return _after_probe(before, now, 0.0 if at_once else PROBE_S)


def probe_is_due(breaker: Breaker, now: datetime) -> bool:
    """Whether a probe may go out now."""
    return breaker.probe_at is not None and now >= breaker.probe_at and breaker.probe_out_until(now) is None


def probing(breaker: Breaker, until: datetime) -> Breaker:
    """Note that a probe is sent: the next one waits for its outcome, or ``until``."""
    return replace(breaker, probe_until=until)


def set_back(breaker: Breaker, now: datetime) -> Breaker:
    """Bring times back after the clock was set back: it opened by now, and no probe lies further ahead than one waits
    for it."""
    end = later(now, PROBE_S)
    return replace(
        breaker,
        touched_at=min(breaker.touched_at, now),
        held_since=breaker.held_since and min(breaker.held_since, now),
        probe_at=breaker.probe_at and min(breaker.probe_at, end),
        probe_until=breaker.probe_until and min(breaker.probe_until, end),
    )


def _is_probe(breaker: Breaker, claimed_at: datetime) -> bool:
    """Whatever is sent of it while it is open is a probe; the others were under way when it opened."""
    return breaker.held_since is not None and claimed_at > breaker.held_since


def _after_probe(breaker: Breaker, now: datetime, wait_s: float) -> Breaker:
    return replace(breaker, touched_at=now, probe_at=later(now, wait_s), probe_until=None)
