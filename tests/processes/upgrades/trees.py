"""Other releases of the gateway beside this one: as a tree of files each, run by the same interpreter."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from app.database.schema_revision import head

ROOT = Path(__file__).parents[3]
PARTS = ("app", "migrations", "alembic.ini")
VERSIONS = "migrations/versions"


@dataclass(frozen=True, slots=True)
class Release:
    """A release as files, to be run with ``tree`` as the working directory. ``name``: where it was found.
    ``edited``: its migrations that read otherwise today."""

    tree: Path
    name: str
    released: bool
    edited: tuple[str, ...] = ()


class NoHistory(Exception):
    """No earlier release can be had here; the text says why."""


def next_release(into: Path, migrations: Sequence[str]) -> Release:
    """Today's files with these migrations on top of today's head."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, into / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, into / part)
    below = head()
    for text in migrations:
        named = re.sub(r'^down_revision = ".*"$', f'down_revision = "{below}"', text, flags=re.MULTILINE)
        [below] = re.findall(r'^revision = "(.+)"$', named, re.MULTILINE)
        (into / VERSIONS / f"2099-01-01-0000_{below}.py").write_text(named)
    return Release(into, below, released=False)


def previous_release(into: Path) -> Release:
    """The newest release before today's newest migration. Raises ``NoHistory``."""
    for ref, released in _candidates():
        if head() not in _revisions_at(ref):
            edited = _edited_since(ref)
            if edited and not released:
                break
            with tarfile.open(fileobj=BytesIO(_git("archive", "--format=tar", ref, *PARTS))) as archive:
                archive.extractall(into, filter="data")
            return Release(into, ref, released, edited)
    raise NoHistory(
        "nothing is released, and this history has no commit whose migrations are the beginning of today's: they were "
        "edited since, or this is a shallow clone"
    )


def _candidates() -> Iterator[tuple[str, bool]]:
    """Tags first, the newest version first; then the commits before each that touched the migrations."""
    if not (ROOT / ".git").exists():
        raise NoHistory("this checkout has no history")
    for tag in _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").decode().split():
        yield tag, True
    yield "HEAD", False
    for line in _git("log", "--format=%H %P", "--", VERSIONS).decode().splitlines():
        _, *parents = line.split()
        yield from ((parent, False) for parent in parents[:1])


def _revisions_at(ref: str) -> set[str]:
    found = subprocess.run(
        ["git", "grep", "-h", "-E", '^revision(: str)? = ".+"', ref, "--", VERSIONS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # No migration at all, or a commit that a shallow clone does not have: nothing to be run.
    return set(re.findall(r'"(.+)"', found.stdout)) or {head()}


def _edited_since(ref: str) -> tuple[str, ...]:
    """Migrations that were there and are not what they were; what was released must stay as it is."""
    names = _git("ls-tree", "--name-only", ref, f"{VERSIONS}/").decode().split()
    kept = [name for name in names if name.endswith(".py")]
    return tuple(name for name in kept if _git("show", f"{ref}:{name}") != _today(name))


def _today(name: str) -> bytes:
    path = ROOT / name
    return path.read_bytes() if path.exists() else b""


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistory(f"git cannot tell the history here: {error}") from error
