"""Summarise collections for their cards: pictures of rows, years and targets, from statistics and one query a table."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.engines import LiveRelation
from hven.model import LruCache, RetryBackoffLog, split_address_or_empty
from hven.model.errors import HvenError
from hven.portal._explore.cell_text import ADDRESS_PATTERN
from hven.portal._explore.row_pages import format_keys
from hven.portal._explore.search import TableSearch, build_column_ref
from hven.portal._explore.time_ranges import find_time_range
from hven.services.file_rows import classify_column_display

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table
    from hven.portal._explore.page_queries import QueryRunner

MAX_PICTURES = 12  # of a collection
MAX_SAMPLED_ROWS = 60  # rows that are read to find different pictures
TABLE_TIMEOUT_SECONDS = 1.0  # for one table
PICTURE_CHECK_SECONDS = 8.0  # for finding informative pictures of one table, which must be drawn for that
MAX_PARALLEL_COLLECTIONS = 4
MAX_CACHED_OVERVIEWS = 2_000  # states of collections in the cache
TARGET_COLUMNS = ("target_name", "target", "body")
MAX_NAMED_TARGETS = 1  # distinct targets that statistics can name
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPicture:
    """A small picture of a row: its address, its table, and the key of the row as in addresses."""

    address: str
    table: Table
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionOverview:
    """The overview of a collection; `years` are the first and the last one."""

    pictures: tuple[RowPicture, ...] = ()
    years: tuple[str, str] | None = None
    targets: tuple[str, ...] = ()


class CollectionOverviewCache:
    """Cache of the overviews of collections, by the state of their tables. Thread-safe."""

    def __init__(self) -> None:
        self._complete: LruCache[CollectionOverview] = LruCache(MAX_CACHED_OVERVIEWS)
        # overviews without the tables whose queries failed, until the next attempt
        self._partial: LruCache[CollectionOverview] = LruCache(MAX_CACHED_OVERVIEWS)
        self._lock = threading.Lock()

    def is_ready(self, collections: Sequence[Sequence[Table]], runner: QueryRunner, access_key: str) -> bool:
        """Return whether no table has to be queried now: all overviews are cached, or failed too recently."""
        failures = runner.site.get_or_create(RetryBackoffLog)
        keys = [("look", *_build_cache_key(tables, runner, access_key)) for tables in collections]
        return all(self._complete.find(key) is not None or failures.is_retry_paused(key) for key in keys)

    def summarize_collections(
        self,
        collections: Sequence[Sequence[Table]],
        runner: QueryRunner,
        access_key: str,
        is_allowed: Callable[[str], bool],
        is_informative: Callable[[str], bool] = lambda _: True,
    ) -> list[CollectionOverview]:
        """Summarise collections as one reader sees them.

        Parameters
        ----------
        access_key
            The access key of the reader.
        is_allowed
            Returns whether pages may show the picture of an address.
        is_informative
            Returns whether the picture of an address shows something; it may be slow.
        """

        def summarize_cached(tables: Sequence[Table]) -> CollectionOverview:
            failures = runner.site.get_or_create(RetryBackoffLog)
            key = ("look", *_build_cache_key(tables, runner, access_key))
            overview = self._complete.find(key)
            if overview is not None:
                return overview
            if failures.is_retry_paused(key):
                return self._partial.find(key) or CollectionOverview()
            overview, fault = _summarize_tables(tables, runner, is_allowed, is_informative)
            if fault:
                failures.record_failure(key, f"the card of {tables[0].schema}", fault)
                self._partial.store(key, overview)
            else:
                failures.record_success(key)
                self._complete.store(key, overview)
            return overview

        if self.is_ready(collections, runner, access_key):
            return [summarize_cached(tables) for tables in collections]
        with self._lock, ThreadPoolExecutor(MAX_PARALLEL_COLLECTIONS) as pool:
            return list(pool.map(summarize_cached, collections))


def build_picture_origin_check(origins: Sequence[str], site_origin: str) -> Callable[[str], bool]:
    """Return the function that tells whether pages may show a picture.

    Allowed are pictures of the site's own origin, and of the origins of the site file (``https://*.example.org``).
    """

    def is_allowed(address: str) -> bool:
        if address.startswith("/"):
            return True
        parts = split_address_or_empty(address)
        picture_origin = f"{parts.scheme}://{parts.netloc}"
        wildcard_origins = [origin.split("*", 1) for origin in origins if "://*." in origin]
        if picture_origin in {site_origin, *origins}:
            return True
        return any(picture_origin.startswith(begin) and picture_origin.endswith(end) for begin, end in wildcard_origins)

    return is_allowed


def _build_cache_key(tables: Sequence[Table], runner: QueryRunner, access_key: str) -> tuple[object, ...]:
    items = [runner.published_state.tables_by_name[table.qualified_name] for table in tables]
    if any(runner.has_hidden_rows(table) for table in tables):
        row_scope = access_key
    else:
        row_scope = "public"
    return (row_scope, *((item.table.qualified_name, item.run_id, item.updated) for item in items))


def _summarize_tables(
    tables: Sequence[Table],
    runner: QueryRunner,
    is_allowed: Callable[[str], bool],
    is_informative: Callable[[str], bool],
) -> tuple[CollectionOverview, str]:
    """Summarise the tables of a collection; also return the reason of a failure, or an empty text."""
    fault = ""
    pictures: list[RowPicture] = []
    times: list[tuple[str, str]] = []
    targets: dict[str, None] = {}
    for table in tables:
        item = runner.find_table_with_visible_counts(table)
        if table.view is not None or item.relation is None or isinstance(item.relation, LiveRelation):
            continue
        try:
            if len(pictures) < MAX_PICTURES:
                pictures += _choose_row_pictures(table, runner, is_allowed, is_informative)
            period = find_time_range(table, runner)
            if period is not None:
                times.append(period)
        except HvenError as error:  # a card without pictures is better than no card
            log.info("the card of %s is shown without rows: %s", table.qualified_name, error)
            fault = f"{table.qualified_name}: {error}"
        for column in table.columns:
            facts = item.statistics.get(column.name, {})
            has_one_value = facts.get("distinct") == MAX_NAMED_TARGETS
            if column.name.lower() in TARGET_COLUMNS and has_one_value and facts.get("minimum"):
                targets[str(facts["minimum"])] = None
    years = None
    if times:
        first_day = min(begin for begin, _ in times)
        last_day = max(end for _, end in times)
        years = (first_day[:4], last_day[:4])
    overview = CollectionOverview(pictures=tuple(pictures[:MAX_PICTURES]), years=years, targets=tuple(targets))
    return overview, fault


def _choose_row_pictures(
    table: Table, runner: QueryRunner, is_allowed: Callable[[str], bool], is_informative: Callable[[str], bool]
) -> list[RowPicture]:
    """Find different, informative pictures of some rows."""
    columns = [
        column for column in table.columns if not column.hidden and classify_column_display(column, table) == "picture"
    ]
    if not columns:
        return []
    name = columns[0].name
    item_names = dict.fromkeys([name, *table.primary])
    items = tuple(syntax_tree.SelectItem(build_column_ref(item_name)) for item_name in item_names)
    is_present = syntax_tree.NullPredicate(build_column_ref(name), negated=True)
    source = TableSearch(table=table).build_from_item()
    top = syntax_tree.Literal(MAX_SAMPLED_ROWS)
    select = syntax_tree.Select(items, source, where=is_present, top=top)
    rows = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=TABLE_TIMEOUT_SECONDS)
    pictures_by_address: dict[str, RowPicture] = {}
    keys = format_keys(rows, table.primary)
    for text, key in zip(rows.column(name).to_pylist(), keys, strict=True):
        address_match = ADDRESS_PATTERN.fullmatch(str(text).strip())
        address = ""
        if address_match is not None:
            address = address_match[0]
        if address.lower().startswith("http") and is_allowed(address):
            pictures_by_address.setdefault(address, RowPicture(address=address, table=table, key=key))
    until = time.monotonic() + PICTURE_CHECK_SECONDS
    chosen: list[RowPicture] = []
    for picture in pictures_by_address.values():
        if len(chosen) == MAX_PICTURES or time.monotonic() > until:
            break
        if is_informative(picture.address):
            chosen.append(picture)
    return chosen
