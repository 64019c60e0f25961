"""Arguments of tools: their JSON Schema for clients, and their check, whose errors say how to mend a call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hven.model.errors import ParamError, format_message, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TYPES_BY_JSON_NAME: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
MAX_TEXT_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolArgument:
    """An argument of a tool.

    Attributes
    ----------
    name
        Its name.
    description
        What it is, for the model that calls the tool.
    json_type
        ``string``, ``integer`` or ``number``.
    is_required
        Whether each call must have it.
    default
        Its value in calls without it.
    minimum, maximum
        Bounds of a number.
    """

    name: str
    description: str
    json_type: str = "string"
    is_required: bool = False
    default: str | float | None = None
    minimum: float | None = None
    maximum: float | None = None

    def to_schema(self) -> dict[str, Any]:
        """Describe the argument as JSON Schema."""
        schema = {
            "type": self.json_type,
            "description": self.description,
            "default": self.default,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        return {key: value for key, value in schema.items() if value is not None}


def build_input_schema(arguments: Sequence[ToolArgument]) -> dict[str, Any]:
    """Build the JSON Schema of the arguments of a tool."""
    return {
        "type": "object",
        "properties": {argument.name: argument.to_schema() for argument in arguments},
        "required": [argument.name for argument in arguments if argument.is_required],
        "additionalProperties": False,
    }


def check_arguments(arguments: Sequence[ToolArgument], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the values of a call.

    Parameters
    ----------
    arguments
        The arguments of the tool.
    values
        Name -> value, as the client sent them.

    Returns
    -------
    values_by_name
        A value for each argument, with the defaults.

    Raises
    ------
    ParamError
        An argument is unknown, is missing, or has a wrong value.
    """
    names = [argument.name for argument in arguments]
    for name in values:
        if name not in names:
            raise ParamError(
                format_message("there is no argument {name!r:.80}", name),
                remedy=suggest_spelling(str(name), names) or f"use {', '.join(names)}",
            )
    return {argument.name: _check_value(argument, values.get(argument.name)) for argument in arguments}


def _check_value(argument: ToolArgument, value: Any) -> Any:
    name = argument.name
    if value is None:
        if argument.is_required:
            raise ParamError(f"the argument {name!r} is missing", remedy=f"send {name}: {argument.description}")
        return argument.default
    if argument.json_type == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)  # 5.0 is an integer in JSON Schema
    if isinstance(value, bool) or not isinstance(value, TYPES_BY_JSON_NAME[argument.json_type]):
        raise ParamError(f"{name!r} is not of the type {argument.json_type}", remedy=f"send {argument.description}")
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARACTERS:
            raise ParamError(
                f"{name!r} is longer than {MAX_TEXT_CHARACTERS:,} characters", remedy="send a shorter text"
            )
        return value
    if argument.minimum is None:
        minimum = -math.inf
    else:
        minimum = argument.minimum
    if argument.maximum is None:
        maximum = math.inf
    else:
        maximum = argument.maximum
    if not minimum <= cast("float", value) <= maximum:
        raise ParamError(
            format_message("{name!r} is {value}, which is out of range", name, value),
            remedy=f"send a number from {minimum:g} to {maximum:g}",
        )
    return value
