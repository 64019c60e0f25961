"""Search for items: parameters of requests, conditions on rows, and pages of rows."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    Comparison,
    Expr,
    FunctionCall,
    InPredicate,
    Literal,
    NullPredicate,
    OrderItem,
    build_column_ref,
    build_table_query,
    join_conditions_with_and,
)
from hven.model import LruCache, literal
from hven.model.errors import ParamError, TooLargeError, format_message
from hven.model.table import is_time_column
from hven.plugins.stac.cql2_conditions import build_filter_condition, find_filter_column
from hven.plugins.stac.item_assets import read_column, read_link_lists
from hven.plugins.stac.item_documents import ItemFieldSelection, write_items
from hven.plugins.stac.spatial_conditions import build_box_condition, build_geometry_condition
from hven.plugins.stac.temporal_conditions import build_span_condition, to_instants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.adql.syntax_tree import Query
    from hven.model.table import Column
    from hven.plugins.stac.reader_catalogue import ItemCollection, ReaderCatalogue
    from hven.plugins.stac.spatial_conditions import Box
    from hven.plugins.stac.temporal_conditions import TimeSpan

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
MAX_IDS = 10_000
MAX_OFFSET = 10_000_000  # rows that a sorted search, or one of WFS, may skip in a collection
MAX_CACHED_ROWS = 200  # of a page whose written items are cached
CACHE_BYTES = 16 * 1024**2


class WrittenItemCache(LruCache[pa.Array]):
    """The items of small pages as they were written, by the rows: queries are run each time."""

    def __init__(self) -> None:
        super().__init__(CACHE_BYTES, CACHE_BYTES // 16)


@dataclass(frozen=True, kw_only=True)
class ItemSearch:
    """A search for items.

    Attributes
    ----------
    collection_ids
        Collections to search, in their order.
    box, geometry
        Box or GeoJSON geometry that footprints touch.
    span
        Time that observations overlap.
    ids
        Ids of items; empty: all.
    filter
        CQL2 JSON.
    sort_keys
        Properties, and whether the largest value comes first.
    limit
        Items in a page.
    token
        Where the page begins; None: at the first item.
    selection
        Properties and members of the items.
    """

    collection_ids: Sequence[str]
    box: Box | None = None
    geometry: object = None
    span: TimeSpan | None = None
    ids: Sequence[str] = ()
    filter: Mapping[str, Any] | None = None
    sort_keys: Sequence[tuple[str, bool]] = ()
    limit: int = DEFAULT_LIMIT
    token: str | None = None
    selection: ItemFieldSelection = field(default_factory=ItemFieldSelection)

    def build_condition(self, collection: ItemCollection) -> Expr | None:
        """Build the condition on the rows of a collection.

        Parameters
        ----------
        collection
            The collection.

        Returns
        -------
        condition
            None if all rows are sought.
        """
        item_table = collection.item_table
        conditions: list[Expr | None] = []
        if item_table.may_lack_ids:  # such rows are no items
            conditions.append(NullPredicate(build_column_ref(item_table.id_column.name), negated=True))
        if self.ids:
            ids = tuple(Literal(item_id) for item_id in self.ids)
            conditions.append(InPredicate(build_column_ref(item_table.id_column.name), ids))
        if self.box is not None:
            conditions.append(build_box_condition(self.box, item_table))
        if self.geometry is not None:
            conditions.append(build_geometry_condition(self.geometry, item_table))
        if self.span is not None:
            conditions.append(build_span_condition(self.span, item_table, collection.item_span))
        if self.filter is not None:
            conditions.append(build_filter_condition(self.filter, item_table, collection.item_span))
        return join_conditions_with_and(*conditions)


@dataclass(frozen=True)
class ItemPage:
    """A page of a search.

    Attributes
    ----------
    texts
        The items as JSON, shape (n,).
    next_token
        Where the next page begins; None: this is the last one.
    total_count
        Number of all items that match; None if it is not known without counting.
    """

    texts: pa.Array
    next_token: str | None
    total_count: int | None


def encode_page_token(content: object) -> str:
    """Encode the place of a page.

    Parameters
    ----------
    content
        JSON.
    """
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode_page_token(token: str, is_valid: Callable[[list[Any]], bool]) -> list[Any]:
    """Decode the place of a page.

    Parameters
    ----------
    token
        What `encode_page_token` returned.
    is_valid
        Whether a place is one of the search.

    Raises
    ------
    ParamError
        The text is no token of the search.
    """
    try:
        content = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        content = None
    if not isinstance(content, list) or not is_valid(content):
        remedy = "use the `next` link of a page"
        raise ParamError(
            "the token is not from this service, or belongs to another search", name="token", remedy=remedy
        )
    return content


def _are_counts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) and value >= 0 for value in values)


def read_item_page(catalogue: ReaderCatalogue, search: ItemSearch) -> ItemPage:
    """Read a page of items.

    Parameters
    ----------
    catalogue
        What the reader sees.
    search
        The search.

    Raises
    ------
    ParamError
        A parameter does not fit a collection.
    """
    if len(search.collection_ids) > 1 and search.filter is not None:
        for collection_id in search.collection_ids:  # else a page with enough items would hide a fault
            search.build_condition(catalogue.find_collection(collection_id))
    if not search.collection_ids:  # the reader sees none of those that are searched
        return ItemPage(pa.array([], pa.string()), None, 0)
    if search.sort_keys:
        return _read_sorted_page(catalogue, search)
    return _read_page_by_id(catalogue, search)


def _read_page_by_id(catalogue: ReaderCatalogue, search: ItemSearch) -> ItemPage:
    """Read the next rows by id, from one collection after the other."""
    position = 0
    last_id: Any = None
    read_before = 0
    if search.token is not None:
        collection_id, last_id, read_before = decode_page_token(
            search.token,
            lambda place: len(place) == 3 and place[0] in search.collection_ids and _are_counts(place[2:]),
        )
        position = list(search.collection_ids).index(collection_id)
    texts: list[pa.Array] = []
    missing_count = search.limit
    next_token = None
    known_count: int | None = None
    for number, collection_id in enumerate(search.collection_ids[position:], position):
        collection = catalogue.find_collection(collection_id)
        item_table = collection.item_table
        id_ref = build_column_ref(item_table.id_column.name)
        condition = search.build_condition(collection)
        is_countless = condition is not None or not item_table.table.is_fully_public
        known_count = None if is_countless else collection.published.rows
        if last_id is not None:
            condition = join_conditions_with_and(condition, Comparison(">", id_ref, Literal(last_id)))
        rows, has_more = _read_rows_by_id(catalogue, collection, condition, missing_count)
        texts.append(_write_items(catalogue, rows, collection, search.selection))
        missing_count -= rows.num_rows
        read_count = read_before + search.limit - missing_count
        if has_more:
            last_id = rows.column(item_table.id_column.name)[-1].as_py()
            next_token = encode_page_token([collection_id, last_id, read_count])
            break
        last_id = None
        if missing_count <= 0 and number + 1 < len(search.collection_ids):
            next_token = encode_page_token([search.collection_ids[number + 1], None, read_count])
            break
    total_count: int | None = None
    if next_token is None:  # all items were read, in this page and those before it
        total_count = read_before + search.limit - missing_count
    elif len(search.collection_ids) == 1:
        total_count = known_count
    return ItemPage(pa.concat_arrays(texts), next_token, total_count)


def _read_rows_by_id(
    catalogue: ReaderCatalogue, collection: ItemCollection, condition: Expr | None, limit: int
) -> tuple[pa.Table, bool]:
    """Read rows in the order of their ids, and whether there are more; rows with the same id are in one page."""
    item_table = collection.item_table
    id_ref, columns = build_column_ref(item_table.id_column.name), _list_columns(collection)
    query_tree = build_table_query(item_table.table, columns, condition, (OrderItem(id_ref),))
    if item_table.has_unique_ids:
        return _read_rows(catalogue, query_tree, limit)
    rows, _ = _read_rows(catalogue, query_tree, limit + 1)
    if rows.num_rows <= limit:
        return rows, False
    ids = rows.column(item_table.id_column.name)
    if ids[limit] != ids[limit - 1]:
        return rows.slice(0, limit), True
    first = pc.index(ids, ids[limit]).as_py()
    if first > 0:
        return rows.slice(0, first), True
    condition = Comparison("=", id_ref, Literal(ids[limit].as_py()))  # more rows than a page has
    equal_rows, _ = _read_rows(catalogue, build_table_query(item_table.table, columns, condition), MAX_LIMIT)
    return equal_rows, True


def _read_rows(catalogue: ReaderCatalogue, query_tree: Query, limit: int) -> tuple[pa.Table, bool]:
    """Read rows, and whether there are more."""
    with catalogue.run_query(query_tree, limit) as result:
        rows = result.read_table()
        return rows, result.overflow


def _write_items(
    catalogue: ReaderCatalogue, rows: pa.Table, collection: ItemCollection, selection: ItemFieldSelection
) -> pa.Array:
    """Write rows as items; the texts of small pages are cached by the rows and their links."""
    linked_rows = rows if selection.has_member("assets") else rows.slice(0, 0)
    links = read_link_lists(catalogue, collection.item_table, linked_rows)
    if not 0 < rows.num_rows <= MAX_CACHED_ROWS:
        return write_items(rows, links, collection, catalogue.base_url, selection)
    hasher = blake2b()
    for batch in (*rows.combine_chunks().to_batches(), *(links.to_batches() if links is not None else ())):
        hasher.update(batch.serialize())
    key = (hasher.digest(), collection.id, catalogue.state_key, catalogue.base_url, selection)
    cache = catalogue.site.get_or_create(WrittenItemCache)
    texts = cache.find(key)
    if texts is None:
        texts = write_items(rows, links, collection, catalogue.base_url, selection)
        cache.store(key, texts, texts.nbytes)
    return texts


def _read_sorted_page(catalogue: ReaderCatalogue, search: ItemSearch) -> ItemPage:
    """Read the next rows of all collections in order, and merge them; the token has an offset for each collection."""
    offsets = [0] * len(search.collection_ids)
    if search.token is not None:
        offset_count = len(offsets)
        offsets = decode_page_token(search.token, lambda place: len(place) == offset_count and _are_counts(place))
        if max(offsets, default=0) > MAX_OFFSET:
            message = format_message("a sorted search ends after {most:,} items of a collection", MAX_OFFSET)
            raise TooLargeError(message, remedy="leave out sortby, or narrow the search")
    parts: list[pa.Table] = []
    any_more = False
    for number, collection_id in enumerate(search.collection_ids):
        collection = catalogue.find_collection(collection_id)
        rows, has_more = read_sorted_rows(catalogue, collection, search, search.limit, offsets[number])
        any_more = any_more or has_more
        columns = [_find_sort_column(name, collection) for name, _ in search.sort_keys]
        values = {f"key{index}": _read_sort_values(rows, column) for index, column in enumerate(columns)}
        values["text"] = _write_items(catalogue, rows, collection, search.selection)
        parts.append(pa.table({**values, "collection": pa.array([number] * rows.num_rows, pa.int32())}))
    page = parts[0]
    if len(parts) > 1:
        directions = ["descending" if is_descending else "ascending" for _, is_descending in search.sort_keys]
        orders = [(f"key{index}", direction) for index, direction in enumerate(directions)]
        try:
            page = pa.concat_tables(parts, promote_options="permissive").sort_by([*orders, ("collection", "ascending")])
        except pa.ArrowException:
            raise ParamError(
                "the values to sort by have different types in different collections",
                name="sortby",
                remedy="search one collection at a time",
            ) from None
    any_more = any_more or page.num_rows > search.limit
    page = page.slice(0, search.limit)
    numbers = page["collection"].to_numpy()
    offsets = [offset + int((numbers == number).sum()) for number, offset in enumerate(offsets)]
    next_token = encode_page_token(offsets) if any_more else None
    return ItemPage(literal.combine_chunks(page["text"]), next_token, None if any_more else sum(offsets))


def read_sorted_rows(
    catalogue: ReaderCatalogue, collection: ItemCollection, search: ItemSearch, limit: int, offset: int
) -> tuple[pa.Table, bool]:
    """Read rows in the order of a search, and whether there are more.

    The order is the same in each page: rows with equal ids are ordered by their other values.

    Parameters
    ----------
    catalogue
        What the reader sees.
    collection
        The collection.
    search
        The search.
    limit
        Maximum number of rows.
    offset
        Number of rows to skip.
    """
    item_table = collection.item_table
    directions = {_find_sort_column(name, collection).name: value for name, value in search.sort_keys}
    directions.setdefault(item_table.id_column.name, False)
    if not item_table.has_unique_ids:
        for column in item_table.columns_by_name.values():
            if column.type.xtype is None and (column.type.is_string or not column.type.is_array):
                directions.setdefault(column.name, False)
    order_items = [OrderItem(build_column_ref(name), descending=value) for name, value in directions.items()]
    condition = search.build_condition(collection)
    query_tree = build_table_query(item_table.table, _list_columns(collection), condition, order_items, offset)
    return _read_rows(catalogue, query_tree, limit)


def _read_sort_values(rows: pa.Table, column: Column) -> pa.Array:
    """Read the values to sort by; times of different columns may be days from different epochs."""
    values = read_column(rows, column)
    if column.epoch is None and not is_time_column(column):
        return values
    return to_instants(values, column)


def _find_sort_column(name: str, collection: ItemCollection) -> Column:
    item_table = collection.item_table
    end_numbers = {"datetime": 0, "start_datetime": 0, "end_datetime": 1}
    end_number = end_numbers.get(name.removeprefix("properties."))
    if end_number is not None and item_table.time_columns is not None:
        return item_table.time_columns[end_number]
    if name == "collection":
        return item_table.id_column
    return find_filter_column(name, item_table)


def _list_columns(collection: ItemCollection) -> list[str]:
    return [column.name for column in collection.item_table.columns_by_name.values()]


def count_items(catalogue: ReaderCatalogue, search: ItemSearch) -> int:
    """Count the items of a search.

    Parameters
    ----------
    catalogue
        What the reader sees.
    search
        The search.
    """
    total = 0
    for collection_id in search.collection_ids:
        collection = catalogue.find_collection(collection_id)
        count_call = FunctionCall("COUNT", star=True)
        query_tree = build_table_query(collection.item_table.table, [count_call], search.build_condition(collection))
        with catalogue.run_query(query_tree, 1) as result:
            total += int(result.read_table().column(0)[0].as_py())
    return total
