"""Answer requests of WMS 1.1.1 and 1.3.0: GetMap, GetFeatureInfo, GetLegendGraphic and GetCapabilities."""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING

import orjson

from hven.formats import escape_xml, quote_attribute
from hven.model.errors import ParamError, suggest_spelling
from hven.plugins.maps.body_documents import build_legend_url, get_attribution, read_layer_infos
from hven.plugins.maps.legend_pictures import measure_legend, read_or_draw_legend
from hven.plugins.maps.map_drawing import (
    FORMATS,
    draw_map,
    encode_picture,
    find_request_frame,
    list_aliases_of_body,
    read_pixel_value,
    require_same_body,
    require_value_layer,
)
from hven.plugins.maps.map_views import MAX_SIDE_PIXELS, MapView
from hven.plugins.maps.request_errors import NEW_WMS_VERSION, OLD_WMS_VERSION, choose_wms_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.params import RequestParams
    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.frames import Frame
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_layers import MapLayer
    from hven.plugins.maps.map_rasters import RasterInfo

INFO_FORMATS = ("text/plain", "application/json")
MAX_LAYERS = 20  # layers of a map
PIXEL_REMEDY = "count pixels from 0, beginning at the upper left corner"
SERVED_SUFFIXES = (0, 1, 2, 10, 15, 30, 35, 65, 70)  # of the frames in the capabilities
_COLOUR_PATTERN = re.compile(r"(?:0[xX]|#)?([0-9A-Fa-f]{6})")


def read_layer_names(params: RequestParams, parameter: str) -> list[str]:
    """Read the names of the layers of a request.

    Parameters
    ----------
    parameter
        Name of the parameter: ``LAYERS``, ``QUERY_LAYERS`` or ``LAYER``.
    """
    names = [name for name in (params.read_one(parameter) or "").split(",") if name]
    if not names:
        raise ParamError(
            f"the parameter {parameter} is missing",
            name=parameter,
            remedy=f"write {parameter} with the names of layers",
        )
    if len(names) > MAX_LAYERS:
        raise ParamError(
            f"{parameter} names {len(names)} layers", name=parameter, remedy=f"request at most {MAX_LAYERS} layers"
        )
    return names


def check_styles(params: RequestParams) -> None:
    """Refuse styles except for the default, which is the only one of each layer."""
    for style in (params.read_one("STYLES") or params.read_one("STYLE") or "").split(","):
        if style not in {"", "default"}:
            raise ParamError(f"there is no style {style[:60]!r}", name="STYLES", remedy="leave STYLES empty")


def read_map_view(params: RequestParams, aliases: Mapping[str, str]) -> MapView:
    """Read the frame, box and size of a map.

    Raises
    ------
    ParamError
        One of them is missing or impossible.
    """
    version = choose_wms_version(params)
    frame_parameter = "CRS" if version == NEW_WMS_VERSION else "SRS"
    frame_name = params.read_one(frame_parameter) or params.read_one("CRS") or params.read_one("SRS")
    if not frame_name:
        message = f"the parameter {frame_parameter} is missing"
        raise ParamError(message, name=frame_parameter, remedy="write a frame, such as IAU_2015:49900")
    frame = find_request_frame(frame_name, aliases)
    bounds = read_box(params.read_one("BBOX") or "", frame, is_axis_order_kept=version == NEW_WMS_VERSION)
    width, height = read_map_size(params)
    view = MapView(frame=frame, bounds=bounds, width=width, height=height)
    view.check_size()
    return view


def read_map_size(params: RequestParams) -> tuple[int, int]:
    """Read ``WIDTH`` and ``HEIGHT``."""
    width, height = (_read_pixel_number(params, name, f"write {name}=512") for name in ("WIDTH", "HEIGHT"))
    return width, height


def _read_pixel_number(params: RequestParams, name: str, remedy: str) -> int:
    """Read a number of pixels, or the number of one."""
    number = params.read_integer(name)
    if number is None:
        raise ParamError(f"the parameter {name} is missing", name=name, remedy=remedy)
    return number


def read_box(text: str, frame: Frame, *, is_axis_order_kept: bool) -> tuple[float, float, float, float]:
    """Read west, south, east and north ends. In version 1.3.0, the axes have the order of the frame."""
    remedy = "write the coordinates of the lower corner, then those of the upper corner"
    try:
        first_low, second_low, first_high, second_high = (float(number) for number in text.split(","))
    except ValueError:
        raise ParamError(f"BBOX must be four numbers, not {text[:80]!r}", name="BBOX", remedy=remedy) from None
    is_vertical_first = is_axis_order_kept and frame.is_vertical_first
    bounds = (first_low, second_low, first_high, second_high)
    if is_vertical_first:
        bounds = (second_low, first_low, second_high, first_high)
    west, south, east, north = bounds
    if not all(math.isfinite(number) for number in bounds) or west >= east or south >= north:
        raise ParamError(f"BBOX={text[:80]} does not describe a box with an area", name="BBOX", remedy=remedy)
    if is_vertical_first and frame.is_geographic and max(abs(south), abs(north)) > 90 >= max(abs(west), abs(east)):
        direction = "west" if frame.is_west_positive else "east"
        message = (
            f"in version 1.3.0, a box in {frame.name} has the axis order latitude, longitude ({direction}). In this "
            f"order, BBOX={text[:80]} has latitudes below -90 or above 90"
        )
        raise ParamError(message, name="BBOX", remedy="swap the axes, or use version 1.1.1, in which x comes first")
    return bounds


def answer_map(params: RequestParams, rasters: Sequence[LayerRaster], view: MapView) -> tuple[bytes, str]:
    """Draw a map.

    Returns
    -------
    picture, media_type
        The picture in the format that is requested.
    """
    media_type = read_map_format(params)
    background = None
    is_transparent = (params.read_one("TRANSPARENT") or "").upper() == "TRUE"
    if not is_transparent or media_type == "image/jpeg":
        background = _read_background(params)
    return encode_picture(draw_map(rasters, view, background=background), media_type), media_type


def read_map_format(params: RequestParams) -> str:
    """Read the media type of a map.

    Raises
    ------
    ParamError
        There is no such format.
    """
    media_type = (params.read_one("FORMAT") or "image/png").lower().partition(";")[0].strip()
    if media_type not in FORMATS:
        remedy = suggest_spelling(media_type, FORMATS) or f"use one of {', '.join(FORMATS)}"
        raise ParamError(f"maps are not available in the format {media_type[:60]!r}", name="FORMAT", remedy=remedy)
    return media_type


def _read_background(params: RequestParams) -> tuple[int, int, int]:
    colour_text = params.read_one("BGCOLOR") or "0xFFFFFF"
    match = _COLOUR_PATTERN.fullmatch(colour_text)
    if match is None:
        message = f"BGCOLOR must be a colour, not {colour_text[:40]!r}"
        raise ParamError(message, name="BGCOLOR", remedy="write a colour such as BGCOLOR=0xFFFFFF")
    red, green, blue = bytes.fromhex(match[1])
    return red, green, blue


def answer_feature_info(params: RequestParams, rasters: Sequence[LayerRaster], view: MapView) -> tuple[bytes, str]:
    """Tell the values of layers at a pixel of a map, in the order of the layers.

    Returns
    -------
    body, media_type
        The values as text or JSON.
    """
    media_type = (params.read_one("INFO_FORMAT") or INFO_FORMATS[0]).lower()
    if media_type not in INFO_FORMATS:
        remedy = f"use one of {', '.join(INFO_FORMATS)}"
        raise ParamError(
            f"values are not available in the format {media_type[:60]!r}", name="INFO_FORMAT", remedy=remedy
        )
    names = ("I", "J") if choose_wms_version(params) == NEW_WMS_VERSION else ("X", "Y")
    column, row = (_read_pixel_number(params, name, PIXEL_REMEDY) for name in names)
    if column >= view.width or row >= view.height:
        message = f"the pixel ({column}, {row}) is outside the map, which has {view.width} x {view.height} pixels"
        raise ParamError(message, name="I", remedy=PIXEL_REMEDY)
    for raster in rasters:
        info = raster.read_info()
        require_same_body(info, view.frame)
        require_value_layer(raster, "QUERY_LAYERS", "choose a layer with values")
    lon, lat = view.locate_pixel(column, row)
    is_on_body = math.isfinite(lon) and math.isfinite(lat)
    readings = [(raster.layer, read_pixel_value(raster, lon, lat) if is_on_body else None) for raster in rasters]
    if media_type == "application/json":
        entries = [{"layer": layer.name, "value": value, "unit": layer.unit} for layer, value in readings]
        # beside the body, numbers are infinite, which are null in JSON
        return orjson.dumps({"lon": lon, "lat": lat, "values": entries}), media_type
    lines = [
        f"{layer.name}: {'no data' if value is None else f'{value:.9g} {layer.unit}'}".rstrip()
        for layer, value in readings
    ]
    return "\n".join([*lines, ""]).encode(), media_type


def answer_legend(params: RequestParams, raster: LayerRaster) -> tuple[bytes, str]:
    """Return the legend of a layer.

    Returns
    -------
    picture, media_type
        The picture as PNG.
    """
    if (params.read_one("FORMAT") or "image/png").lower() != "image/png":
        raise ParamError("legends are only available as PNG", name="FORMAT", remedy="write FORMAT=image/png")
    picture = read_or_draw_legend(raster)
    if picture is None:
        message = f"the layer {raster.layer.name!r} is a picture without a legend"
        raise ParamError(message, name="LAYER", remedy="request a legend only for layers that have values")
    return picture, "image/png"


def write_capabilities(
    rasters: Sequence[tuple[CollectionSpec, LayerRaster]], service_url: str, version: str, aliases: Mapping[str, str]
) -> tuple[bytes, str]:
    """Write the capabilities of a collection's maps, in the order of their schema (06-042 A.1; 01-068r3 A.1)."""
    resource = rasters[0][0]
    is_new = version == NEW_WMS_VERSION
    link = (
        f'<OnlineResource xmlns:xlink="http://www.w3.org/1999/xlink" xlink:type="simple" xlink:href="{service_url}?"/>'
    )
    dcp = f"<DCPType><HTTP><Get>{link}</Get></HTTP></DCPType>"
    service_name, media_type, exception_type = "OGC:WMS", "application/vnd.ogc.wms_xml", "application/vnd.ogc.se_xml"
    head, end = f'<WMT_MS_Capabilities version="{OLD_WMS_VERSION}">', "</WMT_MS_Capabilities>"
    limits = ""
    if is_new:
        service_name, media_type, exception_type = "WMS", "text/xml", "XML"
        head = f'<WMS_Capabilities version="{NEW_WMS_VERSION}" xmlns="http://www.opengis.net/wms">'
        end = "</WMS_Capabilities>"
        limits = (
            f"<LayerLimit>{MAX_LAYERS}</LayerLimit><MaxWidth>{MAX_SIDE_PIXELS}</MaxWidth>"
            f"<MaxHeight>{MAX_SIDE_PIXELS}</MaxHeight>"
        )
    formats = "".join(f"<Format>{media_type}</Format>" for media_type in FORMATS)
    info_formats = "".join(f"<Format>{media_type}</Format>" for media_type in INFO_FORMATS)
    title = escape_xml(str(resource.title))
    layers = "".join(_write_layer(item, aliases, service_url, is_new=is_new) for item in read_layer_infos(rasters))
    constraints = f"<AccessConstraints>{escape_xml(resource.licence)}</AccessConstraints>" if resource.licence else ""
    document = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<Service>'
        f"<Name>{service_name}</Name><Title>{title}</Title>{link}"
        f"{constraints}{limits}</Service><Capability><Request><GetCapabilities><Format>{media_type}</Format>{dcp}"
        f"</GetCapabilities><GetMap>{formats}{dcp}</GetMap>"
        f"<GetFeatureInfo>{info_formats}{dcp}</GetFeatureInfo></Request>"
        f"<Exception><Format>{exception_type}</Format></Exception>"
        f"<Layer><Title>{title}</Title>{layers}</Layer></Capability>{end}\n"
    )
    return document.encode(), media_type


def _write_layer(
    item: tuple[CollectionSpec, LayerRaster, RasterInfo], aliases: Mapping[str, str], service_url: str, *, is_new: bool
) -> str:
    resource, raster, info = item
    layer, body = raster.layer, info.frame.body
    frame_names = []
    for suffix in SERVED_SUFFIXES:
        with contextlib.suppress(ParamError):  # most bodies have frames on the sphere alone
            frame_names.append(body.get_frame(suffix).name)
    frame_names += list_aliases_of_body(body, aliases)
    tag = "CRS" if is_new else "SRS"
    west, south, east, north = info.lon_lat_bounds
    if is_new:
        outer_west, outer_east = (west, east) if east <= 180 else (-180.0, 180.0)
        box = (
            f"<EX_GeographicBoundingBox><westBoundLongitude>{outer_west}</westBoundLongitude>"
            f"<eastBoundLongitude>{outer_east}</eastBoundLongitude><southBoundLatitude>{south}</southBoundLatitude>"
            f"<northBoundLatitude>{north}</northBoundLatitude></EX_GeographicBoundingBox>"
        )
        low, high = (south, west), (north, east)
    else:
        box = f'<LatLonBoundingBox minx="{west}" miny="{south}" maxx="{east}" maxy="{north}"/>'
        low, high = (west, south), (east, north)
    box += (
        f'<BoundingBox {tag}="{body.get_frame(0).name}" minx="{low[0]}" miny="{low[1]}" maxx="{high[0]}" '
        f'maxy="{high[1]}"/>'
    )
    legend = ""
    legend_size = measure_legend(raster)
    if legend_size is not None:
        address = quote_attribute(build_legend_url(service_url, layer.name))
        legend = (
            f'<LegendURL width="{legend_size[0]}" height="{legend_size[1]}"><Format>image/png</Format>'
            f'<OnlineResource xmlns:xlink="http://www.w3.org/1999/xlink" xlink:type="simple" xlink:href={address}/>'
            "</LegendURL>"
        )
    abstract = f"<Abstract>{escape_xml(str(layer.description))}</Abstract>" if layer.description else ""
    credit = "; ".join(filter(None, (get_attribution(layer, resource), layer.licence)))
    attribution = f"<Attribution><Title>{escape_xml(credit)}</Title></Attribution>" if credit else ""
    names = "".join(f"<{tag}>{escape_xml(name)}</{tag}>" for name in dict.fromkeys(frame_names))
    return (
        f'<Layer queryable="{int(not info.shows_colours)}"><Name>{escape_xml(layer.name)}</Name>'
        f"<Title>{escape_xml(str(layer.title))}</Title>{abstract}{names}"
        f"{box}{_write_dimensions(layer, is_new=is_new)}{attribution}"
        f"<Style><Name>default</Name><Title>default</Title>{legend}</Style></Layer>"
    )


def _write_dimensions(layer: MapLayer, *, is_new: bool) -> str:
    """Write the times and wavelengths of a layer; in version 1.1.1, all dimensions come before their values."""
    heads, extents = [], []
    for name, unit, values, default in layer.list_dimensions():
        attributes = f'name="{name}" units="{unit}"'
        if is_new:
            heads.append(f'<Dimension {attributes} default="{default}">{",".join(values)}</Dimension>')
        else:
            heads.append(f"<Dimension {attributes}/>")
            extents.append(f'<Extent name="{name}" default="{default}">{",".join(values)}</Extent>')
    return "".join(heads + extents)
