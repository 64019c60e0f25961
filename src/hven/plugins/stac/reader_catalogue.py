"""What a reader sees of a site as STAC: collections, their spans and extents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven import query
from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import (
    Comparison,
    Conjunction,
    FunctionCall,
    NullPredicate,
    build_column_ref,
    build_table_query,
)
from hven.model import LruCache, literal
from hven.model.errors import BindError, HvenError, NotFoundError, format_message, suggest_spelling
from hven.plugins.stac.condition_parts import build_filter_error
from hven.plugins.stac.item_tables import ItemTable, find_item_table
from hven.plugins.stac.temporal_conditions import TimeSpan, to_instants
from hven.services.addresses import get_base_url
from hven.site import anonymize_for_referee, record_sent_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from hven.adql.syntax_tree import Expr, Query
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable
    from hven.site.auth import Principal

SERVICE_NAME = "stac"
WHOLE_BODY = (-180.0, -90.0, 180.0, 90.0)  # west, south, east and north
Box = tuple[float, float, float, float]


class VisibleCollectionCache(LruCache["VisibleCollections"]):
    """The collections of readers who see the same tables and rows, by published state."""

    def __init__(self) -> None:
        super().__init__(16)  # each keeps its published state in memory


@dataclass(frozen=True)
class VisibleCollections:
    """Collections that some readers see in a published state.

    Attributes
    ----------
    item_tables
        The tables of items, by the ids of their collections.
    collections
        Those that were asked for, by their ids.
    """

    item_tables: Mapping[str, ItemTable]
    collections: dict[str, ItemCollection] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemCollection:
    """A collection of items.

    Attributes
    ----------
    item_table
        Its table, as the reader sees it.
    published
        The published table.
    span
        The time of all items; None if none has a time.
    box
        West, south, east and north of all items, degrees.
    """

    item_table: ItemTable
    published: PublishedTable
    span: TimeSpan | None
    box: Box

    @property
    def id(self) -> str:
        """Its id."""
        return self.item_table.id

    @property
    def item_span(self) -> TimeSpan:
        """The span of items without a time: that of the collection, or else the day of its publication."""
        if self.span is not None:
            return self.span
        updated = datetime.fromisoformat(self.published.updated or "1970-01-01T00:00:00+00:00")
        instant = updated.replace(tzinfo=updated.tzinfo or UTC, microsecond=0)
        return TimeSpan(instant, instant)


class ReaderCatalogue:
    """The collections that a reader sees, in one published state.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        The reader.
    base_url
        Address of the site or the portal, without a final slash.
    """

    def __init__(self, context: ServiceContext, principal: Principal, base_url: str) -> None:
        self.context = context
        self.site = context.site
        self.principal = principal
        self.published_state = anonymize_for_referee(context.site.get_published_state(), principal)
        self.base_url = base_url

    @classmethod
    def create_for_request(cls, context: ServiceContext, request: Request) -> ReaderCatalogue:
        """Return what the reader of a request sees.

        Parameters
        ----------
        context
            Service context of the site.
        request
            Request of the reader.
        """
        return cls(context, context.identify_principal(request), get_base_url(request, context.site.settings))

    @property
    def root_url(self) -> str:
        """Address of the landing page."""
        return f"{self.base_url}/{SERVICE_NAME}"

    @property
    def site_title(self) -> str:
        """Title of the site, or else its name."""
        return self.site.settings.title or self.site.settings.name

    @cached_property
    def state_key(self) -> tuple[str, str]:
        """The published state and the access of the reader, on which documents and rows depend."""
        return self.published_state.version, self.published_state.find_access_key(self.principal, self.context.policies)

    @cached_property
    def _visible(self) -> VisibleCollections:
        cache = self.site.get_or_create(VisibleCollectionCache)
        visible = cache.find(self.state_key)
        if visible is None:
            visible = VisibleCollections(self._find_item_tables())
            cache.store(self.state_key, visible)
        return visible

    @property
    def item_tables(self) -> Mapping[str, ItemTable]:
        """The tables of items, by the ids of their collections."""
        return self._visible.item_tables

    def _find_item_tables(self) -> Mapping[str, ItemTable]:
        catalogue = self.published_state.get_catalogue(self.principal, self.context.policies)
        tables = {}
        for table in catalogue.iterate_tables():
            if table.schema == "tap_schema" or not table.is_served_by(SERVICE_NAME):
                continue
            item_table = find_item_table(table)
            if item_table is not None:
                statistics = self.published_state.tables_by_name[item_table.id].statistics
                region_facts, frame_facts = (statistics.get(name, {}) for name in ("s_region", "spatial_frame_type"))
                frames = [frame_facts.get(name) for name in ("nulls", "minimum", "maximum")]
                tables[item_table.id] = replace(
                    item_table,
                    has_all_regions=region_facts.get("nulls") == 0,
                    has_only_bodies=frames == [0, "body", "body"],
                    has_all_ids=statistics.get(item_table.id_column.name, {}).get("nulls") == 0,
                )
        return tables

    def list_collections(self) -> list[ItemCollection]:
        """List all collections that the reader sees."""
        return [self.find_collection(collection_id) for collection_id in self.item_tables]

    def find_collection(self, collection_id: str) -> ItemCollection:
        """Find a collection.

        Parameters
        ----------
        collection_id
            Its id.

        Raises
        ------
        NotFoundError
            The reader sees no such collection.
        """
        collection = self._visible.collections.get(collection_id)
        if collection is not None:
            return collection
        item_table = self.item_tables.get(collection_id)
        if item_table is None:
            remedy = suggest_spelling(collection_id, list(self.item_tables)) or "see /stac/collections"
            raise NotFoundError(f"there is no collection {collection_id!r:.80}", remedy=remedy)
        published = self.published_state.tables_by_name[collection_id]
        ranges = self._find_column_ranges(item_table, published)
        span = _compute_item_time_span(item_table, ranges)
        collection = ItemCollection(item_table, published, span, self._find_bounding_box(item_table, ranges))
        self._visible.collections[collection_id] = collection
        return collection

    def _find_bounding_box(self, item_table: ItemTable, ranges: Mapping[str, tuple[Any, Any]]) -> Box:
        """Find the box of all items; boxes over the meridian and regions without boxes are not in the ranges."""
        box = _compute_item_bounding_box(item_table, ranges)
        if item_table.box_columns is None or box == WHOLE_BODY:
            return box
        west, east, *_ = (build_column_ref(column.name) for column in item_table.box_columns)
        if item_table.region_column is not None and not item_table.has_all_regions:
            region = build_column_ref(item_table.region_column.name)
            has_region_alone = Conjunction((NullPredicate(west), NullPredicate(region, negated=True)))
            if self._has_rows(item_table, has_region_alone):
                return WHOLE_BODY
        if self._has_rows(item_table, Comparison(">", west, east)):
            return -180.0, box[1], 180.0, box[3]
        return box

    def _has_rows(self, item_table: ItemTable, condition: Expr) -> bool:
        query_tree = build_table_query(item_table.table, [item_table.id_column.name], condition)
        with self.run_query(query_tree, 1) as result:
            return bool(result.read_table().num_rows)

    def run_query(self, query_tree: Query, row_limit: int) -> QueryResult:
        """Run a query with the rights of the reader; the caller closes the result.

        Parameters
        ----------
        query_tree
            The query.
        row_limit
            Maximum number of rows.

        Raises
        ------
        ParamError
            The filter compares values of different types.
        """
        try:
            result = query.run_query(
                write_adql(query_tree),  # plans of texts are cached, whatever their literals
                self.principal,
                site=self.site,
                maxrec=row_limit,
                policies=self.context.policies,
                published_state=self.published_state,
            )
        except BindError as error:  # its position and its remedy are those of the query, which the reader does not see
            message = format_message("the filter does not fit the properties: {reason}", error.message)
            remedy = "compare each property with values of its type, which the queryables of the collection contain"
            raise build_filter_error(message, remedy) from None
        record_sent_data(answer=result)
        return result

    def _find_column_ranges(self, item_table: ItemTable, published: PublishedTable) -> Mapping[str, tuple[Any, Any]]:
        """Find the least and largest values of the columns of times and boxes, among the rows that the reader sees."""
        columns = (*(item_table.time_columns or ()), *(item_table.box_columns or ()))
        names = list(dict.fromkeys(column.name for column in columns))
        statistics = published.statistics
        has_statistics = all("minimum" in statistics.get(name, {}) for name in names)
        if item_table.table.is_fully_public and has_statistics:
            return {name: (statistics[name]["minimum"], statistics[name]["maximum"]) for name in names}
        return self._query_column_ranges(item_table, names)

    def _query_column_ranges(self, item_table: ItemTable, names: list[str]) -> Mapping[str, tuple[Any, Any]]:
        if not names:
            return {}
        calls = [FunctionCall(function, (build_column_ref(name),)) for name in names for function in ("MIN", "MAX")]
        with self.run_query(build_table_query(item_table.table, calls), 1) as result:
            values = [column[0].as_py() for column in result.read_table().columns]
        return {name: (values[2 * number], values[2 * number + 1]) for number, name in enumerate(names)}


def _compute_item_time_span(item_table: ItemTable, ranges: Mapping[str, tuple[Any, Any]]) -> TimeSpan | None:
    if item_table.time_columns is None:
        return None
    instants = []  # a row may have one of both ends alone
    for column in item_table.time_columns:
        values = pa.array(ranges[column.name])
        if column.epoch is None and not pa.types.is_null(values.type) and not pa.types.is_timestamp(values.type):
            values = literal.parse_dali_literals(values.cast(pa.string()), column.type)
        instants += to_instants(values, column).drop_null().to_pylist()
    if not instants:
        return None
    return TimeSpan(min(instants).replace(tzinfo=UTC), max(instants).replace(tzinfo=UTC))


def _compute_item_bounding_box(item_table: ItemTable, ranges: Mapping[str, tuple[Any, Any]]) -> Box:
    """Find the box of all items; longitudes on both sides of 180 degrees give all longitudes."""
    if item_table.box_columns is None:
        return WHOLE_BODY
    try:
        west, east, south, north = (
            float(str(ranges[column.name][number]))
            for column, number in zip(item_table.box_columns, (0, 1, 0, 1), strict=True)
        )
    except (ValueError, HvenError):
        return WHOLE_BODY
    if not (-90 <= south <= north <= 90):
        return WHOLE_BODY
    if -180 <= west <= east <= 180:
        return west, south, east, north
    if 180 <= west <= east <= 360:
        return west - 360, south, east - 360, north
    return -180.0, south, 180.0, north
