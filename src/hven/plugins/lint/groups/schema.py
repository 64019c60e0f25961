"""Group schema: TAP_SCHEMA exists, has the right types, is complete, and refers only to what exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.tap_service import normalize_identifier
from hven.plugins.lint.votable import ARRAYSIZE_PATTERN, DATATYPE_CODES, INTEGER_RANGES

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import ExaminedTapService

SCHEMA_CHECKS = parse_lint_checks("""
schema.absent | error | TAP 1.1 sec. 4 | E_TST0 F_GONE
    a TAP_SCHEMA table cannot be read
    serve all five tables
schema.missing-column | error | TAP 1.1 sec. 4 | E_TSC0
    a TAP_SCHEMA column is missing
    add the column, with NULL where there is no value
schema.column-type | error | TAP 1.1 sec. 4 | E_TSCT
    a TAP_SCHEMA column's type differs from the standard
    use integers for indexes and flags, and strings for the rest
schema.null | error | TAP 1.1 sec. 4 | E_TSNL
    a required TAP_SCHEMA column contains NULL
    write a value
schema.flag | error | TAP 1.1 sec. 4 | E_CLOG E_CINT
    indexed, principal or std is neither 0 nor 1
    write 0 or 1
schema.table-type | error | TAP 1.1 sec. 4
    table_type is neither table nor view
    write table or view
schema.itself | warning | TAP 1.1 sec. 4 | E_TST0
    TAP_SCHEMA does not describe itself
    list its own tables and columns, with std = 1
schema.std | warning | TAP 1.1 sec. 4 | E_TSTD
    a TAP_SCHEMA column is not marked as std
    set std = 1
schema.orphan | warning | TAP 1.1 sec. 4 | W_TBUN W_CLUN W_FKUN W_FLUN E_FKNT E_FKLK E_FKIO
    a TAP_SCHEMA entry refers to something that is not listed
    list what the entry refers to, or remove the entry
schema.keys | warning | TAP 1.1 sec. 4 | E_TSLN
    TAP_SCHEMA does not list the foreign keys between its own tables
    list them in keys and key_columns
schema.no-columns | warning | TAP 1.1 sec. 4
    a table has no columns in TAP_SCHEMA
    list them
schema.duplicate | error | TAP 1.1 sec. 4
    a name is listed twice
    list it once; names that differ only in case count as the same name
schema.table-name | error | TAP 1.1 sec. 4; ADQL 2.1 sec. 2.1 | E_TNTN E_TRSV E_NAKT
    a table's name, as listed, cannot be used in a query
    quote names that are not regular identifiers, also in TAP_SCHEMA
schema.column-name | error | TAP 1.1 sec. 4; ADQL 2.1 sec. 2.1 | E_CNID E_CRSV
    a column's name, as listed, cannot be used in a query
    quote names that are reserved or not regular identifiers, also in TAP_SCHEMA
schema.datatype | error | TAP 1.1 sec. 4 | E_TSCT W_CTYP
    a datatype is not valid in VOTable
    use VOTable's names (TAP 1.0 services: the names of TAP 1.0)
schema.arraysize | error | TAP 1.1 sec. 4 | E_TSAZ
    an arraysize is not valid in VOTable
    write 12, 12* or *, or NULL for single values
schema.size | warning | TAP 1.1 sec. 4 | E_TSSZ
    the column "size" contradicts arraysize
    write the number that arraysize contains, or NULL
""")
# a table and its columns; ! marks columns without NULL, # columns of integers
_LAYOUT_LINES = """
schemas schema_name! utype description schema_index#
tables schema_name! table_name! table_type! utype description table_index#
columns table_name! column_name! datatype! arraysize xtype size# description utype unit ucd indexed#! principal#! \
std#! column_index#
keys key_id! from_table! target_table! description utype
key_columns key_id! from_column! target_column!
"""
TAP_SCHEMA_LAYOUT = {table: columns for table, *columns in map(str.split, _LAYOUT_LINES.strip().splitlines())}
TAP_SCHEMA_KEYS = (
    ("tables", "schema_name", "schemas"),
    ("columns", "table_name", "tables"),
    ("keys", "from_table", "tables"),
    ("keys", "target_table", "tables"),
    ("key_columns", "key_id", "keys"),
)
TAP_1_1_COLUMNS = {"schema_index", "table_index", "column_index", "arraysize", "xtype"}
TAP_1_0_DATATYPE_PATTERN = re.compile(
    r"(adql:)?(SMALLINT|INTEGER|BIGINT|REAL|DOUBLE|CHAR|VARCHAR|TIMESTAMP|POINT|REGION|CLOB|BLOB|BINARY|VARBINARY)"
    r"(\(.*\))?",
    re.IGNORECASE,
)
FLAG_COLUMNS = {"indexed", "principal", "std"}
IDENTIFIER_PATTERN = re.compile(r'[A-Za-z][A-Za-z0-9_]*|"(?:[^"]|"")+"')


def _check_tap_schema(service: ExaminedTapService, collector: FindingCollector) -> None:
    rows = service.tap_schema_rows
    for name in TAP_SCHEMA_LAYOUT:
        if name in service.schema_faults:
            collector.add_finding("schema.absent", service.schema_faults[name], table=f"TAP_SCHEMA.{name}")
        else:
            _check_tap_schema_table(service, collector, name)
    _check_listed_names(collector, rows)
    _check_schema_references(collector, rows)
    _check_listed_column_types(service, collector, rows.get("columns", []))
    if "columns" in rows and "tables" in rows:
        _check_schema_lists_itself(collector, rows)
        if not service.is_tap_1_0 and not service.schema_faults:
            _check_tap_schema_foreign_keys(service, collector)


def _check_tap_schema_table(service: ExaminedTapService, collector: FindingCollector, schema_table: str) -> None:
    fields = {normalize_identifier(field.name): field for field in service.schema_fields[schema_table]}
    records = service.tap_schema_rows[schema_table]
    for column_spec in TAP_SCHEMA_LAYOUT[schema_table]:
        column = column_spec.rstrip("#!")
        kind = "integer" if "#" in column_spec else "text"
        field = fields.get(column)
        location: dict[str, Any] = {"table": f"TAP_SCHEMA.{schema_table}", "column": column}
        if field is None:
            if not service.is_tap_1_0 or column not in TAP_1_1_COLUMNS:
                collector.add_finding("schema.missing-column", **location)
            continue
        if kind == "text":
            is_right_type = field.is_text
        else:
            is_right_type = field.datatype in INTEGER_RANGES
        if not is_right_type:
            fault = f"{field.datatype}, not {kind}"
            collector.add_finding("schema.column-type", fault, **location, value=field.datatype)
        _check_schema_column_values(collector, records, location, is_required=column_spec.endswith("!"))
    if schema_table == "tables":
        for record in records:
            table_type = str(record.get("table_type") or "table")
            if table_type.lower() not in {"table", "view"}:
                table = str(record.get("table_name"))
                collector.add_finding("schema.table-type", table=table, value=record["table_type"])


def _check_schema_column_values(
    collector: FindingCollector, records: list[dict[str, Any]], location: dict[str, Any], *, is_required: bool
) -> None:
    """Report NULL in a required column, and values of a flag other than 0 and 1."""
    column = location["column"]
    for record in records:
        value = record.get(column)
        example = {**location, "key": _format_record_key(record), "row_count": len(records)}
        if is_required and value is None:
            collector.add_finding("schema.null", **example, value="NULL")
        if column in FLAG_COLUMNS and value not in {0, 1, None}:
            collector.add_finding("schema.flag", **example, value=value)


def _format_record_key(record: dict[str, Any]) -> str:
    names = [name for name in ("table_name", "column_name", "key_id", "schema_name") if record.get(name) is not None]
    return ", ".join(f"{name} = {record[name]}" for name in names)


def _check_listed_names(collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]) -> None:
    seen_tables: set[str] = set()
    for record in rows_by_table.get("tables", []):
        name = str(record.get("table_name") or "")
        parts = re.findall(r'"(?:[^"]|"")+"|[^."]+', name)
        if not 1 <= len(parts) <= 3 or not all(map(_is_usable_identifier, parts)):
            collector.add_finding("schema.table-name", table=name, value=name)
        normalized_name = normalize_identifier(name)
        if normalized_name in seen_tables:
            collector.add_finding("schema.duplicate", table=name, value=name)
        seen_tables.add(normalized_name)
    seen_columns: set[tuple[str, str]] = set()
    for record in rows_by_table.get("columns", []):
        table = str(record.get("table_name") or "")
        name = str(record.get("column_name") or "")
        if not _is_usable_identifier(name):
            collector.add_finding("schema.column-name", table=table, column=name, value=name)
        if name.startswith('"'):
            comparison_name = name
        else:
            comparison_name = normalize_identifier(name)
        table_and_column = table.lower(), comparison_name
        if table_and_column in seen_columns:
            collector.add_finding("schema.duplicate", table=table, column=name, value=name)
        seen_columns.add(table_and_column)


def _is_usable_identifier(name: str) -> bool:
    """Return whether a name can be written in a query as it is."""
    return IDENTIFIER_PATTERN.fullmatch(name) is not None and name.upper() not in RESERVED_WORDS


def _check_schema_references(collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]) -> None:
    _check_rows_reference_listed_names(collector, rows_by_table)
    columns = {
        (_get_normalized_name(record, "table_name"), _get_normalized_name(record, "column_name"))
        for record in rows_by_table.get("columns", [])
    }
    keys_by_id = {_get_normalized_name(record, "key_id"): record for record in rows_by_table.get("keys", [])}
    for record in rows_by_table.get("key_columns", []):
        key = keys_by_id.get(_get_normalized_name(record, "key_id"))
        if not key:
            continue
        for column, table in (("from_column", "from_table"), ("target_column", "target_table")):
            if (_get_normalized_name(key, table), _get_normalized_name(record, column)) not in columns:
                collector.add_finding(
                    "schema.orphan",
                    f"{key.get(table)} has no such column",
                    table="TAP_SCHEMA.key_columns",
                    column=column,
                    value=record.get(column),
                )
    if columns:
        tables_with_columns = {table for table, _ in columns}
        listed_tables = [
            normalize_identifier(str(record.get("table_name") or "")) for record in rows_by_table.get("tables", [])
        ]
        for name in dict.fromkeys(listed_tables):
            if name not in tables_with_columns:
                collector.add_finding("schema.no-columns", table=name)


def _get_normalized_name(record: dict[str, Any], column: str) -> str:
    """Return the name in a column of TAP_SCHEMA, in the form in which names are compared."""
    return normalize_identifier(str(record.get(column)))


def _check_rows_reference_listed_names(
    collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]
) -> None:
    """Check that the names in TAP_SCHEMA's foreign keys are listed in their target tables."""
    target_columns = {"schemas": "schema_name", "tables": "table_name", "keys": "key_id"}
    listed_names = {
        target: {normalize_identifier(str(record.get(column) or "")) for record in rows_by_table.get(target, [])}
        for target, column in target_columns.items()
    }
    for name, column, target in TAP_SCHEMA_KEYS:
        if not listed_names[target]:
            continue
        for record in rows_by_table.get(name, []):
            reference_name = str(record.get(column) or "")
            if reference_name and normalize_identifier(reference_name) not in listed_names[target]:
                collector.add_finding(
                    "schema.orphan",
                    f"{column} is {reference_name!r}",
                    table=f"TAP_SCHEMA.{name}",
                    column=column,
                    key=_format_record_key(record),
                    value=reference_name,
                )


def _check_listed_column_types(
    service: ExaminedTapService, collector: FindingCollector, records: list[dict[str, Any]]
) -> None:
    for record in records:
        location: dict[str, Any] = {"table": str(record.get("table_name")), "column": str(record.get("column_name"))}
        datatype = str(record.get("datatype") or "")
        arraysize = str(record.get("arraysize") or "")
        is_old_datatype = service.is_tap_1_0 and TAP_1_0_DATATYPE_PATTERN.fullmatch(datatype) is not None
        if datatype and datatype not in DATATYPE_CODES and not is_old_datatype:
            collector.add_finding("schema.datatype", **location, value=datatype)
        if arraysize and not ARRAYSIZE_PATTERN.fullmatch(arraysize):
            collector.add_finding("schema.arraysize", **location, value=arraysize)
            continue
        length_text = arraysize.rstrip("*")
        size = record.get("size")
        if "arraysize" not in record or size is None or not length_text.isdigit():
            continue
        if int(length_text) != size:
            collector.add_finding(
                "schema.size", f"size is {size}, but arraysize is {arraysize}", **location, value=size
            )


def _check_schema_lists_itself(collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]) -> None:
    listed_tables = {_get_normalized_name(record, "table_name") for record in rows_by_table["tables"]}
    standard_columns = set()
    for name, layout in TAP_SCHEMA_LAYOUT.items():
        standard_columns |= {(f"tap_schema.{name}", column_spec.rstrip("#!")) for column_spec in layout}
        if f"tap_schema.{name}" not in listed_tables:
            collector.add_finding(
                "schema.itself", f"TAP_SCHEMA.tables does not list TAP_SCHEMA.{name}", table="TAP_SCHEMA.tables"
            )
    for record in rows_by_table["columns"]:
        column = _get_normalized_name(record, "column_name")
        is_standard = (_get_normalized_name(record, "table_name"), column) in standard_columns
        if is_standard and record.get("std") == 0:
            collector.add_finding("schema.std", table=str(record.get("table_name")), column=column, value=0)


def _check_tap_schema_foreign_keys(service: ExaminedTapService, collector: FindingCollector) -> None:
    for name, column, target in TAP_SCHEMA_KEYS:
        target_column = "table_name" if target == "tables" else column
        declared_keys = service.foreign_keys.get(f"tap_schema.{name}", ())
        if f"{column} -> tap_schema.{target}.{target_column}" not in declared_keys:
            detail = f"{column} -> {target}.{target_column}"
            collector.add_finding("schema.keys", detail, table=f"TAP_SCHEMA.{name}", column=column)


GROUP = CheckGroup(name="schema", title="TAP_SCHEMA", checks=SCHEMA_CHECKS, run=_check_tap_schema)
