"""Explain why a database cannot be used: faults of the database, of its file, or of the way to it, and none of a
statement or its data."""

import socket
import sqlite3
import ssl
from typing import Final

import sqlalchemy as sa

from app.errors import Unavailable

_AWAY: Final = {
    "08": "the connection broke",
    "28": "it refused our user or password",
    "3D": "there is no such database",
    "3F": "there is no schema in which its tables could be",
    "53": "it is short of resources",
    "55": "a lock was held for too long",
    "57": "it is stopping, or took too long",
}
"""SQLSTATE classes that are the database's fault, not the statement's or its data's."""
_AWAY_STATES: Final = {
    "25006": "it takes no writes",
    "25P03": "a transaction stood idle for too long",
    "25P04": "a transaction took too long",
    "55P02": "it refused the connection",
    "42501": "our user lacks the rights",
    "58030": "it cannot read or write its files",
    "XX001": "its data are damaged",
    "XX002": "its data are damaged",
}
"""The same, of classes that hold faults of ours as well. A server is read-only after a failover, for a while."""
_SQLITE_AWAY: Final = {
    sqlite3.SQLITE_PERM: "its file may not be used",
    sqlite3.SQLITE_BUSY: "its file is locked by another process",
    sqlite3.SQLITE_LOCKED: "its file is locked by another process",
    sqlite3.SQLITE_READONLY: "its file may not be written",
    sqlite3.SQLITE_IOERR: "its file cannot be read or written",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "its file is locked by another process",
    sqlite3.SQLITE_NOTADB: "its file is not a SQLite database",
}
"""By the primary result code, which is the lowest byte of the extended one."""
_WRONG_NAME: Final = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's SQLSTATE of an error, or "". A connection that is refused raises the driver's own error."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def violated_constraint(error: sa.exc.DBAPIError) -> str | None:
    """The name of the constraint that PostgreSQL says a row violates."""
    return getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)


def why_away(error: BaseException) -> str | None:
    """Explain what is wrong with the database itself (away, full, locked for too long), safe to show to anybody; None
    for any other fault."""
    import asyncpg

    state = sqlstate(error)
    if state:
        reason = _AWAY_STATES.get(state) or _AWAY.get(state[:2])
        # Errors of statements are SQLAlchemy's. One of the driver itself came while the connection was made.
        return reason or ("it refused the connection" if isinstance(error, asyncpg.PostgresError) else None)
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return "its URL, or a PG… variable of the environment, asks for what cannot be done here"
    if isinstance(error, (OSError, TimeoutError, sa.exc.TimeoutError)):
        return _why_not_reached(error)
    if isinstance(error, sa.exc.DBAPIError) and (
        error.connection_invalidated or isinstance(error, sa.exc.InterfaceError)
    ):
        return "the connection broke"
    return _SQLITE_AWAY.get((getattr(getattr(error, "orig", error), "sqlite_errorcode", None) or 0) & 0xFF)


def unavailable(error: BaseException, place: str) -> Unavailable | None:
    """Make ``Unavailable`` of an error that is a fault of the database itself; None for any other. Who runs the gateway
    is told which database it is, and what the driver says of it; nobody else is."""
    reason = why_away(error)
    if reason is None:
        return None
    driver_message = _in_the_drivers_words(error)
    exactly = f"the database {place} is not available: {reason}" + (f" ({driver_message})" if driver_message else "")
    return Unavailable(f"the database is not available: {reason}", operator_detail=exactly)


def _why_not_reached(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code) if code in _WRONG_NAME:
            return "its certificate is for another host"
        case ssl.SSLCertVerificationError():
            return "its certificate is not trusted"
        case ssl.SSLError():
            return "TLS with it failed"
        case socket.gaierror():
            return "its host is not known"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            # The driver has no error of its own for it.
            return "it does not speak TLS, which its URL asks for"
        case OSError(filename=str()):
            return "its file cannot be used"
        case _:
            return "it cannot be reached"


def _in_the_drivers_words(error: BaseException) -> str:
    import asyncpg

    driver_error = getattr(error, "orig", None) or error
    # The adapter between SQLAlchemy and the driver puts the name of a class before the text.
    if isinstance(driver_error.__cause__, (asyncpg.PostgresError, asyncpg.InterfaceError)):
        driver_error = driver_error.__cause__
    return str(driver_error).partition("\n")[0].strip()
