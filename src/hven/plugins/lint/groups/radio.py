"""Group radio: ObsCore's extension for radio data, ivoa.obscore_radio, and how it joins with ivoa.obscore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint import row_rules
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.facts import load_standard_columns
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.groups.epncore import NUMERIC_DATATYPES, get_votable_datatype
from hven.plugins.lint.votable import TEXT_DATATYPES

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import DeclaredTable, ExaminedTapService

RADIO_CHECKS = parse_lint_checks("""
radio.utype | warning | ObsCore radio extension (draft 2025-09)
    the table does not have the extension's utype
    set ivo://ivoa.net/std/obscore#radio-ext-1.0
radio.missing-column | error | ObsCore radio extension (draft 2025-09)
    a column of the extension is missing
    add the column, with NULL where there is no value
radio.type | error | ObsCore radio extension (draft 2025-09)
    a column contains numbers instead of text, or text instead of numbers
    use numbers for quantities, and text for words
radio.unit | error | ObsCore radio extension (draft 2025-09)
    a column's unit differs from the extension
    convert the values, and declare the unit of the extension
radio.ucd | warning | ObsCore radio extension (draft 2025-09)
    the UCD of a column is different from the extension's
    use the UCD of the extension
radio.natural-join | error | ObsCore radio extension (draft 2025-09)
    a column other than obs_publisher_did is also in ivoa.obscore, so NATURAL JOIN returns no rows
    keep this column only in the radio table
radio.condition | error | TAP 1.1 sec. 2.7; ADQL 2.1 sec. 2.2 | E_QERR E_QERX
    a plain ADQL condition on a column fails
    read the service's own message, and check the column's type
radio.orphan | error | ObsCore radio extension (draft 2025-09)
    an obs_publisher_did is not in ivoa.obscore
    publish the observation there, or remove the row
radio.null | error | ObsCore radio extension (draft 2025-09)
    a row has no obs_publisher_did
    write a value
radio.interval-order | error | ObsCore radio extension (draft 2025-09)
    an interval's minimum is above its maximum
    swap them
radio.negative | error | ObsCore radio extension (draft 2025-09)
    a quantity is negative
    write sizes, resolutions and distances >= 0
radio.fill | warning | ObsCore radio extension (draft 2025-09)
    an eccentricity or a filling factor is outside 0..1
    write values from 0 to 1
""")
RADIO_UTYPE = "ivo://ivoa.net/std/obscore#radio-ext-1.0"
KEY_COLUMNS = ("obs_publisher_did",)
INTERVAL_COLUMNS = ("s_resolution", "s_fov", "uv_distance", "instr_tel")


def _check_radio_table(service: ExaminedTapService, collector: FindingCollector) -> None:
    table = service.declared_tables.get("ivoa.obscore_radio") or next(
        (declared_table for declared_table in service.list_tables() if declared_table.utype.lower() == RADIO_UTYPE),
        None,
    )
    if table is None:
        collector.add_unchecked_reason("there is no radio extension of ObsCore")
        return
    if table.utype.lower() != RADIO_UTYPE:
        collector.add_finding("radio.utype", table=table.name, value=table.utype or "none")
    standard_columns = load_standard_columns("obscore_radio")
    for standard_column in standard_columns.values():
        column = table.find_column(standard_column.name)
        if column is None:
            if standard_column.is_mandatory:
                collector.add_finding("radio.missing-column", table=table.name, column=standard_column.name)
            continue
        location: dict[str, Any] = {"table": table.name, "column": column.name}
        allowed_datatypes = TEXT_DATATYPES if standard_column.type == "text" else NUMERIC_DATATYPES
        # the draft does not say what that is: a number or a word
        if get_votable_datatype(column) not in allowed_datatypes and standard_column.name != "instr_feed":
            collector.add_finding("radio.type", **location, value=column.datatype)
        if column.unit != standard_column.unit:
            detail = f"it must be {standard_column.unit or 'none'}"
            collector.add_finding("radio.unit", detail, **location, value=column.unit or "none")
        if standard_column.ucd and column.ucd.lower() != standard_column.ucd.lower():
            detail = f"it must be {standard_column.ucd}"
            collector.add_finding("radio.ucd", detail, **location, value=column.ucd or "none")
    obscore_table = service.declared_tables.get("ivoa.obscore")
    if obscore_table is not None:
        shared_names = table.column_names & obscore_table.column_names
        for name in sorted(shared_names - {"obs_publisher_did"}):
            collector.add_finding("radio.natural-join", table=table.name, column=name)
    try:
        _check_radio_rows(service, collector, table, has_obscore=obscore_table is not None)
    except UserError as error:
        collector.add_unchecked_reason(f"{table.name}: {error.message}")


def _check_radio_rows(
    service: ExaminedTapService, collector: FindingCollector, table: DeclaredTable, *, has_obscore: bool
) -> None:
    rules = [
        row_rules.build_not_null_rule("radio.null", "obs_publisher_did"),
        row_rules.build_order_rule("radio.interval-order", "instr_tel_min_dist", "instr_tel_max_dist"),
        row_rules.build_range_rule("radio.fill", "uv_distribution_ecc", 0, 1),
        row_rules.build_range_rule("radio.fill", "uv_distribution_fill", 0, 1),
    ]
    for name in INTERVAL_COLUMNS[:3]:
        rules.append(row_rules.build_order_rule("radio.interval-order", f"{name}_min", f"{name}_max"))  # noqa: PERF401
    for standard_column in load_standard_columns("obscore_radio").values():
        name = standard_column.name
        if standard_column.type != "text" and not name.startswith("uv_distribution"):
            rules.append(row_rules.build_range_rule("radio.negative", name, 0, 1e300))
    row_rules.check_row_rules(service, collector, table, rules, KEY_COLUMNS)
    if not has_obscore or "obs_publisher_did" not in table.column_names:
        return
    condition = "obs_publisher_did NOT IN (SELECT obs_publisher_did FROM ivoa.obscore)"
    try:
        orphan_rows = service.run_query(f"SELECT TOP 1 obs_publisher_did FROM {table.name} WHERE {condition}", 1).rows
    except UserError as error:
        collector.add_unchecked_reason(f"whether each radio row has its observation: {error.message}")
        return
    if orphan_rows:
        count = service.query_number(f"SELECT COUNT(*) AS n FROM {table.name} WHERE {condition}") or 1
        collector.add_finding(
            "radio.orphan", table=table.name, column="obs_publisher_did", value=orphan_rows[0][0], count=count
        )


GROUP = CheckGroup(name="radio", title="ObsCore for radio data", checks=RADIO_CHECKS, run=_check_radio_table)
