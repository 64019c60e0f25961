"""Search all EPN-TAP tables, or all ObsCore tables, at once.

These are the tables of this site and those of remote services that the site file names.

All tables are queried in parallel with one timeout. Each result is shown, and each failure with its reason.
"""

from __future__ import annotations

import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import query
from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.descriptor import load_standard_descriptor
from hven.model.errors import (
    HvenError,
    OverloadedError,
    format_message,
    join_messages,
)
from hven.model.settings import RemoteTapService
from hven.model.table import Table, set_column_epochs
from hven.plugins.federated_search import remote_queries
from hven.plugins.federated_search.registered_tables import RegisteredTableCache
from hven.portal.api import column_values
from hven.portal.api.column_values import FacetChoice, build_column_ref
from hven.portal.api.page_rows import classify_table_standard, parse_search
from hven.portal.api.table_rows import TableSearch, format_keys
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.model.table import Column
    from hven.plugins.federated_search.registered_tables import RegisteredRemoteTable
    from hven.portal.api.column_values import Facet
    from hven.portal.api.table_rows import QueryRunner
    from hven.site import Site

STANDARD_TITLES = {"epn": "EPN-TAP", "obscore": "ObsCore"}
STANDARD_KINDS = tuple(STANDARD_TITLES)
STANDARD_FILES = {"epn": "epn-tap-2.0", "obscore": "obscore-1.1"}
SEARCH_TIMEOUT_SECONDS = 10.0  # for all tables together
REGISTRY_TIMEOUT_SECONDS = 60.0  # for the list of a registry
MAX_PARALLEL_TABLES = 12  # tables that a process queries at once, for all readers
MAX_SINGLE_TABLE_ROWS, MAX_SHARED_TABLE_ROWS = 50, 12  # rows of one table shown alone, and of each of several
MAX_EXAMPLE_VALUES = 3  # targets, and product types, of the examples
MAX_VALUE_TABLES, MAX_SHOWN_VALUES = 40, 50  # tables whose values a field of the form offers; values that it offers
FORM_SECTIONS = {
    "epn": {
        "main": (
            "target_name",
            "target_class",
            "dataproduct_type",
            "instrument_host_name",
            "instrument_name",
            "processing_level",
        ),
        "time": ("time", "time_sampling_step", "time_exp"),
        "location": ("spatial_frame_type", "c1", "c2", "c3", "c1_resol", "c2_resol", "target_region"),
        "spectral": ("spectral_range", "spectral_sampling_step", "spectral_resolution", "measurement_type"),
        "illumination": ("incidence", "emergence", "phase", "solar_longitude", "local_time"),
        "reference": (
            "granule_uid",
            "granule_gid",
            "obs_id",
            "service_title",
            "bib_reference",
            "access_format",
            "creation_date",
            "release_date",
        ),
        "optional": (
            "species",
            "filter",
            "feature_name",
            "alt_target_name",
            "target_distance",
            "sun_distance",
            "subsolar_longitude",
            "subobserver_longitude",
            "publisher",
        ),
    },
    "obscore": {
        "main": (
            "target_name",
            "target_class",
            "dataproduct_type",
            "calib_level",
            "obs_collection",
            "facility_name",
            "instrument_name",
        ),
        "time": ("t", "t_exptime", "t_resolution"),
        "location": ("s_ra", "s_dec", "s_fov", "s_resolution"),
        "spectral": ("em", "em_res_power"),
        "reference": (
            "obs_id",
            "obs_publisher_did",
            "obs_title",
            "obs_creator_name",
            "access_format",
            "access_estsize",
            "bib_reference",
            "obs_release_date",
        ),
        "optional": ("pol_states", "o_ucd", "proposal_id", "data_rights"),
    },
}
SHOWN_COLUMNS = {
    "epn": (
        "granule_uid",
        "target_name",
        "dataproduct_type",
        "instrument_name",
        "time_min",
        "time_max",
        "c1min",
        "c1max",
        "c2min",
        "c2max",
        "thumbnail_url",
        "access_url",
    ),
    "obscore": (
        "obs_id",
        "target_name",
        "dataproduct_type",
        "obs_collection",
        "instrument_name",
        "t_min",
        "t_max",
        "s_ra",
        "s_dec",
        "access_url",
    ),
}
EXAMPLE_SEARCHES = {
    "epn": (
        ("images of Mars", "target_name=Mars&dataproduct_type=im"),
        (
            "spectra of Venus or Titan in the infrared",
            "target_name=Venus,Titan&dataproduct_type=sp&spectral_range=1..5 um",
        ),
        ("Mars, south of 60 degrees, in southern spring", "target_name=Mars&c2=-90..-60&solar_longitude=180..270"),
        ("what was seen in January 2004", "time=2004-01"),
    ),
    "obscore": (
        ("images within 30 arcmin of the Crab nebula", "_near=05:34:31.9 +22:00:52,30 arcmin&dataproduct_type=image"),
        ("spectra in the near infrared", "dataproduct_type=spectrum&em=1..2.5 um"),
        ("observations of January 2004", "t=2004-01-01..2004-01-31"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchableTable:
    """A table to query.

    Attributes
    ----------
    name
        Name of the table, with its schema.
    title
        Title for people.
    service
        The remote service; None for a table of this site.
    table
        The table of this site.
    registry_entry
        The description in a registry.
    """

    name: str
    title: str
    service: RemoteTapService | None = None
    table: Table | None = None
    registry_entry: RegisteredRemoteTable | None = None

    @property
    def key(self) -> str:
        """The name of the table in an address."""
        if self.service is not None:
            return f"{self.service.name}/{self.name}"
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TableQueryOutcome:
    """The result of one table.

    Attributes
    ----------
    target
        The table.
    status
        ``ok``; ``waiting``: not queried yet; ``other``: the table cannot answer this query; ``late``, ``failed``,
        ``busy``.
    row_count
        The number of rows that match.
    message
        What went wrong; empty: nothing.
    adql
        The query.
    elapsed_seconds
        Seconds that the query took.
    first_rows, columns
        The first rows, and the metadata of their columns.
    keys
        The keys of these rows, as pages name them; empty for remote rows and for rows without a key.
    """

    target: SearchableTable
    status: str
    row_count: int | None = None
    message: str = ""
    adql: str = ""
    elapsed_seconds: float = 0.0
    first_rows: pa.Table | None = None
    columns: tuple[Column, ...] = ()
    keys: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def load_standard_table(kind: str) -> Table:
    """Return the table of a standard, with the columns that the search form offers."""
    standard = load_standard_descriptor(STANDARD_FILES[kind])
    table = set_column_epochs(standard.tables[0].table)
    names = {column.name for column in table.columns}
    if {"s_ra", "s_dec"} <= names:
        return table.copy_with(position=("s_ra", "s_dec"))
    return table


def fetch_remote_table(target: SearchableTable, kind: str, site: Site, timeout_seconds: float) -> Table:
    """Return a remote table with its columns and its key, as its service describes it.

    Parameters
    ----------
    target
        The remote table.
    kind
        Kind of the table.
    site
        The site.
    timeout_seconds
        Seconds to wait for the answer.

    Returns
    -------
    table
        The table.
    """
    if target.service is None:
        raise AssertionError
    standard_table = load_standard_table(kind).copy_with(standard=STANDARD_FILES[kind])
    return remote_queries.fetch_remote_table_columns(
        target.service, target.name, kind, site, timeout_seconds, standard_table=standard_table
    )


def list_searchable_tables(standard: str, runner: QueryRunner, tables: Sequence[Table]) -> list[SearchableTable]:
    """List the tables of a kind: those of this site that the reader may see, then the remote ones.

    Parameters
    ----------
    standard
        The kind: ``epn``, ``obscore`` ...
    runner
        Runs queries for the reader.
    tables
        Tables of this site.

    Returns
    -------
    targets
        Tables of the kind.
    """
    search_targets = []
    for table in tables:
        if classify_table_standard(table) == standard and table.qualified_name in runner.published_state.tables_by_name:
            resource = runner.published_state.resources.get(table.schema)
            resource_title = None
            if resource is not None:
                resource_title = resource.title
            title = resource_title or table.title or table.qualified_name
            search_targets.append(SearchableTable(name=table.qualified_name, title=title, table=table))
    for service in runner.site.settings.remote:
        if service.kind == standard:
            service_title = service.title or service.name
            search_targets += [
                SearchableTable(name=name, title=service_title, service=service) for name in service.tables
            ]
    known_services = set()
    for target in search_targets:
        if target.service is not None:
            known_services.add((target.service.url.rstrip("/"), target.name))
    for entry in list_registered_tables(standard, runner):
        (name,) = entry.service.tables
        if (entry.service.url, name) not in known_services:
            title = entry.service.title or name
            search_targets.append(SearchableTable(name=name, title=title, service=entry.service, registry_entry=entry))
    return search_targets


def list_registered_tables(kind: str, runner: QueryRunner) -> list[RegisteredRemoteTable]:
    """List the remote tables in the registry of the site."""
    settings = runner.site.settings
    search_settings = settings.everywhere
    if search_settings.registry is None:
        return []
    service_lists = get_registered_table_cache(runner.site)
    registered = service_lists.list_tables(
        kind,
        lambda adql: _query_registry(adql, runner),
        max_age_seconds=search_settings.hours * 3600,
        max_tables=search_settings.most,
    )
    site_address = (settings.site_url or "").rstrip("/")
    remote_tables = []
    for entry in registered:
        if not site_address or not entry.service.url.startswith(f"{site_address}/"):
            service = replace(entry.service, seconds=search_settings.seconds)
            remote_tables.append(replace(entry, service=service))
    return remote_tables


def get_registered_table_cache(site: Site) -> RegisteredTableCache:
    """Return the service lists that the registry of the site gave."""
    registry = site.settings.everywhere.registry or ""
    digest = hashlib.sha256(registry.encode()).hexdigest()
    directory = site.settings.var_directory / "services" / digest[:12]
    service_lists: RegisteredTableCache = site.get_or_create(_open_registered_table_cache, directory)
    return service_lists


def _open_registered_table_cache(file: Path) -> RegisteredTableCache:
    return RegisteredTableCache(file=file)


def _query_registry(adql: str, runner: QueryRunner) -> list[dict[str, Any]]:
    """Query the registry: a remote TAP service, or a collection of this site with anonymous access."""
    settings = runner.site.settings
    name = settings.everywhere.registry or ""
    if not name.startswith(("http://", "https://")):
        text = adql.replace("rr.", f"{name}.")
        with query.run_query(text, ANONYMOUS_PRINCIPAL, site=runner.site) as result:
            return [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    service = RemoteTapService(name="registry", url=name)
    rows, _ = remote_queries.query_tap_service(service, adql, settings, REGISTRY_TIMEOUT_SECONDS)
    return list(rows.to_pylist())


def query_searchable_tables(
    tables: Sequence[SearchableTable],
    query_table: Callable[[SearchableTable], TableQueryOutcome],
    *,
    timeout_seconds: float = SEARCH_TIMEOUT_SECONDS,
) -> list[TableQueryOutcome]:
    """Query several tables in parallel; those without an answer in time have the status ``late``.

    Parameters
    ----------
    tables
        Tables to query.
    query_table
        Queries one table.
    timeout_seconds
        Seconds to wait for all answers.

    Returns
    -------
    outcomes
        Results in the order of the tables.
    """
    futures = {target.key: _pool.submit(query_table, target) for target in tables}
    wait(futures.values(), timeout=timeout_seconds)
    results = []
    for target in tables:
        future = futures[target.key]
        if future.done() and not future.cancelled():
            results.append(future.result())
        else:
            future.cancel()
            message = format_message("no response within {seconds:g} s", timeout_seconds)
            late_result = TableQueryOutcome(
                target=target, status="late", message=message, elapsed_seconds=timeout_seconds
            )
            results.append(late_result)
    return results


def query_searchable_table(
    target: SearchableTable,
    pairs: Sequence[tuple[str, str]],
    kind: str,
    runner: QueryRunner,
    *,
    row_limit: int = 0,
    columns: Sequence[str] = (),
    timeout_seconds: float = SEARCH_TIMEOUT_SECONDS,
) -> TableQueryOutcome:
    """Count the rows of one table and fetch the first `row_limit` of them.

    Failures of a table never raise: they are in the status of the result.

    Parameters
    ----------
    target
        The table.
    pairs
        Conditions, as parameters of an address.
    kind
        Kind of the table: ``epn``, ``obscore`` ...
    runner
        Runs queries for the reader.
    row_limit
        Number of rows to fetch.
    columns
        Columns to fetch; by default those that pages show.
    timeout_seconds
        Seconds to wait for the answer.

    Returns
    -------
    outcome
        The result.
    """
    start_time = time.monotonic()
    adql = ""

    def build_result(
        status: str, message: str = "", answer: _FirstTableRows = _NO_ROWS, row_count: int | None = None
    ) -> TableQueryOutcome:
        return TableQueryOutcome(
            target=target,
            status=status,
            row_count=row_count,
            message=message,
            adql=adql,
            elapsed_seconds=round(time.monotonic() - start_time, 2),
            first_rows=answer.rows,
            columns=answer.columns,
            keys=answer.keys,
        )

    try:
        if target.registry_entry is not None:
            standard_search = parse_search(pairs, load_standard_table(kind))
            if not target.registry_entry.may_have_rows(standard_search):
                message = "according to the registry, it has no such data"
                return TableQueryOutcome(target=target, status="other", message=message)
        table = target.table or fetch_remote_table(target, kind, runner.site, timeout_seconds)
        search = parse_search(pairs, table)
        if search.faults:
            return TableQueryOutcome(target=target, status="other", message=_join_search_fault_messages(search))
        search = search.copy_with(columns=tuple(columns or list_shared_shown_columns([table], kind)))
        adql = search.write_adql()
        deadline = start_time + timeout_seconds
        if target.service is None:
            row_count, answer = _count_and_fetch_site_rows(search, runner, row_limit, deadline)
        else:
            settings = runner.site.settings
            row_count, answer = _count_and_fetch_remote_rows(search, target.service, settings, row_limit, deadline)
        return build_result("ok", answer=answer, row_count=row_count)
    except HvenError as error:
        has_timed_out = time.monotonic() - start_time >= timeout_seconds * 0.95
        if isinstance(error, OverloadedError):
            status = "busy"
        elif has_timed_out or isinstance(error, http_client.NoAnswerError):
            status = "late"
        else:
            status = "failed"
        return build_result(status, error.message)
    except Exception as error:  # a failure of one table must not hide the results of the others
        logging.getLogger("hven").warning("%s could not be queried", target.key, exc_info=error)
        message = format_message("its response cannot be used ({error})", type(error).__name__)
        return build_result("failed", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstTableRows:
    """The first rows of a table, their columns, and their keys as pages name them."""

    rows: pa.Table | None = None
    columns: tuple[Column, ...] = ()
    keys: tuple[str, ...] = ()


_NO_ROWS = _FirstTableRows()


def _join_search_fault_messages(search: TableSearch) -> str:
    """Join the faults of a search to one message."""
    fault_messages = []
    for fault in search.faults:
        fault_text = format_message(fault.message)
        fault_messages.append(format_message("{name}: {message}", fault.field, fault_text))
    return join_messages("{one}; {other}", fault_messages)


def _compute_positive_remaining_seconds(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)


def _count_and_fetch_site_rows(
    search: TableSearch, runner: QueryRunner, row_limit: int, deadline: float
) -> tuple[int, _FirstTableRows]:
    """Count the rows of a table of this site, and fetch the first ones."""
    remaining_seconds = _compute_positive_remaining_seconds(deadline)
    row_count = _find_known_count(search, runner)
    if not row_count:
        row_count = runner.fetch_number(search.build_count_query(), timeout_seconds=remaining_seconds)
    shown_columns = search.list_shown_columns()
    if not row_limit or not row_count:
        return row_count, _FirstTableRows(columns=shown_columns)
    page_query = _with_key_columns(search).build_query(limit=row_limit)
    page = runner.fetch_table(page_query, timeout_seconds=remaining_seconds)
    keys: tuple[str, ...] = ()
    if search.table.primary:
        keys = format_keys(page, search.table.primary)
    shown_page = page.select([column.name for column in shown_columns])
    return row_count, _FirstTableRows(rows=shown_page, columns=shown_columns, keys=keys)


def _count_and_fetch_remote_rows(
    search: TableSearch, service: RemoteTapService, settings: Settings, row_limit: int, deadline: float
) -> tuple[int, _FirstTableRows]:
    """Count the rows of a remote table, and fetch the first ones."""
    count_query = write_adql(search.build_count_query())
    remaining_seconds = _compute_positive_remaining_seconds(deadline)
    count_rows, _ = remote_queries.query_tap_service(service, count_query, settings, remaining_seconds)
    row_count = remote_queries.parse_row_count(count_rows)
    if not row_limit or not row_count:
        return row_count, _NO_ROWS
    keyed_search = _with_key_columns(search)
    page_query = write_adql(keyed_search.build_query(limit=row_limit))
    remaining_seconds = _compute_positive_remaining_seconds(deadline)
    rows, columns = remote_queries.query_tap_service(service, page_query, settings, remaining_seconds)
    page, all_columns = remote_queries.select_requested_columns(rows, columns, keyed_search, row_limit)
    keys: tuple[str, ...] = ()
    if search.table.primary:
        keys = format_keys(page, search.table.primary)
    shown_columns = all_columns[: len(search.list_shown_columns())]
    shown_page = page.select([column.name for column in shown_columns])
    return row_count, _FirstTableRows(rows=shown_page, columns=shown_columns, keys=keys)


def count_column_values(
    column_name: str, search_text: str, runner: QueryRunner, tables: Sequence[Table]
) -> list[FacetChoice]:
    """Return the values of a column in all tables of this site that have it, the most frequent first.

    With `search_text`, only the values that contain it.
    """
    table_columns = []
    for table in tables:
        for column in table.columns:
            is_named = column.name.lower() == column_name.lower()
            if is_named and not column.hidden and column.type.is_string:
                table_columns.append((table, column))

    def count_facet(pair: tuple[Table, Column]) -> Facet | None:
        table, column = pair
        search = TableSearch(table=table)
        try:
            return column_values.count_facet(
                search, column, runner, shown_count=MAX_SHOWN_VALUES, search_text=search_text
            )
        except HvenError:  # the page of the table shows the reason; the other tables have values
            return None

    with ThreadPoolExecutor(remote_queries.MAX_QUERIES_PER_SERVICE) as pool:
        value_facets = list(pool.map(count_facet, table_columns[:MAX_VALUE_TABLES]))
    counts: dict[str, int] = {}
    for facet in value_facets:
        for choice in facet.choices if facet is not None else ():
            if choice.value:
                counts[choice.value] = counts.get(choice.value, 0) + (choice.row_count or 0)
    most_frequent_first = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    top_counts = most_frequent_first[:MAX_SHOWN_VALUES]
    return [FacetChoice(value=value, label=value, row_count=count) for value, count in top_counts]


def list_example_values(runner: QueryRunner, tables: Sequence[Table]) -> list[tuple[str, str, int]]:
    """List columns and values that many rows of this site have, as examples to begin with."""
    examples = []
    for name in ("target_name", "dataproduct_type"):
        choices = count_column_values(name, "", runner, tables)
        examples += [(name, choice.value or "", choice.row_count or 0) for choice in choices[:MAX_EXAMPLE_VALUES]]
    return examples


def list_shared_shown_columns(tables: Sequence[Table], kind: str) -> list[str]:
    """List the columns that pages show and that all tables have."""
    column_names = [{column.name for column in table.columns} for table in tables]
    return [name for name in SHOWN_COLUMNS[kind] if all(name in names for names in column_names)]


def write_union_query(searches: Sequence[TableSearch], kind: str) -> str:
    """Write one query over several tables of this site.

    It selects the columns that all of them have, and the table that each row is from.
    """
    names = list_shared_shown_columns([search.table for search in searches], kind)
    body: syntax_tree.Select | syntax_tree.SetOperation | None = None
    column_items = [syntax_tree.SelectItem(build_column_ref(name)) for name in names]
    for search in searches:
        table_name = syntax_tree.Literal(search.table.qualified_name)
        source = syntax_tree.SelectItem(table_name, syntax_tree.Ident("source_table"))
        items = (source, *column_items)
        select = syntax_tree.Select(items, search.build_from_item(), where=search.build_condition())
        if body is None:
            body = select
        else:
            body = syntax_tree.SetOperation("UNION", body, select, all=True)
    if body is None:
        return ""
    return write_adql(syntax_tree.Query(body))


_pool = ThreadPoolExecutor(MAX_PARALLEL_TABLES, thread_name_prefix="everywhere")


def _find_known_count(search: TableSearch, runner: QueryRunner) -> int | None:
    if search.build_condition() is None and not runner.has_hidden_rows(search.table):
        return runner.find_table_with_visible_counts(search.table).rows
    return None


def _with_key_columns(search: TableSearch) -> TableSearch:
    shown_names = [column.name for column in search.list_shown_columns()]
    columns = tuple(dict.fromkeys([*shown_names, *search.table.primary]))
    return search.copy_with(columns=columns)
