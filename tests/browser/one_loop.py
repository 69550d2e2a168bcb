"""The event loop that the browser's tests of a worker share, since they share the browser."""

from functools import partial
from typing import Final

import pytest
import pytest_asyncio

ON_ONE_LOOP: Final = pytest.mark.asyncio(loop_scope="session")
"""``pytestmark`` of each file of these tests."""
fixture = partial(pytest_asyncio.fixture, loop_scope="session")
"""What an asynchronous fixture of these tests is made by."""
