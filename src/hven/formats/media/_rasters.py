"""Pictures with a place: GeoTIFF and JPEG 2000 (GeoJP2, GML, headers of FITS in XML).

Sizes, headers and maps are read, and no pixels.
"""

from __future__ import annotations

import io
import math
import re
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hven.formats.media import _map_projections as map_projections
from hven.formats.media._product import ArrayPart, Axis, HeaderCard, Product
from hven.model.errors import SourceError, format_message
from hven.model.sky import bodies, footprints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from hven.formats.media._remote_files import Place

MAX_DIRECTORY_TAGS, MAX_VALUE_BYTES, MAX_BOXES, MAX_ASSOCIATED_BOXES = (
    400,
    1 << 20,
    2000,
    20,
)  # of a directory; bytes of a value or a box; boxes of a file, and of what is put together
_GEOJP2_UUID = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
_TIFF_TYPE_CODES = {
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
_TIFF_TAG_NAMES = {
    270: "ImageDescription",
    271: "Make",
    272: "Model",
    305: "Software",
    306: "DateTime",
    315: "Artist",
    33432: "Copyright",
    42112: "GDAL_METADATA",
    42113: "GDAL_NODATA",
}
_GEOTIFF_KEY_NAMES = {
    1024: "model",
    1025: "raster",
    1026: "citation",
    2049: "citation",
    2057: "radius",
    3073: "citation",
    3075: "projection",
    3076: "unit",
    3078: "parallel",
    3080: "lon",
    3081: "lat",
    3082: "east",
    3083: "north",
    3088: "lon",
    3089: "lat",
    3095: "lon",
    2048: "known",
}
_PROJECTION_NAMES = {
    17: "EQUIRECTANGULAR",
    24: "SINUSOIDAL",
    15: "POLAR STEREOGRAPHIC",
    14: "STEREOGRAPHIC",
    21: "ORTHOGRAPHIC",
    10: "LAMBERT AZIMUTHAL EQUAL AREA",
}
_UNIT_METRES = {9001: 1.0, 9036: 1000.0}
_EARTH_EPSG_CODES = {4326, 4258, 4269, 4979}  # EPSG's numbers of usual longitudes and latitudes
_SAMPLE_FORMAT_LETTERS = {1: "u", 2: "i", 3: "f"}


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
        signature = file.read(12)
        try:
            if signature[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
                return _open_tiff(file, name)
            if signature[4:12] == b"jP  \r\n\x87\n":
                return _open_jpeg2000(file, name, path.stat().st_size)
        except (struct.error, ValueError, TypeError, ArithmeticError, LookupError) as fault:
            raise SourceError(format_message("{name} is damaged: {reason}", name, str(fault)[:160])) from None
    return None


def _open_tiff(file: BinaryIO, name: str) -> Product:
    tags = _read_tags(file)
    width, height = (int(tags[tag][0]) for tag in (256, 257))
    bands = int(tags.get(277, (1,))[0])
    bits = int(tags.get(258, (8,))[0])
    kind = np.dtype(f"{_SAMPLE_FORMAT_LETTERS.get(int(tags.get(339, (1,))[0]), 'u')}{max(1, bits // 8)}")
    cards = [
        HeaderCard(_TIFF_TAG_NAMES[tag], _decode_tag_value(value))
        for tag, value in tags.items()
        if tag in _TIFF_TAG_NAMES
    ]
    return _create_product("tiff", name, (bands, height, width), kind, cards, _write_geotiff_wcs(tags, width, height))


def _create_product(
    medium: str,
    name: str,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    label_cards: list[HeaderCard],
    wcs_cards: list[HeaderCard],
) -> Product:
    if min(shape) < 1:
        raise SourceError(format_message("an array of {name} has no size", name))
    has_wcs = any(card.keyword == "CTYPE1" for card in wcs_cards)
    axes = [Axis(name=axis_name, size=size) for axis_name, size in zip(("BAND", "LINE", "SAMPLE"), shape, strict=True)]
    cards = tuple(wcs_cards)
    card_values = {card.keyword: card.value for card in cards}
    image = ArrayPart(
        index=0,
        axes=tuple(axes[shape[0] == 1 :]),
        dtype=dtype,
        read=partial(_refuse_pixels, name),
        cards=cards,
        create_sky_mapping=partial(footprints.build_image_wcs, card_values) if has_wcs else None,
    )
    return Product(medium=medium, parts=(image,), cards=tuple(label_cards))


def _refuse_pixels(name: str, _window: object) -> NoReturn:
    raise SourceError(format_message("the pixels of {name} are not read, its header is", name))


def _decode_tag_value(values: tuple[Any, ...]) -> str:
    if values and isinstance(values[0], bytes):
        text = values[0]
    else:
        text = " ".join(map(str, values)).encode()
    return text.partition(b"\0")[0].decode("utf-8", "replace").strip()[:4000]


def _read_tags(file: BinaryIO) -> dict[int, tuple[Any, ...]]:
    """Read the first directory of a TIFF: values by tag (TIFF 6.0; BigTIFF)."""
    file.seek(0)
    if file.read(2) == b"II":
        order = "<"
    else:
        order = ">"
    big = struct.unpack(f"{order}H", file.read(2))[0] == 43
    if big:
        count, entry, place = ("Q", "HHQQ", "Q")
    else:
        count, entry, place = ("H", "HHII", "I")
    if big:
        file.read(4)
    file.seek(struct.unpack(order + place, file.read(struct.calcsize(order + place)))[0])
    number = struct.unpack(order + count, file.read(struct.calcsize(order + count)))[0]
    size = struct.calcsize(order + entry)
    inline_bytes = struct.calcsize(order + place)
    body = file.read(min(int(number), MAX_DIRECTORY_TAGS) * size)
    tag_values: dict[int, tuple[Any, ...]] = {}
    for entry_start in range(0, len(body) - size + 1, size):
        tag, kind, value_count, offset = struct.unpack(order + entry, body[entry_start : entry_start + size])
        code = _TIFF_TYPE_CODES.get(kind)
        if code is None or tag in {273, 279, 324, 325}:  # where its pixels are
            continue
        length = struct.calcsize(f"{order}{code}") * value_count
        if length > MAX_VALUE_BYTES:
            continue
        if length <= inline_bytes:
            data = body[entry_start + size - inline_bytes : entry_start + size][:length]
        else:
            file.seek(offset)
            data = file.read(length)
        tag_values[tag] = struct.unpack(f"{order}{length}s" if code == "s" else order + code * value_count, data)
    return tag_values


def _write_geotiff_wcs(tags: Mapping[int, tuple[Any, ...]], width: int, height: int) -> list[HeaderCard]:
    """Write the map of a GeoTIFF as WCS; empty: it has none, a turned one, or one that is not known (OGC 19-008r4)."""
    keys = _read_geo_keys(tags)
    step = tags.get(33550)
    tie = tags.get(33922)
    matrix = tags.get(34264)
    if matrix is not None and len(matrix) == 16 and not (matrix[1] or matrix[4]):
        step = (matrix[0], -matrix[5])
        tie = (0.0, 0.0, 0.0, matrix[3], matrix[7], 0.0)
    if step is None or tie is None or len(tie) < 6 or not step[0] > 0.0 < step[1]:
        return []
    # its points are middles of pixels
    if keys.get("raster") == 2:
        shift = 0.5
    else:
        shift = 0.0
    # the corner of the first pixel, in degrees or metres
    left_edge = tie[3] - (tie[0] + shift) * step[0]
    top_edge = tie[4] + (tie[1] + shift) * step[1]
    citation = str(keys.get("citation") or "")
    body = next((word for word in re.findall(r"[A-Za-z0-9]{3,}", citation) if bodies.find_body(word)), "")
    body = body or ("Earth" if keys.get("known") in _EARTH_EPSG_CODES or "WGS" in citation else "")
    label_values: dict[str, object] = {"TARGET_NAME": body}
    radius = keys.get("radius")
    if keys.get("model") == 2:
        degrees_per_column = step[0]
        degrees_per_row = step[1]
        lon = left_edge + width / 2 * step[0]
        label_values |= {
            "MAP_PROJECTION_TYPE": "SIMPLE CYLINDRICAL",
            "CENTER_LONGITUDE": lon,
            "SAMPLE_PROJECTION_OFFSET": width / 2,
            "LINE_PROJECTION_OFFSET": top_edge / step[1],
        }
    else:
        kind = _PROJECTION_NAMES.get(keys.get("projection", 0))
        metres = _UNIT_METRES.get(keys.get("unit", 9001))
        if kind is None or metres is None or not isinstance(radius, float) or not radius > 0.0:
            return []
        degree = math.radians(1.0) * radius / metres
        degrees_per_column = step[0] / degree
        degrees_per_row = step[1] / degree
        if kind[:5] != "EQUIR":
            lat = float(keys.get("lat") or keys.get("parallel") or 0.0)
        else:
            lat = float(keys.get("parallel") or 0.0)
        label_values |= {
            "MAP_PROJECTION_TYPE": kind,
            "CENTER_LONGITUDE": float(keys.get("lon") or 0.0),
            "CENTER_LATITUDE": math.copysign(90.0, lat) if kind.startswith("POLAR") else lat,
            "SAMPLE_PROJECTION_OFFSET": (float(keys.get("east") or 0.0) - left_edge) / step[0],
            "LINE_PROJECTION_OFFSET": (top_edge - float(keys.get("north") or 0.0)) / step[1],
        }
    if abs(degrees_per_column - degrees_per_row) > 1e-6 * degrees_per_row or not height:
        return []
    if isinstance(radius, float):
        label_values |= {"A_AXIS_RADIUS": radius / 1e3, "C_AXIS_RADIUS": radius / 1e3}
    return map_projections.write_map_cards(label_values | {"MAP_RESOLUTION": 1.0 / degrees_per_row}, origin_pixel=0.5)


def _read_geo_keys(tags: Mapping[int, tuple[Any, ...]]) -> dict[str, Any]:
    """Read the keys of a GeoTIFF that say where it lies."""
    directory = tags.get(34735, ())
    doubles = tags.get(34736, ())
    texts = tags.get(34737, (b"",))[0]
    key_values: dict[str, Any] = {}
    for position in range(4, len(directory) - 3, 4):
        key, location, count, value = directory[position : position + 4]
        if key not in _GEOTIFF_KEY_NAMES:
            continue
        if location == 34736 and value < len(doubles):
            key_values.setdefault(_GEOTIFF_KEY_NAMES[key], float(doubles[value]))
        elif location == 34737:
            text = texts[value : value + count].decode("latin-1").rstrip("|\0")
            key_values[_GEOTIFF_KEY_NAMES[key]] = " ".join(
                filter(None, (key_values.get(_GEOTIFF_KEY_NAMES[key]), text))
            )
        elif location == 0:
            key_values.setdefault(_GEOTIFF_KEY_NAMES[key], int(value))
    return key_values


def _read_boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Find the boxes of a JPEG 2000 file: kind, begin and end of what is in it (ISO/IEC 15444-1, annex I)."""
    for _ in range(MAX_BOXES):
        if begin + 8 > end:
            return
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        content_start = begin + 8
        if size == 1:
            size = struct.unpack(">Q", file.read(8))[0]
            content_start = begin + 16
        content_end = end if size == 0 else begin + size
        if content_end < content_start or content_end > end:
            raise ValueError("a box ends behind its file")
        yield kind, content_start, content_end
        begin = content_end


def _open_jpeg2000(file: BinaryIO, name: str, size: int) -> Product:
    shape = (0, 0, 0)
    kind = np.dtype("u1")
    cards: list[HeaderCard] = []
    wcs_cards: list[HeaderCard] = []
    geo = b""
    gml = list[bytes]()
    for box, content_start, content_end in _read_boxes(file, 0, size):
        if box == b"jp2h":
            for inner, begin, _ in _read_boxes(file, content_start, content_end):
                if inner == b"ihdr":
                    file.seek(begin)
                    height, width, bands, depth = struct.unpack(">IIHB", file.read(11))
                    shape = (bands, height, width)
                    kind = np.dtype(f"{'i' if depth & 128 else 'u'}{1 if depth & 127 < 8 else 2}")
        elif box in {b"xml ", b"uuid"} and content_end - content_start <= MAX_VALUE_BYTES:
            file.seek(content_start)
            body = file.read(content_end - content_start)
            if box == b"xml ":
                cards += _read_fits_xml(body)
            elif body.startswith(_GEOJP2_UUID):
                geo = body[16:]
        elif box == b"asoc":
            gml += _read_associated_xml(file, content_start, content_end)
    words = {card.keyword: card for card in cards}
    if "CTYPE1" in words:
        wcs_cards = cards
    elif geo:
        tags = _read_tags(io.BytesIO(geo))
        wcs_cards = _write_geotiff_wcs(tags, shape[2], shape[1])
    elif gml:
        wcs_cards = _write_gml_wcs(gml, shape[2], shape[1])
    return _create_product("jpeg2000", name, shape, kind, cards, wcs_cards)


def _read_associated_xml(file: BinaryIO, begin: int, end: int) -> list[bytes]:
    """Read the documents of XML in boxes that are put together (ISO/IEC 15444-2)."""
    documents: list[bytes] = []
    waiting = [(begin, end)]
    for _ in range(MAX_ASSOCIATED_BOXES):
        if not waiting:
            break
        for box, first, last in _read_boxes(file, *waiting.pop()):
            if box == b"asoc":
                waiting.append((first, last))
            elif box == b"xml " and last - first <= MAX_VALUE_BYTES and len(documents) < MAX_ASSOCIATED_BOXES:
                file.seek(first)
                documents.append(file.read(last - first))
    return documents


def _write_gml_wcs(documents: list[bytes], width: int, height: int) -> list[HeaderCard]:
    """Write the map of a grid in GML as WCS; empty: it is turned, or not of longitudes and latitudes (OGC 05-047r3)."""
    roots = [root for element_or_document in documents if (root := _parse_xml(element_or_document)) is not None]
    grid = next((element for root in roots if (element := root.find(".//{*}RectifiedGrid")) is not None), None)
    if grid is None:
        return []
    origin, *steps = (
        [float(word) for word in (element_or_document.text or "").split()]
        for element_or_document in (*grid.findall(".//{*}origin//{*}pos")[:1], *grid.findall("{*}offsetVector"))
    )
    if any(len(element_or_document) != 2 for element_or_document in (origin, *steps)) or len(steps) != 2:
        return []
    # the axis along which rows run: what comes first depends on the system, and on who wrote it
    if steps[0][0]:
        lon = 0
    else:
        lon = 1
    lat = 1 - lon
    if steps[0][lat] or steps[1][lon]:
        return []
    name = next(
        (
            str(element_or_document.get("srsName"))
            for element_or_document in grid.iter()
            if element_or_document.get("srsName")
        ),
        "",
    )
    code = re.search(r"EPSG\W.*?(\d+)$", name)
    if code is not None:
        if int(code[1]) in _EARTH_EPSG_CODES:
            body = "Earth"
        else:
            body = ""
    else:  # a system of its own, in a document beside it
        crs_element = next(
            (element for root in roots if (element := root.find(".//{*}GeographicCRS")) is not None), None
        )
        if crs_element is None:
            body = ""
        else:
            body = crs_element.findtext("{*}srsName") or ""
    if not body:
        return []
    citation = body.encode("ascii", "replace") + b"|"
    keys = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 2, 2049, 34737, len(citation), 0)  # degrees, of middles of pixels
    tags: dict[int, tuple[Any, ...]] = {
        33550: (steps[0][lon], -steps[1][lat], 0.0),
        33922: (0.0, 0.0, 0.0, origin[lon], origin[lat], 0.0),
        34735: keys,
        34737: (citation,),
    }
    return _write_geotiff_wcs(tags, width, height)


def _parse_xml(body: bytes) -> Any:
    """Parse a document of XML, whatever it is; None: it is none."""
    from lxml import etree  # noqa: PLC0415  (beside the standard library's, of which nothing limits entities)

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True, recover=True
    )
    try:
        return etree.fromstring(body.rstrip(b"\0"), parser)
    except etree.XMLSyntaxError:  # of which nothing can be recovered
        return None


def _read_fits_xml(body: bytes) -> list[HeaderCard]:
    """Read a header of FITS that is written as XML, as Helioviewer's pictures have it; empty: it is other XML."""
    root = _parse_xml(body)
    if root is None:
        fits_element = None
    elif root.tag == "fits":
        fits_element = root
    else:
        fits_element = root.find(".//fits")
    if fits_element is None:
        return []
    return [
        HeaderCard(str(card_element.tag).upper(), _parse_value((card_element.text or "").strip()))
        for card_element in fits_element
        if isinstance(card_element.tag, str)
    ]


def _parse_value(text: str) -> str | int | float:
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    try:
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", text):
            return float(text)
        return text
    except ValueError:
        return text


__all__ = ["open_raster"]
