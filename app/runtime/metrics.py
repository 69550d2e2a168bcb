"""Prometheus metrics. Label values come from closed sets: families, dispositions, codes, statuses, loop names; and, a
few at a time, the names of models on hold."""

import platform
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

registry: Final = CollectorRegistry(auto_describe=True)
"""Ours alone: every name in it begins with ``gateway_``."""
ProcessCollector(namespace="gateway", registry=registry)

build: Final = Info("gateway_build", "The release that runs here", registry=registry)
requests: Final = Counter(
    "gateway_requests",
    "Requests by method, template of the route and status (none: the caller went away)",
    ["method", "route", "status"],
    registry=registry,
)
request_seconds: Final = Histogram(
    "gateway_request_seconds",
    "From the arrival of a request to the beginning of its response; long polls are a route of their own (?wait)",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=registry,
)
client_tasks: Final = Counter(
    "gateway_client_tasks",
    "Tasks of each client that were accepted, and that ended, by how; beyond 50 clients the others are one",
    ["client", "outcome"],
    registry=registry,
)
vendor_balance: Final = Gauge("gateway_vendor_balance_points", "The vendor's balance, as last read", registry=registry)

callbacks: Final = Counter(
    "gateway_callbacks", "Callbacks by family and disposition", ["family", "disposition"], registry=registry
)
callback_oddities: Final = Counter(
    "gateway_callback_oddities", "Fields and items of callbacks that were passed over", ["fault"], registry=registry
)
drift: Final = Counter(
    "gateway_drift", "What the vendor said that nobody knew, by sort (see /v1/drift)", ["sort"], registry=registry
)
acknowledge_seconds: Final = Histogram(
    "gateway_acknowledge_seconds",
    "From the first byte of a callback to its answer",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
    registry=registry,
)
groups_redone: Final = Counter(
    "gateway_callback_groups_redone",
    "Groups of callbacks that were done again, in a transaction: somebody else was at one of their tasks",
    registry=registry,
)
group_sizes: Final = Histogram(
    "gateway_callback_group_size", "Callbacks in one transaction", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
)
items_ended: Final = Counter(
    "gateway_items_ended", "Items that became final, by what told us", ["kind", "by"], registry=registry
)
callbacks_lost: Final = Counter(
    "gateway_callbacks_lost",
    "Items whose end came by a query although a callback was due: lost, or later than its kind's are",
    ["kind"],
    registry=registry,
)
convergence_lag: Final = Histogram(
    "gateway_convergence_lag_seconds",
    "From the vendor's finished_at to our final state, by what told us",
    ["by"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
    registry=registry,
)
convergence_lag_rejected: Final = Counter(
    "gateway_convergence_lag_rejected", "Lags below 0 or above the deadline: a wrong clock", registry=registry
)
queries_saved: Final = Counter(
    "gateway_queries_saved", "Items that ended without one question about them", ["family"], registry=registry
)
queried_items: Final = Counter(
    "gateway_queried_items",
    "Items asked about; divided by the query calls: how full these are",
    ["family"],
    registry=registry,
)
queries: Final = Counter(
    "gateway_queries", "Query calls by family and kind of answer", ["family", "answer"], registry=registry
)
unusable_answers: Final = Counter(
    "gateway_queries_unusable",
    "Query calls that brought no answer that could be used, by what was wrong",
    ["family", "fault"],
    registry=registry,
)
notifications: Final = Counter("gateway_notifications", "Notifications by outcome", ["outcome"], registry=registry)
notifications_dead: Final = Counter(
    "gateway_notifications_dead", "Notifications given up after their last attempt", registry=registry
)
archive_copies: Final = Counter(
    "gateway_archive_copies",
    "Copies of result files by outcome: kept, or why an attempt failed",
    ["outcome"],
    registry=registry,
)
archive_bytes: Final = Counter("gateway_archive_bytes", "Bytes of the files that were kept", registry=registry)
archive_pending: Final = Gauge(
    "gateway_archive_pending", "Files still to be copied, counted up to 100000", registry=registry
)
archive_oldest_age: Final = Gauge(
    "gateway_archive_oldest_pending_age_seconds", "Age of the oldest file still to be copied", registry=registry
)
outbox_pending: Final = Gauge(
    "gateway_outbox_pending", "Notifications still to be delivered, counted up to 10000", registry=registry
)
outbox_oldest_due_age: Final = Gauge(
    "gateway_outbox_oldest_due_age_seconds", "Since the oldest notification that is due became so", registry=registry
)
vendor_calls: Final = Counter(
    "gateway_vendor_calls", "Calls to the vendor by operation and code", ["operation", "code"], registry=registry
)
vendor_call_seconds: Final = Histogram(
    "gateway_vendor_call_seconds",
    "Duration of calls to the vendor",
    ["operation"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30),
    registry=registry,
)
tasks: Final = Gauge("gateway_tasks", "Open tasks by status", ["status"], registry=registry)
oldest_task_age: Final = Gauge(
    "gateway_oldest_task_age_seconds",
    "Since the oldest task of each open status was accepted; 0 without one",
    ["status"],
    registry=registry,
)
overdue: Final = Gauge(
    "gateway_overdue", "Work that is late by more than the thresholds of /backlog", ["what"], registry=registry
)
standing_still: Final = Gauge(
    "gateway_standing_still", "1 while submissions or queries hold", ["what", "reason"], registry=registry
)
model_held_tasks: Final = Gauge(
    "gateway_model_held_tasks",
    "Queued tasks of each kind and model that is held because the vendor does not offer it",
    ["kind", "model"],
    registry=registry,
)
loop_heartbeat_age: Final = Gauge(
    "gateway_loop_heartbeat_age_seconds",
    "Since an iteration of each loop was due that has not ended well yet; 0 while it rests",
    ["loop"],
    registry=registry,
)
loop_restarts: Final = Counter(
    "gateway_loop_restarts", "Times a loop ended with an exception", ["loop"], registry=registry
)
purged_rows: Final = Counter("gateway_purged_rows", "Rows deleted by retention, by table", ["table"], registry=registry)
watchers: Final = Gauge(
    "gateway_watchers", "Requests that wait, and streams that are open", ["what"], registry=registry
)
connections_refused: Final = Counter(
    "gateway_connections_refused",
    "Connections ended for a limit, or because of what came",
    ["reason"],
    registry=registry,
)
clock_skew: Final = Gauge(
    "gateway_clock_skew_seconds", "Our clock minus the database's, as last measured", registry=registry
)
database_unsafe: Final = Gauge(
    "gateway_database_unsafe",
    "1 while a setting of PostgreSQL lets it lose what it confirmed",
    ["setting"],
    registry=registry,
)
callback_secret_missing: Final = Gauge(
    "gateway_callback_secret_missing",
    "Open tasks whose callbacks are refused, since their secret was taken away (counted up to 1000)",
    registry=registry,
)
callbacks_unreachable: Final = Gauge(
    "gateway_callbacks_unreachable",
    "1 while what is posted to our own public URL does not arrive here: TemPolor will not reach us",
    registry=registry,
)


_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_requests: Final = lru_cache(maxsize=2048)(requests.labels)


def note_build(version: str) -> None:
    """Say which release this is."""
    build.info({"version": version, "python": platform.python_version()})


def note_request(method: str, route: str, status: int, seconds: float | None = None) -> None:
    """Count one request. ``status``: 0 without a response. ``seconds``: to the beginning of the response."""
    _requests(method if method in _METHODS else "other", route, str(status) if status else "none").inc()
    if seconds is not None:
        request_seconds.labels(route).observe(seconds)


def note_vendor_call(operation: str, code: str, seconds: float) -> None:
    """Count one call to the vendor."""
    vendor_calls.labels(operation, code).inc()
    vendor_call_seconds.labels(operation).observe(seconds)
