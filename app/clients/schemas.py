"""API schemas of clients and their keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictFloat

from app.clients.keys import MOST_OVERLAP_S, OVERLAP_S


class ClientRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    admin: bool = False


class Client(BaseModel):
    """A client. Times of use are known to the minute. `previous_key_until`: when the previous key ends, or ended."""

    name: str
    admin: bool
    created_at: datetime
    revoked_at: datetime | None = None
    key_last_used_at: datetime | None = None
    previous_key_until: datetime | None = None
    previous_key_last_used_at: datetime | None = None


class KeyRotation(BaseModel):
    """`overlap_s`: how long the previous key stays valid beside the new one; 0 ends it at once."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[StrictFloat, Field(ge=0, le=MOST_OVERLAP_S)] = OVERLAP_S


class NewKey(BaseModel):
    """A new API key, shown this once."""

    name: str
    api_key: str
    previous_key_until: datetime | None = None


class ClientPage(BaseModel):
    data: list[Client]
    next_cursor: str | None = None


class NewClient(BaseModel):
    """A client with its two secrets, which are shown this once."""

    name: str
    admin: bool
    created_at: datetime
    api_key: str
    webhook_secret: str


class RotatedSecret(BaseModel):
    """A new webhook secret, shown this once."""

    name: str
    webhook_secret: str
