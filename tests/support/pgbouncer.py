"""PgBouncer before a test's PostgreSQL, with the defaults that it has when it is installed."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pytest

from tests.chaos.processes import free_port
from tests.support.postgres import SUPERUSER, PostgresServer

_START_S: Final = 20.0


@contextlib.contextmanager
def pooling(server: PostgresServer, mode: Literal["session", "transaction"]) -> Iterator[int]:
    """A PgBouncer in this mode; its port. Nothing else is set but where it listens and whom it lets in."""
    program = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    port = free_port()
    place = server.directory
    (place / "users").write_text(f'"{SUPERUSER}" ""\n')
    config = place / f"pgbouncer-{port}.ini"
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {place / 'users'}\npool_mode = {mode}\n"
    )
    log_path = place / f"pgbouncer-{port}.log"
    # It refuses to run as root.
    owner = place.stat()
    user, group = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else (None, None)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [program, str(config)],
            cwd=place,
            stdout=log,
            stderr=log,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )
    try:
        _wait_for(process, log_path)
        yield port
    finally:
        process.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], log_path: Path) -> None:
    end = time.monotonic() + _START_S
    while "process up" not in log_path.read_text():
        assert process.poll() is None, log_path.read_text()
        assert time.monotonic() < end, log_path.read_text()
        time.sleep(0.02)
