"""Group schema: TAP_SCHEMA is there, typed, complete, and points nowhere that does not exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.adql.reserved import RESERVED
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.service import bare
from hven.lint.votable import ARRAYSIZE, INTEGERS, SIZES

if TYPE_CHECKING:
    from hven.lint.service import Service

S = "TAP 1.1 sec. 4"
CHECKS = table_of_checks(
    ("schema.absent", "error", S, "a table of TAP_SCHEMA cannot be read", "serve all five tables", "E_TST0 F_GONE"),
    ("schema.missing-column", "error", S, "a column of TAP_SCHEMA is missing", "add it, NULL where there is nothing to say", "E_TSC0"),
    ("schema.column-type", "error", S, "a column of TAP_SCHEMA has another type than the standard's", "integers for indexes and flags, strings for the rest", "E_TSCT"),
    ("schema.null", "error", S, "a column of TAP_SCHEMA that may not be NULL is", "fill it", "E_TSNL"),
    ("schema.flag", "error", S, "indexed, principal or std is neither 0 nor 1", "write 0 or 1", "E_CLOG E_CINT"),
    ("schema.table-type", "error", S, "table_type is neither table nor view", "write table or view", ""),
    ("schema.itself", "warning", S, "TAP_SCHEMA does not describe itself", "list its own tables and columns, std = 1", "E_TST0"),
    ("schema.std", "warning", S, "a column of TAP_SCHEMA is not marked as std", "set std = 1", "E_TSTD"),
    ("schema.orphan", "warning", S, "an entry of TAP_SCHEMA points to nothing", "list what it names, or take the entry out",
     "W_TBUN W_CLUN W_FKUN W_FLUN E_FKNT E_FKLK E_FKIO"),
    ("schema.keys", "warning", S, "TAP_SCHEMA does not list the foreign keys among its own tables", "list them in keys and key_columns", "E_TSLN"),
    ("schema.no-columns", "warning", S, "a table has no columns in TAP_SCHEMA", "list them", ""),
    ("schema.duplicate", "error", S, "a name is listed twice", "list it once; names differ by more than case", ""),
    ("schema.table-name", "error", "TAP 1.1 sec. 4; ADQL 2.1 sec. 2.1", "a table's name cannot be written in a query as it stands",
     "quote what is no regular identifier, also in TAP_SCHEMA", "E_TNTN E_TRSV E_NAKT"),
    ("schema.column-name", "error", "TAP 1.1 sec. 4; ADQL 2.1 sec. 2.1", "a column's name cannot be written in a query as it stands",
     "quote what is no regular identifier or is reserved, also in TAP_SCHEMA", "E_CNID E_CRSV"),
    ("schema.datatype", "error", S, "a datatype is none of VOTable", "use VOTable's names (TAP 1.0 services: the names of TAP 1.0)", "E_TSCT W_CTYP"),
    ("schema.arraysize", "error", S, "an arraysize is none of VOTable", "write 12, 12* or *; NULL for single values", "E_TSAZ"),
    ("schema.size", "warning", S, 'the column "size" does not agree with arraysize', "give the number in arraysize, or NULL", "E_TSSZ"),
)  # fmt: skip
TEXT, NUMBER = "text", "integer"
# columns -> type; ! may not be NULL; those that TAP 1.1 added stand in NEW
LAYOUT = {
    "schemas": {"schema_name!": TEXT, "utype": TEXT, "description": TEXT, "schema_index": NUMBER},
    "tables": {"schema_name!": TEXT, "table_name!": TEXT, "table_type!": TEXT, "utype": TEXT, "description": TEXT, "table_index": NUMBER},
    "columns": {
        "table_name!": TEXT, "column_name!": TEXT, "datatype!": TEXT, "arraysize": TEXT, "xtype": TEXT, "size": NUMBER, "description": TEXT,
        "utype": TEXT, "unit": TEXT, "ucd": TEXT, "indexed!": NUMBER, "principal!": NUMBER, "std!": NUMBER, "column_index": NUMBER,
    },
    "keys": {"key_id!": TEXT, "from_table!": TEXT, "target_table!": TEXT, "description": TEXT, "utype": TEXT},
    "key_columns": {"key_id!": TEXT, "from_column!": TEXT, "target_column!": TEXT},
}  # fmt: skip
OWN_KEYS = (
    ("tables", "schema_name", "schemas"), ("columns", "table_name", "tables"), ("keys", "from_table", "tables"),
    ("keys", "target_table", "tables"), ("key_columns", "key_id", "keys"),
)  # fmt: skip
NEW = {"schema_index", "table_index", "column_index", "arraysize", "xtype"}
OLD_TYPES = re.compile(
    r"(adql:)?(SMALLINT|INTEGER|BIGINT|REAL|DOUBLE|CHAR|VARCHAR|TIMESTAMP|POINT|REGION|CLOB|BLOB|BINARY|VARBINARY)(\(.*\))?",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r'[A-Za-z][A-Za-z0-9_]*|"(?:[^"]|"")+"')


def _run(service: Service, notes: Notes) -> None:
    rows = service.schema
    for name in LAYOUT:
        if name in service.schema_faults:
            notes.tell("schema.absent", service.schema_faults[name], table=f"TAP_SCHEMA.{name}")
        else:
            _layout(service, notes, name)
    _names(notes, rows)
    _pointers(notes, rows)
    _types(service, notes, rows.get("columns", []))
    if "columns" in rows and "tables" in rows:
        _itself(notes, rows)
        if not service.old and not service.schema_faults:
            _keys(service, notes)


def _layout(service: Service, notes: Notes, name: str) -> None:
    fields = {bare(one.name): one for one in service.schema_fields[name]}
    records = service.schema[name]
    for word, kind in LAYOUT[name].items():
        column = word.rstrip("!")
        about = fields.get(column)
        where: dict[str, Any] = {"table": f"TAP_SCHEMA.{name}", "column": column}
        if about is None:
            if not (service.old and column in NEW):
                notes.tell("schema.missing-column", **where)
            continue
        if (kind == TEXT) != about.is_text or (kind == NUMBER and about.datatype not in INTEGERS):
            notes.tell("schema.column-type", f"{about.datatype}, not {kind}", **where, value=about.datatype)
        if word.endswith("!"):
            for record in records:
                if record.get(column) is None:
                    notes.tell("schema.null", **where, key=_who(record), value="NULL", of=len(records))
        if column in {"indexed", "principal", "std"}:
            for record in records:
                if record.get(column) not in {0, 1, None}:
                    notes.tell("schema.flag", **where, key=_who(record), value=record[column], of=len(records))
    if name == "tables":
        for record in records:
            if str(record.get("table_type") or "table").lower() not in {"table", "view"}:
                notes.tell("schema.table-type", table=str(record.get("table_name")), value=record["table_type"])


def _who(record: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} = {record[name]}"
        for name in ("table_name", "column_name", "key_id", "schema_name")
        if record.get(name) is not None
    )


def _names(notes: Notes, rows: dict[str, list[dict[str, Any]]]) -> None:
    seen: set[tuple[str, str]] = set()
    for record in rows.get("tables", []):
        name = str(record.get("table_name") or "")
        parts = re.findall(r'"(?:[^"]|"")+"|[^."]+', name)
        if not 1 <= len(parts) <= 3 or any(
            not IDENTIFIER.fullmatch(part) or part.upper() in RESERVED for part in parts
        ):
            notes.tell("schema.table-name", table=name, value=name)
        if ("", bare(name)) in seen:
            notes.tell("schema.duplicate", table=name, value=name)
        seen.add(("", bare(name)))
    for record in rows.get("columns", []):
        table, name = str(record.get("table_name") or ""), str(record.get("column_name") or "")
        if not IDENTIFIER.fullmatch(name) or name.upper() in RESERVED:
            notes.tell("schema.column-name", table=table, column=name, value=name)
        if (table.lower(), bare(name) if not name.startswith('"') else name) in seen:
            notes.tell("schema.duplicate", table=table, column=name, value=name)
        seen.add((table.lower(), bare(name) if not name.startswith('"') else name))


def _pointers(notes: Notes, rows: dict[str, list[dict[str, Any]]]) -> None:
    def known(name: str, column: str) -> set[str]:
        return {bare(str(one.get(column) or "")) for one in rows.get(name, [])}

    tables, keys = known("tables", "table_name"), known("keys", "key_id")
    columns = {(bare(str(one.get("table_name"))), bare(str(one.get("column_name")))) for one in rows.get("columns", [])}
    ends = {bare(str(one.get("key_id"))): one for one in rows.get("keys", [])}
    pointers = (("tables", "schema_name", known("schemas", "schema_name")), ("columns", "table_name", tables), ("keys", "from_table", tables),
                ("keys", "target_table", tables), ("key_columns", "key_id", keys))  # fmt: skip
    for name, column, targets in pointers:
        for record in rows.get(name, []):
            said = str(record.get(column) or "")
            if said and targets and bare(said) not in targets:
                notes.tell(
                    "schema.orphan",
                    f"{column} {said}",
                    table=f"TAP_SCHEMA.{name}",
                    column=column,
                    key=_who(record),
                    value=said,
                )
    for record in rows.get("key_columns", []):
        key = ends.get(bare(str(record.get("key_id"))), {})
        for column, table in (("from_column", "from_table"), ("target_column", "target_table")):
            if key and (bare(str(key.get(table))), bare(str(record.get(column)))) not in columns:
                notes.tell(
                    "schema.orphan",
                    f"{key.get(table)} has no such column",
                    table="TAP_SCHEMA.key_columns",
                    column=column,
                    value=record.get(column),
                )
    for name in tables:
        if rows.get("columns") and not any(table == name for table, _ in columns):
            notes.tell("schema.no-columns", table=name)


def _types(service: Service, notes: Notes, records: list[dict[str, Any]]) -> None:
    for record in records:
        where: dict[str, Any] = {"table": str(record.get("table_name")), "column": str(record.get("column_name"))}
        datatype, size = str(record.get("datatype") or ""), str(record.get("arraysize") or "")
        if datatype and datatype not in SIZES and not (service.old and OLD_TYPES.fullmatch(datatype)):
            notes.tell("schema.datatype", **where, value=datatype)
        if size and not ARRAYSIZE.fullmatch(size):
            notes.tell("schema.arraysize", **where, value=size)
            continue
        number = size.rstrip("*")
        old = record.get("size")
        if "arraysize" in record and old is not None and number.isdigit() and int(number) != old:
            notes.tell("schema.size", f"size {old}, arraysize {size}", **where, value=old)


def _itself(notes: Notes, rows: dict[str, list[dict[str, Any]]]) -> None:
    listed = {bare(str(one.get("table_name"))) for one in rows["tables"]}
    for name in LAYOUT:
        if f"tap_schema.{name}" not in listed:
            notes.tell("schema.itself", f"TAP_SCHEMA.{name} is not listed", table="TAP_SCHEMA.tables")
    for record in rows["columns"]:
        table, column = bare(str(record.get("table_name"))), bare(str(record.get("column_name")))
        wanted = (
            {word.rstrip("!") for word in LAYOUT.get(table.removeprefix("tap_schema."), {})}
            if table.startswith("tap_schema.")
            else set()
        )
        if column in wanted and record.get("std") == 0:
            notes.tell("schema.std", table=str(record.get("table_name")), column=column, value=0)


def _keys(service: Service, notes: Notes) -> None:
    for name, column, target in OWN_KEYS:
        other = {"from_table": "table_name", "target_table": "table_name"}.get(column, column)
        if f"{column} -> tap_schema.{target}.{other}" not in service.foreign_keys.get(f"tap_schema.{name}", ()):
            notes.tell("schema.keys", f"{column} -> {target}.{other}", table=f"TAP_SCHEMA.{name}", column=column)


GROUP = Group(name="schema", title="TAP_SCHEMA", checks=CHECKS, run=_run)
