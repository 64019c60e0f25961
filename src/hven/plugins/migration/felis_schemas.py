"""Draft collections from Felis's YAML, in which Rubin describes its catalogues: ``hven new NAME --from dp1.yaml``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from hven.model.errors import SourceError, TextPlace
from hven.plugins.migration.document_parts import (
    build_place,
    choose_name,
    count_columns,
    create_builders,
    find_type,
    read_head,
    set_value,
)
from hven.plugins.migration.resource_xml import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder

LINE_KEY = "\0line"  # no key of YAML text
MAX_DEPTH = 40
MAX_NODES = 1_000_000
_FELIS_KEYS = re.compile(rb"^\s*-?\s*[\"']?(@id|datatype|tap:table_index|ivoa:ucd|columnRefs)[\"']?\s*:", re.MULTILINE)
_TABLES_KEY = re.compile(rb"^tables\s*:", re.MULTILINE)
_HVEN_KEY = re.compile(rb"^collection\s*:", re.MULTILINE)
# keys that say nothing to Hven
IGNORED_KEYS = {
    LINE_KEY,
    "@id",
    "name",
    "description",
    "columns",
    "columnGroups",
    "columnRefs",
    "constraints",
    "indexes",
    "primaryKey",
    "tables",
    "version",
    "resources",
    "tap:table_index",
    "mysql:engine",
    "mysql:charset",
}
COLUMN_KEYS = {
    LINE_KEY,
    *("@id", "name", "description", "datatype", "length", "precision", "nullable", "value", "autoincrement"),
    *("ivoa:ucd", "ivoa:unit", "fits:tunit", "tap:column_index", "tap:principal", "tap:std", "votable:datatype"),
    *("votable:arraysize", "votable:xtype", "votable:utype", "mysql:datatype", "postgresql:datatype"),
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
        The file cannot be read, or is no YAML.
    ConflictError
        A file exists that would be written.
    """
    schema = read_yaml(request.path)
    drafts: list[CollectionDraft] = []
    for builder, _ in create_builders(request, {str(schema.get("name", "schema")): schema}, "Felis", "schema").values():
        set_value(builder.draft, "description", str(schema.get("description") or ""))
        _note_unknown_keys(builder, schema, IGNORED_KEYS, "the schema")
        secret = f"${builder.name.upper()}_DB"
        builder.report.add_decision(None, f"Felis names no database: put its address into the secret {secret[1:]}")
        for table in _iterate_mappings(schema.get("tables")):
            _convert_table(builder, table, f"{schema.get('name')}", secret)
        drafts.append(builder.build_draft([request.path.name]))
    return drafts


class _LineLoader(yaml.SafeLoader):
    """Reads plain YAML: no aliases, and in each mapping its line."""

    node_count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.node_count += 1
        if self.check_event(yaml.AliasEvent) or self.node_count > MAX_NODES:
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem="aliases, or more than a million values", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        mapping[LINE_KEY] = node.start_mark.line + 1
        return mapping


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of YAML; each mapping has its line as `LINE_KEY`.

    Raises
    ------
    SourceError
        The file is no YAML, has aliases, or is no mapping.
    """
    text = read_document(path, path.name).decode("utf-8", errors="replace")
    try:
        value = yaml.load(text, _LineLoader)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, RecursionError) as error:
        place, problem = TextPlace(file=path.name, line=1, column=1), "too many levels"
        if isinstance(error, yaml.MarkedYAMLError):
            problem = error.problem or "not YAML"
            if error.problem_mark is not None:
                mark = error.problem_mark
                place = TextPlace(file=path.name, line=mark.line + 1, column=mark.column + 1)
        raise SourceError(f"not plain YAML: {problem}", place=place, remedy="correct the file") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path.name} is not a schema: it is a list or a text", remedy="check the file")
    return value


def _iterate_mappings(value: Any) -> Iterator[dict[str, Any]]:
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            yield item


def _note_unknown_keys(builder: DraftBuilder, mapping: Mapping[str, Any], known_keys: set[str], what: str) -> None:
    place = build_place(int(mapping.get(LINE_KEY, 0)))
    for key in mapping:
        if key not in known_keys:
            builder.report.add_omission(place, f"{key} of {what} has no counterpart")


def _convert_table(builder: DraftBuilder, table: dict[str, Any], schema: str, secret: str) -> None:
    place = build_place(int(table[LINE_KEY]))
    name = str(table.get("name", "main"))
    _note_unknown_keys(builder, table, IGNORED_KEYS, "tables")
    keys: dict[str, Any] = {}
    set_value(keys, "description", str(table.get("description") or ""))
    if isinstance(table.get("tap:table_index"), int):
        keys["index"] = table["tap:table_index"]
    names_by_id: dict[str, str] = {}
    columns: dict[str, dict[str, Any]] = {}
    for column in _iterate_mappings(table.get("columns")):
        column_name = choose_name(str(column.get("name", "")), "column")
        names_by_id[str(column.get("@id", "")).removeprefix("#")] = column_name
        columns[column_name] = _convert_column(builder, column)
    if table.get("columnRefs"):
        builder.report.add_decision(place, f"columnRefs of {name}: copy these columns from the other schema")

    def find_columns(references: Any) -> list[str]:
        listed = references if isinstance(references, list) else [references]
        ids = [str(item).removeprefix("#") for item in listed if item]
        return [names_by_id.get(item, item.rpartition(".")[2]) for item in ids]

    primary = [item for item in find_columns(table.get("primaryKey")) if item in columns]
    if primary:
        keys["primary"] = primary[0] if len(primary) == 1 else primary
    for index in _iterate_mappings(table.get("indexes")):
        indexed = [item for item in find_columns(index.get("columns")) if item in columns]
        if len(indexed) == 1:
            columns[indexed[0]]["indexed"] = True
        elif indexed:
            keys.setdefault("indexes", []).append(indexed)
        else:
            builder.report.add_omission(build_place(int(index[LINE_KEY])), "an index of expressions")
    keys["source"] = {"kind": "sql", "url": secret, "table": f"{schema}.{name}"}
    keys["columns"] = columns
    for constraint in _iterate_mappings(table.get("constraints")):
        _convert_constraint(builder, constraint, keys, find_columns)
    for group in _iterate_mappings(table.get("columnGroups")):
        group_name = choose_name(str(group.get("name", "group")), "group")
        keys.setdefault("groups", {})[group_name] = {"columns": find_columns(group.get("columns"))}
    builder.tables[choose_name(name, "main")] = keys
    builder.report.add_result(place, f"the table {name} with {count_columns(columns)}")


def _convert_constraint(
    builder: DraftBuilder, constraint: dict[str, Any], keys: dict[str, Any], find_columns: Any
) -> None:
    place = build_place(int(constraint[LINE_KEY]))
    kind = constraint.get("@type")
    columns = find_columns(constraint.get("columns"))
    if kind == "Unique" and len(columns) == 1 and columns[0] in keys["columns"]:
        keys["columns"][columns[0]]["unique"] = True
    elif kind == "ForeignKey":
        references = [str(item).removeprefix("#") for item in constraint.get("referencedColumns") or ()]
        target = references[0].partition(".")[0] if references else ""
        name = choose_name(str(constraint.get("name", "key")), "key")
        keys.setdefault("keys", {})[name] = {
            "columns": columns,
            "target": choose_name(target, "main"),
            "target_columns": [item.rpartition(".")[2] for item in references],
        }
    else:
        stated = constraint.get("expression") or ", ".join(columns)
        builder.report.add_decision(place, f"a constraint {kind} ({stated}): write it as `rules`")


def _convert_column(builder: DraftBuilder, column: dict[str, Any]) -> dict[str, Any]:
    _note_unknown_keys(builder, column, COLUMN_KEYS, "columns")
    place = build_place(int(column[LINE_KEY]))
    word = str(column.get("datatype", ""))
    size = str(column.get("votable:arraysize", ""))
    attributes: dict[str, Any] = {"type": find_type(word)}
    if attributes["type"] == "string" and word not in {"char", "string", "unicode", "text", ""}:
        builder.report.add_decision(place, f"the type {word!r} has no counterpart: string")
    if re.fullmatch(r"\d+|\*", size) and size != "1" and attributes["type"] not in {"string", "timestamp"}:
        attributes["type"] += f"[{size}]"
    for key, names in (("unit", ("ivoa:unit", "fits:tunit")), ("ucd", ("ivoa:ucd",)), ("utype", ("votable:utype",))):
        set_value(attributes, key, next((str(column[name]) for name in names if column.get(name)), ""))
    set_value(attributes, "description", str(column.get("description") or ""))
    if column.get("tap:principal") == 1:
        attributes["rank"] = PRINCIPAL_RANK
    if column.get("nullable") is False:
        attributes["required"] = True
    if "value" in column:
        builder.report.add_omission(place, "default values (`value`): the database has filled them")
    return attributes
