"""Group tables: /tables and TAP_SCHEMA say the same, and answers have the columns that both promise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import DeclaredColumn, DeclaredTable, ExaminedTapService
    from hven.plugins.lint.votable import VOTableField

CONSISTENCY_CHECKS = parse_lint_checks("""
tables.only-in-schema | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | E_CM21 E_TM21
    a table or column is in TAP_SCHEMA but not in /tables
    generate both from the same source
tables.only-in-tables | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | E_CM12 E_TM12
    a table or column is in /tables but not in TAP_SCHEMA
    generate both from the same source
tables.type | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | W_CTYP
    /tables and TAP_SCHEMA state different types
    generate both from the same source
tables.unit | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | W_CUNI
    /tables and TAP_SCHEMA state different units
    generate both from the same source
tables.ucd | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | W_CUCD
    /tables and TAP_SCHEMA state different UCDs
    generate both from the same source
tables.utype | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | W_CUTP
    /tables and TAP_SCHEMA state different utypes
    generate both from the same source
tables.indexed | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | W_CIDX
    /tables and TAP_SCHEMA disagree about whether a column is indexed
    generate both from the same source
tables.foreign-key | warning | TAP 1.1 sec. 4; VOSI 1.1 sec. 4 | E_FM21 E_FM12 W_FM21 W_FM12
    /tables and TAP_SCHEMA state different foreign keys
    generate both from the same source
tables.unreadable | error | TAP 1.1 sec. 2 | E_QERR E_QERX
    a declared table cannot be queried
    serve it, or remove it from TAP_SCHEMA
tables.field-missing | error | TAP 1.1 sec. 2.7.3, 4.3 | E_CLDR
    SELECT * does not return a declared column
    declare only columns that exist
tables.field-undeclared | error | TAP 1.1 sec. 2.7.3, 4.3 | E_CLRD
    SELECT * returns a column that is not declared
    declare it
tables.field-type | error | TAP 1.1 sec. 2.7.3, 4.3 | E_CTYP
    a FIELD's datatype differs from the declared datatype
    declare the type that the service sends
tables.field-unit | warning | TAP 1.1 sec. 2.7.3, 4.3 | W_DRUN
    a FIELD's unit differs from the declared unit
    send the declared metadata
tables.field-ucd | warning | TAP 1.1 sec. 2.7.3, 4.3 | W_DRUC
    a FIELD's UCD differs from the declared UCD
    send the declared metadata
tables.field-utype | warning | TAP 1.1 sec. 2.7.3, 4.3 | W_DRUT
    a FIELD's utype differs from the declared utype
    send the declared metadata
tables.field-xtype | warning | TAP 1.1 sec. 2.7.3, 4.3 | W_DRXT
    a FIELD's xtype differs from the declared xtype
    send the declared metadata
tables.cell | error | VOTable 1.4 sec. 5; 6
    a cell does not have the datatype of its FIELD
    send values of the FIELD's datatype
""")
MAX_TABLES = 200  # asked for a row at most
TAP_1_0_DATATYPES = {
    "smallint": "short",
    "integer": "int",
    "bigint": "long",
    "real": "float",
    "double": "double",
    "char": "char",
    "varchar": "char",
    "timestamp": "char",
    "point": "char",
    "region": "char",
    "clob": "char",
    "blob": "unsignedByte",
    "binary": "unsignedByte",
    "varbinary": "unsignedByte",
}
GEOMETRY_DATATYPES = {"point", "region"}  # TAP 1.0's types that newer services send as arrays


def _check_table_consistency(service: ExaminedTapService, collector: FindingCollector) -> None:
    listed = service.listed_tables
    if listed is None:
        collector.add_unchecked_reason("there is no readable /tables to compare with")
    elif "tables" in service.tap_schema_rows and "columns" in service.tap_schema_rows:
        _compare_table_listings(service.declared_tables, listed, collector)
        for name in sorted(service.declared_tables.keys() & listed.keys()):
            schema_keys = service.foreign_keys.get(name, frozenset())
            for foreign_key in sorted(schema_keys ^ listed[name].foreign_keys):
                detail = "only in TAP_SCHEMA" if foreign_key in schema_keys else "only in /tables"
                collector.add_finding("tables.foreign-key", detail, table=listed[name].name, value=foreign_key)
    tables = service.list_tables(without_tap_schema=False)
    if len(tables) > MAX_TABLES:
        collector.add_unchecked_reason(f"{len(tables):,} tables: the first {MAX_TABLES} were queried for a row")
    for table in tables[:MAX_TABLES]:
        _check_answer_fields(service, collector, table)


def _compare_table_listings(
    schema_tables: dict[str, DeclaredTable], listed_tables: dict[str, DeclaredTable], collector: FindingCollector
) -> None:
    for key in schema_tables.keys() | listed_tables.keys():
        schema_table = schema_tables.get(key)
        listed_table = listed_tables.get(key)
        if schema_table is None or listed_table is None:
            _report_missing_declaration(
                collector, schema_table or listed_tables[key], is_in_schema=schema_table is not None
            )
            continue
        schema_columns = {column.comparison_name: column for column in schema_table.columns}
        listed_columns = {column.comparison_name: column for column in listed_table.columns}
        if not listed_columns:
            continue  # a list without columns is allowed
        for name in sorted(schema_columns.keys() | listed_columns.keys()):
            if name in schema_columns and name in listed_columns:
                _compare_column_declarations(schema_columns[name], listed_columns[name], schema_table.name, collector)
            else:
                _report_missing_declaration(collector, schema_table, column=name, is_in_schema=name in schema_columns)


def _report_missing_declaration(
    collector: FindingCollector, table: DeclaredTable, *, column: str = "", is_in_schema: bool
) -> None:
    """Report a table or a column that only TAP_SCHEMA or only /tables has."""
    code = "tables.only-in-schema" if is_in_schema else "tables.only-in-tables"
    collector.add_finding(code, table=table.name, column=column)


def _compare_column_declarations(
    schema_column: DeclaredColumn, listed_column: DeclaredColumn, table_name: str, collector: FindingCollector
) -> None:
    location: dict[str, Any] = {"table": table_name, "column": schema_column.name}
    if _to_votable_datatype(schema_column.datatype) != _to_votable_datatype(listed_column.datatype):
        detail = f"{schema_column.datatype} in TAP_SCHEMA, {listed_column.datatype} in /tables"
        collector.add_finding("tables.type", detail, **location, value=listed_column.datatype)
    for name, schema_value, listed_value in (
        ("unit", schema_column.unit, listed_column.unit),
        ("ucd", schema_column.ucd.lower(), listed_column.ucd.lower()),
        ("utype", schema_column.utype.lower(), listed_column.utype.lower()),
    ):
        if schema_value != listed_value:
            detail = f"{schema_value!r} in TAP_SCHEMA, {listed_value!r} in /tables"
            collector.add_finding(f"tables.{name}", detail, **location, value=listed_value)
    if ("indexed" in schema_column.flags) != ("indexed" in listed_column.flags):
        collector.add_finding("tables.indexed", table=table_name, column=schema_column.name)


def _to_votable_datatype(datatype: str) -> str:
    """Return a datatype as VOTable names it, in any version of TAP."""
    name = datatype.lower().removeprefix("adql:").removeprefix("vs:")
    name = re.sub(r"\(.*", "", name).strip()
    votable_datatype = TAP_1_0_DATATYPES.get(name, datatype)
    if votable_datatype == "unicodeChar":
        return "char"
    return votable_datatype


def _check_answer_fields(service: ExaminedTapService, collector: FindingCollector, table: DeclaredTable) -> None:
    if not table.columns:
        return
    try:
        result = service.run_query(f"SELECT TOP 1 * FROM {table.name}", 1)
    except UserError as error:
        collector.add_finding("tables.unreadable", error.message, table=table.name)
        return
    fields = {answer_field.name.replace('"', "").lower(): answer_field for answer_field in result.fields}
    for column in table.columns:
        field = fields.get(column.comparison_name)
        if field is None:
            collector.add_finding("tables.field-missing", table=table.name, column=column.name)
        else:
            _compare_field_with_column(column, field, table, collector)
    for name, field in fields.items():
        if name not in table.column_names:
            collector.add_finding("tables.field-undeclared", table=table.name, column=field.name)
    for kind, name, anomaly_text in result.anomalies:
        if kind in {"cell", "row", "stream"}:
            collector.add_finding("tables.cell", anomaly_text, table=table.name, column=name)


def _compare_field_with_column(
    column: DeclaredColumn, field: VOTableField, table: DeclaredTable, collector: FindingCollector
) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    is_geometry = column.datatype.lower().removeprefix("adql:") in GEOMETRY_DATATYPES
    if _to_votable_datatype(column.datatype) != _to_votable_datatype(field.datatype) and not is_geometry:
        collector.add_finding(
            "tables.field-type",
            f"{column.datatype} is declared, but {field.datatype} was sent",
            **location,
            value=field.datatype,
        )
    for name in ("unit", "ucd", "utype", "xtype"):
        declared_text, sent_text = getattr(column, name), getattr(field, name)
        is_same = declared_text.lower() == sent_text.lower()
        if name == "unit":
            is_same = declared_text == sent_text
        elif name == "xtype" and not declared_text:
            is_same = not sent_text or sent_text.lower().startswith("adql:")
        if not is_same:
            detail = f"{declared_text!r} is declared, but {sent_text!r} was sent"
            collector.add_finding(f"tables.field-{name}", detail, **location, value=sent_text)


GROUP = CheckGroup(
    name="tables", title="TAP_SCHEMA, /tables and responses", checks=CONSISTENCY_CHECKS, run=_check_table_consistency
)
