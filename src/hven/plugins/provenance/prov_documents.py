"""Write graphs as PROV-JSON, PROV-JSONLD, PROV-N and PROV-XML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from hven.formats import escape_xml, quote_attribute
from hven.plugins.provenance.prov_records import (
    ID_PREFIX,
    IVOA_MODEL,
    NAME_TYPE,
    NAMESPACES,
    RELATION_MEMBERS,
    RELATIONS_WITHOUT_ROLE,
    TEXT_TYPE,
    TypedValue,
    write_qualified_id,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.provenance.prov_records import ProvGraph, ProvRelation

JSONLD_CONTEXT_URL = "https://openprovenance.org/prov-jsonld/context.jsonld"
PROV_NAMESPACE = "http://www.w3.org/ns/prov#"
XSD_NAMESPACE = "http://www.w3.org/2001/XMLSchema#"
JSONLD_TYPES = {
    "wasGeneratedBy": "Generation",
    "used": "Usage",
    "wasInformedBy": "Communication",
    "wasDerivedFrom": "Derivation",
    "wasAttributedTo": "Attribution",
    "wasAssociatedWith": "Association",
    "hadMember": "Membership",
    "specializationOf": "Specialization",
}
# attributes whose values PROV-JSONLD writes as bare qualified names
JSONLD_TERMS = {"prov:type": "type", "prov:label": "label", "prov:role": "role", "prov:value": "value"}
# arguments of relations in PROV-N behind the two members; a dash stands for an unknown one
PROVN_ARGUMENTS = {"wasGeneratedBy": 1, "used": 1, "wasDerivedFrom": 3, "wasAssociatedWith": 1}

AttributeList = list[tuple[str, TypedValue]]


def _collect_namespaces(graph: ProvGraph) -> dict[str, str]:
    return {ID_PREFIX: graph.namespace, **NAMESPACES}


def _list_relation_members(relation: ProvRelation) -> dict[str, str]:
    """List the members of a relation by name, with its plan and time."""
    origin_name, target_name = RELATION_MEMBERS[relation.kind]
    members = {origin_name: write_qualified_id(relation.origin), target_name: write_qualified_id(relation.target)}
    if relation.plan:
        members["plan"] = write_qualified_id(relation.plan)
    if relation.time and relation.kind in {"wasGeneratedBy", "used"}:
        members["time"] = relation.time
    return members


def _list_relation_attributes(relation: ProvRelation, model: str) -> AttributeList:
    attributes = []
    if relation.is_revision:
        attributes.append(("prov:type", TypedValue("prov:Revision", NAME_TYPE)))
    if relation.role and relation.kind not in RELATIONS_WITHOUT_ROLE:
        # an attribution has no role in PROV, but in the model of the IVOA
        if relation.kind != "wasAttributedTo":
            attributes.append(("prov:role", TypedValue(relation.role, TEXT_TYPE)))
        elif model == IVOA_MODEL:
            attributes.append(("voprov:role", TypedValue(relation.role, TEXT_TYPE)))
    return attributes


def write_prov_json(graph: ProvGraph, model: str) -> bytes:
    """Write a graph as PROV-JSON (W3C member submission of 2013).

    Parameters
    ----------
    graph
        The graph.
    model
        Model of the attributes.
    """
    document: dict[str, dict[str, Any]] = {"prefix": _collect_namespaces(graph)}
    for record in graph.records.values():
        content = _group_attribute_values(record.list_attributes(model))
        times = {"prov:startTime": record.started, "prov:endTime": record.ended}
        content |= {name: time for name, time in times.items() if time}
        document.setdefault(record.kind, {})[write_qualified_id(record.id)] = content
    for number, relation in enumerate(graph.relations):
        content = {f"prov:{name}": value for name, value in _list_relation_members(relation).items()}
        content |= _group_attribute_values(_list_relation_attributes(relation, model))
        document.setdefault(relation.kind, {})[f"_:r{number}"] = content
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _group_attribute_values(attributes: AttributeList) -> dict[str, Any]:
    """Write attributes as members of PROV-JSON; an attribute with several values has a list."""
    values_by_name: dict[str, list[Any]] = {}
    for name, value in attributes:
        plain = value.text if value.type == TEXT_TYPE else {"$": value.text, "type": value.type}
        values_by_name.setdefault(name, []).append(plain)
    return {name: values[0] if len(values) == 1 else values for name, values in values_by_name.items()}


def write_prov_jsonld(graph: ProvGraph, model: str) -> bytes:
    """Write a graph as PROV-JSONLD (W3C member submission of 2024).

    Parameters
    ----------
    graph
        The graph.
    model
        Model of the attributes.
    """
    statements = []
    for record in graph.records.values():
        statement: dict[str, Any] = {"@type": record.kind.capitalize(), "@id": write_qualified_id(record.id)}
        times = {"startTime": record.started, "endTime": record.ended}
        statement |= {name: time for name, time in times.items() if time}
        statements.append(statement | _write_jsonld_values(record.list_attributes(model)))
    for relation in graph.relations:
        statement = {"@type": JSONLD_TYPES[relation.kind], **_list_relation_members(relation)}
        statements.append(statement | _write_jsonld_values(_list_relation_attributes(relation, model)))
    document = {"@context": [_collect_namespaces(graph), JSONLD_CONTEXT_URL], "@graph": statements}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _write_jsonld_values(attributes: AttributeList) -> dict[str, list[Any]]:
    values_by_name: dict[str, list[Any]] = {}
    for name, value in attributes:
        written: Any = {"@value": value.text, "@type": value.type}
        if value.type == NAME_TYPE:
            written = value.text
        elif value.type == TEXT_TYPE:
            written = {"@value": value.text}
        values_by_name.setdefault(JSONLD_TERMS.get(name, name), []).append(written)
    return values_by_name


def write_prov_n(graph: ProvGraph, model: str) -> bytes:
    """Write a graph in the notation PROV-N.

    Parameters
    ----------
    graph
        The graph.
    model
        Model of the attributes.
    """
    lines = ["document"]
    lines += [f"  prefix {prefix} <{uri}>" for prefix, uri in _collect_namespaces(graph).items()]
    lines.append("")
    for record in graph.records.values():
        arguments = [write_qualified_id(record.id)]
        if record.started or record.ended:
            arguments += [record.started or "-", record.ended or "-"]
        lines.append(_write_provn_line(record.kind, arguments, record.list_attributes(model)))
    for relation in graph.relations:
        members = list(_list_relation_members(relation).items())
        arguments = [name for _, name in members[:2]]
        optional_arguments = [name for _, name in members[2:]] or ["-"]
        optional_count = PROVN_ARGUMENTS.get(relation.kind, 0)
        arguments += (optional_arguments + ["-"] * optional_count)[:optional_count]
        lines.append(_write_provn_line(relation.kind, arguments, _list_relation_attributes(relation, model)))
    return "\n".join([*lines, "endDocument", ""]).encode()


def _write_provn_line(name: str, arguments: Sequence[str], attributes: AttributeList) -> str:
    text = ", ".join(arguments)
    if attributes:
        text += f", [{', '.join(f'{key}={_write_provn_value(value)}' for key, value in attributes)}]"
    return f"  {name}({text})"


def _write_provn_value(value: TypedValue) -> str:
    if value.type == NAME_TYPE:
        return f"'{value.text}'"
    escapes = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
    text = "".join(escapes.get(character, character) for character in value.text)
    if value.type == TEXT_TYPE:
        return f'"{text}"'
    return f'"{text}" %% {value.type}'


def write_prov_xml(graph: ProvGraph, model: str) -> bytes:
    """Write a graph as PROV-XML (W3C note of 2013).

    Parameters
    ----------
    graph
        The graph.
    model
        Model of the attributes.
    """
    namespaces = {
        "prov": PROV_NAMESPACE,
        "xsi": "http://www.w3.org/2001/XMLSchema-instance",
        "xsd": XSD_NAMESPACE,
        **_collect_namespaces(graph),
    }
    declarations = " ".join(f"xmlns:{prefix}={quote_attribute(uri)}" for prefix, uri in namespaces.items())
    parts = [f'<?xml version="1.0" encoding="UTF-8"?>\n<prov:document {declarations}>']
    for record in graph.records.values():
        times = {"prov:startTime": record.started, "prov:endTime": record.ended}
        content = "".join(f"<{name}>{time}</{name}>" for name, time in times.items() if time)
        content += _write_xml_attributes(record.list_attributes(model))
        identifier = quote_attribute(write_qualified_id(record.id))
        parts.append(f"<prov:{record.kind} prov:id={identifier}>{content}</prov:{record.kind}>")
    for relation in graph.relations:
        content = "".join(_write_xml_member(name, value) for name, value in _list_relation_members(relation).items())
        content += _write_xml_attributes(_list_relation_attributes(relation, model))
        parts.append(f"<prov:{relation.kind}>{content}</prov:{relation.kind}>")
    return "\n".join([*parts, "</prov:document>\n"]).encode()


def _write_xml_member(name: str, value: str) -> str:
    if name == "time":
        return f"<prov:time>{value}</prov:time>"
    return f"<prov:{name} prov:ref={quote_attribute(value)}/>"


def _write_xml_attributes(attributes: AttributeList) -> str:
    parts = []
    # the schema has PROV's own elements first: label, role, type, value
    order = ("prov:label", "prov:location", "prov:role", "prov:type", "prov:value")
    ranks = {name: number for number, name in enumerate(order)}
    for name, value in sorted(attributes, key=lambda item: ranks.get(item[0], len(order))):
        type_name = "xsd:QName"
        if value.type != NAME_TYPE:
            type_name = value.type
        type_attribute = "" if value.type == TEXT_TYPE else f' xsi:type="{type_name}"'
        parts.append(f"<{name}{type_attribute}>{escape_xml(value.text)}</{name}>")
    return "".join(parts)
