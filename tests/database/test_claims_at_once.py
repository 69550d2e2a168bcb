"""Many who claim a question at the same moment are one asker: the lock on the limit is the permit."""

import asyncio

from app.reconcile.claims import claim
from tests.support.databases import on_postgresql
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway


@on_postgresql
async def test_of_many_who_claim_at_once_one_asks(start_gateway: StartGateway, clock: ScaledClock) -> None:
    replicas: list[Running] = [await start_gateway(workers=False, clock=clock) for _ in range(4)]
    songs = [{"item_id": f"t2m_{number}", "status": "running"} for number in range(60)]
    assert (await replicas[0].call_back("song", {"songs": songs})).status_code == 200
    clock.skip(3000)
    for _ in range(3):
        now = clock.now()
        contexts = [replica.gateway.context for replica in replicas]
        turns = await asyncio.gather(*(context.db.write(claim, context, now) for context in contexts))
        [question] = [turn.question for turn in turns if turn.question is not None]
        assert len(question.items) == 10
        assert [turn.wait_s for turn in turns if turn.question is None] == [0.5] * 3
        clock.skip(0.5)
