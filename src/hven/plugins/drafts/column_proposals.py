"""Propose UCDs and units for columns of published tables, from their names and statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.drafts.column_guesses import ColumnSampleStatistics, guess_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor import PublishedTableInfo
    from hven.model.table import Column


def propose_column_attributes(
    columns: Sequence[Column], published_table: PublishedTableInfo
) -> list[Mapping[str, str]]:
    """Propose the UCD and the unit of each column, as ``hven new`` guesses them.

    Parameters
    ----------
    columns
        Columns of the table.
    published_table
        The table, with statistics of its values.

    Returns
    -------
    proposals
        For each column, values by the keys ``ucd`` and ``unit``.
    """
    samples_by_column = _build_samples_from_statistics(published_table)
    guesses = guess_columns(columns, samples_by_column, is_complete=False, narrowable_names=())
    attributes = ({"ucd": guess.column.ucd, "unit": guess.column.unit} for guess in guesses)
    return [{key: value for key, value in values.items() if value} for values in attributes]


def _build_samples_from_statistics(published_table: PublishedTableInfo) -> dict[str, ColumnSampleStatistics]:
    """Turn the statistics of numbers into samples, from which columns are guessed."""
    samples_by_column = {}
    for name, statistics in published_table.statistics.items():
        if isinstance(statistics.get("minimum", 0), int | float):
            samples_by_column[name] = ColumnSampleStatistics(
                rows=published_table.rows or 0,
                nulls=int(str(statistics.get("nulls", 0))),
                minimum=statistics.get("minimum"),
                maximum=statistics.get("maximum"),
            )
    return samples_by_column
