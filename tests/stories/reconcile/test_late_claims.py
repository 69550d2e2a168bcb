"""A question that was claimed long ago is not asked: its lease could end under the call, and another asks then."""

from app.reconcile.ask import ask
from app.reconcile.claims import claim
from tests.support.fast_clock import ScaledClock
from tests.support.start_fixtures import StartGateway, StartSandbox


async def test_a_process_that_was_frozen_after_its_claim_does_not_ask(
    start_gateway: StartGateway, start_sandbox: StartSandbox, clock: ScaledClock
) -> None:
    sandbox = await start_sandbox()
    gateway = await start_gateway(sandbox, workers=False, clock=clock)
    await gateway.call_back("song", {"songs": [{"item_id": "t2m_1", "status": "running"}]})
    context = gateway.gateway.context
    clock.skip(3000)
    for seconds, is_asked in ((11, False), (40, False), (9, True)):
        started, before = clock.monotonic(), sandbox.calls.by_operation["query"]
        turn = await context.db.write(claim, context, clock.now())
        assert turn.question is not None
        clock.skip(seconds)
        answer = await ask(context, context.db, turn.question, started)
        assert ((answer is not None), sandbox.calls.by_operation["query"] - before) == (is_asked, int(is_asked))
        clock.skip(3000)
