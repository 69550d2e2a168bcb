"""A Python client of the gateway's HTTP API. It needs httpx and nothing else of this project."""

from app.client.asynchronous import AsyncGatewayClient
from app.client.errors import (
    BadSignature,
    Conflict,
    Fault,
    Forbidden,
    GatewayError,
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)
from app.client.requests import NewTask, Until
from app.client.results import (
    Artifact,
    Item,
    LoggedNotification,
    Notification,
    Task,
    TaskError,
    TimelineEntry,
    WaitingFor,
)
from app.client.retries import Retries
from app.client.synchronous import GatewayClient
from app.client.webhooks import verify_notification

__all__ = [
    "Artifact",
    "AsyncGatewayClient",
    "BadSignature",
    "Conflict",
    "Fault",
    "Forbidden",
    "GatewayClient",
    "GatewayError",
    "IdempotencyMismatch",
    "InvalidRequest",
    "Item",
    "LoggedNotification",
    "NewTask",
    "NotFound",
    "Notification",
    "Retries",
    "Task",
    "TaskError",
    "TimelineEntry",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Until",
    "WaitTimeout",
    "WaitingFor",
    "verify_notification",
]
