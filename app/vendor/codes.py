"""The vendor's business codes, and what each means for a submission and for a query.

Source: the vendor's reference, the table of codes; the live service answers HTTP 200 for them all.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Meaning:
    """``code`` is ours, stable, and shown to clients; ``retryable`` advises them."""

    code: str
    remedy: Remedy
    retryable: bool = False


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
    UNSUPPORTED: Meaning("model_unsupported", Remedy.FAIL),
    CANNOT_EXTEND: Meaning("work_not_extendable", Remedy.FAIL),
}
ON_HTTP: Final = {
    401: ON_SUBMIT[KEY_REJECTED],
    403: ON_SUBMIT[KEY_REJECTED],
    # A proxy that the operator named wants credentials: nothing is wrong with the task.
    407: Meaning("vendor_unreachable", Remedy.BACK_OFF, retryable=True),
    # Refused because of the connection that it came on, and invited to come again.
    421: Meaning("vendor_unreachable", Remedy.BACK_OFF, retryable=True),
    425: Meaning("vendor_unreachable", Remedy.BACK_OFF, retryable=True),
    429: Meaning("vendor_rate_limited", Remedy.SLOW_DOWN, retryable=True),
}
"""What an HTTP status says of a submission whatever the body says; other refusing ones say nothing by themselves."""

UNDOCUMENTED: Final = Meaning("vendor_refused", Remedy.FAIL)
"""An unknown code is permanent on submit, transient on query, and never a success."""

SPOILS_BATCH: Final = frozenset({BAD_PARAMETER, NO_SUCH_WORK, ABNORMAL_STATUS})
"""Codes that one bad id can turn a whole query answer into."""


def on_submit(status: int) -> Meaning:
    """What a refusing code of a submission means."""
    return ON_SUBMIT.get(status, UNDOCUMENTED)
