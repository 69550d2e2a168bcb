"""A plugin of pytest for trials: that a property does not hold is enough to know; no smaller example is looked for."""

import pytest
from hypothesis import Phase, settings


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """As everyday, without the search for a smaller example, and without what an earlier run has found."""
    settings.register_profile("trials", settings(), phases=[Phase.explicit, Phase.generate], database=None)
    settings.load_profile("trials")
