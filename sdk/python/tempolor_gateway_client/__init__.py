"""A Python client of the gateway's HTTP API. It needs httpx and nothing else of this project."""

from tempolor_gateway_client.asynchronous import AsyncGatewayClient
from tempolor_gateway_client.errors import (
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
from tempolor_gateway_client.requests import NewTask, Until
from tempolor_gateway_client.results import (
    ArchivedCopy,
    Artifact,
    ExpectedTime,
    Item,
    LoggedNotification,
    Notification,
    Task,
    TaskError,
    TimelineEntry,
    WaitingFor,
)
from tempolor_gateway_client.retries import Retries
from tempolor_gateway_client.synchronous import GatewayClient
from tempolor_gateway_client.webhooks import verify_notification

__all__ = [
    "ArchivedCopy",
    "Artifact",
    "AsyncGatewayClient",
    "BadSignature",
    "Conflict",
    "ExpectedTime",
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
