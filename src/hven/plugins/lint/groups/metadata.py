"""Group meta: units are VOUnits, UCDs are UCD1+, clients know the xtypes and utypes, and there are descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model import units
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.facts import load_standard_columns
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.votable import FLOAT_DATATYPES, TEXT_DATATYPES

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import DeclaredColumn, DeclaredTable, ExaminedTapService

METADATA_CHECKS = parse_lint_checks("""
meta.unit | error | VOUnits 1.1 sec. 2; VOTable 1.4 sec. 4.4 | W_VUNE E_VUNE
    a unit cannot be parsed as a VOUnits unit
    write the unit in VOUnits syntax
meta.unit-form | warning | VOUnits 1.1 sec. 2 | W_VUNR W_VUNE
    a unit can be parsed, but is not in VOUnits syntax
    write the unit that the finding shows
meta.unit-blank | warning | TAP 1.1 sec. 4
    a unit, UCD or utype consists only of spaces
    write a value, or NULL if there is no value
meta.ucd | error | UCD1+ 1.5; UCDList 1.6 | E_UCDX W_UCDQ
    a UCD is not valid
    use words from the UCD list, in valid positions
meta.ucd-deprecated | warning | UCDList 1.6 | W_UCDQ
    a UCD is deprecated
    use its replacement
meta.ucd-case | info | UCD1+ 1.5 sec. 3
    a UCD is not spelled as in the UCD list
    use the list's spelling, because some clients compare bytes
meta.xtype | warning | DALI 1.1 sec. 3.3
    an xtype is not known to clients
    use an xtype from DALI, or your own prefix
meta.xtype-type | error | DALI 1.1 sec. 3.3 | E_PNXT E_YXTS
    an xtype does not match the datatype
    use strings for timestamp and moc, and numbers for shapes
meta.utype | warning | VOTable 1.4 sec. 4.6
    a utype is neither a word with a prefix nor an identifier
    write prefix:Word.Word or ivo://...
meta.column-description | warning | TAP 1.1 sec. 4; Registry practice
    columns have no description
    describe each column in a sentence
meta.table-description | warning | TAP 1.1 sec. 4; Registry practice
    a table has no description
    describe what its rows represent
meta.angle-unit | warning | UCD1+ 1.5; DALI 1.1 sec. 3.3
    a position has no angular unit
    declare the unit of the values, such as deg
meta.time-type | warning | DALI 1.1 sec. 3.3.3
    a string column has the UCD of a time, but not the xtype timestamp
    set xtype timestamp
""")
INTERVAL_DATATYPES = {*FLOAT_DATATYPES, "short", "int", "long"}
TEXT_XTYPES = ("timestamp", "moc", "uri", "uuid", "hms", "dms", "json", "shape", "multishape")
OLD_TEXT_XTYPES = ("adql:region", "adql:point", "adql:timestamp", "adql:clob")
XTYPE_DATATYPES = {
    **dict.fromkeys((*TEXT_XTYPES, *OLD_TEXT_XTYPES), TEXT_DATATYPES),
    **dict.fromkeys(("point", "circle", "polygon", "range"), FLOAT_DATATYPES),
    "interval": INTERVAL_DATATYPES,
    "multiinterval": INTERVAL_DATATYPES,
    "adql:blob": {"unsignedByte"},
}
LEGACY_TEXT_DATATYPES = {"varchar", "char", "clob", "timestamp", "region", "point"}
STANDARD_TABLES = {"epn_core": "epncore", "ivoa.obscore": "obscore", "ivoa.obscore_radio": "obscore_radio"}
ANGLE_UCDS = (
    "pos.eq.ra",
    "pos.eq.dec",
    "pos.galactic.lon",
    "pos.galactic.lat",
    "pos.ecliptic.lon",
    "pos.ecliptic.lat",
    "pos.bodyrc.lon",
    "pos.bodyrc.lat",
)
MAX_SHOWN_COLUMNS = 5
TIME_UCDS = {"time.start", "time.end", "time.epoch", "time.creation", "time.release", "time.processing"}


def _check_metadata(service: ExaminedTapService, collector: FindingCollector) -> None:
    tables = service.list_tables()
    if not tables:
        collector.add_unchecked_reason("no tables are declared")
    for table in tables:
        _check_table_metadata(table, collector)


def _check_table_metadata(table: DeclaredTable, collector: FindingCollector) -> None:
    if not table.description:
        collector.add_finding("meta.table-description", table=table.name)
    undescribed_columns = [column.name for column in table.columns if not column.description]
    if undescribed_columns:
        shown_names = ", ".join(undescribed_columns[:MAX_SHOWN_COLUMNS])
        if len(undescribed_columns) > MAX_SHOWN_COLUMNS:
            shown_names += "..."
        collector.add_finding(
            "meta.column-description",
            shown_names,
            table=table.name,
            count=len(undescribed_columns),
            row_count=len(table.columns),
        )
    for column in table.columns:
        _report_blank_metadata(table, column, collector)
        _check_column_unit(table, column, collector)
        _check_column_ucd(table, column, collector)
        _check_angle_has_unit(table, column, collector)
        _check_xtype_and_utype(table, column, collector)


def _report_blank_metadata(table: DeclaredTable, column: DeclaredColumn, collector: FindingCollector) -> None:
    """Report a unit, UCD or utype of spaces."""
    for metadata_text in (column.unit, column.ucd, column.utype):
        if metadata_text and not metadata_text.strip():
            collector.add_finding("meta.unit-blank", table=table.name, column=column.name)


def _check_column_unit(table: DeclaredTable, column: DeclaredColumn, collector: FindingCollector) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name, "value": column.unit}
    try:
        unit = units.parse_unit(column.unit)
    except ValueError as error:
        collector.add_finding("meta.unit", str(error), **location)
        return
    if not unit.is_strict:
        collector.add_finding("meta.unit-form", f"the VOUnits form is {unit.text!r}", **location)


def _check_column_ucd(table: DeclaredTable, column: DeclaredColumn, collector: FindingCollector) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    is_required_by_standard = _is_standard_ucd(table, column)
    problems: list[str] = []
    if not is_required_by_standard:
        problems = list(units.list_ucd_problems(column.ucd.strip()))
    for problem in problems:
        is_deprecated = "is deprecated" in problem or "is UCD1" in problem
        code = "meta.ucd-deprecated" if is_deprecated else "meta.ucd"
        collector.add_finding(code, problem, **location, value=column.ucd)
    if column.ucd and not problems and not is_required_by_standard:
        canonical_ucd = units.canonicalize_ucd(column.ucd)
        if canonical_ucd != column.ucd.removeprefix("ivoa:"):
            detail = f"the list spells it {canonical_ucd!r}"
            collector.add_finding("meta.ucd-case", detail, **location, value=column.ucd)


def _check_angle_has_unit(table: DeclaredTable, column: DeclaredColumn, collector: FindingCollector) -> None:
    words = column.ucd.lower().split(";")
    if words[0] in ANGLE_UCDS and not column.unit and column.datatype in FLOAT_DATATYPES:
        collector.add_finding("meta.angle-unit", table=table.name, column=column.name, value=column.ucd)


def _is_standard_ucd(table: DeclaredTable, column: DeclaredColumn) -> bool:
    """Return whether a standard requires exactly this UCD, so that the service cannot choose another."""
    unqualified_name = table.comparison_name.rpartition(".")[2]
    standard_name = STANDARD_TABLES.get(table.comparison_name) or STANDARD_TABLES.get(unqualified_name)
    if not standard_name:
        return False
    standard_column = load_standard_columns(standard_name).get(column.comparison_name)
    return standard_column is not None and column.ucd in standard_column.ucd.split("|")


def _check_xtype_and_utype(table: DeclaredTable, column: DeclaredColumn, collector: FindingCollector) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    xtype = column.xtype.lower()
    tap_1_0_name = column.datatype.lower().removeprefix("adql:").partition("(")[0]
    is_text = column.datatype in TEXT_DATATYPES or tap_1_0_name in LEGACY_TEXT_DATATYPES
    allowed_datatypes = XTYPE_DATATYPES.get(xtype)
    if allowed_datatypes is None:
        if xtype and ":" not in xtype:
            collector.add_finding("meta.xtype", **location, value=column.xtype)
    elif column.datatype not in allowed_datatypes and not (is_text and allowed_datatypes == TEXT_DATATYPES):
        detail = f"{column.datatype} with xtype {column.xtype}"
        collector.add_finding("meta.xtype-type", detail, **location, value=column.xtype)
    utype = column.utype.strip()
    if utype and (any(map(str.isspace, utype)) or not utype.isprintable()):
        collector.add_finding("meta.utype", **location, value=utype)
    first_word = column.ucd.lower().split(";")[0]
    if column.datatype in TEXT_DATATYPES and not xtype and first_word in TIME_UCDS:
        collector.add_finding("meta.time-type", **location, value=column.ucd)


GROUP = CheckGroup(name="meta", title="Units, UCDs, descriptions", checks=METADATA_CHECKS, run=_check_metadata)
