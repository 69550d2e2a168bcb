"""The components of the OpenAPI document that no response model makes: request bodies and problems."""

import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.clients.schemas import ClientRequest, KeyRotation, MeChange
from app.documents.schemas import AdoptRequest, BatchRequest, Problem, ResolveRequest, TaskRequest
from app.notifications.routes import PingRequest, RedeliverRequest
from app.submissions.hold_routes import HoldRequest, RecoverRequest
from app.tempolor.kinds import KINDS
from app.web.answers import SCHEMAS, problem_name
from app.web.problems import CODES, TABLE, phrase_of

Schema = dict[str, Any]
BODIES: Final[tuple[type[BaseModel], ...]] = (
    AdoptRequest,
    BatchRequest,
    ClientRequest,
    HoldRequest,
    KeyRotation,
    MeChange,
    PingRequest,
    RecoverRequest,
    RedeliverRequest,
    ResolveRequest,
    TaskRequest,
)
"""Every model that ``documented`` names."""

_WITHOUT_ERROR: Final = {
    "head_too_large": "The headers of the request are too large.",
    "internal_error": "A fault of the gateway, which is in its log.",
    "malformed": "The body is not JSON, or not of the documented shape; it is kept in the log.",
    "method_not_allowed": "The path is there, and not for this method.",
    "poisoned": "The body could not be applied in any way; it is kept in the log.",
    "range_not_satisfiable": "One range of bytes within the file can be asked for.",
}


def bodies() -> dict[str, Schema]:
    """The request bodies; a task's is one of as many as there are kinds."""
    made = _schemas_of(*BODIES)
    made["BatchRequest"]["properties"]["tasks"]["items"] = {"$ref": f"{SCHEMAS}TaskRequest"}
    common = made["TaskRequest"]
    params = {_params_name(name): _named(kind.params, _params_name(name)) for name, kind in KINDS.items()}
    tasks = {_task_name(name): _task_of(name, common) for name in KINDS}
    made["TaskRequest"] = {
        "title": "TaskRequest",
        "description": common["description"],
        "oneOf": [{"$ref": SCHEMAS + name} for name in tasks],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {name: SCHEMAS + _task_name(name) for name in KINDS},
        },
    }
    return made | params | tasks


def problems(document: dict[str, Any]) -> dict[str, Schema]:
    """The problem of each code that the document refers to, and any problem."""
    made = _schemas_of(Problem)
    any_problem = made["Problem"]
    text = json.dumps(document)
    for code, status in CODES.items():
        name = problem_name(code)
        if f'{SCHEMAS}{name}"' in text:
            fixed = {"status": {"const": status, "type": "integer"}, "code": {"const": code, "type": "string"}}
            example = {"type": "about:blank", "title": phrase_of(status), "status": status, "code": code}
            made[name] = {
                "title": name,
                "type": "object",
                "description": f"The problem `{code}`: {meaning_of(code)}",
                "properties": {**any_problem["properties"], **fixed},
                "required": any_problem["required"],
                "additionalProperties": False,
                "examples": [{**example, "detail": "A sentence for people."}],
            }
    return made


def meaning_of(code: str) -> str:
    """What the code of a problem means: the first sentence of its error's description."""
    described = {code: " ".join((error.__doc__ or "").split()) for error, (_, code) in TABLE.items()} | _WITHOUT_ERROR
    return described[code].replace("``", "`").partition(". ")[0].removesuffix(".") + "."


def _schemas_of(*models: type[BaseModel]) -> dict[str, Schema]:
    _, made = models_json_schema([(model, "validation") for model in models], ref_template=SCHEMAS + "{model}")
    return {name: without_defaults(schema) for name, schema in made["$defs"].items()}


def without_defaults(schema: Any) -> Any:
    """What may be left out has a meaning, which its description tells. A default would have generators make it a field
    that is always there."""
    if isinstance(schema, dict):
        return {name: without_defaults(part) for name, part in schema.items() if name != "default"}
    return [without_defaults(part) for part in schema] if isinstance(schema, list) else schema


def _task_of(kind: str, common: Schema) -> Schema:
    own = {
        "kind": {"type": "string", "const": kind, "title": "Kind"},
        "params": {"$ref": SCHEMAS + _params_name(kind)},
    }
    return {
        **common,
        "title": _task_name(kind),
        "description": f"A task of the kind `{kind}`. {_said_of(kind)}",
        "properties": {**common["properties"], **own},
    }


def _said_of(kind: str) -> str:
    return " ".join((KINDS[kind].params.__doc__ or "").split())


def _named(model: type[BaseModel], name: str) -> Schema:
    [schema] = _schemas_of(model).values()
    return {
        **schema,
        "title": name,
        "description": f"{schema['description']} Fields that are not listed are passed on to the vendor, but for "
        "`callback_url`, which is refused.",
    }


def _task_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split(".")) + "Task"


def _params_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split(".")) + "Params"
