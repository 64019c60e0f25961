"""WFS 1.0.0 and 2.0.0 at ``/wfs``: the collections of STAC as feature types, in GML and GeoJSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa
from starlette.responses import Response
from starlette.routing import Route

from hven import services
from hven.model.errors import HvenError, ParamError
from hven.plugins.stac.feature_documents import (
    GEOMETRY_ELEMENT,
    GML2,
    GML3,
    encode_xml_element_name,
    write_geojson_features,
    write_gml_features,
)
from hven.plugins.stac.item_searches import (
    MAX_LIMIT,
    MAX_OFFSET,
    ItemSearch,
    count_items,
    read_sorted_rows,
)
from hven.plugins.stac.reader_catalogue import ItemCollection, ReaderCatalogue
from hven.plugins.stac.spatial_conditions import parse_box, parse_numbers
from hven.plugins.stac.wfs_documents import MAX_DOCUMENT_BYTES, OPERATIONS, read_wfs_document, split_queries
from hven.plugins.stac.wfs_filters import decode_feature_id, parse_wfs_filter
from hven.services.api.threads import call_in_thread
from hven.services.face import MAX_PARAMETER_BODY_BYTES, create_route, wrap_endpoint_with_gates_and_errors
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from hven.model.params import RequestParams
    from hven.model.table import Column
    from hven.services.face import ServiceContext

STORED_QUERY = "urn:ogc:def:query:OGC-WFS::GetFeatureById"
GEOJSON_WORDS = {"application/json", "application/geo+json", "json", "geojson"}
XML_MEDIA_TYPE = "text/xml; charset=utf-8"
CRS84_URN = "urn:ogc:def:crs:OGC:1.3:CRS84"
GML32_NAMESPACE = "http://www.opengis.net/gml/3.2"
GML2_NAMESPACE = "http://www.opengis.net/gml"
DEFAULT_COUNT = 1_000
CACHE_HEADERS = {"cache-control": "no-cache", "vary": "accept-encoding, authorization, cookie, host"}
GEOMETRY_NAMES = {GEOMETRY_ELEMENT, "boundedby", ""}  # in PROPERTYNAME: features always have these
_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


class _WfsRequest:
    """A request with its parameters.

    Parameters
    ----------
    catalogue
        What the reader sees.
    params
        Parameters of the request.
    """

    def __init__(self, catalogue: ReaderCatalogue, params: RequestParams) -> None:
        self.catalogue = catalogue
        self.params = params
        self.url = f"{catalogue.base_url}/wfs"
        version = params.read_one("VERSION") or (params.read_one("ACCEPTVERSIONS") or "2.0.0").partition(",")[0]
        self.is_first_version = version.startswith("1.0")

    @property
    def gml_namespace(self) -> str:
        """Namespace of GML."""
        return GML2_NAMESPACE if self.is_first_version else GML32_NAMESPACE

    @property
    def is_geojson(self) -> bool:
        """Whether features are written as GeoJSON."""
        return self._output_format in GEOJSON_WORDS

    @property
    def geojson_media_type(self) -> str:
        """Media type of GeoJSON, as it is requested."""
        return "application/geo+json" if self._output_format.endswith("geo+json") else "application/json"

    @property
    def is_count(self) -> bool:
        """Whether features are only counted."""
        return (self.params.read_one("RESULTTYPE") or "").lower() == "hits"

    @property
    def _output_format(self) -> str:
        return (self.params.read_one("OUTPUTFORMAT") or "").lower().partition(";")[0]

    def find_requested_feature_types(self) -> list[ItemCollection]:
        """Find the requested feature types."""
        names = self.params.read_one("TYPENAMES") or self.params.read_one("TYPENAME") or ""
        type_names = [name.rpartition(":")[2] for name in names.split(",") if name]
        return [self.catalogue.find_collection(name) for name in type_names]

    def find_answer_frame(self, collection: ItemCollection) -> tuple[str, bool]:
        """Return the name of the frame of the answer, and whether latitudes come first.

        Latitudes come first in the frame that OGC's URN names. GDAL and QGIS read them so for EPSG only, thus a short
        name is the default: as GeoServer has it, longitudes come first there.
        """
        wanted_frame = self.params.read_one("SRSNAME") or ""
        code = collection.item_table.frame_code
        if self.is_first_version:
            return code or "CRS:84", False
        if code is None or "CRS84" in wanted_frame.replace(":", ""):
            return CRS84_URN, False
        if wanted_frame and not wanted_frame.endswith(code.rpartition(":")[2]):
            message = f"features are not available in {wanted_frame!r:.80}"
            raise ParamError(message, name="SRSNAME", remedy=f"use {code}, {_write_urn(code)} or CRS:84")
        return (_write_urn(code), True) if _has_axis_order(wanted_frame) else (code, False)

    def orient_box(self, collection: ItemCollection, numbers: Sequence[float], frame: str) -> list[float]:
        """Put a box into the order west, south, east, north."""
        is_latitude_first = self.find_answer_frame(collection)[1]
        if frame:
            is_latitude_first = not self.is_first_version and _has_axis_order(frame)
        if is_latitude_first:
            south, west, north, east = numbers
            return [west, south, east, north]
        return list(numbers)


def _write_urn(code: str) -> str:
    """Write OGC's URN of a frame of the IAU."""
    return f"urn:ogc:def:crs:IAU:2015:{code.rpartition(':')[2]}"


def _has_axis_order(frame: str) -> bool:
    """Return whether a frame has the axes in the order of its definition: a URN or an address, except for CRS84."""
    return "CRS84" not in frame.replace(":", "") and any(mark in frame for mark in (":def:", "/def/"))


def build_wfs_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the service.

    Parameters
    ----------
    context
        Site, reader and other faces.
    """

    async def answer(request: Request, params: RequestParams) -> Response:
        wfs_request = _WfsRequest(ReaderCatalogue.create_for_request(context, request), params)
        try:
            body, media_type = await call_in_thread(_answer_operation, wfs_request)
        except Exception as error:  # noqa: BLE001  (the version of the request decides how errors are written)
            return _respond_to_error(request, error, is_first_version=wfs_request.is_first_version)
        return services.answer_with_body(request, body, {**CACHE_HEADERS, "content-type": media_type})

    answer_query = wrap_endpoint_with_gates_and_errors(answer, _respond_to_early_error, MAX_PARAMETER_BODY_BYTES)

    async def answer_post(request: Request) -> Response:
        if "xml" not in request.headers.get("content-type", ""):
            response: Response = await answer_query(request)
            return response
        try:
            params = read_wfs_document(await services.read_body(request, MAX_DOCUMENT_BYTES))
        except HvenError as error:
            return _respond_to_error(request, error, is_first_version=False)
        return await answer(request, params)

    return [
        create_route("/wfs", answer_post, _respond_to_early_error, ["POST"]),
        Route("/wfs", answer_query, methods=["GET"]),
    ]


def _respond_to_early_error(request: Request, error: Exception) -> Response:
    """Respond to an error that occurs before the parameters are read, such as that of a limit."""
    parameters = {name.lower(): value for name, value in request.query_params.items()}
    return _respond_to_error(request, error, is_first_version=parameters.get("version", "").startswith("1.0"))


def _respond_to_error(request: Request, error: Exception, *, is_first_version: bool) -> Response:
    status = services.find_http_status(error)
    message = escape(services.log_error_and_write_message(error, services.get_request_id(request)))
    locator = error.name if isinstance(error, ParamError) else ""
    code = "InvalidParameterValue" if status < 500 else "NoApplicableCode"
    if isinstance(error, _MissingParamError):
        code = "MissingParameterValue"
    if is_first_version:
        body = (
            f'{_XML_HEAD}<ServiceExceptionReport version="1.2.0" xmlns="http://www.opengis.net/ogc">'
            f'<ServiceException code="{code}" locator={quoteattr(locator)}>{message}</ServiceException>'
            "</ServiceExceptionReport>"
        )
    else:
        body = (
            f'{_XML_HEAD}<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1" version="2.0.0">'
            f'<ows:Exception exceptionCode="{code}" locator={quoteattr(locator)}>'
            f"<ows:ExceptionText>{message}</ows:ExceptionText></ows:Exception></ows:ExceptionReport>"
        )
    return Response(body.encode(), status, services.build_retry_after_header(error), media_type=XML_MEDIA_TYPE)


class _MissingParamError(ParamError):
    """A parameter that the operation needs is missing."""


def _answer_operation(wfs_request: _WfsRequest) -> tuple[bytes, str]:
    operation = wfs_request.params.read_one("REQUEST")
    if operation is None:
        raise _MissingParamError("REQUEST is missing", name="REQUEST", remedy=f"use one of {', '.join(OPERATIONS)}")
    writers: dict[str, Callable[[_WfsRequest], tuple[bytes, str]]] = {
        "getcapabilities": _write_capabilities,
        "describefeaturetype": _write_feature_schema,
        "getfeature": _write_features,
        "liststoredqueries": _list_stored_queries,
        "describestoredqueries": _describe_stored_queries,
    }
    write = writers.get(operation.lower())
    if write is None:
        raise ParamError(
            f"REQUEST={operation!r:.40} is unknown", name="REQUEST", remedy=f"use one of {', '.join(OPERATIONS)}"
        )
    return write(wfs_request)


def _build_xml_answer(xml: str) -> tuple[bytes, str]:
    return f"{_XML_HEAD}{xml}\n".encode(), XML_MEDIA_TYPE


def _write_capabilities(wfs_request: _WfsRequest) -> tuple[bytes, str]:
    collections = wfs_request.catalogue.list_collections()
    title = escape(wfs_request.catalogue.site_title)
    if wfs_request.is_first_version:
        return _build_xml_answer(_write_wfs_1_0_capabilities(wfs_request, title, collections))
    types = "".join(_write_feature_type(wfs_request, collection) for collection in collections)
    url = quoteattr(f"{wfs_request.url}?")
    operations = "".join(
        f'<ows:Operation name="{name}"><ows:DCP><ows:HTTP><ows:Get xlink:href={url}/><ows:Post xlink:href={url}/>'
        "</ows:HTTP></ows:DCP></ows:Operation>"
        for name in OPERATIONS
    )
    conformance = {
        "ImplementsBasicWFS": "FALSE",
        "ImplementsSimpleWFS": "TRUE",
        "KVPEncoding": "TRUE",
        "XMLEncoding": "TRUE",
        "ImplementsResultPaging": "TRUE",
        "ImplementsSorting": "TRUE",
    }
    constraints = "".join(_write_constraint("ows", name, value) for name, value in conformance.items())
    filter_constraints = "".join(
        _write_constraint("fes", name, "TRUE")
        for name in (
            "ImplementsQuery",
            "ImplementsAdHocQuery",
            "ImplementsResourceId",
            "ImplementsMinStandardFilter",
            "ImplementsStandardFilter",
            "ImplementsMinSpatialFilter",
            "ImplementsSorting",
        )
    )
    comparisons = "".join(
        f'<fes:ComparisonOperator name="PropertyIs{name}"/>'
        for name in (
            "EqualTo",
            "NotEqualTo",
            "LessThan",
            "GreaterThan",
            "LessThanOrEqualTo",
            "GreaterThanOrEqualTo",
            "Like",
            "Null",
            "Between",
        )
    )
    return _build_xml_answer(
        '<wfs:WFS_Capabilities version="2.0.0" xmlns:wfs="http://www.opengis.net/wfs/2.0" '
        'xmlns:ows="http://www.opengis.net/ows/1.1" xmlns:fes="http://www.opengis.net/fes/2.0" '
        f'xmlns:gml="{GML32_NAMESPACE}" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f"xmlns:f={quoteattr(wfs_request.url)}>"
        f"<ows:ServiceIdentification><ows:Title>{title}</ows:Title><ows:ServiceType>WFS</ows:ServiceType>"
        "<ows:ServiceTypeVersion>2.0.0</ows:ServiceTypeVersion><ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion>"
        f"</ows:ServiceIdentification><ows:OperationsMetadata>{operations}{constraints}</ows:OperationsMetadata>"
        f"<wfs:FeatureTypeList>{types}</wfs:FeatureTypeList>"
        f"<fes:Filter_Capabilities><fes:Conformance>{filter_constraints}</fes:Conformance>"
        f'<fes:Id_Capabilities><fes:ResourceIdentifier name="fes:ResourceId"/></fes:Id_Capabilities>'
        "<fes:Scalar_Capabilities><fes:LogicalOperators/>"
        f"<fes:ComparisonOperators>{comparisons}</fes:ComparisonOperators></fes:Scalar_Capabilities>"
        '<fes:Spatial_Capabilities><fes:GeometryOperands><fes:GeometryOperand name="gml:Envelope"/>'
        "</fes:GeometryOperands>"
        '<fes:SpatialOperators><fes:SpatialOperator name="BBOX"/></fes:SpatialOperators></fes:Spatial_Capabilities>'
        "</fes:Filter_Capabilities></wfs:WFS_Capabilities>"
    )


def _write_constraint(prefix: str, name: str, value: str) -> str:
    return (
        f'<{prefix}:Constraint name="{name}"><ows:NoValues/><ows:DefaultValue>{value}</ows:DefaultValue>'
        f"</{prefix}:Constraint>"
    )


def _write_feature_type(wfs_request: _WfsRequest, collection: ItemCollection) -> str:
    west, south, east, north = collection.box
    title = escape(collection.item_table.table.title or collection.id)
    frame = "<wfs:NoCRS/>"
    if collection.item_table.has_geometry:
        default_frame, _ = wfs_request.find_answer_frame(collection)
        frame = f"<wfs:DefaultCRS>{default_frame}</wfs:DefaultCRS>"
        if default_frame != CRS84_URN:
            frame += f"<wfs:OtherCRS>{_write_urn(default_frame)}</wfs:OtherCRS><wfs:OtherCRS>{CRS84_URN}</wfs:OtherCRS>"
    return (
        f"<wfs:FeatureType><wfs:Name>f:{collection.id}</wfs:Name><wfs:Title>{title}</wfs:Title>{frame}"
        f"<wfs:OutputFormats><wfs:Format>application/gml+xml; version=3.2</wfs:Format>"
        "<wfs:Format>application/json</wfs:Format></wfs:OutputFormats><ows:WGS84BoundingBox>"
        f"<ows:LowerCorner>{west} {south}</ows:LowerCorner><ows:UpperCorner>{east} {north}</ows:UpperCorner>"
        "</ows:WGS84BoundingBox></wfs:FeatureType>"
    )


def _write_wfs_1_0_capabilities(wfs_request: _WfsRequest, title: str, collections: Sequence[ItemCollection]) -> str:
    url = quoteattr(f"{wfs_request.url}?")
    formats_by_operation = {
        "GetCapabilities": "",
        "DescribeFeatureType": "<SchemaDescriptionLanguage><XMLSCHEMA/></SchemaDescriptionLanguage>",
        "GetFeature": "<ResultFormat><GML2/></ResultFormat>",
    }
    operations = "".join(
        f"<{name}>{content}<DCPType><HTTP><Get onlineResource={url}/></HTTP></DCPType>"
        f"<DCPType><HTTP><Post onlineResource={url}/></HTTP></DCPType></{name}>"
        for name, content in formats_by_operation.items()
    )
    types = "".join(
        f"<FeatureType><Name>f:{collection.id}</Name>"
        f"<Title>{escape(collection.item_table.table.title or collection.id)}</Title>"
        f"<SRS>{wfs_request.find_answer_frame(collection)[0]}</SRS>"
        '<LatLongBoundingBox minx="{}" miny="{}" maxx="{}" maxy="{}"/></FeatureType>'.format(*collection.box)
        for collection in collections
    )
    return (
        '<WFS_Capabilities version="1.0.0" xmlns="http://www.opengis.net/wfs" xmlns:ogc="http://www.opengis.net/ogc" '
        f"xmlns:f={quoteattr(wfs_request.url)}><Service><Name>WFS</Name><Title>{title}</Title>"
        f"<OnlineResource>{escape(wfs_request.url)}</OnlineResource></Service>"
        f"<Capability><Request>{operations}</Request></Capability>"
        f"<FeatureTypeList><Operations><Query/></Operations>{types}</FeatureTypeList>"
        "<ogc:Filter_Capabilities><ogc:Spatial_Capabilities><ogc:Spatial_Operators><ogc:BBOX/></ogc:Spatial_Operators>"
        "</ogc:Spatial_Capabilities><ogc:Scalar_Capabilities><ogc:Logical_Operators/><ogc:Comparison_Operators>"
        "<ogc:Simple_Comparisons/><ogc:Between/><ogc:Like/><ogc:NullCheck/></ogc:Comparison_Operators>"
        "</ogc:Scalar_Capabilities></ogc:Filter_Capabilities></WFS_Capabilities>"
    )


def _find_xml_type(column: Column) -> str:
    if not column.type.is_numeric:
        return "xs:string"
    return "xs:long" if column.type.is_integer else "xs:double"


def _write_feature_schema(wfs_request: _WfsRequest) -> tuple[bytes, str]:
    collections = wfs_request.find_requested_feature_types() or wfs_request.catalogue.list_collections()
    parts = []
    for collection in collections:
        elements = "".join(
            f'<xs:element name="{encode_xml_element_name(column.name)}" type="{_find_xml_type(column)}" minOccurs="0"/>'
            for column in collection.item_table.columns_by_name.values()
        )
        parts.append(
            f'<xs:element name="{collection.id}" type="f:{collection.id}Type" substitutionGroup='
            f'"{"gml:_Feature" if wfs_request.is_first_version else "gml:AbstractFeature"}"/>'
            f'<xs:complexType name="{collection.id}Type"><xs:complexContent>'
            f'<xs:extension base="gml:AbstractFeatureType"><xs:sequence>'
            f'<xs:element name="{GEOMETRY_ELEMENT}" type="gml:GeometryPropertyType" minOccurs="0"/>{elements}'
            "</xs:sequence></xs:extension></xs:complexContent></xs:complexType>"
        )
    location = "http://schemas.opengis.net/gml/3.2.1/gml.xsd"
    if wfs_request.is_first_version:
        location = "http://schemas.opengis.net/gml/2.1.2/feature.xsd"
    return _build_xml_answer(
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:gml="{wfs_request.gml_namespace}" '
        f"xmlns:f={quoteattr(wfs_request.url)} targetNamespace={quoteattr(wfs_request.url)} "
        'elementFormDefault="qualified"><xs:import '
        f'namespace="{wfs_request.gml_namespace}" schemaLocation="{location}"/>{"".join(parts)}</xs:schema>'
    )


def _list_stored_queries(wfs_request: _WfsRequest) -> tuple[bytes, str]:
    types = "".join(f"<ReturnFeatureType>f:{name}</ReturnFeatureType>" for name in wfs_request.catalogue.item_tables)
    return _build_xml_answer(
        f'<ListStoredQueriesResponse xmlns="http://www.opengis.net/wfs/2.0" xmlns:f={quoteattr(wfs_request.url)}>'
        f'<StoredQuery id="{STORED_QUERY}"><Title>A feature by its id</Title>{types}</StoredQuery>'
        "</ListStoredQueriesResponse>"
    )


def _describe_stored_queries(_: _WfsRequest) -> tuple[bytes, str]:
    return _build_xml_answer(
        '<DescribeStoredQueriesResponse xmlns="http://www.opengis.net/wfs/2.0" '
        'xmlns:xs="http://www.w3.org/2001/XMLSchema">'
        f'<StoredQueryDescription id="{STORED_QUERY}"><Title>A feature by its id</Title>'
        '<Parameter name="ID" type="xs:string"/><QueryExpressionText returnFeatureTypes="" isPrivate="true" '
        'language="urn:ogc:def:queryLanguage:OGC-WFS::WFS_QueryExpression"/></StoredQueryDescription>'
        "</DescribeStoredQueriesResponse>"
    )


@dataclass(frozen=True)
class _FeaturePage:
    """Features of a page, how many match, and where the next page begins (None: there is none)."""

    texts: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    matched_count: int | None = None
    next_offset: int | None = None


def _write_features(wfs_request: _WfsRequest) -> tuple[bytes, str]:
    """Answer queries: several with a collection of features for each in GML 3.2, or else with a common one."""
    queries = [_WfsRequest(wfs_request.catalogue, params) for params in split_queries(wfs_request.params)]
    counts = [wfs_request.params.read_integer(name) for name in ("COUNT", "MAXFEATURES")]
    limit = min(next((count for count in counts if count is not None), DEFAULT_COUNT), MAX_LIMIT)
    pages: dict[str, _FeaturePage] = {}
    for query in queries:
        collection, feature_ids = _find_collection_and_ids(query)
        if collection.id in pages:  # a feature must not be twice in a document
            message = f"two queries name the feature type {collection.id}"
            raise ParamError(message, name="TYPENAMES", remedy="send one query that combines both conditions with Or")
        search = _build_search(query, collection, feature_ids)
        page = _FeaturePage()
        if query.is_count:
            page = _FeaturePage(matched_count=count_items(query.catalogue, search))
        elif limit > 0 or not pages:
            page = _read_features(query, collection, search, limit)
        limit -= len(page.texts)
        pages[collection.id] = page
    returned_count = sum(len(page.texts) for page in pages.values())
    if len(queries) > 1:
        matched_counts = [page.matched_count for page in pages.values()]
        total = None if None in matched_counts else sum(filter(None, matched_counts))
        if wfs_request.is_geojson or wfs_request.is_first_version:
            texts = pa.concat_arrays([page.texts.cast(pa.string()) for page in pages.values()])
        else:
            parts = [replace(page, next_offset=None) for page in pages.values()]
            documents = [_write_gml_page(wfs_request, part, len(part.texts)) for part in parts]
            texts = pa.array(documents, pa.string())
        page = _FeaturePage(texts, total)
    if wfs_request.is_geojson:
        return _write_geojson_page(page), wfs_request.geojson_media_type
    if queries[0].params.read_one("STOREDQUERY_ID") and len(page.texts):
        text: str = page.texts[0].as_py()
        namespaces = f' xmlns:f={quoteattr(wfs_request.url)} xmlns:gml="{wfs_request.gml_namespace}"'
        return _build_xml_answer(text.replace(f"<f:{collection.id}", f"<f:{collection.id}{namespaces}", 1))
    return _build_xml_answer(_write_gml_page(wfs_request, page, returned_count))


def _find_collection_and_ids(query: _WfsRequest) -> tuple[ItemCollection, list[str]]:
    """Find the collection of a query, and the ids of the features that it asks for; empty: all."""
    params = query.params
    stored_query = params.read_one("STOREDQUERY_ID")
    if stored_query not in {None, STORED_QUERY}:
        raise ParamError("the stored query is unknown", name="STOREDQUERY_ID", remedy=f"use {STORED_QUERY}")
    ids_text = params.read_one("ID" if stored_query else "RESOURCEID") or params.read_one("FEATUREID")
    feature_ids = [text for text in (ids_text or "").split(",") if text]
    collections = query.find_requested_feature_types()
    if not collections and feature_ids:
        name = next((name for name in query.catalogue.item_tables if feature_ids[0].startswith(f"{name}.")), "")
        collections = [query.catalogue.find_collection(name)]
    if len(collections) != 1:
        remedy = "write the name of one feature type, or several names as (a)(b)"
        raise _MissingParamError(f"the request names {len(collections)} feature types", name="TYPENAMES", remedy=remedy)
    return collections[0], feature_ids


def _build_search(wfs_request: _WfsRequest, collection: ItemCollection, feature_ids: Sequence[str]) -> ItemSearch:
    params = wfs_request.params
    search = ItemSearch(collection_ids=[collection.id])
    if feature_ids:
        item_ids = [decode_feature_id(text.removeprefix(f"{collection.id}.")) for text in feature_ids]
        search = replace(search, ids=item_ids)
    box_text = params.read_one("BBOX")
    if box_text:
        words = box_text.split(",")
        numbers = parse_numbers(words[:4])
        if len(numbers) != 4:
            remedy = "write four numbers and, optionally, a frame"
            raise ParamError("BBOX does not contain four numbers", name="BBOX", remedy=remedy)
        box = wfs_request.orient_box(collection, numbers, ",".join(words[4:]))
        search = replace(search, box=parse_box(box, "BBOX"))
    filter_text = params.read_one("FILTER")
    if filter_text:
        orient_box = partial(wfs_request.orient_box, collection)
        search = replace(search, filter=parse_wfs_filter(filter_text, collection.item_table, orient_box))
    sort_text = params.read_one("SORTBY")
    if sort_text:
        sort_words = [word.split() for word in sort_text.replace("+", " ").split(",") if word.strip()]
        keys = [(word[0].rpartition(":")[2], word[-1].upper() in {"D", "DESC"}) for word in sort_words]
        search = replace(search, sort_keys=keys)
    return search


def _read_features(
    wfs_request: _WfsRequest, collection: ItemCollection, search: ItemSearch, limit: int
) -> _FeaturePage:
    """Read a page of rows in the order of the ids, or in the order that is requested."""
    catalogue = wfs_request.catalogue
    item_table = collection.item_table
    # it is not lowered, or clients would get the same page again and again
    offset = wfs_request.params.read_integer("STARTINDEX", maximum=MAX_OFFSET) or 0
    columns = list(item_table.columns_by_name.values())
    rows, has_more = read_sorted_rows(catalogue, collection, search, limit, offset)
    is_end_known = not has_more and (rows.num_rows > 0 or offset == 0)
    matched_count = offset + rows.num_rows if is_end_known else None
    if not is_end_known and search.build_condition(collection) is None and item_table.table.is_fully_public:
        matched_count = collection.published.rows
    names = wfs_request.params.read_one("PROPERTYNAME")
    if names and "*" not in names:
        wanted_names = {name.strip("() ").rpartition(":")[2].rpartition("/")[2].lower() for name in names.split(",")}
        unknown_names = wanted_names - {*item_table.columns_by_name, *GEOMETRY_NAMES}
        if unknown_names:
            message = f"{collection.id} has no property {min(unknown_names)!r:.80}"
            raise ParamError(message, name="PROPERTYNAME", remedy="see DescribeFeatureType")
        columns = [column for column in columns if column.name.lower() in wanted_names]
    if rows.num_rows == 0:
        texts = pa.array([], pa.string())
    elif wfs_request.is_geojson:
        texts = write_geojson_features(rows.combine_chunks(), collection, columns)
    else:
        frame, is_latitude_first = wfs_request.find_answer_frame(collection)
        dialect = GML2 if wfs_request.is_first_version else GML3
        texts = write_gml_features(
            rows.combine_chunks(), collection, columns, dialect, frame, is_latitude_first=is_latitude_first
        )
    return _FeaturePage(texts, matched_count, offset + rows.num_rows if has_more else None)


def _write_geojson_page(page: _FeaturePage) -> bytes:
    counts = f'"numberReturned":{len(page.texts)}'
    if page.matched_count is not None:
        counts += f',"numberMatched":{page.matched_count}'
    features = ",\n".join(page.texts.to_pylist())
    return f'{{"type":"FeatureCollection",{counts},"features":[\n{features}\n]}}\n'.encode()


def _write_gml_page(wfs_request: _WfsRequest, page: _FeaturePage, returned_count: int) -> str:
    """Write a collection of features, or one of collections with a number of features."""
    features = page.texts.to_pylist()
    namespaces = f'xmlns:f={quoteattr(wfs_request.url)} xmlns:gml="{wfs_request.gml_namespace}"'
    if wfs_request.is_first_version:
        members = "\n".join(f"<gml:featureMember>{text}</gml:featureMember>" for text in features)
        return (
            f'<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs" {namespaces}>'
            f"<gml:boundedBy><gml:null>unknown</gml:null></gml:boundedBy>{members}</wfs:FeatureCollection>"
        )
    members = "\n".join(f"<wfs:member>{text}</wfs:member>" for text in features)
    matched = "unknown" if page.matched_count is None else page.matched_count
    next_attribute = ""
    if page.next_offset is not None:
        pairs = [(name, value) for name, values in wfs_request.params.values.items() for value in values]
        next_pairs = [(name, value) for name, value in pairs if name != "STARTINDEX"]
        next_url = f"{wfs_request.url}?{urlencode([*next_pairs, ('STARTINDEX', str(page.next_offset))])}"
        next_attribute = f" next={quoteattr(next_url)}"
    return (
        f'<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs/2.0" {namespaces} '
        f'timeStamp="{format_current_time()}" numberMatched="{matched}" '
        f'numberReturned="{returned_count}"{next_attribute}>'
        f"{members}</wfs:FeatureCollection>"
    )
