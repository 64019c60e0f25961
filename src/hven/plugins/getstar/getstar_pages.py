"""Serve ``/getstar``, and the old address ``/sclwsGetStarProxy.php``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import anyio.to_thread
import pyarrow as pa
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hven.model.errors import HvenError, ParamError
from hven.plugins.getstar.getstar_keys import GETSTAR_KEY, PLACEHOLDER_PATTERN
from hven.plugins.getstar.old_votable import write_old_votable
from hven.plugins.getstar.star_search import (
    FoundStar,
    StarSearch,
    find_search_status,
    find_star_table,
    read_star_names,
)
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_page_context,
    build_page_endpoint,
)
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_rows import format_keys
from hven.services import find_http_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.plugins.quantities.quantity_values import ShownQuantity
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext

MAX_PARALLEL_SEARCHES = 4
OLD_HEADERS = {"cache-control": "private, no-store", "content-type": "text/xml; charset=utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row of a star on the page.

    Attributes
    ----------
    sections
        Headings and values.
    links
        Titles and addresses of pages about the star.
    row_address
        Address of the row on the page of the table.
    """

    sections: Sequence[tuple[str, Sequence[ShownQuantity]]]
    links: Sequence[tuple[str, str]]
    row_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStar:
    """A star on the page: its name in the request, why it was not found, how it was found, and its rows.

    The table has more rows of the star if `has_more_rows`.
    """

    name: str
    fault: str
    resolved_name: str
    source: str
    rows: Sequence[ShownRow]
    has_more_rows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetstarPage(TemplateContext):
    """The page of stars.

    Attributes
    ----------
    names
        The names in the request, as text.
    table, table_address
        Name of the table, and address of its page.
    stars
        What was found.
    votable, old_votable, json
        Addresses of the same stars for programs; empty: none was found.
    """

    template = "getstar/getstar.html"
    names: str
    table: str
    table_address: str
    stars: Sequence[ShownStar]
    votable: str
    old_votable: str
    json: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/getstar`` and the old address."""
    limiter = anyio.CapacityLimiter(MAX_PARALLEL_SEARCHES)

    async def show_stars(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_page, page_context, limiter=limiter)

    async def send_old_votable(request: Request) -> Response:
        try:
            page_context = build_page_context(request, context)
            return await anyio.to_thread.run_sync(_answer_old_request, page_context, limiter=limiter)
        except HvenError as error:
            return _build_text_response([_write_fault(error)], find_http_status(error))

    return [
        Route("/getstar", build_page_endpoint(show_stars, context)),
        Route("/sclwsGetStarProxy.php", send_old_votable),
    ]


def _build_page(page_context: PageContext) -> PageContent:
    table_view = find_star_table(page_context)
    names = read_star_names(page_context)
    search = StarSearch(table_view, page_context)
    stars = search.find_stars(names)
    query = search.write_query(stars)
    parameters = urlencode({"star": ",".join(names), "table": table_view.table.qualified_name})
    tap_parameters = {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "votable"}
    table_address = build_table_address(page_context.base, table_view.table)
    page = GetstarPage(
        names=", ".join(names),
        table=table_view.table.qualified_name,
        table_address=table_address,
        stars=[_describe_star(star, search, page_context) for star in stars],
        votable=f"{page_context.base}/tap/sync?{urlencode(tap_parameters)}" if query else "",
        old_votable=f"{page_context.base}/sclwsGetStarProxy.php?{parameters}" if query else "",
        json=f"{page_context.base}/getstar.json?{parameters}" if query else "",
    )
    json_stars = [
        {
            "name": star.name,
            "fault": None if star.fault is None else star.fault.message,
            "status": 200 if star.fault is None else find_http_status(star.fault),
            "resolved": None if star.resolved is None else star.resolved.name,
            "rows": [[asdict(value) for value in values] for values in star.values],
            "more_rows": star.has_more_rows,
        }
        for star in stars
    ]
    json_content = {"table": page.table, "stars": json_stars}
    return PageContent(page=page, json_content=json_content, status=find_search_status(stars))


def _describe_star(star: FoundStar, search: StarSearch, page_context: PageContext) -> ShownStar:
    rows = []
    table = search.table_view.table
    star_rows = [] if star.rows is None else star.rows.to_pylist()
    keys = () if star.rows is None else format_keys(star.rows, table.primary)
    for values, row, key in zip(star.values, star_rows, keys, strict=True):
        sections: dict[str, list[ShownQuantity]] = {}
        for value in values:
            if value.value:
                sections.setdefault(table.find_column(value.name).section or "", []).append(value)
        rows.append(
            ShownRow(
                sections=list(sections.items()),
                links=_fill_links(search.star_table.links, row),
                row_address=f"{build_table_address(page_context.base, table)}?{urlencode({'_row': key})}",
            )
        )
    return ShownStar(
        name=star.name,
        fault="" if star.fault is None else page_context.translator.translate_error(star.fault),
        resolved_name="" if star.resolved is None else star.resolved.name,
        source="" if star.resolved is None else star.resolved.source,
        rows=rows,
        has_more_rows=star.has_more_rows,
    )


def _fill_links(links: Mapping[str, str], row: Mapping[str, object]) -> list[tuple[str, str]]:
    """Fill the templates of links with the values of a row; a link whose values are missing is left out."""
    filled_links = []
    for title, template in links.items():
        if all(row.get(name) is not None for name in PLACEHOLDER_PATTERN.findall(template)):
            address = PLACEHOLDER_PATTERN.sub(lambda match: quote(str(row[match[1]]), safe=""), template)
            filled_links.append((title, address))
    return filled_links


def _answer_old_request(page_context: PageContext) -> Response:
    """Answer with the VOTable 1.1 of stars, or with text that says why no star was found.

    Raises
    ------
    ParamError
        The request names no star.
    """
    table_view = find_star_table(page_context)
    names = read_star_names(page_context)
    if not names:
        raise ParamError("the request does not name a star", name="star", remedy="write star=NAME, or star=NAME,NAME")
    search = StarSearch(table_view, page_context)
    stars = search.find_stars(names, with_values=False)
    found_rows = [star.rows for star in stars if star.rows is not None]
    faults_by_name = {star.name: _write_fault(star.fault) for star in stars if star.fault is not None}
    if not found_rows:
        lines = list(faults_by_name.values())
        if len(lines) > 1:
            lines = [f"{name}: {fault}" for name, fault in faults_by_name.items()]
        return _build_text_response(lines, find_search_status(stars))
    rows = pa.concat_tables(found_rows)
    document = write_old_votable(
        table_view.table,
        search.star_table,
        search.columns,
        rows,
        names=names,
        missing_names=faults_by_name,
        cut_names=[star.name for star in stars if star.has_more_rows],
    )
    return Response(document, headers=OLD_HEADERS)


def _write_fault(error: HvenError) -> str:
    return "; ".join(filter(None, (error.message, error.remedy)))


def _build_text_response(lines: Sequence[str], status: int) -> Response:
    """Build a response of plain text, which programs for the old address show to their users."""
    headers = {"cache-control": "private, no-store"}
    return PlainTextResponse("".join(f"{line}\n" for line in lines), status_code=status, headers=headers)


def _build_page_address(table_view: TableView, page_context: PageContext) -> str | None:
    """Build the address of the page of stars for the page of their table; None for other tables."""
    if GETSTAR_KEY not in table_view.table.extensions:
        return None
    return f"{page_context.base}/getstar?{urlencode({'table': table_view.table.qualified_name})}"


TABLE_PAGES = TablePageExtension(compute_value=_build_page_address)
PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.trail": "table_link.html"},
)
