"""Faults of the state: the join, what is derived of it, who owns an item, and the guarded save."""

from typing import Final

from tests.mutants.mutation import Mutation

JOIN: Final = (
    Mutation(
        "join-status-moves-back",
        "join",
        "app/domain/item.py",
        "        best = later_status(name, ours, theirs)\n",
        "        best = theirs\n",
        "a status never moves back, whatever comes late",
        ("tests/rules/tasks/test_join_laws.py",),
    ),
    Mutation(
        "join-ranks-swapped",
        "join",
        "app/domain/status.py",
        '    FAILED = "failed"\n    PART_FAILED = "part_failed"\n    SUCCEEDED',
        '    PART_FAILED = "part_failed"\n    FAILED = "failed"\n    SUCCEEDED',
        "an item that failed in part is more than one that failed",
        ("tests/rules/tasks/test_join_rules.py", "tests/rules/tasks/test_derive_status.py"),
    ),
    Mutation(
        "join-unknown-status-wins",
        "join",
        "app/domain/status.py",
        'UNKNOWN_RANK: Final = ITEM_ORDER["running"]',
        'UNKNOWN_RANK: Final = ITEM_ORDER["succeeded"]',
        "a status that nobody knows ranks as running",
        ("tests/rules/tasks/test_join_rules.py",),
    ),
    Mutation(
        "join-tie-by-arrival",
        "join",
        "app/domain/item.py",
        "        elif (at, large, theirs) <= (ours_at, name in state.large, ours):\n",
        "        elif at < ours_at:\n",
        "of two values of one time the same wins in any order",
        ("tests/rules/tasks/test_join_laws.py",),
    ),
    Mutation(
        "join-url-seen-last",
        "join",
        "app/domain/item.py",
        "        if first is not None and first <= seen.observed_us:\n",
        "        if first is not None and first >= seen.observed_us:\n",
        "a URL counts from when it was first seen",
        ("tests/rules/tasks/test_join_laws.py", "tests/rules/tasks/test_join_rules.py"),
    ),
)

DERIVED: Final = (
    Mutation(
        "derive-final-while-sending",
        "derived",
        "app/domain/task.py",
        "    if items and submission is not Submission.SENDING and all(",
        "    if items and all(",
        "no task ends while the answer to its submission is outstanding",
        ("tests/rules/tasks/test_derive_status.py",),
    ),
    Mutation(
        "settle-one-question-more",
        "derived",
        "app/domain/view.py",
        "(final and item.follow_ups >= policy.follow_ups)",
        "(final and item.follow_ups > policy.follow_ups)",
        "what is missing of a final item is asked for three times",
        ("tests/rules/tasks/test_settled.py",),
    ),
    Mutation(
        "unknown-without-grace",
        "derived",
        "app/domain/view.py",
        "    return state.unknown_us - unseen_since_us(item, task) >= policy.unknown_grace_s * 1_000_000\n",
        "    return state.unknown_us >= unseen_since_us(item, task)\n",
        "an item that the vendor does not know yet has its grace",
        ("tests/rules/tasks/test_expiry.py", "tests/rules/tasks"),
    ),
    Mutation(
        "version-without-links",
        "derived",
        "app/domain/shown.py",
        "        {name: state.latest_url(name) for name in state.urls},\n",
        "        sorted(state.urls),\n",
        "the version grows with each new link",
        ("tests/rules/tasks/test_milestones.py", "tests/rules/tasks"),
    ),
    Mutation(
        "late-file-untold",
        "derived",
        "app/domain/shown.py",
        "(status is not self._task[_STATUS] or self._lacking() != after._lacking())",
        "status is not self._task[_STATUS]",
        "what comes after the end is told again",
        ("tests/rules/tasks/test_milestones.py",),
    ),
)

OWNERSHIP: Final = (
    Mutation(
        "own-equal-rank-takes-over",
        "ownership",
        "app/domain/transition.py",
        "    if seen.named_by <= item.named_by:\n",
        "    if seen.named_by < item.named_by:\n",
        "of two tasks with equal rank the first keeps an item",
        ("tests/rules/tasks/test_ownership.py",),
    ),
    Mutation(
        "own-rank-lost",
        "ownership",
        "app/domain/transition.py",
        "        item.named_by = max(item.named_by, seen.named_by)\n",
        "        item.named_by = seen.named_by\n",
        "a callback takes nothing from what the answer to the submission named",
        ("tests/rules/tasks/test_ownership.py",),
    ),
    Mutation(
        "own-unbound-reaches-tasks",
        "ownership",
        "app/domain/transition.py",
        "        return (item, Verdict.APPLIED) if owner.external else (None, Verdict.MISMATCHED)\n",
        "        return item, Verdict.APPLIED\n",
        "the unbound token does nothing to an item of a task of ours",
        ("tests/rules/tasks/test_ownership.py",),
    ),
)

SAVE: Final = (
    Mutation(
        "save-ignores-versions",
        "save",
        "app/storage/locking.py",
        'where(*same, _version_of(table) == seen["row_version"])',
        "where(*same)",
        "nothing is written over what another changed meanwhile (PostgreSQL)",
        ("tests/database/test_optimistic.py",),
    ),
    Mutation(
        "save-counts-unchecked",
        "save",
        "app/storage/statements.py",
        "    as_expected = sa.or_(sa.not_(holds), sa.and_(sa.true(), *expected))\n",
        "    as_expected = sa.or_(sa.not_(holds), sa.true())\n",
        "what another inserted meanwhile is not taken for written (PostgreSQL)",
        ("tests/database/test_optimistic.py",),
    ),
    Mutation(
        "save-conflict-overlooked",
        "save",
        "app/storage/sets.py",
        "        if statement.all_written and count != len(rows):\n",
        "        if statement.all_written and count > len(rows):\n",
        "a row that another wrote first is stepped again (PostgreSQL)",
        ("tests/database/test_lock_free.py",),
    ),
    Mutation(
        "lock-items-as-they-were",
        "save",
        "app/storage/locking.py",
        '    same = sa.and_(seen.c.id == locked.c.id, sa.literal_column("seen.xmin") == locked.c.row_version)\n',
        "    same = seen.c.id == locked.c.id\n",
        "a task that was changed while its lock was taken is loaded anew (PostgreSQL)",
        ("tests/database/test_lock_free.py",),
    ),
    Mutation(
        "lock-waits-for-others",
        "save",
        "app/storage/locking.py",
        "AT_ONCE: Final = statements.Document(_SETS, partial(at_once, skip=True), _decode)\n",
        "AT_ONCE: Final = statements.Document(_SETS, partial(at_once, skip=False), _decode)\n",
        "a locked task stops nobody else's callbacks (PostgreSQL)",
        ("tests/database/test_lock_free.py",),
    ),
    Mutation(
        "save-waits-for-others",
        "save",
        "app/storage/locking.py",
        '    ("tasks_seen", "items_seen", "tasks_count", "items_count"), partial(unchanged, skip=True)\n',
        '    ("tasks_seen", "items_seen", "tasks_count", "items_count"), partial(unchanged, skip=False)\n',
        "a save waits for nobody's lock (PostgreSQL)",
        ("tests/database/test_optimistic.py",),
    ),
)

STATE: Final = (*JOIN, *DERIVED, *OWNERSHIP, *SAVE)
