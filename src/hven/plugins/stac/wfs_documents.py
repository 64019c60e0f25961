"""Read requests of WFS 1.0.0 and 2.0.0 that are XML documents as the parameters that they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hven.model.errors import ParamError, TooLargeError
from hven.model.params import RequestParams
from hven.plugins.stac.cql2_conditions import MAX_FILTER_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DOCUMENT_BYTES = 1024**2
MAX_DEPTH = MAX_FILTER_DEPTH + 10  # of elements: a filter, and what is around it
OPERATIONS = ("GetCapabilities", "DescribeFeatureType", "GetFeature", "ListStoredQueries", "DescribeStoredQueries")
# OWSLib writes outputformat
_ATTRIBUTES = {"SERVICE", "VERSION", "OUTPUTFORMAT", "COUNT", "MAXFEATURES", "STARTINDEX", "RESULTTYPE"}
MAX_QUERIES = 20  # in a request
_QUERY_NAMES = ("TYPENAMES", "TYPENAME", "FILTER", "SORTBY", "PROPERTYNAME", "SRSNAME")
_VALUE_END = re.compile(r"\)\(")
# brackets may be in literals: those around filters have elements on both sides, or are empty
_FILTER_END = re.compile(r"(?:(?<=>)|(?<=\()|^)\)\((?=<|\)|$)")
REFERENCE_TAGS = {"ValueReference", "PropertyName"}


def read_wfs_document(body: bytes) -> RequestParams:
    """Read a request.

    Parameters
    ----------
    body
        XML with an operation as its root.

    Returns
    -------
    params
        The same request as parameters of an address.

    Raises
    ------
    ParamError, TooLargeError
        The body is no request of WFS, or asks for what is not served.
    """
    try:
        text = body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without end
            raise ParamError("the request contains a document type declaration", name="REQUEST", remedy="leave it out")
        root = ET.fromstring(text)  # noqa: S314  (entities are refused above)
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise ParamError(f"the request is not XML in UTF-8: {error}", name="REQUEST") from None
    require_shallow_document(root, "request")
    operation = get_tag(root)
    if operation not in OPERATIONS:
        message = f"the request is the element {operation[:40]}"
        raise ParamError(message, name="REQUEST", remedy=f"send one of {', '.join(sorted(OPERATIONS))}")
    values = {name.upper(): value for name, value in root.attrib.items() if name.upper() in _ATTRIBUTES}
    values["REQUEST"] = operation
    type_names = list_texts(root, {"TypeName"})
    if type_names:
        values["TYPENAMES"] = ",".join(type_names)
    versions = list_texts(root.iter(), {"Version"})
    if versions:
        values["ACCEPTVERSIONS"] = ",".join(versions)
    if operation == "GetFeature":
        values |= _read_query(root)
    return RequestParams({name: (value,) for name, value in values.items()})


def require_shallow_document(root: ET.Element, name: str) -> None:
    """Refuse documents that are nested too deeply to be read or written by functions that call themselves."""
    elements, depth = [root], 0
    while elements:
        depth += 1
        if depth > MAX_DEPTH:
            raise TooLargeError(f"the {name} is nested more than {MAX_DEPTH} levels deep")
        elements = [child for element in elements for child in element]


def get_tag(element: ET.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def list_texts(elements: Iterable[ET.Element], tags: set[str]) -> list[str]:
    """List the texts of those elements that have one of some names."""
    return [(element.text or "").strip() for element in elements if get_tag(element) in tags]


def _read_query(root: ET.Element) -> dict[str, str]:
    """Read the queries of a request for features; those of several stand in brackets, as in addresses."""
    queries = [child for child in root if get_tag(child) in {"Query", "StoredQuery"}]
    if not 1 <= len(queries) <= MAX_QUERIES:
        message = f"the request has {len(queries)} queries"
        raise ParamError(message, name="QUERY", remedy=f"send 1 to {MAX_QUERIES} queries")
    if len(queries) > 1 and any(get_tag(query) == "StoredQuery" for query in queries):
        remedy = "send the stored query in a request of its own"
        raise ParamError("a stored query cannot be combined with other queries", name="QUERY", remedy=remedy)
    if get_tag(queries[0]) == "StoredQuery":
        texts = {str(child.get("name")).upper(): (child.text or "").strip() for child in queries[0]}
        return {"STOREDQUERY_ID": queries[0].get("id", ""), "ID": texts.get("ID", "")}
    parts = [_read_feature_query(query) for query in queries]
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: "".join(f"({part.get(name, '')})" for part in parts) for name in names}


def split_queries(params: RequestParams) -> list[RequestParams]:
    """Split the parameters of several queries, which stand in brackets (09-025r2, 6.2.5.3).

    Parameters
    ----------
    params
        Parameters of a request.

    Returns
    -------
    queries
        The parameters of each query.

    Raises
    ------
    ParamError
        Parameters have different numbers of values in brackets, or too many.
    """
    values_by_name = {}
    for name in _QUERY_NAMES:
        text = params.read_one(name) or ""
        if text.startswith("(") and text.endswith(")"):
            values_by_name[name] = (_FILTER_END if name == "FILTER" else _VALUE_END).split(text[1:-1])
    if not values_by_name:
        return [params]
    counts = {len(values) for values in values_by_name.values()}
    if len(counts) > 1 or max(counts) > MAX_QUERIES:
        name = next(iter(values_by_name))
        remedy = f"write the same number of values for each of {', '.join(values_by_name)}, at most {MAX_QUERIES}"
        raise ParamError("the numbers of values in brackets differ or are too large", name=name, remedy=remedy)
    if params.read_one("STARTINDEX") not in {None, "", "0"}:
        remedy = "send a request for each feature type"
        raise ParamError("STARTINDEX cannot be combined with several queries", name="STARTINDEX", remedy=remedy)
    return [
        RequestParams({**params.values, **{name: (values[index],) for name, values in values_by_name.items()}})
        for index in range(max(counts))
    ]


def _read_feature_query(query: ET.Element) -> dict[str, str]:
    type_names = query.get("typeNames") or query.get("typeName") or ""
    values = {"TYPENAMES": ",".join(type_names.split()), "SRSNAME": query.get("srsName", "")}
    values["PROPERTYNAME"] = ",".join(list_texts(query, {"PropertyName"}))
    for child in query:
        tag = get_tag(child)
        if tag == "Filter":
            values["FILTER"] = ET.tostring(child, encoding="unicode")
        elif tag == "SortBy":
            values["SORTBY"] = ",".join(_list_sort_keys(child))
        elif tag != "PropertyName":
            message = f"the query has the element {tag[:40]}, which is not supported"
            raise ParamError(message, name="QUERY", remedy="use PropertyName, Filter and SortBy")
    return values


def _list_sort_keys(element: ET.Element) -> Iterable[str]:
    for sort_property in element:
        name = next(iter(list_texts(sort_property, REFERENCE_TAGS)), "")
        order = next(iter(list_texts(sort_property, {"SortOrder"})), "ASC")
        yield f"{name} {order}"
