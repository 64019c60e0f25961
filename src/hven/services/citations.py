"""How a collection, or a release of it, is cited.

As DataCite's metadata (4.6, JSON and XML), for BibTeX, and as a sentence; made from the descriptor and what is
published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.formats.votable import replace_illegal_characters
from hven.model.errors import NotFoundError, format_message
from hven.model.resource import SPDX_LICENCE_PATTERN, parse_orcid
from hven.model.resource import parse_doi as bare_doi
from hven.services import _coverage as coverage
from hven.services.file_rows import Amount, choose_row_noun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.model.resource import Person, Resource
    from hven.services.face import ServiceContext
    from hven.site import Catalogue, PublishedState, PublishedTable

DATACITE_NAMESPACE = "http://datacite.org/schema/kernel-4"
DATACITE_SCHEMA_LOCATION = f"{DATACITE_NAMESPACE} https://schema.datacite.org/meta/kernel-4.6/metadata.xsd"
UAT_SUBJECT_SCHEME = {"subjectScheme": "Unified Astronomy Thesaurus", "schemeUri": "https://astrothesaurus.org/"}
ORCID_SCHEME = {"nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
ROR_SCHEME = {"schemeUri": "https://ror.org"}
ROW_MEDIA_TYPES = (
    "application/x-votable+xml",
    "text/csv",
    "application/fits",
    "application/vnd.apache.parquet",
)  # of rows
TO_BE_ASSIGNED = "(:tba)"
UNAVAILABLE_VALUE = "(:unav)"  # as DataCite writes what it requires and nobody knows: its schema, appendix 3
DATE_PATTERN = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# kinds of citation -> media type, and what readers call it
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
    """A collection, or a release of it, as it is cited.

    Attributes
    ----------
    resource
        As its descriptor says it.
    address
        Of its landing page.
    doi
        Its own; None: it has none.
    label
        Of the release; empty: the collection as a whole.
    description
        For people, that of the release first.
    issued
        When it was published first, ISO; empty: that is not known.
    updated
        When it was changed last.
    items
        Its tables, as everybody sees them.
    publisher, publisher_ror
        Who publishes.
    ivoid
        Its identifier in the Virtual Observatory.
    relations
        DataCite's relation, DOI or address of other states of the same.
    withdrawal_reason, withdrawal_date
        What is said of why it is not here any more, and since which day.
    """

    resource: Resource
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
        """Its title, with the release."""
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
        """Who made it."""
        return self.resource.creators


def build_landing_page_url(base_url: str, collection: str, label: str = "") -> str:
    """Return the address of the landing page of a collection or a release.

    Parameters
    ----------
    base_url
        Address of the site.
    collection, label
        Which.
    """
    return f"{base_url}/collections/{quote(collection, safe='')}" + (
        f"/releases/{quote(label, safe='')}" if label else ""
    )


def collect_citation_metadata(
    context: ServiceContext,
    published_state: PublishedState,
    catalogue: Catalogue,
    name: str,
    label: str = "",
    *,
    base_url: str = "",
) -> CitationMetadata:
    """Gather how something is cited.

    Parameters
    ----------
    context
        The site.
    published_state, catalogue
        What is published, and what the reader may know of.
    name, label
        The collection; and a release of it, without case, or empty.
    base_url
        Address of the site or portal.

    Returns
    -------
    cited
        With what the state knows of its DOI and of other releases.

    Raises
    ------
    NotFoundError
        There is no such collection or release for this reader.
    """
    settings = context.site.settings
    store = context.site.store
    resource = published_state.resources.get(name)
    known_tables = {table.qualified_name for schema in catalogue.schemas for table in schema.tables}
    published = [item for item in published_state.tables_by_name.values() if item.table.qualified_name in known_tables]
    items = [item for item in published if item.table.schema == name and item.release is None]
    if resource is None or not items:
        raise NotFoundError(
            format_message("there is no collection {name!r} here", name[:80]),
            remedy="the first page lists what is here",
        )
    base_url = base_url or settings.site_url
    minted = store.citations.map_dois()
    released = {
        item.release.label: item.release
        for item in published
        if item.release is not None and item.release.collection == name
    }
    order = sorted(released.values(), key=lambda entry: entry.created)

    def find_release_identifier(label: str) -> str:
        return minted.get((name, label)) or build_landing_page_url(base_url, name, label)

    own_doi = bare_doi(resource.doi) or minted.get((name, ""))
    relations: list[tuple[str, str]] = []
    description = resource.description
    issued = ""
    if label:
        release = next((entry for entry in order if entry.label.lower() == label.lower()), None)
        if release is None:
            raise NotFoundError(
                format_message("{name} has no release {label!r}", name, label[:40]),
                remedy="the page of the collection lists them",
            )
        label = release.label
        issued = release.created
        description = "\n\n".join(entry for entry in (release.description, description) if entry) or None
        items = [
            item
            for item in published
            if item.release is not None and (item.release.collection, item.release.label) == (name, label)
        ]
        at = order.index(release)
        relations.append(("IsVersionOf", own_doi or build_landing_page_url(base_url, name)))
        if at:
            relations.append(("IsNewVersionOf", find_release_identifier(order[at - 1].label)))
        if at + 1 < len(order):
            relations.append(("IsPreviousVersionOf", find_release_identifier(order[at + 1].label)))
        own_doi = minted.get((name, label))
    else:
        relations += [("HasVersion", find_release_identifier(entry.label)) for entry in order]
        history = store.list_events(name)
        if history:
            issued = history[-1].at
        else:
            issued = ""
    citation = store.citations.find_citation(name, label)
    is_withdrawn = citation is not None and citation.state == "withdrawn"
    if resource.registration is not None:
        registered = resource.registration.id
    else:
        registered = None
    registry_settings = settings.registry
    organisation = registry_settings.organisation or settings.title or settings.name
    address = build_landing_page_url(base_url, name, label)
    updated = max((item.updated for item in items), default="")
    return CitationMetadata(
        resource=resource,
        address=address,
        doi=own_doi,
        label=label,
        description=description,
        issued=issued,
        updated=updated,
        items=items,
        relations=relations,
        publisher=resource.publisher or organisation,
        publisher_ror=resource.publisher_ror
        or (registry_settings.organisation_ror if resource.publisher in {None, organisation} else None),
        ivoid=registered or f"ivo://{settings.find_authority(name)}/{name}",
        withdrawal_reason=(citation.reason or "") if citation is not None and is_withdrawn else "",
        withdrawal_date=citation.changed[:10] if citation is not None and is_withdrawn else "",
    )


def list_missing_metadata(citation_metadata: CitationMetadata) -> Iterator[tuple[str, str]]:
    """List what keeps a record from being registered, and what it should have.

    Parameters
    ----------
    citation_metadata
        A collection or a release.

    Yields
    ------
    severity, message
        ``error``: DataCite refuses it.
    """
    if not citation_metadata.creators:
        yield "error", "it has no creators: add 'creators' to the descriptor"
    if citation_metadata.year is None:
        yield "error", "it has no year of publication: add 'created: 2026-11-20' to the descriptor"
    if not citation_metadata.resource.licence:
        yield "warning", "it has no licence: nobody knows what may be done with it"
    if not citation_metadata.resource.description:
        yield "warning", "it has no description"
    if not citation_metadata.resource.subjects:
        yield "warning", "it has no subjects"
    without = [
        person.name for person in citation_metadata.creators if "," in person.name and not parse_orcid(person.orcid)
    ]
    if without:
        creator_names = "; ".join(without[:5]) + ("; .." if len(without) > 5 else "")
        yield "warning", f"creators without an ORCID iD: {creator_names}"


def build_datacite_record(citation_metadata: CitationMetadata) -> dict[str, Any]:
    """Describe a collection or a release in DataCite's metadata schema, 4.6, as its REST interface takes it.

    Parameters
    ----------
    citation_metadata
        Which.

    Returns
    -------
    attributes
        Without empty ones.
    """
    about = citation_metadata.resource
    times = [
        span
        for item in citation_metadata.items
        if item.table.is_fully_public and (span := coverage.find_date_span(item)) is not None
    ]
    counts = [
        f"{item.table.name}: {Amount(item.rows, choose_row_noun(item.table, item))}"
        for item in citation_metadata.items
        if item.rows is not None and item.table.is_fully_public
    ]
    size = sum(item.byte_count for item in citation_metadata.items if item.table.is_fully_public)
    described = [
        (citation_metadata.description, "Abstract"),
        (about.acknowledgement, "Other"),
        (citation_metadata.withdrawal_reason, "TechnicalInfo"),
    ]
    attributes: dict[str, Any] = {
        "doi": citation_metadata.doi,
        "creators": [_describe_person(person) for person in citation_metadata.creators]
        or [{"name": UNAVAILABLE_VALUE}],
        "titles": [{"title": " ".join(citation_metadata.title.split())}],
        "publisher": {
            "name": citation_metadata.publisher,
            **(
                {
                    "publisherIdentifier": citation_metadata.publisher_ror,
                    "publisherIdentifierScheme": "ROR",
                    **ROR_SCHEME,
                }
                if citation_metadata.publisher_ror
                else {}
            ),
        },
        "publicationYear": citation_metadata.year,
        "types": {"resourceType": _get_resource_type(about), "resourceTypeGeneral": "Dataset"},
        "subjects": _list_subjects(about),
        "contributors": [
            *({**_describe_person(person), "contributorType": person.role or "Other"} for person in about.contributors),
            *(
                [{**_describe_person(about.contact), "contributorType": "ContactPerson"}]
                if about.contact is not None
                else []
            ),
        ],
        "dates": [
            *_list_dates(citation_metadata),
            *(
                [
                    {
                        "date": f"{min(begin for begin, _ in times)}/{max(end for _, end in times)}",
                        "dateType": "Collected",
                    }
                ]
                if times and not about.is_simulated
                else []
            ),
        ],
        "alternateIdentifiers": [{"alternateIdentifier": citation_metadata.ivoid, "alternateIdentifierType": "IVOID"}]
        if not citation_metadata.label
        else [],
        "relatedIdentifiers": _list_related_identifiers(citation_metadata),
        "sizes": [*counts, *([f"{size:,} bytes"] if size else [])],
        "formats": list(ROW_MEDIA_TYPES) if counts else [],
        "version": citation_metadata.label or (citation_metadata.updated[:10] if citation_metadata.updated else None),
        "rightsList": _list_rights(about),
        "descriptions": [{"description": text, "descriptionType": kind} for text, kind in described if text],
        "geoLocations": coverage.list_earth_boxes(
            [item for item in citation_metadata.items if item.table.is_fully_public]
        ),
        "fundingReferences": [
            {
                key: value
                for key, value in {
                    "funderName": grant.funder,
                    "funderIdentifier": grant.ror,
                    "funderIdentifierType": "ROR" if grant.ror else None,
                    "awardNumber": grant.award,
                    "awardUri": grant.url,
                    "awardTitle": grant.title,
                }.items()
                if value
            }
            for grant in about.funding
        ],
        "schemaVersion": DATACITE_NAMESPACE,
    }
    return {key: value for key, value in attributes.items() if value}


def _get_resource_type(resource: Resource) -> str:
    if resource.type:
        return resource.type[0]
    return "Catalog"


def _describe_person(person: Person) -> dict[str, Any]:
    family, comma, given_name = person.name.partition(",")
    orcid_id = parse_orcid(person.orcid)
    natural = bool(orcid_id) or bool(comma and given_name.strip())
    description: dict[str, Any] = {"name": person.name}
    if natural:
        description["nameType"] = "Personal"
        if comma and given_name.strip():
            description |= {"givenName": given_name.strip(), "familyName": family.strip()}
    if orcid_id:
        description["nameIdentifiers"] = [{"nameIdentifier": f"https://orcid.org/{orcid_id}", **ORCID_SCHEME}]
    if person.ror:
        where = {"affiliationIdentifier": person.ror, "affiliationIdentifierScheme": "ROR", **ROR_SCHEME}
    else:
        where = {}
    if person.affiliation:
        description["affiliation"] = [{"name": person.affiliation, **where}]
    elif person.ror:  # an institute itself
        description["nameIdentifiers"] = [{"nameIdentifier": person.ror, "nameIdentifierScheme": "ROR", **ROR_SCHEME}]
    return description


def _list_subjects(resource: Resource) -> list[dict[str, str]]:
    words = dict.fromkeys(item.strip() for item in resource.subjects if item.strip())
    keywords = [item for item in (*resource.facility, *resource.instrument, *resource.waveband) if item not in words]
    return [
        *({"subject": item, **UAT_SUBJECT_SCHEME} for item in words),
        *({"subject": item} for item in dict.fromkeys(keywords)),
    ]


def _list_dates(citation_metadata: CitationMetadata) -> Iterator[dict[str, str]]:
    created = citation_metadata.resource.created
    dates_by_type = {
        "Created": created if created and DATE_PATTERN.fullmatch(created[:10]) else None,
        "Issued": citation_metadata.issued,
        "Updated": citation_metadata.updated if not citation_metadata.label else None,
    }
    for kind, text in dates_by_type.items():
        if text:
            yield {"date": text[:10], "dateType": kind}
    if citation_metadata.withdrawal_reason:
        yield {
            "date": citation_metadata.withdrawal_date or datetime.now(UTC).date().isoformat(),
            "dateType": "Withdrawn",
        }


def _list_related_identifiers(citation_metadata: CitationMetadata) -> list[dict[str, str]]:
    about = citation_metadata.resource
    identifiers = [
        {"relatedIdentifier": work.id, "relatedIdentifierType": work.scheme, "relationType": work.relation}
        for work in about.works
    ]
    if about.bibcode:
        identifiers.append(
            {"relatedIdentifier": about.bibcode, "relatedIdentifierType": "bibcode", "relationType": "IsDocumentedBy"}
        )
    if about.reference_url:
        identifiers.append(
            {"relatedIdentifier": about.reference_url, "relatedIdentifierType": "URL", "relationType": "IsDocumentedBy"}
        )
    for relation, ident in citation_metadata.relations:
        if ident.startswith("http"):
            kind = "URL"
        else:
            kind = "DOI"
        identifiers.append({"relatedIdentifier": ident, "relatedIdentifierType": kind, "relationType": relation})
    return [dict(pairs) for pairs in dict.fromkeys(tuple(each.items()) for each in identifiers)]


def find_licence_url(resource: Resource) -> str | None:
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


def _list_rights(resource: Resource) -> list[dict[str, str]]:
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

# element of the list -> (element, the key with its text, attribute -> key), in the order in which DataCite's guide has
# them
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
        As `build_datacite_record` gives them; without a DOI the identifier is ``(:tba)``, to be assigned (DataCite 4.6,
        appendix 3).

    Returns
    -------
    xml
        A whole document.
    """
    publisher = datacite_record["publisher"]
    parts = [
        _write_element("identifier", datacite_record.get("doi", TO_BE_ASSIGNED), identifierType="DOI"),
        _write_people("creator", datacite_record.get("creators", ())),
        _write_list("titles", datacite_record),
        _write_element(
            "publisher",
            publisher["name"],
            publisherIdentifier=publisher.get("publisherIdentifier"),
            publisherIdentifierScheme=publisher.get("publisherIdentifierScheme"),
            schemeURI=publisher.get("schemeUri"),
        ),
        _write_element("publicationYear", datacite_record.get("publicationYear", "")),
        _write_element(
            "resourceType",
            datacite_record["types"]["resourceType"],
            resourceTypeGeneral=datacite_record["types"]["resourceTypeGeneral"],
        ),
        _write_list("subjects", datacite_record),
        _write_people("contributor", datacite_record.get("contributors", ())),
        *(
            _write_list(name, datacite_record)
            for name in ("dates", "alternateIdentifiers", "relatedIdentifiers", "sizes", "formats")
        ),
        _write_element("version", datacite_record["version"]) if "version" in datacite_record else "",
        *(_write_list(name, datacite_record) for name in ("rightsList", "descriptions")),
        _write_geo_locations(datacite_record.get("geoLocations", ())),
        _write_funding(datacite_record.get("fundingReferences", ())),
    ]
    return replace_illegal_characters(
        (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<resource xmlns="{DATACITE_NAMESPACE}" '
            f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'xsi:schemaLocation="{DATACITE_SCHEMA_LOCATION}">'
        )
        + "".join(parts)
        + "</resource>\n"
    )


def _write_element(name: str, text: str | None, *, content_xml: str = "", **attributes: str | None) -> str:
    attribute_text = "".join(f' {key}="{_escape_xml(value)}"' for key, value in attributes.items() if value)
    return f"<{name}{attribute_text}>{content_xml or _escape_xml(text or '')}</{name}>"


def _escape_xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _write_list(name: str, datacite_record: Mapping[str, Any]) -> str:
    element, key, attributes = _XML_LISTS[name]
    entries = datacite_record.get(name, ())
    if not entries:
        return ""
    each = (
        _write_element(
            element,
            entry if key is None else entry[key],
            **{attribute_name: entry.get(entry_key) for attribute_name, entry_key in attributes.items()} if key else {},
        )
        for entry in entries
    )
    return _write_element(name, None, content_xml="".join(each))


def _write_people(element_name: str, people: Iterable[Mapping[str, Any]]) -> str:
    each = [
        _write_element(
            element_name,
            None,
            contributorType=person.get("contributorType"),
            content_xml="".join(
                (
                    _write_element(f"{element_name}Name", person["name"], nameType=person.get("nameType")),
                    *(_write_element(name, person[name]) for name in ("givenName", "familyName") if name in person),
                    *(
                        _write_element(
                            "nameIdentifier",
                            ident["nameIdentifier"],
                            nameIdentifierScheme=ident["nameIdentifierScheme"],
                            schemeURI=ident["schemeUri"],
                        )
                        for ident in person.get("nameIdentifiers", ())
                    ),
                    *(
                        _write_element(
                            "affiliation",
                            where["name"],
                            affiliationIdentifier=where.get("affiliationIdentifier"),
                            affiliationIdentifierScheme=where.get("affiliationIdentifierScheme"),
                            schemeURI=where.get("schemeUri"),
                        )
                        for where in person.get("affiliation", ())
                    ),
                )
            ),
        )
        for person in people
    ]
    if each:
        content_xml = "".join(each)
        return _write_element(f"{element_name}s", None, content_xml=content_xml)
    return ""


def _write_geo_locations(locations: Iterable[Mapping[str, Any]]) -> str:
    each = [
        _write_element(
            "geoLocation",
            None,
            content_xml=_write_element(
                "geoLocationBox",
                None,
                content_xml="".join(
                    _write_element(name, str(location["geoLocationBox"][name])) for name in location["geoLocationBox"]
                ),
            ),
        )
        for location in locations
    ]
    if each:
        return _write_element("geoLocations", None, content_xml="".join(each))
    return ""


def _write_funding(grants: Iterable[Mapping[str, Any]]) -> str:
    each = [
        _write_element(
            "fundingReference",
            None,
            content_xml="".join(
                (
                    _write_element("funderName", grant["funderName"]),
                    _write_element(
                        "funderIdentifier",
                        grant["funderIdentifier"],
                        funderIdentifierType=grant["funderIdentifierType"],
                    )
                    if "funderIdentifier" in grant
                    else "",
                    _write_element("awardNumber", grant.get("awardNumber"), awardURI=grant.get("awardUri"))
                    if "awardNumber" in grant or "awardUri" in grant
                    else "",
                    _write_element("awardTitle", grant["awardTitle"]) if "awardTitle" in grant else "",
                )
            ),
        )
        for grant in grants
    ]
    if each:
        return _write_element("fundingReferences", None, content_xml="".join(each))
    return ""


# --- for people ---------------------------------------------------------------------------------------------------


def find_publication_year(resource: Resource) -> str | None:
    """Return the year by which a collection is cited, from what its descriptor says.

    Parameters
    ----------
    resource
        The collection.
    """
    texts = (resource.created, resource.bibcode, resource.citation)
    return next(
        (year_match[0] for text in texts if text and (year_match := re.search(r"(?:1[89]|20)\d\d", text))), None
    )


def write_citation_sentence(
    resource: Resource, *, label: str = "", doi: str | None = None, year: str | None = None
) -> str:
    """Write how to cite a collection as a sentence: as its descriptor says it, else creators, year, title, publisher.

    With its DOI.

    Parameters
    ----------
    resource
        The collection.
    label
        Of a release.
    doi, year
        Where they are not those of the descriptor.

    Returns
    -------
    text
        Without a full stop.
    """
    people = ", ".join(item.name for item in resource.creators)
    year = year or find_publication_year(resource)
    title = resource.title or resource.name
    sentence_parts = [
        f"{people}{f' ({year})' if year else ''}" if people else year,
        f"{title}, {label}" if label else title,
        resource.publisher,
    ]
    text = (resource.citation if not label else None) or ". ".join(item for item in sentence_parts if item)
    doi = doi or (None if label else resource.doi)
    return text.rstrip(".") + (f". https://doi.org/{bare_doi(doi) or doi}" if doi and doi not in text else "")


def write_bibtex(
    resource: Resource, address: str, *, label: str = "", doi: str | None = None, year: str | None = None
) -> str:
    """Write how to cite a collection as an entry of BibTeX, from what its descriptor says.

    Parameters
    ----------
    resource
        The collection.
    address
        Of its page.
    label
        Of a release.
    doi, year
        Where they are not those of the descriptor.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    doi = doi or (None if label else resource.doi)
    title = resource.title or resource.name
    fields = {
        "title": f"{{{_escape_tex(f'{title}, {label}' if label else title)}}}",
        "author": " and ".join(f"{{{_escape_tex(creator.name)}}}" for creator in resource.creators),
        "year": year or find_publication_year(resource),
        "publisher": _escape_tex(resource.publisher) if resource.publisher else None,
        "version": _escape_tex(label) if label else None,
        "doi": _strip_tex_characters(bare_doi(doi) or doi) if doi else None,
        "url": _strip_tex_characters(address),
        "adsurl": f"https://ui.adsabs.harvard.edu/abs/{quote(resource.bibcode)}" if resource.bibcode else None,
        "note": _escape_tex(resource.citation) if resource.citation else None,
    }
    return _write_entry(f"{resource.bibcode or resource.name}{f'-{label}' if label else ''}", fields)


def write_bibtex_from_record(datacite_record: Mapping[str, Any], entry_key: str) -> str:
    """Write how to cite what is not here any more, from what DataCite was told of it.

    Parameters
    ----------
    datacite_record
        As of `build_datacite_record`, with the address of its page as `url`.
    entry_key
        Of the entry.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    people = [
        creator["name"] for creator in datacite_record.get("creators", ()) if creator["name"] != UNAVAILABLE_VALUE
    ]
    fields = {
        "title": f"{{{_escape_tex(datacite_record['titles'][0]['title'])}}}",
        "author": " and ".join(f"{{{_escape_tex(name)}}}" for name in people),
        "year": datacite_record.get("publicationYear"),
        "publisher": _escape_tex(datacite_record["publisher"]["name"]),
        "version": _escape_tex(datacite_record["version"]) if datacite_record.get("version") else None,
        "doi": _strip_tex_characters(datacite_record["doi"]) if datacite_record.get("doi") else None,
        "url": _strip_tex_characters(datacite_record.get("url") or ""),
    }
    return _write_entry(entry_key, fields)


def _write_entry(key: str, fields: Mapping[str, str | None]) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@misc{{{re.sub(r'[^A-Za-z0-9:._-]', '', key)},\n{lines}\n}}"


def _escape_tex(text: str) -> str:
    return "".join(_TEX_ESCAPES.get(sign, sign) for sign in " ".join(text.split()))


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
