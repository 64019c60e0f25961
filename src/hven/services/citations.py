"""Citations of a collection or a release: DataCite metadata (4.6, JSON and XML), BibTeX and a sentence.

They are built from the descriptor and from what is published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.formats import escape_xml, quote_attribute, replace_illegal_characters
from hven.model.errors import NotFoundError, format_message
from hven.model.resource import SPDX_LICENCE_PATTERN, parse_orcid
from hven.model.resource import parse_doi as bare_doi
from hven.services import _coverage as coverage
from hven.services.file_rows import CountWithNoun, choose_row_noun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.model.resource import CollectionSpec, FundingReference, Person
    from hven.services.face import ServiceContext
    from hven.site import Catalogue, PublishedState, PublishedTable
    from hven.site.store import Release

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
_TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationMetadata:
    """Metadata with which a collection, or a release of it, is cited.

    Attributes
    ----------
    resource
        The collection, as its descriptor describes it.
    address
        Address of its landing page.
    doi
        DOI; None if it has none.
    label
        Label of the release; empty: the collection as a whole.
    description
        Description for people; that of the release comes first.
    issued
        When it was first published, ISO 8601; empty: not known.
    updated
        When it was last changed, ISO 8601.
    items
        Its tables, as everybody sees them.
    publisher, publisher_ror
        Name and ROR identifier of the publisher.
    ivoid
        Its identifier in the Virtual Observatory.
    relations
        DataCite relation type, and the DOI or address of another state of it.
    withdrawal_reason, withdrawal_date
        Why and since which day it is withdrawn; empty: it is not.
    """

    resource: CollectionSpec
    address: str
    doi: str | None
    publisher: str
    ivoid: str
    publisher_ror: str | None = None
    label: str = ""
    description: str | None = None
    issued: str = ""
    updated: str = ""
    items: Sequence[PublishedTable] = ()
    relations: Sequence[tuple[str, str]] = ()
    withdrawal_reason: str = ""
    withdrawal_date: str = ""

    @property
    def title(self) -> str:
        """Its title, with the label of the release."""
        title = self.resource.title or self.resource.name
        if self.label:
            return f"{title}, {self.label}"
        return title

    @property
    def year(self) -> str | None:
        """The year in which it was published."""
        if self.label and self.issued:
            return self.issued[:4]
        return find_publication_year(self.resource) or self.issued[:4] or None

    @property
    def creators(self) -> Sequence[Person]:
        """The people and institutes that created it."""
        return self.resource.creators


def build_landing_page_url(base_url: str, collection: str, label: str = "") -> str:
    """Return the address of the landing page of a collection or a release.

    Parameters
    ----------
    base_url
        Address of the site.
    collection
        Name of the collection.
    label
        Label of the release; empty for the collection.
    """
    url = f"{base_url}/collections/{quote(collection, safe='')}"
    if label:
        url += f"/releases/{quote(label, safe='')}"
    return url


def collect_citation_metadata(
    context: ServiceContext,
    published_state: PublishedState,
    catalogue: Catalogue,
    collection: str,
    release_label: str = "",
    *,
    base_url: str = "",
) -> CitationMetadata:
    """Collect the metadata with which a collection or a release is cited.

    Parameters
    ----------
    context
        Service context of the site.
    published_state, catalogue
        What is published, and what the reader may know of.
    collection, release_label
        The collection; and a release of it, in any case, or empty.
    base_url
        Address of the site or portal.

    Returns
    -------
    citation_metadata
        With the DOI that was minted for it, and its relations to other releases.

    Raises
    ------
    NotFoundError
        The reader knows of no such collection or release.
    """
    site = context.site
    settings = site.settings
    resource = published_state.resources.get(collection)
    known_tables = {table.qualified_name for schema in catalogue.schemas for table in schema.tables}
    all_items = published_state.tables_by_name.values()
    published = [item for item in all_items if item.table.qualified_name in known_tables]
    collection_items = [item for item in published if item.table.schema == collection]
    items = [item for item in collection_items if item.release is None]
    if resource is None or not items:
        message = format_message("there is no collection {name!r} here", collection[:80])
        raise NotFoundError(message, remedy="see the list of collections on the first page")
    base_url = base_url or settings.site_url
    minted_dois = site.identifiers.map_dois()
    releases = _list_releases(published, collection)

    def find_release_identifier(label: str) -> str:
        return minted_dois.get((collection, label)) or build_landing_page_url(base_url, collection, label)

    own_doi = bare_doi(resource.doi) or minted_dois.get((collection, ""))
    relations: list[tuple[str, str]] = []
    description = resource.description
    if release_label:
        release = _find_release(releases, collection, release_label)
        release_label = release.label
        issued = release.created
        description = "\n\n".join(entry for entry in (release.description, description) if entry) or None
        items = [item for item in published if _is_in_release(item, collection, release_label)]
        relations.append(("IsVersionOf", own_doi or build_landing_page_url(base_url, collection)))
        position = releases.index(release)
        for relation, neighbour in (("IsNewVersionOf", position - 1), ("IsPreviousVersionOf", position + 1)):
            if 0 <= neighbour < len(releases):
                relations.append((relation, find_release_identifier(releases[neighbour].label)))
        own_doi = minted_dois.get((collection, release_label))
    else:
        relations += [("HasVersion", find_release_identifier(entry.label)) for entry in releases]
        history = site.store.list_publication_events(collection)
        issued = history[-1].at if history else ""
    withdrawal_reason = ""
    withdrawal_date = ""
    citation = site.identifiers.find_citation(collection, release_label)
    if citation is not None and citation.state == "withdrawn":
        withdrawal_reason = citation.reason or ""
        withdrawal_date = citation.changed[:10]
    ivoid = f"ivo://{settings.find_collection_authority(collection)}/{collection}"
    if resource.registration is not None:
        ivoid = resource.registration.id or ivoid
    organisation = settings.registry.organisation or settings.title or settings.name
    publisher_ror = resource.publisher_ror
    if not publisher_ror and resource.publisher in {None, organisation}:
        publisher_ror = settings.registry.organisation_ror
    address = build_landing_page_url(base_url, collection, release_label)
    updated = max((item.updated for item in items), default="")
    return CitationMetadata(
        resource=resource,
        address=address,
        doi=own_doi,
        label=release_label,
        description=description,
        issued=issued,
        updated=updated,
        items=items,
        relations=relations,
        publisher=resource.publisher or organisation,
        publisher_ror=publisher_ror,
        ivoid=ivoid,
        withdrawal_reason=withdrawal_reason,
        withdrawal_date=withdrawal_date,
    )


def _list_releases(published: Iterable[PublishedTable], collection: str) -> list[Release]:
    """List the releases of a collection, the oldest first."""
    releases: dict[str, Release] = {}
    for item in published:
        if item.release is not None and item.release.collection == collection:
            releases[item.release.label] = item.release
    return sorted(releases.values(), key=lambda release: release.created)


def _find_release(releases: Iterable[Release], collection: str, label: str) -> Release:
    for release in releases:
        if release.label.lower() == label.lower():
            return release
    message = format_message("{name} has no release {label!r}", collection, label[:40])
    raise NotFoundError(message, remedy="see the list of releases on the page of the collection")


def _is_in_release(published_table: PublishedTable, collection: str, label: str) -> bool:
    if published_table.release is None:
        return False
    return published_table.release.collection == collection and published_table.release.label == label


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
        yield "warning", f"creators without an ORCID iD: {creator_names}"


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
        scheme = "URL" if identifier.startswith("http") else "DOI"
        identifiers.append((identifier, scheme, relation))
    related_identifiers = []
    for identifier, scheme, relation in dict.fromkeys(identifiers):
        related_identifiers.append(
            {"relatedIdentifier": identifier, "relatedIdentifierType": scheme, "relationType": relation}
        )
    return related_identifiers


def find_licence_url(resource: CollectionSpec) -> str | None:
    """Return the address of a collection's licence.

    Parameters
    ----------
    resource
        The collection; a licence of SPDX's list has one.
    """
    if resource.licence_url or not resource.licence:
        return resource.licence_url
    if SPDX_LICENCE_PATTERN.fullmatch(resource.licence):
        return f"https://spdx.org/licenses/{resource.licence}"
    return None


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


# --- for people ---------------------------------------------------------------------------------------------------


def find_publication_year(resource: CollectionSpec) -> str | None:
    """Return the year by which a collection is cited: the first one in its date, bibcode or citation.

    Parameters
    ----------
    resource
        Collection to cite.
    """
    for text in (resource.created, resource.bibcode, resource.citation):
        year_match = re.search(r"(?:1[89]|20)\d\d", text or "")
        if year_match:
            return year_match[0]
    return None


def write_citation_sentence(
    resource: CollectionSpec, *, label: str = "", doi: str | None = None, year: str | None = None
) -> str:
    """Write how to cite a collection as a sentence, with its DOI.

    It is the citation of the descriptor, else creators, year, title and publisher.

    Parameters
    ----------
    resource
        Collection to cite.
    label
        Label of a release; empty: the collection as a whole.
    doi, year
        DOI and year to cite, where they are not those of the descriptor.

    Returns
    -------
    text
        A sentence without a full stop.
    """
    doi = _choose_doi(resource, label, doi)
    text = None if label else resource.citation
    if not text:
        people = ", ".join(person.name for person in resource.creators)
        year = year or find_publication_year(resource)
        people_and_year = year
        if people:
            people_and_year = f"{people} ({year})" if year else people
        title = _write_title(resource, label)
        text = ". ".join(part for part in (people_and_year, title, resource.publisher) if part)
    sentence = text.rstrip(".")
    if doi and doi not in text:
        sentence += f". https://doi.org/{bare_doi(doi) or doi}"
    return sentence


def _choose_doi(resource: CollectionSpec, label: str, doi: str | None) -> str | None:
    """Return the given DOI, else that of the collection; the DOI of a collection is not that of its release."""
    if doi or label:
        return doi
    return resource.doi


def _write_title(resource: CollectionSpec, label: str) -> str:
    title = resource.title or resource.name
    if label:
        return f"{title}, {label}"
    return title


def write_bibtex(
    resource: CollectionSpec, address: str, *, label: str = "", doi: str | None = None, year: str | None = None
) -> str:
    """Write how to cite a collection as a BibTeX entry.

    Parameters
    ----------
    resource
        Collection to cite.
    address
        Address of its page.
    label
        Label of a release; empty: the collection as a whole.
    doi, year
        DOI and year to cite, where they are not those of the descriptor.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    doi = _choose_doi(resource, label, doi)
    authors = [creator.name for creator in resource.creators]
    bibcode = resource.bibcode
    fields = {
        "title": f"{{{_escape_tex(_write_title(resource, label))}}}",
        "author": _write_authors(authors),
        "year": year or find_publication_year(resource),
        "publisher": _escape_tex(resource.publisher or ""),
        "version": _escape_tex(label),
        "doi": _strip_tex_characters(bare_doi(doi) or doi) if doi else None,
        "url": _strip_tex_characters(address),
        "adsurl": f"https://ui.adsabs.harvard.edu/abs/{quote(bibcode)}" if bibcode else None,
        "note": _escape_tex(resource.citation or ""),
    }
    entry_key = bibcode or resource.name
    if label:
        entry_key += f"-{label}"
    return _write_bibtex_entry(entry_key, fields)


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
    authors = [name for name in names if name != UNAVAILABLE_VALUE]
    title = datacite_record["titles"][0]["title"]
    fields = {
        "title": f"{{{_escape_tex(title)}}}",
        "author": _write_authors(authors),
        "year": datacite_record.get("publicationYear"),
        "publisher": _escape_tex(datacite_record["publisher"]["name"]),
        "version": _escape_tex(datacite_record.get("version") or ""),
        "doi": _strip_tex_characters(datacite_record.get("doi") or ""),
        "url": _strip_tex_characters(datacite_record.get("url") or ""),
    }
    return _write_bibtex_entry(entry_key, fields)


def _write_authors(names: Iterable[str]) -> str:
    return " and ".join(f"{{{_escape_tex(name)}}}" for name in names)


def _write_bibtex_entry(key: str, fields: Mapping[str, str | None]) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    valid_key = re.sub(r"[^A-Za-z0-9:._-]", "", key)
    return f"@misc{{{valid_key},\n{lines}\n}}"


def _escape_tex(text: str) -> str:
    words = " ".join(text.split())
    return "".join(_TEX_ESCAPES.get(character, character) for character in words)


def _strip_tex_characters(text: str) -> str:
    return re.sub(r"[{}\\\s]", "", text)


__all__ = [
    "CITATION_KINDS",
    "UNAVAILABLE_VALUE",
    "CitationMetadata",
    "build_datacite_record",
    "build_landing_page_url",
    "collect_citation_metadata",
    "find_licence_url",
    "find_publication_year",
    "list_missing_metadata",
    "write_bibtex",
    "write_bibtex_from_record",
    "write_citation_sentence",
    "write_datacite_xml",
]
