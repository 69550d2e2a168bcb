"""nginx before gateways: Debian's, as one process, with a configuration of ours in it."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.receiver import CERTIFICATE

_START_S: Final = 10.0


def program() -> str:
    """Where it is installed; without it the test is skipped."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    return found


def write(place: Path, blocks: str, given: Mapping[str, str]) -> Path:
    """A whole configuration around ``blocks`` of http, in which names of machines, ports and files are replaced by
    those of the test. All else is as nginx has it by default, but for a log that says how long it waited, and one with
    warnings."""
    for name, here in given.items():
        assert name in blocks, name
        blocks = blocks.replace(name, here)
    blocks = re.sub(r"/etc/nginx/tls/\S+\.(pem|key)", str(CERTIFICATE), blocks)
    blocks = blocks.replace("/var/log/nginx", str(place))
    bodies = "\n".join(
        f"{name}_temp_path {place / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = place / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {place / 'nginx.pid'}; error_log {place / 'error.log'} warn;\n"
        f"events {{}}\nhttp {{\nlog_format timed '$status $upstream_response_time $request';\n"
        f"access_log {place / 'access.log'} timed;\n{bodies}\n{blocks}\n}}\n"
    )
    return config


def write_whole(place: Path, text: str, given: Mapping[str, str]) -> Path:
    """A configuration that is whole already, with what is the test's in it, as one process that stays."""
    for name, here in {**given, "/tmp/": f"{place}/", "/dev/stderr": str(place / "error.log")}.items():
        assert name in text, name
        text = text.replace(name, here)
    config = place / "nginx.conf"
    config.write_text(f"daemon off; master_process off;\n{text}")
    return config


def check(config: Path) -> None:
    """Have it loaded, and nothing more."""
    done = subprocess.run([program(), "-t", "-c", config], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr, done.stderr


@contextmanager
def proxying(config: Path) -> Iterator[None]:
    """It serves until the block ends."""
    process = subprocess.Popen([program(), "-c", config], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + _START_S
        while not config.with_name("nginx.pid").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.communicate()
