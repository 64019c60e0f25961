"""The table key ``simulated``: a column tells for each row whether it was computed or observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import parse_condition
from hven.descriptor._merging import merge_yaml_maps
from hven.descriptor._name_resolution import with_place
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar
from hven.model.errors import ParseError
from hven.model.resource import DATA_SOURCE_COLUMN, DATA_SOURCE_VOCABULARY_URI

if TYPE_CHECKING:
    from hven.model.errors import TextPlace

DATA_SOURCE_COLUMN_KEYS = {
    "type": "string",
    "ucd": "meta.code.class",
    "utype": DATA_SOURCE_VOCABULARY_URI,
    "rank": "5",
    "description": (
        "Where the row comes from: observation, or theory if it is simulated (the IVOA's vocabulary data-source)"
    ),
}


def add_data_source_column(table: LocatedYamlMap) -> LocatedYamlMap:
    """Add the column, and what sets it, to what the table says."""
    simulated_condition = table.get("simulated")  # type: ignore[call-overload]
    if not isinstance(simulated_condition, LocatedYamlScalar):  # there is none, or its shape is told with the others'
        return table
    try:
        parse_condition(str(simulated_condition))
    except ParseError:  # told with those of the table's other conditions
        return table
    expression = (
        f"CASE WHEN {simulated_condition} THEN 'theory' WHEN NOT ({simulated_condition}) THEN 'observation' END"
    )
    data_source_column = build_data_source_column(simulated_condition.place)
    entries = _build_located_map({DATA_SOURCE_COLUMN: expression}, simulated_condition.place)
    lower: dict[str, Any] = {
        "columns": data_source_column,
        "map": entries,
    }
    if not {"columns", "standard", "follow"} & {str(key) for key in table}:
        lower["follow"] = LocatedYamlScalar(
            "true", simulated_condition.page, simulated_condition.start, simulated_condition.end
        )
    return merge_yaml_maps(
        LocatedYamlMap(
            {with_place(key, simulated_condition.place): value for key, value in lower.items()},
            simulated_condition.place,
        ),
        table,
        "table",
    )


def build_data_source_column(place: TextPlace) -> LocatedYamlMap:
    """Describe the column."""
    return LocatedYamlMap(
        {with_place(DATA_SOURCE_COLUMN, place): _build_located_map(DATA_SOURCE_COLUMN_KEYS, place)}, place
    )


def _build_located_map(values: dict[str, str], place: TextPlace) -> LocatedYamlMap:
    return LocatedYamlMap({with_place(key, place): with_place(value, place) for key, value in values.items()}, place)
