"""Offer the region of a search on a map as a new row, in the forms of tables whose rows have such regions.

The page ``/collections/NAME/TABLE/forms`` lists these forms, with the values of the region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio.to_thread
import numpy as np
from starlette.routing import Route

from hven.model.sky import region_files
from hven.plugins.sky_maps.map_polygons import POLYGON_PARAMETER, compute_continuous_longitudes, parse_polygon_corners
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import PageContent, TemplateContext, build_page_endpoint
from hven.portal.api.table_links import find_row_form
from hven.portal.api.table_places import (
    classify_table_map,
    find_body_column,
    find_footprint_column,
    find_map_frame,
    find_single_body,
)
from hven.portal.api.table_rows import read_table_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Table
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_places import MapFrame
    from hven.portal.api.table_rows import TableSearch, TableView
    from hven.services.face import ServiceContext

    Numbers = npt.NDArray[np.float64]

MAX_ROW_FORMS = 6
MAX_SIDE_DEGREES = 5.0  # longer sides are divided, because the sides of regions are great circles
TURN_DEGREES = 360.0
BOX_COLUMNS = ("c1min", "c2min", "c1max", "c2max")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRegion:
    """The region of a search on a map.

    Attributes
    ----------
    text
        The region in DALI notation; empty on a disc, whose coordinates are none on a sphere.
    bounds
        West, south, east and north in the unit of the map. West is greater than east if the region crosses longitude 0.
    middle
        Coordinates of its middle.
    """

    text: str
    bounds: tuple[float, float, float, float]
    middle: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFormsPage(TemplateContext):
    """The page with the forms for the region of a search.

    Attributes
    ----------
    table_title, table_url
        Title of the table, and its page with this search.
    forms
        ``title`` and ``url`` of each form.
    """

    template = "sky_maps/region_forms.html"
    table_title: str
    table_url: str
    forms: Sequence[Mapping[str, str]]


def build_region_form_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page with the forms for the region of a search.

    Parameters
    ----------
    context
        The service context of the site.
    """

    async def show_page(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_region_forms_page, page_context)

    return [Route("/collections/{name}/{table}/forms", build_page_endpoint(show_page, context))]


def _build_region_forms_page(page_context: PageContext) -> PageContent:
    table_view = read_table_view(page_context)
    forms = list_region_forms(table_view, page_context)
    table = table_view.table
    table_url = f"{build_table_address(page_context.base, table)}?{table_view.search.write_query_string()}"
    page = RegionFormsPage(table_title=table.title or table.qualified_name, table_url=table_url, forms=forms)
    return PageContent(page=page, json_content={"forms": forms})


def list_region_forms(table_view: TableView, page_context: PageContext) -> list[dict[str, str]]:
    """List the forms in which the reader can enter the region of a search as a row.

    Parameters
    ----------
    table_view
        The table whose map shows the region, and the search.
    page_context
        The request of the reader.

    Returns
    -------
    forms
        ``title`` of each table, and ``url`` of its form with the values of the region. Empty: the search has no region,
        or the reader may enter it nowhere.
    """
    region = find_drawn_region(table_view.search)
    if region is None:
        return []
    map_frame = find_map_frame(table_view.table)
    body = ""
    if map_frame is not None:
        body = find_single_body(table_view.table, table_view.search.list_parameters(), table_view.runner)
    forms: list[dict[str, str]] = []
    for table in page_context.catalogue.iterate_tables():
        if table.release is not None or len(forms) >= MAX_ROW_FORMS or not _has_same_map(table, map_frame):
            continue
        values = write_region_values(region, table)
        address = ""
        if values:
            address = find_row_form(table, page_context)
        if not address:
            continue
        own_body = ""
        if body:
            own_body = find_single_body(table, [], table_view.runner)
        if own_body.casefold() not in {"", body.casefold()}:
            continue
        body_column = find_body_column(table.columns)
        if body and body_column is not None:
            values[body_column.name] = body
        title = table.title or table.qualified_name
        forms.append({"title": title, "url": f"{address}?{urlencode(values)}"})
    return forms


def find_drawn_region(search: TableSearch) -> DrawnRegion | None:
    """Find the region of a search on the map of its table.

    Parameters
    ----------
    search
        The search.

    Returns
    -------
    region
        The region; None if there is none, if there are several, or if it is a point.
    """
    texts = [text for name, values in search.conditions if name == POLYGON_PARAMETER for text in values]
    if search.inside and not texts:
        return _describe_sphere_region(search.inside)
    map_frame = find_map_frame(search.table)
    if len(texts) != 1 or search.inside or map_frame is None:
        return None
    x, y = parse_polygon_corners(texts[0])
    text = ""
    if not map_frame.radius:
        text = _write_map_polygon(x, y)
        x, y = compute_continuous_longitudes(x, y)
    west = float(x.min())
    east = float(x.max())
    south = float(y.min())
    north = float(y.max())
    middle_x = (west + east) / 2
    middle_y = (south + north) / 2
    if text and east - west >= TURN_DEGREES:
        west = 0.0
        east = TURN_DEGREES
    if text and east > TURN_DEGREES:
        east -= TURN_DEGREES
    if text:
        middle_x %= TURN_DEGREES
    return DrawnRegion(text=text, bounds=(west, south, east, north), middle=(middle_x, middle_y))


def _describe_sphere_region(text: str) -> DrawnRegion | None:
    """Describe a circle or a polygon on the sphere; None for a point, and for corners on one line."""
    if text.strip().upper().startswith("POINT"):
        return None
    regions = region_files.parse_region_texts([text]).regions
    boxes = np.concatenate(regions.compute_bounding_boxes())
    centroids = np.concatenate(regions.compute_centroids())
    if not np.isfinite([*boxes, *centroids]).all():
        return None
    west, east, south, north = boxes.tolist()
    lon, lat = centroids.tolist()
    plain_text = " ".join(text.split())
    return DrawnRegion(text=plain_text, bounds=(west, south, east, north), middle=(lon, lat))


def _write_map_polygon(x: Numbers, y: Numbers) -> str:
    """Write a polygon on a map of longitudes in DALI notation; its sides stay straight on the map."""
    half_turn = TURN_DEGREES / 2
    raw_east = np.roll(x, -1) - x
    east = (raw_east + half_turn) % TURN_DEGREES - half_turn
    north = np.roll(y, -1) - y
    lengths = np.hypot(east, north)
    counts = np.ceil(lengths / MAX_SIDE_DEGREES).astype(np.int64)
    counts = np.maximum(counts, 1)
    sides = np.repeat(np.arange(len(x)), counts)
    begins = np.cumsum(counts) - counts
    steps = np.arange(len(sides)) - begins[sides]
    shares = steps / counts[sides]
    lons = x[sides] + shares * east[sides]
    lats = y[sides] + shares * north[sides]
    numbers = np.column_stack([lons % TURN_DEGREES, lats]).ravel()
    words = map(_format_coordinate, numbers.tolist())
    return f"POLYGON {' '.join(words)}"


def write_region_values(region: DrawnRegion, table: Table) -> dict[str, str]:
    """Write a region as values of the columns of a row: its outline, its box (EPN-TAP), and its position.

    Parameters
    ----------
    region
        The region.
    table
        A table whose map shows the same as that of the region.

    Returns
    -------
    values
        Texts by the names of columns; empty if rows of the table have neither outlines nor boxes.
    """
    values: dict[str, str] = {}
    footprint = find_footprint_column(table)
    if footprint is not None and region.text:
        values[footprint.name] = region.text
    names = {column.name.lower(): column.name for column in table.columns if not column.hidden}
    if set(BOX_COLUMNS) <= set(names):
        for name, edge in zip(BOX_COLUMNS, region.bounds, strict=True):
            values[names[name]] = _format_coordinate(edge)
    if values and table.position is not None:
        for name, coordinate in zip(table.position, region.middle, strict=True):
            values[name] = _format_coordinate(coordinate)
    return values


def _format_coordinate(value: float) -> str:
    text = f"{value:.6f}"
    return text.rstrip("0").rstrip(".")


def _has_same_map(table: Table, map_frame: MapFrame | None) -> bool:
    """Return whether the map of a table has the coordinates of another map; None: it is the sky."""
    own_frame = find_map_frame(table)
    if map_frame is None or own_frame is None:
        return own_frame is map_frame and classify_table_map(table) == "sky"
    return (own_frame.unit, own_frame.said) == (map_frame.unit, map_frame.said)
