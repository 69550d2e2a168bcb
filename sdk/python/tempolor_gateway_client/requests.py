"""What a caller asks for, as the gateway reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

Until = Literal["playable", "final"]
"""What to wait for."""
LyricsForm = Literal["lrc", "srt"]
View = Literal["full", "summary"]
"""``summary``: items without ``lyrics``, ``lyrics_sections`` and ``vendor``, and ``params`` without ``lyrics``: most of
what a song weighs."""


class Unchanged(Enum):
    """Stands for a value that stays as it is."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to be submitted with others. ``kind``: as in ``song.generate``; ``params``: the vendor's;
    ``webhook_events``: as in ``task.succeeded``, None for all."""

    kind: str
    params: Mapping[str, Any]
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None
    webhook_url: str | None = None
    webhook_events: Sequence[str] | None = None

    def document(self) -> dict[str, Any]:
        """The body of a request."""
        optional = {
            "reference": self.reference,
            "metadata": self.metadata,
            "webhook_url": self.webhook_url,
            "webhook_events": list(self.webhook_events) if self.webhook_events is not None else None,
        }
        return {"kind": self.kind, "params": self.params} | {
            name: value for name, value in optional.items() if value is not None
        }
