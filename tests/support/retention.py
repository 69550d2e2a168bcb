"""Retention, turned by hand."""

from typing import Final

from app.audit.audit import By

DAY_S: Final = 86400.0
BY: Final = By("cli:root")
