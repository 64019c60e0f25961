"""Read images with a position: GeoTIFF and JPEG 2000 (GeoJP2, GML, FITS headers in XML).

Sizes, headers and maps are read, but no pixels.
"""

from __future__ import annotations

import io
import math
import re
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hven.formats.media import _map_projections as map_projections
from hven.formats.media._product import ArrayPart, Axis, HeaderCard, OpenProductFile
from hven.model.errors import SourceError, format_message
from hven.model.sky import bodies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from hven.formats.media._remote_files import Place

MAX_DIRECTORY_TAGS = 400  # of a directory
MAX_VALUE_BYTES = 1 << 20  # of a value or a box
MAX_BOXES = 2000  # of a file
MAX_ASSOCIATED_BOXES = 20  # of an association
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
_EARTH_EPSG_CODES = {4326, 4258, 4269, 4979}  # usual longitudes and latitudes
_SAMPLE_FORMAT_LETTERS = {1: "u", 2: "i", 3: "f"}


def open_raster(path: Place, name: str) -> OpenProductFile | None:
    """Open an image for its header.

    Parameters
    ----------
    path
        Path of the file; it is read by ranges, wherever it lies.
    name
        Name under which readers know the file.

    Returns
    -------
    product
        Product with one image, whose pixels cannot be read; None if the file is neither TIFF nor JPEG 2000.

    Raises
    ------
    SourceError
        The file is damaged.
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


def _open_tiff(file: BinaryIO, name: str) -> OpenProductFile:
    tags = _read_tiff_tags(file)
    width, height = (int(tags[tag][0]) for tag in (256, 257))
    bands = int(tags.get(277, (1,))[0])
    bits = int(tags.get(258, (8,))[0])
    sample_format = int(tags.get(339, (1,))[0])
    letter = _SAMPLE_FORMAT_LETTERS.get(sample_format, "u")
    kind = np.dtype(f"{letter}{max(1, bits // 8)}")
    cards = []
    for tag, value in tags.items():
        if tag in _TIFF_TAG_NAMES:
            card = HeaderCard(_TIFF_TAG_NAMES[tag], _decode_tag_value(value))
            cards.append(card)
    wcs_cards = _write_geotiff_wcs_cards(tags, width, height)
    return _create_product("tiff", name, (bands, height, width), kind, label_cards=cards, wcs_cards=wcs_cards)


def _create_product(
    medium: str,
    name: str,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    *,
    label_cards: list[HeaderCard],
    wcs_cards: list[HeaderCard],
) -> OpenProductFile:
    if min(shape) < 1:
        raise SourceError(format_message("the size of an array in {name} is missing", name))
    bands, lines, samples = shape
    axes = [Axis(name="LINE", size=lines), Axis(name="SAMPLE", size=samples)]
    if bands > 1:
        axes.insert(0, Axis(name="BAND", size=bands))
    cards = tuple(wcs_cards)
    image = ArrayPart(
        index=0,
        axes=tuple(axes),
        dtype=dtype,
        read=partial(_refuse_to_read_pixels, name),
        cards=cards,
        create_sky_mapping=map_projections.create_sky_mapping_builder(cards),
    )
    return OpenProductFile(medium=medium, parts=(image,), cards=tuple(label_cards))


def _refuse_to_read_pixels(name: str, _window: object) -> NoReturn:
    raise SourceError(format_message("Hven reads only the header of {name}, not its pixels", name))


def _decode_tag_value(values: tuple[Any, ...]) -> str:
    if values and isinstance(values[0], bytes):
        text = values[0]
    else:
        text = " ".join(map(str, values)).encode()
    decoded_text = text.partition(b"\0")[0].decode("utf-8", "replace")
    return decoded_text.strip()[:4000]


def _read_tiff_tags(file: BinaryIO) -> dict[int, tuple[Any, ...]]:
    """Read the first directory of a TIFF, values by tag (TIFF 6.0; BigTIFF)."""
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
    place_bytes = file.read(struct.calcsize(order + place))
    file.seek(struct.unpack(order + place, place_bytes)[0])
    count_bytes = file.read(struct.calcsize(order + count))
    number = struct.unpack(order + count, count_bytes)[0]
    size = struct.calcsize(order + entry)
    inline_bytes = struct.calcsize(order + place)
    body = file.read(min(int(number), MAX_DIRECTORY_TAGS) * size)
    tag_values: dict[int, tuple[Any, ...]] = {}
    for entry_start in range(0, len(body) - size + 1, size):
        entry_bytes = body[entry_start : entry_start + size]
        tag, kind, value_count, offset = struct.unpack(order + entry, entry_bytes)
        code = _TIFF_TYPE_CODES.get(kind)
        if code is None or tag in {273, 279, 324, 325}:  # places of the pixels
            continue
        length = struct.calcsize(f"{order}{code}") * value_count
        if length > MAX_VALUE_BYTES:
            continue
        if length <= inline_bytes:
            data = body[entry_start + size - inline_bytes : entry_start + size][:length]
        else:
            file.seek(offset)
            data = file.read(length)
        value_format = f"{length}s" if code == "s" else code * value_count
        tag_values[tag] = struct.unpack(order + value_format, data)
    return tag_values


def _write_geotiff_wcs_cards(tags: Mapping[int, tuple[Any, ...]], width: int, height: int) -> list[HeaderCard]:
    """Write the map of a GeoTIFF as WCS; return nothing for none, a rotated or an unknown one (OGC 19-008r4)."""
    keys = _read_geo_keys(tags)
    step = tags.get(33550)
    tie = tags.get(33922)
    matrix = tags.get(34264)
    if matrix is not None and len(matrix) == 16 and not (matrix[1] or matrix[4]):
        step = (matrix[0], -matrix[5])
        tie = (0.0, 0.0, 0.0, matrix[3], matrix[7], 0.0)
    if step is None or tie is None or len(tie) < 6 or not step[0] > 0.0 < step[1]:
        return []
    shift = 0.0
    if keys.get("raster") == 2:  # its points are middles of pixels
        shift = 0.5
    # the corner of the first pixel, in degrees or metres
    left_edge = tie[3] - (tie[0] + shift) * step[0]
    top_edge = tie[4] + (tie[1] + shift) * step[1]
    label_values: dict[str, object] = {"TARGET_NAME": _find_body_name(keys)}
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
        if kind.startswith("POLAR"):
            lat = math.copysign(90.0, lat)
        east = float(keys.get("east") or 0.0)
        north = float(keys.get("north") or 0.0)
        label_values["MAP_PROJECTION_TYPE"] = kind
        label_values["CENTER_LONGITUDE"] = float(keys.get("lon") or 0.0)
        label_values["CENTER_LATITUDE"] = lat
        label_values["SAMPLE_PROJECTION_OFFSET"] = (east - left_edge) / step[0]
        label_values["LINE_PROJECTION_OFFSET"] = (top_edge - north) / step[1]
    if abs(degrees_per_column - degrees_per_row) > 1e-6 * degrees_per_row or not height:
        return []
    if isinstance(radius, float):
        label_values |= {"A_AXIS_RADIUS": radius / 1e3, "C_AXIS_RADIUS": radius / 1e3}
    label_values["MAP_RESOLUTION"] = 1.0 / degrees_per_row
    return map_projections.write_map_projection_cards(label_values, origin_pixel=0.5)


def _find_body_name(keys: Mapping[str, Any]) -> str:
    """Find the body in the citation of a coordinate system; empty if it names none."""
    citation = str(keys.get("citation") or "")
    for word in re.findall(r"[A-Za-z0-9]{3,}", citation):
        if bodies.find_solar_system_body(word):
            return str(word)
    if keys.get("known") in _EARTH_EPSG_CODES or "WGS" in citation:
        return "Earth"
    return ""


def _read_geo_keys(tags: Mapping[int, tuple[Any, ...]]) -> dict[str, Any]:
    """Read the keys of a GeoTIFF that describe its position."""
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
            name = _GEOTIFF_KEY_NAMES[key]
            texts_so_far = filter(None, (key_values.get(name), text))
            key_values[name] = " ".join(texts_so_far)
        elif location == 0:
            key_values.setdefault(_GEOTIFF_KEY_NAMES[key], int(value))
    return key_values


def _iterate_jpeg2000_boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of a JPEG 2000 file: kind, and begin and end of the content (ISO/IEC 15444-1, annex I)."""
    for _ in range(MAX_BOXES):
        if begin + 8 > end:
            return
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        content_start = begin + 8
        if size == 1:
            size = struct.unpack(">Q", file.read(8))[0]
            content_start = begin + 16
        content_end = begin + size if size else end
        if content_end < content_start or content_end > end:
            raise ValueError("a JPEG 2000 box extends beyond the end of the file")
        yield kind, content_start, content_end
        begin = content_end


def _open_jpeg2000(file: BinaryIO, name: str, size: int) -> OpenProductFile:
    shape = (0, 0, 0)
    kind = np.dtype("u1")
    cards: list[HeaderCard] = []
    wcs_cards: list[HeaderCard] = []
    geo = b""
    gml = list[bytes]()
    for box, content_start, content_end in _iterate_jpeg2000_boxes(file, 0, size):
        if box == b"jp2h":
            for inner, begin, _ in _iterate_jpeg2000_boxes(file, content_start, content_end):
                if inner == b"ihdr":
                    file.seek(begin)
                    height, width, bands, depth = struct.unpack(">IIHB", file.read(11))
                    shape = (bands, height, width)
                    letter = "i" if depth & 128 else "u"
                    sample_bytes = 1 if depth & 127 < 8 else 2
                    kind = np.dtype(f"{letter}{sample_bytes}")
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
        tags = _read_tiff_tags(io.BytesIO(geo))
        wcs_cards = _write_geotiff_wcs_cards(tags, shape[2], shape[1])
    elif gml:
        wcs_cards = _write_gml_wcs_cards(gml, shape[2], shape[1])
    return _create_product("jpeg2000", name, shape, kind, label_cards=cards, wcs_cards=wcs_cards)


def _read_associated_xml(file: BinaryIO, begin: int, end: int) -> list[bytes]:
    """Read the XML documents in associated boxes (ISO/IEC 15444-2)."""
    documents: list[bytes] = []
    waiting = [(begin, end)]
    for _ in range(MAX_ASSOCIATED_BOXES):
        if not waiting:
            break
        for box, first, last in _iterate_jpeg2000_boxes(file, *waiting.pop()):
            if box == b"asoc":
                waiting.append((first, last))
            elif box == b"xml " and last - first <= MAX_VALUE_BYTES and len(documents) < MAX_ASSOCIATED_BOXES:
                file.seek(first)
                documents.append(file.read(last - first))
    return documents


def _write_gml_wcs_cards(documents: list[bytes], width: int, height: int) -> list[HeaderCard]:
    """Write the map of a grid in GML as WCS (OGC 05-047r3).

    Return nothing if the grid is rotated, or has no longitudes and latitudes.
    """
    roots = [root for root in map(_parse_xml, documents) if root is not None]
    grid = _find_element(roots, ".//{*}RectifiedGrid")
    if grid is None:
        return []
    vector_elements = [*grid.findall(".//{*}origin//{*}pos")[:1], *grid.findall("{*}offsetVector")]
    vectors = [[float(word) for word in (element.text or "").split()] for element in vector_elements]
    origin, *steps = vectors
    if len(steps) != 2 or any(len(vector) != 2 for vector in vectors):
        return []
    # the axis along which rows run; which axis comes first depends on the system and on the writer
    lon = 1
    if steps[0][0]:
        lon = 0
    lat = 1 - lon
    if steps[0][lat] or steps[1][lon]:
        return []
    names = [str(element.get("srsName")) for element in grid.iter() if element.get("srsName")]
    code = re.search(r"EPSG\W.*?(\d+)$", names[0] if names else "")
    body = ""
    if code is None:  # a system of its own, in another document
        crs_element = _find_element(roots, ".//{*}GeographicCRS")
        if crs_element is not None:
            body = crs_element.findtext("{*}srsName") or ""
    elif int(code[1]) in _EARTH_EPSG_CODES:
        body = "Earth"
    if not body:
        return []
    citation = body.encode("ascii", "replace") + b"|"
    # degrees, of middles of pixels
    keys = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 2, 2049, 34737, len(citation), 0)
    tags: dict[int, tuple[Any, ...]] = {
        33550: (steps[0][lon], -steps[1][lat], 0.0),
        33922: (0.0, 0.0, 0.0, origin[lon], origin[lat], 0.0),
        34735: keys,
        34737: (citation,),
    }
    return _write_geotiff_wcs_cards(tags, width, height)


def _find_element(roots: list[Any], path: str) -> Any:
    """Return the first element of a path in several documents; None if there is none."""
    for root in roots:
        element = root.find(path)
        if element is not None:
            return element
    return None


def _parse_xml(body: bytes) -> Any:
    """Parse an XML document; return None if it is none."""
    from lxml import etree  # noqa: PLC0415  (the standard library's parser does not limit entities)

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True, recover=True
    )
    try:
        return etree.fromstring(body.rstrip(b"\0"), parser)
    except etree.XMLSyntaxError:  # nothing can be recovered
        return None


def _read_fits_xml(body: bytes) -> list[HeaderCard]:
    """Read a FITS header in XML, as Helioviewer's images have it; return nothing for other XML."""
    root = _parse_xml(body)
    if root is None:
        fits_element = None
    elif root.tag == "fits":
        fits_element = root
    else:
        fits_element = root.find(".//fits")
    if fits_element is None:
        return []
    cards = []
    for card_element in fits_element:
        if isinstance(card_element.tag, str):
            value = _parse_value((card_element.text or "").strip())
            cards.append(HeaderCard(card_element.tag.upper(), value))
    return cards


def _parse_value(text: str) -> str | int | float:
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", text):
        with suppress(ValueError):  # the exponent of Fortran's D
            return float(text)
    return text
