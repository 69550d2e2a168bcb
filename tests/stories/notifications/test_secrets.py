"""The secrets that sign notifications: rotated without a gap, shown once, and gone with their client."""

from typing import Any

from standardwebhooks import Webhook

from app.notifications.deliver import Notifier
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.notifications import client_of, deliver, signed_by, watching
from tests.support.song_callbacks import assert_problem


async def listed(gateway: Running, **params: Any) -> Any:
    return (await gateway.api.get("/v1/notifications", params=params)).json()


async def test_during_a_rotation_both_secrets_sign_and_after_a_day_the_new_one_alone(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")
    async with watching() as receiver:

        async def told() -> tuple[list[str], dict[Any, bool]]:
            await studio.canceled(receiver.url())
            await deliver(notifier)
            headers, body = receiver.headers[-1], receiver.bodies[-1]
            return headers["webhook-signature"].split(" "), {
                secret: signed_by(secret, headers, body) for secret in (studio.secret, *new)
            }

        new = []
        assert_problem(
            await gateway.api.post("/v1/clients/studio/webhook-secret", headers=studio.headers), 403, "forbidden"
        )
        assert_problem(await gateway.api.post("/v1/clients/nobody/webhook-secret"), 404, "not_found")
        made = await gateway.api.post("/v1/clients/studio/webhook-secret")
        assert made.status_code == 200
        new.append(made.json()["webhook_secret"])
        assert made.json() == {"name": "studio", "webhook_secret": new[0]}
        assert new[0].startswith("whsec_")
        assert new[0] != studio.secret
        signatures, good = await told()
        assert len(signatures) == 2
        assert good == {studio.secret: True, new[0]: True}
        for secret in (studio.secret, new[0]):
            Webhook(secret).verify(receiver.bodies[-1], receiver.headers[-1])
        clock.skip(23.9 * 3600)
        assert (await told())[1] == {studio.secret: True, new[0]: True}
        clock.skip(0.2 * 3600)
        signatures, good = await told()
        assert len(signatures) == 1
        assert good == {studio.secret: False, new[0]: True}
        # Another client's are as they were.
        await radio.canceled(receiver.url())
        await deliver(notifier)
        assert signed_by(radio.secret, receiver.headers[-1], receiver.bodies[-1])
    for path in ("/v1/clients", "/v1/notifications", "/v1/tasks", "/metrics"):
        answer = await gateway.api.get(path)
        assert not [one for one in (studio.secret, *new) if one in answer.text or one[6:] in answer.text]


async def test_a_revoked_clients_pending_ones_are_dead_at_once(gateway: Running, notifier: Notifier) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")
    async with watching() as receiver:
        await studio.canceled(receiver.url())
        await deliver(notifier)
        await studio.canceled(receiver.url())
        await radio.canceled(receiver.url())
        assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
        found = {(one["client"], one["status"], one["last_error"]) for one in (await listed(gateway))["data"]}
        assert found == {
            ("studio", "delivered", None),
            ("studio", "dead", "client_revoked"),
            ("radio", "pending", None),
        }
        assert all(
            one["ended_at"] and one["next_attempt_at"] is None for one in (await listed(gateway, status="dead"))["data"]
        )
        [dead] = (await listed(gateway, status="dead"))["data"]
        # Nor does an admin get it sent: there is nobody any more whose secret could sign it.
        assert (await gateway.api.post(f"/v1/notifications/{dead['id']}/redeliver")).status_code == 200
        await deliver(notifier)
    [dead] = (await listed(gateway, status="dead"))["data"]
    assert (dead["client"], dead["last_error"]) == ("studio", "client_revoked")
    assert len(receiver.bodies) == 2
