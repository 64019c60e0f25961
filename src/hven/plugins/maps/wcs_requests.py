"""Answer requests of WCS 1.0.0 (03-065r6): the values of a layer in a box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import escape_xml, quote_attribute
from hven.model.errors import ParamError
from hven.plugins.maps.body_documents import read_layer_infos
from hven.plugins.maps.coverage_files import COVERAGE_MEDIA_TYPES, MISSING_VALUE, find_media_type, write_coverage
from hven.plugins.maps.map_drawing import (
    find_request_frame,
    list_aliases_of_body,
    require_same_body,
    require_value_layer,
)
from hven.plugins.maps.map_views import MapView
from hven.plugins.maps.wms_requests import read_box, read_map_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.params import RequestParams
    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_rasters import RasterInfo

VERSION = "1.0.0"
NAMESPACES = (
    'xmlns="http://www.opengis.net/wcs" xmlns:gml="http://www.opengis.net/gml" '
    'xmlns:xlink="http://www.w3.org/1999/xlink"'
)
SUFFIXES = (0, 10, 15, 30, 35)  # of the frames that GeoTIFF can keep: planetocentric, on the sphere


def list_rasters_with_values(
    rasters: Sequence[tuple[CollectionSpec, LayerRaster]],
) -> list[tuple[LayerRaster, RasterInfo]]:
    """List the layers that have values, and not colours."""
    return [(raster, info) for _, raster, info in read_layer_infos(rasters) if not info.shows_colours]


def answer_coverage(params: RequestParams, raster: LayerRaster, aliases: Mapping[str, str]) -> tuple[bytes, str]:
    """Cut the values of a layer out of a box.

    Returns
    -------
    body, media_type
        The values in the format that is requested.
    """
    info = raster.read_info()
    require_value_layer(raster, "COVERAGE", "request a map of the layer by WMS")
    media_type = find_media_type(params.read_one("FORMAT") or "GeoTIFF")
    view = _read_view(params, aliases, info)
    require_same_body(info, view.frame)
    is_smooth = raster.is_interpolated() and params.read_one("INTERPOLATION") != "nearest neighbor"
    return write_coverage(raster, view, media_type, is_smooth=is_smooth), media_type


def _read_view(params: RequestParams, aliases: Mapping[str, str], info: RasterInfo) -> MapView:
    """Read frame, box and grid; a box is x first in this version.

    Without a frame, it is that of the grid in the description: GDAL sends ``CRS=`` for frames of other bodies.
    """
    frame_name = params.read_one("CRS") or info.frame.body.get_frame(0).name
    frame = find_request_frame(frame_name, aliases)
    response_name = params.read_one("RESPONSE_CRS") or frame_name
    if find_request_frame(response_name, aliases).crs != frame.crs:
        message = "Hven returns a coverage only in the frame of BBOX"
        remedy = "leave out RESPONSE_CRS, or give CRS the same value and write BBOX in that frame"
        raise ParamError(message, name="RESPONSE_CRS", remedy=remedy)
    bounds = read_box(params.read_one("BBOX") or "", frame, is_axis_order_kept=False)
    if params.read_one("RESX"):
        sizes = [
            (bounds[2 + axis] - bounds[axis]) / _read_pixel_size(params, name)
            for axis, name in enumerate(("RESX", "RESY"))
        ]
        width, height = (max(round(min(size, 1e9)), 1) for size in sizes)
    else:
        width, height = read_map_size(params)
    view = MapView(frame=frame, bounds=bounds, width=width, height=height)
    view.check_size()
    return view


def _read_pixel_size(params: RequestParams, name: str) -> float:
    step = params.read_number(name) or 0.0
    if step <= 0:
        message = f"{name} must be a positive number"
        raise ParamError(message, name=name, remedy="write the size of a pixel in the units of the frame")
    return step


def write_capabilities(rasters: Sequence[tuple[CollectionSpec, LayerRaster]], service_url: str) -> bytes:
    """Write the capabilities of the layers of a collection that have values."""
    resource = rasters[0][0]
    link = f'<OnlineResource xlink:type="simple" xlink:href={quote_attribute(f"{service_url}?")}/>'
    requests = "".join(
        f"<{name}><DCPType><HTTP><Get>{link}</Get></HTTP></DCPType></{name}>"
        for name in ("GetCapabilities", "DescribeCoverage", "GetCoverage")
    )
    briefs = "".join(
        f"<CoverageOfferingBrief>{_write_name_and_envelope(raster, info)}</CoverageOfferingBrief>"
        for raster, info in list_rasters_with_values(rasters)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<WCS_Capabilities {NAMESPACES} version="{VERSION}"><Service>'
        f"<name>{escape_xml(resource.name)}</name><label>{escape_xml(str(resource.title))}</label>"
        f"<fees>NONE</fees><accessConstraints>NONE</accessConstraints></Service>"
        f"<Capability><Request>{requests}</Request>"
        "<Exception><Format>application/vnd.ogc.se_xml</Format></Exception></Capability>"
        f"<ContentMetadata>{briefs}</ContentMetadata></WCS_Capabilities>\n"
    ).encode()


def describe_coverages(rasters: Sequence[tuple[CollectionSpec, LayerRaster]], aliases: Mapping[str, str]) -> bytes:
    """Describe the layers of a collection that have values."""
    offerings = "".join(
        _write_coverage_offering(raster, info, aliases) for raster, info in list_rasters_with_values(rasters)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<CoverageDescription {NAMESPACES} version="{VERSION}">'
        f"{offerings}</CoverageDescription>\n"
    ).encode()


def _write_name_and_envelope(raster: LayerRaster, info: RasterInfo) -> str:
    west, south, east, north = info.lon_lat_bounds
    return (
        f"<name>{escape_xml(raster.layer.name)}</name><label>{escape_xml(str(raster.layer.title))}</label>"
        f'<lonLatEnvelope srsName="urn:ogc:def:crs:OGC:1.3:CRS84"><gml:pos>{west} {south}</gml:pos>'
        f"<gml:pos>{east} {north}</gml:pos></lonLatEnvelope>"
    )


def _write_coverage_offering(raster: LayerRaster, info: RasterInfo, aliases: Mapping[str, str]) -> str:
    layer, body = raster.layer, info.frame.body
    west, south, east, north = info.lon_lat_bounds
    steps = (east - west) / info.width, (north - south) / info.height
    names = [body.get_frame(suffix).name for suffix in SUFFIXES]
    names += list_aliases_of_body(body, aliases)
    formats = "".join(f"<formats>{name}</formats>" for name in ("GeoTIFF", *COVERAGE_MEDIA_TYPES[1:]))
    frames = "".join(f"<requestResponseCRSs>{escape_xml(name)}</requestResponseCRSs>" for name in names)
    return (
        f"<CoverageOffering>{_write_name_and_envelope(raster, info)}<domainSet><spatialDomain>"
        f'<gml:Envelope srsName="{body.get_frame(0).name}"><gml:pos>{west} {south}</gml:pos>'
        f"<gml:pos>{east} {north}</gml:pos></gml:Envelope>"
        f'<gml:RectifiedGrid dimension="2" srsName="{body.get_frame(0).name}"><gml:limits><gml:GridEnvelope>'
        f"<gml:low>0 0</gml:low><gml:high>{info.width - 1} {info.height - 1}</gml:high></gml:GridEnvelope></gml:limits>"
        "<gml:axisName>x</gml:axisName><gml:axisName>y</gml:axisName>"
        f"<gml:origin><gml:pos>{west + steps[0] / 2!r} {north - steps[1] / 2!r}</gml:pos></gml:origin>"
        f"<gml:offsetVector>{steps[0]!r} 0</gml:offsetVector><gml:offsetVector>0 {-steps[1]!r}</gml:offsetVector>"
        "</gml:RectifiedGrid></spatialDomain></domainSet><rangeSet><RangeSet>"
        f"<name>value</name><label>{escape_xml(str(layer.quantity or layer.title))}</label>"
        f"<nullValues><singleValue>{MISSING_VALUE!r}</singleValue></nullValues></RangeSet></rangeSet>"
        f"<supportedCRSs>{frames}</supportedCRSs><supportedFormats>{formats}</supportedFormats>"
        "<supportedInterpolations>"
        "<interpolationMethod>bilinear</interpolationMethod><interpolationMethod>nearest neighbor</interpolationMethod>"
        "</supportedInterpolations></CoverageOffering>"
    )
