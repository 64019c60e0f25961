"""Find from the columns of a table what its map shows: the sky, or a body in which frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.table import Column, Table

SOLAR_RADIUS_ARCSEC = 960.0  # arcsec: radius of the Sun as seen from the Earth
SOLAR_MAP_HALF_WIDTH_ARCSEC = 1_300.0  # arcsec, from the middle of the disc to the edge of the map

OBSERVER_LONGITUDE, OBSERVER_LATITUDE = "subobserver_longitude", "subobserver_latitude"
OBSERVER_COLUMNS = (
    f"{OBSERVER_LONGITUDE}_min",
    f"{OBSERVER_LATITUDE}_min",
    f"{OBSERVER_LONGITUDE}_max",
    f"{OBSERVER_LATITUDE}_max",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFrame:
    """The frame of a map of a body.

    Attributes
    ----------
    bounds
        Columns of west, south, east and north; for points, the first two are the same as the last two.
    fields
        Names of the coordinates in searches: ``c1`` and ``c2``, or the columns.
    box
        Extent of the map in `unit`: all longitudes and latitudes, or the disc of the Sun and its surroundings.
    radius
        Radius of the disc; 0 for a map of longitudes and latitudes.
    said
        Name of the coordinates.
    """

    bounds: tuple[str, str, str, str]
    fields: tuple[str, str]
    box: tuple[float, float, float, float]
    unit: str
    radius: float
    said: str


def find_footprint_column(table: Table) -> Column | None:
    """Return the column with the footprints of the rows.

    Parameters
    ----------
    table
        A table.
    """
    for column in table.columns:
        if column.name.lower() == "s_region" and not column.hidden:
            return column
    return None


def classify_table_map(table: Table) -> str:
    """Return what a map of this table shows: ``sky``, ``body``, or an empty text.

    Parameters
    ----------
    table
        A table.
    """
    if find_map_frame(table) is not None:
        return "body"
    if table.position is not None or find_footprint_column(table) is not None:
        return "sky"
    return ""


def find_map_frame(table: Table) -> MapFrame | None:
    """Find the frame of a body in the columns of a table; None if there is none.

    Columns of a frame are c1 and c2 of EPN-TAP, longitudes and latitudes on a body, or helioprojective angles. Images
    of whole discs have no c1 and c2: their frame has the point below the observer.

    Parameters
    ----------
    table
        A table.

    Returns
    -------
    map_frame
        The frame; None if there is none.
    """
    columns = {column.name.lower(): column for column in table.columns if not column.hidden and column.type.is_numeric}
    if {"c1min", "c1max", "c2min", "c2max"} <= set(columns):
        first = columns["c1min"]
        if first.unit is None and set(OBSERVER_COLUMNS) <= set(columns):
            west, south, east, north = (columns[name] for name in OBSERVER_COLUMNS)
            observer_bounds = (west.name, south.name, east.name, north.name)
            return _build_map_frame(observer_bounds, (OBSERVER_LONGITUDE, OBSERVER_LATITUDE), west)
        if "pos.eq" in (first.ucd or "") or first.unit not in {"deg", "arcsec"}:
            return None
        bounds = tuple(columns[name].name for name in ("c1min", "c2min", "c1max", "c2max"))
        return _build_map_frame(bounds, ("c1", "c2"), first)
    for is_longitude, is_latitude in _COORDINATE_TESTS:
        longitude = next(filter(is_longitude, columns.values()), None)
        latitude = next(filter(is_latitude, columns.values()), None)
        if longitude is not None and latitude is not None:
            names = (longitude.name, latitude.name)
            if table.position in {None, names}:  # positions on the sky have priority over those on a body
                return _build_map_frame((*names, *names), names, longitude)
    return None


def _build_map_frame(bounds: tuple[str, ...], fields: tuple[str, str], first_column: Column) -> MapFrame:
    west, south, east, north = bounds
    if first_column.unit == "arcsec":
        half_width = SOLAR_MAP_HALF_WIDTH_ARCSEC
        box = (-half_width, -half_width, half_width, half_width)
        radius = SOLAR_RADIUS_ARCSEC
        coordinate_name = "helioprojective"
    else:
        box = (0.0, -90.0, 360.0, 90.0)
        radius = 0.0
        column_text = f"{first_column.description or ''} {first_column.label or ''}".lower()
        coordinate_name = "Carrington" if "carrington" in column_text else "planetary"
    return MapFrame(
        bounds=(west, south, east, north),
        fields=fields,
        box=box,
        unit=first_column.unit or "deg",
        radius=radius,
        said=coordinate_name,
    )


def _build_body_coordinate_test(axis: str) -> Callable[[Column], bool]:
    ucds = (f"pos.bodyrc.{axis}", f"pos.earth.{axis}")
    return lambda column: column.unit == "deg" and (column.ucd or "").lower().startswith(ucds)


def _build_helioprojective_test(*column_names: str) -> Callable[[Column], bool]:
    return lambda column: column.unit == "arcsec" and column.name.lower() in column_names


_COORDINATE_TESTS = (
    (_build_body_coordinate_test("lon"), _build_body_coordinate_test("lat")),
    (
        _build_helioprojective_test("hpc_x", "hpln", "xcen", "x_arcsec"),
        _build_helioprojective_test("hpc_y", "hplt", "ycen", "y_arcsec"),
    ),
)
