"""Copies of the tree, each with an interpreter of its own that finds the copy's ``app`` and no other.

The project is installed in editable mode: an interpreter of its environment imports the original tree, and so do the
processes that tests start, which are given nothing of the tests' environment. So a copy gets an environment of its own.
It borrows the packages of the running one by their path; the link to the original tree, which stands in a ``.pth``
file there, is not followed.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "*.db", "*.egg-info")


class WrongTree(Exception):
    """The interpreter of a copy imports another ``app`` than the copy's."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A copy of the repository. ``python``: the interpreter that runs it."""

    root: Path
    python: Path


@contextmanager
def copied(original: Path) -> Iterator[Tree]:
    """A copy for as long as the block lasts. Raises ``WrongTree``."""
    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as place:
        root = Path(place).resolve() / "tree"
        # With what was compiled before: most of it is still good, and to compile it again takes seconds.
        shutil.copytree(original, root, ignore=_LEFT_OUT, symlinks=True)
        # PostgreSQL refuses to run as root; tests that do then start it as another user, who has to get here.
        Path(place).chmod(0o755)
        tree = Tree(root, _environment(root))
        _require_own(tree)
        yield tree


def _environment(root: Path) -> Path:
    venv.EnvBuilder(symlinks=True, with_pip=False).create(root / ".venv")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = root / ".venv" / "lib" / version / "site-packages"
    (packages / "tree.pth").write_text(f"{root}\n{root / 'sdk' / 'python'}\n{sysconfig.get_path('purelib')}\n")
    return root / ".venv" / "bin" / "python"


_WHERE: Final = """
import app, migrations, tempolor_gateway_client
print(app.__file__, *migrations.__path__, tempolor_gateway_client.__file__)
"""


def _require_own(tree: Tree) -> None:
    """Prove that the copy's own packages are those that are imported, from anywhere and with an empty environment."""
    told = subprocess.run(
        [tree.python, "-c", _WHERE],
        cwd=tree.root.parent,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [Path(one).resolve() for one in told.stdout.split()]
    if len(found) != 3 or not all(one.is_relative_to(tree.root) for one in found):
        raise WrongTree(f"{tree.python} imports {told.stdout.strip() or told.stderr.strip()}")
