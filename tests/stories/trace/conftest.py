"""A stage for each chapter of the trace."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.stories.trace.chapter import RECORDS, Chapter


@pytest.fixture
async def play(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Chapter]:
    """A stage that is still empty (``await play.open()``)."""
    # Jitter is none: how often it is drawn is nobody's concern.
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    monkeypatch.setattr(random, "random", lambda: 0.5)
    kept = RECORDS / f"{request.node.originalname.removeprefix('test_')}.txt"
    async with AsyncExitStack() as stack:
        yield Chapter(database_url, stack, kept, records=request.config.getoption("--record"))
