"""The vendor's business codes, and what each means for a submission and for a query.

Source: the vendor's reference, the table of codes; the live service answers HTTP 200 for them all.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.rules.task import FailureCode

SUCCESS: Final = 200000
SERVER_ERROR: Final = 400001
KEY_REJECTED: Final = 400002
BAD_PARAMETER: Final = 400003
CONTENT_VIOLATION: Final = 400004
NO_POINTS: Final = 400005
SERVER_BUSY: Final = 400006
QUEUE_FULL: Final = 400007
NO_SUCH_WORK: Final = 400008
ABNORMAL_STATUS: Final = 400009
UNSUPPORTED: Final = 400010
CANNOT_EXTEND: Final = 400011


class Remedy(StrEnum):
    """What the gateway does about a refusal."""

    FAIL = "fail"
    BACK_OFF = "back_off"
    WAIT_FOR_SLOT = "wait_for_slot"
    FIX_KEY = "fix_key"
    BUY_POINTS = "buy_points"
    SLOW_DOWN = "slow_down"
    """HTTP 429: everybody waits, not only this task."""
    HOLD_MODEL = "hold_model"
    """It fails, and it concerns every task of its kind and model: several in a row make those stand still."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a refusal means. ``code`` is ours, stable, and shown to clients; ``retryable`` advises them."""

    code: FailureCode
    remedy: Remedy
    retryable: bool = False


MODEL_NOT_OFFERED: Final = Meaning("model_not_offered", Remedy.HOLD_MODEL)
KIND_NOT_OFFERED: Final = Meaning("kind_not_offered", Remedy.HOLD_MODEL)

ON_SUBMIT: Final = {
    SERVER_ERROR: Meaning("vendor_error", Remedy.BACK_OFF, retryable=True),
    KEY_REJECTED: Meaning("vendor_key_rejected", Remedy.FIX_KEY, retryable=True),
    BAD_PARAMETER: Meaning("bad_parameter", Remedy.FAIL),
    CONTENT_VIOLATION: Meaning("content_violation", Remedy.FAIL),
    NO_POINTS: Meaning("insufficient_points", Remedy.BUY_POINTS, retryable=True),
    SERVER_BUSY: Meaning("vendor_busy", Remedy.BACK_OFF, retryable=True),
    QUEUE_FULL: Meaning("vendor_queue_full", Remedy.WAIT_FOR_SLOT, retryable=True),
    NO_SUCH_WORK: Meaning("work_not_found", Remedy.FAIL),
    ABNORMAL_STATUS: Meaning("work_status_abnormal", Remedy.FAIL),
    UNSUPPORTED: MODEL_NOT_OFFERED,
    CANNOT_EXTEND: Meaning("work_not_extendable", Remedy.FAIL),
}
UNREACHABLE: Final = Meaning("vendor_unreachable", Remedy.BACK_OFF, retryable=True)
ON_HTTP: Final = {
    401: ON_SUBMIT[KEY_REJECTED],
    403: ON_SUBMIT[KEY_REJECTED],
    # A proxy that the operator named wants credentials: nothing is wrong with the task.
    407: UNREACHABLE,
    # Refused because of the connection that it came on, and invited to come again.
    421: UNREACHABLE,
    425: UNREACHABLE,
    429: Meaning("vendor_rate_limited", Remedy.SLOW_DOWN, retryable=True),
}
"""What an HTTP status says of a submission whatever the body says; other refusing ones say nothing by themselves."""

UNDOCUMENTED: Final = Meaning("vendor_refused", Remedy.HOLD_MODEL)
"""An unknown code is permanent on submit, transient on query, and never a success."""
HOLDING: Final = (MODEL_NOT_OFFERED.code, KIND_NOT_OFFERED.code, UNDOCUMENTED.code)
"""Our words for refusals that hold a kind and model."""
UNDOCUMENTED_OF_ONE: Final = Meaning("vendor_refused", Remedy.FAIL)

SPOILS_BATCH: Final = frozenset({BAD_PARAMETER, NO_SUCH_WORK, ABNORMAL_STATUS})
"""Codes that one bad id can turn a whole query answer into."""

_NO_SUCH_PATH: Final = frozenset({404, 405})
_OF_ONE_REQUEST: Final = frozenset({400, 411, 413, 414, 422, 431})
"""HTTP statuses that find fault with one request: its length, its form."""

_MODEL: Final = re.compile(
    r"""
    (?<![a-z]) (?i:models?) (?: [_ -]? (?i:name|id|type|version) )? (?![a-z])  # model, song_model, model_name, modelId
    | (?<=[a-z]) Models? (?![a-z])                                             # songModel
    | 模型
    """,
    re.VERBOSE,
)
_OTHER_PARAMETER: Final = re.compile(
    r"(?i)callback|prompt|lyrics|\burl\b|audio_url|voice|item_id|start_time|style_negative|"
    r"提示词|歌词|音色|回调|链接|违规|敏感"
)
_FORM: Final = re.compile(
    r"(?i)\b(?:blank|empty|null|missing|is required|exceed\w*|length|characters?|too long|string)\b|\brequired\W*$|"
    r"为空|必填|必传|缺少|缺失|未填|未传|超过|超出|超长|过长|长度|字符|格式"
)


def on_submit(status: int | None, message: str = "", http_status: int = 200) -> Meaning:
    """Interpret a refusal of a submission: by its HTTP status where that says it, else by its business code. 400003 is
    the caller's mistake, unless it speaks of the model."""
    if http_status in ON_HTTP:
        return ON_HTTP[http_status]
    if status == BAD_PARAMETER and speaks_of_model(message):
        return MODEL_NOT_OFFERED
    if status in ON_SUBMIT:
        return ON_SUBMIT[status]
    if status in _NO_SUCH_PATH or http_status in _NO_SUCH_PATH:
        return KIND_NOT_OFFERED
    return UNDOCUMENTED_OF_ONE if status is None and http_status in _OF_ONE_REQUEST else UNDOCUMENTED


def speaks_of_model(message: str) -> bool:
    """Whether the words of a 400003 say that the model is not offered, in English or Chinese.

    The vendor takes models away and says so as of any bad parameter (**live**: "model not support"). It names the
    parameter that it means, so words about another one, or about a text that is missing or too long, are about the
    one request. Taken wrongly for the model's, a refusal costs a minute of waiting; taken wrongly for the caller's,
    it costs the whole queue.
    """
    return bool(_MODEL.search(message)) and not _OTHER_PARAMETER.search(message) and not _FORM.search(message)
