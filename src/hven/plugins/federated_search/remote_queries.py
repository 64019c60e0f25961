"""Query remote TAP services: their tables' columns, counts and rows, with limits of bytes, time and queries at once."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.model import LruCache, plugins
from hven.model.errors import OverloadedError, SourceError, TooLargeError, UserError, format_message
from hven.model.table import Table
from hven.portal import conditions as epn_conditions
from hven.sources import http_client

if TYPE_CHECKING:
    from hven.model.settings import RemoteTapService, Settings
    from hven.model.table import Column
    from hven.portal.api.table_rows import TableSearch
    from hven.site import Site

MAX_QUERIES_PER_SERVICE = 4  # queries to one remote service at once: our readers shall not overload it
MAX_WAIT_SECONDS = 5.0  # until fewer queries to the service run; one page of a remote table sends several at once
MAX_CACHED_TABLES = 1000  # remote tables whose columns are cached
MIN_TIMEOUT_SECONDS = 0.1  # of a query whose time passed while it waited
COLUMN_CACHE_SECONDS = 3600.0  # how long the columns of a remote table are cached
MAX_RESPONSE_BYTES = 16 * 1024**2  # of the response of a remote service
# of answers that say nothing of the query: no permission, too slow, too many requests, a broken or busy server
UNRELATED_STATUSES = frozenset({401, 403, 407, 408, 429, 502, 503, 504})
ERROR_DOCUMENT_BYTES = 16_384  # of an answer in which its status must be
KEY_COLUMNS = {"epn": "granule_uid", "obscore": "obs_publisher_did"}  # names of rows by the standards


class RefusedQueryError(SourceError):
    """A service answered that it does not run a query. The same query fails again, but another one may not."""


def fetch_remote_table_columns(
    service: RemoteTapService, table_name: str, kind: str, site: Site, timeout_seconds: float, *, standard_table: Table
) -> Table:
    """Read the columns of a remote table from the TAP_SCHEMA of its service, and cache them.

    Parameters
    ----------
    service, table_name
        The service, and the name of its table.
    kind
        Kind of the table: ``epn`` or ``obscore``.
    site
        The site.
    timeout_seconds
        Seconds to wait for the answer.
    standard_table
        The table of the standard, whose columns have sections and descriptions.

    Returns
    -------
    table
        The table. Its key is the identifier of the standard, if it has that column.
    """
    column_cache = site.get_or_create(_create_remote_table_cache)
    key = f"{service.name}/{table_name}"
    cached_table = column_cache.find(key)
    if cached_table is not None:
        read_time, table = cached_table
        if time.monotonic() - read_time < COLUMN_CACHE_SECONDS:
            return table

    def query_service(adql: str) -> list[dict[str, object]]:
        rows, _ = query_tap_service(service, adql, site.settings, timeout_seconds, is_complete=True)
        return list(rows.to_pylist())

    (table,) = epn_conditions.fetch_epn_tap_tables(query_service, [table_name])
    names = {column.name.lower(): column.name for column in table.columns}
    if kind == "obscore" and {"s_ra", "s_dec"} <= set(names):
        table = replace(table, position=(names["s_ra"], names["s_dec"]))
    standard_columns = {column.name.lower(): column for column in standard_table.columns}
    columns = tuple(_add_standard_facts(column, standard_columns.get(column.name.lower())) for column in table.columns)
    primary = tuple(names[name] for name in (KEY_COLUMNS[kind],) if name in names)
    table = replace(table, columns=columns, primary=primary, standard=standard_table.standard)
    column_cache.store(key, (time.monotonic(), table))
    return table


def _add_standard_facts(column: Column, standard_column: Column | None) -> Column:
    """Add the section, rank and description that a standard gives to a column; its type and unit stay."""
    if standard_column is None:
        return column
    return column.copy_with(
        std=True,
        section=standard_column.section,
        rank=standard_column.rank,
        description=column.description or standard_column.description,
    )


def query_tap_service(
    service: RemoteTapService, adql: str, settings: Settings, timeout_seconds: float, *, is_complete: bool = False
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Query a TAP service.

    Parameters
    ----------
    service
        The service.
    adql
        The query.
    settings
        Settings of the site.
    timeout_seconds
        Seconds to wait for the whole answer.
    is_complete
        Whether a truncated answer is an error.

    Returns
    -------
    rows, columns
        The rows, and the metadata of their columns.

    Raises
    ------
    RefusedQueryError
        The status of the answer is 400, or the answer is a VOTable with an error (DALI 1.1 section 4.4).
    SourceError
        The service does not answer, is busy, or its answer cannot be read.
    """
    status, body = send_tap_query(service, adql, settings, timeout_seconds)
    try:
        plugin = plugins.load_plugin("formats", "votable")
        table_stream = plugin.FORMAT.read(io.BytesIO(body), batch=10_000)
        batches = list(table_stream.batches)
    except UserError as error:
        if b"VOTABLE" in body[:4000]:
            message = error.message
        else:
            message = format_message("it returned status {status} without a VOTable", status)
        raise _build_answer_error(format_message("{name}: {message}", service.name, message), status, body) from error
    except Exception as error:  # foreign VOTables are read by several libraries, each with errors of its own
        error_name = type(error).__name__
        message = format_message("{name}: its VOTable cannot be read ({error})", service.name, error_name)
        raise SourceError(message) from error
    if status != 200:
        raise _build_answer_error(format_message("{name} returned status {status}", service.name, status), status, body)
    if is_complete and table_stream.is_truncated:
        raise SourceError(
            format_message("{name}: the description of its tables was truncated (QUERY_STATUS=OVERFLOW)", service.name)
        )
    if batches:
        schema = batches[0].schema
    else:
        schema = pa.schema([column.arrow_field for column in table_stream.metadata.columns])
    return pa.Table.from_batches(batches, schema), tuple(table_stream.metadata.columns)


def _build_answer_error(message: str, status: int, body: bytes) -> SourceError:
    """Build the error of an answer without rows: whether the service refused the query, or failed otherwise."""
    is_error_document = b"QUERY_STATUS" in body[:ERROR_DOCUMENT_BYTES]
    if status not in UNRELATED_STATUSES and (status == 400 or is_error_document):
        return RefusedQueryError(message)
    return SourceError(message)


def send_tap_query(
    service: RemoteTapService, adql: str, settings: Settings, timeout_seconds: float, *, format_name: str = "votable"
) -> tuple[int, bytes]:
    """Send a query to a TAP service.

    Parameters
    ----------
    service
        The service.
    adql
        The query.
    settings
        Settings of the site.
    timeout_seconds
        Seconds to wait for the whole answer.
    format_name
        Format of the answer: ``votable`` or ``csv``.

    Returns
    -------
    status, body
        Status and body of the response.

    Raises
    ------
    OverloadedError
        As many queries to this service ran for `MAX_WAIT_SECONDS` as may run at once.
    TooLargeError
        The answer has more than `MAX_RESPONSE_BYTES` bytes.
    """
    with _lock:
        semaphore = _semaphores.setdefault(service.url, threading.BoundedSemaphore(MAX_QUERIES_PER_SERVICE))
    end = time.monotonic() + timeout_seconds
    if not semaphore.acquire(timeout=min(timeout_seconds, MAX_WAIT_SECONDS)):
        message = format_message("{name} is busy with other users' queries", service.name)
        raise OverloadedError(message, remedy="try again in a few seconds")
    form_fields = [
        ("REQUEST", "doQuery"),
        ("LANG", "ADQL"),
        ("FORMAT", format_name),
        ("RESPONSEFORMAT", format_name),
        ("QUERY", adql),
    ]
    try:
        with http_client.stream_answer(
            "POST",
            f"{service.url.rstrip('/')}/sync",
            form_fields=form_fields,
            headers={"User-Agent": "hven (portal)"},
            timeout_seconds=max(end - time.monotonic(), MIN_TIMEOUT_SECONDS),
            allow_private=settings.allow_private,
        ) as response:
            body = bytearray()
            for part in response.parts:
                body += part
                if len(body) > MAX_RESPONSE_BYTES:
                    raise TooLargeError(
                        format_message("{name} sent more than {most:,} bytes", service.name, MAX_RESPONSE_BYTES)
                    )
                if time.monotonic() > end:
                    message = format_message(
                        "{name} did not finish within {seconds:g} s", service.name, timeout_seconds
                    )
                    raise http_client.NoAnswerError(message)
            return response.status, bytes(body)
    finally:
        semaphore.release()


def parse_row_count(rows: pa.Table) -> int:
    """Read the number in the answer of a count query.

    Parameters
    ----------
    rows
        The answer.

    Returns
    -------
    row_count
        The number.
    """
    try:
        number = int(rows.column(0)[0].as_py())
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise SourceError("its response to a count query contains no number") from error
    if number < 0:
        raise SourceError("its response to a count query contains no number")
    return number


def select_requested_columns(
    rows: pa.Table, columns: tuple[Column, ...], search: TableSearch, row_limit: int
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Select the requested columns of an answer, regardless of case.

    Parameters
    ----------
    rows, columns
        The rows of the answer, and the metadata of their columns.
    search
        The search with the requested columns.
    row_limit
        Maximum number of rows.

    Returns
    -------
    rows, columns
        The same with the requested columns.
    """
    reversed_columns = reversed(list(enumerate(columns)))
    column_numbers = {column.name.lower(): number for number, column in reversed_columns}
    names = [column.name for column in search.list_shown_columns()]
    missing_names = [name for name in names if name.lower() not in column_numbers]
    if missing_names:
        missing_text = ", ".join(missing_names)[:100]
        raise SourceError(format_message("its response lacks the requested columns: {names}", missing_text))
    numbers = [column_numbers[name.lower()] for name in names]
    selected = rows.select(numbers).rename_columns(names).slice(0, row_limit)
    selected_columns = [replace(columns[number], name=name) for number, name in zip(numbers, names, strict=True)]
    return selected, tuple(selected_columns)


def _create_remote_table_cache() -> LruCache[tuple[float, Table]]:
    """Create the cache of remote tables, with the time at which their columns were read."""
    return LruCache(MAX_CACHED_TABLES)


_lock = threading.Lock()
_semaphores: dict[str, threading.BoundedSemaphore] = {}
