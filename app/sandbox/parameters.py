"""What the vendor refuses with 400003, per kind. Source: the vendor's reference, "Operations".

Written apart from the gateway's own checks, so that the two can disagree.
"""

from typing import Any, Final

from app.sandbox.replies import Refused

BAD_PARAMETER: Final = 400003

_REQUIRED: Final = {
    "song.generate": ("prompt", "model"),
    "song.extend": ("item_id", "start_time"),
    "instrumental.generate": ("prompt", "model"),
    "instrumental.extend": ("item_id", "start_time"),
    "lyrics.generate": ("prompt",),
    "stems.create": ("url",),
    "midi.create": ("url",),
}
_LONGEST: Final = {"song.generate": {"prompt": 1000, "lyrics": 3000}, "song.extend": {"lyrics": 3000}}
_START_TIME_S: Final = (10, 600)
QUERY_LIMIT: Final = 10


def check_submission(kind: str, body: dict[str, Any]) -> None:
    """Raise ``Refused`` for the first parameter that is wrong; unknown fields are ignored."""
    for name in ("callback_url", *_REQUIRED[kind]):
        if name == "start_time":
            _check_start(body.get(name))
        elif not isinstance(body.get(name), str) or not body[name].strip():
            raise Refused(BAD_PARAMETER, f"{name} not blank")
    for name, most in _LONGEST.get(kind, {}).items():
        value = body.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > most):
            raise Refused(BAD_PARAMETER, f"{name} exceeds {most} characters")


def check_query(body: dict[str, Any]) -> tuple[str, ...]:
    """The ids that a query names, each once. Raises ``Refused``; at most ten are allowed."""
    item_ids = body.get("item_ids")
    if not isinstance(item_ids, list) or not item_ids:
        raise Refused(BAD_PARAMETER, "item_ids not empty")
    if len(item_ids) > QUERY_LIMIT:
        raise Refused(BAD_PARAMETER, f"item_ids at most {QUERY_LIMIT}")
    if not all(isinstance(item_id, str) and item_id for item_id in item_ids):
        raise Refused(BAD_PARAMETER, "item_ids must be strings")
    return tuple(dict.fromkeys(item_ids))


def _check_start(value: Any) -> None:
    first, last = _START_TIME_S
    if isinstance(value, bool) or not isinstance(value, int | float) or not first <= value <= last:
        raise Refused(BAD_PARAMETER, f"start_time must be between {first} and {last}")
