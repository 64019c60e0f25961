"""Read requests of WFS 1.0.0 and 2.0.0 that are XML documents as the parameters that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hven.model.errors import ParamError, TooLargeError
from hven.model.params import RequestParams
from hven.plugins.stac.cql2_conditions import MAX_FILTER_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DOCUMENT_BYTES = 1024**2
MAX_DEPTH = MAX_FILTER_DEPTH + 10  # of elements in a document: a filter, and what is around it
OPERATIONS = {"GetCapabilities", "DescribeFeatureType", "GetFeature", "ListStoredQueries", "DescribeStoredQueries"}
# OWSLib writes outputformat
_ATTRIBUTES = {"SERVICE", "VERSION", "OUTPUTFORMAT", "COUNT", "MAXFEATURES", "STARTINDEX", "RESULTTYPE"}
_REFERENCE_TAGS = {"ValueReference", "PropertyName"}


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
    _check_depth(root)
    operation = _get_tag(root)
    if operation not in OPERATIONS:
        message = f"the request is the element {operation[:40]}"
        raise ParamError(message, name="REQUEST", remedy=f"send one of {', '.join(sorted(OPERATIONS))}")
    values = {name.upper(): value for name, value in root.attrib.items() if name.upper() in _ATTRIBUTES}
    values["REQUEST"] = operation
    type_names = [child.text or "" for child in root if _get_tag(child) == "TypeName"]
    if type_names:
        values["TYPENAMES"] = ",".join(name.strip() for name in type_names)
    versions = [child.text or "" for child in root.iter() if _get_tag(child) == "Version"]
    if versions:
        values["ACCEPTVERSIONS"] = ",".join(versions)
    if operation == "GetFeature":
        values |= _read_query(root)
    return RequestParams({name: (value,) for name, value in values.items()})


def _check_depth(root: ET.Element) -> None:
    """Refuse documents that are nested too deeply to be written again."""
    elements, depth = [root], 0
    while elements:
        depth += 1
        if depth > MAX_DEPTH:
            raise TooLargeError(f"the request is nested more than {MAX_DEPTH} levels deep")
        elements = [child for element in elements for child in element]


def _get_tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_query(root: ET.Element) -> dict[str, str]:
    """Read the only query of a request for features."""
    queries = [child for child in root if _get_tag(child) in {"Query", "StoredQuery"}]
    if len(queries) != 1:
        message = f"the request has {len(queries)} queries"
        raise ParamError(message, name="QUERY", remedy="send a request for each feature type")
    query = queries[0]
    if _get_tag(query) == "StoredQuery":
        texts = {str(child.get("name")).upper(): (child.text or "").strip() for child in query}
        return {"STOREDQUERY_ID": query.get("id", ""), "ID": texts.get("ID", "")}
    type_names = query.get("typeNames") or query.get("typeName") or ""
    values = {"TYPENAMES": ",".join(type_names.split()), "SRSNAME": query.get("srsName", "")}
    names = [(child.text or "").strip() for child in query if _get_tag(child) == "PropertyName"]
    values["PROPERTYNAME"] = ",".join(names)
    for child in query:
        tag = _get_tag(child)
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
        texts = {_get_tag(child): (child.text or "").strip() for child in sort_property}
        name = next((text for tag, text in texts.items() if tag in _REFERENCE_TAGS), "")
        yield f"{name} {texts.get('SortOrder', 'ASC')}"
