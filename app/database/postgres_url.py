"""Read the URL of a PostgreSQL into the driver's arguments: those of libpq's parameters that can be kept. What cannot
is refused by its name, since a connection that is not as secure as it was to be looks like any other."""

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlencode

import certifi
import sqlalchemy as sa

from app.errors import InvalidRequest

CONNECT_TIMEOUT_S: Final = 5.0
APPLICATION_NAME: Final = "tempolor-gateway"
_SYSTEM: Final = "system"
"""As a root certificate: the usual public authorities, or those of SSL_CERT_FILE."""
_VERIFYING: Final = ("verify-ca", "verify-full")
_WITH_TLS: Final = ("require", *_VERIFYING)


@dataclass(frozen=True, slots=True)
class Target:
    """A database and how it is to be reached. ``arguments`` are the driver's; ``settings`` those of the session that
    a pooler does not take at the start."""

    arguments: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Which database it is, for who runs the gateway: without password and parameters."""
        user, name = self.arguments.get("user"), self.arguments.get("database", "")
        hosts, ports = _listed(self.arguments.get("host")), _listed(self.arguments.get("port")) or ["5432"]
        ports = ports if len(ports) == len(hosts) else ports * len(hosts)
        addresses = (f"{_bracketed(host)}:{port}" for host, port in zip(hosts, ports, strict=True))
        return f"postgresql://{f'{user}@' if user else ''}{','.join(addresses)}/{name}"


def read_url(url: sa.URL) -> Target:
    """Read the URL. Raises ``InvalidRequest``, which names the parameter and holds no value."""
    parts: dict[str, Any] = url.translate_connect_args(username="user")
    if url.host is not None:
        # As libpq has it, a host with slashes is the folder of a socket.
        parts["host"] = unquote(url.host)
    if url.port is not None:
        _read("port", str(url.port))
    parameters = _parameters(url.query)
    _check_environment({*parameters, *parts})
    arguments: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_S, **parts}
    arguments |= {_ARGUMENTS[name]: value for name, value in parameters.items() if name in _ARGUMENTS}
    session = {name: parameters[name] for name in ("application_name", "options") if name in parameters}
    arguments["server_settings"] = {"application_name": APPLICATION_NAME, **session}
    if tls := _tls(parameters):
        # The driver takes the files of TLS in an URL of its own only.
        arguments["dsn"] = f"postgresql://?{urlencode(tls)}"
    return Target(arguments, {"search_path": parameters["search_path"]} if "search_path" in parameters else {})


def _parameters(query: Mapping[str, str | tuple[str, ...]]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in query.items():
        if name not in _PARAMETERS:
            supported = ", ".join(sorted(_PARAMETERS))
            raise InvalidRequest(f"the parameter {name!r} of the database URL is not supported; these are: {supported}")
        if isinstance(value, tuple) and name != "host":
            raise InvalidRequest(f"the parameter {name!r} of the database URL is given more than once")
        parameters[name] = _read(name, value if isinstance(value, str) else ",".join(value))
    return parameters


def _check_environment(named: set[str]) -> None:
    """The driver takes from the environment, as libpq does, what the URL does not name, and fails where it cannot read
    it with the error of a bug."""
    for variable, name in _VARIABLES.items():
        value = os.environ.get(variable)
        if not value or name in named:
            continue
        try:
            _PARAMETERS[name](value)
        except ValueError as error:
            raise InvalidRequest(f"{variable} in the environment, which completes the URL: {error}") from None


def _read(name: str, value: str) -> Any:
    try:
        return _PARAMETERS[name](value)
    except ValueError as error:
        raise InvalidRequest(f"the parameter {name!r} of the database URL: {error}") from None


def _tls(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Check what the URL asks of TLS, as a whole."""
    tls = {name: parameters[name] for name in _TLS_NAMES if name in parameters}
    mode = parameters.get("sslmode", parameters.get("ssl"))
    if mode is not None:
        tls["sslmode"] = mode
    if parameters.get("channel_binding") == "require" and mode not in _WITH_TLS:
        raise InvalidRequest("the database URL: channel_binding=require needs TLS, as by sslmode=verify-full")
    if mode in _VERIFYING and "sslrootcert" not in tls and not _has_usual_root():
        raise InvalidRequest(
            f"the database URL: sslmode={mode} needs sslrootcert, the file of the authority's certificate, or "
            "sslrootcert=system for the public authorities"
        )
    if tls.get("sslrootcert") == _SYSTEM:
        if mode != "verify-full":
            # Anybody can have a certificate of a public authority.
            raise InvalidRequest("the database URL: sslrootcert=system needs sslmode=verify-full")
        tls["sslrootcert"] = os.environ.get("SSL_CERT_FILE") or certifi.where()
    _read_certificates(tls)
    return tls


def _read_certificates(tls: Mapping[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl", "sslcert"):
        if name not in tls:
            continue
        try:
            if name == "sslcert":
                context.load_cert_chain(tls[name], tls.get("sslkey"), tls.get("sslpassword", ""))
            else:
                context.load_verify_locations(tls[name])
        except OSError:
            raise InvalidRequest(f"the database URL: the file of {name} is not what it should be") from None


def _has_usual_root() -> bool:
    """Whether the driver finds a root certificate by itself, where libpq looks for one."""
    try:
        return bool(os.environ.get("PGSSLROOTCERT")) or (Path.home() / ".postgresql" / "root.crt").exists()
    except (RuntimeError, OSError):
        return False


def _one_of(*known: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in known:
            raise ValueError(f"it must be one of {', '.join(known)}")
        return value

    return read


def _hosts(value: str) -> str | list[str]:
    hosts = value.split(",")
    return hosts if len(hosts) > 1 else value


def _ports(value: str) -> int | list[int]:
    ports = [int(port) if port.isdecimal() else 0 for port in value.split(",")]
    if not all(0 < port < 65536 for port in ports):
        raise ValueError("it must be a number between 1 and 65535")
    return ports if len(ports) > 1 else ports[0]


def _seconds(value: str) -> float | None:
    """None for 0: libpq waits without a limit then."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("it must be a number of seconds")
    return seconds or None


def _file(value: str) -> str:
    if not os.access(value, os.R_OK):
        raise ValueError("there is no such file, or it may not be read")
    return value


_VARIABLES: Final = {"PGPORT": "port", "PGSSLMODE": "sslmode", "PGTARGETSESSIONATTRS": "target_session_attrs"}
_ARGUMENTS: Final = {
    "user": "user",
    "password": "password",
    "host": "host",
    "port": "port",
    "dbname": "database",
    "database": "database",
    "passfile": "passfile",
    "target_session_attrs": "target_session_attrs",
    "connect_timeout": "timeout",
}
_MODE: Final = _one_of("disable", "allow", "prefer", *_WITH_TLS)
_VERSION: Final = _one_of("TLSv1.2", "TLSv1.3")
_TLS_NAMES: Final = (
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
_PARAMETERS: Final[dict[str, Callable[[str], Any]]] = {
    "host": _hosts,
    "port": _ports,
    "user": str,
    "password": str,
    "dbname": str,
    "database": str,
    "passfile": _file,
    "sslmode": _MODE,
    "ssl": _MODE,
    "sslrootcert": lambda value: value if value == _SYSTEM else _file(value),
    "sslcert": _file,
    "sslkey": _file,
    "sslpassword": str,
    "sslcrl": _file,
    "ssl_min_protocol_version": _VERSION,
    "ssl_max_protocol_version": _VERSION,
    # The driver cannot bind a login to its channel, and does not need to where TLS has checked the server.
    "channel_binding": _one_of("disable", "prefer", "require"),
    # It does not ask for this encryption, and so never gets it.
    "gssencmode": _one_of("disable", "prefer"),
    "target_session_attrs": _one_of("any", "read-write", "primary"),
    "application_name": str,
    "options": str,
    "search_path": str,
    "connect_timeout": _seconds,
    "client_encoding": _one_of("utf8", "UTF8", "auto"),
}


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
