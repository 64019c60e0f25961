"""Read TAP_SCHEMA of a service: several of its tables as one collection, with the keys between them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.table_descriptions import (
    DescribedForeignKey,
    DescribedTable,
    TableDescriptionRequest,
    TableDescriptionSignature,
    TableSetDescription,
    name_matches_pattern,
)
from hven.model import plugins
from hven.model.errors import HvenError, SourceError, UsageError
from hven.model.table import Column
from hven.model.types import ColumnType, parse_type
from hven.plugins.drafts.table_descriptions import MAX_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# the pattern of the source kind `tap`
DESCRIPTION = TableDescriptionSignature(
    address_pattern=r"https?://[^?#]*/tap(?:/(?:sync|async|tables|capabilities))?/?"
)
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
MINOR_COLUMN_RANK, DEFAULT_RANK = 15, 10  # ranks of columns that TAP does not call principal, and of others
SERVICE_SCHEMAS = {"tap_schema", "tap_upload"}
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
}
VOTABLE_TYPES = {
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "bool",
    "unsignedbyte": "uint8",
}


@dataclass(frozen=True, slots=True)
class _ForeignKeyColumn:
    """One column of a foreign key, and the column that it refers to."""

    target_table: str
    column: str
    target_column: str


KeysByTable = dict[str, dict[str, list[_ForeignKeyColumn]]]  # table -> name of a foreign key -> its columns


def read_table_set_description(request: TableDescriptionRequest) -> TableSetDescription:
    """Ask for the tables whose names match, with their columns and keys.

    Raises
    ------
    SourceError
        It is no TAP service, or does not respond.
    UsageError
        No name matches, or too many do.
    """
    url = re.sub(r"/(?:sync|async|tables|capabilities)?/?$", "", request.address)
    table_rows = _find_matching_tables(request, url)
    try:
        column_rows = list(_query_tap_service(request, url, COLUMNS_QUERY.format(size="arraysize, xtype")))
    except SourceError:  # TAP 1.0
        tap_1_0_query = COLUMNS_QUERY.format(size='"size" AS arraysize, utype AS xtype')
        column_rows = list(_query_tap_service(request, url, tap_1_0_query))
    columns_by_table: dict[str, list[Mapping[str, Any]]] = {}
    for row in column_rows:
        columns_by_table.setdefault(_unquote_name(row["table_name"]), []).append(row)
    keys_by_table = _read_foreign_keys(request, url)
    tables = []
    for row in table_rows:
        column_rows = columns_by_table.get(_unquote_name(row["table_name"]), [])
        if column_rows:
            tables.append(_build_described_table(row, url, column_rows, keys_by_table))
    if not tables:
        raise SourceError(
            f"{url} does not list the columns of its tables",
            remedy="choose one table with --table; then Hven reads its columns from a query result",
        )
    return TableSetDescription(kind="TAP service", tables=tables, collection_keys={"reference_url": url})


def _find_matching_tables(request: TableDescriptionRequest, url: str) -> list[Mapping[str, Any]]:
    """Find the tables whose names match; tables of the service itself do not."""
    table_rows = []
    for row in _query_tap_service(request, url, TABLES_QUERY):
        name = _unquote_name(row["table_name"])
        schema = name.lower().partition(".")[0]
        if name_matches_pattern(request.table or "*", name) and schema not in SERVICE_SCHEMAS:
            table_rows.append(row)
    if not table_rows:
        raise UsageError(
            f"there is no table {request.table} at {url}",
            remedy="leave out --table to list the service's tables",
        )
    if len(table_rows) > MAX_TABLES:
        raise UsageError(
            f"{len(table_rows):,} tables at {url} have names that match {request.table}",
            remedy=f"choose fewer tables; at most {MAX_TABLES} can be added to a collection at once",
        )
    return table_rows


def _read_foreign_keys(request: TableDescriptionRequest, url: str) -> KeysByTable:
    """Read the foreign keys; not every service has them."""
    keys_by_table: KeysByTable = {}
    try:
        for row in _query_tap_service(request, url, KEYS_QUERY):
            table_keys = keys_by_table.setdefault(_unquote_name(row["from_table"]), {})
            key_column = _ForeignKeyColumn(
                target_table=_unquote_name(row["target_table"]),
                column=_unquote_name(row["from_column"]),
                target_column=_unquote_name(row["target_column"]),
            )
            table_keys.setdefault(str(row["key_id"]).strip(), []).append(key_column)
    except HvenError:
        return {}
    return keys_by_table


def _query_tap_service(request: TableDescriptionRequest, url: str, adql: str) -> Iterator[Mapping[str, Any]]:
    tap: Any = plugins.load_plugin("sources", "tap")
    source = tap.open(tap.Options(url=url, adql=adql), request.context)
    for batch in source.read_batches():
        for row in batch.to_pylist():
            yield {str(name).lower(): value for name, value in row.items()}


def _unquote_name(text: object) -> str:
    """Return a name without the quotes that a query needs."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".]+)', str(text or "").strip())
    return ".".join((quoted.replace('""', '"') or plain) for quoted, plain in parts)


def _build_described_table(
    row: Mapping[str, Any], url: str, column_rows: list[Mapping[str, Any]], keys_by_table: KeysByTable
) -> DescribedTable:
    name = _unquote_name(row["table_name"])
    schema = name.partition(".")[0]
    columns = [_build_column(column_row) for column_row in column_rows]
    relations: dict[str, DescribedForeignKey] = {}
    for key_id, key_columns in keys_by_table.get(name, {}).items():
        target = key_columns[0].target_table
        if target.partition(".")[0] == schema:
            target = _remove_schema_name(target)
        key_name = key_id
        if key_id[:1].isdigit():
            key_name = f"key_{key_id}"
        relations[key_name] = DescribedForeignKey(
            target=target,
            columns=[key_column.column for key_column in key_columns],
            target_columns=[key_column.target_column for key_column in key_columns],
        )
    source = {"kind": "tap", "url": url, "table": str(row["table_name"]).strip()}
    notes = []
    main_id_column = _find_main_id_column(columns)
    if main_id_column is not None:
        source["key"] = main_id_column
    else:
        notes.append("Hven found no key with which to read the table page by page; write `key` if the table is large")
    return DescribedTable(
        name=_remove_schema_name(name),
        source=source,
        columns=columns,
        description=(row["description"] or "").strip() or None,
        primary=_find_referenced_key_columns(name, keys_by_table),
        keys=relations,
        notes=notes,
    )


def _find_main_id_column(columns: list[Column]) -> str | None:
    """Find an indexed column of identifiers, by which rows can be asked for page by page."""
    for column in columns:
        if column.indexed and (column.ucd or "").lower().startswith(MAIN_ID_UCD):
            return column.name
    return None


def _find_referenced_key_columns(name: str, keys_by_table: KeysByTable) -> tuple[str, ...]:
    """Return the columns that foreign keys refer to, which name a row; none if they differ."""
    referenced_keys = set()
    for table_keys in keys_by_table.values():
        for key_columns in table_keys.values():
            if key_columns[0].target_table == name:
                referenced_keys.add(tuple(key_column.target_column for key_column in key_columns))
    if len(referenced_keys) == 1:
        return referenced_keys.pop()
    return ()


def _remove_schema_name(name: str) -> str:
    return name.partition(".")[2] or name


def _build_column(row: Mapping[str, Any]) -> Column:
    name = str(row["column_name"]).strip()
    if '"' in name:
        name = _unquote_name(name)
    texts: dict[str, str | None] = {}
    for key in ("description", "unit", "ucd", "utype"):
        if isinstance(row[key], str):
            texts[key] = row[key].strip() or None
    type_texts = [str(row[key] or "").strip() for key in ("datatype", "arraysize", "xtype")]
    is_minor = str(row["principal"]) in {"0", "False"}
    return Column(
        name=name,
        type=_parse_tap_type(*type_texts),
        indexed=str(row["indexed"]) in {"1", "True"},
        std=str(row["std"]) in {"1", "True"},
        rank=MINOR_COLUMN_RANK if is_minor else DEFAULT_RANK,
        **texts,  # type: ignore[arg-type]
    )


def _parse_tap_type(type_name: str, arraysize: str, xtype: str) -> ColumnType:
    """Parse a type of TAP 1.1, which is one of VOTable, or of TAP 1.0 (``adql:VARCHAR``)."""
    if xtype:
        with suppress(ValueError):
            return parse_type(xtype)
    tap_1_0_name = type_name.upper().removeprefix("ADQL:").partition("(")[0]
    if tap_1_0_name in TAP_1_0_TYPES:
        return parse_type(TAP_1_0_TYPES[tap_1_0_name])
    type_word = VOTABLE_TYPES.get(type_name.lower(), "string")  # char and unicodeChar, too
    if type_word == "string" or arraysize in {"", "1"}:
        return parse_type(type_word)
    length = arraysize if arraysize.isdigit() else "*"
    return parse_type(f"{type_word}[{length}]")
