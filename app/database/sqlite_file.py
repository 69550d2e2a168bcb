"""The file of a SQLite database: where it is, whether it can be used, and the locks beside it."""

import fcntl
import os
from pathlib import Path

import sqlalchemy as sa

from app.errors import DatabaseInUse, NoDatabase, Unavailable


class FileLock:
    """An advisory lock beside a SQLite file, released when the process ends, however it ends. A symbolic link has the
    lock of the file that it leads to."""

    def __init__(self, url: sa.URL, suffix: str) -> None:
        self._path = Path(f"{os.path.realpath(place_of(url))}{suffix}")
        self._file: int | None = None

    def acquire(self, *, wait: bool) -> None:
        """Take the lock. Raises ``DatabaseInUse`` if another process has it and ``wait`` is false."""
        self._file = _open_file(self._path, make=True)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            self.release()
            raise DatabaseInUse(
                f"another serve or worker uses {self._path.name.removesuffix('.lock')!r}; "
                "SQLite takes one process, PostgreSQL any number"
            ) from None

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def place_of(url: sa.URL) -> str:
    """The path of the file, for who runs the gateway."""
    return str(Path(str(url.database)).absolute())


def find_file(url: sa.URL, *, make: bool = False) -> None:
    """See that the file is there and can be written, before SQLite does, which makes a missing one and does not say
    which one it cannot open. Raises ``NoDatabase``, ``Unavailable``."""
    path = Path(place_of(url))
    if not make and not path.exists():
        raise NoDatabase(
            f"there is no database {path} (GATEWAY_DATABASE_URL): 'tempolor-gateway serve' and "
            "'tempolor-gateway migrate' make one, other commands use it"
        )
    os.close(_open_file(path, make=make))


def _open_file(path: Path, *, make: bool) -> int:
    try:
        # What callers sent is nobody else's to read.
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    except OSError as error:
        raise Unavailable(f"{path.absolute()} (GATEWAY_DATABASE_URL) cannot be opened: {error.strerror}") from None
