"""Records and relations of PROV, and the names of their attributes in the models of W3C and IVOA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_PREFIX = "hv"  # of the ids of records
ENTITY, ACTIVITY, AGENT = "entity", "activity", "agent"
IVOA_MODEL, W3C_MODEL = "IVOA", "W3C"
NAMESPACES = {
    "voprov": "http://www.ivoa.net/documents/ProvenanceDM/index.html#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcterms": "http://purl.org/dc/terms/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "schema": "http://schema.org/",
    "spdx": "http://spdx.org/rdf/terms#",
}
# the members of each relation: its origin, then its target
RELATION_MEMBERS = {
    "wasGeneratedBy": ("entity", "activity"),
    "used": ("activity", "entity"),
    "wasInformedBy": ("informed", "informant"),
    "wasDerivedFrom": ("generatedEntity", "usedEntity"),
    "wasAttributedTo": ("entity", "agent"),
    "wasAssociatedWith": ("activity", "agent"),
    "hadMember": ("collection", "entity"),
    "specializationOf": ("specificEntity", "generalEntity"),
}
# relations that have no role, and those that have a time
RELATIONS_WITHOUT_ROLE = frozenset({"wasDerivedFrom", "wasInformedBy", "hadMember", "specializationOf"})
AGENT_RELATIONS = frozenset({"wasAttributedTo", "wasAssociatedWith"})
URI_TYPE, TIME_TYPE, TEXT_TYPE, NAME_TYPE = "xsd:anyURI", "xsd:dateTime", "xsd:string", "prov:QUALIFIED_NAME"


class AttributeTerm(NamedTuple):
    """The names of an attribute in both models, and the type of its value."""

    w3c_name: str
    ivoa_name: str
    type: str = TEXT_TYPE


ATTRIBUTE_TERMS = {
    "name": AttributeTerm("", "voprov:name"),
    "comment": AttributeTerm("rdfs:comment", "voprov:comment"),
    "location": AttributeTerm("dcterms:source", "voprov:location"),
    "url": AttributeTerm("rdfs:seeAlso", "voprov:url", URI_TYPE),
    "value": AttributeTerm("prov:value", "voprov:value"),
    "affiliation": AttributeTerm("schema:affiliation", "voprov:affiliation"),
    "created": AttributeTerm("dcterms:created", "voprov:generatedAtTime", TIME_TYPE),
    "modified": AttributeTerm("dcterms:modified", "dcterms:modified"),
    "identifier": AttributeTerm("dcterms:identifier", "dcterms:identifier"),
    "licence": AttributeTerm("dcterms:license", "dcterms:license"),
    "checksum": AttributeTerm("spdx:checksumValue", "spdx:checksumValue"),
    "bytes": AttributeTerm("dcat:byteSize", "dcat:byteSize", "xsd:long"),
    "environment": AttributeTerm("dcterms:requires", "dcterms:requires"),
    "media_type": AttributeTerm("dcterms:format", "dcterms:format"),
}


class TypedValue(NamedTuple):
    """The value of an attribute as text, with the name of its type."""

    text: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvRecord:
    """An entity, an activity or an agent.

    Attributes
    ----------
    id
        Its id below the namespace of the site: ``table/stars.main``.
    kind
        ``entity``, ``activity`` or ``agent``.
    label
        Title for people.
    w3c_type, ivoa_type
        Type in each model, without its prefix; empty: none.
    attributes
        Values by the keys of `ATTRIBUTE_TERMS`.
    started, ended
        Times of an activity.
    url
        Address of a page about it; empty: none.
    """

    id: str
    kind: str
    label: str
    w3c_type: str = ""
    ivoa_type: str = ""
    attributes: Mapping[str, str | int | None] = field(default_factory=dict)
    started: str | None = None
    ended: str | None = None
    url: str = ""

    def list_attributes(self, model: str) -> list[tuple[str, TypedValue]]:
        """List the attributes of the record, with qualified names.

        Parameters
        ----------
        model
            `IVOA_MODEL` or `W3C_MODEL`.
        """
        attributes = [("prov:label", TypedValue(self.label, TEXT_TYPE))]
        if self.w3c_type:
            attributes.append(("prov:type", TypedValue(f"prov:{self.w3c_type}", NAME_TYPE)))
        is_ivoa = model == IVOA_MODEL
        if is_ivoa and self.ivoa_type:
            attributes.append(("prov:type", TypedValue(f"voprov:{self.ivoa_type}", NAME_TYPE)))
        for key, value in {"name": self.label, **self.attributes}.items():
            term = ATTRIBUTE_TERMS[key]
            name = term.ivoa_name if is_ivoa else term.w3c_name
            if name and value not in {None, ""}:
                attributes.append((name, TypedValue(str(value), term.type)))
        return attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvRelation:
    """A relation of two records.

    Attributes
    ----------
    kind
        A key of `RELATION_MEMBERS`.
    origin, target
        Ids of the records, in the order of these members.
    role
        Role of the target.
    time
        When it was generated or used.
    plan
        Id of the plan of an association.
    is_revision
        Whether a derivation is a revision.
    """

    kind: str
    origin: str
    target: str
    role: str = ""
    time: str | None = None
    plan: str = ""
    is_revision: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvGraph:
    """Records and relations.

    Attributes
    ----------
    namespace
        Namespace of the ids of records.
    records
        Records by id.
    relations
        Relations between these records.
    left_out
        Numbers of relations that were left out, by the ids of records.
    """

    namespace: str
    records: Mapping[str, ProvRecord]
    relations: tuple[ProvRelation, ...]
    left_out: Mapping[str, int]

    @property
    def left_out_count(self) -> int:
        """Number of all relations that were left out."""
        return sum(self.left_out.values())


def write_qualified_id(record_id: str) -> str:
    """Write the id of a record as a qualified name.

    Parameters
    ----------
    record_id
        Id of a record.
    """
    return f"{ID_PREFIX}:{quote_id(record_id)}"


def quote_id(record_id: str) -> str:
    """Write the id of a record as the local part of a name, which is also the end of its address.

    Parameters
    ----------
    record_id
        Id of a record.
    """
    local_name = quote(record_id, safe="/.-_").replace("~", "%7E")
    # a local part of PROV-N cannot end with a dot
    if local_name.endswith("."):
        return f"{local_name[:-1]}%2E"
    return local_name
