"""Answer requests of WCS 2.0.1 (09-110r4, 09-147r3) with its extensions for frames (11-053r1) and scaling (12-039).

A coverage has the pixels of its raster. If GeoTIFF cannot keep the frame of the raster, the coverage has as many pixels
of longitude and latitude.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.formats import escape_xml, quote_attribute
from hven.model.errors import ParamError
from hven.plugins.maps.coverage_files import COVERAGE_MEDIA_TYPES, MISSING_VALUE, find_media_type, write_coverage
from hven.plugins.maps.frames import AUTHORITY
from hven.plugins.maps.map_drawing import find_request_frame, require_value_layer
from hven.plugins.maps.map_views import MapView
from hven.plugins.maps.wcs_requests import SUFFIXES, list_rasters_with_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.params import RequestParams
    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.frames import Frame
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_rasters import RasterInfo

VERSION = "2.0.1"
COVERAGE_TYPE = "RectifiedGridCoverage"
_SPECIFICATION = "http://www.opengis.net/spec"
PROFILES = (
    f"{_SPECIFICATION}/WCS/2.0/conf/core",
    f"{_SPECIFICATION}/WCS_protocol-binding_get-kvp/1.0/conf/get-kvp",
    f"{_SPECIFICATION}/WCS_service-extension_crs/1.0/conf/crs",
    f"{_SPECIFICATION}/WCS_service-extension_scaling/1.0/conf/scaling",
    f"{_SPECIFICATION}/GMLCOV_geotiff-coverages/1.0/conf/geotiff-coverage",
)
NAMESPACES = (
    'xmlns:wcs="http://www.opengis.net/wcs/2.0" xmlns:ows="http://www.opengis.net/ows/2.0" '
    'xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:gmlcov="http://www.opengis.net/gmlcov/1.0" '
    'xmlns:swe="http://www.opengis.net/swe/2.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:crs="http://www.opengis.net/wcs/service-extension/crs/1.0"'
)
_SUBSET_PATTERN = re.compile(r"\s*(\w+)\s*(?:,\s*([^()]+?)\s*)?\(\s*([^,()]+?)\s*(?:,\s*([^,()]+?)\s*)?\)\s*")
_SCALE_PATTERN = re.compile(r"\s*([\w:./]+)\s*\(\s*([^,():]+?)\s*(?::\s*([^,():]+?)\s*)?\)\s*")
_NEAREST_PATTERN = re.compile(r"nearest[ -]neighbor|NEAREST", re.IGNORECASE)
MAX_SCALED_PIXELS = 1_000_000_000  # of an axis, before the size is checked
EDGE_POINTS = 33  # along each side of a box whose ends in another frame are found


@dataclass(frozen=True, slots=True)
class AxisSubset:
    """What a request takes of an axis; a place has equal ends."""

    axis: str
    frame_name: str
    low: float
    high: float


def build_coverage_grid(info: RasterInfo) -> MapView:
    """Build the grid of a coverage: that of the raster, or one of longitude and latitude."""
    frame, bounds = info.frame, info.bounds
    if not (frame.name.startswith(AUTHORITY) and frame.code % 100 in SUFFIXES):
        frame, bounds = frame.body.get_frame(0), info.lon_lat_bounds
    return MapView(frame=frame, bounds=bounds, width=info.width, height=info.height)


def list_axis_labels(frame: Frame) -> tuple[str, str]:
    """List the labels of the axes of a frame, in its order."""
    first, second = (axis.abbrev for axis in frame.crs.axis_info)
    return first, second


def answer_coverage(params: RequestParams, raster: LayerRaster, aliases: Mapping[str, str]) -> tuple[bytes, str]:
    """Cut the values of a layer out of a box.

    Returns
    -------
    body, media_type
        The values in the format that is requested.
    """
    info = raster.read_info()
    require_value_layer(raster, "COVERAGEID", "request a map of the layer by WMS")
    media_type = find_media_type(params.read_one("FORMAT") or COVERAGE_MEDIA_TYPES[0])
    if params.read_one("MEDIATYPE"):
        message = "Hven returns a coverage as one file, not as a multipart response with GML"
        raise ParamError(message, name="MEDIATYPE", remedy="leave out MEDIATYPE")
    view = _scale_view(params, _read_view(params, build_coverage_grid(info), aliases))
    try:
        view.check_size()
    except ParamError as error:
        remedy = "request a smaller box, or fewer pixels with SCALESIZE"
        raise ParamError(error.message, name="SCALESIZE", remedy=remedy) from None
    is_nearest = _NEAREST_PATTERN.search(params.read_one("INTERPOLATION") or "") is not None
    is_smooth = raster.is_interpolated() and not is_nearest
    return write_coverage(raster, view, media_type, is_smooth=is_smooth), media_type


def _read_view(params: RequestParams, native: MapView, aliases: Mapping[str, str]) -> MapView:
    """Read the frames and the box; the pixels are those of the coverage, or as large."""
    subsets = [_parse_subset(text) for text in params.read_all("SUBSET")]
    frame_names = {subset.frame_name for subset in subsets} | {params.read_one("SUBSETTINGCRS") or ""}
    frame_names.discard("")
    if len(frame_names) > 1:
        message = f"the subsets have several frames: {', '.join(sorted(frame_names))[:200]}"
        raise ParamError(message, name="SUBSETTINGCRS", remedy="write one frame as SUBSETTINGCRS")
    frame = native.frame
    if frame_names:
        frame = _find_frame(frame_names.pop(), "SUBSETTINGCRS", native, aliases)
    output_name = params.read_one("OUTPUTCRS")
    output_frame = _find_frame(output_name, "OUTPUTCRS", native, aliases) if output_name else frame
    whole = _transform_view_to_frame(native, frame)
    view = _cut_view_to_subsets(whole, subsets)
    if frame.crs == native.frame.crs:
        view = _align_view_to_pixels(native, view)
    return _transform_view_to_frame(view, output_frame)


def _find_frame(text: str, name: str, native: MapView, aliases: Mapping[str, str]) -> Frame:
    try:
        frame = find_request_frame(text, aliases)
    except ParamError as error:
        raise ParamError(error.message, name=name, remedy=error.remedy) from None
    if frame.body.number != native.frame.body.number:
        message = f"{text[:80]} is a frame of {frame.body.name}, but the coverage shows {native.frame.body.name}"
        raise ParamError(message, name=name, remedy=f"use a frame such as {native.frame.ogc_uri}")
    return frame


def _parse_subset(text: str) -> AxisSubset:
    """Parse ``Lat(10,20)``, ``Lat(10)`` or ``Lat,http://www.opengis.net/def/crs/IAU/2015/49900(10,*)``."""
    match = _SUBSET_PATTERN.fullmatch(text)
    if match is None:
        raise ParamError(
            f"SUBSET={text[:80]} cannot be read", name="SUBSET", remedy="write the limits of an axis: Lat(10,20)"
        )
    axis, frame_name, low_text, high_text = match.groups()
    try:
        low = -math.inf if low_text == "*" else float(low_text)
        high = math.inf if (high_text or low_text) == "*" else float(high_text or low_text)
    except ValueError:
        low = high = math.nan
    if not low <= high:
        message = f"SUBSET={text[:80]} does not describe an interval"
        raise ParamError(message, name="SUBSET", remedy="write two numbers, the lower one first, such as Lat(10,20)")
    return AxisSubset(axis, frame_name or "", low, high)


def _find_axis(label: str, frame: Frame) -> int:
    """Find out whether a label names the horizontal axis (0) or the vertical one (1)."""
    labels = list_axis_labels(frame)
    horizontal, vertical = frame.order_axes(*labels)
    longer_names = {"LONG": "LON", "LONGITUDE": "LON", "LATITUDE": "LAT", "X": horizontal, "Y": vertical}
    name = longer_names.get(label.upper(), label)
    names = [horizontal.upper(), vertical.upper()]
    if name.upper() not in names:
        message = f"{frame.name or frame.title} has no axis {label[:40]!r}"
        raise ParamError(message, name="AXIS", remedy=f"use {' or '.join(labels)}")
    return names.index(name.upper())


def _cut_view_to_subsets(whole: MapView, subsets: Sequence[AxisSubset]) -> MapView:
    """Cut a box out of the coverage; the ends may be outside, but not both on the same side."""
    ends = [[whole.bounds[0], whole.bounds[2]], [whole.bounds[1], whole.bounds[3]]]
    sizes, known_axes = [whole.width, whole.height], set[int]()
    for subset in subsets:
        axis = _find_axis(subset.axis, whole.frame)
        if axis in known_axes:
            message = f"there are two subsets of the axis {subset.axis}"
            raise ParamError(message, name="AXIS", remedy="write one subset for each axis")
        known_axes.add(axis)
        first, last = ends[axis]
        if subset.low > last or subset.high < first:
            message = (
                f"the subset of the axis {subset.axis} is outside the coverage, which reaches from {first:.9g} to "
                f"{last:.9g}"
            )
            raise ParamError(message, name="SUBSET", remedy="request an interval that overlaps the coverage")
        step = (last - first) / sizes[axis]
        low, high = max(subset.low, first), min(subset.high, last)
        if high - low < step:  # a place has the pixel around it
            low = min(first + step * math.floor((low - first) / step), last - step)
            high = low + step
        ends[axis], sizes[axis] = [low, high], max(round((high - low) / step), 1)
    bounds = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    return MapView(frame=whole.frame, bounds=bounds, width=sizes[0], height=sizes[1])


def _align_view_to_pixels(native: MapView, view: MapView) -> MapView:
    """Move the ends to those of pixels of the coverage, so that no value is interpolated."""
    ends, sizes = [], []
    for axis, size in enumerate((native.width, native.height)):
        first = native.bounds[axis]
        step = native.pixel_size[axis]
        # the pixels whose centres are inside
        low = math.ceil((view.bounds[axis] - first) / step - 0.5 - 1e-6)
        high = math.floor((view.bounds[axis + 2] - first) / step + 0.5 + 1e-6)
        low = min(max(low, 0), size - 1)
        high = min(max(high, low + 1), size)
        ends.append((first + low * step, first + high * step))
        sizes.append(high - low)
    bounds = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    return replace(view, bounds=bounds, width=sizes[0], height=sizes[1])


def _transform_view_to_frame(view: MapView, frame: Frame) -> MapView:
    """Find the box in another frame that contains a box, with pixels of the same size in metres."""
    if frame.crs == view.frame.crs:
        return replace(view, frame=frame)
    x, y = np.meshgrid(*(np.linspace(view.bounds[axis], view.bounds[axis + 2], EDGE_POINTS) for axis in (0, 1)))
    places = [axis[np.isfinite(axis)] for axis in frame.convert_from_lon_lat(*view.frame.convert_to_lon_lat(x, y))]
    if not places[0].size or not places[1].size:
        raise ParamError(f"the box cannot be shown in {frame.name}", name="OUTPUTCRS", remedy="choose another frame")
    (west, east), (south, north) = ((float(axis.min()), float(axis.max())) for axis in places)
    bounds = west, south, east, north
    scale = frame.metres_per_unit / view.frame.metres_per_unit
    sizes = []
    for axis, pixel_size in enumerate(view.pixel_size):
        sizes.append(max(round((bounds[axis + 2] - bounds[axis]) / (pixel_size / scale)), 1))
    return MapView(frame=frame, bounds=bounds, width=sizes[0], height=sizes[1])


def _scale_view(params: RequestParams, view: MapView) -> MapView:
    """Change the number of pixels by SCALEFACTOR, SCALEAXES, SCALESIZE or SCALEEXTENT."""
    sizes = [view.width, view.height]
    names = [name for name in ("SCALEFACTOR", "SCALEAXES", "SCALESIZE", "SCALEEXTENT") if params.read_one(name)]
    if len(names) > 1:
        raise ParamError(f"{' and '.join(names)} cannot be combined", name=names[1], remedy="write one of them")
    for name in names:
        text = params.read_one(name) or ""
        if name == "SCALEFACTOR":
            factor = _read_scale(text, name)
            sizes = [_scale_size(size, factor) for size in sizes]
            continue
        for part in re.split(r"(?<=\))\s*,", text):
            match = _SCALE_PATTERN.fullmatch(part)
            if match is None:
                message = f"{name}={text[:80]} cannot be read"
                raise ParamError(message, name=name, remedy=f"write a number for each axis, such as {name}=Lat(100)")
            axis = _find_axis(match[1].rpartition("/")[2], view.frame)
            if name == "SCALEAXES":
                sizes[axis] = _scale_size(sizes[axis], _read_scale(match[2], name))
            elif name == "SCALESIZE":
                sizes[axis] = _scale_size(1, _read_scale(match[2], name))
            else:
                low, high = (_read_number(number or "", name) for number in match.groups()[1:])
                sizes[axis] = _scale_size(1, _read_scale(str(high - low + 1), name))
    return replace(view, width=sizes[0], height=sizes[1])


def _scale_size(size: int, factor: float) -> int:
    return max(round(min(size * factor, MAX_SCALED_PIXELS)), 1)


def _read_scale(text: str, name: str) -> float:
    scale = _read_number(text, name)
    if scale <= 0:
        is_factor = name in ("SCALEFACTOR", "SCALEAXES")
        remedy = "write 0.5 for half the size" if is_factor else "write how many pixels the coverage shall have"
        raise ParamError(f"{name} must be positive, not {text[:40]}", name=name, remedy=remedy)
    return scale


def _read_number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ParamError(f"{name} must be a number, not {text[:40]!r}", name=name, remedy="write a number")
    return number


def write_capabilities(rasters: Sequence[tuple[CollectionSpec, LayerRaster]], service_url: str) -> bytes:
    """Write the capabilities of the layers of a collection that have values."""
    resource, infos = rasters[0][0], list_rasters_with_values(rasters)
    operations = "".join(
        f'<ows:Operation name="{name}"><ows:DCP><ows:HTTP><ows:Get xlink:href={quote_attribute(f"{service_url}?")}/>'
        "</ows:HTTP></ows:DCP></ows:Operation>"
        for name in ("GetCapabilities", "DescribeCoverage", "GetCoverage")
    )
    formats = "".join(f"<wcs:formatSupported>{name}</wcs:formatSupported>" for name in COVERAGE_MEDIA_TYPES)
    frame_uris = dict.fromkeys(info.frame.body.get_frame(suffix).ogc_uri for _, info in infos for suffix in SUFFIXES)
    supported = "".join(f"<crs:crsSupported>{uri}</crs:crsSupported>" for uri in frame_uris)
    profiles = "".join(f"<ows:Profile>{profile}</ows:Profile>" for profile in PROFILES)
    versions = "".join(f"<ows:ServiceTypeVersion>{v}</ows:ServiceTypeVersion>" for v in (VERSION, "1.0.0"))
    provider = escape_xml(str(resource.publisher or resource.title))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<wcs:Capabilities {NAMESPACES} version="{VERSION}">'
        f"<ows:ServiceIdentification><ows:Title>{escape_xml(str(resource.title))}</ows:Title>"
        f"<ows:ServiceType>OGC WCS</ows:ServiceType>{versions}{profiles}</ows:ServiceIdentification>"
        f"<ows:ServiceProvider><ows:ProviderName>{provider}</ows:ProviderName><ows:ServiceContact/>"
        "</ows:ServiceProvider>"
        f"<ows:OperationsMetadata>{operations}</ows:OperationsMetadata><wcs:ServiceMetadata>{formats}"
        f"<wcs:Extension><crs:CrsMetadata>{supported}</crs:CrsMetadata></wcs:Extension></wcs:ServiceMetadata>"
        f"<wcs:Contents>{''.join(_write_coverage_summary(raster, info) for raster, info in infos)}</wcs:Contents>"
        "</wcs:Capabilities>\n"
    ).encode()


def _write_coverage_summary(raster: LayerRaster, info: RasterInfo) -> str:
    grid = build_coverage_grid(info)
    lower, upper = grid.frame.write_corners(grid.bounds)
    return (
        f"<wcs:CoverageSummary><ows:Title>{escape_xml(str(raster.layer.title))}</ows:Title>"
        f"<wcs:CoverageId>{escape_xml(raster.layer.name)}</wcs:CoverageId>"
        f"<wcs:CoverageSubtype>{COVERAGE_TYPE}</wcs:CoverageSubtype>"
        f'<ows:BoundingBox crs="{grid.frame.ogc_uri}" dimensions="2"><ows:LowerCorner>{lower}</ows:LowerCorner>'
        f"<ows:UpperCorner>{upper}</ows:UpperCorner></ows:BoundingBox></wcs:CoverageSummary>"
    )


def describe_coverages(rasters: Sequence[tuple[CollectionSpec, LayerRaster]], _aliases: Mapping[str, str]) -> bytes:
    """Describe layers that have values."""
    for _, raster in rasters:
        require_value_layer(raster, "COVERAGEID", "request a map of the layer by WMS")
    descriptions = "".join(
        _write_coverage_description(raster, info) for raster, info in list_rasters_with_values(rasters)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<wcs:CoverageDescriptions {NAMESPACES}>{descriptions}'
        "</wcs:CoverageDescriptions>\n"
    ).encode()


def _write_coverage_description(raster: LayerRaster, info: RasterInfo) -> str:
    layer, grid = raster.layer, build_coverage_grid(info)
    frame, name = grid.frame, escape_xml(layer.name)
    frame_attribute = f'srsName="{frame.ogc_uri}"'
    (west, _, _, north), (width, height) = grid.bounds, grid.pixel_size
    lower, upper = frame.write_corners(grid.bounds)
    origin, column_step, row_step = (
        frame.write_coordinates(*pair)
        for pair in ((west + width / 2, north - height / 2), (width, 0.0), (0.0, -height))
    )
    unit = "deg deg" if frame.is_geographic else "m m"
    unit_code = layer.unit if re.fullmatch(r"[^\s]+", layer.unit) else "1"
    return (
        f"<wcs:CoverageDescription gml:id={quote_attribute(layer.name)}><gml:boundedBy><gml:Envelope {frame_attribute} "
        f'axisLabels="{" ".join(list_axis_labels(frame))}" uomLabels="{unit}" srsDimension="2">'
        f"<gml:lowerCorner>{lower}</gml:lowerCorner><gml:upperCorner>{upper}</gml:upperCorner></gml:Envelope>"
        f"</gml:boundedBy><wcs:CoverageId>{name}</wcs:CoverageId><gml:domainSet>"
        f'<gml:RectifiedGrid gml:id="grid_{name}" dimension="2"><gml:limits><gml:GridEnvelope><gml:low>0 0</gml:low>'
        f"<gml:high>{grid.width - 1} {grid.height - 1}</gml:high></gml:GridEnvelope></gml:limits>"
        f'<gml:axisLabels>i j</gml:axisLabels><gml:origin><gml:Point gml:id="origin_{name}" {frame_attribute}>'
        f"<gml:pos>{origin}</gml:pos></gml:Point></gml:origin>"
        f"<gml:offsetVector {frame_attribute}>{column_step}</gml:offsetVector>"
        f"<gml:offsetVector {frame_attribute}>{row_step}</gml:offsetVector></gml:RectifiedGrid></gml:domainSet>"
        '<gmlcov:rangeType><swe:DataRecord><swe:field name="value"><swe:Quantity>'
        f"<swe:label>{escape_xml(str(layer.quantity or layer.title))}</swe:label><swe:nilValues><swe:NilValues>"
        f'<swe:nilValue reason="http://www.opengis.net/def/nil/OGC/0/missing">{MISSING_VALUE!r}</swe:nilValue>'
        f"</swe:NilValues></swe:nilValues><swe:uom code={quote_attribute(unit_code)}/></swe:Quantity></swe:field>"
        f"</swe:DataRecord></gmlcov:rangeType><wcs:ServiceParameters><wcs:CoverageSubtype>{COVERAGE_TYPE}"
        f"</wcs:CoverageSubtype><wcs:nativeFormat>{COVERAGE_MEDIA_TYPES[0]}</wcs:nativeFormat>"
        "</wcs:ServiceParameters></wcs:CoverageDescription>"
    )
