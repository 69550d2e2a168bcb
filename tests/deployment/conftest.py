"""Figures of these tests are shown at the end of the run."""

from tests.chaos.conftest import tell

__all__ = ["tell"]
