"""Links between rows that were made of each other.

They share names and times, and their levels of calibration say which came first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.adql_writer import quote_adql_name
from hven.descriptor._name_resolution import with_place
from hven.descriptor.value_schema import LocatedKeyValues
from hven.model.errors import suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.descriptor._collection_context import InheritedCollectionKeys
    from hven.descriptor.value_schema import FaultCollector

TIME_COLUMN_PAIRS = (("t_min", "t_max"), ("time_min", "time_max"))  # of ObsCore and EPN-TAP, in days
CALIBRATION_LEVEL_COLUMNS = ("calib_level", "processing_level")
# columns that many independent observations share
TARGET_NAME_COLUMNS = {"target_name", "target", "object", "alt_target_name", "target_class"}
DAY_SECONDS = 86_400.0


def expand_derived_link(
    key_path: str,
    link_fields: LocatedKeyValues,
    column_names: Sequence[str] | None,
    collection_context: InheritedCollectionKeys,
    faults: FaultCollector,
    *,
    table_name: str,
) -> Iterator[LocatedKeyValues]:
    """Write a link with ``derived`` as two: to the data that the row was made from, and to data made from it."""
    derived_fields = link_fields["derived"]
    place = link_fields.places["derived"]
    for key in ("semantics", "from", "where"):
        if key in link_fields:
            faults.add_error(
                f"{key_path}.{key}: `derived` already sets this key",
                link_fields.places[key],
                "remove this key or `derived`",
            )
            return
    shared_columns = [str(column_name) for column_name in derived_fields["by"]]
    begin, end, level = _find_time_and_level_columns(
        f"{key_path}.derived", shared_columns, derived_fields, column_names, faults
    )
    if not begin or not level:
        return
    source = str(derived_fields.get("in", f"{collection_context.schema}.{table_name}"))
    alias = source.rpartition(".")[2]

    def quote_both_columns(column: str) -> tuple[str, str]:
        return f"{quote_adql_name(alias)}.{quote_adql_name(column)}", f"target.{quote_adql_name(column)}"

    order_expression = ""
    conditions = []
    for shared_column in shared_columns:
        other_column, own_column = quote_both_columns(shared_column)
        conditions.append(f"{other_column} = {own_column}")
    if "within" in derived_fields:
        days = derived_fields["within"] / DAY_SECONDS
        their_begin, my_begin = quote_both_columns(begin)
        their_end, my_end = quote_both_columns(end)
        if "other_time" in derived_fields:
            their_begin, their_end = (quote_both_columns(str(column))[0] for column in derived_fields["other_time"])
        order_expression = their_begin
        conditions += [f"{their_begin} <= {my_end} + {days!r}", f"{their_end} >= {my_begin} - {days!r}"]
    other_level, own_level = quote_both_columns(level)
    conditions.append(f"{other_level} <> {own_level}")
    places = {
        **link_fields.places,
        **dict.fromkeys(("semantics", "from", "where", "if"), place),
        "order": link_fields.places.get("order", place),
    }
    for semantics, sign in (("progenitor", "<"), ("derivation", ">")):
        expanded_fields = LocatedKeyValues(link_fields.place, dict(places))
        expanded_fields.update({key: value for key, value in link_fields.items() if key != "derived"})
        condition = f"{other_level} {sign} {own_level}"
        if "if" in link_fields:
            condition += f" AND ({link_fields['if']})"
        texts = {"semantics": semantics, "from": source, "where": " AND ".join(conditions), "if": condition}
        if order_expression and "order" not in link_fields:
            texts["order"] = order_expression
        expanded_fields.update({key: with_place(text, place) for key, text in texts.items()})
        yield expanded_fields


def _find_time_and_level_columns(
    key_path: str,
    shared_columns: list[str],
    derived_fields: LocatedKeyValues,
    column_names: Sequence[str] | None,
    faults: FaultCollector,
) -> tuple[str, str, str]:
    """Find the columns of times and levels that the table has; empty: a fault was told."""
    if column_names is None:
        names_by_lower_case = None
    else:
        names_by_lower_case = {column_name.lower(): column_name for column_name in column_names}
    required_columns = [
        *shared_columns,
        *([str(derived_fields["level"])] if "level" in derived_fields else ()),
        *map(str, derived_fields.get("time", ())),
    ]
    for column_name in required_columns if names_by_lower_case is not None else ():
        if column_name.lower() not in (names_by_lower_case or {}):
            faults.add_error(
                f"{key_path}: the table has no column {column_name!r}",
                derived_fields.place,
                suggest_spelling(column_name, column_names or ()),
            )
            return "", "", ""
    if {
        column_name.lower() for column_name in shared_columns
    } <= TARGET_NAME_COLUMNS and "within" not in derived_fields:
        remedy = "add obs_id or the programme to `by`, or write `within: 10 min`"
        faults.add_error(
            f"{key_path}.by: if two observations have the same target, one is not necessarily derived from the other",
            derived_fields.places["by"],
            remedy,
        )
        return "", "", ""
    if "level" in derived_fields:
        level = str(derived_fields["level"])
    else:
        level = _find_first_known_column(CALIBRATION_LEVEL_COLUMNS, names_by_lower_case)
    if not level:
        remedy = (
            "write `level: COLUMN`, with a column whose value is larger in the derived row; Hven finds these columns "
            f"automatically: {', '.join(CALIBRATION_LEVEL_COLUMNS)}"
        )
        faults.add_error(
            f"{key_path}: no column shows which of two rows is derived from the other", derived_fields.place, remedy
        )
    times = [str(column_name) for column_name in derived_fields.get("time", ())] or [
        _find_first_known_column([pair[end] for pair in TIME_COLUMN_PAIRS], names_by_lower_case) for end in (0, 1)
    ]
    if "within" in derived_fields and (len(times) != 2 or not all(times)):
        remedy = (
            "write `time: [start, stop]`, with two columns of both tables that contain times in days; if the names in "
            "the other table differ, add `other_time: [..]`"
        )
        faults.add_error(
            f"{key_path}.within: no columns contain the start and end times of a row",
            derived_fields.places["within"],
            remedy,
        )
        return "", "", ""
    if "other_time" in derived_fields and (
        "within" not in derived_fields or "in" not in derived_fields or len(derived_fields["other_time"]) != 2
    ):
        remedy = "write `in: TABLE`, `within: 10 min` and `other_time: [start, stop]`"
        faults.add_error(
            f"{key_path}.other_time needs `in` and `within`, and must name two columns of the other table",
            derived_fields.places["other_time"],
            remedy,
        )
        return "", "", ""
    return times[0] or "-", times[-1] or "-", level


def _find_first_known_column(candidates: Sequence[str], known_names: dict[str, str] | None) -> str:
    return next((candidate for candidate in candidates if known_names is None or candidate in known_names), "")
