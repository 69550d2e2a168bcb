"""From the settings to what the stories of a process work with, be it a server or a short command."""

import functools
import random
import ssl
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from app.app_context import Context
from app.database.database import Database
from app.drift.log import Drift
from app.limits.heartbeats import Timekeeper
from app.rules.loaded_state import Rules
from app.runtime import logging
from app.runtime.clock import Clock, Ids
from app.runtime.file_links import FileLinks
from app.settings import Settings
from app.settings.vendor_proxy import load_tls_context
from app.tasks.learned_delays import Delays
from app.tempolor.callback_tokens import Tokens
from app.tempolor.client import VendorClient
from app.tempolor.kinds import FAMILIES
from app.tempolor.redact import Redactor

LONGEST_LINK_DAYS: Final = 3650
LONGEST_DRIFT_DAYS: Final = 3650
DRIFT_RETENTIONS: Final = 3
"""What was not seen for so many times the retention is no news any more, and makes room."""


@functools.cache
def default_tls_context() -> ssl.SSLContext:
    """The TLS context with the default certificate authorities. Read once for all that call out: it takes longer than
    everything else that a process does before it serves."""
    return httpx.create_ssl_context(trust_env=False)


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The TLS context with the default certificate authorities, or those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``."""
    if settings.ssl_cert_file is None and settings.ssl_cert_dir is None:
        return default_tls_context()
    return load_tls_context(settings.ssl_cert_file, settings.ssl_cert_dir)


def redactor_of(settings: Settings, tokens: Tokens) -> Redactor:
    """What knows every secret of a process."""
    others = [one.get_secret_value() for one in (*settings.callback_secrets, settings.bootstrap_admin_key) if one]
    proxy = urlsplit(settings.vendor_proxy or "")
    credentials = [f"{unquote(proxy.username or '')}:{unquote(proxy.password)}"] if proxy.password else []
    return Redactor(settings.tempolor_api_key.get_secret_value(), others, tokens, credentials)


def context_of(settings: Settings, db: Database, clock: Clock | None = None) -> Context:
    """What the stories of a process work with, by its settings."""
    secrets = [secret.get_secret_value() for secret in settings.callback_secrets]
    tokens = Tokens(secrets)
    redactor = redactor_of(settings, tokens)
    logging.redact_with(redactor.text)
    clock = clock or Clock()
    drift = Drift(redactor.text, min(settings.retention_days * DRIFT_RETENTIONS, LONGEST_DRIFT_DAYS))
    vendor = VendorClient(
        settings.tempolor_base_url,
        settings.tempolor_api_key.get_secret_value(),
        tls_context(settings),
        settings.vendor_proxy,
        redactor,
        lambda found: drift.note(found, clock.now()),
    )
    ids, delays, policy = Ids(clock.now), Delays(), settings.policy()
    rules = Rules(
        policy=policy,
        shapes={family.name: family.shape for family in FAMILIES.values()},
        overdue_s=delays.overdue_s,
        jitter=lambda: random.uniform(-1, 1),
        new_id=ids,
    )
    return Context(
        db=db,
        vendor=vendor,
        tokens=tokens,
        public_url=settings.public_url,
        policy=policy,
        clock=clock,
        ids=ids,
        delays=delays,
        rules=rules,
        timekeeper=Timekeeper(clock),
        redactor=redactor,
        drift=drift,
        egress=settings.egress(),
        files=FileLinks(secrets, settings.public_url, timedelta(days=min(settings.file_link_days, LONGEST_LINK_DAYS)))
        if settings.archive_url is not None
        else None,
    )
