"""Values of columns: conditions and queries about them, words of their codes, and counts that processes share."""

from __future__ import annotations

from hven.portal._condition_values import (
    ConditionValue,
    parse_number_and_unit,
    parse_time_range,
    split_condition_range,
)
from hven.portal._explore.column_labels import list_code_phrases
from hven.portal._explore.count_trees import has_externally_written_rows, has_hidden_rows
from hven.portal._explore.facets import (
    MAX_VALUE_CHARACTERS,
    Facet,
    FacetChoice,
    count_facet,
    find_facet_columns,
    write_choice_condition,
)
from hven.portal._explore.search import COUNT_ITEM, build_column_ref
from hven.portal._explore.value_files import SharedArrayFileCache

__all__ = [
    "COUNT_ITEM",
    "MAX_VALUE_CHARACTERS",
    "ConditionValue",
    "Facet",
    "FacetChoice",
    "SharedArrayFileCache",
    "build_column_ref",
    "count_facet",
    "find_facet_columns",
    "has_externally_written_rows",
    "has_hidden_rows",
    "list_code_phrases",
    "parse_number_and_unit",
    "parse_time_range",
    "split_condition_range",
    "write_choice_condition",
]
