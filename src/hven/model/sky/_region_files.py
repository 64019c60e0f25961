"""Detect the format of files of regions, and read DS9 and CASA region files through Astropy's library `regions`."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import UserError
from hven.model.sky._geojson import (
    GeoJsonError,
    GeoJsonFeatures,
    find_lon_sign_and_lat_factor,
    parse_geojson,
    to_geojson_geometries,
    to_map_geometries,
    to_planetocentric_latitudes,
    write_feature_collection_opening,
    write_geojson_features,
)
from hven.model.sky._moc_files import read_moc, write_moc
from hven.model.sky._region_texts import (
    TEXT_KINDS,
    ParsedRegions,
    build_regions_from_mocs,
    build_regions_from_shapes,
    note_self_crossings,
    parse_region_texts,
    replace_invalid_regions_by_empty,
    split_into_simple_polygons,
    write_region_texts,
)
from hven.model.sky._regions import Regions
from hven.model.sky._sphere import to_lon_lat, to_unit_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = [
    "READABLE_FORMATS",
    "TEXT_KINDS",
    "GeoJsonError",
    "GeoJsonFeatures",
    "ParsedRegions",
    "build_regions_from_shapes",
    "detect_region_format",
    "find_lon_sign_and_lat_factor",
    "parse_geojson",
    "parse_region_file",
    "parse_region_texts",
    "read_moc",
    "split_into_simple_polygons",
    "to_geojson_geometries",
    "to_map_geometries",
    "to_planetocentric_latitudes",
    "write_feature_collection_opening",
    "write_geojson_features",
    "write_moc",
    "write_region_file",
    "write_region_texts",
]

READABLE_FORMATS = "GeoJSON, DS9 (.reg), CRTF (.crtf), MOC (FITS, JSON, ASCII), or lines of STC-S or DALI's shapes"
_DS9_PATTERN = re.compile(
    rb"\s*#\s*Region file format: *DS9|\s*(?:icrs|fk5|fk4|galactic|ecliptic|j2000|b1950|image|physical)\s*(?:;|\r?\n)",
    re.IGNORECASE,
)
_CRTF_PATTERN = re.compile(rb"\s*#\s*CRTF", re.IGNORECASE)
_MOC_PATTERN = re.compile(rb"(?:\s*s?\d+/[\d\s,\-]*)+\s*", re.IGNORECASE)
REVERSED_NOTE = "its outline is clockwise, so it was reversed (RFC 7946)"
_ELLIPSE_CORNERS = 128  # corners of an ellipse


def detect_region_format(data: bytes, name: str = "") -> str | None:
    """Detect the format of a file of regions.

    Parameters
    ----------
    data
        The bytes of the file, or its first kilobytes.
    name
        The name of the file, whose ending identifies DS9 and CASA files without a header.

    Returns
    -------
    form
        ``geojson``, ``moc``, ``ds9``, ``crtf``, ``text``; None if the format is unknown.
    """
    start = data.lstrip()[:4096]
    if start.startswith(b"{"):
        return _detect_json_format(data, start)
    if start.startswith(b"SIMPLE  ="):
        is_moc = re.search(rb"ORDERING= '(?:RANGE|NUNIQ)", data) is not None
        return "moc" if is_moc else None
    ending = name.lower().rsplit(".", 1)[-1]
    if _CRTF_PATTERN.match(start) or ending == "crtf":
        return "crtf"
    if _DS9_PATTERN.match(start) or ending == "reg":
        return "ds9"
    if _MOC_PATTERN.fullmatch(data):
        return "moc"
    is_text = re.match(rb"(?i)(circle|polygon|range|box|position|union|allsky|multishape)\b", start) is not None
    return "text" if is_text else None


def _detect_json_format(data: bytes, start: bytes) -> str | None:
    if re.search(rb'"type"\s*:', data):
        return "geojson"
    is_moc = re.match(rb'\{\s*("\d+"|\})', start) is not None
    return "moc" if is_moc else None


def parse_region_file(data: bytes, name: str = "", *, make_valid: bool = False) -> ParsedRegions:
    """Read a file of regions.

    Parameters
    ----------
    data
        The file's bytes.
    name
        The name of the file, for messages and for its ending.
    make_valid
        Whether to note polygons that cross themselves instead of reporting a fault. What they wind round replaces them.

    Returns
    -------
    read
        The regions, and the faults by row.

    Raises
    ------
    ValueError
        The file is empty, its format is unknown, or it violates its format.
    UserError
        The library for DS9 and CRTF files is not installed.
    """
    if not data.strip():
        message = "the file is empty"
        raise ValueError(message)
    file_format = detect_region_format(data, name)
    if file_format is None:
        message = f"Hven cannot read regions from this file; it reads {READABLE_FORMATS}"
        raise ValueError(message)
    if file_format == "moc":
        regions, faults = build_regions_from_mocs({0: read_moc(data)})
        return replace_invalid_regions_by_empty(regions, [faults.get(0, "")], [None], None)
    text = data.decode("utf-8", "replace")
    if file_format == "geojson":
        features = parse_geojson(data, make_valid=make_valid)
        names = [None if feature_id is None else str(feature_id) for feature_id in features.ids]
        reversed_rows = np.flatnonzero(features.is_reversed).tolist()
        reversal_notes = {row: REVERSED_NOTE for row in reversed_rows if not features.faults[row]}
        parsed = ParsedRegions(features.regions, features.faults, names, features.crs, reversal_notes)
        return note_self_crossings(parsed, np.flatnonzero(features.is_self_crossing))
    if file_format == "text":
        lines = [line for line in text.splitlines() if line.strip()]
        return parse_region_texts(lines, make_valid=make_valid)
    return _parse_ds9_or_casa_regions(text, file_format)


def _import_regions_library() -> Any:
    try:
        import regions  # noqa: PLC0415  (half a second, and an extra of its own)
    except ImportError:
        raise UserError(
            "reading region files of DS9 and CASA requires Astropy's regions library, which is not installed",
            remedy="run `pip install 'hven[regions]'`",
        ) from None
    return regions


def _parse_ds9_or_casa_regions(text: str, file_format: str) -> ParsedRegions:
    """Read a region file of DS9 or CASA."""
    library = _import_regions_library()
    format_name = "DS9" if file_format == "ds9" else "CRTF"
    try:
        with warnings.catch_warnings(record=True) as caught_warnings:  # the library warns of what it cannot read
            warnings.simplefilter("always")
            drawn_regions = list(library.Regions.parse(text, format=file_format))
    except Exception as error:  # noqa: BLE001  (the library raises any class of error)
        reason = str(error) or type(error).__name__
        message = f"the {format_name} file cannot be read: {reason}"
        raise ValueError(message) from None
    built_regions = []
    faults = []
    names = []
    for item in drawn_regions:
        fault = ""
        region = Regions.create_empty(1)
        word = type(item).__name__
        try:
            if "Pixel" in word:
                fault = "it is drawn in pixels of an image: save it in sky coordinates (icrs, fk5, galactic)"
            elif item.meta.get("include") in {False, "-"}:
                fault = "it is excluded (-), so it is a condition on other regions, not a region"
            else:
                region = _convert_drawn_region(item, word.removesuffix("SkyRegion"))
        except ValueError as error:
            fault = str(error)
        built_regions.append(region)
        faults.append(fault)
        names.append(item.meta.get("text") or item.meta.get("label") or None)
    warning_texts = [str(warning.message) for warning in caught_warnings]
    skipped_texts = [text for text in warning_texts if "skipping" in text]
    if not drawn_regions and not skipped_texts:
        message = f"there is no region in the {format_name} file"
        raise ValueError(message)
    empty = Regions.create_empty(len(skipped_texts))
    regions = Regions.concat([*built_regions, empty])
    all_names = [*names, *[None] * len(skipped_texts)]
    return replace_invalid_regions_by_empty(regions, [*faults, *skipped_texts], all_names, "ICRS")


def _convert_drawn_region(drawn_region: Any, shape_word: str) -> Regions:
    if shape_word == "Polygon":
        corners = drawn_region.vertices.icrs
        numbers = np.stack([corners.ra.deg, corners.dec.deg], 1).ravel()
        return Regions.from_polygons([0, len(numbers)], numbers)
    if shape_word.endswith("Annulus"):
        return _build_annulus(drawn_region, shape_word.removesuffix("Annulus"))
    if shape_word == "Circle":
        return _build_centered_shape(drawn_region, shape_word, drawn_region.radius)
    if shape_word in {"Ellipse", "Rectangle"}:
        return _build_centered_shape(drawn_region, shape_word, drawn_region.width, drawn_region.height)
    message = f"Hven cannot read the shape {shape_word}"
    if shape_word in {"Point", "Line", "Text"}:
        message = f"a {shape_word.lower()} has no area"
    raise ValueError(message)


def _build_annulus(drawn_region: Any, word: str) -> Regions:
    size_names = ("radius",) if word == "Circle" else ("width", "height")
    outer_sizes = [getattr(drawn_region, f"outer_{name}") for name in size_names]
    inner_sizes = [getattr(drawn_region, f"inner_{name}") for name in size_names]
    outer = _build_centered_shape(drawn_region, word, *outer_sizes)
    inner = _build_centered_shape(drawn_region, word, *inner_sizes)
    return outer.difference(inner)


def _build_centered_shape(drawn_region: Any, word: str, *sizes: Any) -> Regions:
    """Make circles, ellipses and rectangles, whose width is along the angle, counted from west to north."""
    lon = drawn_region.center.icrs.ra.deg
    lat = drawn_region.center.icrs.dec.deg
    if word == "Circle":
        return Regions.from_circles(lon, lat, sizes[0].to_value("deg"))
    width, height = (size.to_value("rad") / 2.0 for size in sizes)
    angle = drawn_region.angle.to_value("rad")
    if word == "Rectangle":  # its sides are great circles, which are straight on a gnomonic plane
        x = np.tan(width) * np.array([1, -1, -1, 1])
        y = np.tan(height) * np.array([1, 1, -1, -1])
    else:
        turn = 2.0 * np.pi * np.arange(_ELLIPSE_CORNERS) / _ELLIPSE_CORNERS
        x = width * np.cos(turn)
        y = height * np.sin(turn)
        center_distance = np.hypot(x, y)
        tangent = np.tan(center_distance)
        safe_distance = np.maximum(center_distance, 1e-300)
        x = x * tangent / safe_distance
        y = y * tangent / safe_distance
    centre = to_unit_vectors(lon, lat)
    if lat <= 0.0:
        north = to_unit_vectors(lon, lat + 90.0)
    else:
        north = -to_unit_vectors(lon, lat - 90.0)
    east = np.cross(north, centre)
    along = np.sin(angle) * north - np.cos(angle) * east
    across = np.cos(angle) * north + np.sin(angle) * east
    corners = centre + x[:, None] * along + y[:, None] * across
    lons, lats = to_lon_lat(corners)
    numbers = np.stack([lons, lats], 1).ravel()
    return Regions.from_polygons([0, 2 * len(x)], numbers)


def write_region_file(regions: Regions, file_format: str) -> str:
    """Write a region file for DS9 or CASA: polygons in ICRS.

    Parameters
    ----------
    regions
        Regions of the sky.
    file_format
        ``ds9`` or ``crtf``.

    Returns
    -------
    text
        A polygon for each part; parts with holes, or of more than half the sky, in pieces.

    Raises
    ------
    UserError
        Astropy's library `regions` is not installed.
    """
    from astropy import coordinates  # noqa: PLC0415  (slow to load; few need it)

    library = _import_regions_library()
    pieces, _ = split_into_simple_polygons(regions.make_valid())
    drawn_regions = []
    for begin, end in zip(pieces.rings[:-1], pieces.rings[1:], strict=True):
        vertices = coordinates.SkyCoord(pieces.lon[begin:end], pieces.lat[begin:end], unit="deg", frame="icrs")
        drawn_regions.append(library.PolygonSkyRegion(vertices))
    digits = {"precision": 12} if file_format == "ds9" else {"fmt": ".12f"}
    return str(library.Regions(drawn_regions).serialize(format=file_format, **digits))
