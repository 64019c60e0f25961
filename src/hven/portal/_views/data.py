"""Answer the panes of a table's page with JSON.

``/rows``, ``/count``, ``/row``, ``/place``, ``/facets``, ``/histogram``, ``/points`` below ``/collections/NAME/TABLE``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from starlette.routing import Route

from hven import services
from hven.model.errors import OverloadedError, ParamError, format_message
from hven.portal._explore import facets, place_names, row_pages
from hven.portal._explore.cell_text import build_column_headings, format_cells
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.reference_links import list_reference_links
from hven.portal._pages.texts import load_page_translations
from hven.portal._views import plot_data, row_header, search_form
from hven.portal._views.disconnect import RunningQueries, run_while_connected
from hven.portal._views.link_page import write_service_call_address
from hven.portal._views.page_formats import PageContent, PageContext, build_json_endpoint
from hven.portal._views.row_lines import build_page_line_search
from hven.portal._views.row_panel import build_row_panel
from hven.portal._views.table_links import list_table_link_menus
from hven.portal._views.table_view import (
    AFTER_KEY_PARAMETER,
    OFFSET_PARAMETER,
    SIZE_PARAMETER,
    TableView,
    cell_to_json,
    column_pairs_to_json,
    columns_to_json,
    read_table_view,
)
from hven.services import datalinks
from hven.services.file_rows import classify_column_display

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import LinkTemplate
    from hven.services.face import ServiceContext

    TableDataBuilder = Callable[[TableView, PageContext], Mapping[str, Any]]

MAX_FACETS = 12
MAX_STORED_NUMBER = 2**63 - 1  # of a database
PICTURE_SEMANTICS = ("#preview", "#thumbnail")  # DataLink semantics of pictures
SERVICE = "#proc"  # DataLink semantics of services
MAX_HEADER_CARDS = 2000  # of one header
MAX_FACET_CHOICES = 50  # choices of one column


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the routes of the panes' data."""
    path = "/collections/{name}/{table}"

    def build_endpoint(build_content: TableDataBuilder, *ignored_parameters: str) -> Callable[[Request], Any]:
        return build_table_data_endpoint(build_content, context, ignored_parameters=ignored_parameters)

    endpoints = {
        "rows": build_endpoint(_answer_rows),
        "count": build_endpoint(_answer_count),
        "row": build_endpoint(_answer_row),
        "header": build_endpoint(_answer_fits_header),
        "place": build_endpoint(_answer_row_number),
        "facets": build_endpoint(_answer_facets, "_of", "_like"),
        "histogram": build_endpoint(_answer_histogram, "_x"),
        "names": build_endpoint(_answer_name_suggestions, "_like"),
        "points": build_endpoint(_answer_points, "_x", "_y", "_c"),
    }
    return [Route(f"{path}/{name}", endpoint) for name, endpoint in endpoints.items()]


def build_table_data_endpoint(
    build_content: TableDataBuilder, context: ServiceContext, *, ignored_parameters: Sequence[str] = ()
) -> Callable[[Request], Awaitable[Response]]:
    """Build an endpoint below the address of a table that answers with JSON.

    Its queries are cancelled if the reader disconnects.

    Parameters
    ----------
    build_content
        Function that returns the content for the search in the address.
    context
        The service context of the site.
    ignored_parameters
        Names of parameters that are no part of the search.

    Returns
    -------
    endpoint
        The endpoint for a route of Starlette.
    """

    async def answer_request(page_context: PageContext) -> PageContent:
        def build_answer(running_queries: RunningQueries) -> Mapping[str, Any]:
            table_view = read_table_view(page_context, ignored_parameters=ignored_parameters)
            runner = table_view.runner.with_start_callback(running_queries.add_query)
            return build_content(replace(table_view, runner=runner), page_context)

        return PageContent(json_content=await run_while_connected(page_context.request, build_answer))

    return build_json_endpoint(answer_request, context)


def read_path_number(page_context: PageContext) -> int:
    """Read the number in the path of a page.

    Parameters
    ----------
    page_context
        The request of the page, whose route has the part ``{number:int}``.

    Returns
    -------
    number
        The number. Numbers that no database can store become the largest one that it can, which nothing has.
    """
    number: int = page_context.request.path_params["number"]
    return min(number, MAX_STORED_NUMBER)


def read_whole_number_parameter(page_context: PageContext, name: str, default: int, max_value: int) -> int:
    """Read a whole number of the address, 0 or more.

    Parameters
    ----------
    page_context
        The request of the page.
    name
        Name of the parameter.
    default
        The number if the address has no such parameter.
    max_value
        The largest number; larger ones become this one.

    Returns
    -------
    number
        The number.

    Raises
    ------
    ParamError
        The value is no whole number.
    """
    text = page_context.request.query_params.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 15:
        message = format_message("{name} must be a whole number, not {value!r}", name, text[:40])
        raise ParamError(message, name=name, remedy=format_message("write {name}={value}", name, default))
    return min(int(text), max_value)


def find_page_offset(table_view: TableView, page_context: PageContext) -> int:
    """Return the offset at which a page begins.

    If the table's state of the earlier page is lost, the page continues in the present state behind that page's last
    row.
    """
    offset = read_whole_number_parameter(page_context, OFFSET_PARAMETER, 0, 10**15)
    if not (table_view.is_state_lost and offset):
        return offset
    line_search = build_page_line_search(table_view).search
    previous_key = page_context.request.query_params.get(AFTER_KEY_PARAMETER, "")
    return row_pages.find_offset_after_row(line_search, table_view.runner, previous_key, offset)


def _answer_rows(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    line_view = build_page_line_search(table_view)
    total = row_pages.count_rows(line_view.search, table_view.runner)
    offset = find_page_offset(table_view, page_context)
    size = read_whole_number_parameter(page_context, SIZE_PARAMETER, 100, row_pages.MAX_PAGE_ROWS)
    page = row_pages.fetch_page(line_view.search, table_view.runner, offset=offset, limit=size, total_rows=total.rows)
    column_headings = build_column_headings(page, table_view.table, table_view.search.units, labels=table_view.labels)
    cell_rows = format_cells(page, table_view.table, table_view.search.units, labels=table_view.labels)
    files = line_view.list_line_files_and_summarize_cells(page, table_view, cell_rows)
    constant_columns = find_constant_columns(table_view.search, table_view.runner)
    json_rows = [[cell_to_json(text_cell) for text_cell in row] for row in cell_rows]
    return {
        "columns": columns_to_json(column_headings, constant_columns),
        "pairs": column_pairs_to_json(column_headings, table_view.labels),
        "rows": json_rows,
        "keys": list(page.keys),
        "from": offset,
        "more": page.has_more,
        "state": table_view.state,
        "lost": table_view.is_state_lost,
        "total": total.rows,
        "exact": total.is_exact,
        "adql": table_view.search.write_adql(),
        "faults": table_view.search.faults,
        **line_view.line_facts_to_json(files, table_view),
    }


# all panes have the same signature
def _answer_count(table_view: TableView, page_context: PageContext) -> dict[str, Any]:  # noqa: ARG001
    line_view = build_page_line_search(table_view)
    row_count = row_pages.count_rows(line_view.search, table_view.runner, timeout_seconds=10.0)
    total_count = row_pages.count_rows(line_view.build_all_lines_search(table_view), table_view.runner)
    is_empty = row_count.rows == 0 and not table_view.search.faults
    relaxed_searches = []
    if is_empty:
        relaxed_searches = search_form.describe_relaxed_searches(
            table_view.search, table_view.runner, table_view.labels, line_view.observation_key
        )
    return {
        "total": row_count.rows,
        "exact": row_count.is_exact,
        "of": total_count.rows,
        "adql": table_view.search.write_adql(),
        "faults": table_view.search.faults,
        "without": relaxed_searches,
        "asked": search_form.build_condition_chips(table_view.search, table_view.labels),
        "fields": search_form.describe_field_parts(table_view.search),
        "place": search_form.build_position_search_fields(table_view.search),
        "every": str(table_view.search.every or ""),
        **line_view.count_rows_of_observations(table_view),
    }


def _answer_row(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    page = row_pages.fetch_row(table_view.search, table_view.runner, table_view.search.row)
    cell_rows = format_cells(page, table_view.table, table_view.search.units, is_full=True, labels=table_view.labels)
    column_headings = build_column_headings(page, table_view.table, table_view.search.units, labels=table_view.labels)
    rights = table_view.table.rights
    primary = table_view.table.primary
    row = None
    links: list[dict[str, Any]] = []
    file_lock_facts = None
    panel_facts = {}
    if cell_rows:
        row = [cell_to_json(text_cell) for text_cell in cell_rows[0]]
        links += _list_package_links(table_view, page_context, page)
        links += _list_row_links(table_view, page_context, page)
        links += _list_row_reference_links(page, page_context, {link["href"] for link in links}, table_view)
        panel_facts = build_row_panel(table_view, page_context, page, links)
        if rights is not None and primary:
            row_key = json.loads(table_view.search.row)
            key_values = dict(zip(primary, row_key, strict=True))
            file_lock = rights.find_file_embargo(table_view.runner.principal, key_values)
            if file_lock is not None:
                file_lock_facts = {"until": file_lock.expiry_text, "contact": file_lock.contact}
    return {
        "columns": columns_to_json(column_headings),
        "pairs": column_pairs_to_json(column_headings, table_view.labels),
        "row": row,
        "key": table_view.search.row,
        "locked": file_lock_facts,
        "links": links,
        **panel_facts,
    }


def _list_package_links(
    table_view: TableView, page_context: PageContext, page: row_pages.RowPage
) -> list[dict[str, Any]]:
    """List the links that packages add to a row, such as its time series at the time of the row."""
    base_url = services.get_base_url(page_context.request, page_context.context.site.settings)
    url_parts = urlsplit(base_url)
    origin = f"{url_parts.scheme}://{url_parts.netloc}"
    facts = {"semantics": "", "type": "", "bytes": None, "picture": False, "locked": False}
    package_links = []
    for menu in list_table_link_menus(table_view.table, page_context, is_for_row=True):
        row_query = menu.kind.write_row_query(page, table_view.table)
        title = load_page_translations(page_context.language).get(menu.kind.title, menu.kind.title)
        for link in menu.links if row_query else ():
            address = f"{urljoin(origin, link.url)}{'&' if '?' in link.url else '?'}{row_query}"
            package_links.append(facts | {"text": f"{title}: {link.title}", "href": address})
    return package_links


def _list_row_reference_links(
    page: row_pages.RowPage, page_context: PageContext, known_addresses: set[str], table_view: TableView
) -> list[dict[str, Any]]:
    """Link what the UCDs of a row's values name: papers, names of sources, pages and files.

    Addresses that another link has already are left out.
    """
    translations = load_page_translations(page_context.language)
    links = []
    for at, column in enumerate(page.columns):
        if classify_column_display(column, table_view.table) == "picture":
            continue
        value = page.rows.column(at)[0].as_py()
        for reference in list_reference_links([(column, value)]):
            if reference.target == "download":
                file_address = reference.value.partition("?")[0].rstrip("/")
                name = unquote(file_address).rpartition("/")[2]
                text = translations.get("Download {name}", "Download {name}").format(name=name)
            elif reference.target == "page":
                text = table_view.labels.label_column(column)
            else:
                text = f"{reference.target}: {reference.value}"
            link = {
                "semantics": "",
                "type": "",
                "bytes": None,
                "picture": False,
                "locked": False,
                "text": text,
                "href": reference.address,
            }
            links.append(link)
    return [link for link in links if link["href"] not in known_addresses]


def _list_row_links(table_view: TableView, page_context: PageContext, page: row_pages.RowPage) -> list[dict[str, Any]]:
    """Return the links of a row: those of its table, which include the links of its columns."""
    table = table_view.table
    key = table_view.table.identifier_column
    column_names = [column.name for column in page.columns]
    # the page of a row shows its picture at full size
    service_links = [link for link in page_context.context.list_links(table) if link.semantics != "#thumbnail"]
    if not (table.links or service_links) or key is None or key.name not in column_names:
        return []
    runner = table_view.runner
    key_column = page.rows.column(column_names.index(key.name))
    value = key_column[0].as_py()
    identifiers = []
    if value is not None:
        identifiers = [str(value)]
    base = services.get_base_url(page_context.request, page_context.context.site.settings)
    link_rows = datalinks.list_row_links(
        table,
        identifiers,
        principal=runner.principal,
        site=runner.site,
        policies=runner.policies,
        published_state=runner.published_state,
        base_url=base,
        face_links=service_links,
        with_link_numbers=True,
    )
    translations = load_page_translations(page_context.language)
    own_link_count = len(table.effective_links)
    page_texts = {own_link_count + at: link.page_text for at, link in enumerate(service_links) if link.page_text}
    complete = {own_link_count + at for at, link in enumerate(service_links) if _has_all_service_inputs(link)}
    row_links = []
    for link_row in link_rows.to_pylist():
        href = link_row["access_url"]
        if link_row["_link"] in complete and link_row["service_def"]:
            href = write_service_call_address(link_row["service_def"])
        if not href:
            continue
        file_name = href.rpartition("/")[2]
        page_text = page_texts.get(link_row["_link"])
        if page_text is not None:
            text = translations.get(page_text, page_text).format(name=unquote(href).rpartition("/")[2])
        else:
            text = link_row["description"] or file_name or href
        content_type = link_row["content_type"] or ""
        is_picture = link_row["semantics"].startswith(PICTURE_SEMANTICS) and content_type.startswith("image/")
        row_link = {
            "text": text,
            "href": href,
            "semantics": link_row["semantics"].removeprefix("#"),
            "type": content_type,
            "bytes": link_row["content_length"],
            "picture": is_picture,
            "locked": link_row["link_authorized"] is False,
        }
        row_links.append(row_link)
    return row_links


def _has_all_service_inputs(link: LinkTemplate) -> bool:
    """Return whether a link calls a service of this site that needs no further input.

    An example are the samples of a row's time.
    """
    if link.service is None or link.semantics != SERVICE:
        return False
    inputs = link.service.inputs
    required_inputs = [service_input for service_input in inputs if service_input.param.required]
    return bool(inputs) and all(service_input.value for service_input in required_inputs)


def _answer_row_number(table_view: TableView, page_context: PageContext) -> dict[str, Any]:  # noqa: ARG001
    """Return the number of ``_row`` in the search, from 0."""
    search = build_page_line_search(table_view).search
    row_number = row_pages.find_row_number(search, table_view.runner, table_view.search.row)
    return {"key": table_view.search.row, "place": row_number}


def _answer_fits_header(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return the FITS header of the file of a row, if its collection publishes that file."""
    row = row_pages.fetch_row(table_view.search, table_view.runner, table_view.search.row)
    tables = tuple(page_context.catalogue.iterate_tables())
    file_header = row_header.read_row_fits_header_and_record_access(row, table_view.table, table_view.runner, tables)
    if file_header is None:
        return {"file": "", "url": "", "hdus": []}
    hdus = []
    for hdu in file_header.headers:
        cards = []
        for key, value in list(hdu.card_values.items())[:MAX_HEADER_CARDS]:
            comment = hdu.comments.get(key, "")
            cards.append({"keyword": key, "value": _format_fits_card_value(value), "comment": comment})
        commentary = hdu.commentary[:MAX_HEADER_CARDS]
        notes = [{"keyword": key, "text": text} for key, text in commentary]
        hdu_name = hdu.name or str(hdu.index)
        hdus.append({"name": hdu_name, "kind": hdu.hdu_kind, "cards": cards, "notes": notes})
    return {"file": file_header.path, "url": file_header.address, "hdus": hdus}


def _format_fits_card_value(value: object) -> str:
    """Write a value as in a FITS card."""
    if value is True:
        return "T"
    if value is False:
        return "F"
    if value is None:
        return ""
    return str(value)


def _answer_facets(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return choices with their counts; ``_of=COLUMN`` selects one column, ``_like=mar`` the values with that text."""
    column = plot_data.find_plot_column(table_view.table, page_context, "_of")
    if column is None:
        counted_facets = _count_facets(table_view)
    else:
        search_text = page_context.request.query_params.get("_like", "").strip()
        if search_text and not column.type.is_string:
            raise ParamError(
                format_message("the column {name!r} does not contain text", column.name),
                name="_like",
                remedy="leave out _like",
            )
        facet = facets.count_facet(
            table_view.search, column, table_view.runner, shown_count=MAX_FACET_CHOICES, search_text=search_text
        )
        if facet is None:
            counted_facets = []
        else:
            counted_facets = [facet]
    if counted_facets and not any(facet.is_counted for facet in counted_facets):
        raise OverloadedError(
            "the rows for each choice could not be counted in time", remedy="try again in a few seconds"
        )
    facet_entries = [_facet_to_json(facet, table_view, column is None) for facet in counted_facets]
    return {"facets": facet_entries}


def _count_facets(table_view: TableView) -> list[facets.Facet]:
    """Count the choices of a table's columns.

    Columns that could not be counted in time have the known choices, without counts.
    """
    facet_columns = facets.find_facet_columns(table_view.table, table_view.runner)
    columns = facet_columns[:MAX_FACETS]
    counted_facets = facets.count_facets(
        table_view.search, columns, table_view.runner, shown_count=facets.MAX_FIELD_CHOICES + 1
    )
    facets_by_name = {facet.column.name: facet for facet in counted_facets}
    column_facets = []
    for column in columns:
        facet = facets_by_name.get(column.name)
        if facet is None:
            facet = facets.build_facet_from_statistics(table_view.search, column, table_view.runner)
        if facet is not None:
            column_facets.append(facet)
    return column_facets


def list_choices_without_counts(table_view: TableView) -> list[dict[str, Any]]:
    """Return the choices that are known without a query, in the form of the answer of ``/facets``.

    A later request fetches their counts.
    """
    facet_columns = facets.find_facet_columns(table_view.table, table_view.runner)
    columns = facet_columns[:MAX_FACETS]
    known_facets = (
        facets.build_facet_from_statistics(table_view.search, column, table_view.runner) for column in columns
    )
    return [_facet_to_json(facet, table_view, is_one_of_many=True) for facet in known_facets if facet is not None]


def _facet_to_json(facet: facets.Facet, table_view: TableView, is_one_of_many: bool) -> dict[str, Any]:
    """Return the choices of a column: all of them by value if they are few, or the most frequent ones."""
    can_show_all = facets.can_show_all_choices(facet.column, table_view.runner, table_view.table)
    is_in_field = can_show_all and not facet.has_more
    if is_in_field:
        shown_choices = facets.sort_choices_by_value(facet)
    elif is_one_of_many:
        shown_choices = facet.choices[: facets.SHOWN_CHOICES]
    else:
        shown_choices = facet.choices
    choices = []
    for choice in shown_choices:
        label = table_view.labels.translate_code(facet.column, choice.label)
        choices.append({"value": choice.value, "label": label, "rows": choice.row_count, "chosen": choice.is_chosen})
    return {
        "column": facet.column.name,
        "label": table_view.labels.label_column(facet.column),
        "choices": choices,
        "field": is_in_field,
        "counted": facet.is_counted,
        "more": facet.has_more or len(shown_choices) < len(facet.choices),
        "exact": facet.is_exact,
    }


def _answer_histogram(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    histogram_json = plot_data.build_histogram_json(
        table_view.search, table_view.runner, page_context, table_view.labels
    )
    faults = table_view.search.faults
    return {**histogram_json, "faults": faults}


def _answer_points(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    return plot_data.build_points_or_density_json(table_view.search, table_view.runner, page_context, table_view.labels)


def _answer_name_suggestions(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return names of places that begin with ``_like``."""
    name_prefix = page_context.request.query_params.get("_like", "")
    tables = tuple(page_context.catalogue.iterate_tables())
    suggestions = place_names.complete_place_name(
        name_prefix,
        table_view.table,
        table_view.runner,
        tables=tables,
        pairs=table_view.search.list_parameters(),
    )
    names = [
        {"value": suggestion.name, "label": suggestion.note, "radius": suggestion.radius_degrees}
        for suggestion in suggestions
    ]
    return {"names": names}
