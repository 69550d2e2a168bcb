"""The registry of kinds and families: one entry for each. A new kind is one entry and its samples.

Source: the vendor's reference, "Operations" and "Item"; default waits are the gateway's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from app.rules.item_shape import Artifact, Shape
from app.tempolor import params

API_PREFIX: Final = "/open-apis/v1"
ACCOUNT_PATH: Final = f"{API_PREFIX}/account/billing"
QUERY_BATCH: Final = 10
"""Most item ids in one query call (vendor's limit)."""

STREAM_LIFETIME: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Family:
    """What kinds of one family share: the callback and query list, the query path, the item's shape."""

    name: str
    list_key: str
    shape: Shape

    @property
    def query_path(self) -> str:
        return f"{API_PREFIX}/{self.name}/query"

    @property
    def external_kind(self) -> str:
        """The kind of a task that was submitted to the vendor by somebody else."""
        return f"{self.name}.external"


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that a client can ask for. ``overdue_s`` is how long to wait for a callback before any was timed,
    ``model_field`` which of the params names the model."""

    name: str
    family: Family
    path: str
    params: type[BaseModel]
    overdue_s: float
    model_field: str = "model"


_STREAM = Artifact(
    "stream",
    # The first is the name that was seen; the vendor documents none.
    ("streamAudioUrl", "stream_audio_url", "streamUrl", "stream_url"),
    required=False,
    lifetime=STREAM_LIFETIME,
)
_AUDIO = Artifact("audio", ("audio_url",), media_types=("audio/mpeg",))
_AUDIO_HI = Artifact(
    "audio_hi", ("audio_hi_url",), status_field="audio_hi_status", media_types=("audio/wav", "audio/flac")
)
# Of which form it is the vendor does not say.
_BGM = Artifact("bgm", ("audio_bgm_url",), required=False, media_types=("audio/mpeg", "audio/wav", "audio/flac"))
_STEMS = Artifact("stems", ("stems_url",), several=True, media_types=("application/zip",))
_MIDI = Artifact("midi", ("midi_url",), media_types=("application/zip", "audio/midi"))
_SUB_STATUSES = ("audio_hi_status", "lyrics_sections_status")

SONG = Family(
    "song",
    "songs",
    Shape(
        artifacts=(_STREAM, _AUDIO, _AUDIO_HI, _BGM),
        sub_statuses=_SUB_STATUSES,
        sections_field="lyrics_sections",
        sections_status="lyrics_sections_status",
    ),
)
INSTRUMENTAL = Family(
    "instrumental",
    "instrumentals",
    # Aligned lyrics may come (one edition of the reference speaks of them), and are not waited for.
    Shape(artifacts=(_STREAM, _AUDIO, _AUDIO_HI, _BGM), sub_statuses=_SUB_STATUSES),
)
LYRICS = Family("lyrics", "lyrics", Shape(artifacts=()))
STEMS = Family("stems", "stems", Shape(artifacts=(_STEMS,)))
MIDI = Family("midi", "midis", Shape(artifacts=(_MIDI, replace(_STEMS, required=False))))

FAMILIES: Final = {family.name: family for family in (SONG, INSTRUMENTAL, LYRICS, STEMS, MIDI)}
ARTIFACTS: Final = {artifact.name: artifact for family in FAMILIES.values() for artifact in family.shape.artifacts}
"""All artifacts by name. Those of one name may differ by family in their fields, and in whether they are required."""

KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("song.generate", SONG, f"{API_PREFIX}/song/generate", params.SongGenerate, 240),
        Kind("song.extend", SONG, f"{API_PREFIX}/song/extend", params.SongExtend, 240),
        Kind(
            "instrumental.generate",
            INSTRUMENTAL,
            f"{API_PREFIX}/instrumental/generate",
            params.InstrumentalGenerate,
            180,
        ),
        Kind("instrumental.extend", INSTRUMENTAL, f"{API_PREFIX}/instrumental/extend", params.InstrumentalExtend, 180),
        Kind("lyrics.generate", LYRICS, f"{API_PREFIX}/lyrics/generate", params.LyricsGenerate, 60, "song_model"),
        Kind("stems.create", STEMS, f"{API_PREFIX}/stems", params.AudioSource, 240),
        Kind("midi.create", MIDI, f"{API_PREFIX}/midi", params.AudioSource, 240),
    )
}


def family_of(kind_name: str) -> str:
    """The name of a kind's family. Only that of an external kind is told by its name."""
    kind = KINDS.get(kind_name)
    return kind.family.name if kind is not None else kind_name.partition(".")[0]


def overdue_default_s(kind_name: str) -> float:
    """Seconds until a callback is overdue while too few of its kind were timed; external kinds as their family."""
    kind = KINDS.get(kind_name)
    if kind is not None:
        return kind.overdue_s
    family = family_of(kind_name)
    return max(kind.overdue_s for kind in KINDS.values() if kind.family.name == family)


def model_of(kind_name: str, params: Mapping[str, Any]) -> str | None:
    """The model that a task's params name; None where they name none."""
    named = params.get(_field(kind_name))
    return named if isinstance(named, str) else None


def sent_params(kind_name: str, params: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """The params as they are sent: with the alias of the model that they name, if it has one. An alias is looked up
    once, so that two names can be exchanged."""
    model = model_of(kind_name, params)
    alias = None if model is None else aliases.get(model)
    return dict(params) if alias is None else {**params, _field(kind_name): alias}


def _field(kind_name: str) -> str:
    kind = KINDS.get(kind_name)
    return kind.model_field if kind is not None else "model"
