"""Faults of who may see what, and of what is kept for how long."""

from typing import Final

from tests.mutants.mutation import Mutation

TENANCY: Final = (
    Mutation(
        "scope-of-everybody",
        "tenancy",
        "app/clients/auth.py",
        "    return None if client.is_admin else client.name\n",
        "    return None\n",
        "a client sees its own tasks alone",
        ("tests/stories/clients/test_tenants.py",),
    ),
    Mutation(
        "stream-of-everybody",
        "tenancy",
        "app/watching/streams.py",
        "        return None if self.client.is_admin else self.client.name\n",
        "        return None\n",
        "a stream tells of its client's tasks alone",
        ("tests/stories/watching/test_streams.py", "tests/stories/clients/test_tenants.py"),
    ),
    Mutation(
        "revoked-key-opens",
        "tenancy",
        "app/clients/client_rows.py",
        "    sa.or_(clients.c.key_digest == _DIGEST, _IS_PREVIOUS), clients.c.revoked_at.is_(None)\n",
        "    sa.or_(clients.c.key_digest == _DIGEST, _IS_PREVIOUS)\n",
        "a revoked client's key ends at once",
        ("tests/stories/clients/test_client_keys.py",),
    ),
    Mutation(
        "erase-of-open-tasks",
        "tenancy",
        "app/operations/erase.py",
        "    if still_open:\n",
        "    if still_open > MOST_COUNTED:\n",
        "nothing is erased while a task is open",
        ("tests/stories/clients/test_erase.py",),
    ),
)

CONSOLE: Final = (
    Mutation(
        "link-used-twice",
        "console",
        "app/clients/tickets.py",
        "    used = table.delete().where(table.c.digest == _digest(ticket)).returning("
        "table.c.key_digest, table.c.expires_at)\n",
        "    used = sa.select(table.c.key_digest, table.c.expires_at).where(table.c.digest == _digest(ticket))\n",
        "a link to the console is good once",
        ("tests/stories/console/test_links.py",),
    ),
    Mutation(
        "ticket-of-any-purpose",
        "console",
        "app/clients/tickets.py",
        " if ticket.startswith(purpose.prefix) else None\n",
        "\n",
        "a ticket for a stream does not sign in",
        ("tests/stories/console/test_links.py",),
    ),
    Mutation(
        "any-token-of-a-session",
        "console",
        "app/console/signed_in.py",
        "    if not hmac.compare_digest(token.encode(), visitor.csrf.encode()):\n",
        "    if not token:\n",
        "a change, and a call of the API, brings the token of its session",
        ("tests/stories/console/test_sign_in.py", "tests/stories/console/test_api.py"),
    ),
    Mutation(
        "session-passed-on",
        "console",
        "app/console/api_reference.py",
        '            "headers": [(name, value) for name, value in scope["headers"] if name not in _NOT_PASSED_ON],\n'
        "            SIGNED_IN: self._client,\n",
        '            "headers": scope["headers"],\n',
        "a call by a session is its client's",
        ("tests/stories/console/test_api.py",),
    ),
)

RETENTION: Final = (
    Mutation(
        "retention-of-first-copies",
        "retention",
        "app/operations/retention_store.py",
        "    return sa.and_(callbacks.c.last_received_at < cutoff, _is_none(needed))\n",
        "    return callbacks.c.last_received_at < cutoff\n",
        "the callbacks of an open task stay",
        ("tests/stories/retention/test_retention.py",),
    ),
    Mutation(
        "retention-before-its-key",
        "retention",
        "app/operations/retention.py",
        "        return min(sweep.cutoff, oldest_key_at or sweep.cutoff)\n",
        "        return sweep.cutoff\n",
        "a task stays as long as the key that may name it",
        ("tests/stories/retention/test_retention.py",),
    ),
    Mutation(
        "retention-by-a-jump",
        "retention",
        "app/operations/retention.py",
        "        return _begin(now - timedelta(seconds=jumped_s), self._days)\n",
        "        return _begin(now, self._days)\n",
        "nothing grows old by a clock that is set forward",
        ("tests/stories/retention/test_retention.py",),
    ),
    Mutation(
        "retention-by-many-at-once",
        "retention",
        "app/operations/retention_store.py",
        "    return bool(conn.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_ADVISORY_KEY))))\n",
        "    return True\n",
        "one process at a time deletes (PostgreSQL)",
        ("tests/database/test_retention_cost.py",),
    ),
)

CLIENTS: Final = (*TENANCY, *CONSOLE, *RETENTION)
