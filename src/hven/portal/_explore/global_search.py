"""One search over all EPN-TAP or all ObsCore tables.

Those of this site, and those of services elsewhere that the site file names.

Each table is asked on its own, at once with the others and within a time; whatever comes is shown, whatever does not is
told with its reason.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import query
from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.descriptor import load_standard
from hven.model import Cache, plugins
from hven.model.errors import (
    HvenError,
    OverloadedError,
    SourceError,
    TooLargeError,
    UserError,
    format_message,
    join_messages,
)
from hven.model.settings import RemoteService
from hven.model.table import Table, set_column_epochs
from hven.portal import conditions as epn_conditions
from hven.portal._explore import facets
from hven.portal._explore.facets import FacetChoice
from hven.portal._explore.row_pages import format_keys
from hven.portal._explore.search import TableSearch, build_column_ref, parse_search
from hven.portal._explore.service_list import ServiceLists
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.model.table import Column
    from hven.portal._explore.facets import Facet
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.service_list import RegisteredTable
    from hven.site import Site

STANDARD_TITLES = {"epn": "EPN-TAP", "obscore": "ObsCore"}
STANDARD_KINDS = tuple(STANDARD_TITLES)
STANDARD_FILES = {"epn": "epn-tap-2.0", "obscore": "obscore-1.1"}
SEARCH_TIMEOUT_SECONDS = 10.0  # for all tables together
REGISTRY_TIMEOUT_SECONDS = 60.0  # for the list of a registry
MAX_PARALLEL_TABLES = 12  # tables that a process asks at once, for all readers
MAX_QUERIES_PER_SERVICE = 4  # questions to one service at once: nobody elsewhere shall suffer from our readers
MAX_CACHED_TABLES = 1000  # tables elsewhere whose columns are remembered
COLUMN_CACHE_SECONDS = 3600.0  # seconds for which the columns of a table elsewhere are remembered
MAX_RESPONSE_BYTES = 16 * 1024**2  # bytes of an answer from elsewhere
MAX_SINGLE_TABLE_ROWS, MAX_SHARED_TABLE_ROWS = 50, 12  # rows of one table that is looked at alone; of each of several
MAX_EXAMPLE_VALUES = 3  # targets, and kinds of product, of the examples
MAX_VALUE_TABLES, MAX_SHOWN_VALUES = 40, 50  # tables whose values a field of the form offers; how many values
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
class SearchTarget:
    """A table to ask; `service` is None for one of this site, `registry_entry` is what a registry says of it."""

    name: str
    title: str
    service: RemoteService | None = None
    table: Table | None = None
    registry_entry: RegisteredTable | None = None

    @property
    def key(self) -> str:
        """Its name in an address."""
        if self.service is not None:
            return f"{self.service.name}/{self.name}"
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What one table said.

    Attributes
    ----------
    status
        ``ok``; ``waiting``: nobody asked it yet; ``other``: it cannot be asked this; ``late``, ``failed``, ``busy``.
    row_count
        How many it has.
    first_rows, columns
        Its first rows, and what their columns are.
    keys
        Of these rows, as pages name them; empty: they are elsewhere, or have none.
    """

    target: SearchTarget
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
    """Return the table of the standard: what the form may ask for."""
    standard = load_standard(STANDARD_FILES[kind])
    table = set_column_epochs(standard.tables[0].table)
    names = {column.name for column in table.columns}
    if {"s_ra", "s_dec"} <= names:
        return table.copy_with(position=("s_ra", "s_dec"))
    return table


def classify_table(table: Table) -> str:
    """Return of which kind a table is: ``epn``, ``obscore``, or nothing."""
    name = table.name.lower()
    if name == "epn_core" or "epntap#table" in (table.utype or "") or (table.standard or "").startswith("epn-tap"):
        return "epn" if table.is_served_by("epn-tap") else ""
    if table.schema == "ivoa" and name == "obscore":
        return "obscore"
    return ""


def list_targets(kind: str, runner: QueryRunner, tables: Sequence[Table]) -> list[SearchTarget]:
    """List the tables of a kind: those of this site that the reader may know of, then those elsewhere."""
    search_targets = []
    for table in tables:
        if classify_table(table) == kind and table.qualified_name in runner.published_state.tables_by_name:
            resource = runner.published_state.resources.get(table.schema)
            title = (resource.title if resource is not None else None) or table.title or table.qualified_name
            search_targets.append(SearchTarget(name=table.qualified_name, title=title, table=table))
    for service in runner.site.settings.remote:
        if service.kind == kind:
            search_targets += [
                SearchTarget(name=name, title=service.title or service.name, service=service) for name in service.tables
            ]
    known_services = {
        (registered.service.url.rstrip("/"), registered.name)
        for registered in search_targets
        if registered.service is not None
    }
    for registered in list_registered_tables(kind, runner):
        (name,) = registered.service.tables
        if (registered.service.url, name) not in known_services:
            search_targets.append(
                SearchTarget(
                    name=name,
                    title=registered.service.title or name,
                    service=registered.service,
                    registry_entry=registered,
                )
            )
    return search_targets


def list_registered_tables(kind: str, runner: QueryRunner) -> list[RegisteredTable]:
    """List the tables elsewhere that the registry of the site names, without those of this site."""
    settings = runner.site.settings
    search_settings = settings.everywhere
    if search_settings.registry is None:
        return []
    service_lists = get_service_lists(runner.site)
    registered = service_lists.list_tables(
        kind,
        lambda adql: _query_registry(adql, runner),
        max_age_seconds=search_settings.hours * 3600,
        max_tables=search_settings.most,
    )
    site_address = (settings.site_url or "").rstrip("/")
    return [
        replace(entry, service=replace(entry.service, seconds=search_settings.seconds))
        for entry in registered
        if not site_address or not entry.service.url.startswith(f"{site_address}/")
    ]


def get_service_lists(site: Site) -> ServiceLists:
    """Return what the registry of the site listed."""
    name = hashlib.sha256((site.settings.everywhere.registry or "").encode()).hexdigest()[:12]
    service_lists: ServiceLists = site.get_or_create(
        _open_service_lists, site.settings.var_directory / "services" / name
    )
    return service_lists


def _open_service_lists(file: Path) -> ServiceLists:
    return ServiceLists(file=file)


def _query_registry(adql: str, runner: QueryRunner) -> list[dict[str, Any]]:
    """Ask the registry: a service elsewhere, or a collection of this site as everybody sees it."""
    settings = runner.site.settings
    name = settings.everywhere.registry or ""
    if not name.startswith(("http://", "https://")):
        text = adql.replace("rr.", f"{name}.")
        with query.run_query(text, ANONYMOUS_PRINCIPAL, site=runner.site) as result:
            return [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    service = RemoteService(name="registry", url=name)
    return list(_query_service(service, adql, settings, REGISTRY_TIMEOUT_SECONDS)[0].to_pylist())


def query_targets(
    targets: Sequence[SearchTarget],
    query_one: Callable[[SearchTarget], TargetResult],
    *,
    timeout_seconds: float = SEARCH_TIMEOUT_SECONDS,
) -> list[TargetResult]:
    """Ask several tables at once; those that have not answered in time are told to be late."""
    futures = {target.key: _pool.submit(query_one, target) for target in targets}
    wait(futures.values(), timeout=timeout_seconds)
    results = []
    for target in targets:
        future = futures[target.key]
        if future.done() and not future.cancelled():
            results.append(future.result())
        else:
            future.cancel()
            message = format_message("no answer within {seconds:g} s", timeout_seconds)
            results.append(
                TargetResult(
                    target=target,
                    status="late",
                    message=message,
                    elapsed_seconds=timeout_seconds,
                )
            )
    return results


def query_target(
    target: SearchTarget,
    pairs: Sequence[tuple[str, str]],
    kind: str,
    runner: QueryRunner,
    *,
    row_limit: int = 0,
    columns: Sequence[str] = (),
    timeout_seconds: float = SEARCH_TIMEOUT_SECONDS,
) -> TargetResult:
    """Ask one table how many rows it has, and for the first `row_limit` of them, those `columns` or what pages show.

    Never raises what a table can do wrong.
    """
    start_time = time.monotonic()
    adql = ""
    try:
        if target.registry_entry is not None and not target.registry_entry.may_have_rows(
            parse_search(pairs, load_standard_table(kind))
        ):
            return TargetResult(
                target=target, status="other", message="its coverage in the registry has nothing of this"
            )
        table = target.table or _fetch_remote_table(target, kind, runner.site, timeout_seconds)
        search = parse_search(pairs, table)
        if search.faults:
            fault_text = join_messages(
                "{one}; {other}",
                (
                    format_message("{name}: {message}", fault.field, format_message(fault.message))
                    for fault in search.faults
                ),
            )
            return TargetResult(target=target, status="other", message=fault_text)
        search = search.copy_with(columns=tuple(columns or list_shared_columns([table], kind)))
        adql = search.write_adql()
        remaining_seconds = max(timeout_seconds - (time.monotonic() - start_time), 0.1)
        keys: tuple[str, ...] = ()
        if target.service is None:
            row_count = _find_known_count(search, runner) or runner.fetch_number(
                search.build_count_query(), timeout_seconds=remaining_seconds
            )
            shown_columns = search.list_shown_columns()
            if row_limit and row_count:
                page = runner.fetch_table(
                    _add_key_columns(search).build_query(limit=row_limit), timeout_seconds=remaining_seconds
                )
            else:
                page = None
            if page is not None:
                if table.primary:
                    keys = format_keys(page, table.primary)
                else:
                    keys = ()
                page = page.select([column.name for column in shown_columns])
        else:
            row_count = _read_count(
                _query_service(
                    target.service, write_adql(search.build_count_query()), runner.site.settings, remaining_seconds
                )[0]
            )
            page = None
            shown_columns = ()
            if row_limit and row_count:
                remaining_seconds = max(timeout_seconds - (time.monotonic() - start_time), 0.1)
                page, shown_columns = _select_requested_columns(
                    *_query_service(
                        target.service,
                        write_adql(search.build_query(limit=row_limit)),
                        runner.site.settings,
                        remaining_seconds,
                    ),
                    search,
                    row_limit,
                )
        elapsed_seconds = round(time.monotonic() - start_time, 2)
        return TargetResult(
            target=target,
            status="ok",
            row_count=row_count,
            adql=adql,
            elapsed_seconds=elapsed_seconds,
            first_rows=page,
            columns=shown_columns,
            keys=keys,
        )
    except HvenError as error:
        is_late = time.monotonic() - start_time >= timeout_seconds * 0.95 or isinstance(
            error, http_client.NoAnswerError
        )
        if isinstance(error, OverloadedError):
            status = "busy"
        elif is_late:
            status = "late"
        else:
            status = "failed"
        return TargetResult(
            target=target,
            status=status,
            message=error.message,
            adql=adql,
            elapsed_seconds=round(time.monotonic() - start_time, 2),
        )
    except Exception as error:  # whatever one table does, the others are shown
        logging.getLogger("hven").warning("%s could not be asked", target.key, exc_info=error)
        message = format_message("its answer cannot be used ({error})", type(error).__name__)
        return TargetResult(
            target=target,
            status="failed",
            message=message,
            adql=adql,
            elapsed_seconds=round(time.monotonic() - start_time, 2),
        )


def count_column_values(name: str, search_text: str, runner: QueryRunner, tables: Sequence[Table]) -> list[FacetChoice]:
    """Return the values of a column in all tables of this site that have it, the most frequent first.

    `search_text` leaves those that contain it.
    """
    table_columns = [
        (table, column)
        for table in tables
        for column in table.columns
        if column.name.lower() == name.lower() and not column.hidden
    ]
    table_columns = [(table, column) for table, column in table_columns if column.type.is_string][:MAX_VALUE_TABLES]

    def count_facet(pair: tuple[Table, Column]) -> Facet | None:
        try:
            return facets.count_facet(
                TableSearch(table=pair[0]), pair[1], runner, shown_count=MAX_SHOWN_VALUES, search_text=search_text
            )
        except HvenError:  # its own page says why; the other tables have values
            return None

    with ThreadPoolExecutor(MAX_QUERIES_PER_SERVICE) as pool:
        value_facets = list(pool.map(count_facet, table_columns))
    counts: dict[str, int] = {}
    for facet in value_facets:
        for choice in facet.choices if facet is not None else ():
            if choice.value:
                counts[choice.value] = counts.get(choice.value, 0) + (choice.row_count or 0)
    top_counts = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_SHOWN_VALUES]
    return [FacetChoice(value=value, label=value, row_count=count) for value, count in top_counts]


def list_example_values(runner: QueryRunner, tables: Sequence[Table]) -> list[tuple[str, str, int]]:
    """List columns and values that many rows here have: what one may begin with."""
    return [
        (name, choice.value or "", choice.row_count or 0)
        for name in ("target_name", "dataproduct_type")
        for choice in count_column_values(name, "", runner, tables)[:MAX_EXAMPLE_VALUES]
    ]


def list_shared_columns(tables: Sequence[Table], kind: str) -> list[str]:
    """List the columns that pages show, of those that all tables have."""
    return [
        name
        for name in SHOWN_COLUMNS[kind]
        if all(any(column.name == name for column in table.columns) for table in tables)
    ]


def write_union_query(searches: Sequence[TableSearch], kind: str) -> str:
    """Write one query over several tables of this site.

    The columns that all of them have, and which table a row is from.
    """
    names = list_shared_columns([search.table for search in searches], kind)
    body: syntax_tree.Select | syntax_tree.SetOperation | None = None
    for search in searches:
        source = syntax_tree.SelectItem(
            syntax_tree.Literal(search.table.qualified_name), syntax_tree.Ident("source_table")
        )
        select = syntax_tree.Select(
            (source, *(syntax_tree.SelectItem(build_column_ref(name)) for name in names)),
            search.build_source(),
            where=search.build_condition(),
        )
        if body is None:
            body = select
        else:
            body = syntax_tree.SetOperation("UNION", body, select, all=True)
    if body is None:
        return ""
    return write_adql(syntax_tree.Query(body))


_pool = ThreadPoolExecutor(MAX_PARALLEL_TABLES, thread_name_prefix="everywhere")
_lock = threading.Lock()
_semaphores: dict[str, threading.BoundedSemaphore] = {}


def _create_column_cache() -> Cache[tuple[float, Table]]:
    """Remember tables elsewhere, and when their columns were found."""
    return Cache(MAX_CACHED_TABLES)


def _find_known_count(search: TableSearch, runner: QueryRunner) -> int | None:
    if search.build_condition() is None and not runner.has_hidden_rows(search.table):
        return runner.find_published_table(search.table).rows
    return None


def _add_key_columns(search: TableSearch) -> TableSearch:
    shown_names = [column.name for column in search.list_shown_columns()]
    columns = tuple(dict.fromkeys([*shown_names, *search.table.primary]))
    return search.copy_with(columns=columns)


def _read_count(rows: pa.Table) -> int:
    try:
        number = int(rows.column(0)[0].as_py())
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise SourceError("it answers a count with no number") from error
    if number < 0:
        raise SourceError("it answers a count with no number")
    return number


def _select_requested_columns(
    rows: pa.Table, columns: tuple[Column, ...], search: TableSearch, row_limit: int
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Select what was asked for from an answer: these columns, by whatever case, and no more rows."""
    column_numbers = {column.name.lower(): number for number, column in reversed(list(enumerate(columns)))}
    names = [column.name for column in search.list_shown_columns()]
    missing_names = [name for name in names if name.lower() not in column_numbers]
    if missing_names:
        raise SourceError(
            format_message(
                "it answers without the columns that were asked for: {names}", ", ".join(missing_names)[:100]
            )
        )
    numbers = [column_numbers[name.lower()] for name in names]
    selected = rows.select(numbers).rename_columns(names).slice(0, row_limit)
    return selected, tuple(replace(columns[number], name=name) for number, name in zip(numbers, names, strict=True))


def _fetch_remote_table(target: SearchTarget, kind: str, site: Site, timeout_seconds: float) -> Table:
    """Find the columns of a table elsewhere through the service's own TAP_SCHEMA; what was found is remembered."""
    if target.service is None:
        raise AssertionError
    column_cache = site.get_or_create(_create_column_cache)
    cached_table = column_cache.find(target.key)
    if cached_table is not None and time.monotonic() - cached_table[0] < COLUMN_CACHE_SECONDS:
        return cached_table[1]
    service = target.service

    def query_service(adql: str) -> list[dict[str, object]]:
        return list(_query_service(service, adql, site.settings, timeout_seconds, is_complete=True)[0].to_pylist())

    (table,) = epn_conditions.find_tables(query_service, [target.name])
    names = {column.name.lower(): column.name for column in table.columns}
    if kind == "obscore" and {"s_ra", "s_dec"} <= set(names):
        table = replace(table, position=(names["s_ra"], names["s_dec"]))
    column_cache.store(target.key, (time.monotonic(), table))
    return table


def _query_service(
    service: RemoteService, adql: str, settings: Settings, timeout_seconds: float, *, is_complete: bool = False
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Ask a TAP service: its rows and what it says of their columns; `is_complete`: there must be no more rows."""
    with _lock:
        semaphore = _semaphores.setdefault(service.url, threading.BoundedSemaphore(MAX_QUERIES_PER_SERVICE))
    if not semaphore.acquire(blocking=False):
        raise OverloadedError(
            format_message("{name} is being asked by others already", service.name), remedy="try again in a moment"
        )
    end = time.monotonic() + timeout_seconds
    form = [
        ("REQUEST", "doQuery"),
        ("LANG", "ADQL"),
        ("FORMAT", "votable"),
        ("RESPONSEFORMAT", "votable"),
        ("QUERY", adql),
    ]
    try:
        with http_client.stream_answer(
            "POST",
            f"{service.url.rstrip('/')}/sync",
            form_fields=form,
            headers={"User-Agent": "hven (portal)"},
            timeout_seconds=timeout_seconds,
            allow_private=settings.allow_private,
        ) as response:
            body = bytearray()
            for part in response.parts:
                body += part
                if len(body) > MAX_RESPONSE_BYTES:
                    raise TooLargeError(
                        format_message("{name} answers with more than {most:,} bytes", service.name, MAX_RESPONSE_BYTES)
                    )
                if time.monotonic() > end:
                    raise http_client.NoAnswerError(
                        format_message(
                            "{name} does not come to an end within {seconds:g} s", service.name, timeout_seconds
                        )
                    )
            status = response.status
    finally:
        semaphore.release()
    try:
        plugin = plugins.load_plugin("formats", "votable")
        table_stream = plugin.FORMAT.read(io.BytesIO(bytes(body)), batch=10_000)
        batches = list(table_stream.batches)
    except UserError as error:
        if b"VOTABLE" in body[:4000]:
            message = error.message
        else:
            message = format_message("it answers {status}, and no VOTable", status)
        raise SourceError(format_message("{name}: {message}", service.name, message)) from error
    except Exception as error:  # what strangers send is read by several libraries, each with errors of its own
        raise SourceError(
            format_message("{name}: its VOTable cannot be read ({error})", service.name, type(error).__name__)
        ) from error
    if status != 200:
        raise SourceError(format_message("{name} answers {status}", service.name, status))
    if is_complete and table_stream.is_truncated:
        raise SourceError(
            format_message("{name}: it cuts off what it says of its tables (QUERY_STATUS=OVERFLOW)", service.name)
        )
    if batches:
        schema = batches[0].schema
    else:
        schema = pa.schema([column.arrow_field for column in table_stream.metadata.columns])
    return pa.Table.from_batches(batches, schema), tuple(table_stream.metadata.columns)
