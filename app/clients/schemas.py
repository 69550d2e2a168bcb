"""API schemas of clients and their keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictStr

from app.clients.keys import MOST_OVERLAP_S, OVERLAP_S
from app.rules.task import NotificationType
from app.tasks.webhook_url import MOST_URL_CHARS, WebhookEvents


class ClientRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    admin: bool = False


class Client(BaseModel):
    """A client. Times of use are known to the minute. `previous_key_until`: when the previous key ends, or ended."""

    name: str
    admin: bool
    created_at: datetime
    revoked_at: datetime | None
    key_last_used_at: datetime | None
    previous_key_until: datetime | None
    previous_key_last_used_at: datetime | None


class KeyRotation(BaseModel):
    """`overlap_s`: how long the previous key stays valid beside the new one; 0 ends it at once."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[StrictFloat, Field(ge=0, le=MOST_OVERLAP_S)] = OVERLAP_S


class Me(BaseModel):
    """A client as it sees itself. `webhook_…`: of its tasks that name none themselves; `webhook_events` is null for all
    types. Times of use are known to the minute."""

    name: str
    admin: bool
    created_at: datetime
    key_last_used_at: datetime | None
    previous_key_until: datetime | None
    webhook_url: str | None
    webhook_events: list[NotificationType] | None


class MeChange(BaseModel):
    """What of a client it changes itself; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    webhook_url: Annotated[StrictStr, Field(max_length=MOST_URL_CHARS)] | None = None
    webhook_events: WebhookEvents | None = None


class StreamTicket(BaseModel):
    """A ticket that opens one stream until it expires, this once."""

    ticket: str
    expires_at: datetime


class NewKey(BaseModel):
    """A new API key, shown this once."""

    name: str
    api_key: str
    previous_key_until: datetime | None


class ClientPage(BaseModel):
    data: list[Client]
    next_cursor: str | None


class NewClient(Client):
    """A client with its two secrets, which are shown this once."""

    api_key: str
    webhook_secret: str


class RotatedSecret(BaseModel):
    """A new webhook secret, shown this once."""

    name: str
    webhook_secret: str
