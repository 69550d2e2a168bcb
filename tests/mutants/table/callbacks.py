"""Faults of callbacks: tokens, the inbound log, groups, bodies and their limits, redaction, replay."""

from typing import Final

from tests.mutants.mutation import Mutation

TOKENS: Final = (
    Mutation(
        "token-of-any-family",
        "tokens",
        "app/tempolor/callback_tokens.py",
        '        message = b"callback\\x00" + family.encode() + b"\\x00" + task_bytes\n',
        '        message = b"callback\\x00" + task_bytes\n',
        "a token is good for one family",
        ("tests/rules/tempolor/test_tokens.py",),
    ),
    Mutation(
        "token-of-the-first-secret-alone",
        "tokens",
        "app/tempolor/callback_tokens.py",
        "        is_known_key = key_id in self._secrets\n",
        "        is_known_key = key_id == self._first\n",
        "during a rotation every secret verifies",
        ("tests/rules/tempolor/test_tokens.py",),
    ),
    Mutation(
        "address-unchecked",
        "tokens",
        "app/callbacks/endpoint.py",
        "        if self._allowed and not self._is_allowed(address):\n",
        "        if self._allowed and address is None:\n",
        "callbacks come only from the networks that are allowed",
        ("tests/stories/callbacks/test_callback_tokens.py",),
    ),
    Mutation(
        "throttled-for-ever",
        "tokens",
        "app/web/wrong_key_limit.py",
        "        if now - started >= WINDOW_S:\n",
        "        if now - started >= WINDOW_S * MOST_FAILURES:\n",
        "an address that guessed is answered again after a minute",
        ("tests/rules/runtime/test_meter.py",),
    ),
)

INBOX: Final = (
    Mutation(
        "inbox-body-of-any-task",
        "inbox",
        "app/callbacks/commit.py",
        '    bound = task_id.hex if task_id else ""\n',
        '    bound = ""\n',
        "the same body for two tasks is two callbacks",
        ("tests/stories/callbacks/test_callback_log.py", "tests/stories/callbacks"),
    ),
    Mutation(
        "inbox-repeat-looks-new",
        "inbox",
        "app/callbacks/commit.py",
        "    first_received_at = receipt.received_at if receipt else callback.received_at\n",
        "    first_received_at = callback.received_at\n",
        "a repeat has the time of its first copy",
        ("tests/stories/callbacks/test_callback_log.py", "tests/stories/callbacks"),
    ),
    Mutation(
        "inbox-bodies-without-end",
        "inbox",
        "app/callbacks/commit.py",
        "                task.stored_bodies += 1 + len(callback.body) // BODY_UNIT\n",
        "                task.stored_bodies += len(callback.body) // BODY_UNIT\n",
        "a leaked token does not fill the disk",
        ("tests/stories/callbacks/test_leaked_url.py", "tests/stories/callbacks/test_callback_log.py"),
    ),
    Mutation(
        "group-unstored-and-acknowledged",
        "inbox",
        "app/callbacks/batch.py",
        "        except Unavailable as error:\n            for waiting in group:\n"
        "                _fail(waiting, error.detail)\n",
        "        except Unavailable:\n            for waiting in group:\n"
        "                waiting.answer.set_result(Acknowledgement(Disposition.APPLIED, usable=True))\n",
        "nothing is acknowledged that was not committed",
        (
            "tests/stories/callbacks/test_given_up_callbacks.py",
            "tests/processes/test_database_away.py",
        ),
    ),
    Mutation(
        "group-tried-once",
        "inbox",
        "app/callbacks/batch.py",
        "            except Unavailable:\n                await self._commit_once(group)\n",
        "            except Unavailable:\n                raise\n",
        "a connection that died while idle fails no callback (PostgreSQL)",
        ("tests/database/test_kept_connections.py",),
    ),
    Mutation(
        "group-waits-for-a-lock",
        "inbox",
        "app/callbacks/batch.py",
        "    async def _commit_once(self, group: list[_Waiting], *, wait: bool = False) -> None:\n",
        "    async def _commit_once(self, group: list[_Waiting], *, wait: bool = True) -> None:\n",
        "one task that is held delays no other (PostgreSQL)",
        ("tests/processes/test_database_away.py",),
    ),
    Mutation(
        "group-durable-stored-again",
        "inbox",
        "app/callbacks/batch.py",
        "[waiting for waiting in group if not waiting.is_durable]",
        "list(group)",
        "what is durable is counted once, whatever fails beside it (PostgreSQL)",
        ("tests/database/test_optimistic.py",),
    ),
    Mutation(
        "inbox-charges-nobody",
        "inbox",
        "app/callbacks/commit.py",
        "                loaded.dirty_tasks.add(task.id)\n",
        "",
        "what an unbound token says of a task's item counts against that task's bodies",
        ("tests/stories/callbacks/test_leaked_url.py",),
    ),
    Mutation(
        "replay-as-of-the-last-copy",
        "inbox",
        "app/callbacks/replay.py",
        "readings, stored.received_at, fresh=False)\n",
        "readings, stored.last_received_at, fresh=False)\n",
        "a replay is as of the time of the first copy",
        ("tests/stories/callbacks/test_replay.py",),
    ),
)

BODIES: Final = (
    Mutation(
        "body-without-end",
        "bodies",
        "app/callbacks/endpoint.py",
        "            if len(body) + len(chunk) > self._most_bytes:\n",
        "            if not body and len(chunk) > self._most_bytes:\n",
        "a body without a length is answered at the limit",
        ("tests/stories/callbacks/test_callback_sizes.py",),
    ),
    Mutation(
        "admission-leaks-bytes",
        "bodies",
        "app/callbacks/admission.py",
        "        self._entries -= 1\n        self._bytes -= size\n",
        "        self._entries -= 1\n",
        "what was refused or answered makes room again",
        ("tests/stories/callbacks/test_admission.py",),
    ),
    Mutation(
        "budget-leaks",
        "bodies",
        "app/web/bodies.py",
        "        budget.taken -= received\n",
        "        budget.taken -= len(raw)\n",
        "bodies of clients make room again when they were read",
        ("tests/stories/web/test_connections.py",),
    ),
    Mutation(
        "given-metadata-uncounted",
        "bodies",
        "app/submissions/check_requests.py",
        "for part in (task_request.params, task_request.metadata) if part]",
        "for part in (task_request.params,) if part]",
        "params and metadata together have a bound",
        ("tests/stories/submissions/test_submit.py", "tests/stories/web/test_request_bodies.py"),
    ),
)

REDACTION: Final = (
    Mutation(
        "redact-no-callbacks",
        "redaction",
        "app/callbacks/admission.py",
        "        body = self._context.redactor.body(raw)\n",
        "        body = raw\n",
        "what a callback repeats of our secrets is not kept",
        ("tests/stories/web/test_sent_back.py",),
    ),
    Mutation(
        "redact-no-cut-key",
        "redaction",
        "app/tempolor/redact.py",
        "                if length == len(secret) or length >= PIECE_CHARS or _END.match(text, end):\n",
        "                if length == len(secret) or length >= PIECE_CHARS:\n",
        "the beginning of the key is taken out where a text was cut",
        ("tests/rules/tempolor/test_redact.py",),
    ),
)

CALLBACKS: Final = (*TOKENS, *INBOX, *BODIES, *REDACTION)
