"""Inject services into routes: each route names the parts of its process that it uses."""

from typing import Any, Final

from fastapi import Depends, Request

SERVICES: Final = "gateway.services"
"""Where each request's ASGI scope holds the ``Services`` of the gateway that was asked."""


def service(name: str) -> Any:
    """Make a dependency: the attribute of this name of the gateway's ``Services``."""

    # Not a plain function: FastAPI runs those in a thread, for each request.
    async def find(request: Request) -> Any:
        return getattr(request.scope[SERVICES], name)

    return Depends(find)
