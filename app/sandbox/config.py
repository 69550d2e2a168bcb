"""Configure a sandbox: its clock, its habits, its faults. Everything that chance decides depends on ``seed``.

Two clocks. *Vendor seconds* are the seconds of the real service and are divided by ``scale``: how long a work
takes, how long a callback is late. *Real seconds* are not scaled: what a caller's own time-outs measure, such as
a late answer.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_KEY: Final = "Tempo-sandbox-0123456789abcdef0123456789abcdef"

Chance = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Span = tuple[Seconds, Seconds]

Garbage = Literal["html_200", "html_502", "empty", "no_ids", "truncated"]
Form = Literal["flat", "data_list", "text_status", "broken_text", "raw_newline", "gbk"]
"""Forms of an answer that hold what the usual one holds, and are not documented."""
Excess = Literal["gzip_bomb", "gzip_twice", "flood"]
"""Answers that are far more than they should be."""
Outcome = Literal["succeeded", "failed", "part_failed", "part_failed_wav", "part_failed_sections", "stuck"]

ALL_GARBAGE: Final[tuple[Garbage, ...]] = ("html_200", "html_502", "empty", "no_ids", "truncated")


class Strict(BaseModel):
    """A model that refuses unknown fields: a misspelt fault must not pass for one that never strikes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Durations(Strict):
    """How long things take, in vendor seconds, each ± ``jitter`` as a share.

    Source: the vendor's reference (a song's mp3 in a sample: 124 s; fast instrumentals under 3 s; stems about a
    minute; lyrics seconds) and its samples.
    """

    song_audio_s: Seconds = 124
    song_wav_s: Seconds = 40
    song_sections_s: Seconds = 20
    instrumental_audio_s: Seconds = 62
    instrumental_wav_s: Seconds = 25
    fast_audio_s: Seconds = 1.6
    fast_wav_s: Seconds = 0.6
    lyrics_s: Seconds = 8
    stems_s: Seconds = 60
    midi_s: Seconds = 60
    jitter: Chance = 0.2


class CallbackFaults(Strict):
    """Chances per callback (``drop``, ``double``, ``delay``) and per item (``reorder``, ``early``)."""

    drop: Chance = 0
    double: Chance = 0
    delay: Chance = 0
    delay_s: Span = Field((10, 120), description="vendor seconds")
    reorder: Chance = 0
    early: Chance = Field(0, description="the first callback of an item is sent before the submission is answered")


class CallFaults(Strict):
    """Chances per call of one operation. At most one of hang, reset, garbage, codes, http strikes; late is apart."""

    late: Chance = 0
    late_s: Span = Field((0.5, 3), description="real seconds")
    hang: Chance = Field(0, description="no answer; the connection is reset after hang_s")
    hang_s: Seconds = Field(60, description="real seconds")
    reset: Chance = 0
    garbage: Chance = 0
    garbage_kinds: tuple[Garbage, ...] = Field(ALL_GARBAGE, min_length=1)
    codes: dict[int, Chance] = Field(default_factory=dict, description="business code → chance")
    http: dict[int, Chance] = Field(default_factory=dict, description="HTTP status → chance")
    retry_after: Chance = Field(0.5, description="share of the http faults that carry Retry-After")
    retry_after_s: int = Field(1, ge=0)
    accepted: Chance = Field(
        0.5, description="share of hang, reset, garbage and 5xx at which a submission was taken all the same"
    )


class FileFaults(Strict):
    """Chances per download of a result file."""

    lifetime_s: float | None = Field(None, gt=0, description="real seconds that links live, in place of three days")
    slow: Chance = 0
    slow_s: Seconds = Field(5, description="real seconds before the body comes")
    short: Chance = Field(0, description="the connection breaks off in the middle")
    html: Chance = Field(0, description="an error page with status 200")
    error: Chance = Field(0, description="502")


class Habits(Strict):
    """How the live service behaves when nothing is wrong, as chances per item."""

    sparse_final: Chance = Field(0.5, description="the last callback leaves out what earlier ones told")
    null_fields: Chance = Field(0.5, description="a field that is not known yet is null, else it is missing")
    milliseconds: Chance = Field(0.1, description="created_at and finished_at in milliseconds instead of seconds")
    failed: Chance = 0
    part_failed: Chance = 0
    stuck: Chance = Field(0, description="never ends, and is never called back")
    odd_status: Chance = Field(0, description="an undocumented status in place of waiting and running")
    odd_event: Chance = Field(0, description="one more callback, with an undocumented event")
    odd_fields: Chance = Field(0, description="undocumented fields of several types")
    enveloped: Chance = Field(0, description="callbacks inside {status, message, data}")
    sections_in_ms: Chance = Field(0, description="aligned lyrics with start_ms and end_ms")
    instrumental_sections: Chance = Field(0, description="an instrumental has a third callback, of aligned lyrics")
    waiting_sections: Chance = Field(
        0, description="an instrumental song says for ever that its aligned lyrics are waiting"
    )
    bgm: Chance = Field(0, description="queries show the accompaniment of a song (audio_bgm_url)")
    dead_input: Chance = Field(0, description="the input was gone when it was fetched: the work fails")


class Delivery(Strict):
    """How callbacks are sent. The vendor documents no repeats, so there are none unless asked for."""

    concurrency: int = Field(64, ge=1)
    timeout_s: Seconds = Field(10, description="real seconds")
    retries: int = Field(0, ge=0, description="repeats of a callback that was not acknowledged")
    retry_after_s: Seconds = Field(30, description="vendor seconds")


Points = Annotated[float, Field(ge=0)]
PriceList = dict[str, Points]
"""Model → points an item; ``*`` for every other model, and for what names none."""


class Prices(Strict):
    """What an item costs that does not fail. Our defaults are the vendor's price page of 2026-08, China edition."""

    song: PriceList = {"tempolor-latest": 30, "Mureka V9": 33, "Mureka V9.5": 100, "MiniMax 3.0": 80, "*": 30}
    cover: PriceList = Field({"tempolor-latest": 70, "Mureka V9": 140, "*": 70}, description="a song of another track")
    instrumental: PriceList = Field(
        {"TemPolor i3": 20, "TemPolor i4": 30, "*": 30}, description="also a song without voice of a model named here"
    )
    lyrics: PriceList = Field({"*": 7}, description="also what a song costs more whose lyrics are to be written")
    stems: PriceList = {"*": 35}
    midi: PriceList = {"*": 200}


class SandboxConfig(Strict):
    """Everything that can be chosen about a sandbox. The defaults are the vendor on a good day, in real time."""

    api_key: str = Field(DEFAULT_KEY, min_length=1)
    seed: int = 0
    scale: float = Field(1, gt=0, description="vendor seconds per real second")
    public_url: str | None = Field(None, description="how callers reach the sandbox; default: where it listens")

    durations: Durations = Durations()
    habits: Habits = Habits()
    callbacks: CallbackFaults = CallbackFaults()
    submit: CallFaults = CallFaults()
    query: CallFaults = CallFaults()
    account: CallFaults = CallFaults()
    delivery: Delivery = Delivery()
    files: FileFaults = FileFaults()

    retired_models: tuple[str, ...] = Field(
        (), description="whole names, * for all; from now on, until they are taken out"
    )
    retired_status: int = Field(400003, description="the business code that a submission with a retired model gets")
    retired_message: str = "model not support"
    missing_operations: dict[str, Literal[404, 405]] = Field(
        default_factory=dict, description="kind → HTTP status of its submission path, which is not served any more"
    )

    items_per_submission: int = Field(1, ge=1, le=100)
    stream_models: tuple[str, ...] = Field(("stream",), description="parts of model names that stream")
    fast_models: tuple[str, ...] = Field(("i3",), description="parts of names of fast instrumental models")
    stems_shape: Literal["url", "list", "object"] = "url"

    balance: float = 100_000
    prices: Prices = Prices()
    enforce_balance: bool = Field(False, description="400005 when a submission costs more than is left")
    parallel_limit: int | None = Field(None, ge=0, description="works at once; more get 400007")
    check_extended: bool = Field(False, description="extend: 400008 for an unknown work, 400009 for an unfinished one")

    query_rate_per_s: float | None = Field(None, gt=0, description="query calls per real second")
    query_burst: float | None = Field(None, ge=1, description="default: one second's worth, at least 1")
    query_limit_answer: Literal["http_429", "status_400006"] = "http_429"
    unknown_items: Literal["refuse", "omit"] = Field("refuse", description="refuse: 400008 for the whole call")
    visible_after_s: Seconds = Field(0, description="vendor seconds during which queries do not know an item")
    query_omits: Chance = Field(0, description="chance per item to be missing from an answer")
    fetch_inputs_after_s: Seconds | None = Field(
        None, description="vendor seconds after which inputs are fetched (HEAD, then GET); default: they are not"
    )
    resign_every_s: float | None = Field(None, gt=0, description="vendor seconds after which URLs are signed anew")

    log_limit: int = Field(200_000, ge=1, description="entries kept of calls and of callback attempts, each")


def all_faults(**chosen: Any) -> SandboxConfig:
    """Every fault from which a caller recovers within seconds, at a few percent each; ``chosen`` fields win.

    400002 and 400005 are left out: they are faults of the account, which stop every caller at once.
    """
    transient = {400001: 0.02, 400006: 0.02}
    preset: dict[str, Any] = {
        "habits": Habits(failed=0.03, part_failed=0.05, odd_status=0.1, odd_event=0.1, odd_fields=0.3),
        "callbacks": CallbackFaults(drop=0.15, double=0.15, delay=0.15, reorder=0.2, early=0.1),
        "submit": CallFaults(
            late=0.05,
            hang=0.01,
            reset=0.02,
            garbage=0.03,
            codes={**transient, 400004: 0.01, 400007: 0.02},
            http={429: 0.02, 502: 0.01, 503: 0.01},
        ),
        "query": CallFaults(
            late=0.03, hang=0.005, hang_s=15, reset=0.01, garbage=0.02, codes=transient, http={429: 0.02, 503: 0.01}
        ),
        "account": CallFaults(codes=transient, http={503: 0.05}),
        "visible_after_s": 5,
        "query_omits": 0.02,
        "resign_every_s": 300,
    }
    return SandboxConfig.model_validate({**preset, **chosen})


_REPLACED: Final = frozenset({"codes", "http", "missing_operations", *Prices.model_fields})
"""Fields that are tables: a change says the whole of it, so that an entry can be taken out."""


def merged(config: SandboxConfig, changes: dict[str, Any]) -> SandboxConfig:
    """Merge ``changes`` into ``config``: nested objects are merged, tables and everything else replaced."""
    return SandboxConfig.model_validate(_overlay(config.model_dump(), changes))


def _overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    joined = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(name), dict) and name not in _REPLACED
        joined[name] = _overlay(base[name], value) if nested else value
    return joined


def load_config(faults: str | None = None, **chosen: Any) -> SandboxConfig:
    """Load the config of a command line. ``faults``: ``all``, a JSON object, or a file with one; ``chosen`` fields win.

    Fields of ``chosen`` that are None count as not given. Raises ``ValueError`` with a readable message.
    """
    fields = {name: value for name, value in chosen.items() if value is not None}
    if faults is None or faults == "all":
        return all_faults(**fields) if faults else SandboxConfig.model_validate(fields)
    try:
        text = faults if faults.lstrip().startswith("{") else Path(faults).read_text()
        parsed = json.loads(text)
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"faults: neither 'all', nor a JSON object, nor a file with one: {error}") from error
    if not isinstance(parsed, dict):
        raise ValueError("faults: must be a JSON object")
    return merged(SandboxConfig.model_validate(fields), {**parsed, **fields})
