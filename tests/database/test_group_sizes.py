"""How many callbacks are joined at once: bounded over all writers, since nothing else is done meanwhile."""

import asyncio
from uuid import UUID

from app.callbacks.admission import CallbackIntake
from app.runtime import metrics
from app.tempolor.callback_tokens import Token
from tests.support.gateway import make_gateway, make_settings

TASKS = (UUID(int=1), UUID(int=2))
"""Tasks that are not there, for each of two writers; their callbacks are kept as orphans'."""


def counted() -> tuple[float, float]:
    """Groups, and callbacks in them."""
    found = {sample.name: sample.value for metric in metrics.group_sizes.collect() for sample in metric.samples}
    return found["gateway_callback_group_size_count"], found["gateway_callback_group_size_sum"]


async def test_the_groups_of_all_writers_together_are_bounded(database_url: str) -> None:
    gateway = make_gateway(make_settings(database_url), workers=False)
    intake = CallbackIntake(gateway.context)
    most = gateway.context.db.entries_at_once
    try:
        waiting = [
            asyncio.create_task(intake.receive(Token("song", task), b'{"songs":[{"item_id":"t2m_%d"}]}' % n, None))
            for task in TASKS
            for n in range(most)
        ]
        await asyncio.sleep(0)
        before = counted()
        await asyncio.gather(*(writer.step() for writer in intake.writers))
        groups, entries = (after - one for after, one in zip(counted(), before, strict=True))
        assert groups == len(intake.writers)
        assert entries == most
        while not all(task.done() for task in waiting):
            await asyncio.gather(*(writer.step() for writer in intake.writers))
    finally:
        intake.fail_all()
        await asyncio.gather(*waiting, return_exceptions=True)
        await gateway.stop()
    assert all(task.result().usable for task in waiting)
