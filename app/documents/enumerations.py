"""Closed sets of words that are shown, under their names in the OpenAPI document, and the names of artifacts."""

from typing import Annotated, Any, Final, get_args

from pydantic import Field, StrictStr
from typing_extensions import TypeAliasType

from app.limits.hold import Reason
from app.limits.wait_reasons import BACKING_OFF
from app.rules.task import EntryType
from app.tempolor.codes import HOLDING
from app.tempolor.kinds import ARTIFACTS, FAMILIES, KINDS

_KINDS: Final = [*KINDS, *(family.external_kind for family in FAMILIES.values())]
_SHOWN_TYPES: Final = {*get_args(EntryType), "status"} - {"changed"}
_WAIT_REASONS: Final = {*Reason, *HOLDING, BACKING_OFF}

Family = TypeAliasType("Family", Annotated[StrictStr, Field(json_schema_extra={"enum": sorted(FAMILIES)})])
TaskKind = TypeAliasType(
    "TaskKind",
    Annotated[
        str,
        Field(
            json_schema_extra={"enum": [*_KINDS]},
            description="What a task makes. `….external`: it was submitted to the vendor by another system.",
        ),
    ],
)
TimelineType = TypeAliasType("TimelineType", Annotated[str, Field(json_schema_extra={"enum": sorted(_SHOWN_TYPES)})])
WaitReason = TypeAliasType("WaitReason", Annotated[str, Field(json_schema_extra={"enum": sorted(_WAIT_REASONS)})])


def by_artifact_name(schema: dict[str, Any]) -> None:
    """Name each artifact in the schema of an object of them, instead of allowing any name."""
    one_file, files = schema.pop("additionalProperties")["anyOf"]
    schema["properties"] = {name: dict(files if one.several else one_file) for name, one in ARTIFACTS.items()}
