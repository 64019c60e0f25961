"""Serve ``/plots``: several data sets above one time axis, and the same plot as SVG, PNG, CSV and CDF.

The whole state is in the address. The page needs no scripts; with them, the pointer selects a time span.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import NotFoundError, format_message
from hven.model.table import find_begin_and_end_time_columns, translate_text
from hven.plugins.notebooks.notebook_document import MEDIA_TYPE
from hven.plugins.series.sample_parameters import is_spectrum
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import format_instant
from hven.plugins.series.timelines.spectrum_pictures import find_channel_parameter_name
from hven.plugins.stacked_plots.drawn_areas import select_touched_rows, write_area_values
from hven.plugins.stacked_plots.plot_addresses import (
    MAX_PANELS,
    TIME_NAMES,
    PanelAddress,
    PlotAddress,
    parse_plot_address,
)
from hven.plugins.stacked_plots.plot_drawing import (
    build_axis,
    choose_time_ticks,
    describe_panel,
    draw_panel,
    find_colour_limits,
    measure_panel,
)
from hven.plugins.stacked_plots.plot_files import (
    build_file_stem,
    read_plot_samples,
    write_plot_cdf,
    write_plot_csv,
)
from hven.plugins.stacked_plots.plot_notebooks import write_plot_notebook
from hven.plugins.stacked_plots.plot_pictures import (
    list_drawn_panels,
    list_overlaid_events,
    name_axis,
    write_png,
    write_svg_document,
)
from hven.plugins.stacked_plots.plot_reading import PanelContent, PlotReader
from hven.plugins.stacked_plots.table_events import HERTZ_PER_UNIT
from hven.portal.api.page_rows import to_unix_microseconds
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
)
from hven.portal.api.plots import format_number
from hven.portal.api.table_links import TableLink, TableLinkKind, find_row_form
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from markupsafe import Markup
    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.plugins.series.sample_sets import SampleDataSet
    from hven.plugins.stacked_plots.drawn_areas import DrawnArea
    from hven.portal.api.page_rows import RowPage
    from hven.services.face import ServiceContext

MAX_SUGGESTIONS = 40
MAX_SUGGESTED_PARAMETERS = 6
MAX_SEARCH_CHARACTERS = 200
MAX_ROW_FORMS = 8
TIME_VALUE_COUNT = 2  # columns of a row that say when it begins and ends
SERIES_FACE = "timelines"
SUN_WORDS = ("sun", "solar", "helio")
HELIOVIEWER_ADDRESS = "https://helioviewer.org/"
SOHO_START, SDO_START = 821_664_000_000_000, 1_275_436_800_000_000  # 1996-01-15, 2010-06-02: first images there
SAMPLE_FILE_TYPES = ("csv", "cdf")  # a plot of rows alone has no such files
FILE_TYPES = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "csv": "text/csv",
    "cdf": "application/x-cdf",
    "ipynb": MEDIA_TYPE,
}
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
FILE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": FILE_POLICY}


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelView:
    """A panel on the page.

    Attributes
    ----------
    title, url
        Title of the data set or the table, and its page.
    text
        The panel as in the address.
    links
        Queries of the page with this panel moved, hidden or removed.
    is_hidden
        Whether the panel is not drawn.
    traces
        Names and units of its lines, or of its spectrum.
    notes, fault
        Remarks, and why the panel shows nothing.
    drawing, height
        Its inside as SVG, and the height in pixels.
    ticks
        Places from the top and labels of the ticks.
    axis_name, axis_unit, axis_note
        Name of the vertical axis, its unit, and the power of ten of its numbers.
    description
        Names and ranges, for readers who do not see the picture.
    colours
        Values of the first and the last colour of a spectrogram.
    pictures
        Pictures with the pages of their rows, and names.
    is_list
        Whether the panel shows rows.
    hapi
        Query of the same parameters for HAPI; empty if there is none.
    frequencies
        For the script: lowest and highest frequency of a spectrogram in Hz, and ``log`` or ``linear``; empty if it
        shows something else.
    """

    title: str
    url: str
    text: str
    links: dict[str, str]
    is_hidden: bool
    is_list: bool
    traces: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    fault: str = ""
    drawing: Markup | str = ""
    height: int = 0
    ticks: Sequence[tuple[float, str]] = ()
    axis_name: str = ""
    axis_unit: str = ""
    axis_note: str = ""
    description: str = ""
    colours: tuple[str, str] | None = None
    pictures: Sequence[tuple[str, str, str]] = ()
    hapi: str = ""
    frequencies: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSuggestion:
    """A panel that the reader can add.

    Attributes
    ----------
    title, details
        Title of the data set or the table, and what else is known.
    additions
        Names of parameters, and queries of the page with them.
    """

    title: str
    details: str
    additions: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedPlotPage(TemplateContext):
    """The page of a plot.

    Attributes
    ----------
    panels
        The panels, from the top.
    begins, ends
        The time span as texts.
    span
        The time span in microseconds since 1970; None if there is none.
    ticks
        Places across in percent and labels of the ticks of the time axis.
    day
        Date of the time axis.
    links
        Queries of other time spans.
    state
        Parameters of the page without the times and the search.
    files
        Formats and addresses of the plot as files.
    words, suggestions, suggestion_count
        Words of the search for data sets, what it found, and how many there are.
    is_full
        Whether no panel can be added.
    helioviewer
        Address of images of the Sun from this time; empty if the plot is not about the Sun.
    area, without_area
        The area that the reader has drawn, as text, and the query of the plot without it.
    row_forms
        Titles and addresses of forms of tables in which the area can become a row.
    has_frequencies
        Whether a panel shows a spectrogram of frequencies, on which areas can be drawn.
    """

    template = "stacked_plots/plots.html"
    panels: Sequence[PanelView]
    begins: str
    ends: str
    span: tuple[int, int] | None
    ticks: Sequence[tuple[float, str]]
    day: str
    links: dict[str, str]
    state: Sequence[tuple[str, str]]
    files: Sequence[tuple[str, str]]
    words: str
    suggestions: Sequence[PanelSuggestion]
    suggestion_count: int
    is_full: bool
    helioviewer: str
    area: str = ""
    without_area: str = ""
    row_forms: Sequence[tuple[str, str]] = ()
    has_frequencies: bool = False


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page, and its files."""

    async def show_plot(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_plot_page, page_context)

    async def send_file(request: Request) -> Response:
        return await anyio.to_thread.run_sync(_answer_with_file, build_page_context(request, context))

    return [
        Route("/plots", build_page_endpoint(show_plot, context)),
        Route("/plots/{file}", wrap_endpoint_with_gates_and_errors(send_file, build_error_responder(context))),
    ]


def _parse_address(page_context: PageContext) -> PlotAddress:
    query_params = page_context.request.query_params
    return parse_plot_address(query_params, query_params.getlist("panel"))


def _read_plot(reader: PlotReader, address: PlotAddress) -> tuple[PlotAddress, list[PanelContent]]:
    """Read all panels; return them with the address of their time span."""
    span = reader.choose_span(address)
    if span is None:
        faults = []
        for panel in address.panels:
            content = reader.read_panel(panel, 0, 1)
            faults.append(replace(content, lines=(), spectrum=None, events=None))
        return address, faults
    spanned = address.with_span(*span)
    contents = [reader.read_panel(panel, *span) for panel in address.panels]
    if address.area is not None:
        contents = [_select_rows_in_area(content, address.area) for content in contents]
    return spanned, contents


def _select_rows_in_area(content: PanelContent, area: DrawnArea) -> PanelContent:
    if content.events is None:
        return content
    events = select_touched_rows(area, content.events)
    return replace(content, events=events, notes=events.notes)


def _build_plot_page(page_context: PageContext) -> PageContent:
    reader = PlotReader(page_context)
    address, contents = _read_plot(reader, _parse_address(page_context))
    span = None
    if address.start is not None and address.stop is not None:
        span = (address.start, address.stop)
    panels = [
        _build_panel_view(content, address, number, contents, page_context) for number, content in enumerate(contents)
    ]
    words = page_context.request.query_params.get("q", "")[:MAX_SEARCH_CHARACTERS].strip()
    suggestions = list(_suggest_panels(reader, address, words))
    query_string = address.write_query()
    ticks: list[tuple[float, str]] = []
    day = ""
    if span is not None:
        axis_ticks, shares = choose_time_ticks(*span)
        ticks = [(100 * share, label) for share, label in zip(shares, axis_ticks.labels, strict=True)]
        day = axis_ticks.axis_note
    begins, ends = (_format_page_time(instant) for instant in span or ("", ""))
    page = StackedPlotPage(
        panels=panels,
        begins=begins,
        ends=ends,
        span=span,
        ticks=ticks,
        day=day,
        links={**address.write_time_links(), "all": replace(address, start=None, stop=None).write_query()},
        state=[pair for pair in address.list_parameters() if pair[0] not in TIME_NAMES],
        files=[
            (
                "Notebook (Jupyter)" if name == "ipynb" else name.upper(),
                f"{page_context.base}/plots/plot.{name}?{query_string}",
            )
            for name in FILE_TYPES
            if span and (name not in SAMPLE_FILE_TYPES or address.list_sample_panels())
        ],
        words=words,
        suggestions=suggestions[:MAX_SUGGESTIONS],
        suggestion_count=len(suggestions),
        is_full=len(address.panels) >= MAX_PANELS,
        helioviewer=_build_helioviewer_address(reader, contents, span),
        area="" if address.area is None else address.area.to_text(),
        without_area=replace(address, area=None).write_query(),
        row_forms=_list_row_forms(reader, address.area),
        has_frequencies=any(panel.frequencies for panel in panels),
    )
    return PageContent(page=page, json_content=_describe_plot(address, panels, page))


def _describe_plot(address: PlotAddress, panels: Sequence[PanelView], page: StackedPlotPage) -> dict[str, Any]:
    return {
        "from": None if address.start is None else format_instant(address.start),
        "to": None if address.stop is None else format_instant(address.stop),
        "panels": [
            {
                "panel": panel.text,
                "title": panel.title,
                "shows": panel.description,
                "notes": list(panel.notes),
                "fault": panel.fault,
                "url": panel.url,
            }
            for panel in panels
        ],
        "area": page.area,
        "files": dict(page.files),
    }


def _format_page_time(instant: int | str) -> str:
    """Write a time without zeros at its end, with seconds."""
    if isinstance(instant, str):
        return instant
    return format_instant(instant).removesuffix("Z").rstrip("0").rstrip(".").replace("T", " ")


def _build_panel_view(
    content: PanelContent,
    address: PlotAddress,
    number: int,
    contents: Sequence[PanelContent],
    page_context: PageContext,
) -> PanelView:
    translate = page_context.translator
    panel = content.address
    view = PanelView(
        title=content.title,
        url=content.url,
        text=panel.to_text(),
        links=address.write_panel_links(number),
        is_hidden=panel.is_hidden,
        is_list=panel.is_table,
        notes=[translate(note) for note in content.notes],
        fault="" if content.fault is None else translate.translate_error(content.fault),
    )
    has_nothing = content.spectrum is None and content.events is None and not content.lines
    if panel.is_hidden or content.fault is not None or has_nothing or address.start is None or address.stop is None:
        return view
    height = measure_panel(content)
    axis = build_axis(content)
    ticks, axis_note = [], ""
    if axis is not None:
        axis_ticks = axis.choose_ticks(height)
        axis_note = axis_ticks.axis_note
        for position, label in zip(axis_ticks.positions, axis_ticks.labels, strict=True):
            ticks.append((float(axis.locate(10.0**position if axis.is_logarithmic else position, height)), label))
    traces = [(trace.name, trace.unit) for trace in content.lines]
    colours, frequencies = None, ""
    if content.spectrum is not None:
        traces = [(content.spectrum.name, content.spectrum.unit)]
        low, high, _ = find_colour_limits(content.spectrum)
        colours = (format_number(float(f"{low:.3g}")), format_number(float(f"{high:.3g}")))
        hertz = HERTZ_PER_UNIT.get(content.spectrum.axis_unit)
        if hertz is not None:
            limits = f"{content.spectrum.low * hertz:.9g} {content.spectrum.high * hertz:.9g}"
            frequencies = f"{limits} {'log' if content.spectrum.is_logarithmic else 'linear'}"
    pictures = []
    if content.events is not None:
        for row, picture in content.events.choose_pictures():
            name = content.events.labels[row] or format_instant(int(content.events.begins[row]))[:19]
            pictures.append((picture, content.events.urls[row], name))
    events = list_overlaid_events(list_drawn_panels(contents))
    outline = None
    if address.area is not None:
        outline = address.area.to_shape()
    return replace(
        view,
        frequencies=frequencies,
        traces=traces,
        drawing=draw_panel(content, events, address.start, address.stop, outline),
        height=height,
        ticks=ticks,
        axis_name=content.spectrum.axis_name if content.spectrum is not None else "",
        axis_unit=content.spectrum.axis_unit if content.spectrum is not None else name_axis(content),
        axis_note=axis_note,
        description=describe_panel(content),
        colours=colours,
        pictures=pictures,
        hapi=_write_hapi_query(panel, address.start, address.stop) if content.is_in_hapi else "",
    )


def _write_hapi_query(panel: PanelAddress, start: int, stop: int) -> str:
    text = replace(panel, is_hidden=False).to_text()
    return urlencode({"dataset": text, "start": format_instant(start), "stop": format_instant(stop)})


def _suggest_panels(reader: PlotReader, address: PlotAddress, words: str) -> Iterator[PanelSuggestion]:
    """Suggest panels whose names, titles or parameters contain all words."""
    wanted_words = words.lower().split()
    for data_set in reader.list_portal_data_sets().values():
        parameters = data_set.numeric_parameters
        if not parameters:
            continue
        names = [f"{parameter.name} {parameter.column.description or ''}" for parameter in parameters]
        text = " ".join((data_set.id, data_set.title, data_set.description or "", *names)).lower()
        if all(word in text for word in wanted_words):
            yield PanelSuggestion(
                title=data_set.title, details=data_set.id, additions=list(_list_additions(data_set, address))
            )
    tables_by_name = reader.published_state.tables_by_name
    for table in reader.page_context.catalogue.iterate_tables():
        name = table.qualified_name
        is_current = name in tables_by_name and table.release is None
        if not is_current or not _has_events(table) or list_table_series(table) or table.schema == "tap_schema":
            continue
        resource = reader.published_state.resources.get(table.schema)
        texts = [name, table.title or name, table.description or "", resource.title if resource else ""]
        shown_texts = [translate_text(reader.page_context.language, text) for text in texts]
        text = " ".join((*texts, *shown_texts)).lower()
        if all(word in text for word in wanted_words):
            panel = PanelAddress(name=name, is_table=True)
            _, title, _, collection_title = shown_texts
            if collection_title not in title:
                title = f"{collection_title}: {title}"
            yield PanelSuggestion(title=title, details=name, additions=[("", address.write_query_with_panel(panel))])


def _list_additions(data_set: SampleDataSet, address: PlotAddress) -> Iterator[tuple[str, str]]:
    """List what a data set offers: each spectrum, and the lines of each unit together."""
    lines_by_unit: dict[str, list[str]] = {}
    count = 0
    channel_names = {find_channel_parameter_name(parameter) for parameter in data_set.numeric_parameters}
    for parameter in data_set.numeric_parameters:
        if parameter.name in channel_names:
            continue
        if is_spectrum(parameter):
            names = [parameter.name]
        else:
            unit_names = lines_by_unit.setdefault(parameter.column.unit or parameter.name, [])
            unit_names.append(parameter.name)
            continue
        panel = PanelAddress(name=data_set.id, parameters=tuple(names))
        yield names[0], address.write_query_with_panel(panel)
        count += 1
    for unit_names in list(lines_by_unit.values())[: max(MAX_SUGGESTED_PARAMETERS - count, 0)]:
        panel = PanelAddress(name=data_set.id, parameters=tuple(unit_names[:3]))
        yield ", ".join(unit_names[:3]), address.write_query_with_panel(panel)


def _list_row_forms(reader: PlotReader, area: DrawnArea | None) -> list[tuple[str, str]]:
    """List the forms of tables with frequencies or shapes in which the reader can enter an area as a row."""
    forms: list[tuple[str, str]] = []
    if area is None:
        return forms
    page_context = reader.page_context
    for table in page_context.catalogue.iterate_tables():
        if table.release is not None or table.schema == "tap_schema" or len(forms) >= MAX_ROW_FORMS:
            continue
        address = find_row_form(table, page_context)
        values = {}
        if address:
            values = write_area_values(area, table)
        if len(values) > TIME_VALUE_COUNT:  # more than its times
            forms.append((table.title or table.qualified_name, f"{address}?{urlencode(values)}"))
    return forms


def _build_helioviewer_address(
    reader: PlotReader, contents: Sequence[PanelContent], span: tuple[int, int] | None
) -> str:
    """Build the address of images of the Sun at the middle of the span; empty if no collection is about the Sun."""
    schemas = set()
    data_sets = reader.list_portal_data_sets()
    for content in contents:
        name = content.address.name
        data_set = data_sets.get(name)
        schemas.add(data_set.table.schema if data_set is not None else name.partition(".")[0])
    subjects = [
        subject.lower()
        for schema in schemas
        if (resource := reader.published_state.resources.get(schema)) is not None
        for subject in (*resource.subjects, resource.title)
    ]
    if span is None or not any(word in subject for subject in subjects for word in SUN_WORDS):
        return ""
    middle = (span[0] + span[1]) // 2
    if middle < SOHO_START:
        return ""
    layer = "[SOHO,EIT,EIT,195,1,100]" if middle < SDO_START else "[SDO,AIA,AIA,193,1,100]"
    parameters = {"date": f"{format_instant(middle)[:23]}Z", "imageLayers": layer}
    return f"{HELIOVIEWER_ADDRESS}?{urlencode(parameters)}"


def _answer_with_file(page_context: PageContext) -> Response:
    """Answer with the plot as a file: a picture, or the samples.

    Raises
    ------
    HvenError
        There is no such file; the address has a fault; or a panel of a file with samples cannot be read.
    """
    request = page_context.request
    stem, _, extension = request.path_params["file"].rpartition(".")
    if stem != "plot" or extension not in FILE_TYPES:
        message = format_message("there is no file {name!r:.80} of a plot", request.path_params["file"])
        raise NotFoundError(message, remedy=", ".join(f"plot.{name}" for name in FILE_TYPES))
    reader = PlotReader(page_context)
    address = _parse_address(page_context)
    span = reader.choose_span(address)
    if span is None:
        raise NotFoundError(format_message("this plot shows nothing"), remedy="add panels to its address")
    start, stop = span
    outline = None
    if address.area is not None:
        outline = address.area.to_shape()
    page_address = f"{page_context.base}/plots?{address.with_span(start, stop).write_query()}"
    file_stem = build_file_stem(start, stop)
    writers: dict[str, Callable[[], bytes]] = {
        "svg": lambda: write_svg_document(_read_plot(reader, address)[1], start, stop, outline),
        "png": lambda: write_png(_read_plot(reader, address)[1], start, stop, {"Source": page_address}, outline),
        "csv": lambda: write_plot_csv(_read_file_samples(reader, address, span)),
        "cdf": lambda: write_plot_cdf(_read_file_samples(reader, address, span), page_address, page_address, file_stem),
        "ipynb": lambda: write_plot_notebook(reader, address.with_span(start, stop), page_address),
    }
    body = writers[extension]()
    headers = services.build_cache_headers(services.compute_etag(body), is_public=page_context.access_key == "public")
    disposition = "attachment"
    if extension in {"svg", "png"}:
        disposition = "inline"
    headers |= FILE_HEADERS | {"content-disposition": f'{disposition}; filename="{file_stem}.{extension}"'}
    return services.answer_with_etag(request, headers, FILE_TYPES[extension], body)


def _read_file_samples(reader: PlotReader, address: PlotAddress, span: tuple[int, int]) -> Any:
    sample_list = read_plot_samples(reader, address, *span)
    rows_by_table: dict[str, int] = {}
    for samples in sample_list:
        name = samples.selection.data_set.table.qualified_name
        rows_by_table[name] = rows_by_table.get(name, 0) + len(samples.instants)
    record_sent_data(rows_by_table=rows_by_table)
    return sample_list


def _has_events(table: Table) -> bool:
    """Return whether rows of a table have times, and can be drawn as events."""
    return find_begin_and_end_time_columns(table)[0] is not None


def list_plot_links(table: Table, page_context: PageContext) -> list[TableLink]:
    """List the plots of a table: of its data sets, or of its rows."""
    if table.release is not None:
        return []
    address = PlotAddress()
    if table.is_served_by(SERIES_FACE):
        names = [series.id for series in list_table_series(table)]
    else:
        names = []
    panels = [PanelAddress(name=name) for name in names]
    if not panels and _has_events(table):
        panels = [PanelAddress(name=table.qualified_name, is_table=True)]
    return [
        TableLink(
            id=panel.to_text(),
            title=panel.name,
            url=f"{page_context.base}/plots?{address.write_query_with_panel(panel)}",
        )
        for panel in panels[:MAX_PANELS]
    ]


def build_row_time_query(row: RowPage, table: Table) -> str:
    """Return the time around a row as parameters of a plot; empty if the row has no time."""
    if not row.keys:
        return ""
    values_by_name = {column.name: row.rows.column(at)[0].as_py() for at, column in enumerate(row.columns)}
    begin, end = (
        None if column is None else to_unix_microseconds(values_by_name.get(column.name), column)
        for column in find_begin_and_end_time_columns(table)
    )
    if begin is None:
        return ""
    margin = max((end or begin) - begin, 60_000_000)
    span = PlotAddress().with_span(begin - margin, max(end or begin, begin) + margin)
    return urlencode(span.list_parameters(), quote_via=quote)


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"series.actions": "series_links.html"},
)
PLOT_LINKS = TableLinkKind(
    name="plots",
    title="Plot in time",
    list_links=list_plot_links,
    overview_path="/plots",
    write_row_query=build_row_time_query,
)
