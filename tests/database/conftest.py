"""What the sender of notifications and retention are made of, for tests of what they cost."""

from tests.stories.notifications.conftest import gateway, notifier

__all__ = ["gateway", "notifier"]
