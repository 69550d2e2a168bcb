"""Faults of sending: the fence, the limits, what holds, turns, and what is accepted of clients."""

from typing import Final

from tests.mutants.mutation import Mutation

FENCE: Final = (
    Mutation(
        "fence-of-unknown",
        "fence",
        "app/domain/submission.py",
        "            if task.submit_id != submit_id or task.submission is not Submission.SENDING:\n",
        "            if task.submission is not Submission.SENDING:\n",
        "an outcome of an earlier claim says nothing of the present one",
        ("tests/rules/tasks/test_submission.py",),
    ),
    Mutation(
        "fence-of-refused",
        "fence",
        "app/domain/submission.py",
        "    if task.submit_id != event.submit_id or task.submission not in _OUTCOME_OPEN:\n",
        "    if task.submission not in _OUTCOME_OPEN:\n",
        "a late refusal queues no task that another sends now",
        ("tests/rules/tasks/test_submission.py",),
    ),
    Mutation(
        "claim-of-a-named-task",
        "fence",
        "app/domain/submission.py",
        "    if task.submission is not Submission.QUEUED or named:\n        return False\n    task.submission,",
        "    if task.submission is not Submission.QUEUED:\n        return False\n    task.submission,",
        "a task that the vendor has is not sent",
        ("tests/rules/tasks/test_submission.py",),
    ),
    Mutation(
        "refused-although-named",
        "fence",
        "app/domain/submission.py",
        "    if named:\n        # Refused",
        "    if named and task.submission is not Submission.SENDING:\n        # Refused",
        "a task of which an item is known is never sent again",
        ("tests/rules/tasks/test_submission.py",),
    ),
    Mutation(
        "accepted-late-is-lost",
        "fence",
        "app/domain/submission.py",
        "            _accept(task, at, policy)\n            return True\n        case WasRefused()",
        "            if task.submission is Submission.LAPSED:\n                return False\n"
        "            _accept(task, at, policy)\n            return True\n        case WasRefused()",
        "an acceptance is applied however late it is",
        ("tests/rules/tasks/test_submission.py",),
    ),
    Mutation(
        "recover-leaves-the-queue",
        "fence",
        "app/domain/submission.py",
        "    MayHaveBeenSent: (Submission.QUEUED, Submission.SENDING),\n",
        "    MayHaveBeenSent: (Submission.SENDING,),\n",
        "after a restore nothing is sent that may have been sent before",
        ("tests/rules/tasks/test_submission.py", "tests/stories/submissions/test_recover.py"),
    ),
    Mutation(
        "send-after-a-freeze",
        "fence",
        "app/flows/dispatch.py",
        "        if elapsed > context.policy.submit_lease_s / 2 or self.stopping:\n",
        "        if self.stopping:\n",
        "a claim that is old is given back, not sent",
        ("tests/stories/submissions/test_unknown_outcome.py",),
    ),
    Mutation(
        "answer-dropped-with-the-database",
        "fence",
        "app/flows/dispatch.py",
        "                pause_s = min(pause_s * 2, 5.0)\n",
        "                return\n",
        "an answer in hand is kept until it is committed",
        ("tests/stories/submissions/test_answer_in_hand.py",),
    ),
)

ANSWERS: Final = (
    Mutation(
        "answer-5xx-is-a-refusal",
        "answers",
        "app/vendor/answers.py",
        "or 400 <= http_status < 500):\n        return Unknown",
        "or 400 <= http_status < 600):\n        return Unknown",
        "a 5xx says nothing of what became of a submission",
        ("tests/rules/tempolor/test_submit_answer.py",),
    ),
    Mutation(
        "answer-refuses-and-names",
        "answers",
        "app/vendor/answers.py",
        "    if refused and _NAMED.search(response.content):\n",
        "    if http_status < 300 and refused and _NAMED.search(response.content):\n",
        "an answer that contradicts itself is unknown",
        ("tests/rules/tempolor/test_submit_answer.py",),
    ),
    Mutation(
        "answer-absent-from-a-part",
        "answers",
        "app/flows/reconcile.py",
        "        if one.item_id in shown or answer.whole\n",
        "",
        "of an answer that is not whole nothing is concluded of what is absent",
        ("tests/rules/reconcile/test_unheard_of.py",),
    ),
    Mutation(
        "sent-once-the-body-is-out",
        "answers",
        "app/vendor/exchange.py",
        '        elif step == "send_request_headers.started" and info["request"].method',
        '        elif step == "send_request_body.complete" and info["request"].method',
        "what may have left in part is never sent again",
        ("tests/stories/submissions/test_exchange.py",),
    ),
    Mutation(
        "submission-on-a-kept-connection",
        "answers",
        "app/vendor/client.py",
        "        self._submissions = _http_client(base_url, api_key, keep_alive=0, tls=tls, proxy=proxy)\n",
        "        self._submissions = _http_client(base_url, api_key, keep_alive=10, tls=tls, proxy=proxy)\n",
        "each submission has a connection of its own",
        ("tests/stories/submissions/test_vendor_connections.py",),
    ),
)

HOLDS: Final = (
    Mutation(
        "hold-probes-at-once",
        "holds",
        "app/domain/standing.py",
        "    if hold.probe_until is not None and now < hold.probe_until:\n        return 0\n",
        "",
        "one probe is out at a time",
        ("tests/rules/submissions/test_standing.py",),
    ),
    Mutation(
        "hold-ended-by-a-straggler",
        "holds",
        "app/domain/standing.py",
        "    if held is not None and held.reason is not Reason.BREAKER and claimed_at < held.since:\n",
        "    if held is not None and held.reason is Reason.BREAKER and claimed_at < held.since:\n",
        "an acceptance from before a hold does not end it",
        ("tests/rules/submissions/test_standing.py",),
    ),
    Mutation(
        "model-refusals-not-in-a-row",
        "holds",
        "app/domain/model_breaker.py",
        "    if before is None or not before.held or _is_probe(before, claimed_at):\n        return None\n",
        "    if before is None or _is_probe(before, claimed_at):\n        return None\n"
        "    if not before.held:\n        return before\n",
        "an acceptance between refusals counts them anew",
        ("tests/rules/submissions/test_model_breaker.py",),
    ),
    Mutation(
        "model-held-for-all",
        "holds",
        "app/domain/model_breaker.py",
        '    return ModelKey(kind, (model or "")[:MOST_MODEL_CHARS])\n',
        '    return ModelKey(kind, "")\n',
        "one model that is not offered holds no other",
        ("tests/stories/submissions/test_model_holds.py",),
    ),
)

LIMITS: Final = (
    Mutation(
        "limit-read-without-its-lock",
        "limits",
        "app/flows/dispatch.py",
        "    limit = limits.lock(conn, (Limit.SUBMIT,))[Limit.SUBMIT]\n    standing = limit.standing\n",
        "    limit = limits.read(conn)[Limit.SUBMIT]\n    standing = limit.standing\n",
        "replicas together stay within the tasks in flight (PostgreSQL)",
        ("tests/database/test_replicas.py",),
    ),
    Mutation(
        "limit-room-ignores-flight",
        "limits",
        "app/flows/dispatch.py",
        "    room = min(free, max(context.policy.max_in_flight - in_flight, 0))\n",
        "    room = min(free, context.policy.max_in_flight)\n",
        "what is in flight leaves less room",
        ("tests/stories/submissions/test_submission_answers.py",),
    ),
    Mutation(
        "limit-counts-external-tasks",
        "limits",
        "app/domain/derive.py",
        "    if task.external or task.status in TASK_FINAL or task.status is TaskStatus.QUEUED:\n",
        "    if task.status in TASK_FINAL or task.status is TaskStatus.QUEUED:\n",
        "tasks submitted elsewhere take no slot",
        ("tests/rules/tasks", "tests/stories/callbacks/test_callback_strangers.py"),
    ),
    Mutation(
        "share-goes-to-one",
        "limits",
        "app/domain/turns.py",
        "        heapq.heapreplace(turns, (count + 1, place))\n",
        "        heapq.heapreplace(turns, (count, place))\n",
        "one client with many tasks starves nobody",
        ("tests/rules/submissions/test_turns.py",),
    ),
    Mutation(
        "turn-begins-with-the-last",
        "limits",
        "app/domain/turns.py",
        "last is not None and name <= last, name",
        "last is not None and name < last, name",
        "turns go on after the client that came last",
        ("tests/rules/submissions/test_turns.py",),
    ),
)

IDEMPOTENCY: Final = (
    Mutation(
        "idempotency-any-body",
        "idempotency",
        "app/flows/accept.py",
        "    if digest != once.digest:\n",
        "    if not digest:\n",
        "a key with another body is refused",
        ("tests/stories/submissions/test_submit.py", "tests/database/test_idempotency_replicas.py"),
    ),
    Mutation(
        "idempotency-over-clients",
        "idempotency",
        "app/flows/accept.py",
        "    key = idempotency.Key(client_name, once.route, once.key)\n",
        '    key = idempotency.Key("", once.route, once.key)\n',
        "a key belongs to its client",
        ("tests/stories/submissions/test_submit.py", "tests/stories/clients/test_tenants.py"),
    ),
    Mutation(
        "idempotency-by-the-text",
        "idempotency",
        "app/domain/item.py",
        '    return msgspec.json.encode(value, order="sorted").decode()\n',
        "    return msgspec.json.encode(value).decode()\n",
        "the order of keys in a body makes it no other request, and no other value",
        ("tests/stories/submissions/test_submit.py", "tests/rules/tasks/test_join_laws.py"),
    ),
)

CLAIMS: Final = (
    Mutation(
        "claim-waits-for-others",
        "claims",
        "app/storage/dialect.py",
        "    return statement.with_for_update(key_share=True, skip_locked=skip, of=of)\n",
        "    return statement.with_for_update(key_share=True, of=of)\n",
        "a claim passes over what another holds (PostgreSQL)",
        ("tests/database/test_claim_skips_locked.py",),
    ),
    Mutation(
        "lock-blocks-inserts",
        "claims",
        "app/storage/state.py",
        "ORDER BY id FOR NO KEY UPDATE)\n",
        "ORDER BY id FOR UPDATE)\n",
        "a locked task does not block rows that refer to it (PostgreSQL)",
        ("tests/database/test_transactions.py",),
    ),
    Mutation(
        "claim-of-the-newest",
        "claims",
        "app/storage/tasks.py",
        "        .order_by(tasks.c.dispatch_due_at, tasks.c.id)\n        .limit(limit)\n",
        "        .order_by(tasks.c.dispatch_due_at.desc(), tasks.c.id.desc())\n        .limit(limit)\n",
        "each client's oldest task goes first",
        ("tests/stories/submissions/test_fair_turns.py", "tests/stories/submissions/test_submit.py"),
    ),
)

SUBMISSIONS: Final = (*FENCE, *ANSWERS, *HOLDS, *LIMITS, *IDEMPOTENCY, *CLAIMS)
