"""What nobody knew is added up over replicas."""

from uuid import UUID

from tests.support.databases import on_postgresql
from tests.support.drift import told
from tests.support.song_callbacks import song
from tests.support.start_fixtures import StartGateway


@on_postgresql
async def test_two_replicas_add_up_and_a_secret_is_no_name(start_gateway: StartGateway) -> None:
    replicas = [await start_gateway(workers=False) for _ in range(2)]
    key = replicas[0].settings.tempolor_api_key.get_secret_value()
    for number, gateway in enumerate(replicas):
        task_id = UUID((await gateway.submit())["id"])
        body = song(f"t2m_{number}", **{"mood": "calm", key: 1})
        assert (await gateway.call_back("song", body, task_id)).status_code == 200
        # A repeat is heard again.
        assert (await gateway.call_back("song", body, task_id)).status_code == 200
    found = {}
    for gateway in replicas:
        found = await told(gateway)
    assert found["field", "mood"]["count"] == 4
    assert found["network", "127.0.0.0/24"]["count"] == 4
    assert found["field", "[redacted]"]["count"] == 4
    assert key not in str(found)
