"""What statuses, reasons and entries of a timeline are called for people. What is not listed is shown as it is."""

from collections.abc import Mapping
from typing import Any, Final

TASK: Final = {
    "queued": ("Queued", "Accepted, not sent to the vendor yet."),
    "submitting": ("Being sent", "It is being sent to the vendor."),
    "unconfirmed": (
        "Unconfirmed",
        "It was sent, but the vendor's answer was lost. It is not sent again, because the vendor may have billed it.",
    ),
    "running": ("Running", "The vendor is making it."),
    "main_succeeded": ("Playable", "You can play it. Further files are still being made."),
    "succeeded": ("Done", "All its files are ready."),
    "part_failed": ("Done, in part", "There is a result to use, but a part of it failed."),
    "failed": ("Failed", "It failed: there is no result to use."),
    "expired": ("Expired", "The deadline passed before the vendor reported an end."),
    "canceled": ("Canceled", "It was canceled before it was sent."),
}
ITEM: Final = {
    "waiting": "Waiting",
    "running": "Running",
    "main_succeeded": "Playable",
    "failed": "Failed",
    "part_failed": "Done, in part",
    "succeeded": "Done",
}
TONES: Final = {
    "main_succeeded": "good",
    "succeeded": "good",
    "part_failed": "fair",
    "unconfirmed": "fair",
    "failed": "bad",
    "expired": "bad",
    "canceled": "idle",
    "queued": "idle",
    "delivered": "good",
    "applied": "good",
    "dead": "bad",
    "malformed": "bad",
    "poisoned": "bad",
    "mismatched": "fair",
    "orphan": "fair",
}
KINDS: Final = {
    "song.generate": "Song",
    "song.extend": "Song, extended",
    "instrumental.generate": "Instrumental",
    "instrumental.extend": "Instrumental, extended",
    "lyrics.generate": "Lyrics",
    "stems.create": "Stems",
    "midi.create": "MIDI",
}
ABOUT: Final = {
    "song.generate": "A song with vocals, from a description, or a cover of a track of yours. It can be played "
    "after a minute or two; the WAV and the timed lyrics follow.",
    "song.extend": "Continue a song that was made here, from the second that you choose.",
    "instrumental.generate": "Music without vocals, from a description.",
    "instrumental.extend": "Continue an instrumental that was made here, from the second that you choose.",
    "lyrics.generate": "The words of a song, without the music. It takes seconds.",
    "stems.create": "Separate a track into vocals, drums, bass and the rest, a file each.",
    "midi.create": "The notes of a track, as MIDI files.",
}
"""What each form is for, to somebody who has never seen one."""
FAMILIES: Final = {
    "song": "Song",
    "instrumental": "Instrumental",
    "lyrics": "Lyrics",
    "stems": "Stems",
    "midi": "MIDI",
}
ARTIFACTS: Final = {
    "stream": "Live stream",
    "audio": "MP3",
    "audio_hi": "WAV",
    "bgm": "Accompaniment",
    "stems": "Stems (zip)",
    "midi": "MIDI",
}
GLYPHS: Final = {"song": "♫", "instrumental": "♩", "lyrics": "¶", "stems": "≡", "midi": "♯"}
"""What stands for a family where there is nothing to play."""
COPIES: Final = {
    "archive_was_off": "the archive was off when the file arrived",
    "artifact_failed": "there is no such file",
    "link_dead": "its link was dead",
    "not_one_url": "the vendor named several files",
    "retention": "its retention time was over",
    "too_large": "it is too large",
}
REASONS: Final = {
    "held_by_hand": "an admin holds submissions",
    "vendor_key_rejected": "the vendor rejects the gateway's key",
    "insufficient_points": "the vendor's account has no points left",
    "vendor_queue_full": "the vendor's queue is full",
    "vendor_rate_limited": "the vendor limits the rate of calls",
    "outcomes_unknown": "several submissions in a row ended with an unknown outcome",
    "no_process_dispatches": "no process is sending tasks",
    "clock_skew": "the clock of this process is wrong",
    "clock_went_back": "the clock was set back",
    "model_not_offered": "the vendor does not offer the model",
    "kind_not_offered": "the vendor does not offer this kind",
    "vendor_refused": "the vendor refuses it, with a code that is not documented",
    "backing_off": "the vendor refused it for now; it is tried again",
}
HELD: Final = {
    "submit": "Submissions",
    "query": "Queries",
    "plan": "Scheduled work",
    "loops": "The background loops of this process",
    "workers": "All work",
}
INBOX: Final = {
    "applied": "Applied",
    "malformed": "Malformed",
    "mismatched": "Wrong task",
    "orphan": "Unknown task",
    "poisoned": "Not applied",
    "repeated": "Repeated",
}
"""Callbacks by what became of them, and those that came more than once."""
INBOX_HELP: Final = {
    "applied": "What they say is in their tasks.",
    "malformed": "Their body is not JSON, or not in the vendor’s format. Replay them after an upgrade that "
    "can read them.",
    "mismatched": "They came to the callback URL of one task and named items of another, which were left as they are.",
    "orphan": "Their task is not here: it was deleted by retention, or was never submitted here.",
    "poisoned": "They were read, but could not be stored. The gateway’s log has the reason, at that time.",
    "repeated": "The vendor sent the same body more than once, as it does by design: only the first counts. Among "
    "the last 10,000 callbacks.",
}
WARNINGS: Final = {
    "unknown_status": "the vendor sent a status that is not known",
    "odd_value": "a field of the vendor has an unexpected type",
    "values_left_out": "a very long value of the vendor was left out",
    "unknown_param": "a parameter may be misspelled, and was passed on",
    "artifact_failed": "a file failed",
    "named_while_canceled": "the vendor has the task though it was canceled",
    "named_while_refused": "the vendor has the task though it refused it",
    "named_while_lapsed": "the vendor has the task though its submission was never confirmed",
    "settled_after_expiry": "the end was reported after the deadline",
    "items_left_out": "the vendor sent more items than a task can have",
}
"""What a warning of a task means, by its word without what stands behind a colon."""
DELIVERY: Final = {
    "address_not_public": "its address is not public",
    "bad_answer": "its answer is not HTTP",
    "client_revoked": "its client was revoked",
    "connection_failed": "no connection",
    "connection_lost": "the connection was lost",
    "gone": "it asked for no more (410)",
    "invalid_url": "its URL cannot be used",
    "name_not_resolved": "its host name was not found",
    "rejected": "it refused",
    "timeout": "no answer in time",
    "tls_failed": "TLS failed: its certificate is not valid",
    "unreadable": "the notification itself cannot be read",
}
"""Why a receiver did not take a notification."""
NOTIFIED: Final = {"pending": "Pending", "delivered": "Delivered", "dead": "Dead"}
DISPOSITIONS: Final = {
    "applied": "was applied",
    "malformed": "could not be read",
    "mismatched": "names items of another task",
    "orphan": "belongs to no task that is known here",
    "poisoned": "could not be applied",
}
_ENTRIES: Final = {
    "accepted": "The gateway accepted the task",
    "adopted": "The items were adopted",
    "archive_retried": "An admin had its files copied again",
    "archived": "A file of it changed in the archive",
    "archive_ended": "A kept file was deleted: its retention time was over",
    "callback": "The vendor called back",
    "canceled": "The task was canceled",
    "expired": "The deadline passed",
    "given_back": "Back in the queue: it could not be sent in time",
    "lease_lapsed": "The process that was sending it died",
    "not_confirmed": "No callback has confirmed the submission",
    "outcome_unknown": "The outcome of the submission is unknown",
    "query": "The vendor answered a query",
    "query_failed": "A query failed",
    "recovered": "Restored from a backup: it may have been sent before",
    "refused": "The vendor refused the submission",
    "replayed": "An admin replayed a callback",
    "resolved": "An admin settled it by hand",
    "submitted": "The vendor accepted it",
    "submitting": "It is being sent to the vendor",
}
ACTORS: Final = {
    "adopted": "Admin",
    "archive_retried": "Admin",
    "archived": "Archive",
    "archive_ended": "Archive",
    "callback": "Vendor",
    "canceled": "Client",
    "notification": "Client",
    "outcome_unknown": "Vendor",
    "query": "Vendor",
    "query_failed": "Vendor",
    "refused": "Vendor",
    "replayed": "Admin",
    "resolved": "Admin",
    "submitted": "Vendor",
}
"""Whose doing an entry of a timeline is, where it is not the gateway's own."""
NOTICES: Final = {
    "canceled": "The task is canceled.",
    "refreshed": "The vendor was asked. This is its answer.",
    "submitted": "The task is accepted.",
    "retried": "This is the new task.",
    "redelivered": "It is queued to be sent again.",
    "replayed": "The callback was replayed.",
    "held": "Submissions are held until somebody releases them.",
    "released": "Submissions are released.",
    "unreadable": "The callback was replayed, and still cannot be read.",
    "resolved": "It is settled.",
    "copying": "Its files will be copied again.",
    "not_copied": "There is no failed copy to try again.",
}
"""What a page says after a change, by the word in its address."""


def replay_notice(replayed: Mapping[str, Any]) -> str:
    """The notice after a replay. A body that still cannot be read is no error of whoever replayed it."""
    return "unreadable" if replayed["disposition"] == "malformed" else "replayed"


def reason(code: str) -> str:
    """Why something waits."""
    return REASONS.get(code, code)


def warning(word: str) -> str:
    """A warning of a task, with the file or parameter that it names behind a colon: ``artifact_failed:audio_hi``."""
    name, _, about = word.partition(":")
    meaning = WARNINGS.get(name, name)
    return f"{meaning} ({ARTIFACTS.get(about, about)})" if about else meaning


def copy_reason(code: str | None) -> str:
    """Why there is no copy of a file."""
    return COPIES.get(code or "", code or "the reason is not known")


def entry(happened: Mapping[str, Any]) -> str:
    """An entry of a timeline as a sentence."""
    detail = happened["detail"]
    if happened["type"] == "status":
        return f"{_status(detail['from'])} → {_status(detail['to'])}"
    if happened["type"] == "notification":
        attempts = detail.get("attempts", 1)
        times = "" if attempts == 1 else f" after {attempts} attempts"
        return f"The client was sent {detail.get('notification')}: {detail.get('outcome')}{times}"
    if happened["type"] in ("archived", "archive_ended"):
        return _archived(happened) or _ENTRIES[happened["type"]]
    sentence = _ENTRIES.get(happened["type"], str(happened["type"]))
    why = detail.get("message") or detail.get("reason") or detail.get("fault") or detail.get("malformed")
    if isinstance(why, str):
        sentence += f" ({reason(why)})"
    return sentence + (", late" if detail.get("late") else "")


def _archived(happened: Mapping[str, Any]) -> str:
    """What the archive did with which files."""
    done = {"kept": "Copied:", "failed": "Not copied:", "pending": "To be copied:"}
    notes = [note for note in happened["detail"].get("items") or () if isinstance(note, dict) and "artifact" in note]
    if happened["type"] == "archive_ended":
        done = dict.fromkeys(("failed", "kept"), "Copy deleted, its retention time was over:")
    parts = []
    for note in notes:
        name, why = str(note["artifact"]), note.get("reason")
        suffix = f" ({copy_reason(str(why))})" if why and happened["type"] == "archived" else ""
        parts.append(f"{done.get(str(note.get('copy')), 'In the archive:')} {ARTIFACTS.get(name, name)}{suffix}")
    return "; ".join(parts)


def _status(name: str) -> str:
    return TASK[name][0] if name in TASK else name
