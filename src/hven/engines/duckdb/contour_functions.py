"""How DuckDB computes regions of contours.

Each is made once, with its fault and quality beside it, and asked for what a table needs of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines.duckdb.mapping_functions import to_numpy, to_single_array
from hven.engines.duckdb.mask_labels import load_labels
from hven.model.errors import format_message
from hven.model.sky import Moc, Regions, contours
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTOUR_TYPE_SQL = str(CONTOUR.duckdb)
_REGION_TYPE_SQL = _CONTOUR_TYPE_SQL.partition("region ")[2].removesuffix(")")
FAULT_NAMES = list(contours.FAULT_MESSAGES)
QUALITY_NAMES = contours.REGION_QUALITIES
SQUARE_DEGREES_PER_STERADIAN = (180.0 / np.pi) ** 2
DRAWN_PARTS = ("", "largest", "hull", "all")  # which of them is drawn of a region that is no single polygon
BOUND_SIDES = ("west", "east", "south", "north")

CONTOUR_FUNCTION_MARK = "_contour("  # in the text of each query that makes one

CONTOUR_TEMPLATES: dict[str, str] = {
    "SUN_L0": ".write_sun_l0",
    "SUN_B0": "hven_sun_b0(epoch_us({0}))",
    "DISC": ".write_image",
    "CHART": ".write_image",
    "CHAIN_CONTOUR": ".write_contour",
    "BOX_CONTOUR": ".write_contour",
    "LIST_CONTOUR": ".write_list_contour",
    "MASK_CONTOUR": ".write_mask_contour",
    "GEOJSON_CONTOUR": ".write_geojson_contour",
    "CONTOUR_POLYGON": ".write_contour_polygon",
    "CONTOUR_SHAPE": "nullif(hven_contour_shape(({0}).region), '')",
    "CONTOUR_BOUND": ".write_contour_bound",
    "CONTOUR_MOC": ".write_contour_moc",
    "CONTOUR_AREA": "nullif(hven_contour_area(({0}).region), 0)",
    "CONTOUR_PIXELS": "CASE WHEN ({0}).fault = 0 THEN ({0}).pixels END",
    "CHAIN_AREA": ".write_chain_tfcat",
    "CHAIN_LINE": ".write_chain_tfcat",
    "TFCAT_BOUND": "hven_tfcat_bound({0}, {1})",
    "CONTOUR_QUALITY": ".write_contour_quality",
    "CONTOUR_FAULT": ".write_contour_fault",
}

# : What has no answer is a value that a macro or template turns into NULL: DuckDB takes no NULL from a function that
# was given none.
CONTOUR_SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    "hven_sun_l0": (("BIGINT",), "DOUBLE"),
    "hven_sun_l0_of": (("BIGINT", "DOUBLE"), "DOUBLE"),
    "hven_sun_b0": (("BIGINT",), "DOUBLE"),
    "hven_chain_contour": (("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT", "VARCHAR"), _CONTOUR_TYPE_SQL),
    "hven_chain_tfcat": (("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "VARCHAR", "BOOLEAN"), "VARCHAR"),
    "hven_box_contour": (("DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT"), _CONTOUR_TYPE_SQL),
    "hven_list_contour": (("DOUBLE[]", "DOUBLE[]", "BIGINT", "VARCHAR"), _CONTOUR_TYPE_SQL),
    "hven_geojson_contour": (("VARCHAR", "VARCHAR"), _CONTOUR_TYPE_SQL),
    "hven_mask_contour": (("VARCHAR", "DOUBLE", "DOUBLE[]", "VARCHAR"), _CONTOUR_TYPE_SQL),
    "hven_contour_polygon": ((_REGION_TYPE_SQL, "TINYINT"), "DOUBLE[]"),
    "hven_contour_shape": ((_REGION_TYPE_SQL,), "VARCHAR"),
    "hven_contour_bounds": ((_REGION_TYPE_SQL,), "DOUBLE[]"),
    "hven_contour_moc": ((_REGION_TYPE_SQL, "BOOLEAN"), "VARCHAR"),
    "hven_contour_area": ((_REGION_TYPE_SQL,), "DOUBLE"),
    "hven_contour_fault": (("TINYINT", "BIGINT"), "VARCHAR"),
}
CONTOUR_MACROS: tuple[str, ...] = (
    f"CREATE OR REPLACE MACRO hven_contour_quality(q) AS nullif(list_extract({list(QUALITY_NAMES)!r}, q + 1), '')",
    f"CREATE OR REPLACE MACRO hven_contour_kind(f) AS nullif(list_extract({['', *FAULT_NAMES]!r}, f + 1), '')",
    # regular expressions take three times as long
    r"""CREATE OR REPLACE MACRO hven_numbers_in(s) AS list_transform(list_filter(string_split(translate(s, E',;()[]\t\n\r', '         '), ' '), lambda w: w <> ''),
       lambda w: coalesce(TRY_CAST(w AS DOUBLE), 'nan'::DOUBLE))""",
    # coordinates stand in turns: time, frequency
    """CREATE OR REPLACE MACRO hven_tfcat_places(g, odd) AS list_filter(hven_numbers_in(split_part(g, '"coordinates":', 2).replace('}', '')), lambda v, i: (i % 2 = 1) = odd)""",
    """CREATE OR REPLACE MACRO hven_tfcat_bound(g, side) AS CASE side WHEN 'start' THEN list_min(hven_tfcat_places(g, true)) WHEN 'stop' THEN list_max(hven_tfcat_places(g, true))
       WHEN 'low' THEN list_min(hven_tfcat_places(g, false)) WHEN 'high' THEN list_max(hven_tfcat_places(g, false)) END""",
)


def _group_images(column: Any) -> list[tuple[Any, contours.DiscImage | contours.CylindricalMap]]:
    """Return for discs, maps and maps of equal areas among images which rows they are of."""
    lists = to_single_array(column)
    sizes = to_numpy(lists.value_lengths())
    image_groups: list[tuple[Any, contours.DiscImage | contours.CylindricalMap]] = []
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        image_numbers = np.asarray(lists.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)).reshape(
            len(rows), size
        )
        if size == 8:
            image_groups.append((rows, contours.DiscImage(*image_numbers.T)))
        for equal in (False, True) if size == 7 else ():
            is_kind = (image_numbers[:, 6] != 0) == equal
            if is_kind.any():
                x, y, step_x, step_y, lon, lat = image_numbers[is_kind, :6].T
                image_groups.append((rows[is_kind], contours.CylindricalMap(x, y, step_x, step_y, lon, lat, equal)))
    return image_groups


def _build_contours(images: Any, build_contours: Callable[[Any, Any, Any], contours.ContourRegions]) -> pa.Array:
    """Make contours of rows, by the kinds of their images; of one that is no image there is none."""
    pieces = []
    for rows, image in _group_images(images):
        pieces.append((rows, build_contours(rows, image, contours.FaultRecorder(len(rows)))))
    if sum(len(rows) for rows, _ in pieces) != len(images):
        message = "an image is made by DISC or CHART"
        raise ValueError(message)
    return _join_contours(pieces)


def _join_contours(pieces: list[tuple[Any, contours.ContourRegions]]) -> pa.Array:
    """Make a column of contours of some rows each."""
    if len(pieces) == 1:
        return pieces[0][1].to_arrow(CONTOUR.arrow)
    order = np.argsort(np.concatenate([rows for rows, _ in pieces]), kind="stable")
    return (
        contours.ContourRegions.concat([contours_of_rows for _, contours_of_rows in pieces])
        .take(order)
        .to_arrow(CONTOUR.arrow)
    )


def _trace_chain_codes(code: Any, x: Any, y: Any, images: Any, origin: Any, directions: Any) -> pa.Array:
    codes, lon, lat, origins = to_single_array(code), to_numpy(x), to_numpy(y), to_numpy(origin)
    direction_table = contours.parse_step_table(to_single_array(directions)[0].as_py()) or contours.HELIO_STEPS

    def build_chain_contours(rows: Any, image: Any, check: contours.FaultRecorder) -> contours.ContourRegions:
        row_codes = codes.take(pa.array(rows))
        x = lon[rows] - origins[rows]
        y = lat[rows] - origins[rows]
        return contours.build_regions_from_chain_codes(
            row_codes, x, y, image, step_table=direction_table, recorder=check
        )

    return _build_contours(images, build_chain_contours)


def _trace_chain_features(
    code: Any, time: Any, spectral: Any, steps: Any, step: Any, directions: Any, line: Any
) -> pa.Array:
    direction_table = contours.parse_step_table(to_single_array(directions)[0].as_py()) or contours.HELIO_STEPS
    start_values = to_numpy(time), to_numpy(spectral), (to_numpy(steps), to_numpy(step))
    features = contours.write_chain_geometries(
        to_single_array(code), *start_values, direction_table, as_lines=bool(to_numpy(line)[0])
    )
    return pc.fill_null(features, "")


def _build_box_contours(x0: Any, y0: Any, x1: Any, y1: Any, images: Any, origin: Any) -> pa.Array:
    a, b, c, d = (to_numpy(column) - to_numpy(origin) for column in (x0, y0, x1, y1))
    return _build_contours(
        images,
        lambda rows, image, check: contours.build_regions_from_pixel_boxes(
            a[rows], b[rows], c[rows], d[rows], image, recorder=check
        ),
    )


def _build_list_contours(points: Any, images: Any, origin: Any, unit: Any) -> pa.Array:
    """Make contours of lists x1 y1 x2 y2 ..; a value that is left over is a place that is missing."""
    lists, origins, arcsec = to_single_array(points), to_numpy(origin), to_single_array(unit)[0].as_py() == "arcsec"

    def build_contours_of_rows(rows: Any, image: Any, check: contours.FaultRecorder) -> contours.ContourRegions:
        row_lists = lists.take(pa.array(rows))
        size = to_numpy(row_lists.value_lengths()).astype(np.int64)
        values = to_numpy(row_lists.flatten())
        check.mark_rows("no_start", size % 2 > 0)
        begin = np.repeat(np.cumsum(size) - size, size)
        place = np.arange(len(values)) - begin < np.repeat(size - size % 2, size)
        xy, offsets = values[place].reshape(-1, 2), np.append(0, np.cumsum(size // 2))
        if not arcsec:
            row_origins = np.repeat(origins[rows], size // 2)
            return contours.build_regions_from_pixel_lists(
                offsets, xy[:, 0] - row_origins, xy[:, 1] - row_origins, image, recorder=check
            )
        if isinstance(image, contours.DiscImage):
            return contours.build_regions_from_directions(offsets, xy[:, 0], xy[:, 1], image, recorder=check)
        check.mark_rows("no_radius", np.ones(len(rows), np.bool_))
        return contours.build_regions_from_pixel_lists(offsets, xy[:, 0], xy[:, 1], image, recorder=check)

    return _build_contours(images, build_contours_of_rows)


def _build_mask_contours(path: Any, value: Any, images: Any, directory: Any) -> pa.Array:
    """Make contours of labels of images in files: those of one file in one go, however many rows ask for them."""
    paths = to_single_array(path).dictionary_encode()
    values = to_numpy(value)
    lists = to_single_array(images)
    if len(paths):
        start = to_single_array(directory)[0].as_py()
    else:
        start = ""
    image_lists = lists.to_pylist()
    rows_by_image: dict[tuple[str, tuple[float, ...]], list[int]] = {}
    for row, (name, image) in enumerate(zip(paths.to_pylist(), image_lists, strict=True)):
        rows_by_image.setdefault((name, tuple(image)), []).append(row)
    pieces = []
    for (name, image), rows in rows_by_image.items():
        if image:
            grid = _group_images(pa.array([image], lists.type))[0][1]
        else:
            grid = None
        pieces.append((np.array(rows), load_labels(start, name, grid, image).select_regions(values[rows])))
    return _join_contours(pieces)


def _parse_geojson_contours(text: Any, longitudes: Any) -> pa.Array:
    texts = to_single_array(text).to_pylist()
    is_west_positive = bool(texts) and to_single_array(longitudes)[0].as_py() == "west"
    return contours.build_regions_from_geojson(texts, west_positive=is_west_positive).to_arrow(CONTOUR.arrow)


def _write_contour_polygons(region: Any, part: Any) -> pa.Array:
    """Write the corners of regions that are one ring.

    Of others, of the outline of their largest part, or their hull.
    """
    regions = Regions.from_geoarrow(region)
    part = DRAWN_PARTS[int(to_numpy(part)[0])] if len(region) else ""
    has_several_rings = regions.ring_counts > 1
    if part == "hull" and has_several_rings.any():
        several_rows = np.flatnonzero(has_several_rings)
        convex_hulls = regions.take(several_rows).compute_convex_hulls()
        regions = regions.replace_rows(several_rows, convex_hulls)
    ring = regions.find_largest_rings()
    is_drawn = (ring >= 0) & (part != "" or ~has_several_rings)
    return _write_rings(regions, ring[is_drawn], is_drawn)


def _write_rings(regions: Regions, ring: Any, has_ring: Any) -> pa.ListArray:
    """Write rings as lists of numbers, of those rows that have one."""
    sizes = np.zeros(len(has_ring), np.int64)
    sizes[has_ring] = regions.rings[ring + 1] - regions.rings[ring]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    lon = regions.lon
    lat = regions.lat
    if len(ring) != len(regions.rings) - 1 or (np.diff(ring) != 1).any():  # not all of them in their order
        corner_numbers = np.arange(ends[-1]) + np.repeat(regions.rings[ring] - ends[:-1][has_ring], sizes[has_ring])
        lon = lon[corner_numbers]
        lat = lat[corner_numbers]
    corners = np.stack([lon, lat], axis=1).ravel()
    return pa.ListArray.from_arrays(pa.array((2 * ends).astype(np.int32)), pa.array(corners))


def _write_contour_shapes(region: Any) -> pa.Array:
    """Write the outlines of all parts as DALI's polygons; holes have no word there."""
    regions = Regions.from_geoarrow(region)
    has_rings = np.diff(regions.parts) > 0
    outlines = _write_rings(regions, regions.parts[:-1][has_rings], has_rings)
    number_texts = pc.binary_join(outlines.cast(pa.list_(pa.string())), " ")
    part_texts = pc.if_else(
        pa.array(has_rings), pc.binary_join_element_wise("polygon", number_texts, " "), "range 0 360 -90 90"
    )
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(regions.rows.astype(np.int32)), part_texts), " ")


def _write_contour_mocs(region: Any, rest_only: Any) -> pa.Array:
    """Cover regions by cells; with `rest_only` those alone that no polygon can say."""
    regions = Regions.from_geoarrow(region)
    rings = regions.ring_counts
    covered_rows = np.flatnonzero(rings > (1 if len(rings) and bool(to_numpy(rest_only)[0]) else 0))
    place = np.zeros(len(regions), np.int64)
    place[covered_rows] = np.arange(1, len(covered_rows) + 1)
    texts = Moc.to_texts(regions.take(covered_rows).to_mocs()[0])
    return pa.concat_arrays([pa.array([""], pa.string()), texts]).take(pa.array(place))


def _compute_contour_bounds(region: Any) -> pa.Array:
    bounding_boxes = Regions.from_geoarrow(region).compute_bounding_boxes()
    bounds = np.stack(bounding_boxes, axis=1)
    return pa.ListArray.from_arrays(pa.array(4 * np.arange(len(bounds) + 1, dtype=np.int32)), pa.array(bounds.ravel()))


def _format_contour_faults(fault: Any, fault_number: Any) -> pa.Array:
    fault_texts = ["", *contours.FAULT_MESSAGES.values()]
    return pa.array(
        [
            format_message(fault_texts[code], fault_number) if "{" in fault_texts[code] else fault_texts[code]
            for code, fault_number in zip(to_numpy(fault).tolist(), to_numpy(fault_number).tolist(), strict=True)
        ],
        pa.string(),
    )


CONTOUR_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_sun_l0": lambda t: pa.array(contours.sun.compute_solar_ephemeris(to_numpy(t)).l0),
    "hven_sun_l0_of": lambda t, n: pa.array(
        np.where(
            contours.sun.is_rotation_mismatch(to_numpy(n), to_numpy(t)),
            np.inf,
            contours.sun.compute_solar_ephemeris(to_numpy(t)).l0,
        )
    ),
    "hven_sun_b0": lambda t: pa.array(contours.sun.compute_solar_ephemeris(to_numpy(t)).b0),
    "hven_chain_contour": _trace_chain_codes,
    "hven_chain_tfcat": _trace_chain_features,
    "hven_box_contour": _build_box_contours,
    "hven_list_contour": _build_list_contours,
    "hven_mask_contour": _build_mask_contours,
    "hven_geojson_contour": _parse_geojson_contours,
    "hven_contour_polygon": _write_contour_polygons,
    "hven_contour_moc": _write_contour_mocs,
    "hven_contour_shape": _write_contour_shapes,
    "hven_contour_bounds": _compute_contour_bounds,
    "hven_contour_area": lambda region: pa.array(
        Regions.from_geoarrow(region).compute_areas() * SQUARE_DEGREES_PER_STERADIAN
    ),
    "hven_contour_fault": _format_contour_faults,
}


class ContourDialect:
    """The dialect's methods for those functions whose text depends on their arguments."""

    def write_sun_l0(self: Any, writer: Any, node: Any) -> str:
        """SUN_L0(t, rotation): infinite where the number is not that of the date; one that is missing says nothing."""
        time = f"epoch_us({writer.write_expression(node.args[0])})"
        if len(node.args) == 1:
            return f"hven_sun_l0({time})"
        return f"hven_sun_l0_of({time}, coalesce({self.write_doubles(writer, node.args[1:])[0]}, 'nan'::DOUBLE))"

    def write_image(self: Any, writer: Any, node: Any) -> str:
        """DISC and CHART: what is missing is NaN, for the contour to have a fault and not to be missing, too."""
        number_texts = [f"coalesce({text}, 'nan'::DOUBLE)" for text in self.write_doubles(writer, node.args)]
        return f"list_value({', '.join([*number_texts, *['0e0'] * ((8 if node.name == 'DISC' else 7) - len(number_texts))])})"

    def write_contour(self: Any, writer: Any, node: Any) -> str:
        """CHAIN_CONTOUR and BOX_CONTOUR."""
        chain = node.name == "CHAIN_CONTOUR"
        if chain:
            args, image = (node.args[1:3], 3)
        else:
            args, image = (node.args[:4], 4)
        number_texts = [f"coalesce({text}, 'nan'::DOUBLE)" for text in self.write_doubles(writer, args)]
        texts = [writer.write_expression(arg) for arg in node.args]
        if len(texts) > image + 1:
            origin = f"CAST({texts[image + 1]} AS BIGINT)"
        else:
            origin = "0::BIGINT"
        if chain:
            direction_texts = [texts[5] if len(texts) > 5 else "'helio'"]
        else:
            direction_texts = []
        if chain:
            code_texts = [texts[0]]
        else:
            code_texts = []
        return f"hven_{node.name.lower()}({', '.join([*code_texts, *number_texts, texts[image], origin, *direction_texts])})"

    def write_chain_tfcat(self: Any, writer: Any, node: Any) -> str:
        """CHAIN_AREA and CHAIN_LINE: (code, time, spectral, steps of both, directions)."""
        number_texts = [f"coalesce({text}, 'nan'::DOUBLE)" for text in self.write_doubles(writer, node.args[1:5])]
        if len(node.args) > 5:
            table = writer.write_expression(node.args[5])
        else:
            table = "'helio'"
        line = "true" if node.name == "CHAIN_LINE" else "false"
        return (
            f"nullif(hven_chain_tfcat({', '.join([writer.write_expression(node.args[0]), *number_texts, table, line])}), "
            f"'')"
        )

    def write_list_contour(self: Any, writer: Any, node: Any) -> str:
        """LIST_CONTOUR(points, image, origin, unit)."""
        points, image, *optional_texts = (writer.write_expression(arg) for arg in node.args)
        if node.args[0].meta.type.is_string:
            points = f"hven_numbers_in({points})"
        else:
            points = f"list_transform(CAST({points} AS DOUBLE[]), lambda v: coalesce(v, 'nan'::DOUBLE))"
        if optional_texts:
            origin = f"CAST({optional_texts[0]} AS BIGINT)"
        else:
            origin = "0::BIGINT"
        return (
            f"hven_list_contour({points}, {image}, {origin}, "
            f"{optional_texts[1] if len(optional_texts) > 1 else self.quote_string('pixel')})"
        )

    def write_geojson_contour(self: Any, writer: Any, node: Any) -> str:
        """GEOJSON_CONTOUR(geometry, longitudes)."""
        text, *longitude_texts = (writer.write_expression(arg) for arg in node.args)
        return f"hven_geojson_contour({text}, {longitude_texts[0] if longitude_texts else self.quote_string('east')})"

    def write_mask_contour(self: Any, writer: Any, node: Any) -> str:
        """MASK_CONTOUR(path, value, image, directory): without an image the file's own cards tell it."""
        path, value, *image = node.args
        texts = [writer.write_expression(path), *self.write_doubles(writer, [value])]
        if image and image[-1].meta.type.is_string:
            directory = image.pop()
        else:
            directory = None
        texts.append(writer.write_expression(image[0]) if image else "CAST([] AS DOUBLE[])")
        return f"hven_mask_contour({', '.join([*texts, self.quote_string('.') if directory is None else writer.write_expression(directory)])})"

    def write_contour_polygon(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_POLYGON(contour, part)."""
        if len(node.args) > 1:
            part = DRAWN_PARTS.index(node.args[1].value)
        else:
            part = 0
        region = f"({writer.write_expression(node.args[0])}).region"
        return f"nullif(hven_contour_polygon({region}, {part}::TINYINT), CAST([] AS DOUBLE[]))"

    def write_contour_bound(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_BOUND(contour, side)."""
        side = BOUND_SIDES.index(node.args[1].value) + 1
        return f"nullif(hven_contour_bounds(({writer.write_expression(node.args[0])}).region)[{side}], 'nan'::DOUBLE)"

    def write_contour_moc(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_MOC(contour, 'rest')."""
        return (
            f"nullif(hven_contour_moc(({writer.write_expression(node.args[0])}).region, "
            f"{'true' if len(node.args) > 1 else 'false'}), '')"
        )

    def write_contour_quality(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_QUALITY(contour, 'hull')."""
        contour_sql = writer.write_expression(node.args[0])
        quality_sql = f"hven_contour_quality(({contour_sql}).quality)"
        if len(node.args) == 1 or node.args[1].value != "hull":
            return quality_sql
        several_sql = f"(len(({contour_sql}).region) > 1 OR len(({contour_sql}).region[1]) > 1)"
        return (
            f"CASE WHEN {several_sql} AND ({contour_sql}).quality NOT IN (1, {QUALITY_NAMES.index('mended')}) THEN "
            f"'hull' ELSE {quality_sql} END"
        )

    def write_contour_fault(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_FAULT(contour, 'name')."""
        contour_sql = writer.write_expression(node.args[0])
        if len(node.args) > 1:
            return f"hven_contour_kind(({contour_sql}).fault)"
        return f"nullif(hven_contour_fault(({contour_sql}).fault, ({contour_sql}).number), '')"
