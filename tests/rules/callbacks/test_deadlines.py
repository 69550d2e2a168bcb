"""One timer for many waits: each is given up in its turn, none early, none that is done, and none is forgotten."""

import asyncio

import pytest

from app.callbacks.admission import Deadlines

PATIENCE_S = 0.5


def counting() -> tuple[Deadlines[str], list[tuple[str, float]]]:
    """Deadlines, and what they gave up with the time at which they did."""
    given_up: list[tuple[str, float]] = []

    def give_up(name: str) -> None:
        given_up.append((name, asyncio.get_running_loop().time()))

    return Deadlines(PATIENCE_S, give_up), given_up


async def test_each_is_given_up_in_its_turn_and_not_before() -> None:
    deadlines, given_up = counting()
    loop = asyncio.get_running_loop()
    came = {}
    for name in ("first", "done", "second", "third"):
        came[name] = loop.time()
        deadlines.add(name)
        if name == "second":
            deadlines.remove("done")
        await asyncio.sleep(0.05)
    await asyncio.sleep(2 * PATIENCE_S)
    assert [name for name, _ in given_up] == ["first", "second", "third"]
    assert all(at - came[name] == pytest.approx(PATIENCE_S) for name, at in given_up)


async def test_who_comes_after_a_quiet_time_is_given_up_too() -> None:
    deadlines, given_up = counting()
    for name in ("first", "second"):
        deadlines.add(name)
        await asyncio.sleep(2 * PATIENCE_S)
    assert [name for name, _ in given_up] == ["first", "second"]


async def test_the_timer_of_one_that_is_done_serves_the_next() -> None:
    deadlines, given_up = counting()
    deadlines.add("done")
    await asyncio.sleep(PATIENCE_S / 2)
    came = asyncio.get_running_loop().time()
    deadlines.add("late")
    deadlines.remove("done")
    deadlines.remove("never here")
    await asyncio.sleep(2 * PATIENCE_S)
    [(name, at)] = given_up
    assert name == "late"
    assert at - came == pytest.approx(PATIENCE_S)


async def test_who_comes_again_waits_anew_and_holds_up_nobody() -> None:
    deadlines, given_up = counting()
    loop = asyncio.get_running_loop()
    for name in ("again", "other"):
        deadlines.add(name)
        await asyncio.sleep(PATIENCE_S / 4)
    came = loop.time()
    deadlines.add("again")
    await asyncio.sleep(2 * PATIENCE_S)
    assert [name for name, _ in given_up] == ["other", "again"]
    assert given_up[1][1] - came == pytest.approx(PATIENCE_S)


async def test_one_that_cannot_be_given_up_stops_nobody_behind_it() -> None:
    given_up = []

    def give_up(name: str) -> None:
        if name == "broken":
            raise RuntimeError(name)
        given_up.append(name)

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _what: None)
    deadlines = Deadlines(PATIENCE_S, give_up)
    for name in ("broken", "beside it", "later"):
        deadlines.add(name)
        await asyncio.sleep(0 if name == "broken" else 0.05)
    await asyncio.sleep(2 * PATIENCE_S)
    assert given_up == ["beside it", "later"]
