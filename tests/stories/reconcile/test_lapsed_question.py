"""A process that is killed while it asks: its items are asked about again once its lease has ended, and not before."""

from datetime import datetime, timedelta
from typing import Any

from app.reconcile.claims import ClaimTimes, claim_due
from tests.support.gateway import running_gateway

LEASE = timedelta(seconds=30)
MOMENT = timedelta(seconds=1)


async def test_what_nobody_answered_is_claimed_again_when_the_lease_has_ended(database_url: str) -> None:
    async with running_gateway(database_url, workers=False) as gateway:
        body = {"songs": [{"item_id": item_id, "status": "running"} for item_id in ("t2m_1", "t2m_2")]}
        assert (await gateway.call_back("song", body)).text == "success"
        context = gateway.gateway.context
        asked_at = context.clock.now() + timedelta(hours=1)

        async def claimed(at: datetime) -> list[Any]:
            found = await context.loops_db().write(claim_due, ClaimTimes(at, at, at + LEASE))
            return sorted(one.item_id for one in found)

        assert await claimed(asked_at) == ["t2m_1", "t2m_2"]
        assert await claimed(asked_at + LEASE - MOMENT) == []
        assert await claimed(asked_at + LEASE + MOMENT) == ["t2m_1", "t2m_2"]
