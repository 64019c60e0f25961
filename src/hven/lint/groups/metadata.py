"""Group meta: units are VOUnits, UCDs are UCD1+, xtypes and utypes are what clients understand, and there are descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint.facts import facts
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.votable import FLOATS, TEXTS
from hven.model import units

if TYPE_CHECKING:
    from hven.lint.service import Column, Service, Table

CHECKS = table_of_checks(
    ("meta.unit", "error", "VOUnits 1.1 sec. 2; VOTable 1.4 sec. 4.4", "a unit is none", "write it as VOUnits does", "W_VUNE E_VUNE"),
    ("meta.unit-form", "warning", "VOUnits 1.1 sec. 2", "a unit is not written as VOUnits does", "write what the finding shows", "W_VUNR W_VUNE"),
    ("meta.unit-blank", "warning", "TAP 1.1 sec. 4", "a unit, UCD or utype is blanks", "write NULL where there is nothing to say", ""),
    ("meta.ucd", "error", "UCD1+ 1.5; UCDList 1.6", "a UCD is none", "choose words of the list, in their places", "E_UCDX W_UCDQ"),
    ("meta.ucd-deprecated", "warning", "UCDList 1.6", "a UCD is out of date", "use its replacement", "W_UCDQ"),
    ("meta.ucd-case", "info", "UCD1+ 1.5 sec. 3", "a UCD is not written as the list does", "keep the list's spelling: some clients compare bytes", ""),
    ("meta.xtype", "warning", "DALI 1.1 sec. 3.3", "an xtype is not one that clients know", "use DALI's, or a prefix of your own", ""),
    ("meta.xtype-type", "error", "DALI 1.1 sec. 3.3", "an xtype does not go with the datatype", "strings for timestamp and moc, numbers for shapes", "E_PNXT E_YXTS"),
    ("meta.utype", "warning", "VOTable 1.4 sec. 4.6", "a utype is not a word with a prefix, nor an identifier", "write prefix:Word.Word or ivo://...", ""),
    ("meta.column-description", "warning", "TAP 1.1 sec. 4; Registry practice", "columns have no description", "write what each column is, in a sentence", ""),
    ("meta.table-description", "warning", "TAP 1.1 sec. 4; Registry practice", "a table has no description", "write what its rows are", ""),
    ("meta.angle-unit", "warning", "UCD1+ 1.5; DALI 1.1 sec. 3.3", "a position has no unit of an angle", "say deg (or the unit that it is in)", ""),
    ("meta.time-type", "warning", "DALI 1.1 sec. 3.3.3", "a string is a time by its UCD but has no xtype timestamp", "say xtype timestamp", ""),
)  # fmt: skip
XTYPES = {
    "timestamp": TEXTS, "moc": TEXTS, "uri": TEXTS, "uuid": TEXTS, "hms": TEXTS, "dms": TEXTS, "json": TEXTS, "shape": TEXTS, "multishape": TEXTS,
    "adql:region": TEXTS, "adql:point": TEXTS, "adql:timestamp": TEXTS, "adql:clob": TEXTS, "adql:blob": {"unsignedByte"},
    "point": FLOATS, "circle": FLOATS, "polygon": FLOATS, "range": FLOATS, "interval": {*FLOATS, "short", "int", "long"},
    "multiinterval": {*FLOATS, "short", "int", "long"},
}  # fmt: skip
OLD_TEXTS = {"varchar", "char", "clob", "timestamp", "region", "point"}
STANDARDS = {"epn_core": "epncore", "ivoa.obscore": "obscore", "ivoa.obscore_radio": "obscore_radio"}
ANGLES = (
    "pos.eq.ra",
    "pos.eq.dec",
    "pos.galactic.lon",
    "pos.galactic.lat",
    "pos.ecliptic.lon",
    "pos.ecliptic.lat",
    "pos.bodyrc.lon",
    "pos.bodyrc.lat",
)


def _run(service: Service, notes: Notes) -> None:
    tables = service.tables()
    if not tables:
        notes.skip("no tables are declared")
    for table in tables:
        _table(table, notes)


def _table(table: Table, notes: Notes) -> None:
    if not table.description:
        notes.tell("meta.table-description", table=table.name)
    silent = [one.name for one in table.columns if not one.description]
    if silent:
        few = ", ".join(silent[:5]) + ("..." if len(silent) > 5 else "")
        notes.tell("meta.column-description", few, table=table.name, count=len(silent), of=len(table.columns))
    for column in table.columns:
        _unit(table, column, notes)
        _ucd(table, column, notes)
        _types(table, column, notes)


def _unit(table: Table, column: Column, notes: Notes) -> None:
    where: dict[str, Any] = {"table": table.name, "column": column.name, "value": column.unit}
    for said in (column.unit, column.ucd, column.utype):
        if said and not said.strip():
            notes.tell("meta.unit-blank", table=table.name, column=column.name)
    try:
        unit = units.parse(column.unit)
    except ValueError as error:
        notes.tell("meta.unit", str(error), **where)
        return
    if not unit.strict:
        notes.tell("meta.unit-form", f"VOUnits writes {unit.text!r}", **where)


def _ucd(table: Table, column: Column, notes: Notes) -> None:
    where: dict[str, Any] = {"table": table.name, "column": column.name}
    wanted = _of_a_standard(table, column)
    problems = [] if wanted else units.check_ucd(column.ucd.strip())
    old = [one for one in problems if "is deprecated" in one or "is UCD1" in one]
    for one in problems:
        notes.tell("meta.ucd-deprecated" if one in old else "meta.ucd", one, **where, value=column.ucd)
    if (
        column.ucd
        and not problems
        and not wanted
        and units.canonical_ucd(column.ucd) != column.ucd.removeprefix("ivoa:")
    ):
        notes.tell("meta.ucd-case", f"the list writes {units.canonical_ucd(column.ucd)!r}", **where, value=column.ucd)
    words = column.ucd.lower().split(";")
    if words[0] in ANGLES and not column.unit and column.datatype in FLOATS:
        notes.tell("meta.angle-unit", **where, value=column.ucd)


def _of_a_standard(table: Table, column: Column) -> bool:
    """Return whether a standard wants that very UCD: then it is not the service's to mend."""
    name = STANDARDS.get(table.key) or STANDARDS.get(table.key.rpartition(".")[2])
    fact = facts(name).get(column.key) if name else None
    return fact is not None and column.ucd in fact.ucd.split("|")


def _types(table: Table, column: Column, notes: Notes) -> None:
    where: dict[str, Any] = {"table": table.name, "column": column.name}
    xtype = column.xtype.lower()
    is_text = column.datatype in TEXTS or column.datatype.lower().removeprefix("adql:").partition("(")[0] in OLD_TEXTS
    if xtype and xtype not in XTYPES:
        if ":" not in xtype:
            notes.tell("meta.xtype", **where, value=column.xtype)
    elif xtype and column.datatype not in XTYPES[xtype] and not (is_text and XTYPES[xtype] == TEXTS):
        notes.tell("meta.xtype-type", f"{column.datatype} with xtype {column.xtype}", **where, value=column.xtype)
    utype = column.utype.strip()
    if utype and (any(char.isspace() for char in utype) or not utype.isprintable()):
        notes.tell("meta.utype", **where, value=utype)
    first = column.ucd.lower().split(";")[0]
    if (
        is_text
        and first in {"time.start", "time.end", "time.epoch", "time.creation", "time.release", "time.processing"}
        and not xtype
        and column.datatype in TEXTS
    ):
        notes.tell("meta.time-type", **where, value=column.ucd)


GROUP = Group(name="meta", title="Units, UCDs, descriptions", checks=CHECKS, run=_run)
