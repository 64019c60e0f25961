"""The key ``progress`` of tables in descriptors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.model.errors import TextPlace, suggest_spelling
from hven.plugins.progress.progress_section_keys import ProgressSection

if TYPE_CHECKING:
    from hven.descriptor.api.keys import TableDescriptorKeyValue
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.table import Column, Table

PROGRESS_KEY = "progress"
MAX_STAGES = 8  # as many colours as readers can tell apart
_EXAMPLE = """\
progress: {column: state, stages: [planned, observed, reduced], by: programme, calendar: last_night}
columns: {state: string, programme: string, last_night: timestamp}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressRules:
    """What the key of a table says.

    Attributes
    ----------
    column
        Name of the column of stages; empty: none.
    stages
        Stages from the first to the last; empty: the codes of the column's enumeration.
    by
        Names of the columns by which stages are also counted.
    calendar
        Name of the column of times; empty: none.
    place
        Place in the descriptor.
    """

    column: str = ""
    stages: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    calendar: str = ""
    place: TextPlace = field(default=TextPlace(), compare=False, repr=False)


def find_progress_rules(table: Table) -> ProgressRules | None:
    """Return what the key of a table says; None if the table does not have it.

    Parameters
    ----------
    table
        A table.
    """
    rules: ProgressRules | None = table.extensions.get(PROGRESS_KEY)
    return rules


def list_stages(table: Table, rules: ProgressRules) -> tuple[str, ...]:
    """List the stages of a table, from the first to the last.

    Parameters
    ----------
    table
        A table with stages.
    rules
        What its key says.
    """
    if rules.stages:
        return rules.stages
    codes = table.enums.get(table.find_column(rules.column).enum or "", {})
    return tuple(str(code) for code in codes)


def _read_progress_rules(key_value: TableDescriptorKeyValue) -> ProgressRules:
    fields = key_value.value
    rules = ProgressRules(
        column=str(fields.get("column", "")),
        stages=tuple(str(stage) for stage in fields.get("stages", ())),
        by=tuple(str(name) for name in fields.get("by", ())),
        calendar=str(fields.get("calendar", "")),
        place=fields.place,
    )
    faults = key_value.faults
    if not rules.column and not rules.calendar:
        message = f"{key_value.key_path}: there is nothing to show, because both `column` and `calendar` are missing"
        faults.add_error(message, rules.place, "add `column: COLUMN_OF_STAGES` or `calendar: COLUMN_OF_TIMES`")
    if not rules.column:
        for name in ("stages", "by"):
            if name in fields:
                message = f"{key_value.key_path}.{name}: Hven cannot count stages, because `column` is missing"
                faults.add_error(message, rules.place, "add `column: COLUMN_OF_STAGES`")
    repeated_stages = sorted({stage for stage in rules.stages if rules.stages.count(stage) > 1})
    for stage in repeated_stages:
        faults.add_error(f"{key_value.key_path}.stages: {stage!r} is listed twice", rules.place, "list each stage once")
    return rules


def _check_columns(key_path: str, table: Table, faults: FaultCollector) -> None:
    """Check that a table has the columns of its key, and that they can be counted."""
    rules = find_progress_rules(table)
    if rules is None:
        return
    columns = {column.name: column for column in table.columns}
    named_columns = [("column", rules.column), *(("by", name) for name in rules.by), ("calendar", rules.calendar)]
    for key, name in named_columns:
        if not name:
            continue
        column = columns.get(name)
        if column is None:
            hint = suggest_spelling(name, columns) or f"the table has {', '.join(columns)}"
            faults.add_error(f"{key_path}.{key}: the table has no column {name!r}", rules.place, hint)
        elif key == "calendar" and not is_time_column(column):
            message = f"{key_path}.calendar: {name!r} is not a time: it is {column.type}, in {column.unit or 'no unit'}"
            faults.add_error(message, rules.place, "use a timestamp, or a number of days with a UCD such as time.epoch")
        elif key != "calendar" and not (column.type.is_string or column.type.is_integer):
            message = f"{key_path}.{key}: {name!r} is {column.type}, so Hven cannot count its values"
            faults.add_error(message, rules.place, "use a column of text or whole numbers")
    if rules.column in columns:
        _check_stage_count(key_path, table, rules, faults)


def _check_stage_count(key_path: str, table: Table, rules: ProgressRules, faults: FaultCollector) -> None:
    stages = list_stages(table, rules)
    if not stages:
        message = f"{key_path}: Hven does not know the order of the stages of {rules.column!r}"
        faults.add_error(message, rules.place, "add `stages`, or give the column an `enum`")
    elif len(stages) > MAX_STAGES:
        message = f"{key_path}: there are {len(stages)} stages, but the page can show at most {MAX_STAGES}"
        faults.add_error(message, rules.place, "list fewer stages. The page counts all others together")


def is_time_column(column: Column) -> bool:
    """Return whether the days of a column can be counted: a timestamp, or a number with a known epoch.

    Parameters
    ----------
    column
        A column.
    """
    if column.type.is_timestamp:
        return True
    return column.type.is_numeric and column.unit == "d" and (column.ucd or "").startswith("time")


PROGRESS = TableDescriptorKey(
    value_type=ProgressSection,
    doc="the stages of the rows, and a calendar, which the page `/progress/NAME` shows",
    convert_value=_read_progress_rules,
    previous_key="endpoints",
    check_table=_check_columns,
    reference_sections=(
        KeyReferenceSection("table progress", "table", keys="progress", shown_in="progress"),
        KeyReferenceSection("progress", "progress", example=_EXAMPLE),
    ),
)
