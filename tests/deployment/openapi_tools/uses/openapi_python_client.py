from tem_polor_gateway_client.api.tasks import create_task
from tem_polor_gateway_client.client import AuthenticatedClient
from tem_polor_gateway_client.models import ConflictProblem, SongGenerateParams, SongGenerateTask, StemsCreateParams

client = AuthenticatedClient("http://gateway", "key")
params = SongGenerateParams(prompt="p", model="m")
create_task.sync(client=client, body=SongGenerateTask(kind="song.generate", params=params))
create_task.sync(client=client, body=SongGenerateTask(kind="song.make", params=params))  # type: ignore[arg-type]
StemsTask = SongGenerateTask(kind="song.generate", params=StemsCreateParams(url="u"))  # type: ignore[arg-type]
SongGenerateParams(prompt=3, model="m")  # type: ignore[arg-type]


def is_conflict(problem: ConflictProblem) -> bool:
    if problem.code == "conflicted":  # type: ignore[comparison-overlap]
        return False
    return problem.code == "conflict"
