"""Parse XML of services without entities and network access, and compare it with content models."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator

XSI_TYPE_ATTRIBUTE = "{http://www.w3.org/2001/XMLSchema-instance}type"
MAX_DEPTH = 64

# element: its children in order; ? at most one, * any number, + at least one. VOSI 1.1, VODataService 1.2, TAPRegExt
# 1.0, UWS 1.1
_CONTENT_MODEL_LINES = """
availability: available upSince? downAt? backAt? note*
capabilities: capability*
capability: validationLevel* description? interface*
capability TableAccess: validationLevel* description? interface* dataModel* language+ outputFormat+ uploadMethod* \
retentionPeriod? executionDuration? outputLimit? uploadLimit?
interface: accessURL+ mirrorURL* securityMethod* testQueryString?
interface ParamHTTP: accessURL+ mirrorURL* securityMethod* testQueryString? queryType* resultType? param* testQuery?
language: name version+ description? languageFeatures*
languageFeatures: feature*
feature: form description?
outputFormat: mime alias*
outputLimit: default? hard?
uploadLimit: default? hard?
retentionPeriod: default? hard?
executionDuration: default? hard?
tableset: schema+
schema: name title? description? utype? table*
table: name title? description? utype? nrows? column* foreignKey*
column: name description? unit? ucd? utype? dataType? flag*
foreignKey: targetTable fkColumn+ description? utype?
fkColumn: fromColumn targetColumn
jobs: jobref*
jobref: phase runId? ownerId? creationTime?
job: jobId runId? ownerId phase quote? creationTime? startTime endTime executionDuration destruction parameters? \
results errorSummary? jobInfo?
parameters: parameter*
results: result*
errorSummary: message
"""
CONTENT_MODELS = dict(line.split(": ", 1) for line in _CONTENT_MODEL_LINES.strip().splitlines())
NAMESPACES = {
    "availability": "http://www.ivoa.net/xml/VOSIAvailability/v1.0",
    "capabilities": "http://www.ivoa.net/xml/VOSICapabilities/v1.0",
    "tableset": "http://www.ivoa.net/xml/VOSITables/v1.0",
    "jobs": "http://www.ivoa.net/xml/UWS/v1.0",
    "job": "http://www.ivoa.net/xml/UWS/v1.0",
}


class NotXmlError(ValueError):
    """The text is not XML, or XML that is not safe to read."""


def parse_xml(body: bytes) -> Any:
    """Parse a document. Entities are not expanded, and nothing is fetched.

    Raises
    ------
    NotXmlError
        The document is not well-formed, declares entities, or is nested too deeply.
    """
    if b"<!ENTITY" in body:
        raise NotXmlError("it declares entities, but VO documents do not need entities")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise NotXmlError(describe_non_xml(body) or f"it is not well-formed: {error.msg}") from error
    declared: Any = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):  # finds them in any encoding
        raise NotXmlError("it declares entities, but VO documents do not need entities")
    return root


def describe_non_xml(body: bytes) -> str:
    """Describe what a text is that should have been XML; empty if it looks like XML."""
    start = body.lstrip()[:200].lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page"
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


def get_element_text(element: Any, name: str = "") -> str:
    """Return the text of an element, or of its first child with a name; empty if there is none."""
    named_element = element
    if name:
        named_element = element.find(f"{{*}}{name}")
    if named_element is None:
        return ""
    return (named_element.text or "").strip()


def get_xsi_type(element: Any) -> str:
    """Return the local part of the attribute xsi:type."""
    return str(element.get(XSI_TYPE_ATTRIBUTE, "")).rpartition(":")[2]


@lru_cache(maxsize=64)
def _compile_content_model(model: str) -> re.Pattern[str]:
    parts = []
    for word in model.split():
        name = word.rstrip("?*+")
        occurrence = word.removeprefix(name)
        parts.append(f"(?:{name} ){occurrence}")
    return re.compile("".join(parts))


def find_content_model_faults(root: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Compare an element and its descendants with the content models.

    Yields
    ------
    place, fault
        The element, and how its children differ from the model.
    """
    name = get_local_name(root)
    if depth > MAX_DEPTH:
        yield name, "elements are nested too deeply"
        return
    if depth == 0 and name in NAMESPACES and get_namespace(root) != NAMESPACES[name]:
        yield name, f"its namespace is {get_namespace(root)!r}, not {NAMESPACES[name]!r}"
    xsi_type = get_xsi_type(root)
    typed_name = f"{name} {xsi_type}"
    model = CONTENT_MODELS.get(typed_name) or CONTENT_MODELS.get(name)
    if model is None:
        return
    children = [child for child in root if isinstance(child.tag, str)]
    names = [get_local_name(child) for child in children]
    # other types of capabilities and interfaces may add any elements at the end
    is_open_ended = bool(xsi_type) and typed_name not in CONTENT_MODELS
    sequence = "".join(f"{child_name} " for child_name in names)
    match = _compile_content_model(model).match(sequence)
    if match is None or (match.end() < len(sequence) and not is_open_ended):
        title = get_element_text(root, "name")
        place = f"<{name}> {title}" if title else f"<{name}>"
        yield place, _describe_model_mismatch(names, model)
    for child in children:
        yield from find_content_model_faults(child, depth + 1)


def _describe_model_mismatch(names: list[str], model: str) -> str:
    """Describe how the names of children differ from a content model."""
    known_names = set()
    for word in model.split():
        name = word.rstrip("?*+")
        known_names.add(name)
        is_required = word[-1] not in "?*"
        if is_required and name not in names:
            return f"<{name}> is missing"
    for name in names:
        if name not in known_names:
            return f"<{name}> does not belong there"
    distinct_names = " ".join(dict.fromkeys(names))
    return f"its children are out of order, or there are too many of them: {distinct_names}; the order is {model}"
