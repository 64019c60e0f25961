"""Tables whose rows are files.

Which columns lead to the files, which name the observation of a file, and what the rows are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hven.model.table import FILES_UTYPE, find_begin_and_end_columns, is_time_column
from hven.services.scripts import ADDRESS_COLUMNS, ADDRESS_PATTERN, PLACEHOLDER_PATTERN

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.site import PublishedTable

NOUNS = ("observations", "rows", "files")
NAME, INSTRUMENT = "obs_id", "instrument_name"
MIN_FILES_PER_ROW = 0.9  # different files of a row, on the average: what was counted may be an estimate
MIN_ROWS_PER_OBSERVATION = 1.2  # on the average, from which on lines are worth it
MAX_OBSERVED_ROWS = 2_000_000  # of a table; more are not put together while somebody waits


class Amount(NamedTuple):
    """How many there are of one thing.

    Attributes
    ----------
    number
        How many.
    noun
        Of what: one of `NOUNS`.
    """

    number: int
    noun: str

    def __str__(self) -> str:
        """Write it in English: ``1 row``, ``1,200 files``."""
        return f"{self.number:,} {self.noun.removesuffix('s') if self.number == 1 else self.noun}"


def choose_row_noun(table: Table, item: PublishedTable) -> str:
    """Return what the rows of a table are.

    Parameters
    ----------
    table
        As the reader sees it.
    item
        What is known of its rows.

    Returns
    -------
    noun
        ``files`` where they are files, of observations or of other tables, else ``rows``.
    """
    observed = table.view is None and find_observation_columns(table, item)
    if observed or table.utype == FILES_UTYPE:
        return "files"
    return "rows"


def find_observation_columns(table: Table, item: PublishedTable) -> tuple[str, ...]:
    """Find the columns that name the observation to which each row of a table belongs.

    Parameters
    ----------
    table
        As the reader sees it.
    item
        What is known of its rows.

    Returns
    -------
    names
        As the descriptor says, else by the statistics of the rows; empty if the rows are no files of observations.
    """
    if len(table.primary) != 1 or not item.rows or item.rows > MAX_OBSERVED_ROWS:
        return ()
    if table.observation is None:
        names = _guess_observation_columns(table, item)
    else:
        names = table.observation
    if {column.name for column in table.columns}.issuperset(names):
        return tuple(names)
    return ()


def _guess_observation_columns(table: Table, item: PublishedTable) -> tuple[str, ...]:
    """Return the columns that name an observation where its descriptor does not say them.

    None where they do not repeat, or files do.
    """
    columns = {column.name.lower(): column for column in table.columns if not column.hidden}
    named = columns.get(NAME)
    rows = item.rows or 0
    link = next(iter(list_file_columns(table)), None)
    column_statistics = {} if named is None else item.statistics.get(named.name, {})
    distinct = column_statistics.get("distinct")
    nulls = column_statistics.get("nulls")
    if link is None:
        files = None
    else:
        files = item.statistics.get(link.name, {}).get("distinct")
    if named is None or not isinstance(distinct, int) or not isinstance(nulls, int) or not isinstance(files, int):
        return ()
    if not distinct or rows - nulls < MIN_ROWS_PER_OBSERVATION * distinct or files < MIN_FILES_PER_ROW * rows:
        return ()
    begin, _ = find_begin_and_end_columns(table)
    further_columns = [begin, columns.get(INSTRUMENT)]
    return tuple(
        dict.fromkeys(
            [named.name, *(further_column.name for further_column in further_columns if further_column is not None)]
        )
    )


def list_file_columns(table: Table) -> list[Column]:
    """Return the columns with addresses of files themselves, no previews and no templates, the likeliest first.

    Parameters
    ----------
    table
        Of rows, as the reader sees it.

    Returns
    -------
    columns
        Empty if there are none.
    """
    return [
        column for column in list_link_columns(table) if not column.link and classify_column(column, table) != "picture"
    ]


def list_link_columns(table: Table) -> list[Column]:
    """Return the columns whose addresses lead to files, the likeliest first.

    Previews behind them, and links made by a template last.

    Parameters
    ----------
    table
        Of rows, as the reader sees it.

    Returns
    -------
    columns
        Empty if there are none.
    """
    link_columns = [column for column in table.columns if not column.hidden and _is_link_column(column, table)]
    return sorted(link_columns, key=lambda column: (_rank(column, table), column.rank))


def classify_column(column: Column, table: Table) -> str:
    """Return how a column is read: number, time, text, link, picture, code.

    Parameters
    ----------
    column, table
        A column, and the table that has it.

    Returns
    -------
    kind
        One of these words.
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
        return "text"
    return "number" if column.type.is_numeric else "text"


def _is_link_column(column: Column, table: Table) -> bool:
    if column.link:
        return ADDRESS_PATTERN.match(column.link) is not None and None not in list_template_columns(column, table)
    return column.type.is_string and (
        column.name.lower() in ADDRESS_COLUMNS or classify_column(column, table) in {"link", "picture"}
    )


def list_template_columns(column: Column, table: Table) -> list[str | None]:
    """Return the columns whose values the template of a column wants.

    None for one that there is not, or that nobody is shown.

    Parameters
    ----------
    column, table
        A column, and the table that has it.

    Returns
    -------
    names
        In the order of the template.
    """
    visible_names = {visible_column.name for visible_column in table.columns if not visible_column.hidden}
    return [name if name in visible_names else None for name in PLACEHOLDER_PATTERN.findall(column.link or "")]


def _rank(column: Column, table: Table) -> int:
    if column.link:
        return len(ADDRESS_COLUMNS) + 2
    if column.name.lower() in ADDRESS_COLUMNS:
        return ADDRESS_COLUMNS.index(column.name.lower())
    return len(ADDRESS_COLUMNS) + (classify_column(column, table) == "picture")
