"""Everything that runs in one process: put together, started and ended in order."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp

from app.api.app import Services, make_app
from app.app_context import Context
from app.archive.cleanup import EVERY_S as CLEAN_EVERY_S
from app.archive.cleanup import Cleaner
from app.archive.copy import Archiver
from app.archive.download import Downloader
from app.archive.file_store import FileStore
from app.callbacks.admission import CallbackIntake
from app.callbacks.endpoint import CallbackEndpoint
from app.clients import clients
from app.console.overview_live import Overview
from app.console.session import Sessions
from app.database.connect import is_sqlite, open_database, parse_url
from app.database.database import Database
from app.database.migrate import migrate
from app.database.schema_revision import check_at_head
from app.database.sqlite_file import FileLock
from app.limits.heartbeats import BEAT_S
from app.notifications.deliver import Notifier
from app.notifications.post import WebhookSender
from app.operations.account import WATCH_S, Account
from app.operations.clock_skew import SkewWatch
from app.operations.health import Health
from app.operations.readiness_warnings import CHECK_S, ReadinessWarnings
from app.operations.retention import EVERY_S as RETAIN_EVERY_S
from app.operations.retention import Retainer
from app.operations.self_check import START_S, SelfCheck
from app.reconcile.ask import Reconciler
from app.reconcile.expire import Expiry
from app.reconcile.refresh import Refresher
from app.runtime import metrics
from app.runtime.clock import Clock
from app.runtime.egress import is_loopback
from app.runtime.loops import Loop, Supervisor
from app.settings import Settings
from app.submissions.dispatch import Dispatcher
from app.tasks.learned_delays import FLUSH_S
from app.watching.watch import Watch
from app.web.proxy_headers import trust_proxies
from app.wiring import context_of, tls_context

log = structlog.get_logger(__name__)

MOST_FINISH_S: Final = 30.0
"""How long a stopping process waits at most for the vendor's answers that it still expects: a submission whose
answer is not read becomes unconfirmed."""

ITERATION_S: Final = 7.0
"""How long an iteration of a loop may take to end: no statement takes longer."""


@cache
def release() -> str:
    """The version of this package. To look for it in the installed packages takes milliseconds."""
    try:
        return version("tempolor-gateway")
    except PackageNotFoundError:
        return "0"


@dataclass(slots=True, kw_only=True)
class Workers:
    """The background loops that claim work under a lease, so that any number of processes share it. ``archiver``:
    where an archive is set."""

    dispatcher: Dispatcher
    reconciler: Reconciler
    expiry: Expiry
    notifier: Notifier
    retainer: Retainer
    archiver: Archiver | None

    def stop_claiming(self) -> None:
        """Claim nothing more that would be sent, posted or copied; questions go on to the end."""
        self.dispatcher.stopping = self.notifier.stopping = True
        if self.archiver is not None:
            self.archiver.stopping = True

    async def finish(self, submit_timeout_s: float) -> None:
        """Wait for what is under way: ``submit_timeout_s`` for the answers to submissions."""
        await self.dispatcher.finish(min(submit_timeout_s, MOST_FINISH_S))
        await self.reconciler.finish(ITERATION_S)
        await self.notifier.finish(ITERATION_S)
        if self.archiver is not None:
            await self.archiver.finish(ITERATION_S)


@dataclass(slots=True, kw_only=True)
class Gateway:
    """Everything that one process runs. ``start`` it, serve ``app``, ``drain`` it, ``stop`` it. ``workers``: None with
    ``--workers-off``."""

    settings: Settings
    context: Context
    intake: CallbackIntake
    supervisor: Supervisor
    health: Health
    skew: SkewWatch
    readiness_warnings: ReadinessWarnings
    webhooks: WebhookSender
    self_check: SelfCheck | None
    watch_clock: bool
    workers: Workers | None
    file_store: FileStore | None
    file_lock: FileLock | None
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        refresher = Refresher(self.context, self.skew.stops_loops)
        watch = Watch(self.context)
        self.services = Services(
            self.context,
            Account(self.context),
            self.health,
            refresher,
            watch,
            self.webhooks,
            Sessions([secret.get_secret_value() for secret in self.settings.callback_secrets]),
            Overview(self.context, self.health),
            self.file_store,
        )

    async def start(self) -> None:
        """Check the database, and start the loops. Raises ``SchemaNotAtHead``, ``DatabaseInUse``, ``Unavailable``."""
        settings, context = self.settings, self.context
        url = settings.database_url.get_secret_value()
        if self.file_lock is not None:
            self.file_lock.acquire(wait=False)
            await asyncio.to_thread(migrate, url)
        await context.db.read(check_at_head)
        if settings.bootstrap_admin_key is not None:
            await clients.ensure_bootstrap(context.db, context.clock, settings.bootstrap_admin_key.get_secret_value())
        await self.readiness_warnings.step()
        await context.delays.flush(context.loops_db())
        if self.watch_clock:
            await self.skew.step()
        self._start_loops()

    def app(self) -> ASGIApp:
        """The HTTP application."""
        settings = self.settings
        endpoint = CallbackEndpoint(
            self.intake, self.services.meter, settings.callback_max_bytes, settings.callback_allow_cidrs
        )
        return trust_proxies(
            make_app(self.services, endpoint, release(), settings.cors_allow_origins), settings.forwarded_allow_ips
        )

    def listens(self) -> None:
        """Start what needs this process to answer requests."""
        if self.self_check is not None:
            self.supervisor.start(Loop("self-check", self.self_check.step, delay_s=START_S))

    def drain(self) -> None:
        """Say not ready, claim nothing more, end waits and streams; everything else goes on."""
        self.health.draining = True
        self.services.watch.drain()
        if self.workers is not None:
            self.workers.stop_claiming()

    async def stop(self) -> None:
        """End in order: what was sent is settled, the loops end, the writer of callbacks last."""
        self.drain()
        await self.supervisor.stop(ITERATION_S)
        await self.services.watch.close()
        if self.workers is not None:
            await self.workers.finish(self.context.policy.submit_timeout_s)
        self.webhooks.close()
        await self.services.refresher.finish(ITERATION_S)
        self.intake.fail_all()
        await self.context.vendor.close()
        try:
            async with asyncio.timeout(ITERATION_S):
                await self.services.key_uses.flush(self.context.db)
                await self._flush_learned()
        except Exception as error:
            # Away, or without our tables: neither may hide why the process ends, nor keep the rest from being closed.
            log.warning("stop.not_flushed", error=type(error).__name__)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ITERATION_S):
                await self.context.db.close()
        if self.file_lock is not None:
            self.file_lock.release()

    async def _flush_learned(self) -> float | None:
        """Write what this process has learned of the vendor: its delays, and what it says that nobody knows."""
        db = self.context.loops_db()
        await self.context.delays.flush(db)
        await self.context.drift.flush(db, self.context.clock.now())
        return FLUSH_S

    def _start_loops(self) -> None:
        context, idle_s, run = self.context, self.settings.loop_idle_s, self.supervisor.start
        for number, writer in enumerate(self.intake.writers, start=1):
            run(Loop(f"callbacks-{number}", writer.step, idle_s, writer.arrived))
        for loop in self.services.watch.loops():
            run(loop)
        run(Loop("learn", self._flush_learned))
        # The first check was made before the loops start.
        run(Loop("readiness-warnings", self.readiness_warnings.step, delay_s=CHECK_S))
        run(Loop("survey", self.health.survey))
        run(Loop("keys", lambda: self.services.key_uses.step(context.loops_db())))
        if self.watch_clock:
            run(Loop("skew", self.skew.step))
        if self.workers is not None:
            self._start_workers(self.workers)

    def _start_workers(self, workers: Workers) -> None:
        context, idle_s, wakes = self.context, self.settings.loop_idle_s, self.context.wakes
        run, paused = self.supervisor.start, self.skew.stops_loops
        run(Loop("balance", self.services.account.watch, delay_s=WATCH_S))
        run(Loop("dispatch", workers.dispatcher.step, idle_s, wakes.dispatch, paused))
        run(Loop("reconcile", workers.reconciler.step, idle_s, wakes.reconcile, paused))
        run(Loop("clock", workers.expiry.step, min(idle_s, BEAT_S), paused=paused))
        run(Loop("notify", workers.notifier.step, idle_s, wakes.notify, paused))
        if workers.archiver is not None and self.file_store is not None:
            run(Loop("archive", workers.archiver.step, idle_s, wakes.archive, paused))
            cleaner = Cleaner(context, self.file_store, self.settings.archive_retention_days)
            run(Loop("archive-cleanup", cleaner.step, CLEAN_EVERY_S, paused=paused))
        run(Loop("retain", workers.retainer.step, RETAIN_EVERY_S, paused=paused))


def build(
    settings: Settings,
    *,
    workers: bool,
    clock: Clock | None = None,
    watch_clock: bool = True,
    database: Database | None = None,
) -> Gateway:
    """Put a process together; nothing is opened yet. ``workers``: run the background loops too. ``watch_clock``:
    hold the clock against the database's; off only for a clock that is made to run faster. ``database``: an open one,
    in place of the settings'."""
    metrics.note_build(release())
    url = settings.database_url.get_secret_value()
    parsed = parse_url(url)
    context = context_of(settings, database or open_database(url), clock)
    supervisor, skew, tls = Supervisor(context.clock), SkewWatch(context), tls_context(settings)
    self_check = None
    # A loopback address is reached by nobody else, and needs no proof.
    if settings.self_check and not is_loopback(urlsplit(settings.public_url).hostname or ""):
        self_check = SelfCheck(context, tls, settings.public_proxy)
    readiness_warnings = ReadinessWarnings(context, skew, self_check)
    webhooks = WebhookSender(context.egress, tls=tls, now=context.clock.now, redact=context.redactor.body)
    store = FileStore(settings.archive_url) if settings.archive_url is not None else None
    return Gateway(
        settings=settings,
        context=context,
        intake=CallbackIntake(context, most_body_bytes=settings.callback_max_bytes),
        supervisor=supervisor,
        health=Health(context, supervisor.ages_s, skew, readiness_warnings, settings.thresholds()),
        skew=skew,
        readiness_warnings=readiness_warnings,
        webhooks=webhooks,
        self_check=self_check,
        watch_clock=watch_clock,
        workers=_workers(settings, context, webhooks, store) if workers else None,
        file_store=store,
        file_lock=FileLock(parsed, ".lock") if is_sqlite(parsed) else None,
    )


def _workers(settings: Settings, context: Context, webhooks: WebhookSender, store: FileStore | None) -> Workers:
    archiver = None
    if store is not None:
        downloader = Downloader(context.egress, tls_context(settings), settings.archive_max_bytes)
        archiver = Archiver(context, store, downloader)
    return Workers(
        dispatcher=Dispatcher(context),
        reconciler=Reconciler(context),
        expiry=Expiry(context),
        notifier=Notifier(context, webhooks),
        retainer=Retainer(context, settings.retention_days),
        archiver=archiver,
    )
