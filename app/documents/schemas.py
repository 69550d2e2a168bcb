"""API schemas of tasks, callbacks and problems: they validate requests and make the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from typing_extensions import TypeAliasType

from app.documents.enumerations import Family, TaskKind, TimelineType, WaitReason, by_artifact_name
from app.rules.observation import Disposition
from app.rules.status import ItemStatus, TaskStatus
from app.rules.task import FailureCode, NotificationType
from app.rules.views import ArtifactStatus
from app.tasks.webhook_url import MOST_URL_CHARS, WebhookEvents
from app.tempolor.kinds import FAMILIES, KINDS
from app.web.problems import CODES

MOST_BATCHED: Final = 100
MOST_ADOPTED: Final = 50
MOST_ITEM_ID_CHARS: Final = 200


def _none_is_empty(value: Any) -> Any:
    """Take null, as a task is shown, for an object that is not given."""
    return {} if value is None else value


class TaskRequest(BaseModel):
    """A task to be submitted. `params` are the vendor's, checked by the task's kind."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[StrictStr, Field(json_schema_extra={"enum": sorted(KINDS)})]
    params: dict[str, Any]
    reference: Annotated[
        Annotated[StrictStr, Field(min_length=1, max_length=255)] | None,
        Field(title="Reference", description="Your own name for the task, as the id of an order. Lists filter by it."),
    ] = None
    metadata: Annotated[
        dict[str, Any],
        BeforeValidator(_none_is_empty),
        WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}]}),
        Field(
            title="Metadata",
            description="Whatever you want to find with the task; 64 KiB together with `params`.",
            default_factory=dict,
        ),
    ]
    webhook_url: Annotated[
        Annotated[StrictStr, Field(max_length=MOST_URL_CHARS, json_schema_extra={"format": "uri"})] | None,
        Field(
            title="Webhook URL",
            description="Where notifications of this task are posted; without it, the client's default.",
        ),
    ] = None
    webhook_events: Annotated[
        WebhookEvents | None,
        Field(
            title="Webhook events",
            description="The types of notifications that are wanted: all without it, none for an empty list.",
        ),
    ] = None

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"it must be one of {', '.join(sorted(KINDS))}")
        return value


class BatchRequest(BaseModel):
    """Tasks to be submitted together: all of them or none. Each is checked by itself, so that its faults are reported
    with its index."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[list[Any], Field(min_length=1, max_length=MOST_BATCHED)]


def _decimal(value: Any) -> Any:
    # The bound first: Python refuses to write out a number of thousands of digits.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**MOST_ITEM_ID_CHARS:
        return str(value)
    return value


ItemId = Annotated[
    StrictStr,
    Field(min_length=1, max_length=MOST_ITEM_ID_CHARS),
    BeforeValidator(_decimal),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MOST_ITEM_ID_CHARS}, {"type": "integer"}]}
    ),
]
"""An integer stands for its decimal text."""


class AdoptRequest(BaseModel):
    """Items that another system had the vendor make, to be followed from now on. `client`: whose tasks they become,
    the caller's own without it."""

    model_config = ConfigDict(extra="forbid")

    family: Family
    item_ids: Annotated[list[ItemId], Field(min_length=1, max_length=MOST_ADOPTED)]
    client: StrictStr | None = None

    @field_validator("family")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in FAMILIES:
            raise ValueError(f"it must be one of {', '.join(sorted(FAMILIES))}")
        return value


class ResolveRequest(BaseModel):
    """What an admin found at the vendor: the item of the task, or that there is none. Exactly one of the two."""

    model_config = ConfigDict(extra="forbid")

    item_id: ItemId | None = None
    not_sent: StrictBool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.item_id is not None) == self.not_sent:
            raise ValueError("give either an item_id or not_sent: true")
        return self


class ArchivedCopy(BaseModel):
    """The gateway's own copy of a result file. `url` is a link to it that lives for days; `reason`, which is there only
    where the copy failed, says why there will be none."""

    status: Literal["pending", "kept", "failed"]
    bytes: int | None
    sha256: str | None
    media_type: str | None
    url: str | None
    reason: str | None = None


class Artifact(BaseModel):
    """A result file. `url` is signed, is there once `status` is `ready`, and dies at `expires_at`: fetch it exactly as
    it is given. `archive` is null where no copies are kept."""

    status: ArtifactStatus
    url: str | None
    expires_at: datetime | None
    archive: ArchivedCopy | None


class ArtifactOfFiles(Artifact):
    """A result that is one file, a zip say, or several: then `url` is the list or the object of URLs that the vendor
    sent."""

    url: str | list[str | dict[str, Any]] | dict[str, Any] | None  # type: ignore[assignment]


Artifacts = TypeAliasType(
    "Artifacts",
    Annotated[
        dict[str, Artifact | ArtifactOfFiles],
        Field(
            json_schema_extra=by_artifact_name,
            description="Result files by name. Those that the kind always has are there from the start, as `pending`.",
        ),
    ],
)


class Item(BaseModel):
    """One work that the vendor makes of a task. `lyrics_sections`: aligned lyrics, as a rule `{"start", "end", "text"}`
    with seconds. `vendor` is the merged vendor item, in the vendor's own names."""

    item_id: str
    status: ItemStatus
    title: str | None
    style: str | None
    model: str | None
    duration_s: float | None
    lyrics: str | None
    lyrics_sections: list[dict[str, Any] | str | float | bool | None] | None
    artifacts: Artifacts
    vendor: dict[str, Any]
    last_callback_at: datetime | None
    last_query_at: datetime | None


class TaskError(BaseModel):
    """Why a task has no usable result. `message` is for people, and may be the vendor's. `retryable`: submitting it
    again may help."""

    code: FailureCode
    message: str
    retryable: bool
    vendor_status: int | None
    vendor_request_id: str | None


class WaitingFor(BaseModel):
    """Why a queued task waits. `until`: when something is tried next; null where that is not known."""

    reason: WaitReason
    since: datetime | None
    until: datetime | None


class ExpectedTime(BaseModel):
    """Between these times eight of ten tasks of its kind became playable lately."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    from_: datetime = Field(alias="from")
    to: datetime


class Task(BaseModel):
    """A task. `version` grows at each visible change: drop what is older than what you have. `warnings`: words for
    what is odd though nothing has failed; there may be new ones. `waiting_for` is null for what is not queued, and
    for what only waits for its turn; it is as of this moment, and raises no `version`.
    `submitted_model`: the model that was sent, if another than the one in `params`. `expected_playable_at`: for a
    task that was sent, by the times that the gateway has learned of its kind; null once it is playable, while too few
    were timed, and where it takes longer than they say; it raises no `version` either."""

    id: str
    kind: TaskKind
    status: TaskStatus
    client: str
    reference: str | None
    metadata: dict[str, Any]
    params: dict[str, Any]
    submitted_model: str | None
    webhook_url: str | None
    webhook_events: list[NotificationType] | None
    retry_of: str | None
    items: list[Item]
    waiting_for: WaitingFor | None
    expected_playable_at: ExpectedTime | None
    error: TaskError | None
    warnings: list[str]
    version: int
    created_at: datetime
    submitted_at: datetime | None
    playable_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    deadline_at: datetime | None


class TaskPage(BaseModel):
    data: list[Task]
    next_cursor: str | None


class SummaryItem(BaseModel):
    """An item without its lyrics and `vendor`."""

    item_id: str
    status: ItemStatus
    title: str | None
    style: str | None
    model: str | None
    duration_s: float | None
    artifacts: Artifacts
    last_callback_at: datetime | None
    last_query_at: datetime | None


class TaskSummary(Task):
    """A task without lyrics, also in `params`, and without `vendor`. To make it anew, retry it: these `params` would
    have the vendor write other words."""

    items: list[SummaryItem]  # type: ignore[assignment]


class TaskListPage(BaseModel):
    """Tasks, or with `view=summary` summaries of them."""

    data: list[Task] | list[TaskSummary]
    next_cursor: str | None


class TimelineEntry(BaseModel):
    """One thing that happened. `version` is the task's after it; entries of one `seq` happened together. What stands in
    `detail` depends on the type, and grows."""

    seq: int
    at: datetime
    type: TimelineType
    version: int
    detail: dict[str, Any]


class Timeline(BaseModel):
    data: list[TimelineEntry]
    next_cursor: str | None


class Account(BaseModel):
    """The vendor's account, at most a minute old."""

    balance: float | None
    vendor: dict[str, Any]
    as_of: datetime


class LoggedCallback(BaseModel):
    """A row of the inbound log."""

    id: str
    task_id: str | None
    family: Family
    disposition: Disposition
    detail: str | None
    received_at: datetime
    last_received_at: datetime
    count: int
    address: str | None
    size: int


class CallbackPage(BaseModel):
    data: list[LoggedCallback]
    next_cursor: str | None


class CallbackWithBody(LoggedCallback):
    """`body` is null and `body_base64` set where the body is not UTF-8."""

    body: str | None
    body_base64: str | None


class Fault(BaseModel):
    """What is wrong with one place of a request, as in `params.prompt`."""

    path: str
    message: str


ErrorCode = TypeAliasType("ErrorCode", Annotated[str, Field(json_schema_extra={"enum": sorted(CODES)})])


class Problem(BaseModel):
    """An error, as RFC 9457 says. `code` is stable, and what programs decide by; `detail` is for people. `errors`: each
    fault of a request. `request_id`: also in the header `X-Request-ID`, and in the gateway's log."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    code: ErrorCode
    detail: str
    errors: list[Fault] = Field(default_factory=list)
    request_id: str = ""


EXAMPLE_REQUEST: Final[dict[str, Any]] = {
    "kind": "song.generate",
    "params": {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"},
    "reference": "order-17",
}
