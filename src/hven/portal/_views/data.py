"""What the panes of a table's page ask for, as JSON.

``/rows``, ``/count``, ``/row``, ``/place``, ``/facets``, ``/histogram``, ``/points`` below ``/collections/NAME/TABLE``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from starlette.routing import Route

from hven import services
from hven.model.errors import OverloadedError, ParamError, format_message
from hven.model.sky import bodies
from hven.portal._explore import facets, map_frames, map_marks, map_places, parse_search, place_names, row_pages
from hven.portal._explore.cell_text import build_headings, format_cells
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.reference_links import list_reference_links
from hven.portal._explore.search import NEAR_PARAMETER
from hven.portal._pages import body_maps
from hven.portal._pages.texts import load_texts
from hven.portal._views import plot_data, row_header, search_form
from hven.portal._views.disconnect import RunningQueries, run_while_connected
from hven.portal._views.link_page import write_call_address
from hven.portal._views.page_formats import PageContent, PageContext, build_json_endpoint
from hven.portal._views.row_lines import build_line_view
from hven.portal._views.row_panel import build_row_panel
from hven.portal._views.series_page import build_time_query, list_drawn_series
from hven.portal._views.table_view import (
    AFTER_KEY_PARAMETER,
    OFFSET_PARAMETER,
    SIZE_PARAMETER,
    TableView,
    cell_to_json,
    columns_to_json,
    list_faults,
    pairs_to_json,
    read_table_view,
)
from hven.services import datalinks, explorable_files
from hven.services.file_rows import classify_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import LinkTemplate
    from hven.services.face import ServiceContext

MAX_FACETS = 12
PICTURE_SEMANTICS = ("#preview", "#thumbnail")  # DataLink's words for what is looked at
SERVICE = "#proc"  # and for what a service makes of a row
MAX_HEADER_CARDS = 2000  # of one header
MAX_FACET_CHOICES = 50  # choices of one column


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the addresses of the panes' data."""
    path = "/collections/{name}/{table}"

    def build_endpoint(
        build_content: Callable[[TableView, PageContext], dict[str, Any]], *ignored_parameters: str
    ) -> Callable[[PageContext], Any]:
        async def answer_pane(page_context: PageContext) -> PageContent:
            def build_answer(running_queries: RunningQueries) -> dict[str, Any]:
                table_view = read_table_view(page_context, ignored_parameters=ignored_parameters)
                runner = table_view.runner.with_start_callback(running_queries.add_query)
                return build_content(
                    replace(table_view, runner=runner),
                    page_context,
                )

            return PageContent(
                template="", template_values=await run_while_connected(page_context.request, build_answer)
            )

        return answer_pane

    json_endpoint = build_json_endpoint(build_endpoint(_answer_rows), context)
    return [
        Route(f"{path}/rows", json_endpoint),
        Route(f"{path}/count", build_json_endpoint(build_endpoint(_answer_count), context)),
        Route(f"{path}/row", build_json_endpoint(build_endpoint(_answer_row), context)),
        Route(f"{path}/header", build_json_endpoint(build_endpoint(_answer_header), context)),
        Route(f"{path}/place", build_json_endpoint(build_endpoint(_answer_place), context)),
        Route(f"{path}/facets", build_json_endpoint(build_endpoint(_answer_facets, "_of", "_like"), context)),
        Route(f"{path}/histogram", build_json_endpoint(build_endpoint(_answer_histogram, "_x"), context)),
        Route(f"{path}/names", build_json_endpoint(build_endpoint(_answer_names, "_like"), context)),
        Route(f"{path}/places", build_json_endpoint(build_endpoint(_answer_places, "_view_at", "_c"), context)),
        Route(f"{path}/points", build_json_endpoint(build_endpoint(_answer_points, "_x", "_y", "_c"), context)),
    ]


def read_whole_number(page_context: PageContext, name: str, default: int, max_value: int) -> int:
    """Read a whole number of the address, 0 or more.

    Raises
    ------
    ParamError
        It is none.
    """
    text = page_context.request.query_params.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise ParamError(
            format_message("{name}={value}: a whole number was expected", name, text[:40]),
            name=name,
            remedy=format_message("{name}={value}", name, default),
        )
    return min(int(text), max_value)


def find_page_offset(table_view: TableView, page_context: PageContext) -> int:
    """Return the place where a page begins.

    Where its state is lost, that of now goes on behind the row that was before it.
    """
    offset = read_whole_number(page_context, OFFSET_PARAMETER, 0, 10**15)
    if not (table_view.is_state_lost and offset):
        return offset
    return row_pages.find_next_offset(
        build_line_view(table_view).search,
        table_view.runner,
        page_context.request.query_params.get(AFTER_KEY_PARAMETER, ""),
        offset,
    )


def _answer_rows(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    line_view = build_line_view(table_view)
    total = row_pages.count_rows(line_view.search, table_view.runner)
    offset = find_page_offset(table_view, page_context)
    size = read_whole_number(page_context, SIZE_PARAMETER, 100, row_pages.MAX_PAGE_ROWS)
    page = row_pages.fetch_page(line_view.search, table_view.runner, offset=offset, limit=size, total_rows=total.rows)
    column_headings = build_headings(page, table_view.table, table_view.search.units, labels=table_view.labels)
    cell_rows = format_cells(page, table_view.table, table_view.search.units, labels=table_view.labels)
    files = line_view.list_files(page, table_view, cell_rows)
    constant_columns = find_constant_columns(table_view.search, table_view.runner)
    return {
        "columns": columns_to_json(column_headings, constant_columns),
        "pairs": pairs_to_json(column_headings, table_view.labels),
        "rows": [[cell_to_json(text_cell) for text_cell in row] for row in cell_rows],
        "keys": list(page.keys),
        "from": offset,
        "more": page.has_more,
        "state": table_view.state,
        "lost": table_view.is_state_lost,
        "total": total.rows,
        "exact": total.is_exact,
        "adql": table_view.search.write_adql(),
        "faults": list_faults(table_view.search),
        **line_view.lines_to_json(files, table_view),
    }


# all panes' makers are asked alike
def _answer_count(table_view: TableView, page_context: PageContext) -> dict[str, Any]:  # noqa: ARG001
    line_view = build_line_view(table_view)
    row_count = row_pages.count_rows(line_view.search, table_view.runner, timeout_seconds=10.0)
    total_count = row_pages.count_rows(line_view.search_all_lines(table_view), table_view.runner)
    is_empty = row_count.rows == 0 and not table_view.search.faults
    return {
        "total": row_count.rows,
        "exact": row_count.is_exact,
        "of": total_count.rows,
        "adql": table_view.search.write_adql(),
        "faults": list_faults(table_view.search),
        "without": search_form.describe_relaxed_searches(
            table_view.search, table_view.runner, table_view.labels, line_view.observation_key
        )
        if is_empty
        else [],
        "asked": search_form.build_chips(table_view.search, table_view.labels),
        "fields": search_form.describe_field_parts(table_view.search),
        "place": search_form.describe_place(table_view.search),
        "every": str(table_view.search.every or ""),
        **line_view.count_rows(table_view),
    }


def _answer_row(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    page = row_pages.fetch_row(table_view.search, table_view.runner, table_view.search.row)
    cell_rows = format_cells(page, table_view.table, table_view.search.units, is_full=True, labels=table_view.labels)
    column_headings = build_headings(page, table_view.table, table_view.search.units, labels=table_view.labels)
    rights = table_view.table.rights
    primary = table_view.table.primary
    file_lock = None
    if cell_rows and rights is not None and primary:
        file_lock = rights.find_file_restriction(
            table_view.runner.principal, dict(zip(primary, json.loads(table_view.search.row), strict=True))
        )
    if cell_rows:
        row = [cell_to_json(text_cell) for text_cell in cell_rows[0]]
    else:
        row = None
    if cell_rows:
        links = [*_link_series(table_view, page_context, page), *_list_row_links(table_view, page_context, page)]
    else:
        links = []
    links += _link_references(page, page_context, {link["href"] for link in links}, table_view) if cell_rows else []
    return {
        "columns": columns_to_json(column_headings),
        "pairs": pairs_to_json(column_headings, table_view.labels),
        "row": row,
        "key": table_view.search.row,
        "locked": None if file_lock is None else {"until": file_lock.expiry_text, "contact": file_lock.contact},
        "links": links,
        **(build_row_panel(table_view, page_context, page, links) if cell_rows else {}),
    }


def _link_series(table_view: TableView, page_context: PageContext, page: row_pages.RowPage) -> list[dict[str, Any]]:
    """Lead to the time series that a row is a sample or a span of, at its time."""
    drawn_sets = list_drawn_series(table_view.table, page_context)
    time_query = build_time_query(page, table_view.table)
    if not drawn_sets or not time_query:
        return []
    base_url = services.get_base_url(page_context.request, page_context.context.site.settings)
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
    link_text = load_texts(page_context.language).get("Time series", "Time series")
    facts = {"semantics": "", "type": "", "bytes": None, "picture": False, "locked": False}
    return [
        facts | {"text": f"{link_text}: {series['title']}", "href": f"{urljoin(origin, series['url'])}?{time_query}"}
        for series in drawn_sets
    ]


def _link_references(
    page: row_pages.RowPage, page_context: PageContext, known_addresses: set[str], table_view: TableView
) -> list[dict[str, Any]]:
    """Lead to what the UCDs of a row's values name: papers, names of sources, pages and files.

    What a link leads to already is left out.
    """
    translations = load_texts(page_context.language)
    labels = {column.name: table_view.labels.label_column(column) for column in page.columns}
    row = [(column, page.rows.column(at)[0].as_py()) for at, column in enumerate(page.columns)]
    links = []
    for column, value in row:
        if classify_column(column, table_view.table) == "picture":
            continue
        for reference in list_reference_links([(column, value)]):
            name = unquote(reference.value.partition("?")[0].rstrip("/")).rpartition("/")[2]
            text = {
                "download": translations.get("Download {name}", "Download {name}").format(name=name),
                "page": labels[column.name],
            }.get(reference.target, f"{reference.target}: {reference.value}")
            links.append(
                {
                    "semantics": "",
                    "type": "",
                    "bytes": None,
                    "picture": False,
                    "locked": False,
                    "text": text,
                    "href": reference.address,
                }
            )
    return [link for link in links if link["href"] not in known_addresses]


def _list_row_links(table_view: TableView, page_context: PageContext, page: row_pages.RowPage) -> list[dict[str, Any]]:
    """Return what a row leads to by its table's links: what its columns lead to stands among these."""
    table = table_view.table
    key = table_view.table.identifier_column
    column_names = [column.name for column in page.columns]
    # the row is shown by itself: at full size
    service_links = [link for link in page_context.context.list_links(table) if link.semantics != "#thumbnail"]
    if not (table.links or service_links) or key is None or key.name not in column_names:
        return []
    runner = table_view.runner
    value = page.rows.column(column_names.index(key.name))[0].as_py()
    base = services.get_base_url(page_context.request, page_context.context.site.settings)
    link_rows = datalinks.list_row_links(
        table,
        [] if value is None else [str(value)],
        principal=runner.principal,
        site=runner.site,
        policies=runner.policies,
        published_state=runner.published_state,
        base_url=base,
        face_links=service_links,
        with_link_numbers=True,
    )
    links = (*table.effective_links, *service_links)
    complete = {at for at, link in enumerate(links) if at >= len(table.effective_links) and _is_complete(link)}
    explore_text = load_texts(page_context.language).get("Explore {name}", "Explore {name}")
    pairs = [
        (
            link_row,
            write_call_address(link_row["service_def"])
            if link_row["_link"] in complete and link_row["service_def"]
            else link_row["access_url"],
        )
        for link_row in link_rows.to_pylist()
    ]
    return [
        {
            "text": explore_text.format(name=unquote(href).rpartition("/")[2])
            if is_explorer(link_row)
            else link_row["description"] or href.rpartition("/")[2] or href,
            "href": href,
            "semantics": link_row["semantics"].removeprefix("#"),
            "type": link_row["content_type"] or "",
            "bytes": link_row["content_length"],
            "picture": link_row["semantics"].startswith(PICTURE_SEMANTICS)
            and (link_row["content_type"] or "").startswith("image/"),
            "locked": link_row["link_authorized"] is False,
        }
        for link_row, href in pairs
        if href
    ]


def _is_complete(link: LinkTemplate) -> bool:
    """Return whether a link leads to what a service of ours makes of a row without more being said.

    The samples of its time, for instance.
    """
    inputs = () if link.service is None else link.service.inputs
    return link.semantics == SERVICE and bool(inputs) and all(one.value or not one.param.required for one in inputs)


def is_explorer(link: Mapping[str, Any]) -> bool:
    """Return whether a row of DataLink leads to the page that explores a file, and says so in our words, not in those of a descriptor."""
    return (
        "/cube/" in (link["access_url"] or "")
        and link["content_type"] == explorable_files.PAGE_MEDIA_TYPE
        and (link["description"] or "").startswith(explorable_files.TITLE_PREFIX)
    )


def _answer_place(table_view: TableView, page_context: PageContext) -> dict[str, Any]:  # noqa: ARG001
    """Return the place of ``_row`` among the rows that are found, from 0."""
    return {
        "key": table_view.search.row,
        "place": row_pages.find_row_number(
            build_line_view(table_view).search, table_view.runner, table_view.search.row
        ),
    }


def _answer_header(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return the FITS header of the file that a row is about, if its collection publishes that file."""
    row = row_pages.fetch_row(table_view.search, table_view.runner, table_view.search.row)
    file_header = row_header.read_row_header(
        row, table_view.table, table_view.runner, tuple(page_context.catalogue.iterate_tables())
    )
    if file_header is None:
        return {"file": "", "url": "", "hdus": []}
    return {
        "file": file_header.path,
        "url": file_header.address,
        "hdus": [
            {
                "name": hdu.name or str(hdu.index),
                "kind": hdu.hdu_kind,
                "cards": [
                    {"keyword": key, "value": _format_card_value(value), "comment": hdu.comments.get(key, "")}
                    for key, value in list(hdu.card_values.items())[:MAX_HEADER_CARDS]
                ],
                "notes": [{"keyword": key, "text": text} for key, text in hdu.commentary[:MAX_HEADER_CARDS]],
            }
            for hdu in file_header.headers
        ],
    }


def _format_card_value(value: object) -> str:
    """Write a value as a card has it."""
    if value is True:
        return "T"
    if value is False:
        return "F"
    if value is None:
        return ""
    return str(value)


def _answer_facets(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return choices with their counts; ``_of=COLUMN`` those of one column, ``_like=mar`` those that contain it."""
    column = plot_data.find_plot_column(table_view.table, page_context, "_of")
    if column is None:
        counted_facets = _count_facets(table_view)
    else:
        search_text = page_context.request.query_params.get("_like", "").strip()
        if search_text and not column.type.is_string:
            raise ParamError(format_message("{name} is no text", column.name), name="_like", remedy="leave _like out")
        facet = facets.count_facet(
            table_view.search, column, table_view.runner, shown_count=MAX_FACET_CHOICES, search_text=search_text
        )
        if facet is None:
            counted_facets = []
        else:
            counted_facets = [facet]
    if counted_facets and not any(facet.is_counted for facet in counted_facets):
        raise OverloadedError("the choices could not be counted in time", remedy="try again in a few seconds")
    return {"facets": [_facet_to_json(facet, table_view, column is None) for facet in counted_facets]}


def _count_facets(table_view: TableView) -> list[facets.Facet]:
    """Count the choices of a table's columns.

    Those that could not be counted in time stand without counts, as far as they are known.
    """
    facet_columns = facets.find_facet_columns(table_view.table, table_view.runner)
    columns = facet_columns[:MAX_FACETS]
    facets_by_name = {
        column.column.name: column
        for column in facets.count_facets(
            table_view.search, columns, table_view.runner, shown_count=facets.MAX_FIELD_CHOICES + 1
        )
    }
    facets_or_none = (
        facets_by_name.get(column.name) or facets.build_known_facet(table_view.search, column, table_view.runner)
        for column in columns
    )
    return [column for column in facets_or_none if column is not None]


def list_known_choices(table_view: TableView) -> list[dict[str, Any]]:
    """Return the choices that are known without a look at the rows, as the answer of ``/facets`` has them.

    Their counts follow.
    """
    facet_columns = facets.find_facet_columns(table_view.table, table_view.runner)
    columns = facet_columns[:MAX_FACETS]
    known_facets = (facets.build_known_facet(table_view.search, facet, table_view.runner) for facet in columns)
    return [_facet_to_json(facet, table_view, among_others=True) for facet in known_facets if facet is not None]


def _facet_to_json(facet: facets.Facet, table_view: TableView, among_others: bool) -> dict[str, Any]:
    """Return the choices of a column: all of a few by value, in its field of the form, else the most frequent."""
    is_in_field = facets.can_show_all_choices(facet.column, table_view.runner, table_view.table) and not facet.has_more
    if is_in_field:
        shown_choices = facets.sort_by_value(facet)
    elif among_others:
        shown_choices = facet.choices[: facets.SHOWN_CHOICES]
    else:
        shown_choices = facet.choices
    return {
        "column": facet.column.name,
        "label": table_view.labels.label_column(facet.column),
        "choices": [
            {
                "value": choice.value,
                "label": table_view.labels.translate_code(facet.column, choice.label),
                "rows": choice.row_count,
                "chosen": choice.is_chosen,
            }
            for choice in shown_choices
        ],
        "field": is_in_field,
        "counted": facet.is_counted,
        "more": facet.has_more or len(shown_choices) < len(facet.choices),
        "exact": facet.is_exact,
    }


def _answer_histogram(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    histogram_json = plot_data.build_histogram_json(
        table_view.search, table_view.runner, page_context, table_view.labels
    )
    faults = list_faults(table_view.search)
    return {
        **histogram_json,
        "faults": faults,
    }


def _answer_points(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    return plot_data.build_points_json(table_view.search, table_view.runner, page_context, table_view.labels)


def _answer_names(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return names of places that begin with ``_like``."""
    name_prefix = page_context.request.query_params.get("_like", "")
    tables = tuple(page_context.catalogue.iterate_tables())
    suggestions = place_names.complete_name(
        name_prefix,
        table_view.table,
        table_view.runner,
        tables=tables,
        pairs=table_view.search.list_parameters(),
    )
    return {
        "names": [
            {"value": suggestion.name, "label": suggestion.note, "radius": suggestion.radius_degrees}
            for suggestion in suggestions
        ]
    }


def _answer_places(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return where the rows are; ``_view_at=lon,lat,radius`` says what part of the sky is looked at, of a body ``west,south,east,north``; ``_c`` a column to colour by."""
    map_kind = map_frames.classify_map(table_view.table)
    if not map_kind:
        raise ParamError("this table has no positions", name="", remedy="its rows can be plotted")
    colour_column = plot_data.find_plot_column(table_view.table, page_context, "_c")
    text = page_context.request.query_params.get("_view_at", "")
    body_facts: dict[str, Any] = {}
    if map_kind == "body":
        row_places = map_places.find_body_places(
            table_view.search, table_view.runner, _parse_box(text) if text else None, colour_column
        )
        map_frame = map_frames.find_map_frame(table_view.table)
        if map_frame is None or map_frame.radius:
            body_name = ""
        else:
            body_name = place_names.find_single_body(
                table_view.table, table_view.search.list_parameters(), table_view.runner
            )
        radii = next(
            (
                solar_system_body.radii
                for solar_system_body in bodies.iterate_bodies()
                if solar_system_body.name.casefold() == body_name.casefold()
            ),
            None,
        )
        body_facts = {
            "frame": None if map_frame is None else asdict(map_frame),
            "body": body_name,
            "km": None if radii is None else radii[0],
            "grounds": body_maps.list_base_maps(body_name, page_context.context.site.settings.directory),
            "uninstalled": not body_maps.has_installed_maps(),
            "features": map_marks.list_features(
                body_name, table_view.runner, tuple(page_context.catalogue.iterate_tables())
            ),
        }
    else:
        if text:
            search = parse_search([(NEAR_PARAMETER, text)], table_view.table)
            view = search.near
        else:
            view = None
        row_places = map_places.find_sky_places(table_view.search, table_view.runner, view, colour_column)
    return {
        "kind": map_kind,
        "total": row_places.total_rows,
        "files": build_line_view(table_view).observation_key is not None,
        "lon": row_places.longitudes,
        "lat": row_places.latitudes,
        "counts": row_places.counts,
        "radius": row_places.cell_radius_degrees,
        "keys": row_places.keys,
        "shapes": row_places.shapes,
        "outlines": row_places.outlines,
        "names": row_places.names,
        "colouring": None if row_places.colouring is None else asdict(row_places.colouring),
        "colours": [
            {"name": solar_system_body.name, "label": table_view.labels.label_column(solar_system_body)}
            for solar_system_body in map_marks.list_colour_columns(table_view.table, table_view.runner)
        ],
        "frame": None,
        **body_facts,
    }


def _parse_box(text: str) -> tuple[float, float, float, float]:
    """Read what part of a body is looked at."""
    try:
        west, south, east, north = (float(number) for number in text.split(","))
    except ValueError:
        raise ParamError(
            format_message("{name}={value}: west, south, east and north were expected", "_view_at", text[:60]),
            name="_view_at",
            remedy=format_message("{name}={value}", "_view_at", "0,-90,360,90"),
        ) from None
    return west, south, east, north
