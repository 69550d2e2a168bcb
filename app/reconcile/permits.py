"""What a permit to ask the vendor is spent on: what is due, what nobody may know, or what a caller wants to know now.

Suspects (ids that the vendor did not know, or that nobody has seen yet) and refreshes come in any number. Neither is
given two permits in a row while something else is due, however many of them wait: each is kept to half of the rate.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from app.reconcile import questions
from app.tasks import items
from app.tasks.items import Asked


class Permit(StrEnum):
    """What a permit was spent on."""

    DUE = "due"
    SUSPECTS = "suspects"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Span:
    """The times of a claim: what is due by ``now`` is asked about, filled with what is by ``soon``."""

    now: datetime
    soon: datetime
    leased_until: datetime


def spend(
    conn: sa.Connection, last: str | None, wanted: questions.Known | None, span: Span, limit: int
) -> tuple[Permit, list[Asked]]:
    """Claim a question about at most ``limit`` items, and say what the permit was spent on; no items if there is
    nothing to ask. ``last``: what the permit before was spent on; ``wanted``: see ``reconcile.claim``.

    A refresh whose turn it is not asks what is due instead, so that no permit is idle and none waits for a
    reconciler that does not run. Call it under the lock of the query limit.
    """
    if last in (Permit.SUSPECTS, Permit.REFRESH):
        asked = questions.claim_known(conn, span.now, span.soon, span.leased_until, limit)
        if asked:
            return Permit.DUE, asked
    if wanted and last != Permit.REFRESH:
        return Permit.REFRESH, questions.claim_some(conn, wanted, span.now, span.soon, span.leased_until, limit)
    asked = items.claim_due(conn, span.now, span.soon, span.leased_until, limit)
    if wanted and not asked:
        return Permit.REFRESH, questions.claim_some(conn, wanted, span.now, span.soon, span.leased_until, limit)
    suspects = bool(asked) and questions.is_suspect(conn, asked[0].key)
    return Permit.SUSPECTS if suspects else Permit.DUE, asked
