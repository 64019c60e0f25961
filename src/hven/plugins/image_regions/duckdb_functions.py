"""Regions of contours in DuckDB.

A contour is made once, with its fault and its quality, and gives what a table needs of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines.api.engine_functions import EngineFunction, EngineFunctions, to_numpy, to_single_array
from hven.model.errors import format_message
from hven.model.sky import Moc, Regions, contour_faults
from hven.model.sky.api.ragged_arrays import compute_offsets, gather_element_indexes
from hven.model.types import CONTOUR
from hven.plugins.image_regions import contours, sun
from hven.plugins.image_regions.card_footprints import compute_card_footprints
from hven.plugins.image_regions.function_sql import DRAWN_PARTS
from hven.plugins.image_regions.mask_labels import load_mask_labels

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTOUR_TYPE_SQL = str(CONTOUR.duckdb)
_REGION_TYPE_SQL = _CONTOUR_TYPE_SQL.partition("region ")[2].removesuffix(")")
_QUALITY_NAMES = list(contours.REGION_QUALITIES)
_FAULT_NAMES = ["", *contour_faults.FAULT_MESSAGES]
SQUARE_DEGREES_PER_STERADIAN = (180.0 / np.pi) ** 2


def _group_images(column: Any) -> list[tuple[Any, contours.DiscImage | contours.CylindricalMap]]:
    """Group images into discs, maps and maps of equal areas; each group has its row numbers and its images."""
    lists = to_single_array(column)
    sizes = to_numpy(lists.value_lengths())
    image_groups: list[tuple[Any, contours.DiscImage | contours.CylindricalMap]] = []
    for size in (8, 7):
        rows = np.flatnonzero(sizes == size)
        image_numbers = to_numpy(lists.take(pa.array(rows)).flatten()).reshape(-1, size)
        is_equal_area = (size == 7) & (image_numbers[:, -1] != 0.0)
        for is_in_group in (~is_equal_area, is_equal_area):
            if is_in_group.any():
                images = contours.build_image_geometry(image_numbers[is_in_group])
                image_groups.append((rows[is_in_group], images))
    return image_groups


def _build_contours(images: Any, build_contours: Callable[[Any, Any, Any], contours.ContourRegions]) -> pa.Array:
    """Build the contours of all rows, one group of images after the other."""
    pieces = []
    for rows, image in _group_images(images):
        recorder = contours.ContourFaultRecorder(len(rows))
        pieces.append((rows, build_contours(rows, image, recorder)))
    if sum(len(rows) for rows, _ in pieces) != len(images):
        message = "images must come from DISC or CHART"
        raise ValueError(message)
    return _concat_contour_pieces(pieces)


def _concat_contour_pieces(pieces: list[tuple[Any, contours.ContourRegions]]) -> pa.Array:
    """Join contours, each piece with its row numbers, to one column."""
    if len(pieces) == 1:
        return pieces[0][1].to_arrow(CONTOUR.arrow)
    row_numbers = np.concatenate([rows for rows, _ in pieces])
    order = np.argsort(row_numbers, kind="stable")
    joined_regions = contours.ContourRegions.concat([regions for _, regions in pieces])
    return joined_regions.take(order).to_arrow(CONTOUR.arrow)


def _parse_step_table(directions: Any) -> Any:
    """Return the step table that the first row names; all rows have the same."""
    return contours.parse_chain_step_table(to_single_array(directions)[0].as_py()) or contours.HELIO_STEPS


def _build_chain_contours(*columns: Any) -> pa.Array:
    """Build contours from the columns chain code, x and y of its start, image, origin and directions."""
    code, start_x, start_y, images, origin, directions = columns
    codes = to_single_array(code)
    origins = to_numpy(origin)
    row_x = to_numpy(start_x) - origins
    row_y = to_numpy(start_y) - origins
    step_table = _parse_step_table(directions)

    def build_chain_contours(rows: Any, image: Any, recorder: contours.ContourFaultRecorder) -> contours.ContourRegions:
        row_codes = codes.take(pa.array(rows))
        return contours.build_regions_from_chain_codes(
            row_codes, row_x[rows], row_y[rows], image, step_table=step_table, recorder=recorder
        )

    return _build_contours(images, build_chain_contours)


def _write_chain_tfcat(*columns: Any) -> pa.Array:
    """Write TFCat geometries from the columns chain code, time, frequency, their steps, directions and as lines."""
    code, time, spectral, time_step, spectral_step, directions, as_lines = columns
    features = contours.write_chain_codes_as_tfcat(
        to_single_array(code),
        to_numpy(time),
        to_numpy(spectral),
        (to_numpy(time_step), to_numpy(spectral_step)),
        _parse_step_table(directions),
        as_lines=bool(to_numpy(as_lines)[0]),
    )
    return pc.fill_null(features, "")


def _build_box_contours(*columns: Any) -> pa.Array:
    """Build contours from the columns x and y of one corner, x and y of the opposite one, image and origin."""
    *corner_columns, images, origin = columns
    origins = to_numpy(origin)
    x0, y0, x1, y1 = (to_numpy(column) - origins for column in corner_columns)

    def build_boxes(rows: Any, image: Any, recorder: contours.ContourFaultRecorder) -> contours.ContourRegions:
        return contours.build_regions_from_pixel_boxes(x0[rows], y0[rows], x1[rows], y1[rows], image, recorder=recorder)

    return _build_contours(images, build_boxes)


def _build_list_contours(points: Any, images: Any, origin: Any, unit: Any) -> pa.Array:
    """Build contours from lists x1 y1 x2 y2 ..; a value that is left over means that a position is missing."""
    lists = to_single_array(points)
    origins = to_numpy(origin)
    is_arcsec = to_single_array(unit)[0].as_py() == "arcsec"

    def build_contours_of_rows(
        rows: Any, image: Any, recorder: contours.ContourFaultRecorder
    ) -> contours.ContourRegions:
        row_lists = lists.take(pa.array(rows))
        sizes = to_numpy(row_lists.value_lengths()).astype(np.int64)
        values = to_numpy(row_lists.flatten())
        recorder.mark_faulty_rows("no_start", sizes % 2 > 0)
        begins = np.repeat(np.cumsum(sizes) - sizes, sizes)
        is_paired = np.arange(len(values)) - begins < np.repeat(sizes - sizes % 2, sizes)
        xy = values[is_paired].reshape(-1, 2)
        x = xy[:, 0]
        y = xy[:, 1]
        offsets = np.append(0, np.cumsum(sizes // 2))
        if not is_arcsec:
            row_origins = np.repeat(origins[rows], sizes // 2)
            return contours.build_regions_from_pixel_lists(
                offsets, x - row_origins, y - row_origins, image, recorder=recorder
            )
        if isinstance(image, contours.DiscImage):
            return contours.build_regions_from_arcsecond_outlines(offsets, x, y, image, recorder=recorder)
        recorder.mark_faulty_rows("no_radius", np.ones(len(rows), np.bool_))
        return contours.build_regions_from_pixel_lists(offsets, x, y, image, recorder=recorder)

    return _build_contours(images, build_contours_of_rows)


def _build_mask_contours(path: Any, value: Any, images: Any, directory: Any) -> pa.Array:
    """Build contours from labels of images in files: those of one file at once, for all rows that name it."""
    paths = to_single_array(path)
    values = to_numpy(value)
    lists = to_single_array(images)
    start = ""
    if len(paths):
        start = to_single_array(directory)[0].as_py()
    rows_by_image: dict[tuple[str, tuple[float, ...]], list[int]] = {}
    for row, (name, image) in enumerate(zip(paths.to_pylist(), lists.to_pylist(), strict=True)):
        rows_by_image.setdefault((name, tuple(image)), []).append(row)
    pieces = []
    for (name, image), rows in rows_by_image.items():
        labels = load_mask_labels(start, name, image)
        pieces.append((np.array(rows), labels.select_regions(values[rows])))
    return _concat_contour_pieces(pieces)


def _parse_geojson_contours(text: Any, longitudes: Any) -> pa.Array:
    texts = to_single_array(text).to_pylist()
    is_west_positive = bool(texts) and to_single_array(longitudes)[0].as_py() == "west"
    contour_regions = contours.build_regions_from_geojson(texts, west_positive=is_west_positive)
    return contour_regions.to_arrow(CONTOUR.arrow)


def _build_contour_polygons(region: Any, part: Any) -> pa.Array:
    """Write the corners of regions that have one ring.

    For other regions, write those of the outline of the largest part, or of the hull.
    """
    regions = Regions.from_geoarrow(region)
    if len(region):
        part = DRAWN_PARTS[int(to_numpy(part)[0])]
    else:
        part = ""
    has_several_rings = regions.ring_counts > 1
    if part == "hull" and has_several_rings.any():
        several_rows = np.flatnonzero(has_several_rings)
        convex_hulls = regions.take(several_rows).compute_convex_hulls()
        regions = regions.replace_rows(several_rows, convex_hulls)
    ring = regions.find_largest_rings()
    is_drawn = (ring >= 0) & (part != "" or ~has_several_rings)
    return _build_ring_lists(regions, ring[is_drawn], is_drawn)


def _build_ring_lists(regions: Regions, ring: Any, has_ring: Any) -> pa.ListArray:
    """Write rings as lists of numbers, in the rows that have one."""
    corner_numbers, ring_offsets = gather_element_indexes(regions.rings, ring)
    sizes = np.zeros(len(has_ring), np.int64)
    sizes[has_ring] = 2 * np.diff(ring_offsets)
    offsets = compute_offsets(sizes).astype(np.int32)
    corners = np.stack([regions.lon, regions.lat], axis=1)[corner_numbers].ravel()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(corners))


def _write_contour_shapes(region: Any) -> pa.Array:
    """Write the outlines of all parts as DALI polygons; DALI has no notation for holes."""
    regions = Regions.from_geoarrow(region)
    has_rings = np.diff(regions.parts) > 0
    outlines = _build_ring_lists(regions, regions.parts[:-1][has_rings], has_rings)
    number_texts = pc.binary_join(outlines.cast(pa.list_(pa.string())), " ")
    polygon_texts = pc.binary_join_element_wise("polygon", number_texts, " ")
    part_texts = pc.if_else(pa.array(has_rings), polygon_texts, "range 0 360 -90 90")
    part_lists = pa.ListArray.from_arrays(pa.array(regions.rows.astype(np.int32)), part_texts)
    return pc.binary_join(part_lists, " ")


def _write_contour_mocs(region: Any, is_rest_only: Any) -> pa.Array:
    """Cover regions by cells; with `is_rest_only`, only the regions that no polygon can describe."""
    regions = Regions.from_geoarrow(region)
    ring_counts = regions.ring_counts
    max_skipped_rings = 0
    if len(ring_counts) and bool(to_numpy(is_rest_only)[0]):
        max_skipped_rings = 1
    covered_rows = np.flatnonzero(ring_counts > max_skipped_rings)
    text_numbers = np.zeros(len(regions), np.int64)  # 0 is the empty text
    text_numbers[covered_rows] = np.arange(1, len(covered_rows) + 1)
    mocs = regions.take(covered_rows).to_mocs()[0]
    texts = pa.concat_arrays([pa.array([""], pa.string()), Moc.to_texts(mocs)])
    return texts.take(pa.array(text_numbers))


def _compute_contour_bounds(region: Any) -> pa.Array:
    bounding_boxes = Regions.from_geoarrow(region).compute_bounding_boxes()
    bounds = np.stack(bounding_boxes, axis=1)
    offsets = 4 * np.arange(len(bounds) + 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(bounds.ravel()))


def _format_contour_faults(fault: Any, fault_number: Any) -> pa.Array:
    messages = ["", *contour_faults.FAULT_MESSAGES.values()]
    fault_texts = []
    for code, number in zip(to_numpy(fault).tolist(), to_numpy(fault_number).tolist(), strict=True):
        message = messages[code]
        fault_texts.append(format_message(message, number) if "{" in message else message)
    return pa.array(fault_texts, pa.string())


def _compute_l0_if_rotation_matches(time: Any, rotation: Any) -> pa.Array:
    """Return the longitudes L0 of the Sun's disc, infinite where the rotation number is not that of the date."""
    times = to_numpy(time)
    is_mismatch = sun.is_carrington_rotation_mismatch(to_numpy(rotation), times)
    l0 = sun.compute_solar_ephemeris(times).l0
    return pa.array(np.where(is_mismatch, np.inf, l0))


def _compute_l0(time: Any) -> pa.Array:
    return pa.array(sun.compute_solar_ephemeris(to_numpy(time)).l0)


def _compute_b0(time: Any) -> pa.Array:
    return pa.array(sun.compute_solar_ephemeris(to_numpy(time)).b0)


def _compute_contour_areas(region: Any) -> pa.Array:
    """Return the areas of regions in square degrees."""
    return pa.array(Regions.from_geoarrow(region).compute_areas() * SQUARE_DEGREES_PER_STERADIAN)


# A value stands for "no answer", and a macro or template turns it into NULL: DuckDB accepts no NULL from a function
# for arguments that are not NULL.
FUNCTIONS = EngineFunctions(
    functions={
        "hven_sun_l0": EngineFunction(("BIGINT",), "DOUBLE", _compute_l0),
        "hven_sun_l0_of": EngineFunction(("BIGINT", "DOUBLE"), "DOUBLE", _compute_l0_if_rotation_matches),
        "hven_sun_b0": EngineFunction(("BIGINT",), "DOUBLE", _compute_b0),
        "hven_chain_contour": EngineFunction(
            ("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT", "VARCHAR"), _CONTOUR_TYPE_SQL, _build_chain_contours
        ),
        "hven_chain_tfcat": EngineFunction(
            ("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "VARCHAR", "BOOLEAN"), "VARCHAR", _write_chain_tfcat
        ),
        "hven_box_contour": EngineFunction(
            ("DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT"), _CONTOUR_TYPE_SQL, _build_box_contours
        ),
        "hven_list_contour": EngineFunction(
            ("DOUBLE[]", "DOUBLE[]", "BIGINT", "VARCHAR"), _CONTOUR_TYPE_SQL, _build_list_contours
        ),
        "hven_geojson_contour": EngineFunction(("VARCHAR", "VARCHAR"), _CONTOUR_TYPE_SQL, _parse_geojson_contours),
        "hven_mask_contour": EngineFunction(
            ("VARCHAR", "DOUBLE", "DOUBLE[]", "VARCHAR"), _CONTOUR_TYPE_SQL, _build_mask_contours
        ),
        "hven_contour_polygon": EngineFunction((_REGION_TYPE_SQL, "TINYINT"), "DOUBLE[]", _build_contour_polygons),
        "hven_contour_shape": EngineFunction((_REGION_TYPE_SQL,), "VARCHAR", _write_contour_shapes),
        "hven_contour_bounds": EngineFunction((_REGION_TYPE_SQL,), "DOUBLE[]", _compute_contour_bounds),
        "hven_contour_moc": EngineFunction((_REGION_TYPE_SQL, "BOOLEAN"), "VARCHAR", _write_contour_mocs),
        "hven_contour_area": EngineFunction((_REGION_TYPE_SQL,), "DOUBLE", _compute_contour_areas),
        "hven_contour_fault": EngineFunction(("TINYINT", "BIGINT"), "VARCHAR", _format_contour_faults),
        "hven_wcs_": EngineFunction(("VARCHAR", "VARCHAR", *("DOUBLE",) * 10), "DOUBLE[]", compute_card_footprints),
    },
    macros=(
        f"CREATE OR REPLACE MACRO hven_contour_quality(q) AS nullif(list_extract({_QUALITY_NAMES}, q + 1), '')",
        f"CREATE OR REPLACE MACRO hven_contour_kind(f) AS nullif(list_extract({_FAULT_NAMES}, f + 1), '')",
        # regular expressions would take three times as long
        (
            r"CREATE OR REPLACE MACRO hven_numbers_in(s) AS list_transform(list_filter(string_split("
            r"translate(s, E',;()[]\t\n\r', '         '), ' '), lambda w: w <> ''),"
            "\n"
            "       lambda w: coalesce(TRY_CAST(w AS DOUBLE), 'nan'::DOUBLE))"
        ),
        # coordinates alternate: time, frequency
        (
            "CREATE OR REPLACE MACRO hven_tfcat_places(g, odd) AS list_filter(hven_numbers_in("
            "split_part(g, '\"coordinates\":', 2).replace('}', '')), lambda v, i: (i % 2 = 1) = odd)"
        ),
        (
            "CREATE OR REPLACE MACRO hven_tfcat_bound(g, side) AS CASE side "
            "WHEN 'start' THEN list_min(hven_tfcat_places(g, true)) "
            "WHEN 'stop' THEN list_max(hven_tfcat_places(g, true))\n"
            "       WHEN 'low' THEN list_min(hven_tfcat_places(g, false)) "
            "WHEN 'high' THEN list_max(hven_tfcat_places(g, false)) END"
        ),
    ),
    parallel_functions=(
        "hven_chain_contour",
        "hven_box_contour",
        "hven_list_contour",
        "hven_mask_contour",
        "hven_geojson_contour",
    ),
)
