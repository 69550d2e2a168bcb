"""The file of a SQLite database: where it is, whether it can be used, and the locks beside it.

The files are watched: SQLite does not notice that one which it has open was removed or replaced. It goes on writing
where nobody will look again, and says that all is well.
"""

import fcntl
import os
import time
from enum import Enum
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog

from app.errors import DatabaseInUse, NoDatabase, Unavailable, UnsuitableDatabase

log = structlog.get_logger(__name__)

_SIDE_FILES: Final = ("-wal", "-shm")
"""The log, which holds what was committed and is not yet in the file, and its index."""

Identity = tuple[int, int]


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


class FileState(Enum):
    """The state of the files at their paths, compared with those that are open. ``LOG_GONE``: the file is the same; its
    log or the index was removed, and nobody has made another. ``LOST``: anything else."""

    SAME = "same"
    LOG_GONE = "its log was removed"
    LOST = "it was removed or replaced"


class OpenFiles:
    """The files that the connections of this process have open. Used by all its threads."""

    def __init__(self, url: sa.URL) -> None:
        self._path = Path(place_of(url))
        self._opened: tuple[Identity, ...] | None = None
        self._real = ""
        self._logged_state = FileState.SAME
        self._same_at = 0.0

    def before_opening(self) -> None:
        """Check the files before a connection opens them. Raises ``UnsuitableDatabase``, and ``Unavailable`` where
        another file than before would be opened."""
        if self._opened is not None:
            self.require_same()
        elif self._path.exists() and self._path.stat().st_nlink > 1:
            raise UnsuitableDatabase(
                f"{self._path} (GATEWAY_DATABASE_URL) has several names (hard links): SQLite would keep a log for "
                "each of them, and damage it. Remove the other names, or make a copy"
            )

    def note(self) -> None:
        """Note that a connection has opened the files. Raises ``Unavailable`` if they are not those of the one
        before."""
        if self._opened is not None:
            self.require_same()
            return
        # SQLite follows symbolic links, and has the other files beside the one that they lead to.
        self._real = os.path.realpath(self._path)
        identities = self._look()
        if None not in identities:
            self._opened = tuple(identity for identity in identities if identity is not None)

    def forget(self) -> None:
        """Note that all connections are closed."""
        self._opened = None

    def state(self, *, max_age_s: float = 0.0) -> FileState:
        """Look at the files, which takes some microseconds, unless they were the same less than ``max_age_s`` ago. What
        changes is logged."""
        now, opened = time.monotonic(), self._opened
        if opened is None or now - self._same_at < max_age_s:
            return FileState.SAME
        identities = self._look()
        state = FileState.SAME
        # The writer's thread may have closed these files and opened others while this one looked.
        if identities != opened and self._opened is opened:
            removed = all(current in (None, at_open) for current, at_open in zip(identities, opened, strict=True))
            state = FileState.LOG_GONE if removed and identities[0] is not None else FileState.LOST
        self._same_at = now if state is FileState.SAME else 0.0
        if state is not self._logged_state:
            self._logged_state = state
            self._tell(state)
        return state

    def require_same(self, *, max_age_s: float = 0.0) -> None:
        """Check that the files are the same still. Raises ``Unavailable``."""
        state = self.state(max_age_s=max_age_s)
        if state is not FileState.SAME:
            reason = f"its file is not the one that was opened: {state.value}"
            raise Unavailable(
                f"the database is not available: {reason}",
                operator_detail=f"the database {self._path} is not available: {reason}",
            )

    def _look(self) -> tuple[Identity | None, ...]:
        """Identify the files that are at the paths now."""
        identities: list[Identity | None] = []
        for path in (str(self._path), *(f"{self._real}{suffix}" for suffix in _SIDE_FILES)):
            try:
                stat = os.stat(path)
            except OSError:
                identities.append(None)
            else:
                identities.append((stat.st_dev, stat.st_ino))
        return tuple(identities)

    def _tell(self, state: FileState) -> None:
        path = str(self._path)
        if state is FileState.SAME:
            log.warning("database.file_back", file=path)
        elif state is FileState.LOG_GONE:
            log.error("database.log_removed", file=path, danger="what was committed last was only in it")
        else:
            log.error(
                "database.file_lost",
                file=path,
                danger="what was acknowledged is only in this process, and ends with it",
                remedy="put the file back; or copy what this process has open (docs/operate.md), and then restart it",
            )
