"""Routes of clients and their API keys, for admins."""

from fastapi import APIRouter, Request, Response

from app.clients import clients, keys
from app.clients.auth import TheAdmin, TheContext, actor_of
from app.clients.schemas import ClientPage, ClientRequest, KeyRotation, NewClient, NewKey, RotatedSecret
from app.web.answers import CONFLICT, PROBLEMS, json_answer
from app.web.bodies import documented, parse, read_json
from app.web.parameters import storable

router = APIRouter(prefix="/v1/clients", responses=PROBLEMS, tags=["Admin: clients"])


@router.get("", response_model=ClientPage, summary="List clients")
async def list_clients(_admin: TheAdmin, context: TheContext) -> Response:
    """All clients by name, the revoked ones too."""
    documents = [clients.client_document(client) for client in await clients.list_all(context.db)]
    return json_answer({"data": documents, "next_cursor": None})


@router.post(
    "",
    status_code=201,
    response_model=NewClient,
    responses=CONFLICT,
    openapi_extra=documented(ClientRequest, {"name": "studio"}),
    summary="Make a client",
)
async def create_client(request: Request, admin: TheAdmin, context: TheContext) -> Response:
    """Make a client. Its key and its webhook secret are shown this once."""
    body = parse(ClientRequest, await read_json(request))
    new = await clients.create(context.db, context.clock, actor_of(admin), body.name, is_admin=body.admin)
    secrets = {"api_key": new.api_key, "webhook_secret": new.webhook_secret}
    return json_answer({**clients.client_document(new.client), **secrets}, 201)


@router.post("/{name}/webhook-secret", response_model=RotatedSecret, summary="Rotate a client's webhook secret")
async def rotate_client_webhook_secret(name: str, admin: TheAdmin, context: TheContext) -> Response:
    """Make a new webhook secret, shown this once. The old one signs beside it for a day."""
    secret = await clients.rotate_webhook_secret(context.db, context.clock, actor_of(admin), storable(name))
    return json_answer({"name": name, "webhook_secret": secret})


@router.post(
    "/{name}/key",
    response_model=NewKey,
    responses=CONFLICT,
    openapi_extra=documented(KeyRotation, {"overlap_s": 86_400}, required=False),
    summary="Rotate a client's API key",
)
async def rotate_client_key(request: Request, name: str, admin: TheAdmin, context: TheContext) -> Response:
    """Make a new API key, shown this once. The old one stays valid beside it for a day, or for `overlap_s` seconds. A
    client has two keys at most: one from an earlier rotation ends now."""
    body = parse(KeyRotation, await read_json(request, default={}))
    new = await keys.rotate(context.db, context.clock, actor_of(admin), storable(name), body.overlap_s)
    return json_answer({"name": name, "api_key": new.api_key, "previous_key_until": new.previous_key_until})


@router.delete("/{name}/previous-key", status_code=204, summary="End a client's old API key")
async def end_previous_client_key(name: str, admin: TheAdmin, context: TheContext) -> Response:
    """End the previous key at once, if it is still valid."""
    await keys.drop_previous(context.db, context.clock, actor_of(admin), storable(name))
    return Response(status_code=204)


@router.delete("/{name}", status_code=204, summary="Revoke a client")
async def revoke_client(name: str, admin: TheAdmin, context: TheContext) -> Response:
    """End a client's key at once. Its tasks run to their end."""
    await clients.revoke(context.db, context.clock, actor_of(admin), storable(name))
    return Response(status_code=204)
