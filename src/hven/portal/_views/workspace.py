"""``/collections/NAME/TABLE``: the rows of a table at once, a form that narrows them, and panes over one selection.

Drawn on the server, with links and forms that work without JavaScript; scripts then bring the panes to life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import anyio.to_thread
from starlette.routing import Route

from hven.portal import panes
from hven.portal._explore import global_search, row_pages
from hven.portal._explore.cell_text import TextCell, build_headings, format_cells
from hven.portal._explore.collection_overviews import build_origin_check
from hven.portal._explore.column_labels import LABELS_PARAMETER, RAW_LABELS
from hven.portal._explore.column_pairs import ColumnPair, find_column_pairs, join_cells, order_columns
from hven.portal._explore.constant_columns import find_constant_columns, find_uninformative_columns, has_only_nulls
from hven.portal._explore.map_frames import classify_map, find_map_frame
from hven.portal._explore.number_formatting import format_unit
from hven.portal._explore.plots import is_plottable
from hven.portal._explore.plots_json import axes_to_json, choose_plot_scale
from hven.portal._explore.search_fields import list_display_units
from hven.portal._explore.table_sentence import write_table_sentence
from hven.portal._pages import SAMP_HUB_ORIGINS, SWITCH_PARAMETERS
from hven.portal._views import strip_data
from hven.portal._views.data import find_page_offset, list_known_choices, read_whole_number
from hven.portal._views.dataset_metadata import build_table_dataset
from hven.portal._views.downloads import list_downloads
from hven.portal._views.page_addresses import build_table_address, build_table_path
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.portal._views.row_lines import build_line_view
from hven.portal._views.search_form import build_chips, build_form, describe_relaxed_searches
from hven.portal._views.series_page import list_drawn_series
from hven.portal._views.table_view import (
    AFTER_KEY_PARAMETER,
    OFFSET_PARAMETER,
    SIZE_PARAMETER,
    STATE_PARAMETER,
    TableView,
    columns_to_json,
    describe_constant_columns,
    list_faults,
    read_table_view,
)
from hven.services import surveys
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.portal._explore import TableSearch
    from hven.portal._explore.cell_text import ColumnHeading
    from hven.services.face import ServiceContext

ROWS_PER_PAGE = 50  # of the first page
MAIN_TABLE = "main"  # the name of a collection's only table, or its first


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of each table."""

    async def show_workspace(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(
            lambda: _build_page(
                read_table_view(page_context, ignored_parameters=(strip_data.STRIP_PARAMETER,)), page_context
            )
        )

    page_endpoint = build_page_endpoint(
        show_workspace, context, header_options=build_map_header_options(context.site.settings)
    )
    return [
        Route(
            "/collections/{name}/{table}",
            page_endpoint,
        )
    ]


def build_map_header_options(settings: Settings) -> dict[str, Any]:
    """Return what a page may do that has a map."""
    origins = tuple(
        dict.fromkeys([*settings.origins, *("/".join(survey.split("/")[:3]) for survey in settings.surveys)])
    )
    return {"allow_inline_styles": True, "allow_workers": True, "connect_origins": SAMP_HUB_ORIGINS, "origins": origins}


def _list_image_surveys(collection: str, page_context: PageContext) -> list[str]:
    """List the HiPS of its images that everybody may see: maps ask for these without saying who looks."""
    image_surveys = surveys.list_surveys(page_context.context.site.settings, collection)
    return [
        surveys.build_survey_url(page_context.base, survey)
        for survey in image_surveys
        if surveys.is_visible(page_context.context, ANONYMOUS_PRINCIPAL, survey)
    ]


def _classify_map(table_view: TableView) -> str:
    """Return what the map is of; nothing where no row has a place on a body."""
    map_frame = find_map_frame(table_view.table)
    if map_frame is not None and has_only_nulls(map_frame.bounds, table_view.table, table_view.runner):
        return ""
    return classify_map(table_view.table)


def _build_page(table_view: TableView, page_context: PageContext) -> PageContent:
    search = table_view.search
    if (
        table_view.has_form_parts
    ):  # a form was sent: what it asks for has an address of its own, which all links and panes go on from
        switches = [
            (name, value)
            for name, value in page_context.request.query_params.multi_items()
            if name in SWITCH_PARAMETERS
        ]
        query = urlencode([*search.list_parameters(), *search.wrong, *switches])
        return build_redirect(f"{_build_table_address(table_view, page_context)}{'?' * bool(query)}{query}")
    line_view = build_line_view(table_view)
    total = row_pages.count_rows(line_view.search, table_view.runner)
    total_count = row_pages.count_rows(line_view.search_all_lines(table_view), table_view.runner)
    offset = find_page_offset(table_view, page_context)
    size = read_whole_number(page_context, SIZE_PARAMETER, ROWS_PER_PAGE, row_pages.MAX_PAGE_ROWS) or ROWS_PER_PAGE
    row_page = row_pages.fetch_page(
        line_view.search, table_view.runner, offset=offset, limit=size, total_rows=total.rows
    )
    column_headings = build_headings(row_page, table_view.table, search.units, labels=table_view.labels)
    cell_rows = format_cells(row_page, table_view.table, search.units, labels=table_view.labels)
    files_of = line_view.list_files(row_page, table_view, cell_rows)
    constant_names = find_constant_columns(search, table_view.runner)
    uninformative_names = find_uninformative_columns(table_view.table, table_view.runner)
    heading_numbers = {heading.column.name: number for number, heading in enumerate(column_headings)}
    shown_numbers = [
        heading_numbers[name] for name in line_view.list_shown_columns(table_view) if name in heading_numbers
    ]
    plottable_columns = [
        heading
        for heading in table_view.table.columns
        if is_plottable(heading) and heading.name not in uninformative_names
    ]
    release = table_view.published.release
    if release is None:
        collection = table_view.table.schema
    else:
        collection = release.collection
    resource = page_context.published_state.resources.get(collection)
    search_form = build_form(search, table_view.runner, table_view.labels)
    heading_row, joined_cells = build_cell_rows(
        [column_headings[number] for number in shown_numbers],
        [[row[number] for number in shown_numbers] for row in cell_rows],
        table_view,
    )
    files = line_view.lines_to_json(files_of, table_view)
    releases = _list_releases(f"{collection}.{table_view.table.name}", table_view, page_context)
    content: dict[str, Any] = {
        "collection": collection,
        "described": resource is not None,
        "heading": (resource.title if resource is not None else None) or collection,
        "releases": releases,
        "table": table_view.table,
        "name": table_view.quoted_name,
        "headline": _build_headline(
            table_view.table, None if resource is None else resource.title, table_view.quoted_name
        ),
        "headings": heading_row,
        "rows": list(zip(row_page.keys, joined_cells, strict=True)),
        "stills": _list_static_pictures(joined_cells, page_context),
        "row": _describe_row(table_view),
        "files": None,
        "of_rows": None,
        **files,
        "ticks": _list_basket_keys(row_page.keys, files.get("files") or ()),
        "other_lines": None if line_view.other_search is None else line_view.other_search.write_address(),
        "each": search.each,
        "pictured": any(heading.kind == "picture" for heading in column_headings),
        "sentence": write_table_sentence(table_view.labels),
        "alike": describe_constant_columns(column_headings, cell_rows, constant_names),
        "total": total,
        "every": total_count,
        "begin": offset + 1,
        "end": offset + len(cell_rows),
        "pages": _build_page_links(table_view, row_page, size, total.rows),
        "lost": table_view.is_state_lost,
        "plotted": [
            {name: axis[name] for name in ("name", "label", "unit")}
            for axis in axes_to_json(
                plottable_columns,
                table_view.labels,
                [choose_plot_scale(heading, table_view.labels, search.units) for heading in plottable_columns],
            )
        ],
        "plot_first": strip_data.choose_first_plot(table_view),
        "has_plot": any(name == "_plot" for name, _ in search.rest),
        "map": _classify_map(table_view),
        "surveys": " ".join(
            [*page_context.context.site.settings.surveys, *_list_image_surveys(collection, page_context)]
        ),
        "has_map": any(name == "_map" for name, _ in search.rest),
        "form": search_form,
        "known_choices": list_known_choices(table_view),
        "kind": global_search.classify_table(table_view.table),
        "known": {heading["name"] for heading in search_form["fields"]}
        | {"_q", *(["_near"] if search_form["place"] else []), *(["_every"] if search_form["every"] else [])},
        "chips": build_chips(search, table_view.labels),
        "without": describe_relaxed_searches(search, table_view.runner, table_view.labels, line_view.observation_key)
        if total.rows == 0
        else [],
        "faults": list_faults(search),
        "adql": search.write_adql(),
        "state": search.write_address(),
        "taken": list_downloads(table_view, page_context),
        "panes": panes.list_panes(),
        "series": list_drawn_series(table_view.table, page_context),
        "strip": strip_data.build_page_strip(
            table_view, immediately=page_context.request.query_params.get(strip_data.STRIP_PARAMETER, "") == "now"
        ),
        "state_pairs": search.list_parameters(),
        "choosable": _list_choosable_columns(table_view, line_view.list_shown_columns(table_view), uninformative_names),
        "raw": table_view.labels.is_raw,
        "other_names": urlencode(
            [
                *(heading for heading in search.list_parameters() if heading[0] != LABELS_PARAMETER),
                *([] if table_view.labels.is_raw else [(LABELS_PARAMETER, RAW_LABELS)]),
            ]
        ),
        "here": _build_table_address(table_view, page_context),
        "below": build_table_path(table_view.table),
        "searched": search.copy_with(row="", rest=(), order=(), columns=(), units=()).write_address(),
        "dataset": build_table_dataset(
            table_view.table,
            resource,
            table_view.published.updated,
            page_context,
            [
                (kind, f"{_build_table_address(table_view, page_context)}/download?_as={name}")
                for name, kind in (("csv", "text/csv"), ("votable", "application/x-votable+xml"))
            ],
        ),
    }
    json_content = {
        "table": table_view.table.qualified_name,
        "releases": [{name: heading[name] for name in ("label", "day", "url")} for heading in content["releases"]],
        "columns": columns_to_json(column_headings),
        "total": total.rows,
        "adql": search.write_adql(),
        "faults": list_faults(search),
        "rows_url": f"{content['here']}/rows?{search.write_address()}",
    }
    return PageContent(template="workspace.html", template_values=content, json_content=json_content)


def _list_static_pictures(rows: list[list[Any]], page_context: PageContext) -> list[str]:
    """List the pictures that a page without scripts may show: of this site, and of origins that it names."""
    site_origin = "{0.scheme}://{0.netloc}".format(urlsplit(page_context.base))
    is_allowed = build_origin_check(page_context.context.site.settings.origins, site_origin)
    picture_addresses = [
        cell.href for row in rows for cell in row if isinstance(cell, TextCell) and cell.picture and cell.href
    ]
    return [href for href in dict.fromkeys(picture_addresses) if is_allowed(href)]


def _list_releases(name: str, table_view: TableView, page_context: PageContext) -> list[dict[str, Any]]:
    """Return the states of a table that have a page: that of now, then its releases, the newest first.

    None if it was never released.
    """
    tables_by_name = {table.qualified_name: table for table in page_context.catalogue.iterate_tables()}
    states = [("", "", name)]
    states += [
        (item.table.release or "", item.release.created[:10], item.table.qualified_name)
        for item in page_context.published_state.tables_by_release.get(name, ())
        if item.release is not None
    ]
    current_name = table_view.table.qualified_name
    release_links = [
        {
            "label": label,
            "day": day,
            "url": build_table_address(page_context.base, tables_by_name[release_name]),
            "here": release_name == current_name,
            "newest": state_number == 1,
        }
        for state_number, (label, day, release_name) in enumerate(states)
        if release_name in tables_by_name
    ]
    return release_links if release_links[1:] else []


def _build_headline(table: Table, title: str | None, name: str) -> str:
    """Return what a page of a table is called: as the table is, else as its collection."""
    if table.title or not title:
        return table.title or name
    if table.name == MAIN_TABLE:
        return title
    return f"{title}: {table.name}"


def _build_table_address(table_view: TableView, page_context: PageContext) -> str:
    return build_table_address(page_context.base, table_view.table)


def _list_basket_keys(keys: Sequence[str], files: Sequence[Sequence[dict[str, Any]]]) -> dict[str, str]:
    """Return what a tick puts into the basket, for each line.

    Its key, and those of the other files of its observation.
    """
    line_files = files or [()] * len(keys)
    return {
        key: "\t".join(dict.fromkeys([key, *(file_facts["key"] for file_facts in files_of_line)]))
        for key, files_of_line in zip(keys, line_files, strict=True)
    }


def _list_choosable_columns(
    table_view: TableView, shown_names: Sequence[str], uninformative_names: Collection[str]
) -> list[dict[str, Any]]:
    """Return the columns that can be shown, those that are first and in their order.

    With the units that each can be read in.
    """
    units = dict(table_view.search.units)
    other_names = [
        other_column.name
        for other_column in table_view.table.columns
        if not other_column.hidden and other_column.name not in {*shown_names, *uninformative_names}
    ]
    return [
        {
            "name": name,
            "label": table_view.labels.label_column(column),
            "shown": name in shown_names,
            "units": list_display_units(column),
            "unit": units.get(name, table_view.labels.find_scale(column).unit),
            "usual": table_view.labels.find_scale(column).unit,
            "title": table_view.labels.describe_column(column),
        }
        for name in (*shown_names, *other_names)
        for column in (table_view.table.find_column(name),)
    ]


def build_cell_rows(
    column_headings: Sequence[ColumnHeading], cell_rows: Sequence[Sequence[TextCell | None]], table_view: TableView
) -> tuple[list[dict[str, Any]], list[list[TextCell | None]]]:
    """Return the heads and cells of a page, those of pairs as one."""
    order = order_columns(column_headings, find_column_pairs(column_headings, table_view.labels))
    heading_row = [
        _build_heading(column_headings[column_or_pair.low_number], table_view.search, column_or_pair)
        if isinstance(column_or_pair, ColumnPair)
        else _build_heading(column_headings[column_or_pair], table_view.search)
        for column_or_pair in order
    ]
    lines = [
        [
            join_cells(row[column_or_pair.low_number], row[column_or_pair.high_number])
            if isinstance(column_or_pair, ColumnPair)
            else row[column_or_pair]
            for column_or_pair in order
        ]
        for row in cell_rows
    ]
    return heading_row, lines


def _describe_row(table_view: TableView) -> list[tuple[str, TextCell, str]]:
    """Return what the row that the address names says.

    Its panel is drawn by a script, and a link to a row is read without scripts too.
    """
    if not table_view.search.row:
        return []
    row_page = row_pages.fetch_row(table_view.search, table_view.runner, table_view.search.row)
    column_headings = build_headings(row_page, table_view.table, table_view.search.units, labels=table_view.labels)
    lines = format_cells(row_page, table_view.table, table_view.search.units, is_full=True, labels=table_view.labels)
    headed_cells = zip(column_headings, lines[0], strict=True) if lines else ()
    return [
        (heading.label, text_cell, format_unit(heading.unit))
        for heading, text_cell in headed_cells
        if text_cell is not None
    ]


def _build_heading(heading: ColumnHeading, search: TableSearch, pair: ColumnPair | None = None) -> dict[str, Any]:
    """Return a column's head: a click sorts by it, and the other way round at the second one."""
    sorted_by = dict(search.order)
    name = heading.column.name
    next_order = [(name, name in sorted_by and not sorted_by[name])]
    return {
        "name": name,
        "label": heading.label if pair is None else pair.label,
        "unit": format_unit(heading.unit),
        "title": heading.title if pair is None else pair.title,
        "numeric": heading.numeric or heading.kind == "time",
        "sorted": "" if name not in sorted_by else "descending" if sorted_by[name] else "ascending",
        "address": search.copy_with(order=tuple(next_order)).write_address(),
    }


def _build_page_links(
    table_view: TableView, page: row_pages.RowPage, size: int, total_rows: int | None
) -> dict[str, str]:
    """Return the addresses of the pages before and behind this one, of the same state."""
    offset = page.offset
    has_more = page.has_more

    def build_page_address(page_offset: int, after_key: str = "") -> str:
        page_parameters = {
            OFFSET_PARAMETER: page_offset or "",
            SIZE_PARAMETER: size if size != ROWS_PER_PAGE else "",
            STATE_PARAMETER: table_view.state if page_offset else "",
            AFTER_KEY_PARAMETER: after_key,
        }
        parameters = table_view.search.list_parameters()
        return urlencode([*parameters, *((name, value) for name, value in page_parameters.items() if value)])

    page_links: dict[str, str] = {}
    if offset:
        page_links |= {"first": build_page_address(0), "previous": build_page_address(max(offset - size, 0))}
    if has_more:
        page_links["next"] = build_page_address(offset + size, page.keys[-1] if page.keys else "")
        if total_rows is not None:
            page_links["last"] = build_page_address((total_rows - 1) // size * size)
    return page_links
