"""Faults of the archive: files, links, uploads."""

from typing import Final

from tests.mutants.mutation import Mutation

COPYING: Final = "tests/stories/archive/test_copying.py"
LOST: Final = "tests/stories/archive/test_lost_writers.py"
LIVING: Final = "tests/stories/archive/test_living.py"
SERVING: Final = "tests/stories/archive/test_serving.py"

ARCHIVE: Final = (
    Mutation(
        "copy-without-a-fence",
        "archive",
        "app/archive/rows.py",
        "return conn.execute(copy_jobs.delete().where(*_is_held(job))).rowcount == 1\n",
        "return conn.execute(copy_jobs.delete().where(*_is(job.ref))).rowcount == 1\n",
        "who lost its lease settles no copy",
        (LIVING,),
    ),
    Mutation(
        "copy-of-any-form",
        "archive",
        "app/archive/download.py",
        "        if found is None:\n            raise DownloadFailed",
        "        if not self._name:\n            raise DownloadFailed",
        "what is not what its name says is not kept",
        (COPYING,),
    ),
    Mutation(
        "copy-without-a-length",
        "archive",
        "app/archive/download.py",
        'raise DownloadFailed("length_unknown")\n',
        "pass\n",
        "a body whose end nobody can tell from a break is not kept",
        (COPYING,),
    ),
    Mutation(
        "link-unsigned",
        "archive",
        "app/runtime/file_links.py",
        "if not is_signed or len(signed)",
        "if len(signed)",
        "a forged link opens nothing",
        (SERVING,),
    ),
    Mutation(
        "upload-of-anybody",
        "archive",
        "app/tasks/upload_refs.py",
        "uploads.c.client_name == client_name)\n",
        "uploads.c.client_name != '')\n",
        "another client's upload is refused",
        (SERVING,),
    ),
    Mutation(
        "dead-link-not-asked-for",
        "archive",
        "app/rules/schedule.py",
        "    if (progress.settled or task.expired_at is not None) and not wants_link(item):\n",
        "    if progress.settled or task.expired_at is not None:\n",
        "of a dead link the vendor is asked for a new one",
        (LIVING,),
    ),
    Mutation(
        "path-of-two-writers",
        "archive",
        "app/archive/rows.py",
        'insert.on_conflict_do_nothing(index_elements=["path"])',
        'insert.on_conflict_do_update(index_elements=["path"], set_={"doomed_at": now + RESERVED})',
        "a late writer replaces no file",
        (LOST,),
    ),
    Mutation(
        "file-in-no-list",
        "archive",
        "app/archive/rows.py",
        "sa.select(files.c.path).where(due <= now)",
        "sa.select(files.c.path).where(due <= now, files.c.bytes > 0)",
        "a file that was stored and not recorded goes",
        (LOST,),
    ),
    Mutation(
        "upload-sent-as-it-is",
        "archive",
        "app/submissions/dispatch.py",
        'return _unavailable("It names an upload, and',
        'return params or _unavailable("It names an upload, and',
        "a reference to an upload never reaches the vendor",
        ("tests/stories/archive/test_upload_refs.py",),
    ),
    Mutation(
        "move-unchecked",
        "archive",
        "app/archive/verify_and_retry.py",
        "if digest.hexdigest() != row.sha256:",
        "if not row.sha256:",
        "a damaged file is not moved as a whole one",
        ("tests/stories/archive/test_moving.py",),
    ),
)
