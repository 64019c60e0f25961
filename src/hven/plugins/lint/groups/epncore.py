"""Group epn: tables of EPN-TAP 2.0 - their names, columns, types, units and UCDs; `epnvalues` looks at their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint import row_rules
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.facts import load_standard_columns
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.groups.epncore_rows import EPNCORE_ROW_CHECKS, check_epn_rows
from hven.plugins.lint.votable import INTEGER_RANGES, TEXT_DATATYPES

if TYPE_CHECKING:
    from hven.plugins.lint.facts import StandardColumn
    from hven.plugins.lint.tap_service import DeclaredColumn, DeclaredTable, ExaminedTapService

EPNCORE_UTYPE = "ivo://ivoa.net/std/epntap#table-2.0"
LEGACY_EPNCORE_UTYPE = "ivo://vopdc.obspm/std/epncore#schema-2.0"
EPNCORE_CHECKS = parse_lint_checks("""
epn.utype | error | EPN-TAP 2.0 sec. 3 | E_PNUT
    a table called epn_core does not have EPN-TAP's utype
    set utype ivo://ivoa.net/std/epntap#table-2.0
epn.old-utype | warning | EPN-TAP 2.0 sec. 3 | W_PNUB
    a table's utype is older than the standard
    set utype ivo://ivoa.net/std/epntap#table-2.0
epn.name | error | EPN-TAP 2.0 sec. 3 | E_PNTN
    a table with EPN-TAP's utype is not called epn_core
    call it schema.epn_core
epn.missing-column | error | EPN-TAP 2.0 sec. 3 | E_PN0C
    a mandatory column is missing
    add the column; it may be NULL unless the standard says otherwise
epn.type | error | EPN-TAP 2.0 sec. 3 | E_PNDE
    a column's datatype differs from the standard
    use char for text; short, int or long for integers; float or double for floats
epn.precision | error | EPN-TAP 2.0 sec. 2.3 | E_PNDE
    a Julian Date is not in double precision
    use double, because float stores Julian Dates only to a quarter of a day
epn.unit | error | EPN-TAP 2.0 sec. 3 | E_CUNI
    the unit of a column is different from the standard's
    convert the values, and use exactly this unit
epn.ucd | error | EPN-TAP 2.0 sec. 3 | E_CUCD
    the UCD of a column is different from the standard's
    use exactly this UCD, because clients compare the strings
epn.xtype | error | EPN-TAP 2.0 sec. 3; DALI 1.1 sec. 3.3 | E_PNXT
    a column's xtype differs from the standard
    use timestamp for times, and moc for coverage
epn.region-xtype | error | EPN-TAP 2.0 sec. 2.4; DALI 1.1 sec. 3.3.7 | E_SRXT
    s_region is neither a string with the xtype adql:REGION nor an array with the xtype of a shape
    set the datatype and the xtype of one of these
epn.pair | error | EPN-TAP 2.0 sec. 2 | E_PNMX
    a table has only one of the two columns (minimum and maximum) of an interval
    add the missing column
epn.frame-unit | warning | EPN-TAP 2.0 sec. 2.4 | W_SPUN
    a coordinate is not in the unit of the table's only frame
    use the frame's unit
epn.frame-ucd | warning | EPN-TAP 2.0 sec. 2.4 | W_SPUC
    a coordinate does not have the UCD of the table's only frame
    use the frame's UCD
epn.column-name | warning | EPN-TAP 2.0 sec. 3
    a column's name is not in lower case with underscores
    rename it
epn.reserved | error | EPN-TAP 2.0 sec. 3
    a column has the reserved name accref
    rename the column
epn.access-columns | error | EPN-TAP 2.0 sec. 3
    a table has access_url, but not both access_format and access_estsize
    add the missing columns
epn.function | warning | EPN-TAP 2.0 sec. 4; ADQL UDF catalogue 1.1
    ivo_hashlist_has is not declared
    support it, because clients search lists with it
""")
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
    """Return the tables of EPN-TAP, by their name or their utype."""
    epn_tables = []
    for table in service.list_tables():
        has_epn_name = table.comparison_name.rpartition(".")[2] == "epn_core"
        if has_epn_name or table.utype.lower() in {EPNCORE_UTYPE, LEGACY_EPNCORE_UTYPE}:
            epn_tables.append(table)
    return epn_tables


def _check_epn_tables(service: ExaminedTapService, collector: FindingCollector) -> None:
    epn_tables = find_epn_tables(service)
    if not epn_tables:
        collector.add_unchecked_reason("there is no EPN-TAP table")
        return
    if service.capabilities.languages and not service.capabilities.has_feature("ivo_hashlist_has"):
        collector.add_finding("epn.function")
    for table in epn_tables:
        _check_epn_table(table, collector)
        try:
            row_sample = row_rules.fetch_row_sample(service, table)
        except UserError as error:
            collector.add_unchecked_reason(f"{table.name}: {error.message}")
            continue
        _check_region_xtype(table, row_sample, collector)
        _check_frame_columns(service, table, collector)
        check_epn_rows(service, collector, table)


def _check_epn_table(table: DeclaredTable, collector: FindingCollector) -> None:
    utype = table.utype.lower()
    if utype == LEGACY_EPNCORE_UTYPE:
        collector.add_finding("epn.old-utype", table=table.name, value=table.utype)
    elif utype != EPNCORE_UTYPE:
        collector.add_finding("epn.utype", table=table.name, value=table.utype or "none")
    if table.comparison_name.rpartition(".")[2] != "epn_core":
        collector.add_finding("epn.name", table=table.name, value=table.name)
    _check_epn_columns(table, collector)
    missing_columns = {"access_format", "access_estsize"} - table.column_names
    if "access_url" in table.column_names and missing_columns:
        detail = f"{', '.join(sorted(missing_columns))} is missing"
        collector.add_finding("epn.access-columns", detail, table=table.name, column="access_url")
    for column in table.columns:
        name = column.name.strip('"')
        is_plain_name = name.isascii() and name.replace("_", "a").isalnum()
        if name != name.lower() or not is_plain_name:
            collector.add_finding("epn.column-name", table=table.name, column=column.name, value=column.name)
        if column.comparison_name == "accref":
            collector.add_finding("epn.reserved", table=table.name, column=column.name)


def _check_epn_columns(table: DeclaredTable, collector: FindingCollector) -> None:
    """Check the columns of the standard that the table has, and report those that it lacks."""
    standard_columns = load_standard_columns("epncore")
    for standard_column in standard_columns.values():
        column = table.find_column(standard_column.name)
        if column is None:
            if standard_column.is_mandatory:
                collector.add_finding("epn.missing-column", table=table.name, column=standard_column.name)
            continue
        _check_epn_column(table, column, standard_column, collector)
        paired_name = standard_column.paired_column
        if not paired_name or table.find_column(paired_name) is not None:
            continue
        if not standard_columns[paired_name].is_mandatory:
            detail = f"{paired_name} is missing"
            collector.add_finding("epn.pair", detail, table=table.name, column=standard_column.name)


def get_votable_datatype(column: DeclaredColumn) -> str:
    """Return the VOTable datatype of a column; names of TAP 1.0 are translated."""
    datatype_name = column.datatype.lower().removeprefix("adql:").partition("(")[0]
    return TAP_1_0_DATATYPES.get(datatype_name, column.datatype)


def is_allowed_datatype(standard_type: str, column: DeclaredColumn) -> bool:
    """Return whether a standard's type allows the datatype of a column."""
    datatype = get_votable_datatype(column)
    if standard_type in {"text", "timestamp"}:
        return datatype in TEXT_DATATYPES
    if standard_type == "integer":
        return datatype in INTEGER_RANGES
    return standard_type == "region" or datatype in {"float", "double"}


def _check_epn_column(
    table: DeclaredTable, column: DeclaredColumn, standard_column: StandardColumn, collector: FindingCollector
) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    required_type, required_ucd, required_unit = standard_column.type, standard_column.ucd, standard_column.unit
    xtype = column.xtype.lower()
    if not is_allowed_datatype(required_type, column):
        detail = f"it must be {required_type.rstrip('!')}"
        collector.add_finding("epn.type", detail, **location, value=column.datatype)
    elif required_type == "double!" and get_votable_datatype(column) != "double":
        collector.add_finding("epn.precision", **location, value=column.datatype)
    is_timestamp = xtype in {"timestamp", "adql:timestamp"} or column.datatype.lower() == "timestamp"
    if required_type == "timestamp" and not is_timestamp:
        collector.add_finding("epn.xtype", "it must be timestamp", **location, value=column.xtype or "none")
    if standard_column.xtype == "moc" and xtype != "moc":
        collector.add_finding("epn.xtype", "it must be moc", **location, value=column.xtype or "none")
    if not required_unit.startswith("by-") and column.unit != required_unit:
        detail = f"it must be {required_unit or 'none'}"
        collector.add_finding("epn.unit", detail, **location, value=column.unit or "none")
    if not required_ucd.startswith("by-") and column.ucd not in required_ucd.split("|"):
        detail = f"it must be {required_ucd.replace('|', ' or ')}"
        collector.add_finding("epn.ucd", detail, **location, value=column.ucd or "none")


def _check_region_xtype(table: DeclaredTable, row_sample: row_rules.RowSample, collector: FindingCollector) -> None:
    field = next((field for field in row_sample.fields if field.name.lower() == "s_region"), None)
    if field is None or all(record.get("s_region") is None for record in row_sample.records):
        return
    allowed_xtypes = {"point", "circle", "polygon"}
    if field.is_text:
        allowed_xtypes = {"adql:region"}
    if field.xtype.lower() not in allowed_xtypes:
        detail = f"{field.datatype} with xtype {field.xtype or 'none'}"
        collector.add_finding("epn.region-xtype", detail, table=table.name, column="s_region", value=field.xtype)


def _check_frame_columns(service: ExaminedTapService, table: DeclaredTable, collector: FindingCollector) -> None:
    """Compare c1..c3 with the frame, if all rows of the table have the same."""
    try:
        frame_rows = service.run_query(f"SELECT DISTINCT TOP 3 spatial_frame_type FROM {table.name}", 3).rows
    except UserError:
        return
    frames = {str(row[0]) for row in frame_rows}
    if len(frames) != 1:
        return
    coordinates = FRAME_COORDINATES.get(frames.pop(), ())
    for number, (expected_ucds, unit) in enumerate(coordinates, 1):
        for end in ("min", "max"):
            column = table.find_column(f"c{number}{end}")
            if column is None:
                continue
            _check_frame_column(table, column, unit, f"{expected_ucds};stat.{end}", collector)
            resolution_column = table.find_column(f"c{number}_resol_{end}")
            if resolution_column is not None:
                word = "pos.angResolution" if unit == "deg" else "pos.resolution"
                _check_frame_column(table, resolution_column, unit, f"{word};stat.{end}", collector)


def _check_frame_column(
    table: DeclaredTable, column: DeclaredColumn, unit: str, expected_ucds: str, collector: FindingCollector
) -> None:
    """Compare a column with unit and UCD of the frame; `a|b;c` stands for the UCDs `a;c` and `b;c`."""
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    if column.unit != unit:
        collector.add_finding("epn.frame-unit", f"the frame requires {unit}", **location, value=column.unit or "none")
    words, _, suffix = expected_ucds.rpartition(";")
    if column.ucd not in {f"{word};{suffix}" for word in words.split("|")}:
        detail = f"the frame requires {expected_ucds}"
        collector.add_finding("epn.frame-ucd", detail, **location, value=column.ucd or "none")


GROUP = CheckGroup(name="epn", title="EPN-TAP", checks=(*EPNCORE_CHECKS, *EPNCORE_ROW_CHECKS), run=_check_epn_tables)
