"""Metadata of a collection or a release as DataCite has them (4.6), in JSON and XML."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.formats import escape_xml, quote_attribute, replace_illegal_characters
from hven.model.resource import SPDX_LICENCE_PATTERN, parse_orcid
from hven.plugins.registry import record_coverage as coverage
from hven.services.citations import find_licence_url, write_bibtex_entry
from hven.services.file_rows import CountWithNoun, choose_row_noun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.model.resource import CollectionSpec, FundingReference, Person
    from hven.services.citations import CitationMetadata
    from hven.site import PublishedTable

DATACITE_NAMESPACE = "http://datacite.org/schema/kernel-4"
DATACITE_SCHEMA_LOCATION = f"{DATACITE_NAMESPACE} https://schema.datacite.org/meta/kernel-4.6/metadata.xsd"
UAT_SUBJECT_SCHEME = {"subjectScheme": "Unified Astronomy Thesaurus", "schemeUri": "https://astrothesaurus.org/"}
ORCID_SCHEME = {"nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
ROR_SCHEME = {"schemeUri": "https://ror.org"}
# media types of rows
ROW_MEDIA_TYPES = (
    "application/x-votable+xml",
    "text/csv",
    "application/fits",
    "application/vnd.apache.parquet",
)
TO_BE_ASSIGNED = "(:tba)"
UNAVAILABLE_VALUE = "(:unav)"  # DataCite 4.6, appendix 3: a required value that is not known
DATE_PATTERN = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# kind of citation -> media type and label
CITATION_KINDS = {
    "datacite.json": ("application/vnd.datacite.datacite+json", "DataCite JSON"),
    "datacite.xml": ("application/vnd.datacite.datacite+xml", "DataCite XML"),
    "bib": ("application/x-bibtex", "BibTeX"),
}


def list_missing_metadata(citation_metadata: CitationMetadata) -> Iterator[tuple[str, str]]:
    """List the metadata that a collection or release needs, or should have, to be registered.

    Parameters
    ----------
    citation_metadata
        A collection or a release.

    Yields
    ------
    severity, message
        ``error``: DataCite refuses the record; ``warning``: it accepts it.
    """
    if not citation_metadata.creators:
        yield "error", "it has no creators; add 'creators' to the descriptor"
    if citation_metadata.year is None:
        yield "error", "it has no year of publication; add 'created: 2026-11-20' to the descriptor"
    if not citation_metadata.resource.licence:
        yield "warning", "it has no licence, so users do not know how they may use it"
    if not citation_metadata.resource.description:
        yield "warning", "it has no description"
    if not citation_metadata.resource.subjects:
        yield "warning", "it has no subjects"
    people = [person for person in citation_metadata.creators if "," in person.name]
    names_without_orcid = [person.name for person in people if not parse_orcid(person.orcid)]
    if names_without_orcid:
        creator_names = "; ".join(names_without_orcid[:5])
        if len(names_without_orcid) > 5:
            creator_names += "; .."
        yield "warning", f"these creators have no ORCID iD: {creator_names}"


def build_datacite_record(citation_metadata: CitationMetadata) -> dict[str, Any]:
    """Describe a collection or a release in DataCite's metadata schema 4.6, for its REST API.

    Parameters
    ----------
    citation_metadata
        Metadata of the collection or release.

    Returns
    -------
    attributes
        Attributes of the schema that are not empty.
    """
    resource = citation_metadata.resource
    public_items = [item for item in citation_metadata.items if item.table.is_fully_public]
    row_counts = [_format_row_count(item) for item in public_items if item.rows is not None]
    sizes = [*row_counts]
    byte_count = sum(item.byte_count for item in public_items)
    if byte_count:
        sizes.append(f"{byte_count:,} bytes")
    creators = [_describe_person(person) for person in citation_metadata.creators]
    title = " ".join(citation_metadata.title.split())
    attributes: dict[str, Any] = {
        "doi": citation_metadata.doi,
        "creators": creators or [{"name": UNAVAILABLE_VALUE}],
        "titles": [{"title": title}],
        "publisher": _describe_publisher(citation_metadata),
        "publicationYear": citation_metadata.year,
        "types": {"resourceType": _get_resource_type(resource), "resourceTypeGeneral": "Dataset"},
        "subjects": _list_subjects(resource),
        "contributors": _list_contributors(resource),
        "dates": [*_list_dates(citation_metadata), *_list_data_collection_dates(resource, public_items)],
    }
    if not citation_metadata.label:
        attributes["alternateIdentifiers"] = [
            {"alternateIdentifier": citation_metadata.ivoid, "alternateIdentifierType": "IVOID"}
        ]
    attributes |= {
        "relatedIdentifiers": _list_related_identifiers(citation_metadata),
        "sizes": sizes,
        "formats": list(ROW_MEDIA_TYPES) if row_counts else [],
        "version": citation_metadata.label or citation_metadata.updated[:10],
        "rightsList": _list_rights(resource),
        "descriptions": _list_descriptions(citation_metadata),
        "geoLocations": coverage.list_earth_boxes(public_items),
        "fundingReferences": [_describe_grant(grant) for grant in resource.funding],
        "schemaVersion": DATACITE_NAMESPACE,
    }
    return {key: value for key, value in attributes.items() if value}


def _format_row_count(published_table: PublishedTable) -> str:
    amount = CountWithNoun(published_table.rows or 0, choose_row_noun(published_table.table, published_table))
    return f"{published_table.table.name}: {amount}"


def _describe_publisher(citation_metadata: CitationMetadata) -> dict[str, str]:
    publisher = {"name": citation_metadata.publisher}
    if citation_metadata.publisher_ror:
        publisher["publisherIdentifier"] = citation_metadata.publisher_ror
        publisher["publisherIdentifierScheme"] = "ROR"
        publisher |= ROR_SCHEME
    return publisher


def _list_contributors(resource: CollectionSpec) -> list[dict[str, Any]]:
    contributors = [_describe_contributor(person, person.role or "Other") for person in resource.contributors]
    if resource.contact is not None:
        contributors.append(_describe_contributor(resource.contact, "ContactPerson"))
    return contributors


def _describe_contributor(person: Person, contributor_type: str) -> dict[str, Any]:
    return {**_describe_person(person), "contributorType": contributor_type}


def _list_data_collection_dates(
    resource: CollectionSpec, published_tables: Iterable[PublishedTable]
) -> list[dict[str, str]]:
    """List the span of days in which the data were collected; none for simulated data."""
    spans = [span for span in map(coverage.find_date_span, published_tables) if span is not None]
    if not spans or resource.is_simulated:
        return []
    first_day = min(begin for begin, _ in spans)
    last_day = max(end for _, end in spans)
    return [{"date": f"{first_day}/{last_day}", "dateType": "Collected"}]


def _list_descriptions(citation_metadata: CitationMetadata) -> list[dict[str, str]]:
    text_by_type = {
        "Abstract": citation_metadata.description,
        "Other": citation_metadata.resource.acknowledgement,
        "TechnicalInfo": citation_metadata.withdrawal_reason,
    }
    descriptions = []
    for description_type, text in text_by_type.items():
        if text:
            descriptions.append({"description": text, "descriptionType": description_type})
    return descriptions


def _describe_grant(grant: FundingReference) -> dict[str, str]:
    identifier_type = None
    if grant.ror:
        identifier_type = "ROR"
    facts = {
        "funderName": grant.funder,
        "funderIdentifier": grant.ror,
        "funderIdentifierType": identifier_type,
        "awardNumber": grant.award,
        "awardUri": grant.url,
        "awardTitle": grant.title,
    }
    return {key: value for key, value in facts.items() if value}


def _get_resource_type(resource: CollectionSpec) -> str:
    if resource.type:
        return resource.type[0]
    return "Catalog"


def _describe_person(person: Person) -> dict[str, Any]:
    name_parts = person.name.partition(",")
    family_name, _, given_name = (part.strip() for part in name_parts)
    orcid_id = parse_orcid(person.orcid)
    description: dict[str, Any] = {"name": person.name}
    if orcid_id or given_name:
        description["nameType"] = "Personal"
    if given_name:
        description |= {"givenName": given_name, "familyName": family_name}
    if orcid_id:
        description["nameIdentifiers"] = [{"nameIdentifier": f"https://orcid.org/{orcid_id}", **ORCID_SCHEME}]
    if person.affiliation:
        affiliation = {"name": person.affiliation}
        if person.ror:
            affiliation |= {"affiliationIdentifier": person.ror, "affiliationIdentifierScheme": "ROR", **ROR_SCHEME}
        description["affiliation"] = [affiliation]
    elif person.ror:  # the "person" is an institute
        description["nameIdentifiers"] = [{"nameIdentifier": person.ror, "nameIdentifierScheme": "ROR", **ROR_SCHEME}]
    return description


def _list_subjects(resource: CollectionSpec) -> list[dict[str, str]]:
    stripped_subjects = [subject.strip() for subject in resource.subjects]
    terms = dict.fromkeys(subject for subject in stripped_subjects if subject)
    keywords = dict.fromkeys((*resource.facility, *resource.instrument, *resource.waveband))
    subjects = [{"subject": term, **UAT_SUBJECT_SCHEME} for term in terms]
    subjects += [{"subject": keyword} for keyword in keywords if keyword not in terms]
    return subjects


def _list_dates(citation_metadata: CitationMetadata) -> Iterator[dict[str, str]]:
    dates_by_type: dict[str, str] = {}
    created = citation_metadata.resource.created
    if created and DATE_PATTERN.fullmatch(created[:10]):
        dates_by_type["Created"] = created
    dates_by_type["Issued"] = citation_metadata.issued
    if not citation_metadata.label:
        dates_by_type["Updated"] = citation_metadata.updated
    for kind, text in dates_by_type.items():
        if text:
            yield {"date": text[:10], "dateType": kind}
    if citation_metadata.withdrawal_reason:
        withdrawal_date = citation_metadata.withdrawal_date or datetime.now(UTC).date().isoformat()
        yield {"date": withdrawal_date, "dateType": "Withdrawn"}


def _list_related_identifiers(citation_metadata: CitationMetadata) -> list[dict[str, str]]:
    resource = citation_metadata.resource
    identifiers = [(work.id, work.scheme, work.relation) for work in resource.works]
    if resource.bibcode:
        identifiers.append((resource.bibcode, "bibcode", "IsDocumentedBy"))
    if resource.reference_url:
        identifiers.append((resource.reference_url, "URL", "IsDocumentedBy"))
    for relation, identifier in citation_metadata.relations:
        scheme = "DOI"
        if identifier.startswith("http"):
            scheme = "URL"
        identifiers.append((identifier, scheme, relation))
    related_identifiers = []
    for identifier, scheme, relation in dict.fromkeys(identifiers):
        related_identifiers.append(
            {"relatedIdentifier": identifier, "relatedIdentifierType": scheme, "relationType": relation}
        )
    return related_identifiers


def _list_rights(resource: CollectionSpec) -> list[dict[str, str]]:
    if not (resource.licence or resource.licence_url):
        return []
    rights_entry = {"rights": resource.licence or resource.licence_url or ""}
    url = find_licence_url(resource)
    if url:
        rights_entry["rightsUri"] = url
    if resource.licence and SPDX_LICENCE_PATTERN.fullmatch(resource.licence):
        rights_entry |= {
            "rightsIdentifier": resource.licence,
            "rightsIdentifierScheme": "SPDX",
            "schemeUri": "https://spdx.org/licenses/",
        }
    return [rights_entry]


# --- XML ----------------------------------------------------------------------------------------------------------

# element of the list -> (element, the key with its text, attribute -> key), in the order of DataCite's guide
_XML_LISTS: dict[str, tuple[str, str | None, dict[str, str]]] = {
    "titles": ("title", "title", {}),
    "subjects": ("subject", "subject", {"subjectScheme": "subjectScheme", "schemeURI": "schemeUri"}),
    "dates": ("date", "date", {"dateType": "dateType"}),
    "alternateIdentifiers": (
        "alternateIdentifier",
        "alternateIdentifier",
        {"alternateIdentifierType": "alternateIdentifierType"},
    ),
    "relatedIdentifiers": (
        "relatedIdentifier",
        "relatedIdentifier",
        {"relatedIdentifierType": "relatedIdentifierType", "relationType": "relationType"},
    ),
    "sizes": ("size", None, {}),
    "formats": ("format", None, {}),
    "rightsList": (
        "rights",
        "rights",
        {
            "rightsURI": "rightsUri",
            "rightsIdentifier": "rightsIdentifier",
            "rightsIdentifierScheme": "rightsIdentifierScheme",
            "schemeURI": "schemeUri",
        },
    ),
    "descriptions": ("description", "description", {"descriptionType": "descriptionType"}),
}


def write_datacite_xml(datacite_record: Mapping[str, Any]) -> str:
    """Write DataCite's metadata as XML, kernel 4.

    Parameters
    ----------
    datacite_record
        Attributes, as `build_datacite_record` returns them. Without a DOI the identifier is ``(:tba)``, to be assigned
        (DataCite 4.6, appendix 3).

    Returns
    -------
    xml
        A complete document.
    """
    publisher = datacite_record["publisher"]
    publisher_xml = _write_element(
        "publisher",
        publisher["name"],
        publisherIdentifier=publisher.get("publisherIdentifier"),
        publisherIdentifierScheme=publisher.get("publisherIdentifierScheme"),
        schemeURI=publisher.get("schemeUri"),
    )
    types = datacite_record["types"]
    type_xml = _write_element("resourceType", types["resourceType"], resourceTypeGeneral=types["resourceTypeGeneral"])
    version_xml = ""
    if "version" in datacite_record:
        version_xml = _write_element("version", datacite_record["version"])
    middle_lists = ("dates", "alternateIdentifiers", "relatedIdentifiers", "sizes", "formats")
    parts = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<resource xmlns="{DATACITE_NAMESPACE}" ',
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ',
        f'xsi:schemaLocation="{DATACITE_SCHEMA_LOCATION}">',
        _write_element("identifier", datacite_record.get("doi", TO_BE_ASSIGNED), identifierType="DOI"),
        _write_people("creator", datacite_record.get("creators", ())),
        _write_xml_list("titles", datacite_record),
        publisher_xml,
        _write_element("publicationYear", datacite_record.get("publicationYear", "")),
        type_xml,
        _write_xml_list("subjects", datacite_record),
        _write_people("contributor", datacite_record.get("contributors", ())),
        *(_write_xml_list(name, datacite_record) for name in middle_lists),
        version_xml,
        *(_write_xml_list(name, datacite_record) for name in ("rightsList", "descriptions")),
        _write_geo_locations(datacite_record.get("geoLocations", ())),
        _write_funding(datacite_record.get("fundingReferences", ())),
        "</resource>\n",
    ]
    return replace_illegal_characters("".join(parts))


def _write_element(name: str, text: str | None, *, content_xml: str = "", **attributes: str | None) -> str:
    attribute_text = "".join(f" {key}={quote_attribute(value)}" for key, value in attributes.items() if value)
    return f"<{name}{attribute_text}>{content_xml or escape_xml(text or '')}</{name}>"


def _write_xml_list(name: str, datacite_record: Mapping[str, Any]) -> str:
    element_name, text_key, key_by_attribute = _XML_LISTS[name]
    entries = datacite_record.get(name, ())
    if not entries:
        return ""
    elements = []
    for entry in entries:
        if text_key is None:
            elements.append(_write_element(element_name, entry))
            continue
        attributes = {attribute: entry.get(key) for attribute, key in key_by_attribute.items()}
        elements.append(_write_element(element_name, entry[text_key], **attributes))
    return _write_element(name, None, content_xml="".join(elements))


def _write_people(element_name: str, people: Iterable[Mapping[str, Any]]) -> str:
    elements = [_write_person(element_name, person) for person in people]
    if not elements:
        return ""
    return _write_element(f"{element_name}s", None, content_xml="".join(elements))


def _write_person(element_name: str, person: Mapping[str, Any]) -> str:
    parts = [_write_element(f"{element_name}Name", person["name"], nameType=person.get("nameType"))]
    name_parts = [name for name in ("givenName", "familyName") if name in person]
    parts += [_write_element(name, person[name]) for name in name_parts]
    for identifier in person.get("nameIdentifiers", ()):
        identifier_xml = _write_element(
            "nameIdentifier",
            identifier["nameIdentifier"],
            nameIdentifierScheme=identifier["nameIdentifierScheme"],
            schemeURI=identifier["schemeUri"],
        )
        parts.append(identifier_xml)
    for affiliation in person.get("affiliation", ()):
        affiliation_xml = _write_element(
            "affiliation",
            affiliation["name"],
            affiliationIdentifier=affiliation.get("affiliationIdentifier"),
            affiliationIdentifierScheme=affiliation.get("affiliationIdentifierScheme"),
            schemeURI=affiliation.get("schemeUri"),
        )
        parts.append(affiliation_xml)
    return _write_element(element_name, None, contributorType=person.get("contributorType"), content_xml="".join(parts))


def _write_geo_locations(locations: Iterable[Mapping[str, Any]]) -> str:
    elements = []
    for location in locations:
        box = location["geoLocationBox"]
        bounds = [_write_element(name, str(bound)) for name, bound in box.items()]
        box_xml = _write_element("geoLocationBox", None, content_xml="".join(bounds))
        elements.append(_write_element("geoLocation", None, content_xml=box_xml))
    if not elements:
        return ""
    return _write_element("geoLocations", None, content_xml="".join(elements))


def _write_funding(grants: Iterable[Mapping[str, Any]]) -> str:
    elements = []
    for grant in grants:
        parts = [_write_element("funderName", grant["funderName"])]
        if "funderIdentifier" in grant:
            identifier_xml = _write_element(
                "funderIdentifier",
                grant["funderIdentifier"],
                funderIdentifierType=grant["funderIdentifierType"],
            )
            parts.append(identifier_xml)
        if "awardNumber" in grant or "awardUri" in grant:
            award_xml = _write_element("awardNumber", grant.get("awardNumber"), awardURI=grant.get("awardUri"))
            parts.append(award_xml)
        if "awardTitle" in grant:
            parts.append(_write_element("awardTitle", grant["awardTitle"]))
        elements.append(_write_element("fundingReference", None, content_xml="".join(parts)))
    if not elements:
        return ""
    return _write_element("fundingReferences", None, content_xml="".join(elements))


def write_bibtex_from_record(datacite_record: Mapping[str, Any], entry_key: str) -> str:
    """Write how to cite a collection that is no longer here, from the metadata that DataCite has.

    Parameters
    ----------
    datacite_record
        Attributes, as `build_datacite_record` returns them, with the address of the page as `url`.
    entry_key
        Key of the entry.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    names = [creator["name"] for creator in datacite_record.get("creators", ())]
    return write_bibtex_entry(
        entry_key,
        title=datacite_record["titles"][0]["title"],
        authors=[name for name in names if name != UNAVAILABLE_VALUE],
        year=datacite_record.get("publicationYear"),
        publisher=datacite_record["publisher"]["name"],
        version=datacite_record.get("version"),
        doi=datacite_record.get("doi"),
        url=datacite_record.get("url"),
    )
