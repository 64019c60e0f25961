"""Answer errors in the protocols and versions of requests, and collect those of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response

from hven import services
from hven.formats import escape_xml, quote_attribute
from hven.model.errors import ParamError
from hven.model.params import RequestParams
from hven.services.errors import find_http_status, log_error_and_write_message, write_json_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

Value = TypeVar("Value")
OLD_WMS_VERSION, NEW_WMS_VERSION = "1.1.1", "1.3.0"
OLD_WCS_VERSION, NEW_WCS_VERSION = "1.0.0", "2.0.1"
XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
OGC_NAMESPACE = "http://www.opengis.net/ogc"
OLD_WMS_DOCUMENT_TYPE = (
    '<!DOCTYPE ServiceExceptionReport SYSTEM "http://schemas.opengis.net/wms/1.1.1/exception_1_1_1.dtd">\n'
)
_WMS_CODES = {
    "LAYERS": "LayerNotDefined",
    "LAYER": "LayerNotDefined",
    "QUERY_LAYERS": "LayerNotQueryable",
    "STYLES": "StyleNotDefined",
    "FORMAT": "InvalidFormat",
    "INFO_FORMAT": "InvalidFormat",
    **dict.fromkeys(("I", "J", "X", "Y"), "InvalidPoint"),
    "TIME": "InvalidDimensionValue",
    "DIM_WAVELENGTH": "InvalidDimensionValue",
    "REQUEST": "OperationNotSupported",
}
_OLD_WCS_CODES = {"COVERAGE": "CoverageNotDefined", "LAYERS": "CoverageNotDefined", "FORMAT": "InvalidFormat", "": ""}
# WCS 2.0.1: name of a wrong parameter -> code and status of the error
_NEW_WCS_ERRORS = {
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


class SeveralParamsError(ParamError):
    """Several parameters are wrong, each for its own reason."""

    def __init__(self, errors: Sequence[ParamError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(str(error) for error in errors), name=errors[0].name)


class ErrorCollector:
    """Collect errors of parameters, so that a client learns of all of them at once."""

    def __init__(self) -> None:
        self._errors: list[ParamError] = []

    def call_or_collect_error(self, read: Callable[[], Value], default: Value) -> Value:
        """Return what a function reads, or a default in case of an error, which is kept."""
        try:
            return read()
        except ParamError as error:
            self._errors.append(error)
            return default

    def raise_errors(self) -> None:
        """Raise the errors, if there are any.

        Raises
        ------
        ParamError
            A parameter is wrong, or several are.
        """
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise SeveralParamsError(self._errors)


def choose_wms_version(params: RequestParams) -> str:
    """Choose the version of an answer: the one that is requested, or the nearest lower one (06-042, 6.2.4)."""
    version = params.read_one("VERSION") or params.read_one("WMTVER") or NEW_WMS_VERSION
    return NEW_WMS_VERSION if version >= NEW_WMS_VERSION else OLD_WMS_VERSION


def choose_wcs_version(params: RequestParams) -> str:
    """Choose the version of an answer: without one, the highest, unless a parameter is one of the older version."""
    version = params.read_one("VERSION")
    versions = (version or params.read_one("ACCEPTVERSIONS") or NEW_WCS_VERSION).split(",")
    is_new = any(text.strip() >= "2" for text in versions) and (version or "COVERAGE" not in params.values)
    return NEW_WCS_VERSION if is_new else OLD_WCS_VERSION


def _read_query(request: Request) -> RequestParams:
    return RequestParams({name.upper(): (value,) for name, value in request.query_params.items()})


def _find_parameter(error: Exception) -> str:
    return str(error.name) if isinstance(error, ParamError) else ""


def respond_to_json_error(request: Request, error: Exception) -> Response:
    """Answer with the message and the status of an error as JSON."""
    message, status = log_error_and_write_message(error, services.get_request_id(request)), find_http_status(error)
    return _answer_document(error, write_json_error(message, status), "application/json")


def respond_to_wms_error(request: Request, error: Exception) -> Response:
    """Answer with an exception for each wrong parameter."""
    version = choose_wms_version(_read_query(request))
    crs_code, head, namespace, media_type = "InvalidCRS", "", OGC_NAMESPACE, "text/xml"
    if version == OLD_WMS_VERSION:
        crs_code, head, namespace, media_type = "InvalidSRS", OLD_WMS_DOCUMENT_TYPE, "", "application/vnd.ogc.se_xml"
    codes = {**_WMS_CODES, "CRS": crs_code, "SRS": crs_code}
    message = log_error_and_write_message(error, services.get_request_id(request))
    messages = {message: error}
    if isinstance(error, SeveralParamsError):
        messages = {str(single_error): single_error for single_error in error.errors}
    exceptions = "".join(
        _write_exception(text, codes.get(_find_parameter(item), "")) for text, item in messages.items()
    )
    return _answer_document(error, f"{XML_HEAD}{head}{_write_report(exceptions, version, namespace)}", media_type)


def respond_to_wmts_error(request: Request, error: Exception) -> Response:
    """Answer as OWS 1.1 has it."""
    parameter = _find_parameter(error)
    parameter = {"LAYERS": "LAYER"}.get(parameter, parameter)
    is_in_path = "level" in request.path_params  # as all parameters of a tile are then
    codes = {"TILEROW": "TileOutOfRange", "REQUEST": "OperationNotSupported", "": "NoApplicableCode"}
    code = codes.get(parameter, "InvalidParameterValue")
    if parameter and not is_in_path and parameter not in _read_query(request).values:
        code = "MissingParameterValue"
    return _answer_ows_error(request, error, ("1.1", "1.0.0"), code, parameter)


def respond_to_wcs_error(request: Request, error: Exception) -> Response:
    """Answer in the version that is requested."""
    query, parameter = _read_query(request), _find_parameter(error)
    if choose_wcs_version(query) == OLD_WCS_VERSION:
        message = log_error_and_write_message(error, services.get_request_id(request))
        code = _OLD_WCS_CODES.get(parameter, "InvalidParameterValue")
        exception = _write_exception(message, code, {"LAYERS": "COVERAGE"}.get(parameter, parameter))
        document = f"{XML_HEAD}{_write_report(exception, '1.2.0', OGC_NAMESPACE)}"
        return _answer_document(error, document, "application/vnd.ogc.se_xml")
    code, status = _NEW_WCS_ERRORS.get(parameter, ("InvalidParameterValue" if parameter else "NoApplicableCode", 400))
    if parameter in {"COVERAGEID", "REQUEST"} and not query.read_one(parameter):
        code, status = "MissingParameterValue", 400
        if (query.read_one("REQUEST") or "").lower() == "describecoverage":
            code, status = "emptyCoverageIdList", 404
    is_repeated = [name.upper() for name, _ in request.query_params.multi_items()].count(parameter) > 1
    if is_repeated and parameter != "SUBSET":  # it has one for each axis
        code, status = "InvalidParameterValue", 400
    locator = {"AXIS": "SUBSET", "LAYERS": "COVERAGEID"}.get(parameter, parameter)
    response = _answer_ows_error(request, error, ("2.0", NEW_WCS_VERSION), code, locator)
    if response.status_code == 400:
        response.status_code = status
    return response


def _write_exception(message: str, code: str, locator: str = "") -> str:
    attributes = _write_attribute("code", code) + _write_attribute("locator", locator)
    return f"<ServiceException{attributes}>{escape_xml(message)}</ServiceException>"


def _write_report(exceptions: str, version: str, namespace: str) -> str:
    attributes = f'version="{version}"{_write_attribute("xmlns", namespace)}'
    return f"<ServiceExceptionReport {attributes}>{exceptions}</ServiceExceptionReport>"


def _write_attribute(name: str, value: str) -> str:
    return f" {name}={quote_attribute(value)}" if value else ""


def _answer_ows_error(
    request: Request, error: Exception, versions: tuple[str, str], code: str, locator: str
) -> Response:
    """Answer as a version of OWS has it, which is the first of the versions; the second one is that of the service."""
    message = escape_xml(log_error_and_write_message(error, services.get_request_id(request)))
    document = (
        f'{XML_HEAD}<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/{versions[0]}" version="{versions[1]}" '
        f'xml:lang="en"><ows:Exception exceptionCode="{code}"{_write_attribute("locator", locator)}>'
        f"<ows:ExceptionText>{message}</ows:ExceptionText></ows:Exception></ows:ExceptionReport>"
    )
    return _answer_document(error, document, "text/xml")


def _answer_document(error: Exception, document: str | bytes, media_type: str) -> Response:
    # caches may keep an error 404 otherwise, also after the layer is there
    headers = {"cache-control": "private, no-store", **services.build_retry_after_header(error)}  # it depends on rights
    return Response(document, find_http_status(error), headers, media_type=media_type)
