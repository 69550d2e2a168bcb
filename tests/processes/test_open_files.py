"""The number of connections fits the number of files that the process may open."""

import subprocess
import sys

import pytest

ASK = """
import resource, sys
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from app.web.connections import limits_of_process
print(limits_of_process().most_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "files"),
    [(256, 1024, 704, 1024), (1024, 16384, 8192, 8512), (12000, 16384, 8192, 12000), (256, 300, 256, 300)],
)
def test_the_connections_fit_the_files_and_these_are_raised(soft: int, hard: int, connections: int, files: int) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, str(soft), str(hard)], capture_output=True, text=True, check=True)
    assert tuple(map(int, done.stdout.split())) == (connections, files)
