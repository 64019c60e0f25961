"""Serve ``/basket``: the rows that a reader ticked, of all collections, or a shared basket (``/basket/TOKEN``).

Forms change it, with scripts or without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import services
from hven.model.errors import ForbiddenError, HvenError, ParamError
from hven.plugins.baskets import basket_contents, basket_files
from hven.plugins.baskets.basket_contents import Basket, BasketTablePart
from hven.plugins.baskets.basket_rows import (
    PRIVATE_HEADERS,
    BasketTable,
    RequestedBasket,
    count_rows_or_none,
    find_other_portal_tables,
    find_requested_basket,
    list_basket_tables,
    select_visible_keys,
)
from hven.plugins.baskets.basket_store import BASKET_COOKIE, count_basket_entries_with_state, get_basket_store
from hven.portal.api import table_rows
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import (
    SAMP_HUB_ORIGINS,
    PageContent,
    PageContext,
    PortalPages,
    RunningQueries,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
    read_whole_number_parameter,
    run_while_connected,
)
from hven.services import scripts
from hven.services.addresses import build_session_cookie, is_cross_site_change_request
from hven.services.file_rows import NOUNS, CountWithNoun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.params import RequestParams
    from hven.portal.api.table_downloads import CitationText
    from hven.portal.api.table_rows import TableSearch, TableView
    from hven.services.face import ServiceContext

MAX_FORM_BYTES = 2 * 1024**2  # of a request: the largest basket
ROWS_PER_PAGE = 20  # of a table, on one page
MAX_COLUMNS = 8
TABLE_PARAMETER, OFFSET_PARAMETER = "_of", "_from"
KEY_SEPARATOR = "\t"  # between the keys of a line in a form; no key contains it
COOKIE_LIFETIME_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketPage(TemplateContext):
    """The page of a basket.

    Attributes
    ----------
    entries
        Number of entries.
    own, known
        Whether it is the reader's own basket, and whether it is known.
    link
        Address that shares it; empty if there is none yet.
    here
        Address of the page.
    only
        Path of the only table that is shown; empty: all.
    parts
        The tables, each with its rows, searches and downloads.
    amounts
        What is in it, by noun.
    gone
        Number of entries that no longer exist, or that the reader may not see.
    ways, files, most
        Archives and scripts of its files; number of files; how many files a script has at most.
    cite
        Citations of its collections.
    document
        The basket as JSON, for the script.
    """

    template = "baskets/basket.html"
    entries: int
    own: bool
    known: bool
    link: str
    here: str
    only: str
    parts: Sequence[Mapping[str, object]]
    amounts: Sequence[CountWithNoun]
    gone: int
    ways: Sequence[str]
    files: int
    most: int
    cite: Sequence[CitationText]
    document: object


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the pages of baskets."""

    async def show_basket(page_context: PageContext) -> PageContent:
        def build_answer(running_queries: RunningQueries) -> PageContent:
            return _build_basket_page(page_context, running_queries)

        return await run_while_connected(page_context.request, build_answer)

    async def change_basket(page_context: PageContext) -> PageContent:
        if is_cross_site_change_request(page_context.request, context.site.settings):
            raise ForbiddenError(
                "the request comes from a page on another site", remedy="use the form on the basket's page"
            )
        params = await services.read_params(page_context.request, MAX_FORM_BYTES)
        return await anyio.to_thread.run_sync(_apply_basket_change, page_context, params)

    endpoint = build_page_endpoint(show_basket, context, header_options={"connect_origins": SAMP_HUB_ORIGINS})
    routes = basket_files.build_routes(context)
    return [
        *routes,
        Route("/basket", endpoint),
        Route("/basket", build_page_endpoint(change_basket, context), methods=["POST"]),
        Route("/basket/{token}", endpoint),
    ]


def _build_basket_page(page_context: PageContext, running_queries: RunningQueries) -> PageContent:
    requested_basket = _merge_and_store_cookie_basket(page_context)
    basket = requested_basket.basket
    only_table = page_context.request.query_params.get(TABLE_PARAMETER, "")
    other_portal_tables = find_other_portal_tables(page_context, basket)
    basket_tables = list(list_basket_tables(page_context, basket, running_queries.add_query))
    if only_table:
        offset = read_whole_number_parameter(page_context, OFFSET_PARAMETER, 0, table_rows.MAX_ROW_KEYS)
    else:
        offset = 0
    parts = [
        _describe_table(basket_table, page_context, requested_basket, offset)
        for basket_table in basket_tables
        if only_table in {"", basket_table.part.table_path}
    ]
    visible_paths = {basket_table.part.table_path for basket_table in basket_tables} | other_portal_tables
    hidden_parts = [part for part in basket.parts if part.table_path not in visible_paths]
    hidden_count = sum(len(part.keys) + len(part.searches) for part in hidden_parts)
    citations = basket_files.list_citations(basket_tables, page_context)
    if requested_basket.is_own:
        own_text = requested_basket.basket.to_text()
    else:
        own_text = ""
    page = BasketPage(
        entries=basket.entry_count,
        own=requested_basket.is_own,
        known=requested_basket.is_known,
        link=f"{page_context.base}/basket/{requested_basket.token}" if requested_basket.token else "",
        here=requested_basket.address,
        only=only_table,
        parts=parts,
        amounts=_sum_part_amounts(parts),
        gone=sum(part["gone"] for part in parts) + hidden_count,
        ways=basket_files.list_archive_and_script_kinds([basket_table.view for basket_table in basket_tables]),
        files=sum(part["files"] or 0 for part in parts),
        most=scripts.MAX_SCRIPT_FILES,
        cite=citations,
        document=orjson.loads(own_text or "{}"),
    )
    json_content = {
        "entries": page.entries,
        "own": page.own,
        "link": page.link,
        "here": page.here,
        "only": only_table,
        "parts": [_strip_html_only_fields(part) for part in parts],
        "rows": sum(part["rows"] or 0 for part in parts),
        "gone": page.gone,
        "ways": page.ways,
        "files": page.files,
        "most": page.most,
        "cite": citations,
    }
    if own_text:
        json_content["basket"] = own_text
    json_content["state"] = ""
    account = _find_basket_account(page_context)
    if account and requested_basket.is_own:
        _, basket_state = get_basket_store(page_context.context.site).count_entries_with_state(account)
        json_content["state"] = basket_state
    headers = PRIVATE_HEADERS
    if requested_basket.is_own and _has_unmerged_cookie_basket(page_context):
        headers = {**PRIVATE_HEADERS, **_build_basket_cookie_header(page_context, None)}
    return PageContent(page=page, json_content=json_content, headers=headers)


def _describe_table(
    basket_table: BasketTable, page_context: PageContext, requested_basket: RequestedBasket, offset: int
) -> dict[str, Any]:
    """Describe the part of a basket that is of one table."""
    table_view = basket_table.view
    table = basket_table.view.table
    table_address = build_table_address(page_context.base, table)
    resource = page_context.published_state.resources.get(table.schema)
    search_entries = [
        {
            "search": text,
            "url": f"{table_address}?{text}".rstrip("?"),
            "words": _describe_search(table_view, search),
            "faults": [{"field": fault.field, "message": fault.message} for fault in search.faults],
            "rows": None if search.faults else count_rows_or_none(replace(table_view, search=search)),
        }
        for text, search in basket_table.searches
    ]
    facts: dict[str, Any] = {
        "of": basket_table.part.table_path,
        "table": table.qualified_name,
        "title": table.title or table.name,
        "collection": (resource.title if resource is not None else "") or table.schema,
        "url": table_address,
        "noun": table_rows.find_row_noun(table, table_view.runner),
        "entries": len(basket_table.part.row_keys) + len(basket_table.part.searches),
        "keys": len(basket_table.part.keys),
        "searches": search_entries,
        "wrong": "",
    }
    try:
        visible_part = select_visible_keys(basket_table)
        facts |= {
            "rows": count_rows_or_none(table_view),
            **_describe_ticked_rows_page(basket_table, visible_part, table_address, offset),
            **basket_files.describe_basket_table_downloads(basket_table, visible_part, requested_basket),
        }
    except HvenError as error:  # a failure of one table leaves the others
        error_text = page_context.translator(str(error))
        facts |= {"rows": None, "gone": 0, "wrong": error_text, "headings": [], "lines": [], "more": "", "files": None}
        facts |= {"formats": [], "bytes": None, "upload": [], "votable": "", "jobs": []}
    return facts


def _sum_part_amounts(parts: Sequence[Mapping[str, Any]]) -> list[CountWithNoun]:
    """Sum the amounts of the parts of a basket, rows and files by themselves."""
    amounts = []
    for noun in NOUNS:
        number = sum(part["rows"] or 0 for part in parts if part["noun"] == noun)
        if number:
            amounts.append(CountWithNoun(number, noun))
    return amounts


def _describe_ticked_rows_page(
    basket_table: BasketTable, visible_part: BasketTablePart, table_address: str, offset: int
) -> dict[str, Any]:
    """Describe a page of the ticked rows, each with the keys of its line."""
    line_by_key = {key: line for line in visible_part.row_keys for key in line}
    search = basket_table.ticked_view.search
    primary = basket_table.view.table.primary
    constant_names = table_rows.find_constant_columns(search, basket_table.ticked_view.runner)
    initial_names = table_rows.choose_initial_columns(search, constant_names)
    names = [name for name in initial_names if name not in primary]
    columns = tuple(names[:MAX_COLUMNS]) or primary
    order = tuple((name, False) for name in primary)
    search = search.copy_with(columns=columns, order=order)
    page = table_rows.fetch_page(search, basket_table.ticked_view.runner, offset=offset, limit=ROWS_PER_PAGE)
    column_headings = table_rows.build_column_headings(page, basket_table.view.table, labels=basket_table.view.labels)
    text_cells = table_rows.format_cells(page, basket_table.view.table, labels=basket_table.view.labels)
    heading_row, cell_rows = table_rows.build_headings_and_cells(column_headings, text_cells, basket_table.ticked_view)
    lines = [
        {
            "key": KEY_SEPARATOR.join(line_by_key.get(key, (key,))),
            "url": f"{table_address}?{urlencode({'_row': key})}",
            "name": " ".join(map(str, orjson.loads(key))),
            "cells": row,
        }
        for key, row in zip(page.keys, cell_rows, strict=True)
    ]
    if page.has_more:
        next_query = urlencode(
            {TABLE_PARAMETER: basket_table.part.table_path, OFFSET_PARAMETER: offset + ROWS_PER_PAGE}
        )
    else:
        next_query = ""
    return {
        "gone": len(basket_table.part.keys) - len(visible_part.keys),
        "headings": heading_row,
        "lines": lines,
        "more": next_query,
        "after": len(visible_part.keys) - offset - len(lines),
    }


def _describe_search(table_view: TableView, search: TableSearch) -> str:
    chip_texts = [
        f"{chip.get('label') or chip['name']}: {chip['value']}"
        for chip in table_rows.build_condition_chips(search, table_view.labels)
    ]
    return "; ".join(chip_texts)


def _strip_html_only_fields(part: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a table without the fields that only the HTML page needs."""
    return {
        name: value
        for name, value in part.items()
        if name not in {"headings", "lines", "upload", "jobs", "more", "after"}
    }


def _find_basket_account(page_context: PageContext) -> str:
    """Return the account whose basket the server stores; empty if there is none."""
    if page_context.principal.impersonator:
        return ""
    return page_context.principal.name or ""


def _has_unmerged_cookie_basket(page_context: PageContext) -> bool:
    return bool(_find_basket_account(page_context)) and BASKET_COOKIE in page_context.request.cookies


def _merge_and_store_cookie_basket(page_context: PageContext) -> RequestedBasket:
    """Return the requested basket.

    The basket of a cookie from before the log-in is merged into the user's own.
    """
    requested_basket = find_requested_basket(page_context)
    if not (requested_basket.is_own and _has_unmerged_cookie_basket(page_context)):
        return requested_basket
    cookie_basket = _read_cookie_basket(page_context)
    merged_basket = _merge_if_fits(requested_basket.basket, cookie_basket)
    if merged_basket != requested_basket.basket:
        basket_store = get_basket_store(page_context.context.site)
        merged_basket = basket_store.change_basket(
            _find_basket_account(page_context), lambda mine: _merge_if_fits(mine, cookie_basket)
        )
    return replace(requested_basket, basket=merged_basket)


def _read_cookie_basket(page_context: PageContext) -> Basket:
    principal = replace(page_context.principal, name=None)
    from_cookie = find_requested_basket(replace(page_context, principal=principal))
    return from_cookie.basket


def _merge_if_fits(own_basket: Basket, added_basket: Basket) -> Basket:
    try:
        return own_basket.merge(added_basket)
    except ParamError:  # together they are too large: the own basket stays
        return own_basket


def _apply_basket_change(page_context: PageContext, params: RequestParams) -> PageContent:
    """Apply the change of a form or a script, and answer a script with the changed basket."""
    basket_store = get_basket_store(page_context.context.site)

    def update_basket(own_basket: Basket) -> Basket:
        return _compute_changed_basket(own_basket, params, page_context)

    account = _find_basket_account(page_context)
    cookie = None
    token = ""
    if account:
        if params.read_one("ONLY") or not _has_unmerged_cookie_basket(page_context):
            cookie_basket = Basket()
        else:
            cookie_basket = _read_cookie_basket(page_context)
        changed_basket = basket_store.change_basket(
            account, lambda own_basket: update_basket(_merge_if_fits(own_basket, cookie_basket))
        )
    else:
        changed_basket = update_basket(find_requested_basket(page_context).basket)
        token = basket_store.store_shared_basket(changed_basket)
        cookie = f"{changed_basket.entry_count}.{token}"
    basket_address = f"{page_context.base}/basket"
    if params.read_one("SHARE"):
        token = basket_store.store_shared_basket(changed_basket)
        basket_address += f"/{token}"
    headers = PRIVATE_HEADERS
    if cookie or _has_unmerged_cookie_basket(page_context):
        headers = {**PRIVATE_HEADERS, **_build_basket_cookie_header(page_context, cookie)}
    if not is_json_requested(page_context.request):
        redirect = build_redirect(basket_address)
        return replace(redirect, headers={**redirect.headers, **headers})
    json_content = {"entries": changed_basket.entry_count, "basket": changed_basket.to_text(), "token": token}
    if account:
        json_content["state"] = basket_store.count_entries_with_state(account)[1]
    else:
        json_content["state"] = ""
    return PageContent(json_content=json_content, headers=headers)


def _compute_changed_basket(own_basket: Basket, params: RequestParams, page_context: PageContext) -> Basket:
    """Return a basket after the change that a form asks for."""
    changed_basket = _change_whole_basket(own_basket, params, page_context)
    if changed_basket is not None:
        return changed_basket
    lines = [line.split(KEY_SEPARATOR) for line in params.read_all("KEY") if line.strip()]
    row_keys = tuple(tuple(key for key in line if key) for line in lines)
    part = BasketTablePart(
        table_path=params.read_one("OF") or "", row_keys=row_keys, searches=tuple(params.read_all("SEARCH"))
    )
    listed_basket = Basket(parts=(part,))
    if params.read_one("DROP"):
        return own_basket.remove_entries(listed_basket)
    return own_basket.merge(basket_contents.parse_basket(listed_basket.to_text()))


def _change_whole_basket(own_basket: Basket, params: RequestParams, page_context: PageContext) -> Basket | None:
    """Apply a change that names another basket or none; None if the form lists rows and searches of one table."""
    new_text = params.read_one("SET")
    added_text = params.read_one("ADD")
    removed_text = params.read_one("REMOVE")
    token = params.read_one("COPY")
    changed_basket = None
    if params.read_one("EMPTY"):
        changed_basket = Basket()
    elif new_text:
        changed_basket = basket_contents.parse_basket(new_text)
    elif added_text:
        changed_basket = own_basket.merge(basket_contents.parse_basket(added_text))
    elif removed_text:
        changed_basket = own_basket.remove_entries(basket_contents.parse_basket(removed_text))
    elif token:
        shared_basket = get_basket_store(page_context.context.site).read_shared_basket(token)
        shared_tables = list_basket_tables(page_context, shared_basket)
        visible_parts = tuple(_select_visible_part(table_part) for table_part in shared_tables)
        changed_basket = own_basket.merge(Basket(parts=visible_parts))
    elif params.read_one("CLEAN"):
        changed_basket = _remove_invisible_entries(own_basket, page_context)
    elif params.read_one("SHARE"):
        changed_basket = own_basket
    return changed_basket


def _select_visible_part(basket_table: BasketTable) -> BasketTablePart:
    return replace(select_visible_keys(basket_table), searches=basket_table.part.searches)


def _remove_invisible_entries(own_basket: Basket, page_context: PageContext) -> Basket:
    """Return a basket without tables and rows that are gone; parts of other portals of the site stay."""
    other_portal_tables = find_other_portal_tables(page_context, own_basket)
    visible_parts = {}
    for basket_table in list_basket_tables(page_context, own_basket):
        visible_parts[basket_table.part.table_path] = _select_visible_part(basket_table)
    parts = []
    for part in own_basket.parts:
        if part.table_path in other_portal_tables:
            kept_part: BasketTablePart | None = part
        else:
            kept_part = visible_parts.get(part.table_path)
        if kept_part is not None and (kept_part.row_keys or kept_part.searches):
            parts.append(kept_part)
    return Basket(parts=tuple(parts))


def _build_basket_cookie_header(page_context: PageContext, value: str | None) -> dict[str, str]:
    """Return the header that sets the cookie of a basket; with None it expires."""
    cookie = build_session_cookie(
        page_context.request,
        page_context.context.site.settings,
        value,
        cookie_name=BASKET_COOKIE,
        max_age_seconds=COOKIE_LIFETIME_SECONDS,
    )
    return {"set-cookie": cookie}


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={
        "header": "header_link.html",
        "table.downloads": "found_rows.html",
        "table.ticks": "ticked_rows.html",
    },
    compute_frame_value=count_basket_entries_with_state,
)
