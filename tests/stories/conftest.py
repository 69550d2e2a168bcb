"""Stories run on virtual time, with one gateway that does nothing behind a test's back."""

import pytest

from tests.support.gateway import Running
from tests.support.waking import LOOKS_S


@pytest.fixture
def rare_looks(gateway: Running) -> None:
    gateway.gateway.services.watch.poll_s = LOOKS_S
