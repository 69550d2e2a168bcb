"""The state machine of a submission, with its fence: what each outcome of a send may still change.

The fence is ``submit_id``: each claim writes a fresh one, and an outcome that carries an older one is
late. An acceptance carries none and is always applied, since the vendor has the task whatever we believed meanwhile.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from app.rules.downtime import Absences, absent_s
from app.rules.policy import Policy
from app.rules.task import EntryType, Failure, FailureCode, Submission, Task
from app.rules.times import later

UNKNOWN_OUTCOME: Final[FailureCode] = "submit_outcome_unknown"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A sender takes the task, to send it at once. ``submitted_model``: what it sends, if another than asked."""

    submit_id: UUID
    submitted_model: str | None = None


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The sender did not send after all (it woke too late, is shutting down, or could not read the uploads)."""

    submit_id: UUID


@dataclass(frozen=True, slots=True)
class WasAccepted:
    """The vendor accepted it. The items that it named are observations of the same change."""


@dataclass(frozen=True, slots=True)
class WasRefused:
    """The vendor refused it: certainly not taken. ``again_at`` is None for a refusal that is permanent for this
    task."""

    submit_id: UUID
    failure: Failure
    again_at: datetime | None


@dataclass(frozen=True, slots=True)
class WasUnknown:
    """The outcome is unknown: it was sent, and may have been taken (G5)."""

    submit_id: UUID


@dataclass(frozen=True, slots=True)
class Canceled:
    """The client cancels it before it was sent."""


@dataclass(frozen=True, slots=True)
class FoundSent:
    """An admin found at the vendor what the lost answer would have named."""


@dataclass(frozen=True, slots=True)
class FoundNotSent:
    """An admin found that the vendor does not have it: it is to be sent again."""


@dataclass(frozen=True, slots=True)
class MayHaveBeenSent:
    """What is known of the task may be older than what was done with it: the database was restored, or another one
    took over that was behind."""


SubmissionEvent = (
    Claimed | GivenBack | WasAccepted | WasRefused | WasUnknown | Canceled | FoundSent | FoundNotSent | MayHaveBeenSent
)


def advance(task: Task, event: SubmissionEvent, at: datetime, has_items: bool, policy: Policy) -> bool:
    """Apply an event to the task's submission; false if the guard does not let it.

    ``has_items``: an item of the task is known, so the vendor has it; then nothing queues or fails it.
    """
    match event:
        case Claimed():
            return _claim(task, event, at, has_items)
        case WasAccepted():
            _accept(task, at, policy)
            return True
        case WasRefused() | GivenBack():
            return _requeue_or_fail(task, event, at, has_items, policy)
        case WasUnknown(submit_id):
            if task.submit_id != submit_id or task.submission is not Submission.SENDING:
                return False
            _mark_unknown(task, at, policy)
            return True
        case Canceled():
            if task.submission is not Submission.QUEUED or has_items:
                return False
            task.submission = Submission.CANCELED
            return True
        case FoundSent() | FoundNotSent() | MayHaveBeenSent():
            return False if has_items else _apply_finding(task, event, at, policy)


OUTCOME_OPEN: Final = (Submission.SENDING, Submission.UNKNOWN, Submission.LAPSED)
"""What became of the last send is not settled."""


def _accept(task: Task, at: datetime, policy: Policy) -> None:
    if task.submission is not Submission.ACCEPTED:
        task.submission, task.failure = Submission.ACCEPTED, None
        task.submitted_at = at
        task.deadline_at = later(at, policy.deadline_s)
        # The deadline counts from the acceptance: a verdict on an earlier one does not hold any more.
        task.expired_at = None


def _claim(task: Task, event: Claimed, at: datetime, has_items: bool) -> bool:
    if task.submission is not Submission.QUEUED or has_items:
        return False
    task.submission, task.submit_id, task.claimed_at = Submission.SENDING, event.submit_id, at
    task.submitted_model = event.submitted_model
    task.submit_attempts += 1
    return True


def _requeue_or_fail(task: Task, event: WasRefused | GivenBack, at: datetime, has_items: bool, policy: Policy) -> bool:
    """Queue or fail a task that the vendor certainly does not have, unless the outcome is another claim's by now, or an
    item is known."""
    if task.submit_id != event.submit_id or task.submission not in OUTCOME_OPEN:
        return False
    if has_items:
        # Refused or withdrawn, yet an item exists: somebody's submission of it was taken. The outcome is closed
        # as unknown, so that the items decide and it is never sent again.
        if task.submission is Submission.SENDING:
            _mark_unknown(task, at, policy)
        return False
    if isinstance(event, WasRefused) and event.again_at is None:
        task.submission, task.failure = Submission.REFUSED, event.failure
    else:
        again_at = event.again_at if isinstance(event, WasRefused) else None
        task.submission, task.not_before_at, task.failure = Submission.QUEUED, again_at, None
        task.deadline_at = task.unconfirmed_at = None
    return True


_OPEN_TO: Final = {
    # One that was given up can still be found sent, as by a late callback; but not be sent again: its client was
    # told that it failed, and may have had it made anew.
    FoundSent: (Submission.UNKNOWN, Submission.LAPSED),
    FoundNotSent: (Submission.UNKNOWN,),
    MayHaveBeenSent: (Submission.QUEUED, Submission.SENDING),
}


def _apply_finding(task: Task, event: FoundSent | FoundNotSent | MayHaveBeenSent, at: datetime, policy: Policy) -> bool:
    """Apply what an admin knows of an unknown outcome, or that what is stored is not to be trusted."""
    if task.submission not in _OPEN_TO[type(event)]:
        return False
    match event:
        case FoundSent():
            _accept(task, at, policy)
        case FoundNotSent():
            task.submission, task.not_before_at = Submission.QUEUED, None
            task.deadline_at = task.unconfirmed_at = None
        case MayHaveBeenSent():
            # As if sent just now: its slot, its deadline and the time it has to be confirmed run from here.
            task.claimed_at, task.deadline_at = at, None
            _mark_unknown(task, at, policy)
    return True


def _mark_unknown(task: Task, at: datetime, policy: Policy) -> None:
    task.submission, task.unconfirmed_at = Submission.UNKNOWN, at
    claimed_at = task.claimed_at or task.created_at
    if task.deadline_at is None:
        task.deadline_at = later(claimed_at, policy.deadline_s)


def lapse(task: Task, at: datetime, has_items: bool, policy: Policy, absences: Absences | None) -> EntryType | None:
    """Let time act on a submission: a lapsed lease is an unknown outcome, and an unknown outcome that nothing confirmed
    within ``submit_confirm_s`` is a failure. While the gateway was away a callback could not reach it, so that does not
    count, and without ``absences`` nothing fails. The timeline entry's type, or None."""
    due = submission_due_at(task, has_items, policy, absences or ())
    if due is None or at < due:
        return None
    if task.submission is Submission.SENDING:
        _mark_unknown(task, at, policy)
        return "lease_lapsed"
    if task.submission is Submission.UNKNOWN and absences is not None:
        task.submission = Submission.LAPSED
        task.failure = Failure(
            UNKNOWN_OUTCOME,
            "The submission was sent, and neither an answer nor a callback told what became of it.",
            retryable=False,
        )
        return "not_confirmed"
    return None


def submission_due_at(task: Task, has_items: bool, policy: Policy, absences: Absences) -> datetime | None:
    """When time alone will change the submission next, if it will."""
    if task.submission is Submission.SENDING and task.claimed_at is not None:
        return later(task.claimed_at, policy.submit_lease_s)
    if task.submission is Submission.UNKNOWN and not has_items and task.unconfirmed_at is not None:
        return later(task.unconfirmed_at, policy.submit_confirm_s + absent_s(absences, task.unconfirmed_at))
    return None
