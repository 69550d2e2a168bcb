"""Which model a submission names, and which one is sent in its place (MODEL_ALIASES)."""

from collections.abc import Mapping
from typing import Any

from app.tempolor.kinds import KINDS


def model_of(kind_name: str, params: Mapping[str, Any]) -> str | None:
    """The model that a task's params name; None where they name none."""
    named = params.get(_field(kind_name))
    return named if isinstance(named, str) else None


def sent_model(kind_name: str, params: Mapping[str, Any], aliases: Mapping[str, str]) -> str | None:
    """The model that is sent: the alias of the one that is named, or that one itself. An alias is looked up once, so
    that two names can be exchanged."""
    named = model_of(kind_name, params)
    return None if named is None else aliases.get(named, named)


def sent_params(kind_name: str, params: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """The params as they are sent."""
    model = sent_model(kind_name, params, aliases)
    return dict(params) if model is None else {**params, _field(kind_name): model}


def _field(kind_name: str) -> str:
    kind = KINDS.get(kind_name)
    return kind.model_field if kind is not None else "model"
