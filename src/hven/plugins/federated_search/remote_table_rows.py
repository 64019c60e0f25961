"""Count the rows of a search in one remote table, and fetch pages of them, or one row, in any order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.adql_writer import write_adql
from hven.model import LruCache
from hven.model.errors import UserError, format_message
from hven.model.table import Table, set_column_epochs
from hven.plugins.federated_search import remote_queries
from hven.portal.api.page_rows import RowPage
from hven.portal.api.table_rows import build_search_by_row_keys_alone, format_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql import syntax_tree
    from hven.model.settings import RemoteTapService
    from hven.model.table import Column
    from hven.plugins.federated_search.global_search import SearchableTable
    from hven.portal.api.table_rows import TableSearch
    from hven.site import Site

MAX_PAGE_ROWS = 1000
MAX_SKIPPED_ROWS = 5_000  # rows that are fetched and skipped where a service has no OFFSET
MAX_ROW_COLUMNS = 400  # columns of one row
MAX_CACHED_COUNTS = 1000
COUNT_CACHE_SECONDS = 60.0  # the form, the rows and the menus of one page count once


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTable:
    """A table of a remote service, as its page shows it.

    Attributes
    ----------
    kind
        Its standard: ``epn`` or ``obscore``.
    target, service
        The table among those that are searched, and its service.
    table
        The table with its columns and its key.
    """

    kind: str
    target: SearchableTable
    service: RemoteTapService
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRowPage:
    """A page of rows of a remote table, and the table as the answer describes its columns."""

    page: RowPage
    table: Table


def count_remote_rows(search: TableSearch, remote_table: RemoteTable, site: Site) -> int:
    """Count the rows of a search; the number is cached for a minute.

    Parameters
    ----------
    search
        The search.
    remote_table
        The remote table.
    site
        The site.

    Returns
    -------
    row_count
        The number of rows.
    """
    adql = write_adql(search.build_count_query())
    count_cache = site.get_or_create(_create_count_cache)
    key = (remote_table.service.url, adql)
    cached_count = count_cache.find(key)
    if cached_count is not None and time.monotonic() - cached_count[0] < COUNT_CACHE_SECONDS:
        return cached_count[1]
    rows, _ = remote_queries.query_tap_service(remote_table.service, adql, site.settings, remote_table.service.seconds)
    row_count = remote_queries.parse_row_count(rows)
    count_cache.store(key, (time.monotonic(), row_count))
    return row_count


def complete_remote_search(search: TableSearch) -> TableSearch:
    """Complete the order of a search by the key of the table: without it, rows might be on two pages or on none.

    Parameters
    ----------
    search
        A search with shown columns.

    Returns
    -------
    search
        The search with the columns of the key and a complete order.
    """
    primary = search.table.primary
    shown_names = [column.name for column in search.list_shown_columns()]
    ordered_names = {name for name, _ in search.order}
    key_order = [(name, False) for name in primary if name not in ordered_names]
    columns = tuple(dict.fromkeys([*shown_names, *primary]))
    return search.copy_with(columns=columns, order=(*search.order, *key_order))


def fetch_remote_page(
    search: TableSearch, remote_table: RemoteTable, site: Site, *, offset: int, limit: int, row_count: int
) -> RemoteRowPage:
    """Fetch the rows ``offset .. offset + limit`` of a search.

    Services that refuse a query with OFFSET (ADQL 2.0) are asked for all rows up to the end of the page.

    Parameters
    ----------
    search
        A search with shown columns.
    remote_table
        The remote table.
    site
        The site.
    offset, limit
        Number of the first row, and number of rows.
    row_count
        Number of all rows that the search finds.

    Returns
    -------
    page
        The rows with their keys.

    Raises
    ------
    UserError
        The service has no OFFSET, and the page is too far behind the first row.
    """
    limit = min(limit, MAX_PAGE_ROWS, max(row_count - offset, 0))
    complete_search = complete_remote_search(search)
    skipped_rows = 0
    try:
        query = complete_search.build_query(limit=max(limit, 1), offset=offset or None)
        rows, columns = _fetch_rows(complete_search, query, remote_table, site, limit)
    except remote_queries.RefusedQueryError:
        if not offset:
            raise
        if offset + limit > MAX_SKIPPED_ROWS:
            message = format_message(
                "{name} cannot skip rows, so that only the first {count:,} can be shown",
                remote_table.service.name,
                MAX_SKIPPED_ROWS,
            )
            raise UserError(message, remedy="narrow the search, or sort the rows in another order") from None
        skipped_rows = offset
        query = complete_search.build_query(limit=offset + max(limit, 1))
        rows, columns = _fetch_rows(complete_search, query, remote_table, site, offset + limit)
    shown_count = len(search.list_shown_columns())
    shown_rows = rows.slice(skipped_rows, limit)
    answer_table = _describe_answer(shown_rows, columns[:shown_count], remote_table)
    page = RowPage(
        columns=answer_table.columns,
        rows=shown_rows.select([column.name for column in answer_table.columns]),
        keys=format_keys(shown_rows, search.table.primary),
        offset=offset,
        has_more=offset + shown_rows.num_rows < row_count,
    )
    return RemoteRowPage(page=page, table=answer_table)


def fetch_remote_row(search: TableSearch, remote_table: RemoteTable, site: Site) -> RemoteRowPage:
    """Fetch all columns of the row that a search names by its key; the page is empty if there is no such row.

    Parameters
    ----------
    search
        A search with the key of a row.
    remote_table
        The remote table.
    site
        The site.

    Returns
    -------
    page
        The page with the row.
    """
    names = [column.name for column in search.table.columns if not column.hidden][:MAX_ROW_COLUMNS]
    row_search = build_search_by_row_keys_alone(search, [search.row]).copy_with(columns=tuple(names), order=())
    query = row_search.build_query(limit=1)
    rows, columns = _fetch_rows(row_search, query, remote_table, site, 1)
    answer_table = _describe_answer(rows, columns, remote_table)
    page = RowPage(
        columns=answer_table.columns, rows=rows, keys=(search.row,) * rows.num_rows, offset=0, has_more=False
    )
    return RemoteRowPage(page=page, table=answer_table)


def _fetch_rows(
    search: TableSearch, query: syntax_tree.Query, remote_table: RemoteTable, site: Site, limit: int
) -> tuple[pa.Table, tuple[Column, ...]]:
    rows, columns = remote_queries.query_tap_service(
        remote_table.service, write_adql(query), site.settings, remote_table.service.seconds
    )
    return remote_queries.select_requested_columns(rows, columns, search, limit)


def _describe_answer(rows: pa.Table, columns: tuple[Column, ...], remote_table: RemoteTable) -> Table:
    """Describe the columns of an answer; what it does not say is said by the service's description of the table."""
    described_columns = []
    for column in columns:
        known_column = remote_table.table.find_column(column.name)
        described_columns.append(
            known_column.copy_with(
                type=column.type,
                unit=column.unit or known_column.unit,
                ucd=column.ucd or known_column.ucd,
                description=column.description or known_column.description,
            )
        )
    answer_table = remote_table.table.copy_with(schema="", name="answer", columns=tuple(described_columns), primary=())
    return set_column_epochs(answer_table, compute_extremes(rows))


def compute_extremes(rows: pa.Table) -> Mapping[str, Mapping[str, object]]:
    """Return the extremes of each numeric column.

    They distinguish Julian dates from modified ones, which remote services do not declare.

    Parameters
    ----------
    rows
        Rows of an answer.

    Returns
    -------
    extremes
        ``minimum`` and ``maximum`` by the names of the columns.
    """
    extremes = {}
    for name in rows.column_names:
        values = rows.column(name)
        if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
            minimum_maximum = pc.min_max(values)
            extremes[name] = {"minimum": minimum_maximum["min"].as_py(), "maximum": minimum_maximum["max"].as_py()}
    return extremes


def _create_count_cache() -> LruCache[tuple[float, int]]:
    return LruCache(MAX_CACHED_COUNTS)
