"""Where each request's ASGI scope holds what its route works with."""

from typing import Final

SERVICES: Final = "gateway.services"
"""The ``Services`` of the gateway that was asked."""
