"""Regions as texts: DALI's polygon, shape and multishape, STC-S; and back, MOC in ASCII as well.

Such polygons have no holes, and hold less than half a sphere: regions that do are cut into pieces, along great circles, that do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.sky import _frame as frames
from hven.model.sky import _shape_text as shape_text
from hven.model.sky._flat_maps import drawn, surfaces
from hven.model.sky._moc import Moc
from hven.model.sky._planes import TWICE, Planes, cleaned
from hven.model.sky._ragged import ends, gathered
from hven.model.sky._regions import Regions
from hven.model.sky._seams import raised
from hven.model.sky._shapes import Circle, Point, Polygon, Range, Region, Shape
from hven.model.sky._sphere import SKY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]

CROSSED = "it crosses or touches itself: what it winds round stands for it"
NO_AREA = "it has no area"
KINDS = ("polygon", "shape", "multishape", "stcs")
_GRID = 2.0**-34  # degrees: what parts that touch may be apart, by rounding
_HALF = 0.49 * SKY  # square degrees: what is larger is cut
_MOC = re.compile(r"\s*s?\d+/")
_NUMBERS = re.compile(r"[\s,+\-.\d]")


@dataclass(frozen=True, slots=True)
class Read:
    """What texts or files of regions hold.

    Attributes
    ----------
    regions
        One for each row, valid; empty where there is a fault.
    faults
        What is wrong with each, empty if nothing is; shape (n,).
    names
        How each is called; None where it is not.
    frame
        The frame that all are said in, in one word (``ICRS``); None: none is said, or there are several. Regions of the sky are in ICRS.
    notes
        What was changed in each row that has some, by its index: rings that cross themselves, or run the wrong way.
    """

    regions: Regions
    faults: list[str]
    names: list[str | None]
    frame: str | None = None
    notes: dict[int, str] = field(default_factory=dict)


def simple(regions: Regions) -> tuple[Regions, Indexes]:
    """Cut regions into polygons without holes, of less than half a sphere each.

    Parameters
    ----------
    regions
        Valid ones, shape (n,).

    Returns
    -------
    polygons
        Rows of one ring each, that touch along cuts; shape (p,).
    row
        The row that each is of; shape (p,).
    """
    parts, row = regions.exploded()
    half = parts.area() > np.radians(np.radians(_HALF))
    holed = np.flatnonzero((np.diff(parts.parts) != 1) | half)
    if not len(holed):
        return parts, row
    large = half[holed] | Planes([parts.take(holed)]).wide
    rest = np.delete(np.arange(len(parts)), holed)
    pieces, owner = [parts.take(rest)], [row[rest]]
    if not large.all():
        small = parts.take(holed[~large])
        shapes, of = _slit(Planes([small]).shapes(0))
        pieces.append(Planes([small.take(of)]).regions(shapes))
        owner.append(row[holed[~large][of]])
    if large.any():  # of what is round the sphere, eighths on the flat map
        shapes, of = _slit(_eighths(drawn(parts.take(holed[large]))))
        pieces.append(raised(shapes))
        owner.append(row[holed[large][of]])
    found, piece = Regions.concat(pieces).exploded()
    every = np.concatenate(owner)[piece]
    order = np.argsort(every, kind="stable")
    order = order[~found.thin()[order]]
    return found.take(order), every[order]


def _eighths(shapes: Any) -> Any:
    """Cut polygons of the flat map at four meridians and the equator; the pieces of each stay together."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    cells = [shapely.box(lon, lat, lon + 90.0, lat + 90.0) for lon in (-180, -90, 0, 90) for lat in (-90, 0)]
    return shapely.geometrycollections(shapely.intersection(shapes[:, None], cells))


def _slit(shapes: Any) -> tuple[Any, Indexes]:
    """Cut polygons with holes along lines through the middles of these; pieces without, and the shape that each is of."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    part, row = shapely.get_parts(surfaces(shapes), return_index=True)
    holed = shapely.get_num_interior_rings(part) > 0
    pieces, owner = [part[~holed]], [row[~holed]]
    for polygon, number in zip(part[holed], row[holed], strict=True):
        box, holes = shapely.bounds(polygon), shapely.bounds(np.array(polygon.interiors))
        lines = np.unique(np.concatenate([[box[0] - 1.0, box[2] + 1.0], (holes[:, 0] + holes[:, 2]) / 2.0]))
        cut = shapely.intersection(polygon, shapely.box(lines[:-1], box[1] - 1.0, lines[1:], box[3] + 1.0))
        pieces.append(shapely.get_parts(surfaces(cut)))
        owner.append(np.full(len(pieces[-1]), number))
    return shapely.multipolygons(np.concatenate(pieces)[:, None]), np.concatenate(owner)


def texts(regions: Regions, kind: str, *, frame: str = "", outside: bool = False) -> pa.StringArray:
    """Write regions as texts.

    Parameters
    ----------
    regions
        Shape (n,).
    kind
        ``polygon`` (numbers), ``shape`` (``polygon`` and numbers), ``multishape`` (several of these), or ``stcs``.
    frame
        What STC-S names after its word: ``ICRS``, ``UNKNOWNFrame`` ...
    outside
        Corners run anticlockwise as seen from outside, as on a map of a body; else as seen from inside, as DALI has it for the sky.

    Returns
    -------
    texts
        Degrees; a null of an empty region, and where one polygon is not enough for what `kind` can say. Shape (n,).

    Raises
    ------
    ValueError
        No kind is called so.
    """
    if kind not in KINDS:
        message = f"no text of regions is called {kind!r}: {', '.join(KINDS)}"
        raise ValueError(message)
    pieces, row = simple(regions.mended())
    if not outside:
        pieces = pieces.backwards()
    pairs = pa.array(np.stack([pieces.lon, pieces.lat], 1).ravel())
    offsets = pa.array((2 * pieces.rings).astype(np.int32))
    numbers = pc.binary_join(pa.ListArray.from_arrays(offsets, pc.cast(pairs, pa.string())), " ")
    head = {"polygon": "", "stcs": f"Polygon {frame} ".replace("  ", " ")}.get(kind, "polygon ")
    said = pc.binary_join_element_wise(head, numbers, "")
    count = np.bincount(row, minlength=len(regions))
    union = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends(count).astype(np.int32)), said), " ")
    if kind == "stcs":
        around = pc.binary_join_element_wise(f"Union {frame} (".replace("  ", " "), union, ")", "")
        union = pc.if_else(pa.array(count > 1), pc.replace_substring(around, head, "Polygon "), union)
    most = np.inf if kind in {"multishape", "stcs"} else 1
    return pc.if_else(pa.array((count > 0) & (count <= most)), union, pa.scalar(None, pa.string()))


def of_shapes(shapes: Sequence[Shape | None]) -> Regions:
    """Make regions of shapes.

    Parameters
    ----------
    shapes
        Circles, polygons, ranges and unions of these; a point has no area. None is an empty region.

    Returns
    -------
    regions
        One for each, not mended: a polygon that crosses itself still does so.
    """
    rows, flat = [], list[Shape]()
    for row, shape in enumerate(shapes):
        for part in _leaves(shape):
            rows.append(row)
            flat.append(part)
    made: list[Regions] = []
    order: list[int] = []
    for kind in (Circle, Range, Polygon):
        at = [number for number, part in enumerate(flat) if isinstance(part, kind)]
        if at:
            made.append(_of_kind([flat[number] for number in at]))
            order += at
    parts = Regions.concat(made).take(np.argsort(np.array(order, np.int64)))
    owner = np.array([rows[number] for number in sorted(order)], np.int64)
    together = parts.grouped(ends(np.bincount(owner, minlength=len(shapes))))
    many = np.flatnonzero(np.bincount(owner, minlength=len(shapes)) > 1)
    return together.replaced(many, _united(together.take(many))) if len(many) else together


def _united(regions: Regions) -> Regions:
    """Unite the parts of rows; on the flat map what is round the sphere."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    wide = np.flatnonzero(Planes([regions]).wide)
    parts, of = regions.take(wide).exploded()
    maps = np.full(len(wide), shapely.MultiPolygon())
    if len(wide):
        part, row = shapely.get_parts(drawn(parts), return_index=True)
        parts_of = shapely.multipolygons(part, indices=of[row], out=maps)[:, None]
        with np.errstate(
            divide="ignore", over="ignore", invalid="ignore"
        ):  # GEOS divides by coordinates next to 0, and looks
            maps = shapely.unary_union(parts_of, axis=1, grid_size=_GRID)
    rest = np.delete(np.arange(len(regions)), wide)
    return regions.replaced(wide, raised(maps)).replaced(rest, regions.take(rest).mended())


def _leaves(shape: Shape | None) -> Iterable[Shape]:
    if isinstance(shape, Region):
        for part in shape.parts:
            yield from _leaves(part)
    elif shape is not None and not isinstance(shape, Point):
        yield shape


def _of_kind(shapes: Sequence[Any]) -> Regions:
    if isinstance(shapes[0], Circle):
        return Regions.circles(*np.array([(one.lon, one.lat, one.radius) for one in shapes]).T)
    if isinstance(shapes[0], Range):
        lon1, width, lat1, lat2 = np.array([(one.lon1, one.width, one.lat1, one.lat2) for one in shapes]).T
        return Regions.ranges(lon1, lon1 + width, lat1, lat2)
    sizes = ends([2 * len(one.lons) for one in shapes])
    numbers = np.concatenate([np.stack([one.lons, one.lats], 1).ravel() for one in shapes])
    found = Regions.polygons(sizes, numbers)
    dali = [number for number, one in enumerate(shapes) if one.side == "dali"]
    if dali:  # its inside is on the right, seen from outside
        vertex, _ = gathered(sizes // 2, np.array(dali, np.int64))
        lon, lat = numbers.reshape(-1, 2)[vertex].T
        rings = ends([len(shapes[number].lons) for number in dali])
        own = Regions(lon, lat, rings, np.arange(len(rings)), np.arange(len(rings))).opened().backwards()
        found = found.replaced(np.array(dali, np.int64), own)
    return found


def of_texts(values: Iterable[str | None], *, mend: bool = False) -> Read:
    """Read regions from texts, each in whichever of these forms it is: DALI's shapes, STC-S, MOC in ASCII.

    Parameters
    ----------
    values
        A text for each row, or one text; None or an empty one is an empty region. STC-S in a frame of the sky is turned to ICRS.
    mend
        Polygons that cross themselves are no fault: what they wind round stands for them.

    Returns
    -------
    read
        Regions and faults by row.
    """
    values = [values] if isinstance(values, str) else values
    shapes: list[Shape | None] = []
    mocs: dict[int, Moc] = {}
    faults: list[str] = []
    said: list[str | None] = []
    for row, value in enumerate(values):
        shape, frame, fault = None, None, ""
        text = (value or "").strip()
        try:
            if _MOC.match(text):
                mocs[row] = Moc.parse(text)
            elif text:
                shape, frame = _shape(text)
        except ValueError as error:
            fault = str(error)
        if shape is not None and not any(True for _ in _leaves(shape)):
            fault = "a point has no area"
        shapes.append(None if fault else shape)
        said.append(frame)
        faults.append(fault)
    regions = of_shapes(shapes)
    for name in {frame for frame in said if frame in frames.ROTATIONS and frame != "ICRS"}:
        held = np.array([frame == name for frame in said], np.bool_)
        vertex = held[regions.vertex_rows]
        lon, lat = regions.lon.copy(), regions.lat.copy()
        lon[vertex], lat[vertex] = frames.turned(lon[vertex], lat[vertex], str(name), "ICRS")
        regions = Regions(lon, lat, regions.rings, regions.parts, regions.rows)
    covered, wrong = of_mocs(mocs)
    regions = regions.replaced(np.array(list(mocs), np.int64), covered)
    faults = [fault or wrong.get(row, "") for row, fault in enumerate(faults)]
    names = {"ICRS" if frame in frames.ROTATIONS else frame for frame in said if frame}
    crossing = np.flatnonzero(regions.crossing()) if mend else np.empty(0, np.int64)
    regions = regions.mended() if len(crossing) else regions
    read = checked(regions, faults, [None] * len(faults), names.pop() if len(names) == 1 else None)
    return crossed(read, crossing)


def crossed(read: Read, rows: Iterable[int]) -> Read:
    """Note of rows that they crossed themselves before they were mended; those of which nothing is left have no area.

    Parameters
    ----------
    read
        What stands for them.
    rows
        Their indexes.

    Returns
    -------
    read
        With notes, and faults.
    """
    for row in map(int, rows):
        if not read.faults[row]:
            there = read.regions.rows[row] < read.regions.rows[row + 1]
            read.notes.update({row: CROSSED} if there else {})
            read.faults[row] = "" if there else NO_AREA
    return read


def checked(regions: Regions, faults: Sequence[str], names: Sequence[str | None], frame: str | None = None) -> Read:
    """Empty the regions that are not valid, and say why; vertices that come twice in a row go.

    Parameters
    ----------
    regions, faults, names, frame
        As `Read` has them; shape (n,).

    Returns
    -------
    read
        Valid regions.
    """
    reasons = regions.faults()
    twice = np.flatnonzero([reason == TWICE for reason in reasons])
    if len(twice):
        regions = regions.replaced(twice, cleaned(regions.take(twice)))
        for row, reason in zip(twice, regions.take(twice).faults(), strict=True):
            reasons[row] = reason
    found = [fault or reason for fault, reason in zip(faults, reasons, strict=True)]
    wrong = np.flatnonzero([bool(fault) for fault in found])
    return Read(regions.replaced(wrong, Regions.empty(len(wrong))), found, list(names), frame)


def of_mocs(mocs: dict[int, Moc]) -> tuple[Regions, dict[int, str]]:
    """Make regions of MOCs, but of those whose outline would have millions of corners.

    Parameters
    ----------
    mocs
        By row.

    Returns
    -------
    regions
        One for each, empty where there is a fault.
    faults
        By row.
    """
    faults, kept = {}, []
    for row, moc in mocs.items():
        try:
            kept.append(Regions.of_mocs([moc]))
        except ValueError as error:
            faults[row] = str(error)
            kept.append(Regions.empty(1))
    return Regions.concat(kept), faults


def _shape(text: str) -> tuple[Shape, str | None]:
    word = text.split(maxsplit=1)[0]
    if _NUMBERS.match(word[0]):
        return shape_text.parse("polygon", text.replace(",", " ")), None
    if word in {"circle", "polygon", "range", "point"} and _NUMBERS.match(text[len(word) :].strip()[:1] or "x"):
        return shape_text.parse("multishape", text), None
    placed = shape_text.stcs(text)
    return placed.shape, placed.frame
