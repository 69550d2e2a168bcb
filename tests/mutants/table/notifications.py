"""Faults of telling clients: the outbox, its leases and schedule, signatures, and where posts may go."""

from typing import Final

from tests.mutants.mutation import Mutation

LEASES: Final = (
    Mutation(
        "notification-without-a-lease",
        "notifications",
        "app/notifications/outbox.py",
        "    conn.execute(notifications.update().where(leased).values(due_at=lease_until))\n",
        "",
        "a notification is posted by one at a time",
        ("tests/stories/notifications/test_leases.py",),
    ),
    Mutation(
        "notification-without-a-fence",
        "notifications",
        "app/notifications/outbox.py",
        "notifications.c.due_at == notification.leased_until)\n",
        "notifications.c.due_at.is_not(None))\n",
        "a lease that passed on settles nothing",
        ("tests/stories/notifications/test_leases.py",),
    ),
    Mutation(
        "notification-claimed-unlocked",
        "notifications",
        "app/notifications/outbox.py",
        "conn.execute(_LOCKED_DUE, {",
        "conn.execute(_DUE, {",
        "two senders never claim the same (PostgreSQL)",
        ("tests/database/test_notification_senders.py",),
    ),
    Mutation(
        "notification-late-after-a-freeze",
        "notifications",
        "app/notifications/deliver.py",
        "if self.stopping or later(context.clock.now(), context.policy.lease_s / 2) >= notification.leased_until:",
        "if self.stopping:",
        "a sender that begins late gives its claim back",
        ("tests/stories/notifications/test_leases.py",),
    ),
    Mutation(
        "notification-rendered-anew",
        "notifications",
        "app/notifications/outbox.py",
        '        values["body"] = body\n',
        '        values["body"] = notification.body\n',
        "a repeat has the same bytes",
        ("tests/stories/notifications/test_frozen.py",),
    ),
)

SCHEDULE: Final = (
    Mutation(
        "notification-one-attempt-less",
        "notifications",
        "app/notifications/deliver.py",
        "    if answer is None or isinstance(answer, (Gone, Forbidden)) or attempts >= len(SCHEDULE_S):\n",
        "    if answer is None or isinstance(answer, (Gone, Forbidden)) or attempts >= len(SCHEDULE_S) - 1:\n",
        "after seven waits there is one more attempt",
        ("tests/stories/notifications/test_schedule.py",),
    ),
    Mutation(
        "notification-asked-for-soon",
        "notifications",
        "app/notifications/deliver.py",
        "        wait_s = answer.retry_after_s if attempts < PROMPT_ATTEMPTS else max(answer.retry_after_s, wait_s)\n",
        "        wait_s = answer.retry_after_s\n",
        "a short Retry-After does not use up the schedule",
        ("tests/stories/notifications/test_schedule.py",),
    ),
    Mutation(
        "notification-places-for-one",
        "notifications",
        "app/notifications/deliver.py",
        "        room = min(PER_RECEIVER - busy[receiver], max(shared, 0 if busy[receiver] else min(left, 1)))\n",
        "        room = left\n",
        "a dead receiver delays nobody else",
        ("tests/stories/notifications/test_isolation.py",),
    ),
)

SIGNATURES: Final = (
    Mutation(
        "revoked-client-is-told",
        "notifications",
        "app/clients/client_rows.py",
        "    wanted = sa.and_(dialect.any_of(conn, clients.c.name, sorted(names)), clients.c.revoked_at.is_(None))\n",
        "    wanted = dialect.any_of(conn, clients.c.name, sorted(names))\n",
        "nothing is posted for a client that was revoked",
        ("tests/stories/notifications/test_leases.py", "tests/stories/notifications/test_secrets.py"),
    ),
)

EGRESS: Final = (
    Mutation(
        "egress-first-address-alone",
        "egress",
        "app/runtime/egress.py",
        "for address in addresses if not self._policy.allows(address)]\n",
        "for address in addresses[:1] if not self._policy.allows(address)]\n",
        "one private address among public ones spoils a name",
        ("tests/stories/notifications/test_egress.py",),
    ),
    Mutation(
        "egress-looks-up-twice",
        "egress",
        "app/runtime/egress.py",
        "                return await connect(str(address), port,",
        "                return await connect(host, port,",
        "the connection goes to the address that was checked",
        ("tests/stories/notifications/test_egress.py",),
    ),
)

NOTIFICATIONS: Final = (*LEASES, *SCHEDULE, *SIGNATURES, *EGRESS)
