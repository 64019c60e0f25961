"""Read records of XML as row documents: a key is a path of elements without prefixes, `a/b/@c`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree

from hven.sources.api.documents import DocumentFormat, InvalidDocumentError, is_web_page

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any


def _create_xml_lookup(body: bytes, paths: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (it parses all)
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        complaint = f"it is not XML: {error}"
        if is_web_page(body):
            complaint = "it is a web page, not XML"
        raise InvalidDocumentError(complaint) from None
    if etree.QName(root).localname == "VOTABLE":
        _check_query_status(root)

    def find_value(key: str) -> object:
        path, at, attribute = key.partition("@")
        steps = [f"{{*}}{step}" for step in path.strip("/").split("/") if step]
        element = root
        if steps:
            element = root.find("/".join(steps))
        if element is None:
            return None
        if at:
            return element.get(attribute)
        return (element.text or "").strip() or None

    return find_value


def _check_query_status(root: Any) -> None:
    """Refuse a VOTable that its service cut off, or that reports an error (DALI 1.1, section 4.4.1)."""
    for info in root.iterfind(".//{*}INFO"):
        if (info.get("name") or "").upper() != "QUERY_STATUS":
            continue
        status = (info.get("value") or "").upper()
        if status == "OVERFLOW":
            raise InvalidDocumentError("it is a VOTable that was truncated (QUERY_STATUS=OVERFLOW)")
        if status == "ERROR":
            raise InvalidDocumentError(
                f"it is a VOTable that reports an error: {' '.join((info.text or '').split())[:200]}"
            )


DOCUMENT = DocumentFormat(create_lookup=_create_xml_lookup)
