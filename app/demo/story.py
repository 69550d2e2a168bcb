"""What the demo plays: one task of every kind, and which of them something happens to."""

from dataclasses import dataclass, field
from typing import Any, Final

SCALE: Final = 40
"""Vendor seconds a second: a song's mp3 takes three seconds."""
FIRST_QUERY_S: Final = 5
"""Silence after which the gateway asks. No callback that comes keeps it waiting so long at this scale."""
ANSWER_LATE_S: Final = 0.8

LOST_CALLBACK: Final = "lost callback"
EARLY_CALLBACK: Final = "early callback"
LOST_ANSWER: Final = "lost answer"


@dataclass(frozen=True, slots=True)
class Part:
    """One task. ``rules`` is what the sandbox is told of it beforehand, by its control API."""

    kind: str
    params: dict[str, Any]
    fault: str | None = None
    rules: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


_AUDIO: Final = {"url": "https://files.example/harbour-lights.mp3"}

STORY: Final = (
    Part("song.generate", {"prompt": "slow pop ballad about a harbour at night, piano", "model": "tempolor-latest"}),
    Part(
        "song.extend",
        {"item_id": "t2m_81f0", "start_time": 60},
        LOST_ANSWER,
        # The vendor takes the task, and the connection breaks before it has said so.
        {"answers": [{"operation": "submit", "kind": "song.extend", "reset": True}]},
    ),
    Part(
        "instrumental.generate",
        {"prompt": "house, 120 BPM, A minor", "model": "TemPolor i4"},
        EARLY_CALLBACK,
        {
            "works": [{"kind": "instrumental.generate", "early": ["audio_complete"]}],
            "answers": [{"operation": "submit", "kind": "instrumental.generate", "delay_s": ANSWER_LATE_S}],
        },
    ),
    Part("instrumental.extend", {"item_id": "178001", "start_time": 30}),
    Part("lyrics.generate", {"prompt": "rain on a tin roof"}),
    Part(
        "stems.create",
        _AUDIO,
        LOST_CALLBACK,
        # Its only callback: nothing will ever be heard of this task.
        {"works": [{"kind": "stems.create", "drop": ["*"]}]},
    ),
    Part("midi.create", _AUDIO),
)
