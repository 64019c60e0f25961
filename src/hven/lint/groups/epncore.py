"""Group epn: tables of EPN-TAP 2.0 - their names, columns, types, units and UCDs; `epnvalues` looks at their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint import row_rules
from hven.lint.check_groups import CheckGroup
from hven.lint.facts import load_standard_columns
from hven.lint.findings import FindingCollector, build_checks
from hven.lint.groups.epncore_rows import EPNCORE_ROW_CHECKS, judge_epn_rows
from hven.lint.votable import INTEGER_RANGES, TEXT_DATATYPES
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.facts import StandardColumn
    from hven.lint.tap_service import DeclaredColumn, DeclaredTable, ExaminedTapService

EPNCORE_UTYPE = "ivo://ivoa.net/std/epntap#table-2.0"
LEGACY_EPNCORE_UTYPE = "ivo://vopdc.obspm/std/epncore#schema-2.0"
STANDARD_NAME = "EPN-TAP 2.0"
EPNCORE_CHECKS = build_checks(
    (
        "epn.utype",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "a table called epn_core does not have the utype of EPN-TAP",
        f"set utype {EPNCORE_UTYPE}",
        "E_PNUT",
    ),
    (
        "epn.old-utype",
        "warning",
        f"{STANDARD_NAME} sec. 3",
        "a table has the utype of before the standard",
        f"set utype {EPNCORE_UTYPE}",
        "W_PNUB",
    ),
    (
        "epn.name",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "a table with the utype of EPN-TAP is not called epn_core",
        "call it schema.epn_core",
        "E_PNTN",
    ),
    (
        "epn.missing-column",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "a mandatory column is missing",
        "add it; it may be NULL unless the standard says otherwise",
        "E_PN0C",
    ),
    (
        "epn.type",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "a column has another datatype than the standard's",
        "text: char; integer: short, int, long; float: float or double",
        "E_PNDE",
    ),
    (
        "epn.precision",
        "error",
        f"{STANDARD_NAME} sec. 2.3",
        "a Julian Date is not in double precision",
        "float keeps Julian Dates to a quarter of a day: use double",
        "E_PNDE",
    ),
    (
        "epn.unit",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "a column has another unit than the standard's",
        "convert the values, and say the unit exactly so",
        "E_CUNI",
    ),
    (
        "epn.ucd",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "a column has another UCD than the standard's",
        "say the UCD exactly so: clients compare text",
        "E_CUCD",
    ),
    (
        "epn.xtype",
        "error",
        f"{STANDARD_NAME} sec. 3; DALI 1.1 sec. 3.3",
        "a column has another xtype than the standard's",
        "timestamp for times, moc for coverage",
        "E_PNXT",
    ),
    (
        "epn.region-xtype",
        "error",
        f"{STANDARD_NAME} sec. 2.4; DALI 1.1 sec. 3.3.7",
        "s_region is neither a string with xtype adql:REGION nor an array with a shape's xtype",
        "say which of both it is",
        "E_SRXT",
    ),
    ("epn.pair", "error", f"{STANDARD_NAME} sec. 2", "an interval has one end only", "add the other column", "E_PNMX"),
    (
        "epn.frame-unit",
        "warning",
        f"{STANDARD_NAME} sec. 2.4",
        "a coordinate's unit is not that of the table's only frame",
        "say the frame's unit",
        "W_SPUN",
    ),
    (
        "epn.frame-ucd",
        "warning",
        f"{STANDARD_NAME} sec. 2.4",
        "a coordinate's UCD is not that of the table's only frame",
        "say the frame's UCD",
        "W_SPUC",
    ),
    (
        "epn.column-name",
        "warning",
        f"{STANDARD_NAME} sec. 3",
        "a column's name is not in lower case with underscores",
        "rename it",
        "",
    ),
    ("epn.reserved", "error", f"{STANDARD_NAME} sec. 3", "the name accref is reserved", "rename the column", ""),
    (
        "epn.access-columns",
        "error",
        f"{STANDARD_NAME} sec. 3",
        "access_url goes with access_format and access_estsize",
        "add the columns that are missing",
        "",
    ),
    (
        "epn.function",
        "warning",
        f"{STANDARD_NAME} sec. 4; ADQL UDF catalogue 1.1",
        "ivo_hashlist_has is not declared",
        "offer it: clients search lists with it",
        "",
    ),
)
FRAME_COORDINATES = {
    "celestial": (("pos.eq.ra", "deg"), ("pos.eq.dec", "deg"), ("pos.distance", "AU")),
    "body": (("pos.bodyrc.lon", "deg"), ("pos.bodyrc.lat", "deg"), ("pos.bodyrc.alt|pos.distance;pos.bodyrc", "km")),
    "cartesian": (("pos.cartesian.x", "km"), ("pos.cartesian.y", "km"), ("pos.cartesian.z", "km")),
    "spherical": (("pos.spherical.r", "m"), ("pos.spherical.colat", "deg"), ("pos.spherical.azi", "deg")),
    "cylindrical": (("pos.cylindrical.r", "km"), ("pos.cylindrical.azi", "deg"), ("pos.cylindrical.z", "km")),
}
NUMERIC_DATATYPES = {*INTEGER_RANGES, "float", "double"}
TAP_1_0_DATATYPES = {
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


def find_epn_tables(service: ExaminedTapService) -> list[DeclaredTable]:
    """Return the tables that are, or want to be, EPN-TAP's."""
    return [
        table
        for table in service.list_tables()
        if table.comparison_name.rpartition(".")[2] == "epn_core"
        or table.utype.lower() in {EPNCORE_UTYPE, LEGACY_EPNCORE_UTYPE}
    ]


def _check_epncore(service: ExaminedTapService, collector: FindingCollector) -> None:
    epn_tables = find_epn_tables(service)
    if not epn_tables:
        collector.add_unjudged("there is no table of EPN-TAP")
        return
    if service.capabilities.languages and not service.capabilities.has_feature("ivo_hashlist_has"):
        collector.add_finding("epn.function")
    for table in epn_tables:
        _check_table(table, collector)
        try:
            row_sample = row_rules.fetch_sample(service, table)
        except UserError as error:
            collector.add_unjudged(f"{table.name}: {error.message}")
            continue
        _check_region(table, row_sample, collector)
        _check_frame(service, table, collector)
        judge_epn_rows(service, collector, table)


def _check_table(table: DeclaredTable, collector: FindingCollector) -> None:
    utype = table.utype.lower()
    if utype == LEGACY_EPNCORE_UTYPE:
        collector.add_finding("epn.old-utype", table=table.name, value=table.utype)
    elif utype != EPNCORE_UTYPE:
        collector.add_finding("epn.utype", table=table.name, value=table.utype or "none")
    if table.comparison_name.rpartition(".")[2] != "epn_core":
        collector.add_finding("epn.name", table=table.name, value=table.name)
    standard_columns = load_standard_columns("epncore")
    for standard_column in standard_columns.values():
        column = table.find_column(standard_column.name)
        if column is not None:
            _check_column(table, column, standard_column, collector)
        elif standard_column.is_mandatory:
            collector.add_finding("epn.missing-column", table=table.name, column=standard_column.name)
        if (
            standard_column.paired_column
            and column is not None
            and table.find_column(standard_column.paired_column) is None
            and not standard_columns[standard_column.paired_column].is_mandatory
        ):
            collector.add_finding(
                "epn.pair", f"{standard_column.paired_column} is missing", table=table.name, column=standard_column.name
            )
    names = table.column_names
    if "access_url" in names and not {"access_format", "access_estsize"} <= names:
        collector.add_finding(
            "epn.access-columns",
            ", ".join(sorted({"access_format", "access_estsize"} - names)) + " is missing",
            table=table.name,
            column="access_url",
        )
    for column in table.columns:
        unquoted_name = column.name.strip('"')
        if (
            unquoted_name != unquoted_name.lower()
            or not unquoted_name.replace("_", "a").isalnum()
            or not unquoted_name.isascii()
        ):
            collector.add_finding("epn.column-name", table=table.name, column=column.name, value=column.name)
        if column.comparison_name == "accref":
            collector.add_finding("epn.reserved", table=table.name, column=column.name)


def get_votable_datatype(column: DeclaredColumn) -> str:
    """Return the VOTable datatype, also of TAP 1.0's names."""
    datatype_name = column.datatype.lower().removeprefix("adql:").partition("(")[0]
    return TAP_1_0_DATATYPES.get(datatype_name, column.datatype)


def is_allowed_datatype(standard_type: str, column: DeclaredColumn) -> bool:
    """Return whether a column's datatype is what a standard's type allows."""
    datatype = get_votable_datatype(column)
    if standard_type in {"text", "timestamp"}:
        return datatype in TEXT_DATATYPES
    if standard_type == "integer":
        return datatype in INTEGER_RANGES
    return standard_type == "region" or datatype in {"float", "double"}


def _check_column(
    table: DeclaredTable, column: DeclaredColumn, standard_column: StandardColumn, collector: FindingCollector
) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    if not is_allowed_datatype(standard_column.type, column):
        collector.add_finding(
            "epn.type", f"it must be {standard_column.type.rstrip('!')}", **location, value=column.datatype
        )
    elif standard_column.type == "double!" and get_votable_datatype(column) != "double":
        collector.add_finding("epn.precision", **location, value=column.datatype)
    if (
        standard_column.type == "timestamp"
        and column.xtype.lower() not in {"timestamp", "adql:timestamp"}
        and column.datatype.lower() != "timestamp"
    ):
        collector.add_finding("epn.xtype", "it must be timestamp", **location, value=column.xtype or "none")
    if standard_column.xtype == "moc" and column.xtype.lower() != "moc":
        collector.add_finding("epn.xtype", "it must be moc", **location, value=column.xtype or "none")
    if not standard_column.unit.startswith("by-") and column.unit != standard_column.unit:
        collector.add_finding(
            "epn.unit", f"it must be {standard_column.unit or 'none'}", **location, value=column.unit or "none"
        )
    if not standard_column.ucd.startswith("by-") and column.ucd not in standard_column.ucd.split("|"):
        collector.add_finding(
            "epn.ucd", f"it must be {standard_column.ucd.replace('|', ' or ')}", **location, value=column.ucd or "none"
        )


def _check_region(table: DeclaredTable, row_sample: row_rules.RowSample, collector: FindingCollector) -> None:
    field = next((sample_field for sample_field in row_sample.fields if sample_field.name.lower() == "s_region"), None)
    if field is None or all(record.get("s_region") is None for record in row_sample.records):
        return
    if field.is_text:
        allowed_xtypes = {"adql:region"}
    else:
        allowed_xtypes = {"point", "circle", "polygon"}
    if field.xtype.lower() not in allowed_xtypes:
        collector.add_finding(
            "epn.region-xtype",
            f"{field.datatype} with xtype {field.xtype or 'none'}",
            table=table.name,
            column="s_region",
            value=field.xtype,
        )


def _check_frame(service: ExaminedTapService, table: DeclaredTable, collector: FindingCollector) -> None:
    """Compare c1..c3 with the frame if the table has a single one."""
    try:
        frame_rows = service.run_query(f"SELECT DISTINCT TOP 3 spatial_frame_type FROM {table.name}", 3).rows
    except UserError:
        return
    frames = {str(row[0]) for row in frame_rows}
    if len(frames) != 1 or (frame := FRAME_COORDINATES.get(frames.pop())) is None:
        return
    for number, (expected_ucds, unit) in enumerate(frame, 1):
        for end in ("min", "max"):
            column = table.find_column(f"c{number}{end}")
            if column is None:
                continue
            if column.unit != unit:
                collector.add_finding(
                    "epn.frame-unit",
                    f"the frame's is {unit}",
                    table=table.name,
                    column=column.name,
                    value=column.unit or "none",
                )
            if column.ucd not in {f"{word};stat.{end}" for word in expected_ucds.split("|")}:
                collector.add_finding(
                    "epn.frame-ucd",
                    f"the frame's is {expected_ucds};stat.{end}",
                    table=table.name,
                    column=column.name,
                    value=column.ucd or "none",
                )
            _check_resolution(table, table.find_column(f"c{number}_resol_{end}"), unit, end, collector)


def _check_resolution(
    table: DeclaredTable, column: DeclaredColumn | None, unit: str, end: str, collector: FindingCollector
) -> None:
    if column is None:
        return
    if column.unit != unit:
        collector.add_finding(
            "epn.frame-unit",
            f"the frame's is {unit}",
            table=table.name,
            column=column.name,
            value=column.unit or "none",
        )
    ucd = f"{'pos.angResolution' if unit == 'deg' else 'pos.resolution'};stat.{end}"
    if column.ucd != ucd:
        collector.add_finding(
            "epn.frame-ucd", f"the frame's is {ucd}", table=table.name, column=column.name, value=column.ucd or "none"
        )


GROUP = CheckGroup(name="epn", title="EPN-TAP", checks=(*EPNCORE_CHECKS, *EPNCORE_ROW_CHECKS), run=_check_epncore)
