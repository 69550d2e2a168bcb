"""What statuses, reasons and entries of a timeline are called for people. What is not listed is shown as it is."""

from collections.abc import Mapping
from typing import Any, Final

TASK: Final = {
    "queued": ("Queued", "Accepted, and not sent to the vendor yet."),
    "submitting": ("Being sent", "It is being sent to the vendor now."),
    "unconfirmed": (
        "Unconfirmed",
        "It was sent, and the vendor's answer was lost. It is not sent again, since it may have been billed.",
    ),
    "running": ("Running", "The vendor is making it."),
    "main_succeeded": ("Playable", "It can be played; extras are still to come."),
    "succeeded": ("Done", "Everything has come."),
    "part_failed": ("Done, in part", "There is a usable result; something of it failed."),
    "failed": ("Failed", "There is no usable result."),
    "expired": ("Expired", "The deadline passed without a final word from the vendor."),
    "canceled": ("Canceled", "It was taken back before it was sent."),
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
    "song.generate": "A song with a voice, from a description; or a cover of a track that you hand over. It can be "
    "played after a minute or two; the WAV, and lyrics that follow the music, come after that.",
    "song.extend": "A song that the vendor has made goes on from where you say.",
    "instrumental.generate": "Music without a voice, from a description.",
    "instrumental.extend": "An instrumental that the vendor has made goes on from where you say.",
    "lyrics.generate": "The words of a song, without the music. It takes seconds.",
    "stems.create": "A track is taken apart: voice, drums, bass and the rest, each a file by itself.",
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
    "midi": "MIDI (zip)",
}
GLYPHS: Final = {"song": "♫", "instrumental": "♩", "lyrics": "¶", "stems": "≡", "midi": "♯"}
"""What stands for a family where there is nothing to play."""
COPIES: Final = {
    "archive_was_off": "the archive was off when it came",
    "artifact_failed": "there is no such file",
    "link_dead": "its link was dead",
    "not_one_url": "the vendor named several files",
    "retention": "its time was over",
    "too_large": "it is too large",
}
REASONS: Final = {
    "held_by_hand": "an admin holds submissions",
    "vendor_key_rejected": "the vendor rejects the gateway's key",
    "insufficient_points": "the vendor's account has no points left",
    "vendor_queue_full": "the vendor's queue is full",
    "vendor_rate_limited": "the vendor wants fewer calls",
    "outcomes_unknown": "several submissions in a row ended with an unknown outcome",
    "no_process_dispatches": "no process works the queue",
    "clock_skew": "the clock of this process is wrong",
    "clock_went_back": "the clock was set back",
    "model_not_offered": "the vendor does not offer the model",
    "kind_not_offered": "the vendor does not offer this kind",
    "vendor_refused": "the vendor refuses it for a reason that nobody knows",
    "backing_off": "the vendor refused it for the moment; it is tried again",
}
HELD: Final = {
    "submit": "Submissions",
    "query": "Queries",
    "plan": "Planned work",
    "loops": "The loops of this process",
    "workers": "All work",
}
INBOX: Final = {
    "applied": "Applied",
    "malformed": "Could not be read",
    "mismatched": "Named another task’s items",
    "orphan": "Of no task",
    "poisoned": "Could not be applied",
    "repeated": "Repeated",
}
"""Callbacks by what became of them, and those that came more than once."""
INBOX_HELP: Final = {
    "applied": "They were read, and what they said is in their tasks.",
    "malformed": "Their body is no JSON, or not of the vendor’s form. An upgrade may understand it: "
    "have it read again then.",
    "mismatched": "They came to the address of one task, and named items of another one, which were not touched.",
    "orphan": "Their task is not here: it was purged, or they name nothing that anybody submitted.",
    "poisoned": "They were read, and could not be written. The log of the gateway says why at that time.",
    "repeated": "The vendor sent the same body more than once, which is as it should be: only the first one counts. Of "
    "the last 10,000 callbacks.",
}
DELIVERY: Final = {
    "address_not_public": "its address is not public",
    "bad_answer": "what it answered is no HTTP",
    "client_revoked": "its client was revoked",
    "connection_failed": "no connection",
    "connection_lost": "the connection broke off",
    "gone": "it wants no more (410)",
    "invalid_url": "its URL cannot be used",
    "name_not_resolved": "there is no such host",
    "rejected": "it refused",
    "timeout": "no answer in time",
    "tls_failed": "its certificate is not good",
    "unreadable": "the notification itself cannot be read",
}
"""Why a receiver did not take a notification."""
NOTIFIED: Final = {"pending": "To be sent", "delivered": "Delivered", "dead": "Given up"}
DISPOSITIONS: Final = {
    "applied": "applied",
    "malformed": "could not be read",
    "mismatched": "names another task's items",
    "orphan": "belongs to no task",
    "poisoned": "could not be applied",
}
_ENTRIES: Final = {
    "accepted": "The gateway accepted the task",
    "adopted": "The items were adopted",
    "archive_retried": "An admin had the archive try again",
    "archived": "A result file was dealt with by the archive",
    "archive_ended": "A kept file was deleted: its time was over",
    "callback": "The vendor called back",
    "canceled": "The task was canceled",
    "expired": "The deadline passed",
    "given_back": "It was put back into the queue: it could not be sent in time",
    "lease_lapsed": "Whoever was sending it went away",
    "not_confirmed": "No callback has confirmed the submission",
    "outcome_unknown": "The outcome of the submission is unknown",
    "query": "The vendor was asked, and answered",
    "query_failed": "The vendor was asked, and its answer could not be used",
    "recovered": "After a restore: it may have been sent before",
    "refused": "The vendor refused the submission",
    "replayed": "An admin had a callback read again",
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
    "refreshed": "The vendor was asked; this is what it said.",
    "submitted": "The task is accepted.",
    "retried": "This is the new task.",
    "redelivered": "It is being sent again.",
    "replayed": "The callback was read again.",
    "held": "Nothing more is sent until it is released.",
    "released": "It is released.",
    "unreadable": "The callback was read again, and still cannot be understood.",
    "resolved": "It is settled.",
    "copying": "Its files are copied again.",
    "not_copied": "There is no copy to be tried again.",
}
"""What a page says after a change, by the word in its address."""


def replay_notice(replayed: Mapping[str, Any]) -> str:
    """The notice of a callback that was read again. That it still cannot be understood is no error of whoever asked."""
    return "unreadable" if replayed["disposition"] == "malformed" else "replayed"


def reason(code: str) -> str:
    """Why something waits."""
    return REASONS.get(code, code)


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
    said = _ENTRIES.get(happened["type"], str(happened["type"]))
    why = detail.get("message") or detail.get("reason") or detail.get("fault") or detail.get("malformed")
    if isinstance(why, str):
        said += f" ({reason(why)})"
    return said + (", late" if detail.get("late") else "")


def _archived(happened: Mapping[str, Any]) -> str:
    """What the archive did with which files."""
    done = {"kept": "A copy was made of", "failed": "No copy could be made of", "pending": "A copy is to be made of"}
    notes = [note for note in happened["detail"].get("items") or () if isinstance(note, dict) and "artifact" in note]
    if happened["type"] == "archive_ended":
        done = dict.fromkeys(("failed", "kept"), "The copy was deleted, its time being over, of")
    parts = []
    for note in notes:
        name, why = str(note["artifact"]), note.get("reason")
        told = f" ({copy_reason(str(why))})" if why and happened["type"] == "archived" else ""
        parts.append(f"{done.get(str(note.get('copy')), 'The archive dealt with')} {ARTIFACTS.get(name, name)}{told}")
    return "; ".join(parts)


def _status(name: str) -> str:
    return TASK[name][0] if name in TASK else name
