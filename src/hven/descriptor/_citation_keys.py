"""Keys by which a collection is cited and acknowledged: contributors, grants, works that belong to it; and checks of the identifiers of people and institutes."""

from typing import Any, Literal

from hven.descriptor.value_schema import Faults, Fields, Keys, Needed, Text
from hven.model import resource as known
from hven.model.errors import nearest
from hven.model.resource import Funding, Work, doi, identified, orcid, ror

RELATIONS = (  # of DataCite 4.6
    "IsCitedBy", "Cites", "IsCollectedBy", "Collects", "IsSupplementTo", "IsSupplementedBy", "IsContinuedBy", "Continues", "IsDescribedBy", "Describes",
    "HasMetadata", "IsMetadataFor", "HasVersion", "IsVersionOf", "IsNewVersionOf", "IsPreviousVersionOf", "IsPartOf", "HasPart", "IsPublishedIn",
    "IsReferencedBy", "References", "IsDocumentedBy", "Documents", "IsCompiledBy", "Compiles", "IsVariantFormOf", "IsOriginalFormOf", "IsIdenticalTo",
    "IsReviewedBy", "Reviews", "IsDerivedFrom", "IsSourceOf", "IsRequiredBy", "Requires", "IsObsoletedBy", "Obsoletes", "HasTranslation", "IsTranslationOf",
)  # fmt: skip
Role = Literal[
    "ContactPerson", "DataCollector", "DataCurator", "DataManager", "Distributor", "Editor", "HostingInstitution", "Producer", "ProjectLeader",
    "ProjectManager", "ProjectMember", "RelatedPerson", "Researcher", "ResearchGroup", "RightsHolder", "Sponsor", "Supervisor", "Translator",
    "WorkPackageLeader", "Other",
]  # fmt: skip


class Person(Keys, short="name"):
    """A person or an institute."""

    name: Needed[Text]
    "as it should be cited: Brahe, T."
    email: Text
    "address for questions"
    orcid: Text
    "0000-0002-1825-0097"
    affiliation: Text
    "institute"
    ror: Text
    "identifier of the institute in the Research Organization Registry: https://ror.org/02feahw73"
    url: Text
    "home page"


class Contributor(Keys, short="name", hints={"type": "role"}):
    """A person or an institute that helped, and is no creator."""

    name: Needed[Text]
    "as it should be named: Brahe, S."
    role: Role
    "what they did, in DataCite's words: DataCurator, ProjectMember, HostingInstitution ...; default: Other"
    orcid: Text
    "0000-0002-1825-0097"
    affiliation: Text
    "institute"
    ror: Text
    "identifier of the institute in the Research Organization Registry"


class Grant(Keys, short="funder", hints={"name": "funder", "number": "award"}):
    """Who gave money."""

    funder: Needed[Text]
    "name of the organisation"
    ror: Text
    "its identifier in the Research Organization Registry"
    award: Text
    "number of the grant"
    title: Text
    "title of the grant"
    url: Text
    "page of the grant"


class RelatedWork(Keys, short="id", hints={"type": "relation", "doi": "id", "bibcode": "id"}):
    """A paper, a catalogue, a program that belongs to the collection."""

    id: Needed[Text]
    "its DOI, bibcode, arXiv number or address"
    relation: Text
    "what the collection is to it, in DataCite's words: IsSupplementTo, IsDocumentedBy, IsDerivedFrom, Cites ...; default: IsSupplementTo"


def person(fields: Fields, what: str, faults: Faults) -> known.Person:
    """Read a person. An identifier that cannot be one is left out, so that nobody else is named.

    Parameters
    ----------
    fields
        Of the person.
    what
        Where that stands.
    faults
        Where warnings go.
    """
    said: dict[str, Any] = {"name": "", **{key: str(value) for key, value in fields.items()}}
    name = said.pop("role", None)
    return known.Person(**{**said, **_identifiers(fields, what, faults)}, role=name)


def _identifiers(fields: Fields, what: str, faults: Faults) -> dict[str, str | None]:
    found = {}
    for key, read, remedy in (
        ("orcid", orcid, "sixteen digits, of which the last one is a checksum: 0000-0002-1825-0097; look it up at orcid.org"),
        ("ror", ror, "as https://ror.org/02feahw73, its last two digits a checksum; look it up at ror.org"),
    ):  # fmt: skip
        if key in fields:
            found[key] = read(fields[key])
            if found[key] is None:
                faults.warning(f"{what}: {key} is left out, for {str(fields[key])!r:.60} is none", fields.places[key], remedy)  # fmt: skip
    return found


def cited(fields: Fields, faults: Faults) -> dict[str, Any]:
    """Read how a collection is cited.

    Parameters
    ----------
    fields
        Of the collection.
    faults
        Where what is wrong goes.

    Returns
    -------
    values
        Of `Resource`.
    """
    found: dict[str, Any] = {
        "contributors": tuple(person(one, "contributors", faults) for one in fields.get("contributors", ())),
        "funding": tuple(
            Funding(**{**{key: str(value) for key, value in one.items()}, **_identifiers(one, "funding", faults)})  # type: ignore[arg-type]
            for one in fields.get("funding", ()) if "funder" in one
        ),
        "works": tuple(work for one in fields.get("related", ()) if "id" in one and (work := _work(one, faults))),
    }  # fmt: skip
    if "acknowledgement" in fields:
        found["acknowledgement"] = " ".join(str(fields["acknowledgement"]).split())
    if "publisher_ror" in fields:
        found["publisher_ror"] = ror(fields["publisher_ror"])
        if found["publisher_ror"] is None:
            faults.warning(f"publisher_ror is left out, for {str(fields['publisher_ror'])!r:.60} is none", fields.places["publisher_ror"], "as https://ror.org/02feahw73; look it up at ror.org")  # fmt: skip
    if "doi" in fields and doi(fields["doi"]) is None:
        faults.warning(f"doi: {str(fields['doi'])!r:.60} is no DOI", fields.places["doi"], "write 10.xxxx/..")
    return found


def _work(one: Fields, faults: Faults) -> Work | None:
    relation = str(one.get("relation", "IsSupplementTo"))
    if relation not in RELATIONS:
        faults.error(f"related: {relation!r} is no relation of DataCite", one.places["relation"], nearest(relation, RELATIONS) or "such as IsSupplementTo, IsDocumentedBy, IsDerivedFrom")  # fmt: skip
        return None
    found = identified(one["id"])
    if found is None:
        faults.error(f"related: {str(one['id'])!r:.80} is no identifier of a work", one.places["id"], "a DOI (10.xxxx/..), a bibcode (2019A&A...622A..60C), arXiv:1811.01234, or an address")  # fmt: skip
        return None
    return Work(relation=relation, scheme=found[0], id=found[1])


__all__ = ["RELATIONS", "Contributor", "Grant", "Person", "RelatedWork", "cited", "person"]
