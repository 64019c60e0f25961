"""Find rows of a period: of all tables with times, or with further words."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.plugins.discovery import data_search
from hven.plugins.discovery.searched_periods import build_period_conditions
from hven.plugins.discovery.value_index import ValueMatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.plugins.discovery.data_search import DataSearchResult
    from hven.plugins.discovery.searched_periods import SearchedPeriod
    from hven.portal.api.table_rows import QueryRunner

MAX_COUNTED_TABLES = 24  # tables, or values, whose rows of a period are counted
PERIOD_SCORE = 60.0


def find_rows_in_period(
    period: SearchedPeriod,
    data: DataSearchResult,
    tables: Sequence[Table],
    runner: QueryRunner,
    *,
    wait_seconds: float,
) -> list[ValueMatch]:
    """Find rows of a period, those of the most rows first; matches without such rows are left out.

    Parameters
    ----------
    period
        The period.
    data
        What the other words find; if there are no other words, all tables with times are counted.
    tables
        The tables that the reader may see.
    runner
        Runs queries for the reader.
    wait_seconds
        The time for counting rows.
    """
    if period.other_words:
        matches = [*data.values, *(match for _, match in data.place_matches)]
    else:
        matches = [
            ValueMatch(table=table, text="", conditions=(), row_count=None, score=PERIOD_SCORE) for table in tables
        ]
    period_matches = []
    for match in matches:
        conditions = build_period_conditions(period, match.table)
        if conditions:
            text = f"{match.text}, {period.text}" if match.text else period.text
            period_match = replace(
                match, text=text, conditions=(*match.conditions, *conditions), row_count=None, values=()
            )
            period_matches.append(period_match)
    period_matches = period_matches[:MAX_COUNTED_TABLES]
    counted = [match for match in period_matches if not match.is_live]
    row_counts = data_search.count_rows_of_matches(
        counted, tables, replace(runner, on_query_start=None), time.monotonic() + wait_seconds
    )
    found_matches = [replace(match, row_count=row_counts.get(id(match))) for match in period_matches]
    return sorted((match for match in found_matches if match.row_count != 0), key=lambda match: -(match.row_count or 0))
