"""The JSON Schema of descriptors, for editors: said by the same keys that check."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from hven.descriptor._keys import Collection
from hven.model import plugins
from hven.model.errors import UserError
from hven.sources.enriched import Enrich

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Plain(GenerateJsonSchema):
    """Keys without titles made of their names, and without defaults: what is not there says nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def schema() -> dict[str, Any]:
    """Generate the schema (draft 2020-12); options of sources come from the kinds that are installed.

    Returns
    -------
    schema
        JSON.
    """
    made = Collection.record.form.model_json_schema(schema_generator=_Plain)
    definitions = made["$defs"]
    source = _source(definitions)
    table = definitions["table"]["properties"]
    table["source"] = {
        "description": table["source"]["description"],
        "anyOf": [source, {"type": "array", "items": source}],
    }
    return {
        "$schema": DIALECT,
        **made,
        "title": "Descriptor of a collection",
        # an include may say the rest, so nothing but the shape is required here
        "required": [],
        "$defs": dict(sorted(definitions.items())),
    }


def _source(definitions: dict[str, Any]) -> dict[str, Any]:
    """Build a definition per kind; ``kind`` may be left out where the files' names tell it."""
    enrich = Enrich.model_json_schema(ref_template="#/$defs/enrich/$defs/{model}")
    enrich["properties"] = {name: _relaxed(item) for name, item in enrich["properties"].items()}
    enrich["description"] = "documents that belong to the rows, one each: FITS headers, labels, records"
    definitions["enrich"] = enrich
    choices: list[dict[str, Any]] = [{"type": "string", "description": "a file or pattern whose name tells the kind"}]
    for kind in plugins.names("sources"):
        try:
            module = plugins.load("sources", kind)
        except UserError:  # a kind whose extra is not installed
            continue
        options = module.Options.model_json_schema(ref_template=f"#/$defs/source_{kind}/$defs/{{model}}")
        options["properties"] = {name: _relaxed(item) for name, item in options.get("properties", {}).items()}
        options["properties"] = {
            "kind": {"const": kind, "description": f"a source of kind {kind}"},
            **options["properties"],
        }
        if "FILES" not in vars(module):
            options["required"] = ["kind", *options.get("required", [])]
        if kind != "live":
            options["properties"]["enrich"] = {"$ref": "#/$defs/enrich"}
        definitions[f"source_{kind}"] = options
        choices.append({"$ref": f"#/$defs/source_{kind}"})
    return {"anyOf": choices}


def _relaxed(said: dict[str, Any]) -> dict[str, Any]:
    """Relax a JSON Schema to what is accepted: one value for a list, one list for all columns, a number where text is wanted."""
    if "anyOf" in said:
        return {**said, "anyOf": [_relaxed(item) for item in said["anyOf"]]}
    about: dict[str, Any] = {key: said[key] for key in ("description", "default", "title") if key in said}
    kind = said.get("type")
    if kind == "array":
        one = _relaxed(said.get("items", {}))
        return {**about, "anyOf": [one, {"type": "array", "items": one}]}
    if kind == "object" and isinstance(said.get("additionalProperties"), dict):
        one = _relaxed(said["additionalProperties"])
        return {**about, "anyOf": [one, {"type": "object", "additionalProperties": one}]}
    if kind == "string" and not {"enum", "const", "pattern"} & said.keys():
        return {**said, "type": ["string", "number"]}
    return said
