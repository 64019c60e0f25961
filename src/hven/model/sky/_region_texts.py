"""Regions as texts: DALI's polygon, shape and multishape, STC-S; and back, MOC in ASCII as well.

Such polygons have no holes, and hold less than half a sphere: regions that do are cut into pieces, along great circles,
that do not.
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
from hven.model.sky._antimeridian import from_map_polygons
from hven.model.sky._flat_maps import extract_multipolygons, to_map_polygons
from hven.model.sky._moc import Moc
from hven.model.sky._projection_planes import REPEATED_VERTEX, ProjectionPlanes, clean_regions
from hven.model.sky._ragged_arrays import compute_offsets, gather_rows
from hven.model.sky._regions import Regions
from hven.model.sky._shapes import Circle, Point, Polygon, Range, Region, Shape
from hven.model.sky._sphere import SKY_AREA_SQUARE_DEGREES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]

CROSSING_NOTE = "it crosses or touches itself: what it winds round stands for it"
NO_AREA_FAULT = "it has no area"
TEXT_KINDS = ("polygon", "shape", "multishape", "stcs")
_GRID_SIZE_DEGREES = 2.0**-34  # degrees: what parts that touch may be apart, by rounding
_MAX_PIECE_SQUARE_DEGREES = 0.49 * SKY_AREA_SQUARE_DEGREES  # square degrees: what is larger is cut
_MOC_PATTERN = re.compile(r"\s*s?\d+/")
_NUMBER_PATTERN = re.compile(r"[\s,+\-.\d]")


@dataclass(frozen=True, slots=True)
class ParsedRegions:
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
        The frame that all are said in, in one word (``ICRS``); None: none is said, or there are several. Regions of the
        sky are in ICRS.
    notes
        What was changed in each row that has some, by its index: rings that cross themselves, or run the wrong way.
    """

    regions: Regions
    faults: list[str]
    names: list[str | None]
    frame: str | None = None
    notes: dict[int, str] = field(default_factory=dict)


def split_into_simple_polygons(regions: Regions) -> tuple[Regions, Indexes]:
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
    parts, row = regions.explode()
    half = parts.compute_areas() > np.radians(np.radians(_MAX_PIECE_SQUARE_DEGREES))
    holed = np.flatnonzero((np.diff(parts.parts) != 1) | half)
    if not len(holed):
        return parts, row
    large = half[holed] | ProjectionPlanes([parts.take(holed)]).is_stereographic
    uncut_parts = np.delete(np.arange(len(parts)), holed)
    pieces = [parts.take(uncut_parts)]
    owner = [row[uncut_parts]]
    if not large.all():
        small = parts.take(holed[~large])
        shapes, piece_parts = _cut_through_holes(ProjectionPlanes([small]).to_shapes(0))
        pieces.append(ProjectionPlanes([small.take(piece_parts)]).to_regions(shapes))
        owner.append(row[holed[~large][piece_parts]])
    if large.any():  # of what is round the sphere, eighths on the flat map
        shapes, piece_parts = _cut_through_holes(_cut_into_octants(to_map_polygons(parts.take(holed[large]))))
        pieces.append(from_map_polygons(shapes))
        owner.append(row[holed[large][piece_parts]])
    simple_polygons, piece = Regions.concat(pieces).explode()
    owner_rows = np.concatenate(owner)[piece]
    order = np.argsort(owner_rows, kind="stable")
    order = order[~simple_polygons.is_thin()[order]]
    return simple_polygons.take(order), owner_rows[order]


def _cut_into_octants(shapes: Any) -> Any:
    """Cut polygons of the flat map at four meridians and the equator; the pieces of each stay together."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    cells = [shapely.box(lon, lat, lon + 90.0, lat + 90.0) for lon in (-180, -90, 0, 90) for lat in (-90, 0)]
    return shapely.geometrycollections(shapely.intersection(shapes[:, None], cells))


def _cut_through_holes(shapes: Any) -> tuple[Any, Indexes]:
    """Cut polygons with holes along lines through the middles of these.

    Pieces without, and the shape that each is of.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    part, row = shapely.get_parts(extract_multipolygons(shapes), return_index=True)
    holed = shapely.get_num_interior_rings(part) > 0
    pieces = [part[~holed]]
    owner = [row[~holed]]
    for polygon, number in zip(part[holed], row[holed], strict=True):
        box = shapely.bounds(polygon)
        holes = shapely.bounds(np.array(polygon.interiors))
        lines = np.unique(np.concatenate([[box[0] - 1.0, box[2] + 1.0], (holes[:, 0] + holes[:, 2]) / 2.0]))
        cut = shapely.intersection(polygon, shapely.box(lines[:-1], box[1] - 1.0, lines[1:], box[3] + 1.0))
        pieces.append(shapely.get_parts(extract_multipolygons(cut)))
        owner.append(np.full(len(pieces[-1]), number))
    return shapely.multipolygons(np.concatenate(pieces)[:, None]), np.concatenate(owner)


def write_region_texts(
    regions: Regions, text_kind: str, *, frame: str = "", from_outside: bool = False
) -> pa.StringArray:
    """Write regions as texts.

    Parameters
    ----------
    regions
        Shape (n,).
    text_kind
        ``polygon`` (numbers), ``shape`` (``polygon`` and numbers), ``multishape`` (several of these), or ``stcs``.
    frame
        What STC-S names after its word: ``ICRS``, ``UNKNOWNFrame`` ...
    from_outside
        Corners run anticlockwise as seen from outside, as on a map of a body; else as seen from inside, as DALI has it
        for the sky.

    Returns
    -------
    texts
        Degrees; a null of an empty region, and where one polygon is not enough for what `text_kind` can say. Shape
        (n,).

    Raises
    ------
    ValueError
        No kind is called so.
    """
    if text_kind not in TEXT_KINDS:
        message = f"no text of regions is called {text_kind!r}: {', '.join(TEXT_KINDS)}"
        raise ValueError(message)
    pieces, row = split_into_simple_polygons(regions.make_valid())
    if not from_outside:
        pieces = pieces.reverse_rings()
    pairs = pa.array(np.stack([pieces.lon, pieces.lat], 1).ravel())
    offsets = pa.array((2 * pieces.rings).astype(np.int32))
    numbers = pc.binary_join(pa.ListArray.from_arrays(offsets, pc.cast(pairs, pa.string())), " ")
    head = {"polygon": "", "stcs": f"Polygon {frame} ".replace("  ", " ")}.get(text_kind, "polygon ")
    polygon_texts = pc.binary_join_element_wise(head, numbers, "")
    count = np.bincount(row, minlength=len(regions))
    union = pc.binary_join(
        pa.ListArray.from_arrays(pa.array(compute_offsets(count).astype(np.int32)), polygon_texts), " "
    )
    if text_kind == "stcs":
        around = pc.binary_join_element_wise(f"Union {frame} (".replace("  ", " "), union, ")", "")
        union = pc.if_else(pa.array(count > 1), pc.replace_substring(around, head, "Polygon "), union)
    if text_kind in {"multishape", "stcs"}:
        max_polygons = np.inf
    else:
        max_polygons = 1
    return pc.if_else(pa.array((count > 0) & (count <= max_polygons)), union, pa.scalar(None, pa.string()))


def build_regions_from_shapes(shapes: Sequence[Shape | None]) -> Regions:
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
    rows = []
    flat = list[Shape]()
    for row, shape in enumerate(shapes):
        for part in _iterate_leaves(shape):
            rows.append(row)
            flat.append(part)
    regions_by_kind: list[Regions] = []
    order: list[int] = []
    for kind in (Circle, Range, Polygon):
        at = [number for number, part in enumerate(flat) if isinstance(part, kind)]
        if at:
            regions_by_kind.append(_build_from_kind([flat[number] for number in at]))
            order += at
    parts = Regions.concat(regions_by_kind).take(np.argsort(np.array(order, np.int64)))
    owner = np.array([rows[number] for number in sorted(order)], np.int64)
    offsets = compute_offsets(np.bincount(owner, minlength=len(shapes)))
    regions = parts.group_rows(offsets)
    union_rows = np.flatnonzero(np.bincount(owner, minlength=len(shapes)) > 1)
    if len(union_rows):
        return regions.replace_rows(union_rows, _merge_parts(regions.take(union_rows)))
    return regions


def _merge_parts(regions: Regions) -> Regions:
    """Unite the parts of rows; on the flat map what is round the sphere."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    wide_rows = np.flatnonzero(ProjectionPlanes([regions]).is_stereographic)
    parts, part_rows = regions.take(wide_rows).explode()
    maps = np.full(len(wide_rows), shapely.MultiPolygon())
    if len(wide_rows):
        part, row = shapely.get_parts(to_map_polygons(parts), return_index=True)
        parts_of = shapely.multipolygons(part, indices=part_rows[row], out=maps)[:, None]
        with np.errstate(
            divide="ignore", over="ignore", invalid="ignore"
        ):  # GEOS divides by coordinates next to 0, and looks
            maps = shapely.unary_union(parts_of, axis=1, grid_size=_GRID_SIZE_DEGREES)
    narrow_rows = np.delete(np.arange(len(regions)), wide_rows)
    return regions.replace_rows(wide_rows, from_map_polygons(maps)).replace_rows(
        narrow_rows, regions.take(narrow_rows).make_valid()
    )


def _iterate_leaves(shape: Shape | None) -> Iterable[Shape]:
    if isinstance(shape, Region):
        for part in shape.parts:
            yield from _iterate_leaves(part)
    elif shape is not None and not isinstance(shape, Point):
        yield shape


def _build_from_kind(shapes: Sequence[Any]) -> Regions:
    if isinstance(shapes[0], Circle):
        return Regions.from_circles(*np.array([(shape.lon, shape.lat, shape.radius) for shape in shapes]).T)
    if isinstance(shapes[0], Range):
        lon1, width, lat1, lat2 = np.array([(shape.lon1, shape.width, shape.lat1, shape.lat2) for shape in shapes]).T
        return Regions.from_ranges(lon1, lon1 + width, lat1, lat2)
    sizes = compute_offsets([2 * len(shape.lons) for shape in shapes])
    numbers = np.concatenate([np.stack([shape.lons, shape.lats], 1).ravel() for shape in shapes])
    regions = Regions.from_polygons(sizes, numbers)
    dali = [number for number, shape in enumerate(shapes) if shape.side == "dali"]
    if dali:  # its inside is on the right, seen from outside
        vertex, _ = gather_rows(sizes // 2, np.array(dali, np.int64))
        lon, lat = numbers.reshape(-1, 2)[vertex].T
        rings = compute_offsets([len(shapes[number].lons) for number in dali])
        reversed_regions = (
            Regions(lon, lat, rings, np.arange(len(rings)), np.arange(len(rings))).open_rings().reverse_rings()
        )
        regions = regions.replace_rows(np.array(dali, np.int64), reversed_regions)
    return regions


def parse_region_texts(region_texts: Iterable[str | None], *, make_valid: bool = False) -> ParsedRegions:
    """Read regions from texts, each in whichever of these forms it is: DALI's shapes, STC-S, MOC in ASCII.

    Parameters
    ----------
    region_texts
        A text for each row, or one text; None or an empty one is an empty region. STC-S in a frame of the sky is turned
        to ICRS.
    make_valid
        Polygons that cross themselves are no fault: what they wind round stands for them.

    Returns
    -------
    read
        Regions and faults by row.
    """
    if isinstance(region_texts, str):
        region_texts = [region_texts]
    shapes: list[Shape | None] = []
    mocs: dict[int, Moc] = {}
    faults: list[str] = []
    frame_names: list[str | None] = []
    for row, value in enumerate(region_texts):
        shape = None
        frame = None
        fault = ""
        text = (value or "").strip()
        try:
            if _MOC_PATTERN.match(text):
                mocs[row] = Moc.parse(text)
            elif text:
                shape, frame = _parse_shape(text)
        except ValueError as error:
            fault = str(error)
        if shape is not None and not any(True for _ in _iterate_leaves(shape)):
            fault = "a point has no area"
        shapes.append(None if fault else shape)
        frame_names.append(frame)
        faults.append(fault)
    regions = build_regions_from_shapes(shapes)
    for name in {frame for frame in frame_names if frame in frames.ROTATION_FRAMES and frame != "ICRS"}:
        in_frame = np.array([frame == name for frame in frame_names], np.bool_)
        vertex = in_frame[regions.vertex_rows]
        lon = regions.lon.copy()
        lat = regions.lat.copy()
        lon[vertex], lat[vertex] = frames.rotate_positions(lon[vertex], lat[vertex], str(name), "ICRS")
        regions = Regions(lon, lat, regions.rings, regions.parts, regions.rows)
    covered, moc_faults = build_regions_from_mocs(mocs)
    regions = regions.replace_rows(np.array(list(mocs), np.int64), covered)
    faults = [fault or moc_faults.get(row, "") for row, fault in enumerate(faults)]
    names = {"ICRS" if frame in frames.ROTATION_FRAMES else frame for frame in frame_names if frame}
    if make_valid:
        crossing = np.flatnonzero(regions.is_self_crossing())
    else:
        crossing = np.empty(0, np.int64)
    if len(crossing):
        regions = regions.make_valid()
    parsed = validate_regions(regions, faults, [None] * len(faults), names.pop() if len(names) == 1 else None)
    return note_crossings(parsed, crossing)


def note_crossings(parsed: ParsedRegions, rows: Iterable[int]) -> ParsedRegions:
    """Note of rows that they crossed themselves before they were mended; those of which nothing is left have no area.

    Parameters
    ----------
    parsed
        What stands for them.
    rows
        Their indexes.

    Returns
    -------
    read
        With notes, and faults.
    """
    for row in map(int, rows):
        if not parsed.faults[row]:
            has_area = parsed.regions.rows[row] < parsed.regions.rows[row + 1]
            parsed.notes.update({row: CROSSING_NOTE} if has_area else {})
            if has_area:
                parsed.faults[row] = ""
            else:
                parsed.faults[row] = NO_AREA_FAULT
    return parsed


def validate_regions(
    regions: Regions, faults: Sequence[str], names: Sequence[str | None], frame: str | None = None
) -> ParsedRegions:
    """Empty the regions that are not valid, and say why; vertices that come twice in a row go.

    Parameters
    ----------
    regions, faults, names, frame
        As `ParsedRegions` has them; shape (n,).

    Returns
    -------
    read
        Valid regions.
    """
    reasons = regions.find_faults()
    repeated_rows = np.flatnonzero([reason == REPEATED_VERTEX for reason in reasons])
    if len(repeated_rows):
        regions = regions.replace_rows(repeated_rows, clean_regions(regions.take(repeated_rows)))
        for row, reason in zip(repeated_rows, regions.take(repeated_rows).find_faults(), strict=True):
            reasons[row] = reason
    combined_faults = [fault or reason for fault, reason in zip(faults, reasons, strict=True)]
    wrong = np.flatnonzero([bool(fault) for fault in combined_faults])
    empty = Regions.create_empty(len(wrong))
    return ParsedRegions(regions.replace_rows(wrong, empty), combined_faults, list(names), frame)


def build_regions_from_mocs(mocs: dict[int, Moc]) -> tuple[Regions, dict[int, str]]:
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
    faults = {}
    regions = []
    for row, moc in mocs.items():
        try:
            regions.append(Regions.from_mocs([moc]))
        except ValueError as error:
            faults[row] = str(error)
            regions.append(Regions.create_empty(1))
    return Regions.concat(regions), faults


def _parse_shape(text: str) -> tuple[Shape, str | None]:
    word = text.split(maxsplit=1)[0]
    if _NUMBER_PATTERN.match(word[0]):
        shape = shape_text.parse_shape("polygon", text.replace(",", " "))
        return shape, None
    if word in {"circle", "polygon", "range", "point"} and _NUMBER_PATTERN.match(text[len(word) :].strip()[:1] or "x"):
        return shape_text.parse_shape("multishape", text), None
    placed = shape_text.parse_stcs(text)
    return placed.shape, placed.frame
