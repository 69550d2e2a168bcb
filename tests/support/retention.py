"""Retention, turned by hand."""

from typing import Final

from app.audit.audit import Actor

DAY_S: Final = 86400.0
BY: Final = Actor("cli:root")
