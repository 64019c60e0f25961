"""Serve ``/collections/NAME/TABLE/strip``: the overview of a table, as numbers or drawn as a part of its page.

It can also return the position of one row in the strip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
from starlette.routing import Route

from hven.model.errors import HvenError
from hven.plugins.overviews import overview_strip
from hven.plugins.overviews.strip_bins import format_bin_edge, to_float_values
from hven.portal.api.page_rows import quote_parameter_name
from hven.portal.api.pages import PortalPages, TemplateContext, render_page_part
from hven.portal.api.plots import format_number, format_unit, write_svg_paths_of_shaded_cells
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_rows import TableSearch, build_page_line_search, build_table_data_endpoint, fetch_row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.plugins.overviews.overview_strip import CountMap, OverviewStripCounts, OverviewStripLayout
    from hven.plugins.overviews.strip_bins import ColumnBins
    from hven.portal.api.pages import PageContext
    from hven.portal.api.plots import UnitScale
    from hven.portal.api.search_forms import SearchFault
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext

BAR_HEIGHT = 100  # in units of the drawing
MIN_BAR_HEIGHT = 2.0  # so that a bin with few rows stays visible
SHADE_COUNT = 4
CELLS_PER_LINK = 6  # cells of the map that one link covers, in both directions
TIME_TICKS = 5  # of a time axis
RANGE_DASH = " \u2013 "
COMPARISON_SIGNS = "≥ ", "≤ "  # before the only end of a half-open range: a lower end, an upper end
PART_PARAMETER = "_only"
STRIP_PARAMETER = "_strip"  # `now`: the page must contain the strip, however long that takes
MAX_IMMEDIATE_ROWS = 200_000  # a table with more rows is counted after its page is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewStrip:
    """The overview of a table.

    Attributes
    ----------
    later
        Whether a script fetches it, because counting takes long.
    late
        Whether the rows could not be counted in time.
    exact
        Whether the counts are those of all rows, and not of a sample.
    rows
        Number of rows; None if it is not known.
    observations
        Whether the counted lines are observations.
    faults
        Parameters of the search that cannot be read.
    time, map, parts
        Histogram of the time, map of the positions, histograms of other columns.
    rooms
        Names of the parts for which the style sheet reserves space.
    """

    later: bool = False
    late: bool = False
    exact: bool = False
    rows: int | None = None
    observations: bool = False
    faults: Sequence[SearchFault] = ()
    time: Mapping[str, object] | None = None
    map: Mapping[str, object] | None = None
    parts: Sequence[Mapping[str, object]] = ()
    rooms: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewStripDrawing(TemplateContext):
    """The overview of a table by itself; pages include the same template.

    Attributes
    ----------
    strip
        The overview.
    """

    template = "overviews/strip.html"
    strip: OverviewStrip


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the strip: its numbers, its drawing (``_only=drawn``), or one row's position (``_only=row&_row=KEY``)."""
    endpoint = build_table_data_endpoint(_answer_strip, context, ignored_parameters=(PART_PARAMETER,))
    return [Route("/collections/{name}/{table}/strip", endpoint)]


def _answer_strip(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    part_name = page_context.request.query_params.get(PART_PARAMETER, "")
    if part_name == "row":
        return _locate_row_in_strip(table_view)
    strip = build_overview_strip(table_view)
    if part_name == "drawn":
        return {"html": render_page_part(OverviewStripDrawing(strip=strip), page_context.language)}
    return _overview_strip_to_json(strip)


def build_first_overview_strip(table_view: TableView, page_context: PageContext) -> OverviewStrip | None:
    """Return the strip for the first view of a page, or None if there is nothing to draw.

    It is counted now if that is quick; otherwise a script of the page fetches it.
    """
    is_immediate = page_context.request.query_params.get(STRIP_PARAMETER, "") == "now"
    try:
        strip_layout = overview_strip.find_overview_strip_layout(table_view.table, table_view.runner)
        if not strip_layout.column_names:
            return None
        rows = table_view.runner.find_table_with_visible_counts(table_view.table).rows
        if is_immediate or (rows is not None and rows <= MAX_IMMEDIATE_ROWS):
            return replace(build_overview_strip(table_view), rooms=_format_strip_part_names(strip_layout))
    except HvenError:
        return None  # the page works without the strip
    return OverviewStrip(later=True, rooms=_format_strip_part_names(strip_layout))


def rank_plot_columns(table_view: TableView) -> list[str]:
    """Rank the columns that a plot begins with: the most informative ones, or else one of them with the time."""
    try:
        strip_layout = overview_strip.find_overview_strip_layout(table_view.table, table_view.runner)
    except HvenError:
        return []
    names = [ranked.column.name for ranked in strip_layout.ranked_histograms]
    if len(names) < 2 and strip_layout.time is not None:
        return [strip_layout.time.column.name, *names]
    return names


def _format_strip_part_names(strip_layout: OverviewStripLayout) -> str:
    """Return the names of the parts that the style sheet reserves space for."""
    names = []
    if strip_layout.time is not None:
        names.append("time")
    if strip_layout.overview_map is not None:
        names.append("map")
    if strip_layout.histograms:
        names.append("parts")
    return " ".join(names)


def build_overview_strip(table_view: TableView) -> OverviewStrip:
    """Build the strip of a search."""
    strip_layout = overview_strip.find_overview_strip_layout(table_view.table, table_view.runner)
    line_view = build_page_line_search(table_view)
    total_counts = matching_counts = None
    if strip_layout.column_names:
        total_counts = matching_counts = overview_strip.count_overview_strip_rows(
            line_view.build_all_lines_search(table_view), table_view.runner, strip_layout
        )
    is_narrowed = table_view.search.build_condition() is not None
    if is_narrowed and total_counts is not None:
        matching_counts = overview_strip.count_overview_strip_rows(line_view.search, table_view.runner, strip_layout)
    is_observed = line_view.observation_key is not None
    strip = OverviewStrip(observations=is_observed, faults=table_view.search.faults)
    if matching_counts is None or total_counts is None:
        return replace(strip, late=True)
    drawn_parts = []
    for at, column_bins in enumerate(strip_layout.bins):
        part_totals = None
        if is_narrowed:
            part_totals = total_counts.counts[at]
        drawn_parts.append(_draw_histogram_part(column_bins, matching_counts.counts[at], part_totals, table_view))
    time_part = None
    if strip_layout.time is not None:
        time_part = drawn_parts.pop(0)
    map_part = None
    if strip_layout.overview_map is not None:
        map_totals = total_counts if is_narrowed else None
        map_part = _draw_overview_map(strip_layout.overview_map, matching_counts, map_totals, table_view)
    return replace(
        strip,
        exact=matching_counts.is_exact,
        rows=matching_counts.rows,
        time=time_part,
        map=map_part,
        parts=drawn_parts,
    )


def _draw_histogram_part(
    column_bins: ColumnBins,
    counts: npt.NDArray[np.int64],
    total_counts: npt.NDArray[np.int64] | None,
    table_view: TableView,
) -> dict[str, object]:
    column = column_bins.column
    search = table_view.search
    scale = table_view.labels.find_unit_scale(column)
    end_texts = _format_bin_ends(column_bins, scale)
    name = quote_parameter_name(column.name)
    written_values = dict(search.conditions).get(column.name)
    other_parameters = _list_other_parameters(search, [name])
    bin_count = len(column_bins)
    band = None
    selected_band = column_bins.find_selected_bin_range(written_values or ())
    if selected_band is not None:
        band_begin, band_end = selected_band
        band_width = max(bin_count * (band_end - band_begin), 0.1)
        band = (round(bin_count * band_begin, 2), round(band_width, 2))
    links = []
    for at, count in enumerate(counts[1:].tolist()):
        if count:
            condition = f"{column_bins.lows[at]}..{column_bins.highs[at]}"
            link = {
                "at": at,
                "said": _format_bin_range(*end_texts[at], is_inverted=scale.is_inverse),
                "rows": count,
                "address": urlencode([*other_parameters, (name, condition)]),
            }
            links.append(link)
    first_end = end_texts[0][0] or end_texts[0][1]
    last_end = end_texts[-1][1] or end_texts[-1][0]
    return {
        "column": column.name,
        "name": name,
        "label": _label_bins(column, table_view),
        "unit": "" if column_bins.is_time else format_unit(scale.unit),
        "title": table_view.labels.write_column_tooltip(column),
        "time": column_bins.is_time,
        "size": bin_count,
        "lows": column_bins.lows,
        "highs": column_bins.highs,
        **_count_part_rows(counts),
        "drawn": _draw_bars(counts[1:]),
        "every": "" if total_counts is None else _draw_bars(total_counts[1:]),
        "ends": _format_axis_ends(column_bins, end_texts, scale),
        "said": _format_bin_range(first_end, last_end),
        "asked": written_values is not None,
        "band": band,
        "links": links,
        "without": urlencode(other_parameters),
    }


def _list_other_parameters(search: TableSearch, names: Collection[str]) -> list[tuple[str, str]]:
    """List the parameters of a search that links of a part keep: without the row and the part's own conditions."""
    return [(key, value) for key, value in search.list_parameters() if key != "_row" and key not in names]


def _count_part_rows(counts: npt.NDArray[np.int64]) -> dict[str, object]:
    """Return the counts of a part, of which the first one is that of the rows without a value."""
    return {"counts": counts[1:].tolist(), "missing": int(counts[0]), "total": int(counts[1:].sum())}


def _label_bins(column: Column, table_view: TableView) -> str:
    """Return the label of a column, or of its pair if it is one of a pair ``x_min``, ``x_max`` with a label."""
    labels = table_view.labels
    if column.name in labels.range_pairs and not labels.is_raw:
        stem = labels.range_pairs[column.name][0]
        stem_label = labels.label_field(stem)
        if stem_label != stem:
            return stem_label
    return labels.label_column(column)


def _draw_bars(counts: npt.NDArray[np.int64]) -> str:
    max_count = max(int(counts.max()), 1)
    paths = []
    for at, count in enumerate(counts.tolist()):
        if count:
            height = max(BAR_HEIGHT * count / max_count, MIN_BAR_HEIGHT)
            paths.append(f"M{at} {BAR_HEIGHT}v-{height:.1f}h.9V{BAR_HEIGHT}z")
    return "".join(paths)


def _format_bin_range(low: str, high: str, *, is_inverted: bool = False) -> str:
    """Format the range of a bin with signs only; `is_inverted`: shown values fall as stored ones grow."""
    if low and high:
        if low == high:
            return low
        return f"{low}{RANGE_DASH}{high}"
    if low:
        return f"{COMPARISON_SIGNS[is_inverted]}{low}"
    return f"{COMPARISON_SIGNS[not is_inverted]}{high}"


def _format_bin_ends(column_bins: ColumnBins, scale: UnitScale) -> list[tuple[str, str]]:
    """Format the ends of each bin; an empty text for an open end."""
    if column_bins.is_time:
        return list(zip(column_bins.lows, column_bins.highs, strict=True))

    def format_end(end: str) -> str:
        if end:
            value = scale.convert(float(end))
        else:
            value = math.inf
        # the wavelength of frequency 0 is infinite: the bin is open
        if math.isfinite(value):
            return format_number(value)
        return ""

    return [(format_end(low), format_end(high)) for low, high in zip(column_bins.lows, column_bins.highs, strict=True)]


def _format_axis_ends(column_bins: ColumnBins, end_texts: Sequence[tuple[str, str]], scale: UnitScale) -> list[str]:
    """Format the begin and the end of the bins; for times, also ticks between them."""
    if column_bins.is_time:
        tick_numbers = [at * len(column_bins) // TIME_TICKS for at in range(TIME_TICKS)]
        tick_texts = [column_bins.lows[at] or column_bins.highs[at] for at in dict.fromkeys(tick_numbers)]
        days = [tick_text.partition("T")[0] for tick_text in tick_texts]
        if len(set(days)) < len(days):
            return tick_texts
        return days
    (low, after), (before, high) = end_texts[0], end_texts[-1]
    if column_bins.column.type.is_integer:
        first = low or after
        last = high or before
    else:
        scaled_edges = [scale.convert(float(edge)) for edge in column_bins.edges]
        first_edge = scaled_edges[0]
        if not math.isfinite(first_edge):
            first_edge = scaled_edges[1]
        first = format_number(first_edge)
        last = format_number(scaled_edges[-1])
    if low:
        first_sign = ""
    else:
        first_sign = COMPARISON_SIGNS[not scale.is_inverse]
    if high:
        last_sign = ""
    else:
        last_sign = COMPARISON_SIGNS[scale.is_inverse]
    return [first_sign + first, last_sign + last]


def _draw_overview_map(
    overview_map: CountMap,
    matching_counts: OverviewStripCounts,
    total_counts: OverviewStripCounts | None,
    table_view: TableView,
) -> dict[str, object]:
    column_count, row_count = overview_map.grid_shape
    search = table_view.search
    counts = matching_counts.counts[-1]
    mirrored = overview_map.kind == "sky"  # the sky as seen from below: east is on the left
    fields = [quote_parameter_name(field_name) for field_name in overview_map.fields]
    other_parameters = _list_other_parameters(search, fields)
    west, south, east, north = overview_map.box
    side = (east - west) / column_count, (north - south) / row_count
    link_rows = row_count // CELLS_PER_LINK
    link_columns = column_count // CELLS_PER_LINK
    link_cells = counts[1:].reshape(link_rows, CELLS_PER_LINK, link_columns, CELLS_PER_LINK)
    grid = link_cells.sum(axis=(1, 3))
    links = []
    for grid_row, grid_column in np.argwhere(grid).tolist():
        first_column = grid_column * CELLS_PER_LINK
        first_row = grid_row * CELLS_PER_LINK
        link_west = west + first_column * side[0]
        link_south = south + first_row * side[1]
        link_east = link_west + CELLS_PER_LINK * side[0]
        link_north = link_south + CELLS_PER_LINK * side[1]
        ranges = [_format_range(link_west, link_east), _format_range(link_south, link_north)]
        link = {
            "x": column_count - first_column - CELLS_PER_LINK if mirrored else first_column,
            "y": row_count - first_row - CELLS_PER_LINK,
            "rows": int(grid[grid_row, grid_column]),
            "said": ", ".join(range_text.replace("..", RANGE_DASH) for range_text in ranges),
            "address": urlencode([*other_parameters, *zip(fields, ranges, strict=True)]),
        }
        links.append(link)
    density = _compute_density(counts[1:].reshape(row_count, column_count), overview_map)
    total_path = ""
    if total_counts is not None:
        cell_totals = total_counts.counts[-1][1:].reshape(row_count, column_count)
        total_path = "".join(_draw_cells(cell_totals > 0, is_mirrored=mirrored))
    conditions = dict(search.conditions)
    return {
        "kind": overview_map.kind,
        "fields": fields,
        "labels": [table_view.labels.label_field(field_name) for field_name in overview_map.fields],
        "unit": format_unit(overview_map.unit),
        "box": overview_map.box,
        "wide": column_count,
        "high": row_count,
        "coarse": CELLS_PER_LINK,
        "mirrored": mirrored,
        **_count_part_rows(counts),
        "drawn": _draw_cells(density, is_mirrored=mirrored),
        "every": total_path,
        "links": links,
        "asked": any(name in conditions for name in overview_map.fields),
        "without": urlencode(other_parameters),
    }


def _draw_cells(counts: npt.NDArray[Any], *, is_mirrored: bool) -> list[str]:
    """Draw the cells of a map, whose rows begin in the south."""
    if is_mirrored:
        drawn_counts = np.rot90(counts, 2)
    else:
        drawn_counts = np.flipud(counts)
    return write_svg_paths_of_shaded_cells(drawn_counts, range(len(counts)), shade_count=SHADE_COUNT)


def _format_range(low: float, high: float) -> str:
    return f"{format_bin_edge(round(low, 6))}..{format_bin_edge(round(high, 6))}"


def _compute_density(counts: npt.NDArray[np.int64], overview_map: CountMap) -> npt.NDArray[Any]:
    """Return the rows for each area of a cell at the equator: cells near the poles are smaller."""
    if not overview_map.is_periodic:
        return counts
    _, south, _, north = overview_map.box
    side = (north - south) / len(counts)
    middles = south + side * (np.arange(len(counts)) + 0.5)
    cell_areas = np.maximum(np.cos(np.radians(middles)), 0.05)
    density: npt.NDArray[np.float64] = counts / cell_areas[:, None]
    return density


def _locate_row_in_strip(table_view: TableView) -> dict[str, Any]:
    """Return the position of one row, in percent of each column's bins, and of the map's width and height."""
    strip_layout = overview_strip.find_overview_strip_layout(table_view.table, table_view.runner)
    row_position: dict[str, Any] = {"at": {}, "map": None}
    if not table_view.search.row or not strip_layout.column_names:
        return row_position
    row = fetch_row(TableSearch(table=table_view.table), table_view.runner, table_view.search.row)
    if not row.rows.num_rows:
        return row_position
    columns_by_name = {column.name: column for column in row.columns}
    values = {}
    for name in strip_layout.column_names:
        if name in columns_by_name:
            column_values = row.rows.column(name).combine_chunks()
            values[name] = to_float_values(column_values, columns_by_name[name])
    for column_bins in strip_layout.bins:
        value = float(values.get(column_bins.column.name, np.array([np.nan]))[0])
        if not np.isnan(value):
            parameter = quote_parameter_name(column_bins.column.name)
            row_position["at"][parameter] = round(100 * column_bins.compute_bin_axis_position(value), 2)
    overview_map = strip_layout.overview_map
    if overview_map is not None and all(column.name in values for column in overview_map.bounds):
        lon, lat = (float(coordinates[0]) for coordinates in overview_map.compute_row_centres(values))
        west, south, east, north = overview_map.box
        x = (lon - west) / (east - west)
        y = (lat - south) / (north - south)
        if 0 <= x <= 1 and 0 <= y <= 1:
            shown_x = x
            if overview_map.kind == "sky":
                shown_x = 1 - x
            row_position["map"] = [round(100 * shown_x, 2), round(100 * (1 - y), 2)]
    return row_position


def _overview_strip_to_json(strip: OverviewStrip) -> dict[str, Any]:
    """Return the content of the strip without its drawing."""
    drawing_keys = {"name", "drawn", "every", "links", "without", "band", "ends", "said", "asked", "coarse", "size"}

    def remove_drawing(strip_part: Mapping[str, object] | None) -> dict[str, object] | None:
        if strip_part is None:
            return None
        return {key: value for key, value in strip_part.items() if key not in drawing_keys}

    return {
        "rows": strip.rows,
        "observations": strip.observations,
        "exact": strip.exact,
        "faults": strip.faults,
        "time": remove_drawing(strip.time),
        "map": remove_drawing(strip.map),
        "parts": [remove_drawing(strip_part) for strip_part in strip.parts],
    }


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.overview": "first_strip.html"},
)
TABLE_PAGES = TablePageExtension(
    compute_value=build_first_overview_strip,
    parameters=(STRIP_PARAMETER,),
    rank_plot_columns=rank_plot_columns,
)
