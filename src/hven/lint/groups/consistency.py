"""Group tables: /tables and TAP_SCHEMA say the same, and answers have the columns that both promise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.service import Column, Service, Table
    from hven.lint.votable import Field

BOTH = "TAP 1.1 sec. 4; VOSI 1.1 sec. 4"
ANSWER = "TAP 1.1 sec. 2.7.3, 4.3"
CHECKS = table_of_checks(
    ("tables.only-in-schema", "warning", BOTH, "a table or column is in TAP_SCHEMA but not in /tables", "make both from one source", "E_CM21 E_TM21"),
    ("tables.only-in-tables", "warning", BOTH, "a table or column is in /tables but not in TAP_SCHEMA", "make both from one source", "E_CM12 E_TM12"),
    ("tables.type", "warning", BOTH, "/tables and TAP_SCHEMA give different types", "make both from one source", "W_CTYP"),
    ("tables.unit", "warning", BOTH, "/tables and TAP_SCHEMA give different units", "make both from one source", "W_CUNI"),
    ("tables.ucd", "warning", BOTH, "/tables and TAP_SCHEMA give different UCDs", "make both from one source", "W_CUCD"),
    ("tables.utype", "warning", BOTH, "/tables and TAP_SCHEMA give different utypes", "make both from one source", "W_CUTP"),
    ("tables.indexed", "warning", BOTH, "/tables and TAP_SCHEMA disagree about the index of a column", "make both from one source", "W_CIDX"),
    ("tables.foreign-key", "warning", BOTH, "/tables and TAP_SCHEMA give different foreign keys", "make both from one source", "E_FM21 E_FM12 W_FM21 W_FM12"),
    ("tables.unreadable", "error", "TAP 1.1 sec. 2", "a declared table cannot be queried", "serve it, or take it out of TAP_SCHEMA", "E_QERR E_QERX"),
    ("tables.field-missing", "error", ANSWER, "SELECT * does not give a declared column", "declare what there is", "E_CLDR"),
    ("tables.field-undeclared", "error", ANSWER, "SELECT * gives a column that is not declared", "declare it", "E_CLRD"),
    ("tables.field-type", "error", ANSWER, "an answer's FIELD has another datatype than declared", "declare what is sent", "E_CTYP"),
    ("tables.field-unit", "warning", ANSWER, "an answer's FIELD has another unit than declared", "send the declared metadata", "W_DRUN"),
    ("tables.field-ucd", "warning", ANSWER, "an answer's FIELD has another UCD than declared", "send the declared metadata", "W_DRUC"),
    ("tables.field-utype", "warning", ANSWER, "an answer's FIELD has another utype than declared", "send the declared metadata", "W_DRUT"),
    ("tables.field-xtype", "warning", ANSWER, "an answer's FIELD has another xtype than declared", "send the declared metadata", "W_DRXT"),
    ("tables.cell", "error", "VOTable 1.4 sec. 5; 6", "a cell is not of its FIELD's datatype", "send what the FIELD promises", ""),
)  # fmt: skip
TABLES = 200  # asked for a row at most
OLD = {
    "smallint": "short", "integer": "int", "bigint": "long", "real": "float", "double": "double", "char": "char", "varchar": "char",
    "timestamp": "char", "point": "char", "region": "char", "clob": "char", "blob": "unsignedByte", "binary": "unsignedByte", "varbinary": "unsignedByte",
}  # fmt: skip
GEOMETRY = {"point", "region"}  # TAP 1.0's types that newer services send as arrays


def _run(service: Service, notes: Notes) -> None:
    listed = service.listed
    if listed is None:
        notes.skip("there is no readable /tables to compare with")
    elif "tables" in service.schema and "columns" in service.schema:
        _compare(service.declared, listed, notes)
        for key in sorted(service.declared.keys() & listed.keys()):
            for one in sorted(service.foreign_keys.get(key, frozenset()) ^ listed[key].keys):
                where = "TAP_SCHEMA" if one in service.foreign_keys.get(key, ()) else "/tables"
                notes.tell("tables.foreign-key", f"only in {where}", table=listed[key].name, value=one)
    tables = service.tables(own=False)
    if len(tables) > TABLES:
        notes.skip(f"{len(tables):,} tables: the first {TABLES} were asked for a row")
    for table in tables[:TABLES]:
        _answers(service, notes, table)


def _compare(schema: dict[str, Table], listed: dict[str, Table], notes: Notes) -> None:
    for key in schema.keys() | listed.keys():
        if key not in listed or key not in schema:
            where = "tables.only-in-schema" if key in schema else "tables.only-in-tables"
            notes.tell(where, table=(schema.get(key) or listed[key]).name)
            continue
        a, b = {one.key: one for one in schema[key].columns}, {one.key: one for one in listed[key].columns}
        if not b:
            continue  # a list without columns is allowed
        for name in sorted(a.keys() | b.keys()):
            if name not in a or name not in b:
                notes.tell(
                    "tables.only-in-schema" if name in a else "tables.only-in-tables",
                    table=schema[key].name,
                    column=name,
                )
                continue
            _pair(a[name], b[name], schema[key].name, notes)


def _pair(a: Column, b: Column, table: str, notes: Notes) -> None:
    if _plain(a.datatype) != _plain(b.datatype):
        notes.tell(
            "tables.type",
            f"{a.datatype} in TAP_SCHEMA, {b.datatype} in /tables",
            table=table,
            column=a.name,
            value=b.datatype,
        )
    for name, one, other in (
        ("unit", a.unit, b.unit),
        ("ucd", a.ucd.lower(), b.ucd.lower()),
        ("utype", a.utype.lower(), b.utype.lower()),
    ):
        if one != other:
            notes.tell(
                f"tables.{name}",
                f"{one!r} in TAP_SCHEMA, {other!r} in /tables",
                table=table,
                column=a.name,
                value=other,
            )
    if ("indexed" in a.flags) != ("indexed" in b.flags):
        notes.tell("tables.indexed", table=table, column=a.name)


def _plain(datatype: str) -> str:
    """Write a type as VOTable does, whatever TAP's version."""
    name = re.sub(r"\(.*", "", datatype.lower().removeprefix("adql:").removeprefix("vs:")).strip()
    found = OLD.get(name, datatype)
    return "char" if found == "unicodeChar" else found


def _answers(service: Service, notes: Notes, table: Table) -> None:
    if not table.columns:
        return
    try:
        found = service.query(f"SELECT TOP 1 * FROM {table.name}", 1)
    except UserError as error:
        notes.tell("tables.unreadable", error.message, table=table.name)
        return
    fields = {one.name.replace('"', "").lower(): one for one in found.fields}
    for column in table.columns:
        field = fields.get(column.key)
        if field is None:
            notes.tell("tables.field-missing", table=table.name, column=column.name)
        else:
            _field(column, field, table, notes)
    for name, field in fields.items():
        if name not in table.names:
            notes.tell("tables.field-undeclared", table=table.name, column=field.name)
    for kind, name, words in found.odd:
        if kind in {"cell", "row", "stream"}:
            notes.tell("tables.cell", words, table=table.name, column=name)


def _field(column: Column, field: Field, table: Table, notes: Notes) -> None:
    where: dict[str, Any] = {"table": table.name, "column": column.name}
    geometry = column.datatype.lower().removeprefix("adql:") in GEOMETRY
    if _plain(column.datatype) != _plain(field.datatype) and not geometry:
        notes.tell(
            "tables.field-type", f"{column.datatype} declared, {field.datatype} sent", **where, value=field.datatype
        )
    if column.unit != field.unit:
        notes.tell("tables.field-unit", f"{column.unit!r} declared, {field.unit!r} sent", **where, value=field.unit)
    if column.ucd.lower() != field.ucd.lower():
        notes.tell("tables.field-ucd", f"{column.ucd!r} declared, {field.ucd!r} sent", **where, value=field.ucd)
    if column.utype.lower() != field.utype.lower():
        notes.tell("tables.field-utype", f"{column.utype!r} declared, {field.utype!r} sent", **where, value=field.utype)
    if column.xtype.lower() != field.xtype.lower() and not (
        not column.xtype and field.xtype.lower().startswith("adql:")
    ):
        notes.tell("tables.field-xtype", f"{column.xtype!r} declared, {field.xtype!r} sent", **where, value=field.xtype)


GROUP = Group(name="tables", title="TAP_SCHEMA, /tables and answers", checks=CHECKS, run=_run)
