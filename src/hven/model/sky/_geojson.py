"""Convert GeoJSON (RFC 7946) to regions and back, with the right-hand rule and cuts at 180 degrees.

Edges are straight lines on the map in GeoJSON, and great circles here: vertices are inserted where the two differ.
Longitudes are those of the Earth, of a body, whose frame a member ``crs`` names as in planetary GeoJSON, or of the sky.
Documents are written with longitudes to the east and planetocentric latitudes. Coordinates in a frame with longitudes
to the west, or planetographic latitudes, are converted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.model.sky._antimeridian import build_regions_from_map_polygons
from hven.model.sky._flat_maps import to_map_polygons
from hven.model.sky._geos import extract_ragged_polygon_arrays, merge_enclosed_faces
from hven.model.sky._planetary_frames import BodyFrame, parse_iau_frame_code
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

_GEOMETRY_TYPES = (
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
)
GEOJSON_TYPES = ("FeatureCollection", "Feature", *_GEOMETRY_TYPES)
_MAX_COLLECTION_DEPTH = 8  # collections in collections
# frames with longitudes to the east, and latitudes that need no conversion
_EAST_POSITIVE_CRS_PATTERN = re.compile(r"CRS84|EPSG:{1,2}4326|ICRS", re.IGNORECASE)


class GeoJsonError(ValueError):
    """Report a document that is not GeoJSON."""


@dataclass(frozen=True, slots=True)
class GeoJsonFeatures:
    """Hold the contents of a GeoJSON document.

    Attributes
    ----------
    regions
        A region for each feature; empty where there is a fault, or no geometry (``"geometry": null``).
    faults
        The fault of each feature, empty if there is none; shape (n,).
    is_self_crossing
        Which features crossed or touched themselves and were made valid; shape (n,).
    is_reversed
        Which features had a ring in the wrong direction, which was reversed; shape (n,).
    properties
        The properties of each feature.
    ids
        The identifier of each feature, or None.
    crs
        The frame of the document, or the frame that its coordinates were converted to; None if it names none, which
        means the Earth's (WGS 84).
    """

    regions: Regions
    faults: list[str]
    is_self_crossing: npt.NDArray[np.bool_]
    is_reversed: npt.NDArray[np.bool_]
    properties: list[Mapping[str, Any]]
    ids: list[str | float | None]
    crs: str | None


def parse_geojson(
    document: str | bytes | Mapping[str, Any],
    tolerance_degrees: float | None = None,
    *,
    make_valid: bool = False,
    west_positive: bool = False,
) -> GeoJsonFeatures:
    """Read GeoJSON: a collection of features, a single feature, or a geometry alone.

    A ring with an edge of more than 180 degrees of longitude is taken as on the map (RFC 7946), if it then follows the
    right-hand rule. Otherwise the edge takes the short way, over 180 degrees, as in documents that are not cut there.

    Parameters
    ----------
    document
        A text, its bytes, or the parsed document.
    tolerance_degrees
        The largest distance of great circles from the map's straight lines, degrees; None: 1e-4, or less where the area
        would change by more than 0.03 %.
    make_valid
        Whether to replace rings that cross themselves by what they wind round, in either direction, and to unite
        overlapping parts, instead of reporting a fault.
    west_positive
        Whether longitudes increase westward. The ``crs`` of the document, a feature or a geometry may say so, too
        (GeoJSON of 2008).

    Returns
    -------
    features
        Valid regions, with longitudes to the east and planetocentric latitudes, and the faults of the others by row:
        points and lines, values that are not numbers, latitudes over 90, rings that cross themselves, holes outside.

    Raises
    ------
    GeoJsonError
        A ValueError: the document is not JSON, or not GeoJSON; the message says why.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    parsed = _parse_geojson_document(document)
    if not _has_lonlat_coordinates(parsed.get("crs")):
        message = "the document's coordinates are times and frequencies (TFCat), not positions on a sphere"
        raise GeoJsonError(message)
    features = list(_iterate_features(parsed))
    shapes = np.full(len(features), shapely.MultiPolygon())
    faults = [""] * len(features)
    is_reversed = np.zeros(len(features), np.bool_)
    for row, feature in enumerate(features):
        try:
            rings = [
                _unwrap_polygon_longitudes(polygon) for polygon in _iterate_polygon_rings(feature.get("geometry"), 0)
            ]
            is_reversed[row] = any(_compute_signed_area(polygon[0]) < 0.0 for polygon in rings)
            polygon_shapes = [shapely.Polygon(polygon[0], polygon[1:]) for polygon in rings]
            if polygon_shapes:
                shapes[row] = shapely.multipolygons(polygon_shapes)
        except GeoJsonError as error:
            faults[row] = str(error)
    crossing = ~shapely.is_valid(shapes)
    for row in np.flatnonzero(crossing).tolist():
        if make_valid:
            shapes[row] = _make_polygon_valid(shapes[row])
            continue
        faults[row] = _format_invalid_reason(str(shapely.is_valid_reason(shapes[row])))
        shapes[row] = shapely.MultiPolygon()
    crs = _extract_crs_name(parsed)
    turn, shrink = _find_feature_conversion_factors(features, crs)
    if west_positive:
        turn = np.full(len(turn), -1.0)
    distinct_conversions = set(zip(turn.tolist(), shrink.tolist(), strict=True)) - {(1.0, 1.0)}
    for sign, shrink_factor in sorted(distinct_conversions):
        rows = (turn == sign) & (shrink == shrink_factor)
        convert = partial(_to_planetocentric_east_coordinates, sign=sign, shrink_factor=shrink_factor)
        shapes[rows] = shapely.transform(shapes[rows], convert)
    if west_positive or _is_crs_conversion_needed(_find_body_frame(crs)):
        crs = crs and _name_planetocentric_crs(crs)
    regions = build_regions_from_map_polygons(shapes, tolerance_degrees)
    for row, reason in enumerate(regions.find_faults()):
        if reason:
            faults[row] = reason
    wrong_rows = np.array([bool(fault) for fault in faults], np.bool_)
    empty = Regions.create_empty(int(wrong_rows.sum()))
    return GeoJsonFeatures(
        regions=regions.replace_rows(np.flatnonzero(wrong_rows), empty),
        faults=faults,
        is_self_crossing=crossing & ~wrong_rows,
        is_reversed=is_reversed,
        properties=[feature.get("properties") or {} for feature in features],
        ids=[feature.get("id") for feature in features],
        crs=crs,
    )


def _find_feature_conversion_factors(
    features: Sequence[Mapping[str, Any]], document_crs: str | None
) -> npt.NDArray[np.float64]:
    """Return the conversions of the features' coordinates, shape (2, n): turn and shrink."""
    conversions = []
    for feature in features:
        feature_crs = _find_feature_crs(feature) or document_crs
        conversions.append(find_lon_sign_and_lat_factor(feature_crs) or (1.0, 1.0))
    return np.array(conversions, np.float64).reshape(-1, 2).T


def _parse_geojson_document(document: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(document, str | bytes | bytearray):
        import orjson  # noqa: PLC0415  (only documents need it)

        if not document.strip():
            raise GeoJsonError("the document is empty")
        try:
            document = orjson.loads(document)
        except orjson.JSONDecodeError as error:
            raise GeoJsonError(f"the document is not JSON: {error}") from None
    if isinstance(document, dict):
        kind = document.get("type")
    else:
        kind = None
    if kind not in GEOJSON_TYPES or not isinstance(document, dict):
        known_types = ", ".join(GEOJSON_TYPES)
        raise GeoJsonError(
            f"the document's type is {kind!r:.40}, but it must be one of the GeoJSON types {known_types}"
        )
    return document


def _iterate_features(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if document["type"] == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            raise GeoJsonError("'features' is not a list of objects")
        yield from features
    elif document["type"] == "Feature":
        yield document
    else:
        yield {"geometry": document}


def _has_lonlat_coordinates(crs: Any) -> bool:
    """Return whether the frame of a document allows longitudes and latitudes; TFCat's has a time and a frequency."""
    crs_properties = None
    if isinstance(crs, dict):
        crs_properties = crs.get("properties")
    if not isinstance(crs_properties, dict):
        return True
    return not any(str(word).startswith(("time_", "spectral_")) for word in crs_properties)


def _extract_crs_name(document: Mapping[str, Any]) -> str | None:
    crs = document.get("crs")
    if isinstance(crs, dict):
        name = crs.get("properties", {}).get("name")
    else:
        name = crs
    if isinstance(name, str):
        return name
    return None


def _find_feature_crs(feature: Mapping[str, Any]) -> str | None:
    """Return the frame that a feature's geometry or the feature itself names."""
    geometry = feature.get("geometry")
    geometry_crs = None
    if isinstance(geometry, dict):
        geometry_crs = _extract_crs_name(geometry)
    return geometry_crs or _extract_crs_name(feature)


@lru_cache(maxsize=64)
def find_lon_sign_and_lat_factor(crs: str | None) -> tuple[float, float] | None:
    """Return the factors that convert coordinates of a frame to longitudes to the east and planetocentric latitudes.

    Parameters
    ----------
    crs
        The name of the frame in GeoJSON; None if there is none.

    Returns
    -------
    sign, shrink
        Factors of longitudes and of the tangents of latitudes; None if the frame is unknown.
    """
    body_frame = _find_body_frame(crs)
    if body_frame is None:
        if crs is None or _EAST_POSITIVE_CRS_PATTERN.search(crs):
            return (1.0, 1.0)
        return None
    sign = 1.0
    if body_frame.frame.west:
        sign = -1.0
    shrink = 1.0
    if body_frame.frame.graphic:
        shrink = (1.0 - body_frame.frame.flattening) ** 2
    return sign, shrink


def _find_body_frame(crs: str | None) -> BodyFrame | None:
    """Find the frame of a body that a ``crs`` names."""
    try:
        code = (crs or "").replace("http://www.opengis.net/def/crs/", "")
        return parse_iau_frame_code(code.replace("/", ":"))
    except ValueError:
        return None


def _is_crs_conversion_needed(body_frame: BodyFrame | None) -> bool:
    """Return whether a frame's longitudes increase westward, or its latitudes are planetographic."""
    if body_frame is None:
        return False
    has_graphic_latitudes = body_frame.frame.graphic and body_frame.frame.flattening > 0.0
    return body_frame.frame.west or has_graphic_latitudes


def _name_planetocentric_crs(crs: str) -> str:
    """Name the frame of the same body with longitudes to the east and planetocentric latitudes."""
    return f"{crs[:-2]}00"


def to_planetocentric_latitudes(lat: Numbers, shrink: float | Numbers) -> Numbers:
    """Convert planetographic latitudes to planetocentric ones.

    Parameters
    ----------
    lat
        Degrees, shape (n,).
    shrink
        Square of the ratio of the axes, dimensionless, a number or shape (n,); 1 leaves a latitude as it is.

    Returns
    -------
    lat
        Degrees, shape (n,).
    """
    tangent = np.tan(np.radians(lat)) * shrink
    return np.where(np.equal(shrink, 1.0), lat, np.degrees(np.arctan(tangent)))


def _iterate_polygon_rings(geometry: Any, depth: int) -> Iterator[list[Numbers]]:
    """List the rings of each polygon of a geometry."""
    for part in _iterate_polygons(geometry, depth):
        yield [_parse_ring(ring) for ring in part]


def _iterate_polygons(geometry: Any, depth: int) -> Iterator[list[Any]]:
    """List the polygons of a geometry."""
    if geometry is None:
        return
    if isinstance(geometry, dict):
        kind = geometry.get("type")
    else:
        kind = None
    if kind == "GeometryCollection":
        if depth >= _MAX_COLLECTION_DEPTH or not isinstance(geometry.get("geometries"), list):
            raise GeoJsonError("'geometries' is not a list, or is nested too deeply")
        for member in geometry["geometries"]:
            yield from _iterate_polygons(member, depth + 1)
        return
    if kind not in _GEOMETRY_TYPES:
        known_types = ", ".join(_GEOMETRY_TYPES)
        raise GeoJsonError(f"the type of a geometry is {kind!r:.40}, but it must be one of {known_types}")
    if kind not in {"Polygon", "MultiPolygon"}:
        raise GeoJsonError(f"a {kind} has no area")
    parts = geometry.get("coordinates")
    for part in [parts] if kind == "Polygon" else _require_list(parts):
        if _require_list(part):
            yield part


def _require_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise GeoJsonError("'coordinates' must contain rings, and each ring must be a list of positions")
    return value


def _parse_ring(positions: Any) -> Numbers:
    vertices = _build_closed_ring(positions)
    lon = vertices[:, 0]
    lat = vertices[:, 1]
    if np.abs(lat).max() > 90.0:
        raise GeoJsonError(f"a latitude is beyond 90 degrees: {lat[np.abs(lat).argmax()]:g}")
    if np.abs(lon).max() > 3600.0:
        raise GeoJsonError(f"a longitude is beyond 3600 degrees: {lon[np.abs(lon).argmax()]:g}")
    return vertices


def _build_closed_ring(positions: Any) -> Numbers:
    """Make a closed ring from positions."""
    try:
        pairs = [(position[0], position[1]) for position in _require_list(positions)]
        vertices = np.array(pairs, np.float64)
    except (TypeError, ValueError, IndexError, KeyError):
        raise GeoJsonError("a position is not a pair of numbers") from None
    if not np.isfinite(vertices).all():
        raise GeoJsonError("a longitude or latitude is not a number")
    if len(vertices) and (vertices[0] != vertices[-1]).any():
        vertices = np.concatenate([vertices, vertices[:1]])
    if len(vertices) < 4:
        raise GeoJsonError("a ring has fewer than three vertices")
    return vertices


def _to_planetocentric_east_coordinates(xy: Numbers, sign: float, shrink_factor: float) -> Numbers:
    """Convert longitudes, multiplied by a sign, and latitudes, to planetocentric ones."""
    return np.column_stack([sign * xy[:, 0], to_planetocentric_latitudes(xy[:, 1], shrink_factor)])


def _unwrap_polygon_longitudes(rings: list[Numbers]) -> list[Numbers]:
    """Shorten edges of more than 180 degrees of longitude, if the ring runs in the wrong direction otherwise."""
    unwrapped_rings: list[Numbers] = []
    for number, ring in enumerate(rings):
        step = np.diff(ring[:, 0])
        crosses_antimeridian = np.abs(step) > 180.0
        unwrapped = ring.copy()
        is_reversed = (_compute_signed_area(ring) > 0.0) != (number == 0)
        if crosses_antimeridian.any() and is_reversed:
            unwrapped = _add_turns_and_close_at_pole(
                ring, np.where(crosses_antimeridian, -np.copysign(360.0, step), 0.0)
            )
        if unwrapped_rings:  # move a hole to its shell
            middle, shell = (
                np.mean([candidate[:, 0].min(), candidate[:, 0].max()]) for candidate in (unwrapped, unwrapped_rings[0])
            )
            unwrapped[:, 0] += np.rint((shell - middle) / 360.0) * 360.0
        unwrapped_rings.append(unwrapped)
    return unwrapped_rings


def _add_turns_and_close_at_pole(ring: Numbers, turns: Numbers) -> Numbers:
    """Add turns to the longitudes after each step of a ring; close a ring around a pole along the pole."""
    lon = ring[:, 0] + np.append(0.0, np.cumsum(turns))
    unwrapped = np.column_stack([lon, ring[:, 1]])
    total_turn = lon[-1] - lon[0]
    if abs(total_turn) <= 1.0:
        return unwrapped
    # along the pole, and back at the other end of the map
    if ring[:, 1].mean() > 0.0:
        pole = 90.0
    else:
        pole = -90.0
    return np.concatenate([unwrapped, [[lon[-1], pole], [lon[0], pole], unwrapped[0]]])


def _compute_signed_area(ring: Numbers) -> float:
    x = ring[:, 0] - ring[0, 0]
    y = ring[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def _make_polygon_valid(shape: Any) -> Any:
    """Unite what the rings of each polygon wind round, and subtract what its holes do."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    xy, rings, parts, rows = extract_ragged_polygon_arrays(np.array([shape], object))
    hole = np.ones(len(rings) - 1, np.bool_)
    hole[parts[:-1]] = False
    faces = merge_enclosed_faces(xy, rings, parts, rows, is_inverted=hole, grid_size=0.0)
    polygons = shapely.get_parts(faces)
    if len(polygons):
        return shapely.multipolygons(polygons)
    return shapely.MultiPolygon()


def _format_invalid_reason(reason: str) -> str:
    """Format GEOS's reason in the form of the faults of regions."""
    problem, _, position = reason.partition("[")
    if position:
        numbers = [f"{float(word):.6f}" for word in position.rstrip("]").split()]
        return f"{problem.lower()} at {' '.join(numbers)}"
    return problem.lower()


def to_geojson_geometries(regions: Regions, tolerance_degrees: float | None = None) -> pa.StringArray:
    """Write regions as GeoJSON geometries.

    Parameters
    ----------
    regions
        Shape (n,).
    tolerance_degrees
        The largest distance of edges on the map from their great circles, degrees; None: 1e-4, or less where the area
        would change by more than 0.03 %.

    Returns
    -------
    texts
        Polygon or MultiPolygon, right-hand rule, cut at 180 degrees, shape (n,); a null for an empty region.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    return pa.array(shapely.to_geojson(to_map_geometries(regions, tolerance_degrees)), pa.string())


def to_map_geometries(regions: Regions, tolerance_degrees: float | None = None) -> npt.NDArray[np.object_]:
    """Draw regions on the map, as GeoJSON has them.

    Parameters
    ----------
    regions
        Shape (n,).
    tolerance_degrees
        As for `to_geojson_geometries`.

    Returns
    -------
    geometries
        Polygons and multipolygons of shapely, shape (n,); None for an empty region.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    shapes: npt.NDArray[np.object_] = to_map_polygons(regions.make_valid(), tolerance_degrees)
    single = shapely.get_num_geometries(shapes) == 1
    shapes[single] = shapely.get_geometry(shapes[single], 0)
    shapes[shapely.is_empty(shapes)] = None
    return shapes


def write_geojson_features(
    regions: Regions,
    properties: Sequence[Mapping[str, Any]] | None = None,
    *,
    ids: Sequence[str | int | None] | None = None,
    crs: str | None = None,
    tolerance_degrees: float | None = None,
) -> str:
    """Write a collection of features.

    Parameters
    ----------
    regions
        Regions, shape (n,); an empty region becomes a feature without a geometry.
    properties, ids
        Properties and identifiers of the features; shape (n,).
    crs
        The frame, if it is not the Earth's (WGS 84): ``urn:ogc:def:crs:IAU:2015:49900``; it becomes the member ``crs``
        of GeoJSON of 2008. It must have longitudes to the east and planetocentric latitudes, as regions have them.
    tolerance_degrees
        The largest distance of edges on the map from their great circles, degrees; None: 1e-4, or less where the area
        would change by more than 0.03 %.

    Returns
    -------
    text
        GeoJSON, with a line for each feature.

    Raises
    ------
    ValueError
        The frame has other longitudes or latitudes.
    """
    import orjson  # noqa: PLC0415  (only documents need it)

    lines = []
    for row, geometry in enumerate(to_geojson_geometries(regions, tolerance_degrees).to_pylist()):
        name = ""
        if ids is not None and ids[row] is not None:
            name = f'"id":{orjson.dumps(ids[row]).decode()},'
        feature_properties = properties[row] if properties else {}
        facts = orjson.dumps(feature_properties, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        lines.append(f'{{"type":"Feature",{name}"properties":{facts},"geometry":{geometry or "null"}}}')
    return f"{write_feature_collection_opening(crs)}{','.join(lines)}\n]}}\n"


def write_feature_collection_opening(crs: str | None) -> str:
    """Write the beginning of a collection of features, up to its first feature.

    Parameters
    ----------
    crs
        The frame, or None for the Earth's.

    Returns
    -------
    text
        ``{"type": "FeatureCollection", ... "features":[``.

    Raises
    ------
    ValueError
        The frame's longitudes increase westward, or its latitudes are planetographic.
    """
    if crs and _is_crs_conversion_needed(_find_body_frame(crs)):
        raise ValueError(
            f"GeoJSON needs east longitudes and planetocentric latitudes, but those of {crs} are different; use the "
            "frame "
            f"{_name_planetocentric_crs(crs)}"
        )
    import orjson  # noqa: PLC0415  (only documents need it)

    crs_member = ""
    if crs:
        crs_object = {"type": "name", "properties": {"name": crs}}
        crs_member = f'"crs":{orjson.dumps(crs_object).decode()},'
    return f'{{"type":"FeatureCollection",{crs_member}"features":[\n'
