"""Pictures with a place: GeoTIFF and JPEG 2000 (GeoJP2, GML, headers of FITS in XML). Sizes, headers and maps are read, and no pixels."""

from __future__ import annotations

import io
import math
import re
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hven.formats.media import _maps as maps
from hven.formats.media._product import Array, Axis, Card, Product
from hven.model.errors import SourceError, say
from hven.model.sky import bodies, footprints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from hven.formats.media._distant import Place

TAGS, LONGEST, BOXES, FEW = (
    400,
    1 << 20,
    2000,
    20,
)  # of a directory; bytes of a value or a box; boxes of a file, and of what is put together
_GEO = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
_TYPES = {
    1: "B",
    2: "s",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    7: "s",
    8: "h",
    9: "i",
    10: "ii",
    11: "f",
    12: "d",
    16: "Q",
    17: "q",
    18: "Q",
}
_NAMES = {270: "ImageDescription", 271: "Make", 272: "Model", 305: "Software", 306: "DateTime", 315: "Artist", 33432: "Copyright", 42112: "GDAL_METADATA", 42113: "GDAL_NODATA"}  # fmt: skip
_KEYS = {1024: "model", 1025: "raster", 1026: "citation", 2049: "citation", 2057: "radius", 3073: "citation", 3075: "projection", 3076: "unit", 3078: "parallel", 3080: "lon", 3081: "lat",
         3082: "east", 3083: "north", 3088: "lon", 3089: "lat", 3095: "lon", 2048: "known"}  # fmt: skip
_PROJECTIONS = {17: "EQUIRECTANGULAR", 24: "SINUSOIDAL", 15: "POLAR STEREOGRAPHIC", 14: "STEREOGRAPHIC", 21: "ORTHOGRAPHIC", 10: "LAMBERT AZIMUTHAL EQUAL AREA"}  # fmt: skip
_METRES = {9001: 1.0, 9036: 1000.0}
_EARTH = {4326, 4258, 4269, 4979}  # EPSG's numbers of usual longitudes and latitudes
_FORMATS = {1: "u", 2: "i", 3: "f"}


def open_raster(path: Place, name: str) -> Product | None:
    """Open a picture for its header.

    Parameters
    ----------
    path
        Of a file; it is read by ranges, wherever it lies.
    name
        By which readers know it.

    Returns
    -------
    product
        Of one image, whose pixels nobody reads; None: it is neither TIFF nor JPEG 2000.

    Raises
    ------
    SourceError
        It is damaged.
    """
    with path.open("rb") as file:
        head = file.read(12)
        try:
            if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
                return _tiff(file, name)
            if head[4:12] == b"jP  \r\n\x87\n":
                return _jpeg2000(file, name, path.stat().st_size)
        except (struct.error, ValueError, TypeError, ArithmeticError, LookupError) as fault:
            raise SourceError(say("{name} is damaged: {reason}", name, str(fault)[:160])) from None
    return None


def _tiff(file: BinaryIO, name: str) -> Product:
    tags = _tags(file)
    width, height = (int(tags[tag][0]) for tag in (256, 257))
    bands, bits = int(tags.get(277, (1,))[0]), int(tags.get(258, (8,))[0])
    kind = np.dtype(f"{_FORMATS.get(int(tags.get(339, (1,))[0]), 'u')}{max(1, bits // 8)}")
    said = [Card(_NAMES[tag], _word(value)) for tag, value in tags.items() if tag in _NAMES]
    return _made("tiff", name, (bands, height, width), kind, said, _world(tags, width, height))


def _made(medium: str, name: str, shape: tuple[int, int, int], kind: np.dtype[Any], said: list[Card], world: list[Card]) -> Product:  # fmt: skip
    if min(shape) < 1:
        raise SourceError(say("an array of {name} has no size", name))
    placed = any(card.keyword == "CTYPE1" for card in world)
    axes = [Axis(name=word, size=size) for word, size in zip(("BAND", "LINE", "SAMPLE"), shape, strict=True)]
    cards = tuple(world)
    plain = {card.keyword: card.value for card in cards}
    image = Array(
        index=0,
        axes=tuple(axes[shape[0] == 1 :]),
        dtype=kind,
        read=partial(_unread, name),
        cards=cards,
        places=partial(footprints.places, plain) if placed else None,
    )
    return Product(medium=medium, parts=(image,), cards=tuple(said))


def _unread(name: str, _window: object) -> NoReturn:
    raise SourceError(say("the pixels of {name} are not read, its header is", name))


def _word(values: tuple[Any, ...]) -> str:
    text = values[0] if values and isinstance(values[0], bytes) else " ".join(map(str, values)).encode()
    return text.partition(b"\0")[0].decode("utf-8", "replace").strip()[:4000]


def _tags(file: BinaryIO) -> dict[int, tuple[Any, ...]]:
    """Read the first directory of a TIFF: values by tag (TIFF 6.0; BigTIFF)."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    big = struct.unpack(f"{order}H", file.read(2))[0] == 43
    count, entry, place = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    if big:
        file.read(4)
    file.seek(struct.unpack(order + place, file.read(struct.calcsize(order + place)))[0])
    number = struct.unpack(order + count, file.read(struct.calcsize(order + count)))[0]
    size, room = struct.calcsize(order + entry), struct.calcsize(order + place)
    body = file.read(min(int(number), TAGS) * size)
    found: dict[int, tuple[Any, ...]] = {}
    for at in range(0, len(body) - size + 1, size):
        tag, kind, many, where = struct.unpack(order + entry, body[at : at + size])
        code = _TYPES.get(kind)
        if code is None or tag in {273, 279, 324, 325}:  # where its pixels are
            continue
        length = struct.calcsize(f"{order}{code}") * many
        if length > LONGEST:
            continue
        if length <= room:
            data = body[at + size - room : at + size][:length]
        else:
            file.seek(where)
            data = file.read(length)
        found[tag] = struct.unpack(f"{order}{length}s" if code == "s" else order + code * many, data)
    return found


def _world(tags: Mapping[int, tuple[Any, ...]], width: int, height: int) -> list[Card]:
    """Write the map of a GeoTIFF as WCS; empty: it has none, a turned one, or one that is not known (OGC 19-008r4)."""
    keys = _keys(tags)
    step, tie, matrix = tags.get(33550), tags.get(33922), tags.get(34264)
    if matrix is not None and len(matrix) == 16 and not (matrix[1] or matrix[4]):
        step, tie = (matrix[0], -matrix[5]), (0.0, 0.0, 0.0, matrix[3], matrix[7], 0.0)
    if step is None or tie is None or len(tie) < 6 or not step[0] > 0.0 < step[1]:
        return []
    shift = 0.5 if keys.get("raster") == 2 else 0.0  # its points are middles of pixels
    # the corner of the first pixel, in degrees or metres
    left, top = tie[3] - (tie[0] + shift) * step[0], tie[4] + (tie[1] + shift) * step[1]
    citation = str(keys.get("citation") or "")
    body = next((word for word in re.findall(r"[A-Za-z0-9]{3,}", citation) if bodies.find(word)), "")
    body = body or ("Earth" if keys.get("known") in _EARTH or "WGS" in citation else "")
    said: dict[str, object] = {"TARGET_NAME": body}
    radius = keys.get("radius")
    if keys.get("model") == 2:
        across, down, lon = step[0], step[1], left + width / 2 * step[0]
        said |= {"MAP_PROJECTION_TYPE": "SIMPLE CYLINDRICAL", "CENTER_LONGITUDE": lon, "SAMPLE_PROJECTION_OFFSET": width / 2, "LINE_PROJECTION_OFFSET": top / step[1]}  # fmt: skip
    else:
        kind, metres = _PROJECTIONS.get(keys.get("projection", 0)), _METRES.get(keys.get("unit", 9001))
        if kind is None or metres is None or not isinstance(radius, float) or not radius > 0.0:
            return []
        degree = math.radians(1.0) * radius / metres
        across, down = step[0] / degree, step[1] / degree
        lat = float(keys.get("lat") or keys.get("parallel") or 0.0) if kind[:5] != "EQUIR" else float(keys.get("parallel") or 0.0)  # fmt: skip
        said |= {
            "MAP_PROJECTION_TYPE": kind, "CENTER_LONGITUDE": float(keys.get("lon") or 0.0), "CENTER_LATITUDE": math.copysign(90.0, lat) if kind.startswith("POLAR") else lat,
            "SAMPLE_PROJECTION_OFFSET": (float(keys.get("east") or 0.0) - left) / step[0], "LINE_PROJECTION_OFFSET": (top - float(keys.get("north") or 0.0)) / step[1],
        }  # fmt: skip
    if abs(across - down) > 1e-6 * down or not height:
        return []
    if isinstance(radius, float):
        said |= {"A_AXIS_RADIUS": radius / 1e3, "C_AXIS_RADIUS": radius / 1e3}
    return maps.cards(said | {"MAP_RESOLUTION": 1.0 / down}, pixel=0.5)


def _keys(tags: Mapping[int, tuple[Any, ...]]) -> dict[str, Any]:
    """Read the keys of a GeoTIFF that say where it lies."""
    directory, doubles = tags.get(34735, ()), tags.get(34736, ())
    texts = tags.get(34737, (b"",))[0]
    found: dict[str, Any] = {}
    for at in range(4, len(directory) - 3, 4):
        key, where, count, value = directory[at : at + 4]
        if key not in _KEYS:
            continue
        if where == 34736 and value < len(doubles):
            found.setdefault(_KEYS[key], float(doubles[value]))
        elif where == 34737:
            text = texts[value : value + count].decode("latin-1").rstrip("|\0")
            found[_KEYS[key]] = " ".join(filter(None, (found.get(_KEYS[key]), text)))
        elif where == 0:
            found.setdefault(_KEYS[key], int(value))
    return found


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Find the boxes of a JPEG 2000 file: kind, begin and end of what is in it (ISO/IEC 15444-1, annex I)."""
    for _ in range(BOXES):
        if begin + 8 > end:
            return
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        first = begin + 8
        if size == 1:
            size, first = struct.unpack(">Q", file.read(8))[0], begin + 16
        last = end if size == 0 else begin + size
        if last < first or last > end:
            raise ValueError("a box ends behind its file")
        yield kind, first, last
        begin = last


def _jpeg2000(file: BinaryIO, name: str, size: int) -> Product:
    shape, kind = (0, 0, 0), np.dtype("u1")
    said: list[Card] = []
    world: list[Card] = []
    geo, gml = b"", list[bytes]()
    for box, first, last in _boxes(file, 0, size):
        if box == b"jp2h":
            for inner, begin, _ in _boxes(file, first, last):
                if inner == b"ihdr":
                    file.seek(begin)
                    height, width, bands, depth = struct.unpack(">IIHB", file.read(11))
                    shape = (bands, height, width)
                    kind = np.dtype(f"{'i' if depth & 128 else 'u'}{1 if depth & 127 < 8 else 2}")
        elif box in {b"xml ", b"uuid"} and last - first <= LONGEST:
            file.seek(first)
            body = file.read(last - first)
            if box == b"xml ":
                said += _fits_in(body)
            elif body.startswith(_GEO):
                geo = body[16:]
        elif box == b"asoc":
            gml += _associated(file, first, last)
    words = {card.keyword: card for card in said}
    if "CTYPE1" in words:
        world = said
    elif geo:
        world = _world(_tags(io.BytesIO(geo)), shape[2], shape[1])
    elif gml:
        world = _grid(gml, shape[2], shape[1])
    return _made("jpeg2000", name, shape, kind, said, world)


def _associated(file: BinaryIO, begin: int, end: int) -> list[bytes]:
    """Read the documents of XML in boxes that are put together (ISO/IEC 15444-2)."""
    found: list[bytes] = []
    waiting = [(begin, end)]
    for _ in range(FEW):
        if not waiting:
            break
        for box, first, last in _boxes(file, *waiting.pop()):
            if box == b"asoc":
                waiting.append((first, last))
            elif box == b"xml " and last - first <= LONGEST and len(found) < FEW:
                file.seek(first)
                found.append(file.read(last - first))
    return found


def _grid(documents: list[bytes], width: int, height: int) -> list[Card]:
    """Write the map of a grid in GML as WCS; empty: it is turned, or not of longitudes and latitudes (OGC 05-047r3)."""
    roots = [root for one in documents if (root := _parsed(one)) is not None]
    grid = next((found for root in roots if (found := root.find(".//{*}RectifiedGrid")) is not None), None)
    if grid is None:
        return []
    origin, *steps = (
        [float(word) for word in (one.text or "").split()]
        for one in (*grid.findall(".//{*}origin//{*}pos")[:1], *grid.findall("{*}offsetVector"))
    )
    if any(len(one) != 2 for one in (origin, *steps)) or len(steps) != 2:
        return []
    lon = (
        0 if steps[0][0] else 1
    )  # the axis along which rows run: what comes first depends on the system, and on who wrote it
    lat = 1 - lon
    if steps[0][lat] or steps[1][lon]:
        return []
    name = next((str(one.get("srsName")) for one in grid.iter() if one.get("srsName")), "")
    code = re.search(r"EPSG\W.*?(\d+)$", name)
    if code is not None:
        body = "Earth" if int(code[1]) in _EARTH else ""
    else:  # a system of its own, in a document beside it
        own = next((found for root in roots if (found := root.find(".//{*}GeographicCRS")) is not None), None)
        body = "" if own is None else own.findtext("{*}srsName") or ""
    if not body:
        return []
    said = body.encode("ascii", "replace") + b"|"
    keys = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 2, 2049, 34737, len(said), 0)  # degrees, of middles of pixels
    tags: dict[int, tuple[Any, ...]] = {33550: (steps[0][lon], -steps[1][lat], 0.0), 33922: (0.0, 0.0, 0.0, origin[lon], origin[lat], 0.0), 34735: keys, 34737: (said,)}  # fmt: skip
    return _world(tags, width, height)


def _parsed(body: bytes) -> Any:
    """Parse a document of XML, whatever it is; None: it is none."""
    from lxml import etree  # noqa: PLC0415  (beside the standard library's, of which nothing limits entities)

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True, recover=True)  # fmt: skip
    try:
        return etree.fromstring(body.rstrip(b"\0"), parser)
    except etree.XMLSyntaxError:  # of which nothing can be recovered
        return None


def _fits_in(body: bytes) -> list[Card]:
    """Read a header of FITS that is written as XML, as Helioviewer's pictures have it; empty: it is other XML."""
    root = _parsed(body)
    found = None if root is None else root if root.tag == "fits" else root.find(".//fits")
    if found is None:
        return []
    return [Card(str(one.tag).upper(), _value((one.text or "").strip())) for one in found if isinstance(one.tag, str)]  # fmt: skip


def _value(text: str) -> str | int | float:
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    try:
        return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", text) else text
    except ValueError:
        return text


__all__ = ["open_raster"]
