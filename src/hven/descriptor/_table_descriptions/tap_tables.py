"""TAP_SCHEMA of a service: several of its tables as one collection, with the keys between them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hven.descriptor._table_descriptions import (
    MAX_TABLES,
    DescribedTable,
    DescriptionKind,
    DescriptionRequest,
    TableRelation,
    TableSetDescription,
    name_matches_pattern,
)
from hven.model import plugins
from hven.model.errors import HvenError, SourceError, UsageError
from hven.model.table import Column
from hven.model.types import Type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DESCRIPTION = DescriptionKind(
    address_pattern=r"https?://[^?#]*/tap(?:/(?:sync|async|tables|capabilities))?/?"
)  # as the source's own
TABLES_QUERY = "SELECT table_name, description, utype FROM TAP_SCHEMA.tables"
COLUMNS_QUERY = (
    "SELECT table_name, column_name, description, unit, ucd, utype, datatype, {size}, principal, indexed, std FROM "
    "TAP_SCHEMA.columns"
)
KEYS_QUERY = (
    "SELECT k.key_id, k.from_table, k.target_table, c.from_column, c.target_column FROM TAP_SCHEMA.keys AS k JOIN "
    "TAP_SCHEMA.key_columns AS c ON k.key_id = c.key_id"
)
MAIN_ID_UCD = "meta.id;meta.main"
TAP_1_0_TYPES = {
    "BOOLEAN": "bool",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "REAL": "float32",
    "DOUBLE": "float64",
    "TIMESTAMP": "timestamp",
    "CHAR": "string",
    "VARCHAR": "string",
    "CLOB": "string",
    "POINT": "point",
    "REGION": "region",
}  # TAP 1.0


def read(request: DescriptionRequest) -> TableSetDescription:
    """Ask for the tables whose names match, with their columns and keys.

    Raises
    ------
    SourceError
        It is no TAP service, or does not answer.
    UsageError
        No name matches, or too many.
    """
    url = re.sub(r"/(?:sync|async|tables|capabilities)?/?$", "", request.address)
    matching_tables = [
        row
        for row in _query_service(request, url, TABLES_QUERY)
        if name_matches_pattern(request.table or "*", _unquote_name(row["table_name"]))
    ]
    matching_tables = [
        row
        for row in matching_tables
        if _unquote_name(row["table_name"]).lower().partition(".")[0] not in {"tap_schema", "tap_upload"}
    ]
    if not matching_tables or len(matching_tables) > MAX_TABLES:
        raise UsageError(
            f"{len(matching_tables):,} tables of {url} are called {request.table}"
            if matching_tables
            else f"no table of {url} is called {request.table}",
            remedy=f"a collection takes {MAX_TABLES} at once"
            if matching_tables
            else "its tables are listed where --table is left out",
        )
    try:
        rows = list(_query_service(request, url, COLUMNS_QUERY.format(size="arraysize, xtype")))
    except SourceError:  # TAP 1.0
        rows = list(_query_service(request, url, COLUMNS_QUERY.format(size='"size" AS arraysize, utype AS xtype')))
    columns: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        columns.setdefault(_unquote_name(row["table_name"]), []).append(row)
    keys: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    try:
        for row in _query_service(request, url, KEYS_QUERY):
            key_column_pairs = keys.setdefault(_unquote_name(row["from_table"]), {}).setdefault(
                str(row["key_id"]).strip(), []
            )
            key_column_pairs.append(
                (
                    _unquote_name(row["target_table"]),
                    _unquote_name(row["from_column"]),
                    _unquote_name(row["target_column"]),
                )
            )
    except HvenError:  # not every service has them
        keys = {}
    tables = [
        _build_described_table(row, url, columns.get(_unquote_name(row["table_name"]), []), keys)
        for row in matching_tables
    ]
    tables = [table for table in tables if table.columns]
    if not tables:
        raise SourceError(
            f"{url} does not say which columns its tables have", remedy="choose one table, whose answer tells"
        )
    return TableSetDescription(kind="TAP service", tables=tables, collection_keys={"reference_url": url})


def _query_service(request: DescriptionRequest, url: str, adql: str) -> Iterator[Mapping[str, Any]]:
    tap: Any = plugins.load_plugin("sources", "tap")
    source = tap.open(tap.Options(url=url, adql=adql), request.context)
    for batch in source.read_batches():
        for row in batch.to_pylist():
            yield {str(name).lower(): value for name, value in row.items()}


def _unquote_name(text: object) -> str:
    """Write a name without the quotes that a query needs."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".]+)', str(text or "").strip())
    return ".".join((quoted.replace('""', '"') or plain) for quoted, plain in parts)


def _build_described_table(
    row: Mapping[str, Any], url: str, columns: list[Mapping[str, Any]], keys: Mapping[str, Any]
) -> DescribedTable:
    name = _unquote_name(row["table_name"])
    table_columns = [_build_column(column_row) for column_row in columns]
    main_id_columns = [
        column.name for column in table_columns if (column.ucd or "").lower().startswith(MAIN_ID_UCD) and column.indexed
    ]
    relations: dict[str, TableRelation] = {}
    for key, pairs in keys.get(name, {}).items():
        target = pairs[0][0]
        own_columns = [column_row[1] for column_row in pairs]
        target_columns = [column_row[2] for column_row in pairs]
        relations[f"key_{key}" if key[:1].isdigit() else key] = TableRelation(
            target=_remove_schema_name(target) if target.partition(".")[0] == name.partition(".")[0] else target,
            columns=own_columns,
            target_columns=target_columns,
        )
    referenced_keys = {
        tuple(column_row[2] for column_row in pairs)
        for table_keys in keys.values()
        for pairs in table_keys.values()
        if pairs[0][0] == name
    }
    return DescribedTable(
        name=_remove_schema_name(name),
        source={
            "kind": "tap",
            "url": url,
            "table": str(row["table_name"]).strip(),
            **({"key": main_id_columns[0]} if main_id_columns else {}),
        },
        columns=table_columns,
        description=(row["description"] or "").strip() or None,
        primary=referenced_keys.pop() if len(referenced_keys) == 1 else (),  # what others lead to names a row
        keys=relations,
        notes=[]
        if main_id_columns
        else ["no key is known by which its rows could be asked for page by page: say `key` if it is large"],
    )


def _remove_schema_name(name: str) -> str:
    return name.partition(".")[2] or name


def _build_column(row: Mapping[str, Any]) -> Column:
    texts = {
        word: text.strip() or None
        for word in ("description", "unit", "ucd", "utype")
        if isinstance(text := row[word], str)
    }
    return Column(
        name=_unquote_name(row["column_name"]) if '"' in str(row["column_name"]) else str(row["column_name"]).strip(),
        type=_parse_tap_type(*(str(row[word] or "").strip() for word in ("datatype", "arraysize", "xtype"))),
        indexed=str(row["indexed"]) in {"1", "True"},
        std=str(row["std"]) in {"1", "True"},
        rank=15 if str(row["principal"]) in {"0", "False"} else 10,
        **texts,  # type: ignore[arg-type]
    )


def _parse_tap_type(type_name: str, arraysize: str, xtype: str) -> Type:
    """Read a type as TAP 1.1 has it (VOTable's), or 1.0 (``adql:VARCHAR``)."""
    with suppress(ValueError):
        if xtype:
            return parse_type(xtype)
    tap_1_0_type = TAP_1_0_TYPES.get(type_name.upper().removeprefix("ADQL:").partition("(")[0])
    if tap_1_0_type is not None:
        return parse_type(tap_1_0_type)
    datatype = type_name.lower()
    if datatype in {"char", "unicodechar"}:
        return parse_type("string")
    names = {
        "short": "int16",
        "int": "int32",
        "long": "int64",
        "float": "float32",
        "double": "float64",
        "boolean": "bool",
        "unsignedbyte": "uint8",
    }
    type_word = names.get(datatype, "string")
    is_array = type_word != "string" and arraysize not in {"", "1"}
    return parse_type(f"{type_word}[{arraysize if arraysize.isdigit() else '*'}]" if is_array else type_word)
