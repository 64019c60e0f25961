"""How DuckDB computes regions of contours: each is made once, with its fault and quality beside it, and asked for what a table needs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.duckdb.curating import as_numpy, one_piece
from hven.model.errors import say
from hven.model.sky import Regions, contours
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from collections.abc import Callable

_KIND = str(CONTOUR.duckdb)
_REGION = _KIND.partition("region ")[2].removesuffix(")")
QUALITIES = ("", "degenerate", "clipped_at_limb", "multi_part", "exact")
DEGREES = (180.0 / np.pi) ** 2

TEMPLATES: dict[str, str] = {
    "SUN_L0": "hven_sun_l0(epoch_us({0}))", "SUN_B0": "hven_sun_b0(epoch_us({0}))",
    "DISC": ".image", "CHART": ".image", "CHAIN_CONTOUR": ".contour", "BOX_CONTOUR": ".contour",
    "CONTOUR_POLYGON": ".contour_polygon", "CONTOUR_BOUND": ".contour_bound", "CONTOUR_MOC": "nullif(hven_contour_moc(({0}).region), '')", "CONTOUR_AREA": "nullif(hven_contour_area(({0}).region), 0)",
    "CONTOUR_PIXELS": "CASE WHEN ({0}).fault = 0 THEN ({0}).pixels END", "CONTOUR_QUALITY": "nullif(hven_contour_quality(({0}).quality), '')",
    "CONTOUR_FAULT": "nullif(hven_contour_fault(({0}).fault, ({0}).number), '')",
}  # fmt: skip

#: What has no answer is a value that a macro or template turns into NULL: DuckDB takes no NULL from a function that was given none.
UDFS: dict[str, tuple[tuple[str, ...], str]] = {
    "hven_sun_l0": (("BIGINT",), "DOUBLE"),
    "hven_sun_b0": (("BIGINT",), "DOUBLE"),
    "hven_chain_contour": (("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT", "VARCHAR"), _KIND),
    "hven_box_contour": (("DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE[]", "BIGINT"), _KIND),
    "hven_contour_polygon": ((_REGION, "BOOLEAN"), "DOUBLE[]"),
    "hven_contour_bound": ((_REGION, "INTEGER"), "DOUBLE"),
    "hven_contour_moc": ((_REGION,), "VARCHAR"),
    "hven_contour_area": ((_REGION,), "DOUBLE"),
    "hven_contour_fault": (("TINYINT", "BIGINT"), "VARCHAR"),
}
MACROS: tuple[str, ...] = (
    f"CREATE OR REPLACE TEMP MACRO hven_contour_quality(q) AS list_extract({list(QUALITIES)!r}, q + 1)",
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


def _made(images: Any, make: Callable[[Any, Any], contours.Contours]) -> pa.Array:
    """Make contours of rows, by the kinds of their images; of one that is no image there is none."""
    pieces = [(rows, make(rows, image)) for rows, image in _images(images)]
    order = np.argsort(np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in pieces)]), kind="stable")
    if len(order) != len(images):
        message = "an image is made by DISC or CHART"
        raise ValueError(message)
    columns = [
        np.concatenate([getattr(found, name) for _, found in pieces])[order] for name in ("fault", "number", "pixels")
    ]
    quality = np.concatenate([found.quality() for _, found in pieces])[order]
    regions = Regions.concat([found.regions for _, found in pieces]).take(order)
    codes = np.select([quality == word for word in QUALITIES], range(len(QUALITIES)))
    fields = dict(zip(("fault", "number", "pixels", "quality"), (*columns, codes), strict=True))
    kind = CONTOUR.arrow
    arrays = [
        regions.geoarrow().cast(field.type) if field.name == "region" else pa.array(fields[field.name]).cast(field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _chain(code: Any, x: Any, y: Any, images: Any, origin: Any, directions: Any) -> pa.Array:
    codes, lon, lat, first = one_piece(code), as_numpy(x), as_numpy(y), as_numpy(origin)
    table = contours.FREEMAN if one_piece(directions)[0].as_py() == "freeman" else contours.HELIO

    def make(rows: Any, image: Any) -> contours.Contours:
        some = codes.take(pa.array(rows))
        return contours.chain_codes(some, lon[rows] - first[rows], lat[rows] - first[rows], image, table=table)

    return _made(images, make)


def _box(x0: Any, y0: Any, x1: Any, y1: Any, images: Any, origin: Any) -> pa.Array:
    a, b, c, d = (as_numpy(column) - as_numpy(origin) for column in (x0, y0, x1, y1))
    return _made(images, lambda rows, image: contours.boxes(a[rows], b[rows], c[rows], d[rows], image))


def _polygon(region: Any, largest: Any) -> pa.Array:
    """Write the corners of regions that are one ring, or of the outline of their largest part."""
    found = Regions.from_geoarrow(region)
    parts, rings = np.diff(found.rows), np.diff(found.parts)
    chosen = np.full(len(found), -1)
    one = parts == 1
    chosen[one] = found.rows[:-1][one]
    plain = one.copy()
    plain[one] = rings[chosen[one]] == 1
    if bool(as_numpy(largest).any()):
        exploded, owner = found.exploded()
        area = exploded.area()
        order = np.lexsort((-area, owner))
        first = np.unique(owner[order], return_index=True)[1]
        chosen[owner[order][first]] = order[first]
        plain = parts > 0
    ring = found.parts[:-1][chosen[plain]]
    sizes = np.zeros(len(found), np.int64)
    sizes[plain] = found.rings[ring + 1] - found.rings[ring]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    at = np.arange(ends[-1]) + np.repeat(found.rings[ring] - ends[:-1][plain], sizes[plain])
    corners = np.stack([found.lon[at], found.lat[at]], axis=1).ravel()
    return pa.ListArray.from_arrays(pa.array((2 * ends).astype(np.int32)), pa.array(corners))


def _moc(region: Any) -> pa.Array:
    found = Regions.from_geoarrow(region)
    some = np.flatnonzero(np.diff(found.rows) > 0)
    texts = np.full(len(found), "", object)
    texts[some] = [str(moc) for moc in found.take(some).mocs()[0]]
    return pa.array(texts, pa.string())


def _bound(region: Any, side: Any) -> pa.Array:
    west, east, south, north = Regions.from_geoarrow(region).boxes()
    return pa.array((west, east, south, north)[int(as_numpy(side)[0])])


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
    "hven_sun_b0": lambda t: pa.array(contours.sun.earth(as_numpy(t)).b0),
    "hven_chain_contour": _chain,
    "hven_box_contour": _box,
    "hven_contour_polygon": _polygon,
    "hven_contour_moc": _moc,
    "hven_contour_bound": _bound,
    "hven_contour_area": lambda region: pa.array(Regions.from_geoarrow(region).area() * DEGREES),
    "hven_contour_fault": _fault,
}


class Contouring:
    """The dialect's methods for those functions whose text depends on their arguments."""

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

    def contour_polygon(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_POLYGON(contour, part)."""
        largest = "true" if len(node.args) > 1 else "false"
        return f"nullif(hven_contour_polygon(({writer.expr(node.args[0])}).region, {largest}), CAST([] AS DOUBLE[]))"

    def contour_bound(self: Any, writer: Any, node: Any) -> str:
        """CONTOUR_BOUND(contour, side)."""
        side = ("west", "east", "south", "north").index(node.args[1].value)
        return f"nullif(hven_contour_bound(({writer.expr(node.args[0])}).region, {side}), 'nan'::DOUBLE)"
