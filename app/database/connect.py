"""Open the database of ``GATEWAY_DATABASE_URL``."""

from urllib.parse import parse_qsl

import sqlalchemy as sa

from app.database.database import Backend, Database
from app.database.postgres_url import read_url
from app.database.sqlite import SqliteBackend
from app.database.sqlite_file import place_of
from app.errors import InvalidRequest


def open_database(url: str) -> Database:
    """Open the database of a URL; no connection is made yet. Raises ``InvalidRequest``."""
    return Database(open_backend(url))


def open_backend(url: str) -> Backend:
    """Open the backend of a URL."""
    parsed = parse_url(url)
    if is_sqlite(parsed):
        return SqliteBackend(parsed)
    from app.database.postgres import PostgresBackend

    return PostgresBackend(parsed)


def parse_url(url: str) -> sa.URL:
    """Parse the URL, with our own driver, whatever suffix it came with. Raises ``InvalidRequest``."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidRequest("it is not a database URL") from None
    backend = parsed.drivername.partition("+")[0].lower()
    if backend in ("postgresql", "postgres"):
        if " " in url:
            raise InvalidRequest("it has a blank inside, which is written %20")
        _check_separators(url, parsed)
        return parsed.set(drivername="postgresql+asyncpg")
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise InvalidRequest("SQLite needs the path of a file, as in sqlite+aiosqlite:///./gateway.db")
        _check_separators(url, parsed)
        for name in parsed.query:
            raise InvalidRequest(f"the parameter {name!r} of the database URL is not supported")
        return parsed.set(drivername="sqlite")
    raise InvalidRequest("only sqlite and postgresql are supported")


def _check_separators(url: str, parsed: sa.URL) -> None:
    """Refuse a URL that would silently be read as something else. Nothing of the text is repeated: behind the first @
    of a password that is not escaped stands the rest of it, where the host should be."""
    address = url.partition("://")[2]
    if parsed.username is not None:
        address = address.partition("@")[2]
    place, _, query = address.partition("?")
    if parsed.username is not None and "@" in place:
        raise InvalidRequest("it has more than one @: inside a user or a password it is written %40")
    if not all(value for _, value in parse_qsl(query, keep_blank_values=True)):
        raise InvalidRequest("a parameter of the database URL has no value")


def is_sqlite(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite"


def name_of(url: sa.URL) -> str:
    """The name of a database, for people: no password, and none of the parameters."""
    return place_of(url) if is_sqlite(url) else read_url(url).place
