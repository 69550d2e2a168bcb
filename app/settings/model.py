"""Define and load the settings: types, defaults, checks, and the messages of their faults."""

import ipaddress
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.database.connect import is_sqlite, parse_url
from app.database.postgres_url import read_url
from app.errors import BadSettings, InvalidRequest
from app.operations.backlog_counts import Thresholds
from app.rules.policy import Policy
from app.runtime.addresses import parse_network
from app.runtime.egress import EgressPolicy, is_loopback
from app.runtime.normalize_text import trimmed
from app.settings.sources import SHARED, NotText, PlainDotEnv, lower_case_first, members, plain
from app.settings.urls import store_url, web_address, web_origin
from app.settings.vendor_proxy import applies_to, load_tls_context, usable_proxy

PREFIX = "GATEWAY_"
LEAST_SECRET_CHARS = 32
LONGEST_S = 10 * 365 * 86_400.0
LARGEST_COUNT = 2**53
"""What is more is cut to it: a number that zlib cannot count to made each compressed callback a 500."""

S = TypeVar("S", bound=BaseSettings)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("it must be a finite number")
    # There is no upper bound; what is longer than the process will live is cut to what timers can count.
    return min(value, LONGEST_S)


def _secret(value: str) -> str:
    if len(value) < LEAST_SECRET_CHARS:
        raise ValueError(f"it must have at least {LEAST_SECRET_CHARS} characters")
    return plain(value)


def _network(value: str) -> str:
    try:
        return str(parse_network(value))
    except ValueError:
        raise ValueError("it must be a comma-separated list of networks, as in 203.0.113.0/24") from None


def _aliases(value: Any) -> Any:
    """Parse pairs as in ``old=new``."""
    if not isinstance(value, list):
        return value
    aliases: dict[str, str] = {}
    for pair in value:
        old, _, new = (plain(trimmed(part)) for part in pair.partition("="))
        if not old or not new:
            raise ValueError("it must be a comma-separated list of pairs, as in old=new")
        if old == new:
            raise ValueError("a model cannot stand in for itself")
        if old in aliases:
            raise ValueError("a model is named twice on the left")
        aliases[old] = new
    return aliases


def _forwarder(value: str) -> str:
    try:
        return value if value == "*" else str(parse_network(value))
    except ValueError:
        raise ValueError("it must be a comma-separated list of addresses and networks, or *") from None


Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Count = Annotated[int, Field(ge=1), AfterValidator(lambda value: min(value, LARGEST_COUNT))]
Secret = Annotated[SecretStr, AfterValidator(lambda secret: SecretStr(_secret(secret.get_secret_value())))]
Cidr = Annotated[str, AfterValidator(_network)]
ArchiveUrl = Annotated[str, AfterValidator(store_url)]
Origin = Annotated[str, AfterValidator(web_origin)]
Forwarder = Annotated[str, AfterValidator(_forwarder)]
_SHARED_TEXT: Final = (*SHARED, "ssl_cert_file", "ssl_cert_dir")


class DatabaseSettings(BaseSettings):
    """The setting of the database, and what holds for all settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
        validate_by_name=True,
    )

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///./gateway.db")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, the environment, the .env file; the first that has a value wins."""
        env_file = getattr(dotenv_settings, "env_file", None)
        dotenv = PlainDotEnv(settings_cls, env_file=env_file)
        return init_settings, lower_case_first(settings_cls), env_settings, dotenv

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip white space around values, and drop blank ones."""
        texts = {name: trimmed(value) if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in texts.items() if value != ""}

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        # The shared ones are checked where they apply: they are meant for other programs too.
        if not isinstance(value, str) or name in _SHARED_TEXT:
            return value
        return members(value) if get_origin(cls.model_fields[name].annotation) in (list, dict) else plain(value)

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        try:
            parsed = parse_url(value.get_secret_value())
            if not is_sqlite(parsed):
                read_url(parsed)
        except InvalidRequest as error:
            raise ValueError(error.detail) from None
        return value


class Settings(DatabaseSettings):
    """What the product contract lists, with its defaults."""

    public_url: str
    callback_secrets: Annotated[list[Secret], NoDecode, Field(min_length=1)]
    tempolor_api_key: Secret
    tempolor_base_url: str = "https://api.tempolor.com"
    bootstrap_admin_key: Secret | None = None
    submit_max_in_flight: Count = 10
    submit_timeout_s: Positive = 30
    submit_confirm_s: Positive = 900
    submit_refusals_to_hold: Count = 3
    model_aliases: Annotated[dict[str, str], NoDecode, BeforeValidator(_aliases)] = {}
    query_rate_per_s: Positive = 2
    query_first_after_s: Literal["auto"] | Positive = "auto"
    query_interval_s: Positive = 15
    query_max_interval_s: Positive = 300
    task_deadline_s: Positive = 3600
    item_unknown_grace_s: Positive = 600
    drain_s: Positive = 5
    loop_idle_s: Positive = 1
    backlog_query_overdue_s: Positive = 120
    backlog_notification_overdue_s: Positive = 120
    backlog_queued_age_s: Positive = 900
    backlog_loop_stalled_s: Positive = 30
    callback_max_bytes: Count = 1_048_576
    callback_allow_cidrs: Annotated[list[Cidr], NoDecode] = []
    egress_allow_private: bool = False
    egress_allow_cidrs: Annotated[list[Cidr], NoDecode] = []
    cors_allow_origins: Annotated[list[Origin], NoDecode] = []
    self_check: bool = True
    retention_days: Annotated[float, Field(ge=0), AfterValidator(_finite)] = 30
    archive_url: ArchiveUrl | None = None
    archive_retention_days: Annotated[float, Field(ge=0), AfterValidator(_finite)] = 0
    archive_max_bytes: Count = 1_073_741_824
    file_link_days: Annotated[float, Field(gt=0), AfterValidator(_finite)] = 7
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    # Variables that all programs share have no prefix.
    forwarded_allow_ips: Annotated[list[Forwarder], NoDecode, Field(validation_alias="FORWARDED_ALLOW_IPS")] = []
    no_proxy: Annotated[str, Field(validation_alias="NO_PROXY")] = ""
    https_proxy: Annotated[SecretStr | None, Field(validation_alias="HTTPS_PROXY")] = None
    http_proxy: Annotated[SecretStr | None, Field(validation_alias="HTTP_PROXY")] = None
    all_proxy: Annotated[SecretStr | None, Field(validation_alias="ALL_PROXY")] = None
    ssl_cert_file: Annotated[str | None, Field(validation_alias="SSL_CERT_FILE")] = None
    ssl_cert_dir: Annotated[str | None, Field(validation_alias="SSL_CERT_DIR")] = None

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        parts = web_address(value)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError("it must be https, unless it is loopback")
        if parts.path.endswith("/callbacks"):
            raise ValueError("it must end before /callbacks, which the gateway appends itself")
        return parts.geturl()

    @field_validator("tempolor_base_url")
    @classmethod
    def _vendor(cls, value: str) -> str:
        parts = web_address(value)
        if "open-apis" in parts.path.split("/"):
            raise ValueError("it must end before /open-apis/v1, which the gateway appends itself")
        return parts.geturl()

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("no_proxy")
    @classmethod
    def _exceptions(cls, value: str) -> str:
        # Separated by commas, by blanks or by both, also over several lines.
        text = plain(" ".join(value.replace(",", " ").split()))
        return " ".join(map(plain, text.split()))

    @field_validator("https_proxy", "http_proxy", "all_proxy")
    @classmethod
    def _proxy(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Drop a proxy that does not apply to calls to the vendor; ALL_PROXY also where one for the scheme applies."""
        vendor, no_proxy = info.data.get("tempolor_base_url"), info.data.get("no_proxy")
        # Where those are not usable, their faults are reported, and the proxy cannot be checked.
        if value is None or vendor is None or no_proxy is None:
            return None
        name = info.field_name or ""
        is_overridden = name == "all_proxy" and any(info.data.get(key, True) for key in ("https_proxy", "http_proxy"))
        if is_overridden or not applies_to(name, urlsplit(vendor), no_proxy):
            return None
        return SecretStr(usable_proxy(value.get_secret_value()))

    @field_validator("ssl_cert_file")
    @classmethod
    def _cert_file(cls, value: str | None) -> str | None:
        if value is not None:
            load_tls_context(plain(value), None)
        return value

    @field_validator("ssl_cert_dir")
    @classmethod
    def _cert_dir(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or info.data.get("ssl_cert_file") is not None:
            return None
        load_tls_context(None, plain(value))
        return value

    @property
    def vendor_proxy(self) -> str | None:
        """The proxy through which the vendor is called, with its user and password."""
        proxy = self.https_proxy or self.http_proxy or self.all_proxy
        return proxy.get_secret_value() if proxy is not None else None

    @property
    def public_proxy(self) -> str | None:
        """The proxy through which our own public URL is asked: the vendor's, but for what NO_PROXY excepts."""
        return self.vendor_proxy if applies_to("all_proxy", urlsplit(self.public_url), self.no_proxy) else None

    def policy(self) -> Policy:
        """Make the policy: the times and limits that the rules read."""
        first_after_s = None if self.query_first_after_s == "auto" else float(self.query_first_after_s)
        return Policy(
            max_in_flight=self.submit_max_in_flight,
            submit_timeout_s=self.submit_timeout_s,
            submit_confirm_s=self.submit_confirm_s,
            query_rate_per_s=self.query_rate_per_s,
            first_after_s=first_after_s,
            interval_s=self.query_interval_s,
            max_interval_s=self.query_max_interval_s,
            deadline_s=self.task_deadline_s,
            unknown_grace_s=self.item_unknown_grace_s,
            refusals_to_hold=self.submit_refusals_to_hold,
            model_aliases=self.model_aliases,
            archives=self.archive_url is not None,
        )

    def egress(self) -> EgressPolicy:
        """Where calls may go whose address somebody else chose."""
        return EgressPolicy(self.egress_allow_private, tuple(map(ipaddress.ip_network, self.egress_allow_cidrs)))

    def thresholds(self) -> Thresholds:
        """Make the thresholds from which on ``/backlog`` calls work stuck."""
        return Thresholds(
            query_overdue_s=self.backlog_query_overdue_s,
            notification_overdue_s=self.backlog_notification_overdue_s,
            queued_age_s=self.backlog_queued_age_s,
            loop_stalled_s=self.backlog_loop_stalled_s,
        )


def load_settings() -> Settings:
    """Read and check the settings. Raises ``BadSettings`` with every fault."""
    return _load(Settings)


def database_settings() -> DatabaseSettings:
    """Read and check the database's setting alone, for commands that need no other. Raises ``BadSettings`` about that
    variable only."""
    return _load(DatabaseSettings)


def unknown_names() -> list[str]:
    """Find variables with our prefix that are no settings: most likely misspelt."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def _load(kind: type[S]) -> S:
    try:
        return kind()
    except ValidationError as error:
        faults = [_fault(fault["loc"], fault["msg"], fault["type"]) for fault in error.errors()]
        raise BadSettings(list(dict.fromkeys(faults))) from None
    except (NotText, UnicodeDecodeError):
        raise BadSettings([f"{Path('.env').absolute()}: it must be text in UTF-8"]) from None


def _fault(place: Iterable[Any], message: str, kind: str) -> str:
    first = str(next(iter(place))).upper()
    name = _spelling(first) if first.lower() in (*_SHARED_TEXT, "forwarded_allow_ips") else f"{PREFIX}{first}"
    if kind == "missing":
        return f"{name}: it is required"
    return f"{name}: {message.removeprefix('Value error, ')}"


def _spelling(name: str) -> str:
    return name.lower() if name.lower() in os.environ else name
