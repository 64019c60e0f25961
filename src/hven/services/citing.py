"""How a collection, or a release of it, is cited: as DataCite's metadata (4.6, JSON and XML), for BibTeX, and as a sentence; made from the descriptor and what is published."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.formats.votable import legal
from hven.model.errors import NotFound, say
from hven.model.resource import SPDX, orcid
from hven.model.resource import doi as bare_doi
from hven.services import _covered as covered
from hven.services.file_rows import Amount, noun_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.model.resource import Person, Resource
    from hven.services.face import Surroundings
    from hven.site import Catalogue, Holdings, Published

KERNEL = "http://datacite.org/schema/kernel-4"
SCHEMA = f"{KERNEL} https://schema.datacite.org/meta/kernel-4.6/metadata.xsd"
UAT = {"subjectScheme": "Unified Astronomy Thesaurus", "schemeUri": "https://astrothesaurus.org/"}
ORCID = {"nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
ROR = {"schemeUri": "https://ror.org"}
FORMATS = ("application/x-votable+xml", "text/csv", "application/fits", "application/vnd.apache.parquet")  # of rows
TBA = "(:tba)"
UNAVAILABLE = "(:unav)"  # as DataCite writes what it requires and nobody knows: its schema, appendix 3
DAY = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# kinds of citation -> media type, and what readers call it
KINDS = {
    "datacite.json": ("application/vnd.datacite.datacite+json", "DataCite JSON"),
    "datacite.xml": ("application/vnd.datacite.datacite+xml", "DataCite XML"),
    "bib": ("application/x-bibtex", "BibTeX"),
}
_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "_": r"\_", "$": r"\$", "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
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
    withdrawn, withdrawn_on
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
    items: Sequence[Published] = ()
    relations: Sequence[tuple[str, str]] = ()
    withdrawn: str = ""
    withdrawn_on: str = ""

    @property
    def title(self) -> str:
        """Its title, with the release."""
        title = self.resource.title or self.resource.name
        return f"{title}, {self.label}" if self.label else title

    @property
    def year(self) -> str | None:
        """The year in which it was published."""
        return self.issued[:4] if self.label and self.issued else year_of(self.resource) or self.issued[:4] or None

    @property
    def people(self) -> Sequence[Person]:
        """Who made it."""
        return self.resource.creators


def page_of(base: str, collection: str, label: str = "") -> str:
    """Return the address of the landing page of a collection or a release.

    Parameters
    ----------
    base
        Address of the site.
    collection, label
        Which.
    """
    return f"{base}/collections/{quote(collection, safe='')}" + (f"/releases/{quote(label, safe='')}" if label else "")


def cited(around: Surroundings, holdings: Holdings, catalogue: Catalogue, name: str, label: str = "", *, base: str = "") -> Cited:  # fmt: skip
    """Gather how something is cited.

    Parameters
    ----------
    around
        The site.
    holdings, catalogue
        What is published, and what the reader may know of.
    name, label
        The collection; and a release of it, without case, or empty.
    base
        Address of the site or portal.

    Returns
    -------
    cited
        With what the state knows of its DOI and of other releases.

    Raises
    ------
    NotFound
        There is no such collection or release for this reader.
    """
    settings, store = around.site.settings, around.site.store
    resource = holdings.resources.get(name)
    shown = {table.qualified for schema in catalogue.schemas for table in schema.tables}
    published = [item for item in holdings.published.values() if item.table.qualified in shown]
    items = [item for item in published if item.table.schema == name and item.release is None]
    if resource is None or not items:
        raise NotFound(say("there is no collection {name!r} here", name[:80]), remedy="the first page lists what is here")  # fmt: skip
    base = base or settings.url
    minted = store.citations.dois()
    released = {
        item.release.label: item.release for item in published if item.release is not None and item.release.collection == name
    }  # fmt: skip
    order = sorted(released.values(), key=lambda one: one.created)

    def other(label: str) -> str:
        return minted.get((name, label)) or page_of(base, name, label)

    own = bare_doi(resource.doi) or minted.get((name, ""))
    relations: list[tuple[str, str]] = []
    description, issued = resource.description, ""
    if label:
        release = next((one for one in order if one.label.lower() == label.lower()), None)
        if release is None:
            raise NotFound(say("{name} has no release {label!r}", name, label[:40]), remedy="the page of the collection lists them")  # fmt: skip
        label, issued = release.label, release.created
        description = "\n\n".join(one for one in (release.description, description) if one) or None
        items = [item for item in published if item.release is not None and (item.release.collection, item.release.label) == (name, label)]  # fmt: skip
        at = order.index(release)
        relations.append(("IsVersionOf", own or page_of(base, name)))
        if at:
            relations.append(("IsNewVersionOf", other(order[at - 1].label)))
        if at + 1 < len(order):
            relations.append(("IsPreviousVersionOf", other(order[at + 1].label)))
        own = minted.get((name, label))
    else:
        relations += [("HasVersion", other(one.label)) for one in order]
        history = store.history(name)
        issued = history[-1].at if history else ""
    kept = store.citations.find(name, label)
    gone = kept is not None and kept.state == "withdrawn"
    registered = resource.registration.id if resource.registration is not None else None
    said = settings.registry
    organisation = said.organisation or settings.title or settings.name
    return Cited(
        resource=resource, address=page_of(base, name, label), doi=own, label=label, description=description, issued=issued,
        updated=max((item.updated for item in items), default=""), items=items, relations=relations,
        publisher=resource.publisher or organisation,
        publisher_ror=resource.publisher_ror or (said.organisation_ror if resource.publisher in {None, organisation} else None),
        ivoid=registered or f"ivo://{settings.authority_of(name)}/{name}",
        withdrawn=(kept.reason or "") if kept is not None and gone else "", withdrawn_on=kept.changed[:10] if kept is not None and gone else "",
    )  # fmt: skip


def lacking(one: Cited) -> Iterator[tuple[str, str]]:
    """List what keeps a record from being registered, and what it should have.

    Parameters
    ----------
    one
        A collection or a release.

    Yields
    ------
    severity, message
        ``error``: DataCite refuses it.
    """
    if not one.people:
        yield "error", "it has no creators: add 'creators' to the descriptor"
    if one.year is None:
        yield "error", "it has no year of publication: add 'created: 2026-11-20' to the descriptor"
    if not one.resource.licence:
        yield "warning", "it has no licence: nobody knows what may be done with it"
    if not one.resource.description:
        yield "warning", "it has no description"
    if not one.resource.subjects:
        yield "warning", "it has no subjects"
    if without := [person.name for person in one.people if "," in person.name and not orcid(person.orcid)]:
        told = "; ".join(without[:5]) + ("; .." if len(without) > 5 else "")
        yield "warning", f"creators without an ORCID iD: {told}"


def datacite(one: Cited) -> dict[str, Any]:
    """Describe a collection or a release in DataCite's metadata schema, 4.6, as its REST interface takes it.

    Parameters
    ----------
    one
        Which.

    Returns
    -------
    attributes
        Without empty ones.
    """
    about = one.resource
    times = [span for item in one.items if item.table.everybodys and (span := covered.days(item)) is not None]
    counts = [
        f"{item.table.name}: {Amount(item.rows, noun_of_rows(item.table, item))}"
        for item in one.items
        if item.rows is not None and item.table.everybodys
    ]
    size = sum(item.bytes for item in one.items if item.table.everybodys)
    described = [(one.description, "Abstract"), (about.acknowledgement, "Other"), (one.withdrawn, "TechnicalInfo")]
    made: dict[str, Any] = {
        "doi": one.doi,
        "creators": [_named(person) for person in one.people] or [{"name": UNAVAILABLE}],
        "titles": [{"title": " ".join(one.title.split())}],
        "publisher": {"name": one.publisher, **({"publisherIdentifier": one.publisher_ror, "publisherIdentifierScheme": "ROR", **ROR} if one.publisher_ror else {})},
        "publicationYear": one.year,
        "types": {"resourceType": _kind(about), "resourceTypeGeneral": "Dataset"},
        "subjects": _subjects(about),
        "contributors": [
            *({**_named(person), "contributorType": person.role or "Other"} for person in about.contributors),
            *([{**_named(about.contact), "contributorType": "ContactPerson"}] if about.contact is not None else []),
        ],
        "dates": [
            *_dates(one),
            *([{"date": f"{min(begin for begin, _ in times)}/{max(end for _, end in times)}", "dateType": "Collected"}] if times and not about.simulated else []),
        ],
        "alternateIdentifiers": [{"alternateIdentifier": one.ivoid, "alternateIdentifierType": "IVOID"}] if not one.label else [],
        "relatedIdentifiers": _related(one),
        "sizes": [*counts, *([f"{size:,} bytes"] if size else [])],
        "formats": list(FORMATS) if counts else [],
        "version": one.label or (one.updated[:10] if one.updated else None),
        "rightsList": _rights(about),
        "descriptions": [{"description": text, "descriptionType": kind} for text, kind in described if text],
        "geoLocations": covered.on_earth([item for item in one.items if item.table.everybodys]),
        "fundingReferences": [
            {key: value for key, value in {
                "funderName": grant.funder, "funderIdentifier": grant.ror, "funderIdentifierType": "ROR" if grant.ror else None,
                "awardNumber": grant.award, "awardUri": grant.url, "awardTitle": grant.title,
            }.items() if value} for grant in about.funding
        ],
        "schemaVersion": KERNEL,
    }  # fmt: skip
    return {key: value for key, value in made.items() if value}


def _kind(about: Resource) -> str:
    return about.type[0] if about.type else "Catalog"


def _named(person: Person) -> dict[str, Any]:
    family, comma, given = person.name.partition(",")
    known = orcid(person.orcid)
    natural = bool(known) or bool(comma and given.strip())
    found: dict[str, Any] = {"name": person.name}
    if natural:
        found["nameType"] = "Personal"
        if comma and given.strip():
            found |= {"givenName": given.strip(), "familyName": family.strip()}
    if known:
        found["nameIdentifiers"] = [{"nameIdentifier": f"https://orcid.org/{known}", **ORCID}]
    where = {"affiliationIdentifier": person.ror, "affiliationIdentifierScheme": "ROR", **ROR} if person.ror else {}
    if person.affiliation:
        found["affiliation"] = [{"name": person.affiliation, **where}]
    elif person.ror:  # an institute itself
        found["nameIdentifiers"] = [{"nameIdentifier": person.ror, "nameIdentifierScheme": "ROR", **ROR}]
    return found


def _subjects(about: Resource) -> list[dict[str, str]]:
    words = dict.fromkeys(one.strip() for one in about.subjects if one.strip())
    more = [one for one in (*about.facility, *about.instrument, *about.waveband) if one not in words]
    return [*({"subject": one, **UAT} for one in words), *({"subject": one} for one in dict.fromkeys(more))]


def _dates(one: Cited) -> Iterator[dict[str, str]]:
    created = one.resource.created
    found = {"Created": created if created and DAY.fullmatch(created[:10]) else None, "Issued": one.issued, "Updated": one.updated if not one.label else None}  # fmt: skip
    for kind, text in found.items():
        if text:
            yield {"date": text[:10], "dateType": kind}
    if one.withdrawn:
        yield {"date": one.withdrawn_on or datetime.now(UTC).date().isoformat(), "dateType": "Withdrawn"}


def _related(one: Cited) -> list[dict[str, str]]:
    about = one.resource
    found = [{"relatedIdentifier": work.id, "relatedIdentifierType": work.scheme, "relationType": work.relation} for work in about.works]  # fmt: skip
    if about.bibcode:
        found.append({"relatedIdentifier": about.bibcode, "relatedIdentifierType": "bibcode", "relationType": "IsDocumentedBy"})  # fmt: skip
    if about.reference_url:
        found.append({"relatedIdentifier": about.reference_url, "relatedIdentifierType": "URL", "relationType": "IsDocumentedBy"})  # fmt: skip
    for relation, ident in one.relations:
        kind = "URL" if ident.startswith("http") else "DOI"
        found.append({"relatedIdentifier": ident, "relatedIdentifierType": kind, "relationType": relation})
    return [dict(pairs) for pairs in dict.fromkeys(tuple(each.items()) for each in found)]


def rights_url(about: Resource) -> str | None:
    """Return the address of a collection's licence.

    Parameters
    ----------
    about
        The collection; a licence of SPDX's list has one.
    """
    if about.licence_url or not about.licence:
        return about.licence_url
    return f"https://spdx.org/licenses/{about.licence}" if SPDX.fullmatch(about.licence) else None


def _rights(about: Resource) -> list[dict[str, str]]:
    if not (about.licence or about.licence_url):
        return []
    found = {"rights": about.licence or about.licence_url or ""}
    if url := rights_url(about):
        found["rightsUri"] = url
    if about.licence and SPDX.fullmatch(about.licence):
        found |= {"rightsIdentifier": about.licence, "rightsIdentifierScheme": "SPDX", "schemeUri": "https://spdx.org/licenses/"}  # fmt: skip
    return [found]


# --- XML ----------------------------------------------------------------------------------------------------------

# element of the list -> (element, the key with its text, attribute -> key), in the order in which DataCite's guide has them
_LISTS: dict[str, tuple[str, str | None, dict[str, str]]] = {
    "titles": ("title", "title", {}),
    "subjects": ("subject", "subject", {"subjectScheme": "subjectScheme", "schemeURI": "schemeUri"}),
    "dates": ("date", "date", {"dateType": "dateType"}),
    "alternateIdentifiers": ("alternateIdentifier", "alternateIdentifier", {"alternateIdentifierType": "alternateIdentifierType"}),
    "relatedIdentifiers": ("relatedIdentifier", "relatedIdentifier", {"relatedIdentifierType": "relatedIdentifierType", "relationType": "relationType"}),
    "sizes": ("size", None, {}),
    "formats": ("format", None, {}),
    "rightsList": ("rights", "rights", {"rightsURI": "rightsUri", "rightsIdentifier": "rightsIdentifier", "rightsIdentifierScheme": "rightsIdentifierScheme", "schemeURI": "schemeUri"}),
    "descriptions": ("description", "description", {"descriptionType": "descriptionType"}),
}  # fmt: skip


def datacite_xml(made: Mapping[str, Any]) -> str:
    """Write DataCite's metadata as XML, kernel 4.

    Parameters
    ----------
    made
        As `datacite` gives them; without a DOI the identifier is ``(:tba)``, to be assigned (DataCite 4.6, appendix 3).

    Returns
    -------
    xml
        A whole document.
    """
    publisher = made["publisher"]
    parts = [
        _e("identifier", made.get("doi", TBA), identifierType="DOI"),
        _people("creator", made.get("creators", ())),
        _listed("titles", made),
        _e("publisher", publisher["name"], publisherIdentifier=publisher.get("publisherIdentifier"), publisherIdentifierScheme=publisher.get("publisherIdentifierScheme"), schemeURI=publisher.get("schemeUri")),
        _e("publicationYear", made.get("publicationYear", "")),
        _e("resourceType", made["types"]["resourceType"], resourceTypeGeneral=made["types"]["resourceTypeGeneral"]),
        _listed("subjects", made),
        _people("contributor", made.get("contributors", ())),
        *(_listed(name, made) for name in ("dates", "alternateIdentifiers", "relatedIdentifiers", "sizes", "formats")),
        _e("version", made["version"]) if "version" in made else "",
        *(_listed(name, made) for name in ("rightsList", "descriptions")),
        _places(made.get("geoLocations", ())),
        _grants(made.get("fundingReferences", ())),
    ]  # fmt: skip
    return legal(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<resource xmlns="{KERNEL}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{SCHEMA}">'
        + "".join(parts)
        + "</resource>\n"
    )


def _e(name: str, text: str | None, *, inside: str = "", **attributes: str | None) -> str:
    said = "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items() if value)
    return f"<{name}{said}>{inside or _escaped(text or '')}</{name}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _listed(name: str, made: Mapping[str, Any]) -> str:
    element, key, attributes = _LISTS[name]
    found = made.get(name, ())
    if not found:
        return ""
    each = (
        _e(element, one if key is None else one[key], **{said: one.get(held) for said, held in attributes.items()} if key else {})
        for one in found
    )  # fmt: skip
    return _e(name, None, inside="".join(each))


def _people(what: str, found: Iterable[Mapping[str, Any]]) -> str:
    each = [
        _e(what, None, contributorType=one.get("contributorType"), inside="".join((
            _e(f"{what}Name", one["name"], nameType=one.get("nameType")),
            *(_e(name, one[name]) for name in ("givenName", "familyName") if name in one),
            *(_e("nameIdentifier", ident["nameIdentifier"], nameIdentifierScheme=ident["nameIdentifierScheme"], schemeURI=ident["schemeUri"]) for ident in one.get("nameIdentifiers", ())),
            *(_e("affiliation", where["name"], affiliationIdentifier=where.get("affiliationIdentifier"), affiliationIdentifierScheme=where.get("affiliationIdentifierScheme"), schemeURI=where.get("schemeUri")) for where in one.get("affiliation", ())),
        ))) for one in found
    ]  # fmt: skip
    return _e(f"{what}s", None, inside="".join(each)) if each else ""


def _places(found: Iterable[Mapping[str, Any]]) -> str:
    each = [
        _e("geoLocation", None, inside=_e("geoLocationBox", None, inside="".join(_e(name, str(one["geoLocationBox"][name])) for name in one["geoLocationBox"])))
        for one in found
    ]  # fmt: skip
    return _e("geoLocations", None, inside="".join(each)) if each else ""


def _grants(found: Iterable[Mapping[str, Any]]) -> str:
    each = [
        _e("fundingReference", None, inside="".join((
            _e("funderName", one["funderName"]),
            _e("funderIdentifier", one["funderIdentifier"], funderIdentifierType=one["funderIdentifierType"]) if "funderIdentifier" in one else "",
            _e("awardNumber", one.get("awardNumber"), awardURI=one.get("awardUri")) if "awardNumber" in one or "awardUri" in one else "",
            _e("awardTitle", one["awardTitle"]) if "awardTitle" in one else "",
        ))) for one in found
    ]  # fmt: skip
    return _e("fundingReferences", None, inside="".join(each)) if each else ""


# --- for people ---------------------------------------------------------------------------------------------------


def year_of(resource: Resource) -> str | None:
    """Return the year by which a collection is cited, from what its descriptor says.

    Parameters
    ----------
    resource
        The collection.
    """
    texts = (resource.created, resource.bibcode, resource.citation)
    return next((found[0] for text in texts if text and (found := re.search(r"(?:1[89]|20)\d\d", text))), None)


def sentence(resource: Resource, *, label: str = "", doi: str | None = None, year: str | None = None) -> str:
    """Write how to cite a collection as a sentence: as its descriptor says it, else creators, year, title, publisher; with its DOI.

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
    people = ", ".join(one.name for one in resource.creators)
    year = year or year_of(resource)
    title = resource.title or resource.name
    own = [
        f"{people}{f' ({year})' if year else ''}" if people else year,
        f"{title}, {label}" if label else title,
        resource.publisher,
    ]
    text = (resource.citation if not label else None) or ". ".join(one for one in own if one)
    doi = doi or (None if label else resource.doi)
    return text.rstrip(".") + (f". https://doi.org/{bare_doi(doi) or doi}" if doi and doi not in text else "")


def bibtex(
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
        "title": f"{{{_tex(f'{title}, {label}' if label else title)}}}",
        "author": " and ".join(f"{{{_tex(one.name)}}}" for one in resource.creators),
        "year": year or year_of(resource),
        "publisher": _tex(resource.publisher) if resource.publisher else None,
        "version": _tex(label) if label else None,
        "doi": _bare(bare_doi(doi) or doi) if doi else None,
        "url": _bare(address),
        "adsurl": f"https://ui.adsabs.harvard.edu/abs/{quote(resource.bibcode)}" if resource.bibcode else None,
        "note": _tex(resource.citation) if resource.citation else None,
    }  # fmt: skip
    return _write_entry(f"{resource.bibcode or resource.name}{f'-{label}' if label else ''}", fields)


def bibtex_of_record(made: Mapping[str, Any], key: str) -> str:
    """Write how to cite what is not here any more, from what DataCite was told of it.

    Parameters
    ----------
    made
        As of `datacite`, with the address of its page as `url`.
    key
        Of the entry.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    people = [one["name"] for one in made.get("creators", ()) if one["name"] != UNAVAILABLE]
    fields = {
        "title": f"{{{_tex(made['titles'][0]['title'])}}}",
        "author": " and ".join(f"{{{_tex(name)}}}" for name in people),
        "year": made.get("publicationYear"),
        "publisher": _tex(made["publisher"]["name"]),
        "version": _tex(made["version"]) if made.get("version") else None,
        "doi": _bare(made["doi"]) if made.get("doi") else None,
        "url": _bare(made.get("url") or ""),
    }
    return _write_entry(key, fields)


def _write_entry(key: str, fields: Mapping[str, str | None]) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@misc{{{re.sub(r'[^A-Za-z0-9:._-]', '', key)},\n{lines}\n}}"


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))


def _bare(text: str) -> str:
    return re.sub(r"[{}\\\s]", "", text)


__all__ = [
    "KINDS",
    "UNAVAILABLE",
    "Cited",
    "bibtex",
    "bibtex_of_record",
    "cited",
    "datacite",
    "datacite_xml",
    "lacking",
    "page_of",
    "rights_url",
    "sentence",
    "year_of",
]
