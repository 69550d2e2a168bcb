from models import ConflictProblem, SongGenerateParams, SongGenerateTask, StemsCreateParams, TaskRequest

params = SongGenerateParams(prompt="p", model="m")
task = SongGenerateTask(kind="song.generate", params=params)
TaskRequest(root=task)
SongGenerateTask(kind="song.make", params=params)  # type: ignore[arg-type]
SongGenerateTask(kind="song.generate", params=StemsCreateParams(url="https://u"))  # type: ignore[arg-type]
SongGenerateParams(prompt=3, model="m")  # type: ignore[arg-type]


def is_conflict(problem: ConflictProblem) -> bool:
    if problem.code == "conflicted":  # type: ignore[comparison-overlap]
        return False
    return problem.code == "conflict"
