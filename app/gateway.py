"""Everything that runs in one process: put together, started and ended in order."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import urlsplit

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
from app.errors import Unavailable
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
from app.wiring import authorities, context_of

MOST_FINISH_S: Final = 30.0
"""How long a stopping process waits at most for the vendor's answers that it still expects: a submission whose
answer is not read becomes unconfirmed."""

TURN_S: Final = 7.0
"""How long a turn of a loop may take to end: no statement takes longer."""


@cache
def release() -> str:
    """The version of this package. To look for it in the installed packages takes milliseconds."""
    try:
        return version("tempolor-gateway")
    except PackageNotFoundError:
        return "0"


@dataclass(slots=True)
class Gateway:
    """Everything that one process runs. ``start`` it, serve ``app``, ``drain`` it, ``stop`` it."""

    settings: Settings
    context: Context
    intake: CallbackIntake
    supervisor: Supervisor
    health: Health
    skew: SkewWatch
    readiness_warnings: ReadinessWarnings
    webhooks: WebhookSender
    self_check: SelfCheck | None
    watch_clock: bool = True
    dispatcher: Dispatcher | None = None
    reconciler: Reconciler | None = None
    notifier: Notifier | None = None
    retainer: Retainer | None = None
    file_store: FileStore | None = None
    archiver: Archiver | None = None
    file_lock: FileLock | None = None
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
        if self.dispatcher is not None:
            self.dispatcher.stopping = True
        if self.notifier is not None:
            self.notifier.stopping = True
        if self.archiver is not None:
            self.archiver.stopping = True

    async def stop(self) -> None:
        """End in order: what was sent is settled, the loops end, the writer of callbacks last."""
        self.drain()
        await self.supervisor.stop(TURN_S)
        await self.services.watch.close()
        if self.dispatcher is not None:
            await self.dispatcher.finish(min(self.context.policy.submit_timeout_s, MOST_FINISH_S))
        if self.reconciler is not None:
            await self.reconciler.finish(TURN_S)
        if self.notifier is not None:
            await self.notifier.finish(TURN_S)
        if self.archiver is not None:
            await self.archiver.finish(TURN_S)
        self.webhooks.close()
        await self.services.refresher.finish(TURN_S)
        self.intake.fail_all()
        await self.context.vendor.close()
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(TURN_S):
                await self.services.key_uses.flush(self.context.db)
                await self.context.drift.flush(self.context.db, self.context.clock.now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TURN_S):
                await self.context.db.close()
        if self.file_lock is not None:
            self.file_lock.release()

    def _start_loops(self) -> None:
        context, idle_s, run = self.context, self.settings.loop_idle_s, self.supervisor.start
        paused = self.skew.stops_loops

        async def flush() -> float | None:
            await context.delays.flush(context.loops_db())
            await context.drift.flush(context.loops_db(), context.clock.now())
            return FLUSH_S

        for number, writer in enumerate(self.intake.writers, start=1):
            run(Loop(f"callbacks-{number}", writer.step, idle_s, writer.arrived))
        for loop in self.services.watch.loops():
            run(loop)
        run(Loop("learn", flush))
        # The first check was made before the loops start.
        run(Loop("readiness-warnings", self.readiness_warnings.step, delay_s=CHECK_S))
        run(Loop("survey", self.health.survey))
        run(Loop("keys", lambda: self.services.key_uses.step(context.loops_db())))
        if self.watch_clock:
            run(Loop("skew", self.skew.step))
        if self.dispatcher is not None:
            run(Loop("balance", self.services.account.watch, delay_s=WATCH_S))
            run(Loop("dispatch", self.dispatcher.step, idle_s, context.wakes.dispatch, paused))
        if self.reconciler is not None:
            run(Loop("reconcile", self.reconciler.step, idle_s, context.wakes.reconcile, paused))
            run(Loop("clock", Expiry(context).step, min(idle_s, BEAT_S), paused=paused))
        if self.notifier is not None:
            run(Loop("notify", self.notifier.step, idle_s, context.wakes.notify, paused))
        if self.archiver is not None and self.file_store is not None:
            run(Loop("archive", self.archiver.step, idle_s, context.wakes.archive, paused))
            cleaner = Cleaner(context, self.file_store, self.settings.archive_retention_days)
            run(Loop("archive-cleanup", cleaner.step, CLEAN_EVERY_S, paused=paused))
        if self.retainer is not None:
            run(Loop("retain", self.retainer.step, RETAIN_EVERY_S, paused=paused))


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
    supervisor, watch = Supervisor(context.clock), SkewWatch(context)
    self_check = None
    # A loopback address is reached by nobody else, and needs no proof.
    if settings.self_check and not is_loopback(urlsplit(settings.public_url).hostname or ""):
        self_check = SelfCheck(context, authorities(settings), settings.public_proxy)
    warnings = ReadinessWarnings(context, watch, self_check)
    webhooks = WebhookSender(
        context.egress,
        tls=authorities(settings),
        now=context.clock.now,
        redact=context.redactor.body,
    )
    store = FileStore(settings.archive_url) if settings.archive_url is not None else None
    archiver = None
    if workers and store is not None:
        downloader = Downloader(context.egress, authorities(settings), settings.archive_max_bytes)
        archiver = Archiver(context, store, downloader)
    return Gateway(
        settings,
        context,
        CallbackIntake(context),
        supervisor,
        Health(context, supervisor.ages_s, watch, warnings, settings.thresholds()),
        watch,
        warnings,
        webhooks,
        self_check,
        watch_clock,
        Dispatcher(context) if workers else None,
        Reconciler(context) if workers else None,
        Notifier(context, webhooks) if workers else None,
        Retainer(context, settings.retention_days) if workers else None,
        store,
        archiver,
        FileLock(parsed, ".lock") if is_sqlite(parsed) else None,
    )
