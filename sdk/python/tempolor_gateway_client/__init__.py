"""A Python client of the gateway's HTTP API. It needs httpx and nothing else of this project."""

from tempolor_gateway_client.account import (
    Account,
    LoggedAttempt,
    LoggedNotification,
    Me,
    NotificationWithBody,
    PingAnswer,
    StreamTicket,
    UploadedFile,
    ZipMember,
)
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
from tempolor_gateway_client.follow import TaskStream
from tempolor_gateway_client.requests import UNCHANGED, NewTask, Unchanged, Until, View
from tempolor_gateway_client.results import (
    ArchivedCopy,
    Artifact,
    ExpectedTime,
    Item,
    Notification,
    Task,
    TaskError,
    TimelineEntry,
    WaitingFor,
)
from tempolor_gateway_client.retries import Retries
from tempolor_gateway_client.synchronous import GatewayClient, SyncTaskStream
from tempolor_gateway_client.webhooks import verify_notification

__all__ = [
    "UNCHANGED",
    "Account",
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
    "LoggedAttempt",
    "LoggedNotification",
    "Me",
    "NewTask",
    "NotFound",
    "Notification",
    "NotificationWithBody",
    "PingAnswer",
    "Retries",
    "StreamTicket",
    "SyncTaskStream",
    "Task",
    "TaskError",
    "TaskStream",
    "TimelineEntry",
    "Unauthorized",
    "Unavailable",
    "Unchanged",
    "UnexpectedAnswer",
    "Until",
    "UploadedFile",
    "View",
    "WaitTimeout",
    "WaitingFor",
    "ZipMember",
    "verify_notification",
]
