"""How DuckDB computes regions of contours: each is made once, with its fault and quality beside it, and asked for what a table needs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines.duckdb.curating import as_numpy, one_piece
from hven.engines.duckdb.masks import labels
from hven.model.errors import say
from hven.model.sky import Moc, Regions, contours
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from collections.abc import Callable

_KIND = str(CONTOUR.duckdb)
_REGION = _KIND.partition("region ")[2].removesuffix(")")
FAULTS = list(contours.FAULTS)
QUALITIES = contours.QUALITIES
DEGREES = (180.0 / np.pi) ** 2
PARTS = ("", "largest", "hull", "all")  # which of them is drawn of a region that is no single polygon
SIDES = ("west", "east", "south", "north")

NAMED = "_contour("  # in the text of each query that makes one

TEMPLATES: dict[str, str] = {
    "SUN_L0": ".sun_l0", "SUN_B0": "hven_sun_b0(epoch_us({0}))",
    "DISC": ".image", "CHART": ".image",
    "CHAIN_CONTOUR": ".contour", "BOX_CONTOUR": ".contour", "LIST_CONTOUR": ".list_contour", "MASK_CONTOUR": ".mask_contour", "GEOJSON_CONTOUR": ".geojson_contour",
    "CONTOUR_POLYGON": ".contour_polygon", "CONTOUR_SHAPE": "nullif(hven_contour_shape(({0}).region), '')", "CONTOUR_BOUND": ".contour_bound", "CONTOUR_MOC": ".contour_moc",
    "CONTOUR_AREA": "nullif(hven_contour_area(({0}).region), 0)", "CONTOUR_PIXELS": "CASE WHEN ({0}).fault = 0 THEN ({0}).pixels END",
    "CHAIN_AREA": ".chain_tfcat", "CHAIN_LINE": ".chain_tfcat", "TFCAT_BOUND": "hven_tfcat_bound({0}, {1})",
    "CONTOUR_QUALITY": ".contour_quality", "CONTOUR_FAULT": ".contour_fault",
}  # fmt: skip

#: What has no answer is a value that a macro or template turns into NULL: DuckDB takes no NULL from a function that was given none.
UDFS: dict[str, tuple[tuple[str, ...], str]] = {
    "hven_sun_l0": (("BIGINT",), "DOUBLE"),
    "hven_sun_l0_of": (("BIGINT", "DOUBLE"), "DOUBLE"),
    "hven_sun_b0": (("BIGINT",), "DOUBLE"),
    "hven_chain_contour": (("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT", "VARCHAR"), _KIND),
    "hven_chain_tfcat": (("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "VARCHAR", "BOOLEAN"), "VARCHAR"),
    "hven_box_contour": (("DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT"), _KIND),
    "hven_list_contour": (("DOUBLE[]", "DOUBLE[]", "BIGINT", "VARCHAR"), _KIND),
    "hven_geojson_contour": (("VARCHAR", "VARCHAR"), _KIND),
    "hven_mask_contour": (("VARCHAR", "DOUBLE", "DOUBLE[]", "VARCHAR"), _KIND),
    "hven_contour_polygon": ((_REGION, "TINYINT"), "DOUBLE[]"),
    "hven_contour_shape": ((_REGION,), "VARCHAR"),
    "hven_contour_bounds": ((_REGION,), "DOUBLE[]"),
    "hven_contour_moc": ((_REGION, "BOOLEAN"), "VARCHAR"),
    "hven_contour_area": ((_REGION,), "DOUBLE"),
    "hven_contour_fault": (("TINYINT", "BIGINT"), "VARCHAR"),
}
MACROS: tuple[str, ...] = (
    f"CREATE OR REPLACE MACRO hven_contour_quality(q) AS nullif(list_extract({list(QUALITIES)!r}, q + 1), '')",
    f"CREATE OR REPLACE MACRO hven_contour_kind(f) AS nullif(list_extract({['', *FAULTS]!r}, f + 1), '')",
    # regular expressions take three times as long
    r"""CREATE OR REPLACE MACRO hven_numbers_in(s) AS list_transform(list_filter(string_split(translate(s, E',;()[]\t\n\r', '         '), ' '), lambda w: w <> ''),
       lambda w: coalesce(TRY_CAST(w AS DOUBLE), 'nan'::DOUBLE))""",
    # coordinates stand in turns: time, frequency
    """CREATE OR REPLACE MACRO hven_tfcat_places(g, odd) AS list_filter(hven_numbers_in(split_part(g, '"coordinates":', 2).replace('}', '')), lambda v, i: (i % 2 = 1) = odd)""",
    """CREATE OR REPLACE MACRO hven_tfcat_bound(g, side) AS CASE side WHEN 'start' THEN list_min(hven_tfcat_places(g, true)) WHEN 'stop' THEN list_max(hven_tfcat_places(g, true))
       WHEN 'low' THEN list_min(hven_tfcat_places(g, false)) WHEN 'high' THEN list_max(hven_tfcat_places(g, false)) END""",
)


def _images(column: Any) -> list[tuple[Any, contours.Disc | contours.Chart]]:
    """Return for discs, maps and maps of equal areas among images which rows they are of."""
    lists = one_piece(column)
    sizes = as_numpy(lists.value_lengths())
    found: list[tuple[Any, contours.Disc | contours.Chart]] = []
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        given = np.asarray(lists.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)).reshape(len(rows), size)
        if size == 8:
            found.append((rows, contours.Disc(*given.T)))
        for equal in (False, True) if size == 7 else ():
            some = (given[:, 6] != 0) == equal
            if some.any():
                x, y, step_x, step_y, lon, lat = given[some, :6].T
                found.append((rows[some], contours.Chart(x, y, step_x, step_y, lon, lat, equal)))
    return found


def _made(images: Any, make: Callable[[Any, Any, Any], contours.Contours]) -> pa.Array:
    """Make contours of rows, by the kinds of their images; of one that is no image there is none."""
    pieces = []
    for rows, image in _images(images):
        pieces.append((rows, make(rows, image, contours.Check(len(rows)))))
    if sum(len(rows) for rows, _ in pieces) != len(images):
        message = "an image is made by DISC or CHART"
        raise ValueError(message)
    return _column(pieces)


def _column(pieces: list[tuple[Any, contours.Contours]]) -> pa.Array:
    """Make a column of contours of some rows each."""
    if len(pieces) == 1:
        return pieces[0][1].column(CONTOUR.arrow)
    order = np.argsort(np.concatenate([rows for rows, _ in pieces]), kind="stable")
    return contours.Contours.concat([found for _, found in pieces]).take(order).column(CONTOUR.arrow)


def _chain(code: Any, x: Any, y: Any, images: Any, origin: Any, directions: Any) -> pa.Array:
    codes, lon, lat, first = one_piece(code), as_numpy(x), as_numpy(y), as_numpy(origin)
    table = contours.directions(one_piece(directions)[0].as_py()) or contours.HELIO

    def make(rows: Any, image: Any, check: contours.Check) -> contours.Contours:
        some = codes.take(pa.array(rows))
        x, y = lon[rows] - first[rows], lat[rows] - first[rows]
        return contours.chain_codes(some, x, y, image, table=table, check=check)

    return _made(images, make)


def _chain_tfcat(code: Any, time: Any, spectral: Any, steps: Any, step: Any, directions: Any, line: Any) -> pa.Array:
    table = contours.directions(one_piece(directions)[0].as_py()) or contours.HELIO
    given = as_numpy(time), as_numpy(spectral), (as_numpy(steps), as_numpy(step))
    made = contours.chain_features(one_piece(code), *given, table, line=bool(as_numpy(line)[0]))
    return pc.fill_null(made, "")


def _box(x0: Any, y0: Any, x1: Any, y1: Any, images: Any, origin: Any) -> pa.Array:
    a, b, c, d = (as_numpy(column) - as_numpy(origin) for column in (x0, y0, x1, y1))
    return _made(
        images, lambda rows, image, check: contours.boxes(a[rows], b[rows], c[rows], d[rows], image, check=check)
    )


def _list(points: Any, images: Any, origin: Any, unit: Any) -> pa.Array:
    """Make contours of lists x1 y1 x2 y2 ..; a value that is left over is a place that is missing."""
    lists, first, arcsec = one_piece(points), as_numpy(origin), one_piece(unit)[0].as_py() == "arcsec"

    def make(rows: Any, image: Any, check: contours.Check) -> contours.Contours:
        some = lists.take(pa.array(rows))
        size = as_numpy(some.value_lengths()).astype(np.int64)
        values = as_numpy(some.flatten())
        check.mark("no_start", size % 2 > 0)
        begin = np.repeat(np.cumsum(size) - size, size)
        place = np.arange(len(values)) - begin < np.repeat(size - size % 2, size)
        xy, offsets = values[place].reshape(-1, 2), np.append(0, np.cumsum(size // 2))
        if not arcsec:
            of = np.repeat(first[rows], size // 2)
            return contours.pixel_lists(offsets, xy[:, 0] - of, xy[:, 1] - of, image, check=check)
        if isinstance(image, contours.Disc):
            return contours.polygons(offsets, xy[:, 0], xy[:, 1], image, check=check)
        check.mark("no_radius", np.ones(len(rows), np.bool_))
        return contours.pixel_lists(offsets, xy[:, 0], xy[:, 1], image, check=check)

    return _made(images, make)


def _mask(path: Any, value: Any, images: Any, directory: Any) -> pa.Array:
    """Make contours of labels of images in files: those of one file in one go, however many rows ask for them."""
    paths, values, lists = one_piece(path).dictionary_encode(), as_numpy(value), one_piece(images)
    start = one_piece(directory)[0].as_py() if len(paths) else ""
    told = lists.to_pylist()
    asked: dict[tuple[str, tuple[float, ...]], list[int]] = {}
    for row, (name, image) in enumerate(zip(paths.to_pylist(), told, strict=True)):
        asked.setdefault((name, tuple(image)), []).append(row)
    pieces = []
    for (name, image), rows in asked.items():
        grid = _images(pa.array([image], lists.type))[0][1] if image else None
        pieces.append((np.array(rows), labels(start, name, grid, image).of(values[rows])))
    return _column(pieces)


def _geometry(text: Any, longitudes: Any) -> pa.Array:
    texts = one_piece(text).to_pylist()
    west = bool(texts) and one_piece(longitudes)[0].as_py() == "west"
    return contours.of_geometries(texts, west=west).column(CONTOUR.arrow)


def _polygon(region: Any, part: Any) -> pa.Array:
    """Write the corners of regions that are one ring; of others, of the outline of their largest part, or their hull."""
    found, part = Regions.from_geoarrow(region), PARTS[int(as_numpy(part)[0])] if len(region) else ""
    several = found.ring_counts > 1
    if part == "hull" and several.any():
        at = np.flatnonzero(several)
        found = found.replaced(at, found.take(at).hull())
    ring = found.largest_rings()
    drawn = (ring >= 0) & (part != "" or ~several)
    return _corners(found, ring[drawn], drawn)


def _corners(found: Regions, ring: Any, plain: Any) -> pa.ListArray:
    """Write rings as lists of numbers, of those rows that have one."""
    sizes = np.zeros(len(plain), np.int64)
    sizes[plain] = found.rings[ring + 1] - found.rings[ring]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    lon, lat = found.lon, found.lat
    if len(ring) != len(found.rings) - 1 or (np.diff(ring) != 1).any():  # not all of them in their order
        at = np.arange(ends[-1]) + np.repeat(found.rings[ring] - ends[:-1][plain], sizes[plain])
        lon, lat = lon[at], lat[at]
    corners = np.stack([lon, lat], axis=1).ravel()
    return pa.ListArray.from_arrays(pa.array((2 * ends).astype(np.int32)), pa.array(corners))


def _shape(region: Any) -> pa.Array:
    """Write the outlines of all parts as DALI's polygons; holes have no word there."""
    found = Regions.from_geoarrow(region)
    ringed = np.diff(found.parts) > 0
    outlines = _corners(found, found.parts[:-1][ringed], ringed)
    words = pc.binary_join(outlines.cast(pa.list_(pa.string())), " ")
    some = pc.if_else(pa.array(ringed), pc.binary_join_element_wise("polygon", words, " "), "range 0 360 -90 90")
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(found.rows.astype(np.int32)), some), " ")


def _moc(region: Any, rest: Any) -> pa.Array:
    """Cover regions by cells; with `rest` those alone that no polygon can say."""
    found = Regions.from_geoarrow(region)
    rings = found.ring_counts
    some = np.flatnonzero(rings > (1 if len(rings) and bool(as_numpy(rest)[0]) else 0))
    place = np.zeros(len(found), np.int64)
    place[some] = np.arange(1, len(some) + 1)
    texts = Moc.texts(found.take(some).mocs()[0])
    return pa.concat_arrays([pa.array([""], pa.string()), texts]).take(pa.array(place))


def _bounds(region: Any) -> pa.Array:
    four = np.stack(Regions.from_geoarrow(region).boxes(), axis=1)
    return pa.ListArray.from_arrays(pa.array(4 * np.arange(len(four) + 1, dtype=np.int32)), pa.array(four.ravel()))


def _fault(fault: Any, number: Any) -> pa.Array:
    words = ["", *contours.FAULTS.values()]
    return pa.array(
        [
            say(words[code], told) if "{" in words[code] else words[code]
            for code, told in zip(as_numpy(fault).tolist(), as_numpy(number).tolist(), strict=True)
        ],
        pa.string(),
    )


FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_sun_l0": lambda t: pa.array(contours.sun.earth(as_numpy(t)).l0),
    "hven_sun_l0_of": lambda t, n: pa.array(
        np.where(contours.sun.contradicts(as_numpy(n), as_numpy(t)), np.inf, contours.sun.earth(as_numpy(t)).l0)
    ),
    "hven_sun_b0": lambda t: pa.array(contours.sun.earth(as_numpy(t)).b0),
    "hven_chain_contour": _chain,
    "hven_chain_tfcat": _chain_tfcat,
    "hven_box_contour": _box,
    "hven_list_contour": _list,
    "hven_mask_contour": _mask,
    "hven_geojson_contour": _geometry,
    "hven_contour_polygon": _polygon,
    "hven_contour_moc": _moc,
    "hven_contour_shape": _shape,
    "hven_contour_bounds": _bounds,
    "hven_contour_area": lambda region: pa.array(Regions.from_geoarrow(region).area() * DEGREES),
    "hven_contour_fault": _fault,
}


class Contouring:
    """The dialect's methods for those functions whose text depends on their arguments."""

    def sun_l0(self: Any, writer: Any, node: Any) -> str:
        """SUN_L0(t, rotation): infinite where the number is not that of the date; one that is missing says nothing."""
        time = f"epoch_us({writer.expr(node.args[0])})"
        if len(node.args) == 1:
            return f"hven_sun_l0({time})"
        return f"hven_sun_l0_of({time}, coalesce({self.doubles(writer, node.args[1:])[0]}, 'nan'::DOUBLE))"

    def image(self: Any, writer: Any, node: Any) -> str:
        """DISC and CHART: what is missing is NaN, for the contour to have a fault and not to be missing, too."""
        given = [f"coalesce({text}, 'nan'::DOUBLE)" for text in self.doubles(writer, node.args)]
        return f"list_value({', '.join([*given, *['0e0'] * ((8 if node.name == 'DISC' else 7) - len(given))])})"

    def contour(self: Any, writer: Any, node: Any) -> str:
        """CHAIN_CONTOUR and BOX_CONTOUR."""
        chain = node.name == "CHAIN_CONTOUR"
        args, image = (node.args[1:3], 3) if chain else (node.args[:4], 4)
        given = [f"coalesce({text}, 'nan'::DOUBLE)" for text in self.doubles(writer, args)]
        texts = [writer.expr(arg) for arg in node.args]
        origin = f"CAST({texts[image + 1]} AS BIGINT)" if len(texts) > image + 1 else "0::BIGINT"
        rest = [texts[5] if len(texts) > 5 else "'helio'"] if chain else []
        first = [texts[0]] if chain else []
        return f"hven_{node.name.lower()}({', '.join([*first, *given, texts[image], origin, *rest])})"

    def chain_tfcat(self: Any, writer: Any, node: Any) -> str:
        """CHAIN_AREA and CHAIN_LINE: (code, time, spectral, steps of both, directions)."""
        given = [f"coalesce({text}, 'nan'::DOUBLE)" for text in self.doubles(writer, node.args[1:5])]
        table = writer.expr(node.args[5]) if len(node.args) > 5 else "'helio'"
        line = "true" if node.name == "CHAIN_LINE" else "false"
        return f"nullif(hven_chain_tfcat({', '.join([writer.expr(node.args[0]), *given, table, line])}), '')"

    def list_contour(self: Any, writer: Any, node: Any) -> str:
        """LIST_CONTOUR(points, image, origin, unit)."""
        points, image, *rest = (writer.expr(arg) for arg in node.args)
        if node.args[0].meta.type.is_string:
            points = f"hven_numbers_in({points})"
        else:
            points = f"list_transform(CAST({points} AS DOUBLE[]), lambda v: coalesce(v, 'nan'::DOUBLE))"
        origin = f"CAST({rest[0]} AS BIGINT)" if rest else "0::BIGINT"
        return f"hven_list_contour({points}, {image}, {origin}, {rest[1] if len(rest) > 1 else self.string('pixel')})"

    def geojson_contour(self: Any, writer: Any, node: Any) -> str:
        """GEOJSON_CONTOUR(geometry, longitudes)."""
        text, *way = (writer.expr(arg) for arg in node.args)
        return f"hven_geojson_contour({text}, {way[0] if way else self.string('east')})"

    def mask_contour(self: Any, writer: Any, node: Any) -> str:
        """MASK_CONTOUR(path, value, image, directory): without an image the file's own cards tell it."""
        path, value, *image = node.args
        texts = [writer.expr(path), *self.doubles(writer, [value])]
        directory = image.pop() if image and image[-1].meta.type.is_string else None
        texts.append(writer.expr(image[0]) if image else "CAST([] AS DOUBLE[])")
        return f"hven_mask_contour({', '.join([*texts, self.string('.') if directory is None else writer.expr(directory)])})"

    def contour_polygon(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_POLYGON(contour, part)."""
        part = PARTS.index(node.args[1].value) if len(node.args) > 1 else 0
        region = f"({writer.expr(node.args[0])}).region"
        return f"nullif(hven_contour_polygon({region}, {part}::TINYINT), CAST([] AS DOUBLE[]))"

    def contour_bound(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_BOUND(contour, side)."""
        side = SIDES.index(node.args[1].value) + 1
        return f"nullif(hven_contour_bounds(({writer.expr(node.args[0])}).region)[{side}], 'nan'::DOUBLE)"

    def contour_moc(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_MOC(contour, 'rest')."""
        return f"nullif(hven_contour_moc(({writer.expr(node.args[0])}).region, {'true' if len(node.args) > 1 else 'false'}), '')"

    def contour_quality(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_QUALITY(contour, 'hull')."""
        made = writer.expr(node.args[0])
        word = f"hven_contour_quality(({made}).quality)"
        if len(node.args) == 1 or node.args[1].value != "hull":
            return word
        several = f"(len(({made}).region) > 1 OR len(({made}).region[1]) > 1)"
        return f"CASE WHEN {several} AND ({made}).quality NOT IN (1, {QUALITIES.index('mended')}) THEN 'hull' ELSE {word} END"

    def contour_fault(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_FAULT(contour, 'name')."""
        made = writer.expr(node.args[0])
        if len(node.args) > 1:
            return f"hven_contour_kind(({made}).fault)"
        return f"nullif(hven_contour_fault(({made}).fault, ({made}).number), '')"
