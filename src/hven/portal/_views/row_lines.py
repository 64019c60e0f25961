"""Choose the lines of a table's page: one for each observation, with its files, or one for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model.table import find_begin_and_end_time_columns
from hven.portal._explore import TableSearch, observation_lines, row_pages
from hven.portal._explore.cell_text import MAX_CELL_CHARACTERS, TextCell
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.first_columns import choose_initial_columns, find_searched_column_names, find_title_column
from hven.portal._pages.texts import load_page_translations
from hven.services.file_rows import classify_column_display

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore.observation_lines import ObservationColumnRoles, ObservationFile
    from hven.portal._explore.row_pages import RowPage
    from hven.portal._views.table_view import TableView

DIFFERENT_VALUES_TEXT = "{count} different"  # shown for values that differ between the files of a line
MAX_SORTED_ROWS = 1_000_000  # larger tables are not sorted by time by default


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOrObservationSearch:
    """The search of a page's lines.

    Attributes
    ----------
    observation_key
        The key of observations, if they are the lines.
    other_search
        The same search with the other kind of lines (files or observations); None if there is only one kind.
    """

    search: TableSearch
    observation_key: ObservationColumnRoles | None
    other_search: TableSearch | None

    def build_all_lines_search(self, table_view: TableView) -> TableSearch:
        """Return the search of all lines of the table."""
        table_search = TableSearch(table=table_view.table)
        if self.observation_key is None:
            return table_search
        return observation_lines.build_observation_line_search(table_search, self.observation_key)

    def list_line_files_and_summarize_cells(
        self, page: RowPage, table_view: TableView, cell_rows: list[list[TextCell | None]]
    ) -> list[list[ObservationFile]]:
        """Return the files of each line's observation.

        Where texts differ between the files of a line, its cell in `cell_rows` gets the number of different texts.
        """
        if self.observation_key is None:
            return []
        title_column = find_title_column(table_view.table)
        shown_columns = self.list_shown_columns(table_view)
        unsummarized_names = set(self.observation_key.columns)
        if title_column is not None:
            unsummarized_names.add(title_column.name)
        summarized_names = set(shown_columns) - unsummarized_names
        summarized_columns = {}
        for at, column in enumerate(page.columns):
            is_text = column.type.is_string and classify_column_display(column, table_view.table) in {"text", "code"}
            if column.name in summarized_names and is_text:
                summarized_columns[at] = column.name
        line_files = observation_lines.list_observation_files(
            page, table_view.search, self.observation_key, table_view.runner, list(summarized_columns.values())
        )
        texts = load_page_translations(table_view.labels.language)
        template_text = texts.get(DIFFERENT_VALUES_TEXT, DIFFERENT_VALUES_TEXT)
        for line, observation_files in zip(cell_rows, line_files, strict=True):
            values_by_column = zip(*(observation_file.values for observation_file in observation_files), strict=True)
            for at, values in zip(summarized_columns, values_by_column, strict=False):
                distinct_values = list(dict.fromkeys(values))
                if len(distinct_values) > 1:
                    title = ", ".join(map(str, filter(None, distinct_values)))
                    text = template_text.format(count=len(distinct_values))
                    line[at] = TextCell(text=text, title=title[:MAX_CELL_CHARACTERS])
        return line_files

    def line_facts_to_json(
        self, line_files: Sequence[Sequence[ObservationFile]], table_view: TableView
    ) -> dict[str, Any]:
        """Return the JSON of the lines besides their cells: shown columns in order, and files of observations."""
        shown_columns = self.list_shown_columns(table_view)
        line_facts: dict[str, Any] = {"drawn": shown_columns}
        if self.observation_key is not None:
            files = [[observation_file_to_json(observation_file) for observation_file in files] for files in line_files]
            line_facts |= {"files": files, **self.count_rows_of_observations(table_view)}
        return line_facts

    def list_shown_columns(self, table_view: TableView) -> list[str]:
        """Return the names of the columns that are shown, in their order."""
        initial_columns = choose_initial_columns(
            table_view.search, find_constant_columns(table_view.search, table_view.runner), self.observation_key
        )
        return list(initial_columns)

    def count_rows_of_observations(self, table_view: TableView) -> dict[str, Any]:
        """Return the number of rows of all lines."""
        if self.observation_key is None:
            return {}
        row_count = row_pages.count_rows(table_view.search, table_view.runner)
        return {"of_rows": row_count.rows}


def build_page_line_search(table_view: TableView) -> FileOrObservationSearch:
    """Build the line view of a page.

    Parameters
    ----------
    table_view
        The table and the search.

    Returns
    -------
    line_view
        The search of the lines.
    """
    search = table_view.search
    observation_key = observation_lines.find_observation_column_roles(table_view.table, table_view.runner)
    active_key = None if search.each else observation_key
    if not search.columns:  # the search of lines has another condition, without names of columns
        shown_names = (column.name for column in search.list_shown_columns())
        columns = tuple(dict.fromkeys([*shown_names, *find_searched_column_names(search)]))
        search = search.copy_with(columns=columns)
    if not search.order:
        begin, _ = find_begin_and_end_time_columns(table_view.table)
        row_count = table_view.runner.find_table_with_visible_counts(table_view.table).rows or MAX_SORTED_ROWS + 1
        if begin is not None and row_count <= MAX_SORTED_ROWS:
            search = search.copy_with(order=((begin.name, False),))
    return FileOrObservationSearch(
        search=search if active_key is None else observation_lines.build_observation_line_search(search, active_key),
        observation_key=active_key,
        other_search=None if observation_key is None else table_view.search.copy_with(each=not table_view.search.each),
    )


def observation_file_to_json(file: observation_lines.ObservationFile) -> dict[str, Any]:
    """Return a file as JSON."""
    if file.picture:
        picture = {"picture": file.picture}
    else:
        picture = {}
    return {"key": file.key, "href": file.address, "text": file.word, "bytes": file.size, **picture}
