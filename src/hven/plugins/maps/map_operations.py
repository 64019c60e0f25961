"""Run the operations of WMS, WMTS and WCS, and describe bodies; this needs the libraries for rasters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from hven.model.errors import NotFoundError, ParamError, format_message
from hven.plugins.maps import wcs_2_requests, wcs_requests, wms_requests, wmts_requests
from hven.plugins.maps.body_documents import build_body_document, build_body_list
from hven.plugins.maps.layer_access import (
    DEFAULT_VALUES,
    build_no_maps_error,
    find_layer_rasters,
    get_frame_aliases,
    list_layer_rasters,
)
from hven.plugins.maps.map_drawing import draw_tile, read_pixel_value
from hven.plugins.maps.map_layers import DimensionValues
from hven.plugins.maps.request_errors import (
    OLD_WCS_VERSION,
    ErrorCollector,
    choose_wcs_version,
    choose_wms_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.params import RequestParams
    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_views import MapView
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

    Answer = tuple[bytes, str]  # body and media type


@dataclass(frozen=True)
class MapRequest:
    """A request for the maps of a collection, or of a body.

    Attributes
    ----------
    context
        Service context of the site or portal.
    principal
        The reader.
    base_url
        Address of the site or portal.
    path_params
        Parts of the path by their names.
    params
        Parameters of the request.
    """

    context: ServiceContext
    principal: Principal
    base_url: str
    path_params: Mapping[str, Any]
    params: RequestParams

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return str(self.path_params["collection"])

    @property
    def dimensions(self) -> DimensionValues:
        """Time and wavelength; WMS puts DIM_ before names of its own dimensions, and WMTS does not."""
        wavelength = self.params.read_one("DIM_WAVELENGTH") or self.params.read_one("WAVELENGTH") or ""
        return DimensionValues(self.params.read_one("TIME") or "", wavelength)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Aliases of frames of the collection."""
        return get_frame_aliases(self.context, self.collection)

    def list_rasters(
        self, layer_id: str = "", values: DimensionValues = DEFAULT_VALUES
    ) -> list[tuple[CollectionSpec, LayerRaster]]:
        """List the layers that the reader may see, as `layer_access.list_layer_rasters` does."""
        return list_layer_rasters(self.context, self.principal, values, layer_id)

    def find_rasters(self, names: Sequence[str], *, sends_values: bool = False) -> list[LayerRaster]:
        """Find layers of the collection."""
        return find_layer_rasters(
            self.context, self.principal, self.collection, names, self.dimensions, sends_values=sends_values
        )

    def list_collection_rasters(self) -> list[tuple[CollectionSpec, LayerRaster]]:
        """List the layers of the collection, for any time.

        Raises
        ------
        NotFoundError
            There are none that the reader may see.
        """
        rasters = self.list_rasters(f"{self.collection}/")
        if not rasters:
            raise build_no_maps_error(self.collection)
        return rasters

    def run_operation(self, operations: Mapping[str, Callable[[MapRequest], Answer]], remedy: str) -> Answer:
        """Run the operation that the request names."""
        name = self.params.read_one("REQUEST") or ""
        operation = operations.get(name.lower())
        if operation is None:
            raise ParamError(f"there is no operation {name[:60]!r}", name="REQUEST", remedy=remedy)
        return operation(self)


def _answer_wms(request: MapRequest) -> Answer:
    operations = {
        "getmap": _draw_map,
        "map": _draw_map,  # names of version 1.0
        "getcapabilities": _write_map_capabilities,
        "capabilities": _write_map_capabilities,
        "getfeatureinfo": _answer_feature_info,
        "getlegendgraphic": _draw_legend,
    }
    return request.run_operation(operations, "request GetCapabilities, GetMap, GetFeatureInfo or GetLegendGraphic")


def _draw_map(request: MapRequest) -> Answer:
    rasters, view = _read_layers_and_view(request, "LAYERS")
    return wms_requests.answer_map(request.params, rasters, view)


def _answer_feature_info(request: MapRequest) -> Answer:
    rasters, view = _read_layers_and_view(request, "QUERY_LAYERS")
    return wms_requests.answer_feature_info(request.params, rasters, view)


def _read_layers_and_view(request: MapRequest, layers_parameter: str) -> tuple[list[LayerRaster], MapView]:
    """Read a request about a map, whose layers are in a parameter; all errors are raised together."""
    params, errors = request.params, ErrorCollector()
    names: list[str] = errors.call_or_collect_error(lambda: wms_requests.read_layer_names(params, layers_parameter), [])
    rasters: list[LayerRaster] = errors.call_or_collect_error(lambda: request.find_rasters(names), [])
    errors.call_or_collect_error(lambda: wms_requests.check_styles(params), None)
    if layers_parameter == "LAYERS":
        errors.call_or_collect_error(lambda: wms_requests.read_map_format(params), "")
    view = errors.call_or_collect_error(lambda: wms_requests.read_map_view(params, request.aliases), None)
    errors.raise_errors()
    assert view is not None  # noqa: S101  (else there is an error)
    return rasters, view


def _draw_legend(request: MapRequest) -> Answer:
    names = wms_requests.read_layer_names(request.params, "LAYER")
    wms_requests.check_styles(request.params)
    return wms_requests.answer_legend(request.params, request.find_rasters(names)[0])


def _write_map_capabilities(request: MapRequest) -> Answer:
    version = choose_wms_version(request.params)
    service_url = f"{request.base_url}/wms/{request.collection}"
    rasters = request.list_collection_rasters()
    return wms_requests.write_capabilities(rasters, service_url, version, request.aliases)


def _answer_wmts(request: MapRequest) -> Answer:
    operations = {"getcapabilities": _write_tile_capabilities, "gettile": _draw_requested_tile}
    return request.run_operation(operations, "write REQUEST=GetCapabilities or REQUEST=GetTile")


def _write_tile_capabilities(request: MapRequest) -> Answer:
    service_url = f"{request.base_url}/wmts/{request.collection}"
    return wmts_requests.write_capabilities(request.list_collection_rasters(), service_url), "text/xml"


def _draw_requested_tile(request: MapRequest) -> Answer:
    layer, set_name, tile = wmts_requests.read_tile_parameters(request.params)
    return draw_tile(request.find_rasters([layer])[0], set_name, tile), "image/png"


def _draw_tile_of_path(request: MapRequest) -> Answer:
    values = request.path_params
    raster = request.find_rasters([values["layer"]])[0]
    return draw_tile(raster, values["set"], (values["level"], values["row"], values["column"])), "image/png"


def _answer_wcs(request: MapRequest) -> Answer:
    operations = {
        "getcapabilities": _write_coverage_capabilities,
        "describecoverage": _describe_coverages,
        "getcoverage": _cut_coverage,
    }
    return request.run_operation(operations, "request GetCapabilities, DescribeCoverage or GetCoverage")


def _choose_coverage_module(request: MapRequest) -> tuple[Any, str]:
    """Choose the module that answers requests of a version, with the name of its parameter for coverages."""
    if choose_wcs_version(request.params) == OLD_WCS_VERSION:
        return wcs_requests, "COVERAGE"
    return wcs_2_requests, "COVERAGEID"


def _write_coverage_capabilities(request: MapRequest) -> Answer:
    service_url = f"{request.base_url}/wcs/{request.collection}"
    module, _ = _choose_coverage_module(request)
    return module.write_capabilities(request.list_collection_rasters(), service_url), "text/xml"


def _describe_coverages(request: MapRequest) -> Answer:
    rasters = request.list_collection_rasters()
    module, parameter = _choose_coverage_module(request)
    if request.params.read_one(parameter) or parameter == "COVERAGEID":  # version 1.0.0 describes all without it
        names = wms_requests.read_layer_names(request.params, parameter)
        rasters = [(rasters[0][0], raster) for raster in request.find_rasters(names)]
    return module.describe_coverages(rasters, request.aliases), "text/xml"


def _cut_coverage(request: MapRequest) -> Answer:
    module, parameter = _choose_coverage_module(request)
    names = wms_requests.read_layer_names(request.params, parameter)
    raster = request.find_rasters(names, sends_values=True)[0]
    coverage: Answer = module.answer_coverage(request.params, raster, request.aliases)
    return coverage


def _list_bodies(request: MapRequest) -> Answer:
    return _write_json(build_body_list(request.list_rasters(), request.base_url))


def _describe_body(request: MapRequest) -> Answer:
    return _write_json(build_body_document(request.list_rasters(), request.path_params["body"], request.base_url))


def _find_pixel_value(request: MapRequest) -> Answer:
    lon, lat = (_read_degrees(request.params, name, most) for name, most in (("LON", None), ("LAT", 90.0)))
    values, layer_id = request.dimensions, request.params.read_one("LAYER") or ""
    body_name = request.path_params["body"].lower()
    for resource, raster in request.list_rasters(layer_id, values):
        body = raster.read_info().frame.body
        if f"{resource.name}/{raster.layer.name}" == layer_id and body.name.lower() == body_name:
            break
    else:
        raise NotFoundError(format_message("there is no map {name}", layer_id[:100]))
    wavelength = values.wavelength or raster.layer.default_wavelength
    document = {
        "layer": layer_id,
        "frame": body.get_frame(0).name,
        "unit": raster.layer.unit,
        "quantity": str(raster.layer.quantity),
        "lon": lon,
        "lat": lat,
        "time": values.time or raster.layer.default_time or None,
        "wavelength": float(wavelength) if wavelength else None,
        "value": read_pixel_value(raster, lon, lat),
    }
    return _write_json(document)


def _read_degrees(params: RequestParams, name: str, most: float | None) -> float:
    degrees = params.read_number(name, minimum=None if most is None else -most, maximum=most)
    if degrees is None:
        raise ParamError(f"{name} must be a number of degrees", name=name, remedy=f"write {name}=18.2")
    return degrees


def _write_json(document: dict[str, Any]) -> Answer:
    return orjson.dumps(document), "application/json"


OPERATIONS: dict[str, Callable[[MapRequest], Answer]] = {
    "wms": _answer_wms,
    "wmts": _answer_wmts,
    "wcs": _answer_wcs,
    "tile capabilities": _write_tile_capabilities,
    "tile": _draw_tile_of_path,
    "bodies": _list_bodies,
    "body": _describe_body,
    "value": _find_pixel_value,
}
