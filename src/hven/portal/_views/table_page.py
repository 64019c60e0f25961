"""Serve ``/collections/NAME/TABLE``: the rows of a table, a form that narrows them, and panes over one selection.

The server renders the page, with links and forms that work without JavaScript; scripts then make the panes interactive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import anyio.to_thread
from starlette.routing import Route

from hven.portal import panes
from hven.portal._explore import row_pages
from hven.portal._explore.cell_text import TextCell, build_column_headings, format_cells
from hven.portal._explore.collection_overviews import build_picture_origin_check
from hven.portal._explore.column_labels import LABELS_PARAMETER, RAW_LABELS
from hven.portal._explore.column_pairs import RangeColumnPair, find_range_column_pairs, join_range_cells, order_columns
from hven.portal._explore.constant_columns import find_constant_columns, find_single_valued_columns, has_only_nulls
from hven.portal._explore.map_frames import classify_table_map, find_map_frame
from hven.portal._explore.number_formatting import format_unit
from hven.portal._explore.plots import is_plottable
from hven.portal._explore.plots_json import axes_to_json, choose_plot_unit_scale
from hven.portal._explore.search_fields import list_display_units
from hven.portal._explore.table_sentence import write_common_value_sentence
from hven.portal._explore.table_standards import classify_table_standard
from hven.portal._pages import SAMP_HUB_ORIGINS, SWITCH_PARAMETERS, TemplateContext
from hven.portal._pages.package_pages import list_page_part_templates
from hven.portal._views.data import find_page_offset, list_choices_without_counts, read_whole_number_parameter
from hven.portal._views.dataset_metadata import build_schema_org_table_dataset
from hven.portal._views.downloads import describe_download_options
from hven.portal._views.page_addresses import build_table_address, build_table_path
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.portal._views.row_lines import build_page_line_search
from hven.portal._views.search_form import build_condition_chips, build_search_form, describe_relaxed_searches
from hven.portal._views.table_extensions import (
    choose_plot_columns,
    compute_table_page_values,
    list_table_page_parameters,
)
from hven.portal._views.table_links import list_table_link_menus
from hven.portal._views.table_view import (
    AFTER_KEY_PARAMETER,
    OFFSET_PARAMETER,
    SIZE_PARAMETER,
    STATE_PARAMETER,
    TableView,
    columns_to_json,
    describe_constant_columns,
    read_table_view,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.portal._explore import TableSearch
    from hven.portal._explore.cell_text import ColumnHeading
    from hven.portal._explore.search import SearchFault
    from hven.portal._views.downloads import DownloadOptions
    from hven.portal._views.search_form import SearchForm
    from hven.portal._views.table_links import TableLinkMenu
    from hven.portal._views.table_view import ConstantColumnSummary
    from hven.portal.panes import TablePane
    from hven.services.face import ServiceContext

ROWS_PER_PAGE = 50  # of the first page
MAIN_TABLE = "main"  # the name of a collection's only or first table


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLink:
    """A state of a table that has a page.

    Attributes
    ----------
    label, day
        Label and day of the release; empty for the current state.
    here
        Whether it is the state of this page.
    newest
        Whether it is the newest release.
    """

    label: str
    day: str
    url: str
    here: bool
    newest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SortableHeading:
    """The heading of a column, whose link sorts the rows.

    Attributes
    ----------
    title
        Tooltip.
    numeric
        Whether its cells are aligned as numbers.
    sorted
        ``ascending`` or ``descending`` if the rows are sorted by it; otherwise empty.
    address
        Query of the sorted search.
    """

    name: str
    label: str
    unit: str
    title: str
    numeric: bool
    sorted: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePage(TemplateContext):
    """The page of a table.

    Attributes
    ----------
    table, name, headline
        The table, its name as in a query, and the title of the page.
    collection, described, heading
        Name of its collection, whether that has a page, and its title.
    releases
        The current state and the releases, if there are any.
    kind
        Its standard; empty if it has none.
    here, below
        Address of the page, and its path below the collections.
    dataset
        Its description for search engines (schema.org).
    form, known, known_choices
        The form, the names of its fields, and the choices that are known without counting.
    chips, faults, wrong, without
        Conditions of the search, as in `build_condition_chips`; parameters that cannot be read, and their values;
        searches that find rows, if this one finds none.
    state, state_pairs, searched
        The search as a query, as parameters, and as a query of its conditions alone.
    adql
        The query of the rows.
    total, every
        Number of rows that were found, and of all rows.
    begin, end, pages
        Numbers of the first and the last row of the page, and queries of other pages by ``first``, ``previous``,
        ``next``, ``last``.
    lost
        Whether the requested state is no longer kept.
    headings, rows
        Headings of the columns, and the rows with their keys.
    ticks, stills
        What a tick selects, by key; pictures that may be shown without scripts.
    row
        Labels, cells and units of the row that the address names.
    files, of_rows
        Files of each line, and their number, if the lines are observations.
    other_lines, each
        Query of the search with the other kind of lines, if there is one; whether the lines are files.
    choosable, raw, other_names
        Columns that can be shown; whether names are shown instead of labels; query that switches between both.
    sentence, alike
        The table in a sentence; its columns with the same value in all rows.
    pictured
        Whether rows have pictures.
    taken
        Downloads.
    panes, links
        All panes, and the links of the table that packages add, by kind.
    table_values
        Values that packages compute (`TablePageExtension.compute_value`), by the names of the packages.
    map, has_map, surveys
        What a map shows, empty for no map; whether it is open; addresses of its surveys, separated by spaces.
    plotted, plot_first, has_plot
        Columns that can be plotted, the first ones, and whether the plot is open.
    """

    template = "workspace.html"
    table: Table
    name: str
    headline: str
    collection: str
    described: bool
    heading: str
    releases: Sequence[ReleaseLink]
    kind: str
    here: str
    below: str
    dataset: Mapping[str, object]
    form: SearchForm
    known: Collection[str]
    known_choices: Sequence[Mapping[str, object]]
    chips: Sequence[Mapping[str, str]]
    faults: Sequence[SearchFault]
    wrong: Sequence[tuple[str, str]]
    without: Sequence[Mapping[str, object]]
    state: str
    state_pairs: Sequence[tuple[str, str]]
    searched: str
    adql: str
    total: row_pages.RowCount
    every: row_pages.RowCount
    begin: int
    end: int
    pages: Mapping[str, str]
    lost: bool
    headings: Sequence[SortableHeading]
    rows: Sequence[tuple[str, Sequence[TextCell | None]]]
    ticks: Mapping[str, str]
    stills: Collection[str]
    row: Sequence[tuple[str, TextCell, str]]
    files: Sequence[Sequence[Mapping[str, object]]] | None
    of_rows: int | None
    other_lines: str | None
    each: bool
    choosable: Sequence[Mapping[str, object]]
    raw: bool
    other_names: str
    sentence: str
    alike: ConstantColumnSummary
    pictured: bool
    taken: DownloadOptions
    panes: Sequence[TablePane]
    links: Sequence[TableLinkMenu]
    table_values: Mapping[str, object]
    map: str
    has_map: bool
    surveys: str
    plotted: Sequence[Mapping[str, object]]
    plot_first: str
    has_plot: bool


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of each table."""

    async def show_workspace(page_context: PageContext) -> PageContent:

        def build_page() -> PageContent:
            table_view = read_table_view(page_context, ignored_parameters=list_table_page_parameters())
            return _build_table_page_or_redirect(table_view, page_context)

        return await anyio.to_thread.run_sync(build_page)

    header_options = build_map_header_options(context.site.settings)
    page_endpoint = build_page_endpoint(show_workspace, context, is_repeatable=True, header_options=header_options)
    return [Route("/collections/{name}/{table}", page_endpoint)]


def build_map_header_options(settings: Settings) -> dict[str, Any]:
    """Return the header options of a page with a map.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    address_parts = [survey.split("/") for survey in settings.surveys]
    survey_origins = ["/".join(parts[:3]) for parts in address_parts]
    distinct_origins = dict.fromkeys([*settings.origins, *survey_origins])
    origins = tuple(distinct_origins)
    return {"allow_inline_styles": True, "allow_workers": True, "connect_origins": SAMP_HUB_ORIGINS, "origins": origins}


def _list_hips_survey_urls(collection: str, page_context: PageContext) -> list[str]:
    """List the public HiPS of a collection: maps fetch these without the user's credentials."""
    context = page_context.context
    return [url for face in context.faces.values() for url in face.list_surveys(context, collection, page_context.base)]


def _classify_map(table_view: TableView) -> str:
    """Return the kind of the map; an empty text if no row has a place on a body, or no package has maps."""
    if not list_page_part_templates("table.map"):
        return ""
    map_frame = find_map_frame(table_view.table)
    if map_frame is not None and has_only_nulls(map_frame.bounds, table_view.table, table_view.runner):
        return ""
    return classify_table_map(table_view.table)


def _find_collection_name(table_view: TableView) -> str:
    """Return the name of the collection of a table, also of a table of one of its releases."""
    release = table_view.published.release
    if release is None:
        return table_view.table.schema
    return release.collection


def list_form_parameters(search_form: SearchForm) -> set[str]:
    """Return the parameters that the fields of a form set.

    Parameters
    ----------
    search_form
        The form.
    """
    form_fields = {form_field.name for form_field in search_form.fields} | {"_q"}
    if search_form.place:
        form_fields.add("_near")
    if search_form.every:
        form_fields.add("_every")
    return form_fields


def write_label_switch_query(table_view: TableView) -> str:
    """Write the query part of the address that switches between labels and raw names.

    Parameters
    ----------
    table_view
        The search of the reader.

    Returns
    -------
    query
        Parameters, encoded; empty if there are none.
    """
    parameters = [pair for pair in table_view.search.list_parameters() if pair[0] != LABELS_PARAMETER]
    if not table_view.labels.is_raw:
        parameters.append((LABELS_PARAMETER, RAW_LABELS))
    return urlencode(parameters)


def build_search_redirect(
    search: TableSearch, address: str, page_context: PageContext, *, kept_parameters: Sequence[str] = ()
) -> PageContent:
    """Lead a reader who sent a form to the search's own address, which links and panes continue.

    Parameters
    ----------
    search
        The search; its invalid values stay.
    address
        Address of the page.
    page_context
        The request of the form.
    kept_parameters
        Parameters of the form that stay, besides those of the switches of pages.

    Returns
    -------
    page_content
        The redirect.
    """
    query_items = page_context.request.query_params.multi_items()
    kept_names = {*SWITCH_PARAMETERS, *kept_parameters}
    kept_items = [(name, value) for name, value in query_items if name in kept_names]
    query = urlencode([*search.list_parameters(), *search.wrong, *kept_items])
    if query:
        address = f"{address}?{query}"
    return build_redirect(address)


def _build_table_page_or_redirect(table_view: TableView, page_context: PageContext) -> PageContent:
    search = table_view.search
    if table_view.has_form_parts:
        return build_search_redirect(search, _build_table_address(table_view, page_context), page_context)
    line_view = build_page_line_search(table_view)
    total = row_pages.count_rows(line_view.search, table_view.runner)
    total_count = row_pages.count_rows(line_view.build_all_lines_search(table_view), table_view.runner)
    offset = find_page_offset(table_view, page_context)
    size = read_whole_number_parameter(page_context, SIZE_PARAMETER, ROWS_PER_PAGE, row_pages.MAX_PAGE_ROWS)
    size = size or ROWS_PER_PAGE
    row_page = row_pages.fetch_page(
        line_view.search, table_view.runner, offset=offset, limit=size, total_rows=total.rows
    )
    column_headings = build_column_headings(row_page, table_view.table, search.units, labels=table_view.labels)
    cell_rows = format_cells(row_page, table_view.table, search.units, labels=table_view.labels)
    files_of = line_view.list_line_files_and_summarize_cells(row_page, table_view, cell_rows)
    constant_names = find_constant_columns(search, table_view.runner)
    uninformative_names = find_single_valued_columns(table_view.table, table_view.runner)
    heading_numbers = {heading.column.name: number for number, heading in enumerate(column_headings)}
    shown_names = line_view.list_shown_columns(table_view)
    shown_numbers = [heading_numbers[name] for name in shown_names if name in heading_numbers]
    informative_columns = [column for column in table_view.table.columns if column.name not in uninformative_names]
    plottable_columns = [column for column in informative_columns if is_plottable(column)]
    plot_scales = [choose_plot_unit_scale(column, table_view.labels, search.units) for column in plottable_columns]
    plot_axes = axes_to_json(plottable_columns, table_view.labels, plot_scales)
    plotted_axes = [{name: axis[name] for name in ("name", "label", "unit")} for axis in plot_axes]
    collection = _find_collection_name(table_view)
    resource = page_context.published_state.resources.get(collection)
    resource_title = None
    if resource is not None:
        resource_title = resource.title
    search_form = build_search_form(search, table_view.runner, table_view.labels)
    shown_headings = [column_headings[number] for number in shown_numbers]
    shown_cells = [[row[number] for number in shown_numbers] for row in cell_rows]
    heading_row, joined_cells = build_headings_and_cells(shown_headings, shown_cells, table_view)
    relaxed_searches = []
    if total.rows == 0:
        relaxed_searches = describe_relaxed_searches(
            search, table_view.runner, table_view.labels, line_view.observation_key
        )
    site_surveys = page_context.context.site.settings.surveys
    all_surveys = [*site_surveys, *_list_hips_survey_urls(collection, page_context)]
    table_address = _build_table_address(table_view, page_context)
    downloads = [
        (media_type, f"{table_address}/download?_as={name}")
        for name, media_type in (("csv", "text/csv"), ("votable", "application/x-votable+xml"))
    ]
    searched_part = search.copy_with(row="", rest=(), order=(), columns=(), units=())
    files = line_view.line_facts_to_json(files_of, table_view)
    releases = _list_release_links(f"{collection}.{table_view.table.name}", table_view, page_context)
    page = TablePage(
        collection=collection,
        described=resource is not None,
        heading=resource_title or collection,
        releases=releases,
        table=table_view.table,
        name=table_view.quoted_name,
        headline=_build_headline(table_view.table, resource_title, table_view.quoted_name),
        headings=heading_row,
        rows=list(zip(row_page.keys, joined_cells, strict=True)),
        stills=_list_allowed_picture_addresses(joined_cells, page_context),
        row=_list_requested_row_cells(table_view),
        files=files.get("files"),
        of_rows=files.get("of_rows"),
        ticks=_build_checkbox_values(row_page.keys, files.get("files") or ()),
        other_lines=None if line_view.other_search is None else line_view.other_search.write_query_string(),
        each=search.each,
        pictured=any(heading.kind == "picture" for heading in column_headings),
        sentence=write_common_value_sentence(table_view.labels),
        alike=describe_constant_columns(column_headings, cell_rows, constant_names),
        total=total,
        every=total_count,
        begin=offset + 1,
        end=offset + len(cell_rows),
        pages=build_page_links(table_view, row_page, size, total.rows),
        lost=table_view.is_state_lost,
        plotted=plotted_axes,
        plot_first=";".join(choose_plot_columns(table_view)),
        has_plot=any(name == "_plot" for name, _ in search.rest),
        map=_classify_map(table_view),
        surveys=" ".join(all_surveys),
        has_map=any(name == "_map" for name, _ in search.rest),
        form=search_form,
        known_choices=list_choices_without_counts(table_view),
        kind=classify_table_standard(table_view.table),
        known=list_form_parameters(search_form),
        chips=build_condition_chips(search, table_view.labels),
        without=relaxed_searches,
        faults=search.faults,
        wrong=search.wrong,
        adql=search.write_adql(),
        state=search.write_query_string(),
        taken=describe_download_options(table_view, page_context),
        panes=panes.list_panes(),
        links=list_table_link_menus(table_view.table, page_context),
        table_values=compute_table_page_values(table_view, page_context),
        state_pairs=search.list_parameters(),
        choosable=list_choosable_columns(table_view, shown_names, uninformative_names),
        raw=table_view.labels.is_raw,
        other_names=write_label_switch_query(table_view),
        here=table_address,
        below=build_table_path(table_view.table),
        searched=searched_part.write_query_string(),
        dataset=build_schema_org_table_dataset(
            table_view.table, resource, table_view.published.updated, page_context, downloads=downloads
        ),
    )
    release_links = [{"label": release.label, "day": release.day, "url": release.url} for release in releases]
    query_string = search.write_query_string()
    json_content = {
        "table": table_view.table.qualified_name,
        "releases": release_links,
        "columns": columns_to_json(column_headings),
        "total": total.rows,
        "adql": search.write_adql(),
        "faults": search.faults,
        "rows_url": f"{table_address}/rows?{query_string}",
    }
    return PageContent(page=page, json_content=json_content)


def _list_allowed_picture_addresses(rows: list[list[Any]], page_context: PageContext) -> list[str]:
    """List the pictures that a page without scripts may show: those of this site and of its allowed origins."""
    base_parts = urlsplit(page_context.base)
    site_origin = f"{base_parts.scheme}://{base_parts.netloc}"
    allowed_origins = page_context.context.site.settings.origins
    is_allowed = build_picture_origin_check(allowed_origins, site_origin)
    picture_addresses: dict[str, None] = {}
    for row in rows:
        for cell in row:
            if isinstance(cell, TextCell) and cell.picture and cell.href:
                picture_addresses[cell.href] = None
    return [address for address in picture_addresses if is_allowed(address)]


def _list_release_links(name: str, table_view: TableView, page_context: PageContext) -> list[ReleaseLink]:
    """List the states of a table that have a page: the current one, then its releases, the newest first.

    Return an empty list if the table was never released.
    """
    tables_by_name = {table.qualified_name: table for table in page_context.catalogue.iterate_tables()}
    states = [("", "", name)]
    released_tables = page_context.published_state.released_tables_by_name.get(name, ())
    for released_table in released_tables:
        if released_table.release is not None:
            label = released_table.table.release or ""
            day = released_table.release.created[:10]
            states.append((label, day, released_table.table.qualified_name))
    current_name = table_view.table.qualified_name
    release_links = []
    for state_number, (label, day, release_name) in enumerate(states):
        if release_name not in tables_by_name:
            continue
        table_address = build_table_address(page_context.base, tables_by_name[release_name])
        release_link = ReleaseLink(
            label=label,
            day=day,
            url=table_address,
            here=release_name == current_name,
            newest=state_number == 1,
        )
        release_links.append(release_link)
    if len(release_links) > 1:
        return release_links
    return []


def _build_headline(table: Table, title: str | None, name: str) -> str:
    """Return the title of a table's page: that of the table, or else of its collection."""
    if table.title or not title:
        return table.title or name
    if table.name == MAIN_TABLE:
        return title
    return f"{title}: {table.name}"


def _build_table_address(table_view: TableView, page_context: PageContext) -> str:
    return build_table_address(page_context.base, table_view.table)


def _build_checkbox_values(keys: Sequence[str], files: Sequence[Sequence[dict[str, Any]]]) -> dict[str, str]:
    """Return the keys that a tick selects, for each line.

    These are the key of the line and those of the other files of its observation.
    """
    line_files = files or [()] * len(keys)
    tick_keys = {}
    for key, files_of_line in zip(keys, line_files, strict=True):
        distinct_keys = dict.fromkeys([key, *(file_facts["key"] for file_facts in files_of_line)])
        tick_keys[key] = "\t".join(distinct_keys)
    return tick_keys


def list_choosable_columns(
    table_view: TableView, shown_names: Sequence[str], uninformative_names: Collection[str]
) -> list[dict[str, object]]:
    """List the columns that can be shown, with the units of each; the shown ones come first, in their order.

    Parameters
    ----------
    table_view
        The search of the reader.
    shown_names, uninformative_names
        Names of the shown columns, and of those with one value in all rows.

    Returns
    -------
    columns
        A mapping for each column, for the template.
    """
    units = dict(table_view.search.units)
    hidden_names = {*shown_names, *uninformative_names}
    other_names = [
        column.name for column in table_view.table.columns if not column.hidden and column.name not in hidden_names
    ]
    choosable_columns = []
    for name in (*shown_names, *other_names):
        column = table_view.table.find_column(name)
        usual_unit = table_view.labels.find_unit_scale(column).unit
        choosable_column = {
            "name": name,
            "label": table_view.labels.label_column(column),
            "shown": name in shown_names,
            "units": list_display_units(column),
            "unit": units.get(name, usual_unit),
            "usual": usual_unit,
            "title": table_view.labels.write_column_tooltip(column),
        }
        choosable_columns.append(choosable_column)
    return choosable_columns


def build_headings_and_cells(
    column_headings: Sequence[ColumnHeading], cell_rows: Sequence[Sequence[TextCell | None]], table_view: TableView
) -> tuple[list[SortableHeading], list[list[TextCell | None]]]:
    """Build the headings and cells of a page; the columns of a pair are joined.

    Parameters
    ----------
    column_headings
        Headings of all columns.
    cell_rows
        Cells of each row.
    table_view
        The search of the reader.

    Returns
    -------
    headings_and_rows
        Headings with links that sort the rows, and the cells of each row.
    """
    order = order_columns(column_headings, find_range_column_pairs(column_headings, table_view.labels))
    heading_row = []
    for column_or_pair in order:
        if isinstance(column_or_pair, RangeColumnPair):
            low_heading = column_headings[column_or_pair.low_number]
            heading_row.append(_build_heading(low_heading, table_view.search, column_or_pair))
        else:
            heading_row.append(_build_heading(column_headings[column_or_pair], table_view.search))
    lines = []
    for row in cell_rows:
        line = []
        for column_or_pair in order:
            if isinstance(column_or_pair, RangeColumnPair):
                low_cell = row[column_or_pair.low_number]
                high_cell = row[column_or_pair.high_number]
                line.append(join_range_cells(low_cell, high_cell))
            else:
                line.append(row[column_or_pair])
        lines.append(line)
    return heading_row, lines


def _list_requested_row_cells(table_view: TableView) -> list[tuple[str, TextCell, str]]:
    """Return the cells of the row that the address names.

    A script draws its panel; without scripts, a link to the row shows it as well.
    """
    if not table_view.search.row:
        return []
    row_page = row_pages.fetch_row(table_view.search, table_view.runner, table_view.search.row)
    column_headings = build_column_headings(
        row_page, table_view.table, table_view.search.units, labels=table_view.labels
    )
    lines = format_cells(row_page, table_view.table, table_view.search.units, is_full=True, labels=table_view.labels)
    headed_cells = zip(column_headings, lines[0], strict=True) if lines else ()
    return [
        (heading.label, text_cell, format_unit(heading.unit))
        for heading, text_cell in headed_cells
        if text_cell is not None
    ]


def _build_heading(heading: ColumnHeading, search: TableSearch, pair: RangeColumnPair | None = None) -> SortableHeading:
    """Build the heading of a column: a click sorts by it, a second click in the opposite order."""
    sorted_by = dict(search.order)
    name = heading.column.name
    is_next_descending = name in sorted_by and not sorted_by[name]
    next_search = search.copy_with(order=((name, is_next_descending),))
    if name not in sorted_by:
        sort_direction = ""
    elif sorted_by[name]:
        sort_direction = "descending"
    else:
        sort_direction = "ascending"
    return SortableHeading(
        name=name,
        label=heading.label if pair is None else pair.label,
        unit=format_unit(heading.unit),
        title=heading.title if pair is None else pair.title,
        numeric=heading.numeric or heading.kind == "time",
        sorted=sort_direction,
        address=next_search.write_query_string(),
    )


def build_page_links(
    table_view: TableView, page: row_pages.RowPage, size: int, total_rows: int | None
) -> dict[str, str]:
    """Return the addresses of the pages before and after this one, in the same state of the table.

    Parameters
    ----------
    table_view
        The search of the reader.
    page
        The rows of this page.
    size, total_rows
        Number of rows of a page, and of all rows; None: they are not counted.
    """
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
        parameters += [(name, str(value)) for name, value in page_parameters.items() if value]
        return urlencode(parameters)

    page_links: dict[str, str] = {}
    if offset:
        page_links |= {"first": build_page_address(0), "previous": build_page_address(max(offset - size, 0))}
    if has_more:
        last_key = ""
        if page.keys:
            last_key = page.keys[-1]
        page_links["next"] = build_page_address(offset + size, last_key)
        if total_rows is not None:
            page_links["last"] = build_page_address((total_rows - 1) // size * size)
    return page_links
