"""Find the files of the rows of a search: their columns, their number and their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.model import units
from hven.portal._explore.row_pages import build_key_condition
from hven.portal._explore.search import build_column_ref
from hven.services.file_rows import list_template_columns
from hven.services.scripts import TEMPLATE_OPTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch

MAX_ROW_KEYS = 5_000  # of a search by keys
SIZE_COLUMN = "access_estsize"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSummary:
    """Files of a search.

    Attributes
    ----------
    row_count, file_count
        The numbers of rows, and of rows with a link.
    total_bytes
        The estimated size; None if the table has no sizes. `sized_file_count`: files with a size.
    """

    column: Column
    row_count: int
    file_count: int
    total_bytes: float | None = None
    sized_file_count: int = 0


def find_size_column(table: Table) -> Column | None:
    """Return the column of file sizes: ``access_estsize`` of ObsCore and EPN-TAP, or a column with that UCD."""
    for column in table.columns:
        plain_number = not column.hidden and column.type.is_numeric and not column.type.is_array
        is_size = column.name.lower() == SIZE_COLUMN or (column.ucd or "").lower().startswith("phys.size;meta.file")
        if plain_number and is_size and units.are_units_convertible(column.unit, "byte"):
            return column
    return None


def build_search_by_row_keys_alone(search: TableSearch, keys: Sequence[str]) -> TableSearch:
    """Return the search for some rows by their keys (`RowPage.keys`); invalid keys find nothing.

    Parameters
    ----------
    search
        A search of the table.
    keys
        Keys of rows, as in addresses.
    """
    tests = [test for test in (build_key_condition(search, key) for key in keys[:MAX_ROW_KEYS]) if test is not None]
    primary = search.table.primary
    if len(primary) == 1 and tests:
        values = tuple(test.right for test in tests if isinstance(test, syntax_tree.Comparison))
        column_ref = build_column_ref(primary[0])
        test: syntax_tree.Expr = syntax_tree.InPredicate(column_ref, values)
    elif len(tests) > 1:
        test = syntax_tree.Disjunction(tuple(tests))
    elif tests:
        test = tests[0]
    else:
        test = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))
    return search.copy_with(conditions=(("", ()),), tests=(test,), words="", near=None, inside="", faults=())


def count_files_and_bytes(search: TableSearch, column: Column, runner: QueryRunner) -> FileSummary:
    """Count the files of a search and sum their sizes.

    Parameters
    ----------
    search
        The search.
    column
        The column with the links to files.
    runner
        Runs queries for the reader.

    Returns
    -------
    summary
        Number of files, and their size in bytes if the table has it.
    """
    size = find_size_column(search.table)

    def count_item(*arguments: syntax_tree.Expr, name: str, function: str = "COUNT") -> syntax_tree.SelectItem:
        function_call = syntax_tree.FunctionCall(function, arguments, star=not arguments)
        return syntax_tree.SelectItem(function_call, syntax_tree.Ident(name))

    items = [count_item(name="n"), count_item(build_column_ref(column.name), name="files")]
    if size is not None:
        size_ref = build_column_ref(size.name)
        items.append(count_item(size_ref, name="size", function="SUM"))
        items.append(count_item(size_ref, name="sized"))
    select = syntax_tree.Select(tuple(items), search.build_from_item(), where=search.build_condition())
    table = runner.fetch_table(syntax_tree.Query(select))
    sums = table.to_pylist()[0]
    total = sums.get("size")
    row_count = int(sums["n"])
    file_count = int(sums["files"])
    total_bytes = None
    if size is not None and total is not None:
        total_bytes = float(total) * units.compute_unit_factor(size.unit, "byte")
    return FileSummary(
        column=column,
        row_count=row_count,
        file_count=file_count,
        total_bytes=total_bytes,
        sized_file_count=int(sums.get("sized") or 0),
    )


def build_link_query(search: TableSearch, column: Column) -> syntax_tree.Query:
    """Build the query for the links of a search, in its order, with the columns of templates or the names of files.

    Parameters
    ----------
    search
        The search.
    column
        The column with the links.

    Returns
    -------
    query
        The query.
    """
    template_columns = [name for name in list_template_columns(column, search.table) if name is not None]
    file_name_columns = []
    for other_column in search.table.columns:
        is_file_name = other_column.name.lower() == "file_name" and other_column.type.is_string
        if is_file_name and not other_column.hidden:
            file_name_columns.append(other_column.name)
    order = search.order or tuple((name, False) for name in search.table.primary)
    ordered_search = search.copy_with(order=order)
    further_names = template_columns or file_name_columns[:1]
    columns = list(dict.fromkeys([column.name, *further_names]))
    return ordered_search.build_query(columns=columns)


def build_download_script_options(column: Column) -> dict[str, str]:
    """Return the options of a script's writer for a column: the template of its links."""
    if column.link:
        return {TEMPLATE_OPTION: column.link}
    return {}
