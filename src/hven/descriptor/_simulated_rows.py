"""``simulated:`` of a table of which some rows are computed and not observed: a column says of each row which it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import parse_condition
from hven.descriptor._merging import merge_entries
from hven.descriptor._name_resolution import add_place
from hven.descriptor.written_yaml import WrittenMap, WrittenScalar
from hven.model.errors import ParseError
from hven.model.resource import DATA_SOURCE_COLUMN, DATA_SOURCE_VOCABULARY_URI

if TYPE_CHECKING:
    from hven.model.errors import Place

DATA_SOURCE_COLUMN_KEYS = {
    "type": "string",
    "ucd": "meta.code.class",
    "utype": DATA_SOURCE_VOCABULARY_URI,
    "rank": "5",
    "description": (
        "Where the row comes from: observation, or theory if it is simulated (the IVOA's vocabulary data-source)"
    ),
}


def add_data_source_column(table: WrittenMap) -> WrittenMap:
    """Add the column, and what sets it, to what the table says."""
    simulated_condition = table.get("simulated")  # type: ignore[call-overload]
    if not isinstance(simulated_condition, WrittenScalar):  # there is none, or its shape is told with the others'
        return table
    try:
        parse_condition(str(simulated_condition))
    except ParseError:  # told with those of the table's other conditions
        return table
    expression = (
        f"CASE WHEN {simulated_condition} THEN 'theory' WHEN NOT ({simulated_condition}) THEN 'observation' END"
    )
    data_source_column = build_data_source_column(simulated_condition.place)
    entries = _build_entries({DATA_SOURCE_COLUMN: expression}, simulated_condition.place)
    lower: dict[str, Any] = {
        "columns": data_source_column,
        "map": entries,
    }
    if not {"columns", "standard", "follow"} & {str(key) for key in table}:
        lower["follow"] = WrittenScalar(
            "true", simulated_condition.page, simulated_condition.start, simulated_condition.end
        )
    return merge_entries(
        WrittenMap(
            {add_place(key, simulated_condition.place): value for key, value in lower.items()},
            simulated_condition.place,
        ),
        table,
        "table",
    )


def build_data_source_column(place: Place) -> WrittenMap:
    """Describe the column."""
    return WrittenMap({add_place(DATA_SOURCE_COLUMN, place): _build_entries(DATA_SOURCE_COLUMN_KEYS, place)}, place)


def _build_entries(values: dict[str, str], place: Place) -> WrittenMap:
    return WrittenMap({add_place(key, place): add_place(value, place) for key, value in values.items()}, place)


__all__ = ["add_data_source_column", "build_data_source_column"]
