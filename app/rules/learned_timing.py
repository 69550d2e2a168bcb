"""Estimate when a callback is overdue, from delays counted in logarithmic buckets.

A bucket's upper edge is 1.15 times the one before, from 1 s on. The estimate is the upper edge of the bucket
that holds the 99th percentile, and a callback is overdue a quarter after that: at most 1.44 times a steady
delay, so a lost one is noticed within twice its usual time.
"""

import math
from collections.abc import Mapping
from typing import Final

from app.rules.policy import Policy

GROWTH: Final = 1.15
ENOUGH_SAMPLES: Final = 50
MOST_SAMPLES: Final = 400
"""Above this, counts are halved, so that the recent past outweighs the old."""
LEAST_OVERDUE_S: Final = 20.0
"""The vendor recommends no query sooner than about 20 s after the submission."""
MARGIN: Final = 1.25
QUANTILE: Final = 0.99
BACKOFF: Final = 1.5
JITTER: Final = 0.2


def bucket_of(seconds: float) -> int:
    """The bucket of a delay; everything up to 1 s is in bucket 0."""
    return 0 if seconds <= 1 else math.ceil(round(math.log(seconds) / math.log(GROWTH), 9))


def upper_edge_s(bucket: int) -> float:
    return float(GROWTH**bucket)


def overdue_s(counts: Mapping[int, int], default_s: float) -> float:
    """Seconds after which a callback is overdue, from counts per bucket; ``default_s`` while they are too few."""
    if sum(counts.values()) < ENOUGH_SAMPLES:
        return max(default_s, LEAST_OVERDUE_S)
    return max(upper_edge_s(_quantile(counts, QUANTILE)) * MARGIN, LEAST_OVERDUE_S)


def usual_range_s(counts: Mapping[int, int]) -> tuple[float, float] | None:
    """Between which times, in seconds, eight of ten callbacks come; None while there are too few samples."""
    if sum(counts.values()) < ENOUGH_SAMPLES:
        return None
    earliest = _quantile(counts, 0.1)
    return upper_edge_s(earliest - 1) if earliest else 0.0, upper_edge_s(_quantile(counts, 0.9))


def _quantile(counts: Mapping[int, int], share: float) -> int:
    """The bucket that holds a quantile."""
    total, below = sum(counts.values()), 0
    for bucket in sorted(counts):
        below += counts[bucket]
        if below >= share * total:
            return bucket
    raise AssertionError("the last bucket holds every quantile")


def interval_s(attempts: int, jitter: float, policy: Policy) -> float:
    """Seconds until the next question after ``attempts`` (≥1) without news; ``jitter`` is in [-1, 1]."""
    # The exponent is bounded: 1.5**2000 does not fit a float, and any bound above log(max) does.
    base = policy.interval_s * BACKOFF ** min(max(attempts - 1, 0), 64)
    return min(base, policy.max_interval_s) * (1 + JITTER * jitter)
