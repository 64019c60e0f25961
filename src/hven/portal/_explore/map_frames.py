"""What a map of a table is of: the sky, or a body, in which frame; by its columns alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.portal._explore.search import find_footprint_column

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.table import Column, Table

SOLAR_RADIUS_ARCSEC, SOLAR_MAP_HALF_WIDTH_ARCSEC = (
    960.0,
    1_300.0,
)  # arcsec: radius of the Sun as seen from the Earth, and what a map shows beside its middle

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
        Columns of west, south, east and north; of a place without extent the first two are the last ones, too.
    fields
        What a search calls them: ``c1`` and ``c2``, or the columns.
    box
        What the map shows, in `unit`: all longitudes and latitudes, or the disc of the Sun and what is beside it.
    radius
        Of the disc; 0: the map is of longitudes and latitudes.
    said
        What longitudes and latitudes are called.
    """

    bounds: tuple[str, str, str, str]
    fields: tuple[str, str]
    box: tuple[float, float, float, float]
    unit: str
    radius: float
    said: str


def classify_map(table: Table) -> str:
    """Return what a map of this table is of: ``sky``, ``body``, or nothing."""
    if find_map_frame(table) is not None:
        return "body"
    if table.position is not None or find_footprint_column(table) is not None:
        return "sky"
    return ""


def find_map_frame(table: Table) -> MapFrame | None:
    """Find the frame of a body: EPN-TAP's c1 and c2, of images of whole discs, which have none, the point below the observer, or longitudes and latitudes on a body, or helioprojective angles; None: there is none."""
    columns = {column.name.lower(): column for column in table.columns if not column.hidden and column.type.is_numeric}
    if {"c1min", "c1max", "c2min", "c2max"} <= set(columns):
        first = columns["c1min"]
        if first.unit is None and set(OBSERVER_COLUMNS) <= set(columns):
            west, south, east, north = (columns[name] for name in OBSERVER_COLUMNS)
            return _build_map_frame(
                (west.name, south.name, east.name, north.name), (OBSERVER_LONGITUDE, OBSERVER_LATITUDE), west
            )
        if "pos.eq" in (first.ucd or "") or first.unit not in {"deg", "arcsec"}:
            return None
        bounds = tuple(columns[name].name for name in ("c1min", "c2min", "c1max", "c2max"))
        return _build_map_frame(bounds, ("c1", "c2"), first)
    for x, y in _COORDINATE_TESTS:
        pair = [next((candidate for candidate in columns.values() if test(candidate)), None) for test in (x, y)]
        if pair[0] is not None and pair[1] is not None:
            names = (pair[0].name, pair[1].name)
            if table.position in {None, names}:  # a place on the sky beside one on a body goes first
                return _build_map_frame((*names, *names), names, pair[0])
    return None


def _build_map_frame(bounds: tuple[str, ...], fields: tuple[str, str], first_column: Column) -> MapFrame:
    disc = first_column.unit == "arcsec"
    carrington = "carrington" in f"{first_column.description or ''} {first_column.label or ''}".lower()
    box = (
        (
            -SOLAR_MAP_HALF_WIDTH_ARCSEC,
            -SOLAR_MAP_HALF_WIDTH_ARCSEC,
            SOLAR_MAP_HALF_WIDTH_ARCSEC,
            SOLAR_MAP_HALF_WIDTH_ARCSEC,
        )
        if disc
        else (0.0, -90.0, 360.0, 90.0)
    )
    return MapFrame(
        bounds=(bounds[0], bounds[1], bounds[2], bounds[3]),
        fields=fields,
        box=box,
        unit=first_column.unit or "deg",
        radius=SOLAR_RADIUS_ARCSEC if disc else 0.0,
        said="helioprojective" if disc else "Carrington" if carrington else "planetary",
    )


def _build_body_test(axis: str) -> Callable[[Column], bool]:
    return lambda column: (
        column.unit == "deg" and (column.ucd or "").lower().startswith((f"pos.bodyrc.{axis}", f"pos.earth.{axis}"))
    )


def _build_helioprojective_test(*column_names: str) -> Callable[[Column], bool]:
    return lambda column: column.unit == "arcsec" and column.name.lower() in column_names


_COORDINATE_TESTS = (
    (_build_body_test("lon"), _build_body_test("lat")),
    (
        _build_helioprojective_test("hpc_x", "hpln", "xcen", "x_arcsec"),
        _build_helioprojective_test("hpc_y", "hplt", "ycen", "y_arcsec"),
    ),
)
