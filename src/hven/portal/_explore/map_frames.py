"""What a map of a table is of: the sky, or a body, in which frame; by its columns alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.portal._explore.search import footprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.table import Column, Table

SUN, BESIDE = 960.0, 1_300.0  # arcsec: radius of the Sun as seen from the Earth, and what a map shows beside its middle

OBSERVED_LON, OBSERVED_LAT = "subobserver_longitude", "subobserver_latitude"
OBSERVER = (f"{OBSERVED_LON}_min", f"{OBSERVED_LAT}_min", f"{OBSERVED_LON}_max", f"{OBSERVED_LAT}_max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
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


def kind(table: Table) -> str:
    """Return what a map of this table is of: ``sky``, ``body``, or nothing."""
    if frame(table) is not None:
        return "body"
    return "sky" if table.position is not None or footprint(table) is not None else ""


def frame(table: Table) -> Frame | None:
    """Find the frame of a body: EPN-TAP's c1 and c2, of images of whole discs, which have none, the point below the observer, or longitudes and latitudes on a body, or helioprojective angles; None: there is none."""
    columns = {column.name.lower(): column for column in table.columns if not column.hidden and column.type.is_numeric}
    if {"c1min", "c1max", "c2min", "c2max"} <= set(columns):
        first = columns["c1min"]
        if first.unit is None and set(OBSERVER) <= set(columns):
            west, south, east, north = (columns[name] for name in OBSERVER)
            return _framed((west.name, south.name, east.name, north.name), (OBSERVED_LON, OBSERVED_LAT), west)
        if "pos.eq" in (first.ucd or "") or first.unit not in {"deg", "arcsec"}:
            return None
        bounds = tuple(columns[name].name for name in ("c1min", "c2min", "c1max", "c2max"))
        return _framed(bounds, ("c1", "c2"), first)
    for x, y in _PAIRS:
        pair = [next((one for one in columns.values() if test(one)), None) for test in (x, y)]
        if pair[0] is not None and pair[1] is not None:
            names = (pair[0].name, pair[1].name)
            if table.position in {None, names}:  # a place on the sky beside one on a body goes first
                return _framed((*names, *names), names, pair[0])
    return None


def _framed(bounds: tuple[str, ...], fields: tuple[str, str], first: Column) -> Frame:
    disc = first.unit == "arcsec"
    carrington = "carrington" in f"{first.description or ''} {first.label or ''}".lower()
    return Frame(
        bounds=(bounds[0], bounds[1], bounds[2], bounds[3]),
        fields=fields,
        box=(-BESIDE, -BESIDE, BESIDE, BESIDE) if disc else (0.0, -90.0, 360.0, 90.0),
        unit=first.unit or "deg",
        radius=SUN if disc else 0.0,
        said="helioprojective" if disc else "Carrington" if carrington else "planetary",
    )


def _on_body(axis: str) -> Callable[[Column], bool]:
    return lambda column: (
        column.unit == "deg" and (column.ucd or "").lower().startswith((f"pos.bodyrc.{axis}", f"pos.earth.{axis}"))
    )


def _helioprojective(*names: str) -> Callable[[Column], bool]:
    return lambda column: column.unit == "arcsec" and column.name.lower() in names


_PAIRS = (
    (_on_body("lon"), _on_body("lat")),
    (_helioprojective("hpc_x", "hpln", "xcen", "x_arcsec"), _helioprojective("hpc_y", "hplt", "ycen", "y_arcsec")),
)
