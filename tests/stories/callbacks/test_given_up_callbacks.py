"""A callback that was answered 503 after its time limit is not stored behind its sender's back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.callbacks.admission import CallbackIntake
from app.errors import Unavailable
from app.rules.observation import Disposition
from app.tempolor.callback_tokens import Token
from tests.support.cyclic_garbage import garbage_of
from tests.support.direct_sql import Direct
from tests.support.gateway import make_gateway, make_settings


@pytest.fixture
async def intake(database_url: str) -> AsyncIterator[CallbackIntake]:
    """Callbacks that are written only when the test says so, and whose senders wait for two seconds."""
    gateway = make_gateway(make_settings(database_url), workers=False)
    yield CallbackIntake(gateway.context, answer_timeout_s=2)
    await gateway.stop()


def body(item_id: str) -> bytes:
    return b'{"songs":[{"item_id":"%s","status":"running"}]}' % item_id.encode()


async def test_what_nobody_waits_for_any_more_is_dropped_from_the_queue(
    intake: CallbackIntake, database_url: str
) -> None:
    nobody = Token("song", None)
    given_up = [intake.receive(nobody, body(f"t2m_{n}"), None) for n in range(3)]
    errors = await asyncio.gather(*given_up, return_exceptions=True)
    assert [type(error) for error in errors] == [Unavailable] * 3
    waiting = asyncio.create_task(intake.receive(nobody, body("t2m_awaited"), None))
    await asyncio.sleep(0)
    assert await intake.writers[0].step() is None
    assert (await waiting).disposition is Disposition.APPLIED
    db = Direct(database_url)
    assert [row["item_id"] for row in await db.rows("SELECT item_id FROM items")] == ["t2m_awaited"]
    assert len(await db.rows("SELECT id FROM callbacks")) == 1


async def test_what_was_given_up_is_not_kept_by_its_error(intake: CallbackIntake) -> None:
    """The collector comes seldom: a cycle of an error and a frame would hold a body until then."""
    with garbage_of("receive", "_take") as held:
        for n in range(3):
            with pytest.raises(Unavailable):
                await intake.receive(Token("song", None), body(f"t2m_{n}"), None)
        assert await intake.writers[0].step() is None, "they have left the queue"
    assert held == []


async def test_each_of_a_failed_group_gets_an_error_of_its_own(intake: CallbackIntake) -> None:
    """One for all of them would hold the whole group, by its traceback, until the last of them is gone."""
    waiting = [asyncio.create_task(intake.receive(Token("song", None), body(f"t2m_{n}"), None)) for n in range(3)]
    await asyncio.sleep(0)
    intake.fail_all()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [Unavailable] * 3
    assert len({id(error) for error in errors}) == 3
