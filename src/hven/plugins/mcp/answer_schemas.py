"""JSON Schemas of the answers of tools (``outputSchema``), in the dialect 2020-12."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}
TEXT_OR_NULL: JsonSchema = {"type": ["string", "null"]}
NUMBER: JsonSchema = {"type": "number"}
BOOLEAN: JsonSchema = {"type": "boolean"}
BOOLEAN_OR_NULL: JsonSchema = {"type": ["boolean", "null"]}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: JsonSchema = {"type": ["integer", "null"], "minimum": 0}
SCALAR: JsonSchema = {"type": ["string", "number", "boolean", "null"]}


def build_list_schema(item_schema: JsonSchema) -> JsonSchema:
    """Build the schema of a list."""
    return {"type": "array", "items": item_schema}


def build_object_schema(properties: Mapping[str, JsonSchema], optional: Sequence[str] = ()) -> JsonSchema:
    """Build the schema of an object without other properties than these."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


COMPLETENESS: Mapping[str, JsonSchema] = {
    "complete": {"type": "boolean", "description": "false: there is more than this answer has"},
    "available": {
        "anyOf": [COUNT, {"const": "more"}],
        "description": "the exact number that there are; 'more': more than this answer has, and they are not counted",
    },
    "limit": {**COUNT, "description": "maximum number in this answer"},
}
RIGHTS: Mapping[str, JsonSchema] = {
    "licence": TEXT_OR_NULL,
    "licence_url": TEXT_OR_NULL,
    "citation": {"type": "string", "description": "how to cite the data"},
}
STATE: Mapping[str, JsonSchema] = {
    "snapshot": {"type": ["string", "null"], "description": "value of as_of that repeats a query on the same rows"},
    "updated": TEXT_OR_NULL,
}
