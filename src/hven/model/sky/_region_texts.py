"""Write regions as texts (DALI's polygon, shape and multishape, STC-S), and parse these and MOCs in ASCII.

The polygons in these texts have no holes, and are smaller than half a sphere. Larger regions and regions with holes are
cut into such pieces, along great circles.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.sky import _frame as frames
from hven.model.sky import _shape_text as shape_text
from hven.model.sky._antimeridian import build_regions_from_map_polygons
from hven.model.sky._flat_maps import extract_multipolygons, to_map_polygons
from hven.model.sky._moc import Moc
from hven.model.sky._projection_planes import REPEATED_VERTEX, ProjectionPlanes, remove_invalid_rings
from hven.model.sky._ragged_arrays import compute_offsets, gather_element_indexes
from hven.model.sky._regions import Regions
from hven.model.sky._shapes import Circle, Point, Polygon, Range, Shape, ShapeUnion
from hven.model.sky._sphere import SKY_AREA_SQUARE_DEGREES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]

CROSSING_NOTE = "it crosses or touches itself; Hven uses the area that it encloses"
NO_AREA_FAULT = "it has no area"
TEXT_KINDS = ("polygon", "shape", "multishape", "stcs")
_GRID_SIZE_DEGREES = 2.0**-34  # distance of parts that touch, except for rounding
_MAX_PIECE_SQUARE_DEGREES = 0.49 * SKY_AREA_SQUARE_DEGREES  # larger parts are cut
_MOC_PATTERN = re.compile(r"\s*s?\d+/")
_NUMBER_PATTERN = re.compile(r"[\s,+\-.\d]")


@dataclass(frozen=True, slots=True)
class ParsedRegions:
    """Hold the regions of texts or files.

    Attributes
    ----------
    regions
        A region for each row, valid; empty where there is a fault.
    faults
        The fault of each row, empty if there is none; shape (n,).
    names
        The name of each row, or None.
    frame
        The common frame of all rows, in one word (``ICRS``); None if there is none, or if there are several. Regions of
        the sky are in ICRS.
    notes
        What was changed in a row, by its index: rings that cross themselves, or run in the wrong direction.
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
        Valid regions, shape (n,).

    Returns
    -------
    polygons
        Rows of a single ring, which touch along cuts; shape (p,).
    row
        The row of each polygon; shape (p,).
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
        small_parts = holed[~large]
        small = parts.take(small_parts)
        shapes, piece_parts = _cut_through_holes(ProjectionPlanes([small]).to_plane_polygons(0))
        piece_planes = ProjectionPlanes([small.take(piece_parts)])
        pieces.append(piece_planes.to_regions(shapes))
        owner.append(row[small_parts[piece_parts]])
    if large.any():  # parts around the sphere are cut into eighths on the flat map
        large_parts = holed[large]
        octants = _cut_into_octants(to_map_polygons(parts.take(large_parts)))
        shapes, piece_parts = _cut_through_holes(octants)
        pieces.append(build_regions_from_map_polygons(shapes))
        owner.append(row[large_parts[piece_parts]])
    simple_polygons, piece = Regions.concat(pieces).explode()
    owner_rows = np.concatenate(owner)[piece]
    order = np.argsort(owner_rows, kind="stable")
    is_thin = simple_polygons.is_thin()
    order = order[~is_thin[order]]
    return simple_polygons.take(order), owner_rows[order]


def _cut_into_octants(shapes: Any) -> Any:
    """Cut polygons of the flat map at four meridians and the equator, and keep the pieces of each together."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    corners = itertools.product((-180, -90, 0, 90), (-90, 0))
    cells = [shapely.box(lon, lat, lon + 90.0, lat + 90.0) for lon, lat in corners]
    pieces = shapely.intersection(shapes[:, None], cells)
    return shapely.geometrycollections(pieces)


def _cut_through_holes(shapes: Any) -> tuple[Any, Indexes]:
    """Cut polygons with holes along lines through the middles of the holes.

    Return pieces without holes, and the number of the shape of each piece.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    part, row = shapely.get_parts(extract_multipolygons(shapes), return_index=True)
    holed = shapely.get_num_interior_rings(part) > 0
    pieces = [part[~holed]]
    owner = [row[~holed]]
    for polygon, number in zip(part[holed], row[holed], strict=True):
        box = shapely.bounds(polygon)
        holes = shapely.bounds(np.array(polygon.interiors))
        hole_middles = (holes[:, 0] + holes[:, 2]) / 2.0
        lines = np.unique(np.concatenate([[box[0] - 1.0, box[2] + 1.0], hole_middles]))
        strips = shapely.box(lines[:-1], box[1] - 1.0, lines[1:], box[3] + 1.0)
        cut = shapely.intersection(polygon, strips)
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
        Regions, shape (n,).
    text_kind
        ``polygon`` (numbers), ``shape`` (``polygon`` and numbers), ``multishape`` (several shapes), or ``stcs``.
    frame
        The frame that STC-S names after its word: ``ICRS``, ``UNKNOWNFrame`` ...
    from_outside
        Whether corners run anticlockwise as seen from outside, as on a map of a body; otherwise they do so as seen from
        inside, DALI's order for the sky.

    Returns
    -------
    texts
        Degrees, shape (n,); null for an empty region, and for a region of several polygons if `text_kind` allows only
        one.

    Raises
    ------
    ValueError
        The kind of text is unknown.
    """
    if text_kind not in TEXT_KINDS:
        message = f"{text_kind!r} is not a kind of region text; use one of {', '.join(TEXT_KINDS)}"
        raise ValueError(message)
    pieces, row = split_into_simple_polygons(regions.make_valid())
    if not from_outside:
        pieces = pieces.reverse_rings()
    coordinates = pa.array(np.stack([pieces.lon, pieces.lat], 1).ravel())
    offsets = pa.array((2 * pieces.rings).astype(np.int32))
    number_lists = pa.ListArray.from_arrays(offsets, pc.cast(coordinates, pa.string()))
    numbers = pc.binary_join(number_lists, " ")
    heads = {"polygon": "", "stcs": f"Polygon {frame} ".replace("  ", " ")}
    head = heads.get(text_kind, "polygon ")
    polygon_texts = pc.binary_join_element_wise(head, numbers, "")
    count = np.bincount(row, minlength=len(regions))
    row_offsets = pa.array(compute_offsets(count).astype(np.int32))
    union = pc.binary_join(pa.ListArray.from_arrays(row_offsets, polygon_texts), " ")
    if text_kind == "stcs":
        union_head = f"Union {frame} (".replace("  ", " ")
        around = pc.binary_join_element_wise(union_head, union, ")", "")
        plain_union = pc.replace_substring(around, head, "Polygon ")
        union = pc.if_else(pa.array(count > 1), plain_union, union)
    can_have_several = text_kind in {"multishape", "stcs"}
    has_text = (count > 0) & (can_have_several | (count <= 1))
    return pc.if_else(pa.array(has_text), union, pa.scalar(None, pa.string()))


def build_regions_from_shapes(shapes: Sequence[Shape | None]) -> Regions:
    """Make regions from shapes.

    Parameters
    ----------
    shapes
        Circles, polygons, ranges and unions of these; a point has no area. None is an empty region.

    Returns
    -------
    regions
        A region for each shape. Polygons that cross themselves are kept as they are.
    """
    rows = []
    flat: list[Shape] = []
    for row, shape in enumerate(shapes):
        for part in _iterate_shapes_with_area(shape):
            rows.append(row)
            flat.append(part)
    regions_by_kind: list[Regions] = []
    order: list[int] = []
    for kind in (Circle, Range, Polygon):
        numbers = [number for number, part in enumerate(flat) if isinstance(part, kind)]
        if numbers:
            regions_by_kind.append(_build_regions_of_one_kind([flat[number] for number in numbers]))
            order += numbers
    part_order = np.argsort(np.array(order, np.int64))
    parts = Regions.concat(regions_by_kind).take(part_order)
    owner = np.array([rows[number] for number in sorted(order)], np.int64)
    offsets = compute_offsets(np.bincount(owner, minlength=len(shapes)))
    regions = parts.merge_consecutive_rows(offsets)
    part_counts = np.bincount(owner, minlength=len(shapes))
    union_rows = np.flatnonzero(part_counts > 1)
    if len(union_rows):
        merged_regions = _merge_region_parts(regions.take(union_rows))
        return regions.replace_rows(union_rows, merged_regions)
    return regions


def _merge_region_parts(regions: Regions) -> Regions:
    """Unite the parts of rows; rows around the sphere are united on the flat map."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    wide_rows = np.flatnonzero(ProjectionPlanes([regions]).is_stereographic)
    parts, part_rows = regions.take(wide_rows).explode()
    maps = np.full(len(wide_rows), shapely.MultiPolygon())
    if len(wide_rows):
        part, row = shapely.get_parts(to_map_polygons(parts), return_index=True)
        parts_of = shapely.multipolygons(part, indices=part_rows[row], out=maps)[:, None]
        # GEOS divides by coordinates next to 0, and checks the result itself
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            maps = shapely.unary_union(parts_of, axis=1, grid_size=_GRID_SIZE_DEGREES)
    narrow_rows = np.delete(np.arange(len(regions)), wide_rows)
    narrow_regions = regions.take(narrow_rows).make_valid()
    regions = regions.replace_rows(wide_rows, build_regions_from_map_polygons(maps))
    return regions.replace_rows(narrow_rows, narrow_regions)


def _iterate_shapes_with_area(shape: Shape | None) -> Iterable[Shape]:
    if isinstance(shape, ShapeUnion):
        for part in shape.parts:
            yield from _iterate_shapes_with_area(part)
    elif shape is not None and not isinstance(shape, Point):
        yield shape


def _build_regions_of_one_kind(shapes: Sequence[Any]) -> Regions:
    if isinstance(shapes[0], Circle):
        circles = np.array([(shape.lon, shape.lat, shape.radius) for shape in shapes])
        return Regions.from_circles(*circles.T)
    if isinstance(shapes[0], Range):
        ranges = np.array([(shape.lon1, shape.width, shape.lat1, shape.lat2) for shape in shapes])
        lon1, width, lat1, lat2 = ranges.T
        return Regions.from_ranges(lon1, lon1 + width, lat1, lat2)
    sizes = compute_offsets([2 * len(shape.lons) for shape in shapes])
    coordinates = [np.stack([shape.lons, shape.lats], 1).ravel() for shape in shapes]
    numbers = np.concatenate(coordinates)
    regions = Regions.from_polygons(sizes, numbers)
    dali = [number for number, shape in enumerate(shapes) if shape.side == "dali"]
    if dali:  # the inside is on the right, seen from outside
        vertex, _ = gather_element_indexes(sizes // 2, np.array(dali, np.int64))
        lon, lat = numbers.reshape(-1, 2)[vertex].T
        rings = compute_offsets([len(shapes[number].lons) for number in dali])
        ring_numbers = np.arange(len(rings))
        dali_regions = Regions(lon, lat, rings, ring_numbers, ring_numbers)
        reversed_regions = dali_regions.remove_closing_vertices().reverse_rings()
        regions = regions.replace_rows(np.array(dali, np.int64), reversed_regions)
    return regions


def parse_region_texts(region_texts: Iterable[str | None], *, make_valid: bool = False) -> ParsedRegions:
    """Parse regions from texts, each in any of these forms: DALI's shapes, STC-S, MOC in ASCII.

    Parameters
    ----------
    region_texts
        A text for each row, or a single text; None or an empty text is an empty region. STC-S in a frame of the sky is
        rotated to ICRS.
    make_valid
        Whether to replace polygons that cross themselves by what they wind round, instead of reporting a fault.

    Returns
    -------
    read
        The regions, and the faults by row.
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
                shape, frame = _parse_framed_shape(text)
        except ValueError as error:
            fault = str(error)
        if shape is not None and next(iter(_iterate_shapes_with_area(shape)), None) is None:
            fault = "a point has no area"
        shapes.append(None if fault else shape)
        frame_names.append(frame)
        faults.append(fault)
    regions = build_regions_from_shapes(shapes)
    regions = _rotate_regions_to_icrs(regions, frame_names)
    covered, moc_faults = build_regions_from_mocs(mocs)
    regions = regions.replace_rows(np.array(list(mocs), np.int64), covered)
    faults = [fault or moc_faults.get(row, "") for row, fault in enumerate(faults)]
    names = {"ICRS" if frame in frames.ROTATION_FRAMES else frame for frame in frame_names if frame}
    crossing = np.empty(0, np.int64)
    if make_valid:
        crossing = np.flatnonzero(regions.is_self_crossing())
    if len(crossing):
        regions = regions.make_valid()
    common_frame = None
    if len(names) == 1:
        common_frame = names.pop()
    parsed = replace_invalid_regions_by_empty(regions, faults, [None] * len(faults), common_frame)
    return note_self_crossings(parsed, crossing)


def _rotate_regions_to_icrs(regions: Regions, frame_names: Sequence[str | None]) -> Regions:
    """Rotate the regions in other frames of the sky to ICRS."""
    other_frames = {name for name in frame_names if name in frames.ROTATION_FRAMES} - {"ICRS"}
    for frame in other_frames:
        in_frame = np.array([name == frame for name in frame_names], np.bool_)
        vertex = in_frame[regions.vertex_rows]
        lon = regions.lon.copy()
        lat = regions.lat.copy()
        lon[vertex], lat[vertex] = frames.rotate_positions(lon[vertex], lat[vertex], str(frame), "ICRS")
        regions = Regions(lon, lat, regions.rings, regions.parts, regions.rows)
    return regions


def note_self_crossings(parsed: ParsedRegions, rows: Iterable[int]) -> ParsedRegions:
    """Note that rows crossed themselves before they were made valid; a row that is empty now gets a fault.

    Parameters
    ----------
    parsed
        The valid regions.
    rows
        Indexes of the rows.

    Returns
    -------
    read
        The regions with notes and faults.
    """
    for row in map(int, rows):
        if parsed.faults[row]:
            continue
        has_area = parsed.regions.rows[row] < parsed.regions.rows[row + 1]
        if has_area:
            parsed.notes[row] = CROSSING_NOTE
        else:
            parsed.faults[row] = NO_AREA_FAULT
    return parsed


def replace_invalid_regions_by_empty(
    regions: Regions, faults: Sequence[str], names: Sequence[str | None], frame: str | None = None
) -> ParsedRegions:
    """Replace invalid regions by empty ones, and report why; remove vertices that come twice in a row.

    Parameters
    ----------
    regions, faults, names, frame
        As in `ParsedRegions`; shape (n,).

    Returns
    -------
    read
        Valid regions, with faults.
    """
    reasons = regions.find_faults()
    repeated_rows = np.flatnonzero([reason == REPEATED_VERTEX for reason in reasons])
    if len(repeated_rows):
        cleaned_regions = remove_invalid_rings(regions.take(repeated_rows))
        regions = regions.replace_rows(repeated_rows, cleaned_regions)
        for row, reason in zip(repeated_rows, cleaned_regions.find_faults(), strict=True):
            reasons[row] = reason
    combined_faults = [fault or reason for fault, reason in zip(faults, reasons, strict=True)]
    wrong = np.flatnonzero([bool(fault) for fault in combined_faults])
    empty = Regions.create_empty(len(wrong))
    return ParsedRegions(regions.replace_rows(wrong, empty), combined_faults, list(names), frame)


def build_regions_from_mocs(mocs: dict[int, Moc]) -> tuple[Regions, dict[int, str]]:
    """Make regions of MOCs, except those whose outline would have millions of corners.

    Parameters
    ----------
    mocs
        MOCs by row.

    Returns
    -------
    regions
        A region for each MOC, empty where there is a fault.
    faults
        Faults by row.
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


def _parse_framed_shape(text: str) -> tuple[Shape, str | None]:
    word = text.split(maxsplit=1)[0]
    if _NUMBER_PATTERN.match(word[0]):
        shape = shape_text.parse_dali_shape("polygon", text.replace(",", " "))
        return shape, None
    after_word = text[len(word) :].strip()[:1]
    if word in {"circle", "polygon", "range", "point"} and _NUMBER_PATTERN.match(after_word or "x"):
        return shape_text.parse_dali_shape("multishape", text), None
    placed = shape_text.parse_stcs(text)
    return placed.shape, placed.frame
