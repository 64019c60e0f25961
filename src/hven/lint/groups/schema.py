"""Group schema: TAP_SCHEMA is there, typed, complete, and points nowhere that does not exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.lint.check_groups import CheckGroup
from hven.lint.findings import FindingCollector, build_checks
from hven.lint.tap_service import normalize_name
from hven.lint.votable import ARRAYSIZE_PATTERN, DATATYPE_CODES, INTEGER_RANGES

if TYPE_CHECKING:
    from hven.lint.tap_service import ExaminedTapService

STANDARD_NAME = "TAP 1.1 sec. 4"
SCHEMA_CHECKS = build_checks(
    (
        "schema.absent",
        "error",
        STANDARD_NAME,
        "a table of TAP_SCHEMA cannot be read",
        "serve all five tables",
        "E_TST0 F_GONE",
    ),
    (
        "schema.missing-column",
        "error",
        STANDARD_NAME,
        "a column of TAP_SCHEMA is missing",
        "add it, NULL where there is nothing to say",
        "E_TSC0",
    ),
    (
        "schema.column-type",
        "error",
        STANDARD_NAME,
        "a column of TAP_SCHEMA has another type than the standard's",
        "integers for indexes and flags, strings for the rest",
        "E_TSCT",
    ),
    ("schema.null", "error", STANDARD_NAME, "a column of TAP_SCHEMA that may not be NULL is", "fill it", "E_TSNL"),
    (
        "schema.flag",
        "error",
        STANDARD_NAME,
        "indexed, principal or std is neither 0 nor 1",
        "write 0 or 1",
        "E_CLOG E_CINT",
    ),
    ("schema.table-type", "error", STANDARD_NAME, "table_type is neither table nor view", "write table or view", ""),
    (
        "schema.itself",
        "warning",
        STANDARD_NAME,
        "TAP_SCHEMA does not describe itself",
        "list its own tables and columns, std = 1",
        "E_TST0",
    ),
    ("schema.std", "warning", STANDARD_NAME, "a column of TAP_SCHEMA is not marked as std", "set std = 1", "E_TSTD"),
    (
        "schema.orphan",
        "warning",
        STANDARD_NAME,
        "an entry of TAP_SCHEMA points to nothing",
        "list what it names, or take the entry out",
        "W_TBUN W_CLUN W_FKUN W_FLUN E_FKNT E_FKLK E_FKIO",
    ),
    (
        "schema.keys",
        "warning",
        STANDARD_NAME,
        "TAP_SCHEMA does not list the foreign keys among its own tables",
        "list them in keys and key_columns",
        "E_TSLN",
    ),
    ("schema.no-columns", "warning", STANDARD_NAME, "a table has no columns in TAP_SCHEMA", "list them", ""),
    (
        "schema.duplicate",
        "error",
        STANDARD_NAME,
        "a name is listed twice",
        "list it once; names differ by more than case",
        "",
    ),
    (
        "schema.table-name",
        "error",
        "TAP 1.1 sec. 4; ADQL 2.1 sec. 2.1",
        "a table's name cannot be written in a query as it stands",
        "quote what is no regular identifier, also in TAP_SCHEMA",
        "E_TNTN E_TRSV E_NAKT",
    ),
    (
        "schema.column-name",
        "error",
        "TAP 1.1 sec. 4; ADQL 2.1 sec. 2.1",
        "a column's name cannot be written in a query as it stands",
        "quote what is no regular identifier or is reserved, also in TAP_SCHEMA",
        "E_CNID E_CRSV",
    ),
    (
        "schema.datatype",
        "error",
        STANDARD_NAME,
        "a datatype is none of VOTable",
        "use VOTable's names (TAP 1.0 services: the names of TAP 1.0)",
        "E_TSCT W_CTYP",
    ),
    (
        "schema.arraysize",
        "error",
        STANDARD_NAME,
        "an arraysize is none of VOTable",
        "write 12, 12* or *; NULL for single values",
        "E_TSAZ",
    ),
    (
        "schema.size",
        "warning",
        STANDARD_NAME,
        'the column "size" does not agree with arraysize',
        "give the number in arraysize, or NULL",
        "E_TSSZ",
    ),
)
TEXT_TYPE, INTEGER_TYPE = "text", "integer"
# columns -> type; ! may not be NULL; those that TAP 1.1 added stand in NEW
TAP_SCHEMA_LAYOUT = {
    "schemas": {"schema_name!": TEXT_TYPE, "utype": TEXT_TYPE, "description": TEXT_TYPE, "schema_index": INTEGER_TYPE},
    "tables": {
        "schema_name!": TEXT_TYPE,
        "table_name!": TEXT_TYPE,
        "table_type!": TEXT_TYPE,
        "utype": TEXT_TYPE,
        "description": TEXT_TYPE,
        "table_index": INTEGER_TYPE,
    },
    "columns": {
        "table_name!": TEXT_TYPE,
        "column_name!": TEXT_TYPE,
        "datatype!": TEXT_TYPE,
        "arraysize": TEXT_TYPE,
        "xtype": TEXT_TYPE,
        "size": INTEGER_TYPE,
        "description": TEXT_TYPE,
        "utype": TEXT_TYPE,
        "unit": TEXT_TYPE,
        "ucd": TEXT_TYPE,
        "indexed!": INTEGER_TYPE,
        "principal!": INTEGER_TYPE,
        "std!": INTEGER_TYPE,
        "column_index": INTEGER_TYPE,
    },
    "keys": {
        "key_id!": TEXT_TYPE,
        "from_table!": TEXT_TYPE,
        "target_table!": TEXT_TYPE,
        "description": TEXT_TYPE,
        "utype": TEXT_TYPE,
    },
    "key_columns": {"key_id!": TEXT_TYPE, "from_column!": TEXT_TYPE, "target_column!": TEXT_TYPE},
}
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


def _check_schema(service: ExaminedTapService, collector: FindingCollector) -> None:
    rows = service.tap_schema_rows
    for name in TAP_SCHEMA_LAYOUT:
        if name in service.schema_faults:
            collector.add_finding("schema.absent", service.schema_faults[name], table=f"TAP_SCHEMA.{name}")
        else:
            _check_layout(service, collector, name)
    _check_names(collector, rows)
    _check_references(collector, rows)
    _check_types(service, collector, rows.get("columns", []))
    if "columns" in rows and "tables" in rows:
        _check_self_description(collector, rows)
        if not service.is_tap_1_0 and not service.schema_faults:
            _check_foreign_keys(service, collector)


def _check_layout(service: ExaminedTapService, collector: FindingCollector, schema_table: str) -> None:
    fields = {normalize_name(field.name): field for field in service.schema_fields[schema_table]}
    records = service.tap_schema_rows[schema_table]
    for column_spec, kind in TAP_SCHEMA_LAYOUT[schema_table].items():
        column = column_spec.rstrip("!")
        field = fields.get(column)
        location: dict[str, Any] = {"table": f"TAP_SCHEMA.{schema_table}", "column": column}
        if field is None:
            if not service.is_tap_1_0 or column not in TAP_1_1_COLUMNS:
                collector.add_finding("schema.missing-column", **location)
            continue
        is_wrong_integer = kind == INTEGER_TYPE and field.datatype not in INTEGER_RANGES
        if (kind == TEXT_TYPE) != field.is_text or is_wrong_integer:
            fault = f"{field.datatype}, not {kind}"
            collector.add_finding("schema.column-type", fault, **location, value=field.datatype)
        _check_layout_values(collector, records, location, is_required=column_spec.endswith("!"))
    if schema_table == "tables":
        for record in records:
            table_type = str(record.get("table_type") or "table")
            if table_type.lower() not in {"table", "view"}:
                table = str(record.get("table_name"))
                collector.add_finding("schema.table-type", table=table, value=record["table_type"])


def _check_layout_values(
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


def _check_names(collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]) -> None:
    seen_names: set[tuple[str, str]] = set()
    for record in rows_by_table.get("tables", []):
        name = str(record.get("table_name") or "")
        parts = re.findall(r'"(?:[^"]|"")+"|[^."]+', name)
        if not 1 <= len(parts) <= 3 or any(
            not IDENTIFIER_PATTERN.fullmatch(part) or part.upper() in RESERVED_WORDS for part in parts
        ):
            collector.add_finding("schema.table-name", table=name, value=name)
        if ("", normalize_name(name)) in seen_names:
            collector.add_finding("schema.duplicate", table=name, value=name)
        seen_names.add(("", normalize_name(name)))
    for record in rows_by_table.get("columns", []):
        table = str(record.get("table_name") or "")
        name = str(record.get("column_name") or "")
        if not IDENTIFIER_PATTERN.fullmatch(name) or name.upper() in RESERVED_WORDS:
            collector.add_finding("schema.column-name", table=table, column=name, value=name)
        if (table.lower(), normalize_name(name) if not name.startswith('"') else name) in seen_names:
            collector.add_finding("schema.duplicate", table=table, column=name, value=name)
        seen_names.add((table.lower(), normalize_name(name) if not name.startswith('"') else name))


def _check_references(collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]) -> None:
    def list_names(name: str, column: str) -> set[str]:
        return {normalize_name(str(table_record.get(column) or "")) for table_record in rows_by_table.get(name, [])}

    tables = list_names("tables", "table_name")
    keys = list_names("keys", "key_id")
    columns = {
        (normalize_name(str(column_row.get("table_name"))), normalize_name(str(column_row.get("column_name"))))
        for column_row in rows_by_table.get("columns", [])
    }
    ends = {normalize_name(str(column_row.get("key_id"))): column_row for column_row in rows_by_table.get("keys", [])}
    pointers = (
        ("tables", "schema_name", list_names("schemas", "schema_name")),
        ("columns", "table_name", tables),
        ("keys", "from_table", tables),
        ("keys", "target_table", tables),
        ("key_columns", "key_id", keys),
    )
    for name, column, targets in pointers:
        for record in rows_by_table.get(name, []):
            reference_name = str(record.get(column) or "")
            if reference_name and targets and normalize_name(reference_name) not in targets:
                collector.add_finding(
                    "schema.orphan",
                    f"{column} {reference_name}",
                    table=f"TAP_SCHEMA.{name}",
                    column=column,
                    key=_format_record_key(record),
                    value=reference_name,
                )
    for record in rows_by_table.get("key_columns", []):
        key = ends.get(normalize_name(str(record.get("key_id"))), {})
        for column, table in (("from_column", "from_table"), ("target_column", "target_table")):
            if key and (normalize_name(str(key.get(table))), normalize_name(str(record.get(column)))) not in columns:
                collector.add_finding(
                    "schema.orphan",
                    f"{key.get(table)} has no such column",
                    table="TAP_SCHEMA.key_columns",
                    column=column,
                    value=record.get(column),
                )
    for name in tables:
        if rows_by_table.get("columns") and not any(table == name for table, _ in columns):
            collector.add_finding("schema.no-columns", table=name)


def _check_types(service: ExaminedTapService, collector: FindingCollector, records: list[dict[str, Any]]) -> None:
    for record in records:
        where: dict[str, Any] = {"table": str(record.get("table_name")), "column": str(record.get("column_name"))}
        datatype = str(record.get("datatype") or "")
        size = str(record.get("arraysize") or "")
        if (
            datatype
            and datatype not in DATATYPE_CODES
            and not (service.is_tap_1_0 and TAP_1_0_DATATYPE_PATTERN.fullmatch(datatype))
        ):
            collector.add_finding("schema.datatype", **where, value=datatype)
        if size and not ARRAYSIZE_PATTERN.fullmatch(size):
            collector.add_finding("schema.arraysize", **where, value=size)
            continue
        number = size.rstrip("*")
        old = record.get("size")
        if "arraysize" in record and old is not None and number.isdigit() and int(number) != old:
            collector.add_finding("schema.size", f"size {old}, arraysize {size}", **where, value=old)


def _check_self_description(collector: FindingCollector, rows_by_table: dict[str, list[dict[str, Any]]]) -> None:
    listed = {normalize_name(str(table_row.get("table_name"))) for table_row in rows_by_table["tables"]}
    for name in TAP_SCHEMA_LAYOUT:
        if f"tap_schema.{name}" not in listed:
            collector.add_finding("schema.itself", f"TAP_SCHEMA.{name} is not listed", table="TAP_SCHEMA.tables")
    for record in rows_by_table["columns"]:
        table = normalize_name(str(record.get("table_name")))
        column = normalize_name(str(record.get("column_name")))
        if table.startswith("tap_schema."):
            standard_columns = {
                word.rstrip("!") for word in TAP_SCHEMA_LAYOUT.get(table.removeprefix("tap_schema."), {})
            }
        else:
            standard_columns = set()
        if column in standard_columns and record.get("std") == 0:
            collector.add_finding("schema.std", table=str(record.get("table_name")), column=column, value=0)


def _check_foreign_keys(service: ExaminedTapService, collector: FindingCollector) -> None:
    for name, column, target in TAP_SCHEMA_KEYS:
        other = {"from_table": "table_name", "target_table": "table_name"}.get(column, column)
        if f"{column} -> tap_schema.{target}.{other}" not in service.foreign_keys.get(f"tap_schema.{name}", ()):
            collector.add_finding(
                "schema.keys", f"{column} -> {target}.{other}", table=f"TAP_SCHEMA.{name}", column=column
            )


GROUP = CheckGroup(name="schema", title="TAP_SCHEMA", checks=SCHEMA_CHECKS, run=_check_schema)
