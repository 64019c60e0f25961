"""Serve where the rows of a search are (``/collections/NAME/TABLE/places``), and forms for its region (``/forms``)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from hven.model.errors import ParamError, format_message
from hven.model.sky import bodies
from hven.plugins.sky_maps import row_marks, row_places
from hven.plugins.sky_maps.region_rows import build_region_form_routes
from hven.portal.api.page_rows import NEAR_PARAMETER, parse_search
from hven.portal.api.pages import PortalPages
from hven.portal.api.plots import find_plot_column
from hven.portal.api.table_places import (
    classify_table_map,
    find_map_frame,
    find_single_body,
    has_installed_base_maps,
    list_base_maps,
    list_body_features,
)
from hven.portal.api.table_rows import build_page_line_search, build_table_data_endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the places of rows, and the forms in which the region of a search can be entered."""
    endpoint = build_table_data_endpoint(_answer_row_places, context, ignored_parameters=("_view_at", "_c"))
    return [
        Route("/collections/{name}/{table}/places", endpoint),
        *build_region_form_routes(context),
    ]


def _answer_row_places(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return where the rows are.

    ``_view_at`` is the shown part of the map: ``lon,lat,radius`` on the sky, ``west,south,east,north`` on a body.
    ``_c`` is a column to colour by.
    """
    map_kind = classify_table_map(table_view.table)
    if not map_kind:
        raise ParamError("this table has no positions", name="", remedy="plot the rows of the table instead")
    colour_column = find_plot_column(table_view.table, page_context, "_c")
    text = page_context.request.query_params.get("_view_at", "")
    body_facts: dict[str, Any] = {}
    if map_kind == "body":
        view_box = _parse_map_box(text) if text else None
        places = row_places.find_row_places_on_body(table_view.search, table_view.runner, view_box, colour_column)
        body_facts = _describe_body_map(table_view, page_context)
    else:
        view = None
        if text:
            view = parse_search([(NEAR_PARAMETER, text)], table_view.table).near
        places = row_places.find_row_places_on_sky(table_view.search, table_view.runner, view, colour_column)
    colour_columns = row_marks.list_colour_columns(table_view.table, table_view.runner)
    labels = table_view.labels
    colours = [{"name": column.name, "label": labels.label_column(column)} for column in colour_columns]
    colouring = None
    if places.colouring is not None:
        colouring = asdict(places.colouring)
    return {
        "kind": map_kind,
        "total": places.total_rows,
        "files": build_page_line_search(table_view).observation_key is not None,
        "lon": places.longitudes,
        "lat": places.latitudes,
        "counts": places.counts,
        "radius": places.cell_radius_degrees,
        "keys": places.keys,
        "shapes": places.shapes,
        "outlines": places.outlines,
        "names": places.names,
        "colouring": colouring,
        "colours": colours,
        "frame": None,
        **body_facts,
    }


def _describe_body_map(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    """Return the frame, the body, the base maps and the named features of the map of a body."""
    map_frame = find_map_frame(table_view.table)
    body_name = ""
    if map_frame is not None and not map_frame.radius:
        body_name = find_single_body(table_view.table, table_view.search.list_parameters(), table_view.runner)
    known_bodies = (
        body for body in bodies.iterate_solar_system_bodies() if body.name.casefold() == body_name.casefold()
    )
    body = next(known_bodies, None)
    tables = tuple(page_context.catalogue.iterate_tables())
    return {
        "frame": None if map_frame is None else asdict(map_frame),
        "body": body_name,
        "km": None if body is None or body.radii is None else body.radii[0],
        "grounds": list_base_maps(body_name, page_context.context.site.settings.directory),
        "uninstalled": not has_installed_base_maps(),
        "features": list_body_features(body_name, table_view.runner, tables),
    }


def _parse_map_box(text: str) -> tuple[float, float, float, float]:
    """Read the shown part of a body."""
    try:
        west, south, east, north = (float(number) for number in text.split(","))
    except ValueError:
        message = format_message(
            "{name} must be four numbers (west, south, east, north), not {value!r}", "_view_at", text[:60]
        )
        remedy = format_message("write {name}={value}", "_view_at", "0,-90,360,90")
        raise ParamError(message, name="_view_at", remedy=remedy) from None
    return west, south, east, north


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.map": "table_map.html"},
)
