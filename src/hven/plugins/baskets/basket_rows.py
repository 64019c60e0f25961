"""The rows and searches of a basket, as far as the reader may see them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from hven.model.errors import HvenError, NotFoundError
from hven.plugins.baskets import basket_contents
from hven.plugins.baskets.basket_contents import Basket, BasketTablePart
from hven.plugins.baskets.basket_store import BASKET_COOKIE, get_basket_store, parse_basket_cookie
from hven.portal.api import table_rows
from hven.portal.api.pages import SWITCH_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.model.table import Table
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableSearch, TableView
    from hven.query import QueryResult

PRIVATE_HEADERS = {"cache-control": "private, no-store"}  # the answer is of one reader
TOKEN_PATH_PARAMETER = "token"  # a parameter of the path  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedBasket:
    """The basket of a request.

    Attributes
    ----------
    address
        The first part of the addresses of its downloads.
    token
        The token of a shared basket; empty for the basket of a logged-in user.
    is_own
        Whether it is the user's own basket, which they may change.
    is_known
        False if the user never had a basket.
    """

    basket: Basket
    address: str
    token: str = ""
    is_own: bool = True
    is_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketTable:
    """The part of a basket that is of one visible table.

    Attributes
    ----------
    view
        View of all of its rows.
    ticked_view
        View of the ticked rows.
    searches
        Query strings of addresses, and their searches; a search with faults finds nothing.
    """

    part: BasketTablePart
    view: TableView
    ticked_view: TableView
    searches: tuple[tuple[str, TableSearch], ...]


def find_requested_basket(page_context: PageContext) -> RequestedBasket:
    """Return the basket of a request: that of its address, or the user's own.

    Raises
    ------
    NotFoundError
        There is no basket with this token.
    """
    basket_store = get_basket_store(page_context.context.site)
    basket_address = f"{page_context.base}/basket"
    token = str(page_context.request.path_params.get(TOKEN_PATH_PARAMETER, "")).removesuffix(".json")
    if token:
        basket = basket_store.read_shared_basket(token)
        return RequestedBasket(basket=basket, address=f"{basket_address}/{token}", token=token, is_own=False)
    principal = page_context.principal
    if principal.name is not None:
        if principal.impersonator:
            basket = Basket()
        else:
            basket = basket_store.read_account_basket(principal.name)
        return RequestedBasket(basket=basket, address=basket_address)
    cookie = parse_basket_cookie(page_context.request.cookies.get(BASKET_COOKIE))
    token = cookie[1]
    try:
        if token:
            return RequestedBasket(
                basket=basket_store.read_shared_basket(token), address=f"{basket_address}/{token}", token=token
            )
        return _build_unknown_basket(basket_address)
    except NotFoundError:
        return _build_unknown_basket(basket_address)


def _build_unknown_basket(basket_address: str) -> RequestedBasket:
    return RequestedBasket(basket=Basket(), address=basket_address, is_known=False)


def list_basket_tables(
    page_context: PageContext,
    basket: Basket,
    on_query_start: Callable[[QueryResult], QueryResult] | None = None,
) -> Iterator[BasketTable]:
    """Yield the parts of a basket whose tables the reader may see; `on_query_start` gets each query that starts."""
    visible_tables = list_visible_tables(page_context)
    for part in basket.parts:
        if part.table_path in visible_tables:
            view = table_rows.build_table_view(page_context, visible_tables[part.table_path])
            if on_query_start is not None:
                view = replace(view, runner=view.runner.with_start_callback(on_query_start))
            yield _build_basket_table(part, view, page_context)


def list_visible_tables(page_context: PageContext) -> dict[str, Table]:
    """Return the tables that a reader may see, by their paths in baskets."""
    return {
        table_rows.build_table_path(table): table
        for table in page_context.catalogue.iterate_tables()
        if table.qualified_name in page_context.published_state.tables_by_name
    }


def find_other_portal_tables(page_context: PageContext, basket: Basket) -> set[str]:
    """Return the tables of a basket that other portals of the site show; this portal does not mention them."""
    if not page_context.brand.collections:
        return set()
    catalogue = page_context.published_state.get_catalogue(page_context.principal, page_context.context.policies)
    all_paths = {table_rows.build_table_path(table) for table in catalogue.iterate_tables()}
    other_paths = all_paths - set(list_visible_tables(page_context))
    return {part.table_path for part in basket.parts if part.table_path in other_paths}


def _build_basket_table(part: BasketTablePart, table_view: TableView, page_context: PageContext) -> BasketTable:
    key_search = basket_contents.build_row_key_search(part, table_view.table)
    searches = []
    for address in part.searches:
        pairs = [pair for pair in parse_qsl(address) if pair[0] not in SWITCH_PARAMETERS]
        view_search = table_rows.parse_table_search(table_view, page_context, pairs)
        searches.append((address, view_search))
    view = replace(table_view, search=_build_part_search(part, table_view.table, searches))
    ticked_view = replace(table_view, search=key_search)
    return BasketTable(part=part, view=view, ticked_view=ticked_view, searches=tuple(searches))


def _build_part_search(part: BasketTablePart, table: Table, searches: Sequence[tuple[str, TableSearch]]) -> TableSearch:
    """Return the search for the rows with the keys of a part, and for those that its valid searches find."""
    union_searches = [search for _, search in searches if not search.faults]
    if part.row_keys:
        union_searches.insert(0, basket_contents.build_row_key_search(part, table))
    return basket_contents.build_union_search(table, union_searches)


def select_visible_keys(basket_table: BasketTable) -> BasketTablePart:
    """Return the ticked rows that the reader may see; no page shows the keys of others."""
    keys: set[str] = set()
    primary = basket_table.view.table.primary
    if basket_table.part.row_keys and primary:
        key_query = basket_table.ticked_view.search.build_query(columns=list(primary))
        visible_rows = basket_table.ticked_view.runner.fetch_table(key_query)
        keys = set(table_rows.format_keys(visible_rows, primary))
    lines = (tuple(key for key in line if key in keys) for line in basket_table.part.row_keys)
    row_keys = tuple(line for line in lines if line)
    return replace(basket_table.part, row_keys=row_keys)


def build_visible_search(basket_table: BasketTable, visible_part: BasketTablePart) -> TableSearch | None:
    """Return the search for the rows of a basket whose conditions name only rows that the reader may see.

    None if there are no such rows. `visible_part` is what `select_visible_keys` returned.
    """
    if not visible_part.row_keys and all(search.faults for _, search in basket_table.searches):
        return None
    return _build_part_search(visible_part, basket_table.view.table, basket_table.searches)


def count_rows_or_none(table_view: TableView) -> int | None:
    """Count the rows of a view; None if that fails or takes too long."""
    try:
        return table_rows.count_rows(table_view.search, table_view.runner, timeout_seconds=5.0).rows
    except HvenError:
        return None
