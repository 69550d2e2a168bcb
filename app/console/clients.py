"""The clients for admins: who may call the API, and which keys are used."""

from fastapi import APIRouter, Response

from app.clients import clients
from app.clients.auth import TheContext
from app.console.pages import PageRoute, page
from app.console.signed_in import AdminVisitor

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/console/clients")
async def list_clients(visitor: AdminVisitor, context: TheContext) -> Response:
    """All clients by name, the revoked ones after the others."""
    found = await clients.list_all(context.db)
    rows = sorted(found, key=lambda client: client.revoked_at is not None)
    return page("clients.html", visitor=visitor, here="clients", clients=rows)
