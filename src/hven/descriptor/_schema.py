"""The JSON Schema of descriptors, for editors: derived from the definitions of the keys."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from hven.descriptor._keys import CollectionSection
from hven.model import plugins
from hven.model.errors import UserError
from hven.sources.source_keys import load_source_descriptor_keys

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _DescriptorSchemaGenerator(GenerateJsonSchema):
    """Keys without titles made of their names, and without defaults: what is not there says nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def build_descriptor_json_schema() -> dict[str, Any]:
    """Generate the schema (draft 2020-12); options of sources come from the kinds that are installed.

    Returns
    -------
    schema
        JSON.
    """
    collection_schema = CollectionSection.record.pydantic_schema_type.model_json_schema(
        schema_generator=_DescriptorSchemaGenerator
    )
    definitions = collection_schema["$defs"]
    source = _add_source_kind_definitions(definitions)
    table = definitions["table"]["properties"]
    table["source"] = {
        "description": table["source"]["description"],
        "anyOf": [source, {"type": "array", "items": source}],
    }
    return {
        "$schema": JSON_SCHEMA_DIALECT,
        **collection_schema,
        "title": "Descriptor of a collection",
        # an include may say the rest, so nothing but the shape is required here
        "required": [],
        "$defs": dict(sorted(definitions.items())),
    }


def _add_source_kind_definitions(definitions: dict[str, Any]) -> dict[str, Any]:
    """Build a definition per kind; ``kind`` may be left out where the files' names tell it."""
    added_keys: dict[str, Any] = {}
    for name, key in load_source_descriptor_keys().items():
        addition = key.options_class.model_json_schema(ref_template=f"#/$defs/{name}/$defs/{{model}}")
        _relax_properties(addition)
        addition["description"] = key.doc
        definitions[name] = addition
        added_keys[name] = {"$ref": f"#/$defs/{name}"}
    choices: list[dict[str, Any]] = [{"type": "string", "description": "a file or pattern whose name shows the kind"}]
    option_names = set(added_keys)
    for kind in plugins.list_plugins("sources"):
        try:
            module = plugins.load_plugin("sources", kind)
        except UserError:  # a kind whose extra is not installed
            continue
        options = module.Options.model_json_schema(ref_template=f"#/$defs/source_{kind}/$defs/{{model}}")
        _relax_properties(options)
        option_names |= options["properties"].keys()
        options["properties"] = {
            "kind": {"const": kind, "description": f"a source of kind {kind}"},
            **options["properties"],
        }
        if "FILES" not in vars(module):
            options["required"] = ["kind", *options.get("required", [])]
        if kind != "live":
            options["properties"] |= added_keys
        definitions[f"source_{kind}"] = options
        choices.append({"$ref": f"#/$defs/source_{kind}"})
    definitions["source_without_kind"] = {
        "description": "options of a source whose kind is in the standard of its table, or in an included file",
        "type": "object",
        "propertyNames": {"enum": sorted(option_names)},
        "properties": added_keys,
    }
    choices.append({"$ref": "#/$defs/source_without_kind"})
    return {"anyOf": choices}


def _relax_properties(json_schema: dict[str, Any]) -> None:
    """Relax the properties of a model, and those of the models in its definitions."""
    for model in (json_schema, *json_schema.get("$defs", {}).values()):
        model["properties"] = {name: _relax_schema(item) for name, item in model.get("properties", {}).items()}


def _relax_schema(json_schema: dict[str, Any]) -> dict[str, Any]:
    """Relax a JSON Schema to what is accepted.

    One value for a list, one list for all columns, a number where text is wanted.
    """
    if "anyOf" in json_schema:
        return {**json_schema, "anyOf": [_relax_schema(item) for item in json_schema["anyOf"]]}
    annotations: dict[str, Any] = {
        key: json_schema[key] for key in ("description", "default", "title") if key in json_schema
    }
    json_type = json_schema.get("type")
    if json_type == "array":
        item_schema = _relax_schema(json_schema.get("items", {}))
        return {**annotations, "anyOf": [item_schema, {"type": "array", "items": item_schema}]}
    if json_type == "object" and isinstance(json_schema.get("additionalProperties"), dict):
        item_schema = _relax_schema(json_schema["additionalProperties"])
        return {**annotations, "anyOf": [item_schema, {"type": "object", "additionalProperties": item_schema}]}
    if json_type == "string" and not {"enum", "const", "pattern"} & json_schema.keys():
        return {**json_schema, "type": ["string", "number"]}
    return json_schema
