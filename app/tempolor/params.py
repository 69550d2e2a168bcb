"""The parameters of each kind as the vendor documents them: types and limits of known fields, unknown fields passed on.

Models are never checked against a list: the vendor changes them every few months. Titles and descriptions are shown
to callers, in the OpenAPI document and in ``docs/parameters.md``.
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
_MODEL = (
    "The vendor's name of the model that makes it, as in `{}`. Not checked against a list: models come and go, and one "
    "that is gone is refused by the vendor (`model_not_offered`)."
)
# What the vendor's price pages name today.
SONG_MODELS = ["tempolor-latest", "Eleven Music V2", "Lyria 3 Pro", "MiniMax 3.0", "Mureka V9", "Mureka V9.5"]
INSTRUMENTAL_MODELS = ["TemPolor i4", "TemPolor i3"]
SongModel = Annotated[
    Text, Field(title="Model", description=_MODEL.format(SONG_MODELS[0]), json_schema_extra={"examples": SONG_MODELS})
]
InstrumentalModel = Annotated[
    Text,
    Field(
        title="Model",
        description=_MODEL.format(INSTRUMENTAL_MODELS[0]),
        json_schema_extra={"examples": INSTRUMENTAL_MODELS},
    ),
]
Lyrics = Annotated[StrictStr, Field(max_length=3000)]
WebAddress = Annotated[
    StrictStr, Field(max_length=8192, json_schema_extra={"format": "uri"}), AfterValidator(_web_address)
]
SourceItem = Annotated[
    StrictStr,
    Field(
        min_length=1,
        max_length=200,
        title="Item to extend",
        description="The vendor's id of the work to extend, as in `items[].item_id` of the task that made it.",
    ),
]
AudioUrl = Annotated[
    WebAddress,
    Field(
        title="Audio file",
        description="50 MB at most: a public http(s) URL, or `upload:{id}` for an audio file that was uploaded "
        "to the gateway. The vendor fetches it some time after the submission: a link that lives for minutes may be "
        "dead by then.",
    ),
]


class _Params(BaseModel):
    model_config = ConfigDict(extra="allow")


class SongGenerate(_Params):
    """A song from a prompt, or a cover of a track."""

    prompt: Annotated[
        StrictStr,
        Field(
            min_length=1,
            max_length=1000,
            title="Prompt",
            description="What the song should be like: genre, mood, instruments, tempo.",
        ),
    ]
    model: SongModel
    lyrics: Annotated[
        Lyrics | None,
        Field(
            title="Lyrics",
            description="The words to sing, a line each. Without them the vendor writes some, and bills that too.",
        ),
    ] = None
    voice_id: Annotated[
        StrictStr | None,
        Field(
            title="Singer",
            description="The id of one of the vendor's singers, as in `SV000013`. Left out, the vendor chooses.",
        ),
    ] = None
    instrumental: Annotated[
        StrictBool | None,
        Field(title="Instrumental", description="Music without voice. Then no aligned lyrics come."),
    ] = None
    action: Annotated[
        StrictStr | None,
        Field(
            title="Action",
            description="`upload_cover` makes a cover of the track at `upload_audio_url`; without it the song is new.",
            json_schema_extra={"examples": ["upload_cover"]},
        ),
    ] = None
    upload_audio_url: Annotated[
        WebAddress | None,
        Field(
            title="Track to cover",
            description="The track to cover, with `action: upload_cover`: its public http(s) URL, or `upload:{id}` for "
            "what was uploaded to the gateway. The vendor fetches it some time after the submission.",
        ),
    ] = None
    style_negative: Annotated[
        StrictStr | None,
        Field(title="Styles to avoid", description="What the song should not be like, as in `metal, screaming`."),
    ] = None


class SongExtend(_Params):
    """More of a song that exists, from `start_time` on."""

    item_id: SourceItem
    start_time: Annotated[
        StrictFloat,
        Field(
            ge=10, le=600, title="Start (seconds)", description="Where the extension begins, in seconds from the start."
        ),
    ]
    lyrics: Annotated[Lyrics | None, Field(title="Lyrics", description="The words to sing in the extension.")] = None


class InstrumentalGenerate(_Params):
    """Music without voice. Where the vendor does not offer this kind any more, `song.generate` with
    `instrumental: true` makes the same."""

    prompt: Annotated[
        Text,
        Field(
            title="Prompt",
            description="What the music should be like; it may name tempo (BPM), key, chords and length.",
        ),
    ]
    model: InstrumentalModel


class InstrumentalExtend(_Params):
    """More of an instrumental that exists, from `start_time` on, for which the vendor documents no range."""

    item_id: SourceItem
    start_time: Annotated[
        StrictFloat,
        Field(ge=0, title="Start (seconds)", description="Where the extension begins, in seconds from the start."),
    ]


class LyricsGenerate(_Params):
    """Lyrics alone."""

    prompt: Annotated[Text, Field(title="Prompt", description="What the lyrics should be about, and in which style.")]
    song_model: Annotated[
        StrictStr | None,
        Field(
            title="Song model",
            description="The model of the song that the lyrics are meant for.",
            json_schema_extra={"examples": SONG_MODELS},
        ),
    ] = None


class AudioSource(_Params):
    """Audio that the vendor fetches and takes apart."""

    url: AudioUrl
    model: Annotated[
        StrictStr | None,
        Field(title="Model", description="The vendor's name of a model; left out, the vendor's usual one."),
    ] = None
