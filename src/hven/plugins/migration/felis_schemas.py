"""Draft collections from Felis's YAML, in which Rubin describes its catalogues: ``hven new NAME --from dp1.yaml``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.table_descriptions import TableDescriptionRequest
from hven.plugins.migration.document_parts import (
    add_table,
    build_map,
    build_place,
    choose_name,
    create_builders,
    find_type,
    read_head,
    set_primary_key,
    set_value,
)
from hven.plugins.schema_documents.felis import read_felis_schema
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder
    from hven.plugins.schema_documents.felis import FelisColumn, FelisConstraint, FelisObject, FelisSchema, FelisTable

_FELIS_KEYS = re.compile(rb"^\s*-?\s*[\"']?(@id|datatype|tap:table_index|ivoa:ucd|columnRefs)[\"']?\s*:", re.MULTILINE)
_TABLES_KEY = re.compile(rb"^tables\s*:", re.MULTILINE)
_HVEN_KEY = re.compile(rb"^collection\s*:", re.MULTILINE)
# keys that say nothing to Hven
IGNORED_KEYS = {"version", "mysql:engine", "mysql:charset"}
IGNORED_COLUMN_KEYS = {
    *("precision", "value", "autoincrement", "tap:column_index"),
    *("votable:datatype", "votable:xtype", "mysql:datatype", "postgresql:datatype"),
}
PRINCIPAL_RANK = 5


def is_collection_document(path: Path) -> bool:
    """Return whether a file is a schema of Felis.

    Parameters
    ----------
    path
        Path of the file.
    """
    head = read_head(path) if path.suffix in {".yaml", ".yml"} else b""
    return bool(_TABLES_KEY.search(head) and _FELIS_KEYS.search(head) and not _HVEN_KEY.search(head))


def draft_collections(request: DocumentDraftRequest) -> list[CollectionDraft]:
    """Draft the collection that a schema describes.

    Parameters
    ----------
    request
        The document, and the name of the collection.

    Returns
    -------
    drafts
        The collection.

    Raises
    ------
    SourceError
        The file cannot be read, or is no schema as Felis defines it.
    ConflictError
        A file exists that would be written.
    """
    schema = read_felis_schema(TableDescriptionRequest(name=request.name, path=request.path, context=SourceContext()))
    drafts: list[CollectionDraft] = []
    for builder, _ in create_builders(request, {schema.name: schema}, "Felis", "schema").values():
        set_value(builder.draft, "description", schema.description or "")
        _note_unknown_keys(builder, schema, IGNORED_KEYS, "the schema")
        secret = f"${builder.name.upper()}_DB"
        builder.report.add_decision(None, f"Felis names no database: put its address into the secret {secret[1:]}")
        for table in schema.tables:
            _convert_table(builder, schema, table, secret)
        drafts.append(builder.build_draft([request.path.name]))
    return drafts


def _note_unknown_keys(builder: DraftBuilder, item: FelisObject, ignored_keys: Collection[str], what: str) -> None:
    for key in (item.model_extra or {}).keys() - ignored_keys:
        builder.report.add_omission(build_place(item.line), f"{key} of {what} has no counterpart")


def _convert_table(builder: DraftBuilder, schema: FelisSchema, table: FelisTable, secret: str) -> None:
    _note_unknown_keys(builder, table, IGNORED_KEYS, "tables")
    columns = {choose_name(column.name, "column"): _convert_column(builder, column) for column in table.columns}
    keys: dict[str, Any] = {}
    set_value(keys, "description", table.description or "")
    if table.table_index is not None:
        keys["index"] = table.table_index
    set_primary_key(keys, _find_columns(schema, table.primary))
    for index in table.indexes:
        indexed = [name for name in _find_columns(schema, index.columns) if name in columns]
        if len(indexed) == 1:
            columns[indexed[0]]["indexed"] = True
        elif indexed:
            keys.setdefault("indexes", []).append(indexed)
        else:
            builder.report.add_omission(build_place(index.line), "an index of expressions")
    keys["source"] = {"kind": "sql", "url": secret, "table": f"{schema.name}.{table.name}"}
    keys["columns"] = columns
    keys |= build_map(column.name for column in table.columns)
    for constraint in table.constraints:
        _convert_constraint(builder, schema, constraint, keys)
    for group in table.groups:
        group_columns = {"columns": _find_columns(schema, group.columns)}
        keys.setdefault("groups", {})[choose_name(group.name, "group")] = group_columns
    add_table(builder, table.name, keys, build_place(table.line), f"the table {table.name}")


def _find_columns(schema: FelisSchema, references: Sequence[str]) -> list[str]:
    return [choose_name(schema.resolve_column(reference)[1], "column") for reference in references]


def _convert_constraint(
    builder: DraftBuilder, schema: FelisSchema, constraint: FelisConstraint, keys: dict[str, Any]
) -> None:
    columns = _find_columns(schema, constraint.columns)
    if constraint.kind == "Unique" and len(columns) == 1 and columns[0] in keys["columns"]:
        keys["columns"][columns[0]]["unique"] = True
    elif constraint.kind == "ForeignKey" and constraint.referenced_columns:
        keys.setdefault("keys", {})[choose_name(constraint.name, "key")] = {
            "columns": columns,
            "target": choose_name(schema.resolve_column(constraint.referenced_columns[0])[0], "main"),
            "target_columns": _find_columns(schema, constraint.referenced_columns),
        }
    else:
        stated = constraint.expression or ", ".join(columns)
        builder.report.add_decision(
            build_place(constraint.line), f"a constraint {constraint.kind} ({stated}): write it as `rules`"
        )


def _convert_column(builder: DraftBuilder, column: FelisColumn) -> dict[str, Any]:
    _note_unknown_keys(builder, column, IGNORED_COLUMN_KEYS, "columns")
    place = build_place(column.line)
    attributes: dict[str, Any] = {"type": find_type(column.datatype)}
    if attributes["type"] == "string" and column.datatype not in {"char", "string", "unicode", "text"}:
        builder.report.add_decision(place, f"the type {column.datatype!r} has no counterpart: string")
    size = str(column.arraysize or "")
    if re.fullmatch(r"\d+|\*", size) and size != "1" and attributes["type"] not in {"string", "timestamp"}:
        attributes["type"] += f"[{size}]"
    set_value(attributes, "unit", column.unit or column.fits_unit or "")
    set_value(attributes, "ucd", column.ucd or "")
    set_value(attributes, "utype", column.utype or "")
    set_value(attributes, "description", column.description or "")
    if column.principal == 1:
        attributes["rank"] = PRINCIPAL_RANK
    if column.nullable is False:
        attributes["required"] = True
    if "value" in (column.model_extra or {}):
        builder.report.add_omission(place, "default values (`value`): the database has filled them")
    return attributes
