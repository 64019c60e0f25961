"""Maps of bodies at ``/wms``, ``/wmts`` and ``/wcs`` of a collection, and what there is at ``/maps.json``.

The libraries for rasters are imported by the first request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import services
from hven.model import plugins
from hven.model.errors import NotFoundError, ParamError, format_message
from hven.plugins.maps.map_layers import DimensionValues
from hven.plugins.maps.request_errors import ErrorCollector, SeveralParamsError
from hven.services.errors import ErrorResponder, find_http_status, log_error_and_write_message, write_json_error
from hven.services.face import (
    MAX_PARAMETER_BODY_BYTES,
    ServiceContext,
    ServiceFace,
    create_query_route,
    create_route,
    wrap_endpoint_with_gates_and_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.params import RequestParams

DEFAULT_VALUES = DimensionValues()
MAX_DRAWINGS = 2  # maps that are drawn at a time in a process: queries have priority
VARY_HEADER = "authorization, cookie, host"
_CODES_BY_PARAMETER = {
    "LAYERS": "LayerNotDefined",
    "LAYER": "LayerNotDefined",
    "QUERY_LAYERS": "LayerNotQueryable",
    "STYLES": "StyleNotDefined",
    "FORMAT": "InvalidFormat",
    "INFO_FORMAT": "InvalidFormat",
    "I": "InvalidPoint",
    "TIME": "InvalidDimensionValue",
    "DIM_WAVELENGTH": "InvalidDimensionValue",
    "REQUEST": "OperationNotSupported",
}
# WCS 2.0.1: name of a wrong parameter -> code and status of the error
_WCS_ERRORS = {
    "COVERAGEID": ("NoSuchCoverage", 404),
    "LAYERS": ("NoSuchCoverage", 404),
    "SUBSET": ("InvalidSubsetting", 404),
    "AXIS": ("InvalidAxisLabel", 404),
    "SUBSETTINGCRS": ("SubsettingCrs-NotSupported", 404),
    "OUTPUTCRS": ("OutputCrs-NotSupported", 404),
    "SCALEFACTOR": ("InvalidScaleFactor", 404),
    "SCALEAXES": ("InvalidScaleFactor", 404),
    "REQUEST": ("OperationNotSupported", 501),
}
JSON_ERRORS = ErrorResponder(
    write_document=lambda message: write_json_error(message, 400), media_type="application/json"
)


def _load_module(name: str) -> Any:
    """Import a module of this package that needs the libraries for rasters."""
    return plugins.import_hven_module(f"hven.plugins.maps.{name}", "the service of maps")


def _build_error_response(
    request: Request, error: Exception, write_document: Callable[[str], str | bytes], media_type: str
) -> Response:
    """Answer with the document of an error, or with plain text where the libraries for rasters are missing."""
    message = log_error_and_write_message(error, services.get_request_id(request))
    status = find_http_status(error)
    try:
        document = write_document(message)
    except Exception:  # noqa: BLE001  (the libraries are not installed)
        return Response(message, status, media_type="text/plain")
    return Response(document, status, services.build_retry_after_header(error), media_type=media_type)


def _respond_to_wms_error(request: Request, error: Exception) -> Response:
    """Answer with an error document of the version that is requested."""
    query = {name.upper(): value for name, value in request.query_params.items()}
    is_old = (query.get("VERSION") or query.get("WMTVER") or "1.3.0") < "1.3.0"
    version, media_type = ("1.1.1", "application/vnd.ogc.se_xml") if is_old else ("1.3.0", "text/xml")
    single_errors: Sequence[Exception] = error.errors if isinstance(error, SeveralParamsError) else (error,)

    def find_code(single_error: Exception) -> str:
        parameter = str(single_error.name) if isinstance(single_error, ParamError) else ""
        if parameter in {"CRS", "SRS"}:
            return "InvalidSRS" if is_old else "InvalidCRS"
        return _CODES_BY_PARAMETER.get(parameter, "")

    def write_document(message: str) -> Any:
        messages = [str(item) for item in single_errors] if len(single_errors) > 1 else [message]
        codes = map(find_code, single_errors)
        items = list(zip(messages, codes, strict=True))
        return _load_module("wms_requests").write_service_exceptions(items, version)

    return _build_error_response(request, error, write_document, media_type)


def _respond_to_wmts_error(request: Request, error: Exception) -> Response:
    parameter = str(error.name) if isinstance(error, ParamError) else ""
    parameter = {"LAYERS": "LAYER"}.get(parameter, parameter)
    is_in_path = "level" in request.path_params  # as all parameters of a tile are then
    is_missing = not is_in_path and not any(name.upper() == parameter for name in request.query_params)

    def write_document(message: str) -> Any:
        return _load_module("wmts_requests").write_exception(message, parameter, is_missing=is_missing)

    return _build_error_response(request, error, write_document, "text/xml")


def _choose_wcs_version(query: Mapping[str, str]) -> str:
    """Choose the version of an answer of WCS, from parameters by their names in upper case.

    Without a version, it is the highest, except for a request with the parameter of the older one.
    """
    versions = (query.get("VERSION") or query.get("ACCEPTVERSIONS") or "2.0.1").split(",")
    if "COVERAGE" in query and not query.get("VERSION"):
        return "1.0.0"
    return "2.0.1" if any(version.strip() >= "2" for version in versions) else "1.0.0"


def _respond_to_wcs_error(request: Request, error: Exception) -> Response:
    parameter = str(error.name) if isinstance(error, ParamError) else ""
    query = {name.upper(): value for name, value in request.query_params.items()}
    if _choose_wcs_version(query) == "1.0.0":
        media_type = "application/vnd.ogc.se_xml"
        return _build_error_response(
            request,
            error,
            lambda message: _load_module("wcs_requests").write_service_exception(message, parameter),
            media_type,
        )
    code, status = _WCS_ERRORS.get(parameter, ("InvalidParameterValue" if parameter else "NoApplicableCode", 400))
    if parameter in {"COVERAGEID", "REQUEST"} and not query.get(parameter):
        code, status = "MissingParameterValue", 400
        if query.get("REQUEST", "").lower() == "describecoverage":
            code, status = "emptyCoverageIdList", 404
    is_repeated = [name.upper() for name, _ in request.query_params.multi_items()].count(parameter) > 1
    if is_repeated and parameter != "SUBSET":  # it has one for each axis
        code, status = "InvalidParameterValue", 400
    locator = {"AXIS": "SUBSET", "LAYERS": "COVERAGEID"}.get(parameter, parameter)
    response = _build_error_response(
        request,
        error,
        lambda message: _load_module("wcs_2_requests").write_exception(message, code, locator),
        "text/xml",
    )
    if response.status_code == 400:
        response.status_code = status
    return response


class MapService:
    """The maps of a site or portal."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._limiter = anyio.CapacityLimiter(MAX_DRAWINGS)

    def build_routes(self) -> Sequence[Route]:
        """Build the routes of maps."""
        wms_endpoint = wrap_endpoint_with_gates_and_errors(
            self._answer_wms, _respond_to_wms_error, MAX_PARAMETER_BODY_BYTES
        )
        wmts_endpoint = wrap_endpoint_with_gates_and_errors(
            self._answer_wmts, _respond_to_wmts_error, MAX_PARAMETER_BODY_BYTES
        )
        wcs_endpoint = wrap_endpoint_with_gates_and_errors(
            self._answer_wcs, _respond_to_wcs_error, MAX_PARAMETER_BODY_BYTES
        )
        capabilities_path = "/wmts/{collection}/1.0.0/WMTSCapabilities.xml"
        tile_path = "/wmts/{collection}/1.0.0/{layer}/default/{set}/{level:int}/{row:int}/{column:int}.png"
        return [
            Route("/wms/{collection}", wms_endpoint, methods=["GET"]),
            Route("/wmts/{collection}", wmts_endpoint, methods=["GET"]),
            Route("/wcs/{collection}", wcs_endpoint, methods=["GET"]),
            create_route(capabilities_path, self._answer_tile_capabilities, _respond_to_wmts_error),
            create_route(tile_path, self._answer_tile, _respond_to_wmts_error),
            create_route("/maps.json", self._answer_body_list, JSON_ERRORS),
            create_route("/maps/{body}.json", self._answer_body, JSON_ERRORS),
            create_query_route("/maps/{body}/value", self._answer_pixel_value, JSON_ERRORS),
        ]

    async def _call_in_thread(self, call: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)

    def _get_base_url(self, request: Request) -> str:
        return services.get_base_url(request, self._context.site.settings)

    def _list_rasters(self, request: Request, values: DimensionValues = DEFAULT_VALUES, layer_id: str = "") -> Any:
        principal = self._context.identify_principal(request)
        return _load_module("layer_access").list_layer_rasters(self._context, principal, values, layer_id)

    async def _answer_wms(self, request: Request, params: RequestParams) -> Response:
        operations = {
            "getmap": self._draw_map,
            "map": self._draw_map,  # names of version 1.0
            "getcapabilities": self._write_capabilities,
            "capabilities": self._write_capabilities,
            "getfeatureinfo": self._answer_feature_info,
            "getlegendgraphic": self._draw_legend,
        }
        name = params.read_one("REQUEST") or ""
        operation = operations.get(name.lower())
        if operation is None:
            message = f"there is no operation {name[:60]!r}"
            remedy = "request GetCapabilities, GetMap, GetFeatureInfo or GetLegendGraphic"
            raise ParamError(message, name="REQUEST", remedy=remedy)
        body, media_type = await self._call_in_thread(lambda: operation(request, params))
        return _answer_with_body(request, body, media_type)

    def _find_rasters(
        self, request: Request, names: Sequence[str], values: DimensionValues, *, sends_values: bool = False
    ) -> Any:
        collection, principal = request.path_params["collection"], self._context.identify_principal(request)
        find_layer_rasters = _load_module("layer_access").find_layer_rasters
        return find_layer_rasters(self._context, principal, collection, names, values, sends_values=sends_values)

    def _draw_map(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        return self._answer_map_request(request, params, "LAYERS", _load_module("wms_requests").answer_map)

    def _answer_feature_info(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        return self._answer_map_request(
            request, params, "QUERY_LAYERS", _load_module("wms_requests").answer_feature_info
        )

    def _answer_map_request(
        self, request: Request, params: RequestParams, layers_parameter: str, answer: Callable[..., tuple[bytes, str]]
    ) -> tuple[bytes, str]:
        """Answer a request about a map, whose layers are in a parameter."""
        requests, access = _load_module("wms_requests"), _load_module("layer_access")
        errors = ErrorCollector()
        names: list[str] = errors.call_or_collect_error(lambda: requests.read_layer_names(params, layers_parameter), [])
        rasters: list[Any] = errors.call_or_collect_error(
            lambda: self._find_rasters(request, names, _read_dimensions(params)), []
        )
        errors.call_or_collect_error(lambda: requests.check_styles(params), None)
        if layers_parameter == "LAYERS":
            errors.call_or_collect_error(lambda: requests.read_map_format(params), "")
        aliases = access.get_frame_aliases(self._context, request.path_params["collection"])
        view = errors.call_or_collect_error(lambda: requests.read_map_view(params, aliases), None)
        errors.raise_errors()
        return answer(params, rasters, view)

    def _draw_legend(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        requests = _load_module("wms_requests")
        names = requests.read_layer_names(params, "LAYER")
        requests.check_styles(params)
        raster = self._find_rasters(request, names, _read_dimensions(params))[0]
        legend: tuple[bytes, str] = requests.answer_legend(params, raster)
        return legend

    def _list_collection_rasters(self, request: Request) -> Any:
        collection = request.path_params["collection"]
        rasters = self._list_rasters(request, layer_id=f"{collection}/")
        if not rasters:
            raise NotFoundError(format_message("the collection {name} has no maps", collection[:100]))
        return rasters

    def _write_capabilities(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        requests, access = _load_module("wms_requests"), _load_module("layer_access")
        collection = request.path_params["collection"]
        rasters = self._list_collection_rasters(request)
        version = requests.choose_wms_version(params)
        aliases = access.get_frame_aliases(self._context, collection)
        service_url = f"{self._get_base_url(request)}/wms/{collection}"
        body = requests.write_capabilities(rasters, service_url, version, aliases)
        return body, "text/xml" if version == "1.3.0" else "application/vnd.ogc.wms_xml"

    async def _answer_wmts(self, request: Request, params: RequestParams) -> Response:
        operation = (params.read_one("REQUEST") or "").lower()
        if operation == "getcapabilities":
            return await self._answer_tile_capabilities(request)
        if operation != "gettile":
            message = f"there is no operation {operation[:60]!r}"
            raise ParamError(message, name="REQUEST", remedy="write REQUEST=GetCapabilities or REQUEST=GetTile")
        layer, set_name, tile = _load_module("wmts_requests").read_tile_parameters(params)
        return await self._draw_tile_response(request, layer, set_name, tile)

    async def _answer_tile_capabilities(self, request: Request) -> Response:
        def write_document() -> bytes:
            rasters = self._list_collection_rasters(request)
            service_url = f"{self._get_base_url(request)}/wmts/{request.path_params['collection']}"
            document: bytes = _load_module("wmts_requests").write_capabilities(rasters, service_url)
            return document

        return _answer_with_body(request, await self._call_in_thread(write_document), "text/xml")

    async def _answer_tile(self, request: Request) -> Response:
        values = request.path_params
        tile = values["level"], values["row"], values["column"]
        return await self._draw_tile_response(request, values["layer"], values["set"], tile)

    async def _draw_tile_response(
        self, request: Request, layer: str, set_name: str, tile: tuple[int, int, int]
    ) -> Response:
        def draw_tile() -> bytes:
            query = {name.upper(): value for name, value in request.query_params.items()}
            wavelength = query.get("WAVELENGTH") or query.get("DIM_WAVELENGTH", "")
            raster = self._find_rasters(request, [layer], DimensionValues(query.get("TIME", ""), wavelength))[0]
            picture: bytes = _load_module("map_drawing").draw_tile(raster, set_name, tile)
            return picture

        return _answer_with_body(request, await self._call_in_thread(draw_tile), "image/png")

    async def _answer_wcs(self, request: Request, params: RequestParams) -> Response:
        operations = {
            "getcapabilities": self._write_coverage_capabilities,
            "describecoverage": self._describe_coverages,
            "getcoverage": self._cut_coverage,
        }
        name = params.read_one("REQUEST") or ""
        operation = operations.get(name.lower())
        if operation is None:
            message = f"there is no operation {name[:60]!r}"
            remedy = "request GetCapabilities, DescribeCoverage or GetCoverage"
            raise ParamError(message, name="REQUEST", remedy=remedy)
        body, media_type = await self._call_in_thread(lambda: operation(request, params))
        return _answer_with_body(request, body, media_type)

    def _load_coverage_module(self, params: RequestParams) -> tuple[Any, str]:
        """Load the module that answers requests of a version, with the name of its parameter for coverages."""
        query = {name: values[0] for name, values in params.values.items() if values}
        if _choose_wcs_version(query) == "1.0.0":
            return _load_module("wcs_requests"), "COVERAGE"
        return _load_module("wcs_2_requests"), "COVERAGEID"

    def _write_coverage_capabilities(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        service_url = f"{self._get_base_url(request)}/wcs/{request.path_params['collection']}"
        rasters = self._list_collection_rasters(request)
        return self._load_coverage_module(params)[0].write_capabilities(rasters, service_url), "text/xml"

    def _describe_coverages(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        rasters = self._list_collection_rasters(request)
        collection = request.path_params["collection"]
        module, parameter = self._load_coverage_module(params)
        if params.read_one(parameter) or parameter == "COVERAGEID":  # version 1.0.0 describes all without it
            names = _load_module("wms_requests").read_layer_names(params, parameter)
            found_rasters = self._find_rasters(request, names, DEFAULT_VALUES)
            rasters = [(rasters[0][0], raster) for raster in found_rasters]
        if parameter == "COVERAGEID":
            return module.describe_coverages(rasters), "text/xml"
        aliases = _load_module("layer_access").get_frame_aliases(self._context, collection)
        return module.describe_coverages(rasters, aliases), "text/xml"

    def _cut_coverage(self, request: Request, params: RequestParams) -> tuple[bytes, str]:
        module, parameter = self._load_coverage_module(params)
        names = _load_module("wms_requests").read_layer_names(params, parameter)
        raster = self._find_rasters(request, names, _read_dimensions(params), sends_values=True)[0]
        aliases = _load_module("layer_access").get_frame_aliases(self._context, request.path_params["collection"])
        coverage: tuple[bytes, str] = module.answer_coverage(params, raster, aliases)
        return coverage

    async def _answer_body_list(self, request: Request) -> Response:
        def build_document() -> Any:
            rasters = self._list_rasters(request)
            return _load_module("body_documents").build_body_list(rasters, self._get_base_url(request))

        return _answer_with_json(request, await self._call_in_thread(build_document))

    async def _answer_body(self, request: Request) -> Response:
        def build_document() -> Any:
            rasters, body = self._list_rasters(request), request.path_params["body"]
            return _load_module("body_documents").build_body_document(rasters, body, self._get_base_url(request))

        return _answer_with_json(request, await self._call_in_thread(build_document))

    async def _answer_pixel_value(self, request: Request, params: RequestParams) -> Response:
        lon, lat = (_read_degrees(params, name) for name in ("LON", "LAT"))
        values = _read_dimensions(params)
        if abs(lat) > 90:
            raise ParamError(
                "LAT must be from -90 to 90", name="LAT", remedy="write the longitude as LON and the latitude as LAT"
            )

        def find_value() -> dict[str, Any]:
            layer_id, body = params.read_one("LAYER") or "", request.path_params["body"]
            rasters = self._list_rasters(request, values, layer_id)
            raster, details = _load_module("body_documents").find_raster_and_details(rasters, body, layer_id)
            value = _load_module("map_drawing").read_pixel_value(raster, lon, lat)
            time = values.time or raster.layer.default_time or None
            wavelength = values.wavelength or raster.layer.default_wavelength or None
            shown_wavelength = None if wavelength is None else float(wavelength)
            place = {"lon": lon, "lat": lat, "time": time, "wavelength": shown_wavelength}
            return {**details, **place, "value": value}

        return _answer_with_json(request, await self._call_in_thread(find_value))


def _read_dimensions(params: RequestParams) -> DimensionValues:
    """Read time and wavelength; WMS puts DIM_ before names of its own dimensions, and WMTS does not."""
    wavelength = params.read_one("DIM_WAVELENGTH") or params.read_one("WAVELENGTH") or ""
    return DimensionValues(params.read_one("TIME") or "", wavelength)


def _read_degrees(params: RequestParams, name: str) -> float:
    try:
        degrees = float(params.read_one(name) or "")
    except ValueError:
        degrees = math.nan
    if not math.isfinite(degrees):
        raise ParamError(f"{name} must be a number of degrees", name=name, remedy=f"write {name}=18.2")
    return degrees


def _answer_with_body(request: Request, body: bytes, media_type: str) -> Response:
    """Answer with a document whose tag is computed from its bytes, so that no cache can have a wrong one."""
    headers = services.build_cache_headers(services.compute_etag(body), is_public=False, vary=VARY_HEADER)
    return services.answer_with_etag(request, headers, media_type, body)


def _answer_with_json(request: Request, document: dict[str, Any]) -> Response:
    return _answer_with_body(request, orjson.dumps(document), "application/json")


FACE = ServiceFace(
    name="body_maps",
    title="Maps of planets",
    description="Maps of planets and moons: WMS at /wms/NAME, WMTS at /wmts/NAME, WCS at /wcs/NAME.",
    build_routes=lambda context: MapService(context).build_routes(),
)
