"""The vendor's vocabulary: every field, event, status, code and header that is known. What is not in here is *drift*.

Source: the vendor's reference, and what integrators report of the live service.
"""

from typing import Final

from app.rules.status import ItemStatus, SubStatus
from app.tempolor import codes
from app.tempolor.kinds import FAMILIES, INSTRUMENTAL, SONG

_EVERY_ITEM: Final = frozenset({"item_id", "status", "event", "err_msg", "error", "created_at", "finished_at"})
_MUSIC: Final = frozenset(
    {
        "audio_bgm_url",
        "audio_hi_status",
        "duration",
        "lrc_mv",
        "lyrics",
        "lyrics_disp",
        "lyrics_sections",
        "lyrics_sections_status",
        "model",
        "prompt",
        "style",
        "title",
    }
)
_MORE: Final = {
    "song": _MUSIC,
    "instrumental": _MUSIC,
    "lyrics": frozenset({"title", "lyric", "lyrics", "model", "prompt"}),
    "stems": frozenset({"model", "title"}),
    "midi": frozenset({"model", "title"}),
}

FIELDS: Final = {
    family.name: _EVERY_ITEM
    | _MORE.get(family.name, frozenset())
    | family.shape.url_fields
    | family.shape.status_fields
    for family in FAMILIES.values()
}
"""Fields of an item."""

_EVENTS: Final = frozenset({"audio_chunk", "audio_complete", "wav_complete", "lrcsections_complete"})
EVENTS: Final = {
    family.name: frozenset({""}) | (_EVENTS if family in (SONG, INSTRUMENTAL) else frozenset())
    for family in FAMILIES.values()
}
"""Events of callbacks. The reference has aligned lyrics of instrumentals in one edition only."""

STATUSES: Final = frozenset(status.value for status in ItemStatus)
SUB_STATUSES: Final = frozenset(status.value for status in SubStatus)

SUCCESS: Final = codes.SUCCESS
CODES: Final = frozenset({codes.SUCCESS, *codes.ON_SUBMIT})
"""Business codes."""

HEADERS: Final = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"content-length",
        b"content-type",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"pragma",
        b"traceparent",
        b"tracestate",
        b"transfer-encoding",
        b"user-agent",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
    }
)
"""Headers that any client or proxy sends, in small letters."""
