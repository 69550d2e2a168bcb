"""The settings: environment variables with the prefix GATEWAY_, and a .env file. All faults are told at once."""

import ipaddress
import math
import os
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.policy import Policy, Thresholds
from app.errors import InvalidRequest
from app.storage.connect import is_sqlite, parse_url
from app.storage.postgres import driver_arguments

PREFIX = "GATEWAY_"
LEAST_SECRET_CHARS = 32
LONGEST_S = 10 * 365 * 86_400.0


class BadSettings(Exception):
    """The process cannot start. ``faults``: one line for each, which names the variable and holds no value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("it must be a finite number")
    # There is no upper bound; what is longer than the process will live is held where timers can count it.
    return min(value, LONGEST_S)


def _secret(value: str) -> str:
    if len(value) < LEAST_SECRET_CHARS:
        raise ValueError(f"it must have at least {LEAST_SECRET_CHARS} characters")
    if not value.isprintable():
        raise ValueError("it must be printable")
    return value


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("it must be a comma-separated list of networks, as in 203.0.113.0/24") from None
    return value


def _proxy(value: str) -> str:
    try:
        return value if value == "*" else str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError("it must be a comma-separated list of addresses and networks, or *") from None


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Secret = Annotated[SecretStr, AfterValidator(lambda held: SecretStr(_secret(held.get_secret_value())))]
Cidr = Annotated[str, AfterValidator(_network)]
Proxy = Annotated[str, AfterValidator(_proxy)]


class Settings(BaseSettings):
    """What the product contract lists, with its defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
        validate_by_name=True,
    )

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///./gateway.db")
    public_url: str
    callback_secrets: Annotated[list[Secret], NoDecode, BeforeValidator(_split), Field(min_length=1)]
    tempolor_api_key: Secret
    tempolor_base_url: str = "https://api.tempolor.com"
    bootstrap_admin_key: Annotated[Secret | None, BeforeValidator(_none_if_empty)] = None
    submit_max_in_flight: Annotated[int, Field(ge=1)] = 10
    submit_timeout_s: Positive = 30
    submit_confirm_s: Positive = 900
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
    callback_max_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    callback_allow_cidrs: Annotated[list[Cidr], NoDecode, BeforeValidator(_split)] = []
    # The variable that servers of ASGI share, so its name has no prefix.
    forwarded_allow_ips: Annotated[
        list[Proxy], NoDecode, BeforeValidator(_split), Field(validation_alias="FORWARDED_ALLOW_IPS")
    ] = []
    egress_allow_private: bool = False
    retention_days: Annotated[float, Field(ge=0), AfterValidator(_finite)] = 30
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        try:
            parsed = parse_url(value.get_secret_value())
            if not is_sqlite(parsed):
                driver_arguments(parsed)
        except InvalidRequest as error:
            raise ValueError(error.detail) from None
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        parts = _web_address(value)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise ValueError("it must be https, unless it is loopback")
        if parts.query or parts.fragment:
            raise ValueError("it must have no query and no fragment")
        return value.rstrip("/")

    @field_validator("tempolor_base_url")
    @classmethod
    def _vendor(cls, value: str) -> str:
        _web_address(value)
        return value.rstrip("/")

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    def policy(self) -> Policy:
        """The times and limits that the rules read."""
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
        )

    def thresholds(self) -> Thresholds:
        """When ``/backlog`` calls work stuck."""
        return Thresholds(
            query_overdue_s=self.backlog_query_overdue_s,
            notification_overdue_s=self.backlog_notification_overdue_s,
            queued_age_s=self.backlog_queued_age_s,
            loop_stalled_s=self.backlog_loop_stalled_s,
        )


def _web_address(value: str) -> SplitResult:
    fault = ValueError("it must be an http or https URL")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise fault from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise fault
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings() -> Settings:
    """Read and check the settings. Raises ``BadSettings`` with every fault."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [_fault(one["loc"], one["msg"], one["type"]) for one in error.errors()]
        raise BadSettings(list(dict.fromkeys(faults))) from None


def unknown_names() -> list[str]:
    """Variables with our prefix that are no settings: most likely misspelt."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def database_url() -> str:
    """The database alone, for commands that need nothing else. Raises ``BadSettings`` about that variable only."""

    class DatabaseSettings(BaseSettings):
        model_config = Settings.model_config
        database_url: SecretStr = Settings.model_fields["database_url"].default

    try:
        url = DatabaseSettings().database_url.get_secret_value()
        parse_url(url)
    except (ValidationError, InvalidRequest):
        raise BadSettings([f"{PREFIX}DATABASE_URL: it is not a usable database URL"]) from None
    return url


def _fault(place: Iterable[Any], message: str, kind: str) -> str:
    first = str(next(iter(place))).upper()
    name = first if first == "FORWARDED_ALLOW_IPS" else f"{PREFIX}{first}"
    if kind == "missing":
        return f"{name}: it is required"
    return f"{name}: {message.removeprefix('Value error, ')}"
