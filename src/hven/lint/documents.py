"""XML of strangers: parsed without entities or network; and its shape, held against content models written as facts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator

XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"
DEPTH = 64

# element -> its children in order: ? at most one, * any number, + at least one. VOSI 1.1, VODataService 1.2, TAPRegExt 1.0, UWS 1.1
MODELS = {
    "availability": "available upSince? downAt? backAt? note*",
    "capabilities": "capability*",
    "capability": "validationLevel* description? interface*",
    "capability TableAccess": "validationLevel* description? interface* dataModel* language+ outputFormat+ uploadMethod* retentionPeriod? "
    "executionDuration? outputLimit? uploadLimit?",
    "interface": "accessURL+ mirrorURL* securityMethod* testQueryString?",
    "interface ParamHTTP": "accessURL+ mirrorURL* securityMethod* testQueryString? queryType* resultType? param* testQuery?",
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
    "job": "jobId runId? ownerId phase quote? creationTime? startTime endTime executionDuration destruction parameters? results "
    "errorSummary? jobInfo?",
    "parameters": "parameter*",
    "results": "result*",
    "errorSummary": "message",
}
SPACES = {
    "availability": "http://www.ivoa.net/xml/VOSIAvailability/v1.0",
    "capabilities": "http://www.ivoa.net/xml/VOSICapabilities/v1.0",
    "tableset": "http://www.ivoa.net/xml/VOSITables/v1.0",
    "jobs": "http://www.ivoa.net/xml/UWS/v1.0",
    "job": "http://www.ivoa.net/xml/UWS/v1.0",
}


class NotXml(ValueError):
    """The text is no XML that may be read."""


def parse(body: bytes) -> Any:
    """Parse a document; no entities are unfolded and nothing is fetched.

    Raises
    ------
    NotXml
        Not well-formed, a document type with entities, or nested too deeply.
    """
    if b"<!ENTITY" in body:
        raise NotXml("it declares entities, which no VO document needs")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise NotXml(what_is(body) or f"it is not well-formed: {error.msg}") from error
    declared: Any = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):  # in whatever encoding they were written
        raise NotXml("it declares entities, which no VO document needs")
    return root


def what_is(body: bytes) -> str:
    """Return what a text is that should have been XML."""
    start = body.lstrip()[:200].lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a page of HTML"
    return (
        "it is JSON" if start[:1] in {b"{", b"["} else "" if start.startswith(b"<") else f"it is text: {start[:60]!r}"
    )


def local(element: Any) -> str:
    """Return the name of an element without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def space(element: Any) -> str:
    """Return the namespace of an element."""
    tag = element.tag
    return tag[1:].partition("}")[0] if isinstance(tag, str) and tag.startswith("{") else ""


def children(element: Any, name: str) -> list[Any]:
    """Return the direct children of that name, whatever their namespace."""
    return [child for child in element if local(child) == name]


def text(element: Any, name: str = "") -> str:
    """Return the text of an element, or of its first child called `name`; empty if there is none."""
    if name:
        found = children(element, name)
        return text(found[0]) if found else ""
    return (element.text or "").strip()


def kind(element: Any) -> str:
    """Return the local part of xsi:type."""
    return str(element.get(XSI, "")).rpartition(":")[2]


@lru_cache(maxsize=64)
def _expression(model: str) -> re.Pattern[str]:
    parts = []
    for word in model.split():
        name, mark = (word[:-1], word[-1]) if word[-1] in "?*+" else (word, "")
        parts.append(f"(?:{name} ){mark}")
    return re.compile("".join(parts))


def misshaped(root: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Compare an element and all below it with the content models.

    Yields
    ------
    place, what
        Where, and in what the children differ.
    """
    name = local(root)
    if depth > DEPTH:
        yield name, "elements are nested too deeply"
        return
    if depth == 0 and name in SPACES and space(root) != SPACES[name]:
        yield name, f"its namespace is {space(root)!r}, not {SPACES[name]!r}"
    model = MODELS.get(f"{name} {kind(root)}") or MODELS.get(name)
    if model is None:
        return
    names = [local(child) for child in root if isinstance(child.tag, str)]
    # other types of capabilities and interfaces may add what they like behind
    open_ended = bool(kind(root)) and f"{name} {kind(root)}" not in MODELS
    sequence = "".join(f"{one} " for one in names)
    matched = _expression(model).match(sequence)
    if matched is None or (matched.end() < len(sequence) and not open_ended):
        known = {word.rstrip("?*+") for word in model.split()}
        strange = [one for one in names if one not in known]
        missing = [word.rstrip("+") for word in model.split() if word[-1] not in "?*" and word.rstrip("+") not in names]
        title = text(root, "name")
        what = (
            f"<{missing[0]}> is missing" if missing else f"<{strange[0]}> does not belong there" if strange
            else f"its children are out of order or too many: {' '.join(dict.fromkeys(names))}; the order is {model}"
        )  # fmt: skip
        yield f"<{name}>{f' {title}' if title else ''}", what
    for child in root:
        if isinstance(child.tag, str):
            yield from misshaped(child, depth + 1)
