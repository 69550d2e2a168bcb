"""Faults of asking: when a question is due, who asks it, what it says, and when a task expires."""

from typing import Final

from tests.mutants.mutation import Mutation

SCHEDULES: Final = (
    Mutation(
        "schedule-cuts-a-lease",
        "schedules",
        "app/rules/schedule.py",
        "    item.query_due_at = due if lease is None else max(due, lease)\n",
        "    item.query_due_at = due\n",
        "a lease in force is never cut short",
        ("tests/rules/reconcile/test_timing.py",),
    ),
    Mutation(
        "schedule-ends-anothers-lease",
        "schedules",
        "app/rules/schedule.py",
        "    if lease is not None and lease != leased_until:\n        return",
        "    if lease is not None and leased_until is None:\n        return",
        "a late answer does not end the lease of the next asker",
        ("tests/rules/reconcile/test_timing.py",),
    ),
    Mutation(
        "schedule-no-last-question",
        "schedules",
        "app/rules/schedule.py",
        "            _postpone(item, due)\n    _ask_at_deadline(item, task, at, policy)\n",
        "            _postpone(item, due)\n",
        "a last question is asked at the deadline",
        ("tests/rules/tasks/test_expiry.py", "tests/stories/reconcile/test_reconcile.py"),
    ),
    Mutation(
        "schedule-learns-from-replays",
        "schedules",
        "app/rules/transition.py",
        "    if joined.first_event and observation.fresh and not task.external:\n",
        "    if joined.first_event and not task.external:\n",
        "nothing is learned from a replay",
        ("tests/rules/reconcile/test_timing.py",),
    ),
)

QUESTIONS: Final = (
    Mutation(
        "question-without-a-lease",
        "questions",
        "app/reconcile/claims.py",
        "    lease(conn, [item.key for item in claimed], times.leased_until)\n    return claimed\n",
        "    return claimed\n",
        "an item is asked about by one at a time",
        ("tests/stories/reconcile/test_reconcile.py",),
    ),
    Mutation(
        "question-beside-a-lease",
        "questions",
        "app/reconcile/claims.py",
        "its lease has ended.\n            _unleased(times.now),\n",
        "its lease has ended.\n",
        "what is leased fills up nobody's call",
        ("tests/stories/reconcile/test_refresh.py", "tests/stories/reconcile"),
    ),
    Mutation(
        "question-without-a-rate",
        "questions",
        "app/reconcile/claims.py",
        "    if limit.not_before_at is not None and limit.not_before_at > now:\n",
        "    if limit.not_before_at is not None and limit.not_before_at > later(now, 1):\n",
        "questions stay within the rate",
        ("tests/stories/reconcile/test_reconcile.py",),
    ),
    Mutation(
        "question-limit-without-its-lock",
        "questions",
        "app/reconcile/claims.py",
        "    limit = shared_limits.lock_one(conn, Limit.QUERY)\n    if holds",
        "    limit = shared_limits.read(conn)[Limit.QUERY]\n    if holds",
        "replicas together stay within the rate (PostgreSQL)",
        ("tests/database/test_claims_at_once.py",),
    ),
    Mutation(
        "question-not-halved",
        "questions",
        "app/reconcile/ask.py",
        "    return len(question.items) > 1 and (too_large or isinstance(answer, Spoiled))\n",
        "    return len(question.items) > 1 and too_large\n",
        "one bad id spoils no other",
        ("tests/stories/reconcile/test_reconcile.py",),
    ),
    Mutation(
        "question-late-after-a-freeze",
        "questions",
        "app/reconcile/ask.py",
        "    if context.clock.monotonic() - started > context.policy.lease_s - QUERY_TIMEOUT_S:\n",
        "    if context.clock.monotonic() - started > context.policy.lease_s + QUERY_TIMEOUT_S:\n",
        "a claim that is old is not asked",
        ("tests/stories/reconcile/test_late_claims.py",),
    ),
)

EXPIRY: Final = (
    Mutation(
        "expiry-by-an-early-answer",
        "expiry",
        "app/rules/derive_task.py",
        "item.last_query_at is not None and item.last_query_at >= deadline for item in open_items)",
        "item.last_query_at is not None for item in open_items)",
        "no task expires without an answer from after its deadline",
        ("tests/rules/tasks/test_expiry.py",),
    ),
    Mutation(
        "expiry-counts-absence",
        "expiry",
        "app/rules/derive_task.py",
        "    passed_s = (at - deadline).total_seconds() - absent_s(absences, deadline)\n",
        "    passed_s = (at - deadline).total_seconds()\n",
        "time in which nobody could ask does not count",
        ("tests/rules/tasks/test_expiry.py", "tests/stories/reconcile/test_away.py"),
    ),
    Mutation(
        "expiry-by-a-jump",
        "expiry",
        "app/rules/derive_task.py",
        "    deadline = _passes_at(task, task.deadline_at, absences)\n    if at < deadline:\n",
        "    deadline = task.deadline_at\n    if at < deadline:\n",
        "a clock that is set forward ends nothing",
        ("tests/rules/tasks/test_expiry.py", "tests/stories/reconcile/test_away.py"),
    ),
    Mutation(
        "late-callback-stays-expired",
        "expiry",
        "app/rules/task.py",
        "    if items and submission is not Submission.SENDING and all(status in ITEM_FINAL for status in items):\n"
        "        kinds = set(items)\n"
        "        return TaskStatus(kinds.pop()) if len(kinds) == 1 else TaskStatus.PART_FAILED\n"
        "    if expired:\n        return TaskStatus.EXPIRED\n",
        "    if expired:\n        return TaskStatus.EXPIRED\n"
        "    if items and submission is not Submission.SENDING and all(status in ITEM_FINAL for status in items):\n"
        "        kinds = set(items)\n"
        "        return TaskStatus(kinds.pop()) if len(kinds) == 1 else TaskStatus.PART_FAILED\n",
        "a late observation settles an expired task",
        ("tests/rules/tasks/test_derive_status.py",),
    ),
)

RECONCILE: Final = (*SCHEDULES, *QUESTIONS, *EXPIRY)
