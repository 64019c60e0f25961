"""Find out what the rows of a table are.

Tables whose rows are files have columns that link to the files and columns that name the observation of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hven.model.table import FILES_UTYPE, find_begin_and_end_time_columns, is_time_column
from hven.services.scripts import ADDRESS_COLUMNS, ADDRESS_PATTERN, PLACEHOLDER_PATTERN

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.site import PublishedTable

NOUNS = ("observations", "rows", "files")
NAME, INSTRUMENT = "obs_id", "instrument_name"
MIN_FILES_PER_ROW = 0.9  # average of distinct files a row; below 1, because the statistics may be estimates
MIN_ROWS_PER_OBSERVATION = 1.2  # average from which on it is useful to group rows by observation
MAX_OBSERVED_ROWS = 2_000_000  # a larger table is not grouped, because clients wait for it


class CountWithNoun(NamedTuple):
    """A number of things of one sort.

    Attributes
    ----------
    number
        How many there are.
    noun
        What they are, in the plural: one of `NOUNS`.
    """

    number: int
    noun: str

    def __str__(self) -> str:
        """Write the amount in English: ``1 row``, ``1,200 files``."""
        if self.number == 1:
            return f"1 {self.noun.removesuffix('s')}"
        return f"{self.number:,} {self.noun}"


def choose_row_noun(table: Table, published_table: PublishedTable) -> str:
    """Choose the noun for the rows of a table.

    Parameters
    ----------
    table
        Table as the reader sees it.
    published_table
        The same table as published, with the statistics of its rows.

    Returns
    -------
    noun
        ``files`` for a table of files or of observations' files, else ``rows``.
    """
    has_observations = table.view is None and find_observation_columns(table, published_table)
    if has_observations or table.utype == FILES_UTYPE:
        return "files"
    return "rows"


def find_observation_columns(table: Table, published_table: PublishedTable) -> tuple[str, ...]:
    """Find the columns that name the observation to which each row of a table belongs.

    Parameters
    ----------
    table
        Table as the reader sees it.
    published_table
        The same table as published, with the statistics of its rows.

    Returns
    -------
    names
        Columns from the descriptor, else by the statistics; empty if the rows are not files of observations.
    """
    if len(table.primary) != 1 or not published_table.rows or published_table.rows > MAX_OBSERVED_ROWS:
        return ()
    if table.observation is None:
        names = _guess_observation_columns(table, published_table)
    else:
        names = table.observation
    visible_names = {column.name for column in table.columns}
    if visible_names.issuperset(names):
        return tuple(names)
    return ()


def can_have_observation_columns(table: Table) -> bool:
    """Return whether a table has such columns, if its rows allow it; this reads no rows.

    Parameters
    ----------
    table
        Table as the reader sees it.
    """
    return len(table.primary) == 1 and (table.observation is not None or _find_name_and_file_columns(table) is not None)


def _map_visible_columns(table: Table) -> dict[str, Column]:
    return {column.name.lower(): column for column in table.columns if not column.hidden}


def _find_name_and_file_columns(table: Table) -> tuple[Column, Column] | None:
    """Find the column with the names of observations, and the one with the addresses of files."""
    observation_column = _map_visible_columns(table).get(NAME)
    file_columns = list_file_link_columns(table)
    if observation_column is None or not file_columns:
        return None
    return observation_column, file_columns[0]


def _guess_observation_columns(table: Table, published_table: PublishedTable) -> tuple[str, ...]:
    """Guess the columns that name an observation where the descriptor does not declare them.

    Rows are files of observations where names of observations repeat and addresses of files do not.
    """
    columns = _find_name_and_file_columns(table)
    if columns is None:
        return ()
    observation_column, file_column = columns
    observation_statistics = published_table.statistics.get(observation_column.name, {})
    observation_count = observation_statistics.get("distinct")
    null_count = observation_statistics.get("nulls")
    file_count = published_table.statistics.get(file_column.name, {}).get("distinct")
    if not isinstance(observation_count, int) or not isinstance(null_count, int) or not isinstance(file_count, int):
        return ()
    row_count = published_table.rows or 0
    named_row_count = row_count - null_count
    if not observation_count or named_row_count < MIN_ROWS_PER_OBSERVATION * observation_count:
        return ()
    if file_count < MIN_FILES_PER_ROW * row_count:
        return ()
    begin_column, _ = find_begin_and_end_time_columns(table)
    observation_columns = [observation_column, begin_column, _map_visible_columns(table).get(INSTRUMENT)]
    names = [column.name for column in observation_columns if column is not None]
    return tuple(dict.fromkeys(names))


def list_file_link_columns(table: Table) -> list[Column]:
    """List the columns with addresses of the files themselves, without previews and templates, the likeliest first.

    Parameters
    ----------
    table
        Table as the reader sees it.

    Returns
    -------
    columns
        Empty if there are none.
    """
    return [
        column
        for column in list_link_columns(table)
        if not column.link and classify_column_display(column, table) != "picture"
    ]


def list_link_columns(table: Table) -> list[Column]:
    """List the columns whose addresses lead to files: files first, then previews, then links from a template.

    Parameters
    ----------
    table
        Table as the reader sees it.

    Returns
    -------
    columns
        The likeliest first; empty if there are none.
    """
    link_columns = [column for column in table.columns if not column.hidden and _is_link_column(column, table)]
    return sorted(link_columns, key=lambda column: (_rank_link_column(column, table), column.rank))


def classify_column_display(column: Column, table: Table) -> str:
    """Classify a column by how its values are shown.

    Parameters
    ----------
    column, table
        Column, and the table that has it.

    Returns
    -------
    kind
        ``number``, ``time``, ``text``, ``link``, ``picture`` or ``code``.
    """
    if is_time_column(column):
        return "time"
    if column.enum and column.enum in table.enums:
        return "code"
    if column.type.is_string:
        ucd = (column.ucd or "").lower()
        if "meta.preview" in ucd or column.name.lower() == "thumbnail_url":
            return "picture"
        if "meta.ref.url" in ucd or column.link:
            return "link"
    elif column.type.is_numeric:
        return "number"
    return "text"


def _is_link_column(column: Column, table: Table) -> bool:
    if column.link:
        is_address = ADDRESS_PATTERN.match(column.link) is not None
        return is_address and None not in list_template_columns(column, table)
    if not column.type.is_string:
        return False
    return column.name.lower() in ADDRESS_COLUMNS or classify_column_display(column, table) in {"link", "picture"}


def list_template_columns(column: Column, table: Table) -> list[str | None]:
    """List the columns whose values the link template of a column needs.

    Parameters
    ----------
    column, table
        Column, and the table that has it.

    Returns
    -------
    names
        Names in the order of the template, with None for a column that does not exist or is hidden.
    """
    visible_names = {visible_column.name for visible_column in table.columns if not visible_column.hidden}
    placeholder_names = PLACEHOLDER_PATTERN.findall(column.link or "")
    return [name if name in visible_names else None for name in placeholder_names]


def _rank_link_column(column: Column, table: Table) -> int:
    """Rank a link column: known names first, then other links, previews and templates."""
    name = column.name.lower()
    if column.link:
        return len(ADDRESS_COLUMNS) + 2
    if name in ADDRESS_COLUMNS:
        return ADDRESS_COLUMNS.index(name)
    if classify_column_display(column, table) == "picture":
        return len(ADDRESS_COLUMNS) + 1
    return len(ADDRESS_COLUMNS)
