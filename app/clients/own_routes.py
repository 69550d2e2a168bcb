"""Routes of a client about itself: who it is, its webhook, tickets for its streams."""

from fastapi import APIRouter, Request, Response

from app.clients import clients, tickets
from app.clients.auth import TheClient, TheContext, actor_of
from app.clients.schemas import Me, MeChange, RotatedSecret, StreamTicket
from app.errors import InvalidRequest
from app.rules.client import Client
from app.tasks.webhook_url import check_url
from app.web.answers import PROBLEMS, json_answer
from app.web.bodies import documented, parse, read_json

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Account"])


@router.get("/me", response_model=Me, summary="Read who you are")
async def get_me(client: TheClient) -> Response:
    """The client of the API key: its name and rights, and the webhook of its tasks that name none themselves."""
    return json_answer(_document(client))


@router.patch(
    "/me",
    response_model=Me,
    openapi_extra=documented(MeChange, {"webhook_url": "https://hooks.example/tempolor"}),
    summary="Change your default webhook",
)
async def update_me(request: Request, client: TheClient, context: TheContext) -> Response:
    """Change the default `webhook_url` or `webhook_events`, or both; null takes one away. It holds for tasks that are
    submitted from now on."""
    body = parse(MeChange, await read_json(request))
    values = body.model_dump(exclude_unset=True)
    if body.webhook_url is not None:
        try:
            check_url(body.webhook_url, context.egress)
        except InvalidRequest as error:
            raise InvalidRequest("the request is not valid", (("webhook_url", error.detail),)) from None
    return json_answer(_document(await clients.set_webhook(context.db, client.name, values)))


@router.post("/me/webhook-secret", response_model=RotatedSecret, summary="Rotate your webhook secret")
async def rotate_my_webhook_secret(client: TheClient, context: TheContext) -> Response:
    """Make a new webhook secret, shown this once. The old one signs beside it for a day."""
    secret = await clients.rotate_webhook_secret(context.db, context.clock, actor_of(client), client.name)
    return json_answer({"name": client.name, "webhook_secret": secret})


@router.post("/stream-tickets", status_code=201, response_model=StreamTicket, summary="Issue a ticket for a stream")
async def create_stream_ticket(client: TheClient, context: TheContext) -> Response:
    """For a browser's `EventSource`, which sends no header: `?ticket=` opens one of your streams once, within a minute.
    The service that holds the API key asks for it, and hands it to the page."""
    return json_answer((await tickets.issue_for_stream(context.db, context.clock, client))._asdict(), 201)


def _document(client: Client) -> dict[str, object]:
    return {
        "name": client.name,
        "admin": client.is_admin,
        "created_at": client.created_at,
        "key_last_used_at": client.key_used_at,
        "previous_key_until": client.previous_key_until,
        "webhook_url": client.webhook_url,
        "webhook_events": client.webhook_events,
    }
