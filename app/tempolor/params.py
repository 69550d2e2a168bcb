"""What the vendor documents of each kind's parameters: types and limits of known fields, unknown fields passed on.

Models are never checked against a list: the vendor changes them every few months.
Source: the vendor's reference, "Operations".
"""

from typing import Annotated

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictStr
from pydantic.functional_validators import AfterValidator

UPLOAD = "upload:"
"""Begins a reference to an upload, which is sent as a link to it."""


def _web_address(text: str) -> str:
    if not text.startswith(UPLOAD):
        AnyHttpUrl(text)  # raises what pydantic reports; the text itself goes to the vendor as it came
    return text


Text = Annotated[StrictStr, Field(min_length=1)]
Prompt = Annotated[StrictStr, Field(min_length=1, max_length=1000)]
Lyrics = Annotated[StrictStr, Field(max_length=3000)]
WebAddress = Annotated[StrictStr, Field(max_length=8192), AfterValidator(_web_address)]
StartTime = Annotated[StrictFloat, Field(ge=10, le=600, description="seconds")]


class _Params(BaseModel):
    model_config = ConfigDict(extra="allow")


class SongGenerate(_Params):
    """A song from a prompt. If ``lyrics`` is empty the vendor writes them, and bills that too."""

    prompt: Prompt
    model: Text
    lyrics: Lyrics | None = None
    voice_id: StrictStr | None = None
    instrumental: StrictBool | None = None
    action: StrictStr | None = None
    upload_audio_url: WebAddress | None = None
    style_negative: StrictStr | None = None


class SongExtend(_Params):
    """More of a song that exists, from ``start_time`` on."""

    item_id: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    start_time: StartTime
    lyrics: Lyrics | None = None


class InstrumentalGenerate(_Params):
    """Music without voice; the prompt may carry tempo, key, chords and length."""

    prompt: Text
    model: Text


class InstrumentalExtend(_Params):
    """More of an instrumental that exists, from ``start_time`` on, for which no range is documented."""

    item_id: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    start_time: Annotated[StrictFloat, Field(ge=0, description="seconds")]


class LyricsGenerate(_Params):
    """Lyrics alone."""

    prompt: Text
    song_model: StrictStr | None = None


class AudioSource(_Params):
    """Audio that the vendor fetches (50 MB at most), for stems and MIDI."""

    url: WebAddress
    model: StrictStr | None = None
