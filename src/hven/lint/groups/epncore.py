"""Group epn: tables of EPN-TAP 2.0 - their names, columns, types, units and UCDs; `epnvalues` looks at their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint import values
from hven.lint.facts import facts
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.groups.epnvalues import CHECKS as OF_ROWS
from hven.lint.groups.epnvalues import run as judge_rows
from hven.lint.votable import INTEGERS, TEXTS
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.facts import Fact
    from hven.lint.service import Column, Service, Table

UTYPE = "ivo://ivoa.net/std/epntap#table-2.0"
OLD_UTYPE = "ivo://vopdc.obspm/std/epncore#schema-2.0"
E = "EPN-TAP 2.0"
CHECKS = table_of_checks(
    ("epn.utype", "error", f"{E} sec. 3", "a table called epn_core does not have the utype of EPN-TAP", f"set utype {UTYPE}", "E_PNUT"),
    ("epn.old-utype", "warning", f"{E} sec. 3", "a table has the utype of before the standard", f"set utype {UTYPE}", "W_PNUB"),
    ("epn.name", "error", f"{E} sec. 3", "a table with the utype of EPN-TAP is not called epn_core", "call it schema.epn_core", "E_PNTN"),
    ("epn.missing-column", "error", f"{E} sec. 3", "a mandatory column is missing", "add it; it may be NULL unless the standard says otherwise", "E_PN0C"),
    ("epn.type", "error", f"{E} sec. 3", "a column has another datatype than the standard's", "text: char; integer: short, int, long; float: float or double", "E_PNDE"),
    ("epn.precision", "error", f"{E} sec. 2.3", "a Julian Date is not in double precision", "float keeps Julian Dates to a quarter of a day: use double", "E_PNDE"),
    ("epn.unit", "error", f"{E} sec. 3", "a column has another unit than the standard's", "convert the values, and say the unit exactly so", "E_CUNI"),
    ("epn.ucd", "error", f"{E} sec. 3", "a column has another UCD than the standard's", "say the UCD exactly so: clients compare text", "E_CUCD"),
    ("epn.xtype", "error", f"{E} sec. 3; DALI 1.1 sec. 3.3", "a column has another xtype than the standard's", "timestamp for times, moc for coverage", "E_PNXT"),
    ("epn.region-xtype", "error", f"{E} sec. 2.4; DALI 1.1 sec. 3.3.7", "s_region is neither a string with xtype adql:REGION nor an array with a shape's xtype",
     "say which of both it is", "E_SRXT"),
    ("epn.pair", "error", f"{E} sec. 2", "an interval has one end only", "add the other column", "E_PNMX"),
    ("epn.frame-unit", "warning", f"{E} sec. 2.4", "a coordinate's unit is not that of the table's only frame", "say the frame's unit", "W_SPUN"),
    ("epn.frame-ucd", "warning", f"{E} sec. 2.4", "a coordinate's UCD is not that of the table's only frame", "say the frame's UCD", "W_SPUC"),
    ("epn.column-name", "warning", f"{E} sec. 3", "a column's name is not in lower case with underscores", "rename it", ""),
    ("epn.reserved", "error", f"{E} sec. 3", "the name accref is reserved", "rename the column", ""),
    ("epn.access-columns", "error", f"{E} sec. 3", "access_url goes with access_format and access_estsize", "add the columns that are missing", ""),
    ("epn.function", "warning", f"{E} sec. 4; ADQL UDF catalogue 1.1", "ivo_hashlist_has is not declared", "offer it: clients search lists with it", ""),
)  # fmt: skip
FRAMES = {
    "celestial": (("pos.eq.ra", "deg"), ("pos.eq.dec", "deg"), ("pos.distance", "AU")),
    "body": (("pos.bodyrc.lon", "deg"), ("pos.bodyrc.lat", "deg"), ("pos.bodyrc.alt|pos.distance;pos.bodyrc", "km")),
    "cartesian": (("pos.cartesian.x", "km"), ("pos.cartesian.y", "km"), ("pos.cartesian.z", "km")),
    "spherical": (("pos.spherical.r", "m"), ("pos.spherical.colat", "deg"), ("pos.spherical.azi", "deg")),
    "cylindrical": (("pos.cylindrical.r", "km"), ("pos.cylindrical.azi", "deg"), ("pos.cylindrical.z", "km")),
}  # fmt: skip
NUMBERS = {*INTEGERS, "float", "double"}
OLD_TYPES = {
    "varchar": "char",
    "clob": "char",
    "timestamp": "char",
    "region": "char",
    "smallint": "short",
    "integer": "int",
    "bigint": "long",
    "real": "float",
    "double": "double",
}


def tables(service: Service) -> list[Table]:
    """Return the tables that are, or want to be, EPN-TAP's."""
    return [
        one
        for one in service.tables()
        if one.key.rpartition(".")[2] == "epn_core" or one.utype.lower() in {UTYPE, OLD_UTYPE}
    ]


def _run(service: Service, notes: Notes) -> None:
    found = tables(service)
    if not found:
        notes.skip("there is no table of EPN-TAP")
        return
    if service.capabilities.languages and not service.capabilities.feature("ivo_hashlist_has"):
        notes.tell("epn.function")
    for table in found:
        _table(table, notes)
        try:
            rows = values.sample(service, table)
        except UserError as error:
            notes.skip(f"{table.name}: {error.message}")
            continue
        _region(table, rows, notes)
        _frame(service, table, notes)
        judge_rows(service, notes, table)


def _table(table: Table, notes: Notes) -> None:
    utype = table.utype.lower()
    if utype == OLD_UTYPE:
        notes.tell("epn.old-utype", table=table.name, value=table.utype)
    elif utype != UTYPE:
        notes.tell("epn.utype", table=table.name, value=table.utype or "none")
    if table.key.rpartition(".")[2] != "epn_core":
        notes.tell("epn.name", table=table.name, value=table.name)
    known = facts("epncore")
    for fact in known.values():
        column = table.get(fact.name)
        if column is not None:
            _column(table, column, fact, notes)
        elif fact.mandatory:
            notes.tell("epn.missing-column", table=table.name, column=fact.name)
        if fact.pair and column is not None and table.get(fact.pair) is None and not known[fact.pair].mandatory:
            notes.tell("epn.pair", f"{fact.pair} is missing", table=table.name, column=fact.name)
    names = table.names
    if "access_url" in names and not {"access_format", "access_estsize"} <= names:
        notes.tell(
            "epn.access-columns",
            ", ".join(sorted({"access_format", "access_estsize"} - names)) + " is missing",
            table=table.name,
            column="access_url",
        )
    for column in table.columns:
        plain = column.name.strip('"')
        if plain != plain.lower() or not plain.replace("_", "a").isalnum() or not plain.isascii():
            notes.tell("epn.column-name", table=table.name, column=column.name, value=column.name)
        if column.key == "accref":
            notes.tell("epn.reserved", table=table.name, column=column.name)


def plain_type(column: Column) -> str:
    """Return the VOTable datatype, also of TAP 1.0's names."""
    bare = column.datatype.lower().removeprefix("adql:").partition("(")[0]
    return OLD_TYPES.get(bare, column.datatype)


def fits(kind: str, column: Column) -> bool:
    """Return whether a column's datatype is what a standard's type allows."""
    datatype = plain_type(column)
    if kind in {"text", "timestamp"}:
        return datatype in TEXTS
    if kind == "integer":
        return datatype in INTEGERS
    return kind == "region" or datatype in {"float", "double"}


def _column(table: Table, column: Column, fact: Fact, notes: Notes) -> None:
    where: dict[str, Any] = {"table": table.name, "column": column.name}
    if not fits(fact.type, column):
        notes.tell("epn.type", f"it must be {fact.type.rstrip('!')}", **where, value=column.datatype)
    elif fact.type == "double!" and plain_type(column) != "double":
        notes.tell("epn.precision", **where, value=column.datatype)
    if (
        fact.type == "timestamp"
        and column.xtype.lower() not in {"timestamp", "adql:timestamp"}
        and column.datatype.lower() != "timestamp"
    ):
        notes.tell("epn.xtype", "it must be timestamp", **where, value=column.xtype or "none")
    if fact.xtype == "moc" and column.xtype.lower() != "moc":
        notes.tell("epn.xtype", "it must be moc", **where, value=column.xtype or "none")
    if not fact.unit.startswith("by-") and column.unit != fact.unit:
        notes.tell("epn.unit", f"it must be {fact.unit or 'none'}", **where, value=column.unit or "none")
    if not fact.ucd.startswith("by-") and column.ucd not in fact.ucd.split("|"):
        notes.tell("epn.ucd", f"it must be {fact.ucd.replace('|', ' or ')}", **where, value=column.ucd or "none")


def _region(table: Table, rows: values.Sample, notes: Notes) -> None:
    field = next((one for one in rows.fields if one.name.lower() == "s_region"), None)
    if field is None or all(record.get("s_region") is None for record in rows.records):
        return
    wanted = {"adql:region"} if field.is_text else {"point", "circle", "polygon"}
    if field.xtype.lower() not in wanted:
        notes.tell(
            "epn.region-xtype",
            f"{field.datatype} with xtype {field.xtype or 'none'}",
            table=table.name,
            column="s_region",
            value=field.xtype,
        )


def _frame(service: Service, table: Table, notes: Notes) -> None:
    """Compare c1..c3 with the frame if the table has a single one."""
    try:
        found = service.query(f"SELECT DISTINCT TOP 3 spatial_frame_type FROM {table.name}", 3).rows
    except UserError:
        return
    frames = {str(row[0]) for row in found}
    if len(frames) != 1 or (frame := FRAMES.get(frames.pop())) is None:
        return
    for number, (words, unit) in enumerate(frame, 1):
        for end in ("min", "max"):
            column = table.get(f"c{number}{end}")
            if column is None:
                continue
            if column.unit != unit:
                notes.tell(
                    "epn.frame-unit",
                    f"the frame's is {unit}",
                    table=table.name,
                    column=column.name,
                    value=column.unit or "none",
                )
            if column.ucd not in {f"{word};stat.{end}" for word in words.split("|")}:
                notes.tell(
                    "epn.frame-ucd",
                    f"the frame's is {words};stat.{end}",
                    table=table.name,
                    column=column.name,
                    value=column.ucd or "none",
                )
            _resolution(table, table.get(f"c{number}_resol_{end}"), unit, end, notes)


def _resolution(table: Table, column: Column | None, unit: str, end: str, notes: Notes) -> None:
    if column is None:
        return
    if column.unit != unit:
        notes.tell(
            "epn.frame-unit",
            f"the frame's is {unit}",
            table=table.name,
            column=column.name,
            value=column.unit or "none",
        )
    ucd = f"{'pos.angResolution' if unit == 'deg' else 'pos.resolution'};stat.{end}"
    if column.ucd != ucd:
        notes.tell(
            "epn.frame-ucd", f"the frame's is {ucd}", table=table.name, column=column.name, value=column.ucd or "none"
        )


GROUP = Group(name="epn", title="EPN-TAP", checks=(*CHECKS, *OF_ROWS), run=_run)
