"""XML of strangers: parsed without entities or network; and its shape, held against content models written as facts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator

XSI_TYPE_ATTRIBUTE = "{http://www.w3.org/2001/XMLSchema-instance}type"
MAX_DEPTH = 64

# element -> its children in order: ? at most one, * any number, + at least one. VOSI 1.1, VODataService 1.2, TAPRegExt
# 1.0, UWS 1.1
CONTENT_MODELS = {
    "availability": "available upSince? downAt? backAt? note*",
    "capabilities": "capability*",
    "capability": "validationLevel* description? interface*",
    "capability TableAccess": (
        "validationLevel* description? interface* dataModel* language+ outputFormat+ uploadMethod* retentionPeriod? "
        "executionDuration? outputLimit? uploadLimit?"
    ),
    "interface": "accessURL+ mirrorURL* securityMethod* testQueryString?",
    "interface ParamHTTP": (
        "accessURL+ mirrorURL* securityMethod* testQueryString? queryType* resultType? param* testQuery?"
    ),
    "language": "name version+ description? languageFeatures*",
    "languageFeatures": "feature*",
    "feature": "form description?",
    "outputFormat": "mime alias*",
    "outputLimit": "default? hard?",
    "uploadLimit": "default? hard?",
    "retentionPeriod": "default? hard?",
    "executionDuration": "default? hard?",
    "tableset": "schema+",
    "schema": "name title? description? utype? table*",
    "table": "name title? description? utype? nrows? column* foreignKey*",
    "column": "name description? unit? ucd? utype? dataType? flag*",
    "foreignKey": "targetTable fkColumn+ description? utype?",
    "fkColumn": "fromColumn targetColumn",
    "jobs": "jobref*",
    "jobref": "phase runId? ownerId? creationTime?",
    "job": (
        "jobId runId? ownerId phase quote? creationTime? startTime endTime executionDuration destruction parameters? "
        "results errorSummary? jobInfo?"
    ),
    "parameters": "parameter*",
    "results": "result*",
    "errorSummary": "message",
}
NAMESPACES = {
    "availability": "http://www.ivoa.net/xml/VOSIAvailability/v1.0",
    "capabilities": "http://www.ivoa.net/xml/VOSICapabilities/v1.0",
    "tableset": "http://www.ivoa.net/xml/VOSITables/v1.0",
    "jobs": "http://www.ivoa.net/xml/UWS/v1.0",
    "job": "http://www.ivoa.net/xml/UWS/v1.0",
}


class NotXmlError(ValueError):
    """The text is no XML that may be read."""


def parse_xml(body: bytes) -> Any:
    """Parse a document; no entities are unfolded and nothing is fetched.

    Raises
    ------
    NotXmlError
        Not well-formed, a document type with entities, or nested too deeply.
    """
    if b"<!ENTITY" in body:
        raise NotXmlError("it declares entities, which no VO document needs")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise NotXmlError(describe_non_xml(body) or f"it is not well-formed: {error.msg}") from error
    declared: Any = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):  # in whatever encoding they were written
        raise NotXmlError("it declares entities, which no VO document needs")
    return root


def describe_non_xml(body: bytes) -> str:
    """Return what a text is that should have been XML."""
    start = body.lstrip()[:200].lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a page of HTML"
    if start[:1] in {b"{", b"["}:
        return "it is JSON"
    if start.startswith(b"<"):
        return ""
    return f"it is text: {start[:60]!r}"


def get_local_name(element: Any) -> str:
    """Return the name of an element without its namespace."""
    tag = element.tag
    if isinstance(tag, str):
        return tag.rpartition("}")[2]
    return ""


def get_namespace(element: Any) -> str:
    """Return the namespace of an element."""
    tag = element.tag
    if isinstance(tag, str) and tag.startswith("{"):
        return tag[1:].partition("}")[0]
    return ""


def find_children(element: Any, name: str) -> list[Any]:
    """Return the direct children of that name, whatever their namespace."""
    return [child for child in element if get_local_name(child) == name]


def get_text(element: Any, name: str = "") -> str:
    """Return the text of an element, or of its first child called `name`; empty if there is none."""
    if name:
        named_children = find_children(element, name)
        if named_children:
            return get_text(named_children[0])
        return ""
    return (element.text or "").strip()


def get_xsi_type(element: Any) -> str:
    """Return the local part of xsi:type."""
    return str(element.get(XSI_TYPE_ATTRIBUTE, "")).rpartition(":")[2]


@lru_cache(maxsize=64)
def _compile_content_model(model: str) -> re.Pattern[str]:
    parts = []
    for word in model.split():
        if word[-1] in "?*+":
            name, mark = (word[:-1], word[-1])
        else:
            name, mark = (word, "")
        parts.append(f"(?:{name} ){mark}")
    return re.compile("".join(parts))


def find_content_faults(root: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Compare an element and all below it with the content models.

    Yields
    ------
    place, what
        Where, and in what the children differ.
    """
    name = get_local_name(root)
    if depth > MAX_DEPTH:
        yield name, "elements are nested too deeply"
        return
    if depth == 0 and name in NAMESPACES and get_namespace(root) != NAMESPACES[name]:
        yield name, f"its namespace is {get_namespace(root)!r}, not {NAMESPACES[name]!r}"
    model = CONTENT_MODELS.get(f"{name} {get_xsi_type(root)}") or CONTENT_MODELS.get(name)
    if model is None:
        return
    names = [get_local_name(child) for child in root if isinstance(child.tag, str)]
    # other types of capabilities and interfaces may add what they like behind
    open_ended = bool(get_xsi_type(root)) and f"{name} {get_xsi_type(root)}" not in CONTENT_MODELS
    sequence = "".join(f"{child_name} " for child_name in names)
    matched = _compile_content_model(model).match(sequence)
    if matched is None or (matched.end() < len(sequence) and not open_ended):
        known_names = {word.rstrip("?*+") for word in model.split()}
        unknown_names = [child_name for child_name in names if child_name not in known_names]
        missing_names = [
            word.rstrip("+") for word in model.split() if word[-1] not in "?*" and word.rstrip("+") not in names
        ]
        element_title = get_text(root, "name")
        if missing_names:
            fault_text = f"<{missing_names[0]}> is missing"
        elif unknown_names:
            fault_text = f"<{unknown_names[0]}> does not belong there"
        else:
            fault_text = (
                f"its children are out of order or too many: {' '.join(dict.fromkeys(names))}; the order is {model}"
            )
        yield f"<{name}>{f' {element_title}' if element_title else ''}", fault_text
    for child in root:
        if isinstance(child.tag, str):
            yield from find_content_faults(child, depth + 1)
