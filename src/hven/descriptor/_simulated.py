"""``simulated:`` of a table of which some rows are computed and not observed: a column says of each row which it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import parse_condition
from hven.descriptor._expression_names import written
from hven.descriptor._merging import merge
from hven.descriptor.written import Entries, Written
from hven.model.errors import ParseError
from hven.model.resource import DATA_SOURCE, VOCABULARY

if TYPE_CHECKING:
    from hven.model.errors import Place

COLUMN = {
    "type": "string",
    "ucd": "meta.code.class",
    "utype": VOCABULARY,
    "rank": "5",
    "description": "Where the row comes from: observation, or theory if it is simulated (the IVOA's vocabulary data-source)",
}


def marked(table: Entries) -> Entries:
    """Add the column, and what sets it, to what the table says."""
    said = table.get("simulated")  # type: ignore[call-overload]
    if not isinstance(said, Written):  # there is none, or its shape is told with the others'
        return table
    try:
        parse_condition(str(said))
    except ParseError:  # told with those of the table's other conditions
        return table
    expression = f"CASE WHEN {said} THEN 'theory' WHEN NOT ({said}) THEN 'observation' END"
    lower: dict[str, Any] = {"columns": column(said.place), "map": _entries({DATA_SOURCE: expression}, said.place)}
    if not {"columns", "standard", "follow"} & {str(key) for key in table}:
        lower["follow"] = Written("true", said.page, said.start, said.end)
    return merge(Entries({written(key, said.place): value for key, value in lower.items()}, said.place), table, "table")


def column(place: Place) -> Entries:
    """Describe the column."""
    return Entries({written(DATA_SOURCE, place): _entries(COLUMN, place)}, place)


def _entries(values: dict[str, str], place: Place) -> Entries:
    return Entries({written(key, place): written(value, place) for key, value in values.items()}, place)


__all__ = ["column", "marked"]
