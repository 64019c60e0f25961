"""The data sets of a table, as its descriptor states them with ``series`` and with links to data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.table import TableExtension

if TYPE_CHECKING:
    from hven.model.table import Table, Template, TimeSeriesSpec

SERIES_KEY = "series"


@dataclass(frozen=True, slots=True)
class TableSeries(TableExtension):
    """The data sets of a table: the value of ``series`` in `Table.extensions`."""

    series: tuple[TimeSeriesSpec, ...]

    @property
    def has_row_links(self) -> bool:
        """Whether rows are spans of data sets whose samples are in their files."""
        return any(series.file for series in self.series)

    @property
    def row_file_templates(self) -> tuple[Template, ...]:
        """Templates of the paths of the files that contain the samples of the rows."""
        return tuple(series.file for series in self.series if series.file)


def list_table_series(table: Table) -> tuple[TimeSeriesSpec, ...]:
    """List the data sets of a table."""
    table_series: TableSeries | None = table.extensions.get(SERIES_KEY)
    if table_series is None:
        return ()
    return table_series.series


def list_spanned_data_set_ids(table: Table) -> tuple[str, ...]:
    """List the ids of the data sets of which a row is a span.

    They are those that the table's links name, and its own whose samples are in its rows' files.
    """
    if table.identifier_column is None:
        return ()
    own_ids = (series.id for series in list_table_series(table) if series.file)
    return tuple(dict.fromkeys((*table.spans, *own_ids)))
