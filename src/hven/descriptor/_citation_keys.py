"""Keys by which a collection is cited and acknowledged: contributors, grants, works that belong to it.

And checks of the identifiers of people and institutes.
"""

from typing import Any, Literal

from hven.descriptor.value_schema import (
    DescriptorSection,
    FaultCollector,
    Local,
    LocatedKeyValues,
    Mirrored,
    Required,
    Text,
)
from hven.model import resource as resource_model
from hven.model.errors import suggest_spelling
from hven.model.resource import (
    FundingReference,
    RelatedIdentifier,
    parse_doi,
    parse_orcid,
    parse_ror,
    parse_work_identifier,
)

DATACITE_RELATIONS = (  # of DataCite 4.6
    "IsCitedBy",
    "Cites",
    "IsCollectedBy",
    "Collects",
    "IsSupplementTo",
    "IsSupplementedBy",
    "IsContinuedBy",
    "Continues",
    "IsDescribedBy",
    "Describes",
    "HasMetadata",
    "IsMetadataFor",
    "HasVersion",
    "IsVersionOf",
    "IsNewVersionOf",
    "IsPreviousVersionOf",
    "IsPartOf",
    "HasPart",
    "IsPublishedIn",
    "IsReferencedBy",
    "References",
    "IsDocumentedBy",
    "Documents",
    "IsCompiledBy",
    "Compiles",
    "IsVariantFormOf",
    "IsOriginalFormOf",
    "IsIdenticalTo",
    "IsReviewedBy",
    "Reviews",
    "IsDerivedFrom",
    "IsSourceOf",
    "IsRequiredBy",
    "Requires",
    "IsObsoletedBy",
    "Obsoletes",
    "HasTranslation",
    "IsTranslationOf",
)
Role = Literal[
    "ContactPerson",
    "DataCollector",
    "DataCurator",
    "DataManager",
    "Distributor",
    "Editor",
    "HostingInstitution",
    "Producer",
    "ProjectLeader",
    "ProjectManager",
    "ProjectMember",
    "RelatedPerson",
    "Researcher",
    "ResearchGroup",
    "RightsHolder",
    "Sponsor",
    "Supervisor",
    "Translator",
    "WorkPackageLeader",
    "Other",
]


class PersonSection(DescriptorSection, short="name"):
    """A person or an institute."""

    name: Mirrored[Required[Text]]
    "name as it is cited, for example Brahe, T."
    email: Local[Text]
    "email address for questions"
    orcid: Mirrored[Text]
    "ORCID of the person, for example 0000-0002-1825-0097"
    affiliation: Mirrored[Text]
    "institute"
    ror: Mirrored[Text]
    "identifier of the institute in the Research Organization Registry, for example https://ror.org/02feahw73"
    url: Mirrored[Text]
    "home page"


class ContributorSection(DescriptorSection, short="name", hints={"type": "role"}):
    """A person or an institute who helped but is not a creator."""

    name: Mirrored[Required[Text]]
    "name as it should appear, for example Brahe, S."
    role: Mirrored[Role]
    (
        "role of the person, as a DataCite term, for example DataCurator, ProjectMember or HostingInstitution. "
        "Default: Other"
    )
    orcid: Mirrored[Text]
    "ORCID of the person, for example 0000-0002-1825-0097"
    affiliation: Mirrored[Text]
    "institute"
    ror: Mirrored[Text]
    "identifier of the institute in the Research Organization Registry"


class FundingSection(DescriptorSection, short="funder", hints={"name": "funder", "number": "award"}, name="grant"):
    """A grant, and the organisation that awarded it."""

    funder: Mirrored[Required[Text]]
    "name of the organisation"
    ror: Mirrored[Text]
    "identifier of the organisation in the Research Organization Registry"
    award: Mirrored[Text]
    "number of the grant"
    title: Mirrored[Text]
    "title of the grant"
    url: Mirrored[Text]
    "address of a page about the grant"


class RelatedWorkSection(DescriptorSection, short="id", hints={"type": "relation", "doi": "id", "bibcode": "id"}):
    """A paper, a catalogue or a program that is related to the collection."""

    id: Mirrored[Required[Text]]
    "DOI, bibcode, arXiv number or address of the work"
    relation: Mirrored[Text]
    (
        "how the collection relates to the work, as a DataCite term, for example IsSupplementTo, IsDocumentedBy, "
        "IsDerivedFrom or Cites. Default: IsSupplementTo"
    )


def read_person(fields: LocatedKeyValues, key_path: str, faults: FaultCollector) -> resource_model.Person:
    """Read a person. An identifier that cannot be one is left out, so that nobody else is named.

    Parameters
    ----------
    fields
        Fields of the person.
    key_path
        Path of the section in the descriptor.
    faults
        Collects the warnings.
    """
    values: dict[str, Any] = {"name": "", **{key: str(value) for key, value in fields.items()}}
    name = values.pop("role", None)
    identifiers = _read_person_identifiers(fields, key_path, faults)
    return resource_model.Person(**{**values, **identifiers}, role=name)


def _read_person_identifiers(fields: LocatedKeyValues, key_path: str, faults: FaultCollector) -> dict[str, str | None]:
    identifiers = {}
    for key, parse_identifier, remedy in (
        (
            "orcid",
            parse_orcid,
            "write sixteen digits, such as 0000-0002-1825-0097 (the last digit is a checksum); look it up at orcid.org",
        ),
        (
            "ror",
            parse_ror,
            "write an ID such as https://ror.org/02feahw73 (the last two digits are a checksum); look it up at ror.org",
        ),
    ):
        if key in fields:
            identifiers[key] = parse_identifier(fields[key])
            if identifiers[key] is None:
                faults.add_warning(
                    f"{key_path}: {key} is left out, because {str(fields[key])!r:.60} is not valid",
                    fields.places[key],
                    remedy,
                )
    return identifiers


def read_citation_fields(fields: LocatedKeyValues, faults: FaultCollector) -> dict[str, Any]:
    """Read how a collection is cited.

    Parameters
    ----------
    fields
        Fields of the collection.
    faults
        Collects the faults.

    Returns
    -------
    values
        Values of `CollectionSpec`.
    """
    citation_values: dict[str, Any] = {
        "contributors": tuple(
            read_person(entry_fields, "contributors", faults) for entry_fields in fields.get("contributors", ())
        ),
        "funding": tuple(
            FundingReference(
                **{  # type: ignore[arg-type]
                    **{key: str(value) for key, value in entry_fields.items()},
                    **_read_person_identifiers(entry_fields, "funding", faults),
                }
            )
            for entry_fields in fields.get("funding", ())
            if "funder" in entry_fields
        ),
        "works": tuple(
            work
            for entry_fields in fields.get("related", ())
            if "id" in entry_fields and (work := _read_related_work(entry_fields, faults))
        ),
    }
    if "acknowledgement" in fields:
        citation_values["acknowledgement"] = " ".join(str(fields["acknowledgement"]).split())
    if "publisher_ror" in fields:
        citation_values["publisher_ror"] = parse_ror(fields["publisher_ror"])
        if citation_values["publisher_ror"] is None:
            faults.add_warning(
                f"publisher_ror is left out, because {str(fields['publisher_ror'])!r:.60} is not valid",
                fields.places["publisher_ror"],
                "write an ID such as https://ror.org/02feahw73; look it up at ror.org",
            )
    if "doi" in fields and parse_doi(fields["doi"]) is None:
        faults.add_warning(f"doi: {str(fields['doi'])!r:.60} is not a DOI", fields.places["doi"], "write 10.xxxx/..")
    return citation_values


def _read_related_work(work_fields: LocatedKeyValues, faults: FaultCollector) -> RelatedIdentifier | None:
    relation = str(work_fields.get("relation", "IsSupplementTo"))
    if relation not in DATACITE_RELATIONS:
        faults.add_error(
            f"related: {relation!r} is not a DataCite relation",
            work_fields.places["relation"],
            suggest_spelling(relation, DATACITE_RELATIONS)
            or "write IsSupplementTo, IsDocumentedBy or IsDerivedFrom, for example",
        )
        return None
    identifier = parse_work_identifier(work_fields["id"])
    if identifier is None:
        faults.add_error(
            f"related: {str(work_fields['id'])!r:.80} is not an identifier of a work",
            work_fields.places["id"],
            "write a DOI (10.xxxx/..), a bibcode (2019A&A...622A..60C), arXiv:1811.01234, or an address",
        )
        return None
    return RelatedIdentifier(relation=relation, scheme=identifier[0], id=identifier[1])
