"""Keys of the records in registries: identifiers that a centre keeps, other addresses, relations.

And what records need that a descriptor lacks.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from hven.descriptor.value_schema import FaultCollector, KeyModel, KeyValues, OneOrMore, Required, Text
from hven.descriptor.written_yaml import WrittenScalar
from hven.model import plugins
from hven.model.errors import Fault, Place, suggest_spelling
from hven.model.resource import Registration, RelatedResource, Resource, ServiceRegistration, TableSpec
from hven.model.settings import Settings

PATH_CHARACTERS = r"[A-Za-z0-9.\-_!~*'()+=]"
IVOID_PATH_PATTERN = re.compile(
    rf"{PATH_CHARACTERS}+(/{PATH_CHARACTERS}+)*"
)  # what may stand behind the authority (VOResource 1.1, section 2.2.1)
URL_PATTERN = re.compile(r"https?://[^\s/?#]+[^\s]*")
VORESOURCE_RELATIONS = (  # of VOResource's vocabulary
    "Cites",
    "IsSupplementTo",
    "IsSupplementedBy",
    "IsContinuedBy",
    "Continues",
    "IsNewVersionOf",
    "IsPreviousVersionOf",
    "IsPartOf",
    "HasPart",
    "IsSourceOf",
    "IsDerivedFrom",
    "IsIdenticalTo",
    "IsServiceFor",
    "IsServedBy",
)
OLD_RELATION_NAMES = {
    "mirror-of": "IsIdenticalTo",
    "service-for": "IsServiceFor",
    "served-by": "IsServedBy",
    "derived-from": "IsDerivedFrom",
}
SITE_RECORD_NAMES = (
    "registry",
    "organisation",
    "tap",
    "soda",
    "hapi",
    "das2",
    "hips",
)  # records that are of no collection
VALUE_PATTERNS = {  # key -> how it must look to stand in a record
    "doi": r"(https?://(dx\.)?doi\.org/|doi:)?10\.\d{4,9}/\S+",
    "reference_url": r"https?://[a-z0-9._~-]+(:\d{1,5})?([/?#]\S*)?",
    "licence_url": r"https?://[a-z0-9._~-]+(:\d{1,5})?([/?#]\S*)?",
}
MISSING_KEY_REASONS = {  # key -> what its lack means
    "description": "nobody learns what it is",
    "subjects": "nobody finds it by its subject",
    "creators": "nobody is named who made it",
    "licence": "nobody knows what may be done with it",
}


class RegistryServiceKeys(
    KeyModel, short="id", hints={"ivoid": "id", "identifier": "id", "mirror": "mirrors", "query": "test"}
):
    """What is said of the record of one service."""

    id: Text
    "its identifier, such as it had before: ivo://example.org/stars/q/scs, or what stands behind the authority"
    mirrors: OneOrMore[Text]
    "further addresses at which it answers: mirrors, and old ones that still do"
    test: Text
    (
        "parameters that find rows, for those who try whether it is well: RA=83.6&DEC=22&SR=0.1; default: a place "
        "that has some"
    )


class RegistryRelationKeys(KeyModel, hints={"kind": "type", "relation": "type", "ivoid": "id", "name": "title"}):
    """Another resource of the Virtual Observatory."""

    type: Required[Text]
    "IsDerivedFrom, IsSupplementTo, Cites, IsNewVersionOf .. (VOResource's vocabulary)"
    title: Text
    "of the other; default: its id"
    id: Text
    "its identifier: ivo://cds.vizier/i/239"


class RegistryKeys(
    KeyModel,
    hints={
        "ivoid": "id",
        "identifier": "id",
        "altIdentifier": "also",
        "relationships": "related",
        "tables": "services",
    },
):
    """How the collection stands in the registries of the Virtual Observatory."""

    publish: bool
    "false: registries are not told of it, though everybody sees it"
    id: Text
    (
        "its identifier, such as it had before: ivo://example.org/stars, or what stands behind the authority; "
        "default: its name"
    )
    services: dict[str, RegistryServiceKeys]
    (
        "records of its own services, by TABLE.FACE, and of its EPN-TAP table by TABLE: {main.cone: "
        "ivo://example.org/stars/q/scs}"
    )
    also: OneOrMore[Text]
    "further identifiers: those that it had in other registries, DOIs (doi:10.xxxx/..)"
    related: OneOrMore[RegistryRelationKeys]
    "other resources: what it was made from, what it belongs to"


def read_registration(
    fields: KeyValues, specs: Sequence[TableSpec], settings: Settings, faults: FaultCollector
) -> Registration | None:
    """Read ``registry`` of a collection.

    Parameters
    ----------
    fields
        Of the collection.
    specs
        Its tables.
    settings
        Of the site: which authorities it has.
    faults
        Where wrong identifiers go, and what records need that is not there.

    Returns
    -------
    registration
        None: nothing is said.
    """
    registry_fields: KeyValues | None = fields.get("registry")
    if registry_fields is None:
        return None
    authority = settings.find_authority(str(fields.get("collection")))

    def read_ivoid(written_identifier: WrittenScalar, key_path: str) -> str:
        text = str(written_identifier)
        authorities = settings.authorities
        if not text.lower().startswith("ivo:"):
            path, ivoid_authority = text, authority
        else:
            if text[:6].lower() == "ivo://":
                ivoid_authority, _, path = text[6:].partition("/")
            else:
                ivoid_authority, _, path = ("", "", "")
            if ivoid_authority.lower() not in {known_authority.lower() for known_authority in authorities}:
                if ivoid_authority:
                    remedy = f"known: {', '.join(authorities)}; write authorities = [..] under [registry] in hven.toml"
                else:
                    remedy = "write ivo://AUTHORITY/PATH"
                faults.add_error(
                    f"{key_path}: {ivoid_authority or text!r} is no authority of this site",
                    written_identifier.place,
                    suggest_spelling(ivoid_authority, authorities) or remedy,
                )
                return ""
        if not IVOID_PATH_PATTERN.fullmatch(path):
            wrong = sorted({sign for sign in re.sub(PATH_CHARACTERS, "", path) if sign != "/"})
            if wrong:
                why = f"has {' '.join(map(repr, wrong))}"
            else:
                why = "has an empty part"
            remedy = "letters, digits and . - _ ! ~ * ' ( ) + = stand there, with single slashes between"
            faults.add_error(
                f"{key_path}: {text!r} is no identifier of a resource: it {why}", written_identifier.place, remedy
            )
            return ""
        return f"ivo://{ivoid_authority}/{path}"

    services: dict[str, ServiceRegistration] = {}
    for key, service_fields in registry_fields.get("services", {}).items():
        _check_service_key(key, specs, faults)
        for url in service_fields.get("mirrors", ()):
            if not URL_PATTERN.fullmatch(url):
                faults.add_error(
                    f"registry.services.{key}.mirrors: {str(url)!r} is no address",
                    url.place,
                    "write http://.. or https://..",
                )
        if "id" in service_fields:
            ivoid_text = read_ivoid(service_fields["id"], f"registry.services.{key}.id")
        else:
            ivoid_text = ""
        mirrors = tuple(map(str, service_fields.get("mirrors", ())))
        test = service_fields.get("test")
        services[str(key)] = ServiceRegistration(
            id=ivoid_text or None, mirrors=mirrors, test=None if test is None else str(test)
        )
    collection_ivoid = (read_ivoid(registry_fields["id"], "registry.id") if "id" in registry_fields else "") or None
    identifiers = [
        service_fields.lower()
        for service_fields in (collection_ivoid, *(entry.id for entry in services.values()))
        if service_fields
    ]
    for ivoid_text in dict.fromkeys(
        service_fields for service_fields in identifiers if identifiers.count(service_fields) > 1
    ):
        faults.add_error(
            f"registry: two records have the id {ivoid_text}", fields.places["registry"], "give each its own"
        )
    if registry_fields.get("publish", True):
        _warn_missing_metadata(fields, settings, faults)
    publish = bool(registry_fields.get("publish", True))
    also = _read_alternate_identifiers(registry_fields, faults)
    related = tuple(
        _read_relation(service_fields, faults)
        for service_fields in registry_fields.get("related", ())
        if "type" in service_fields
    )
    return Registration(
        publish=publish,
        id=collection_ivoid,
        services=services,
        also=also,
        related=related,
        place=fields.places["registry"],
    )


def _check_service_key(key: WrittenScalar, specs: Sequence[TableSpec], faults: FaultCollector) -> None:
    """Check that a record is that of a table, and of a face if it names one."""
    names = [spec.table.name for spec in specs]
    face_names = [*plugins.list_plugins("protocols")]
    if str(key) in names:
        table, face = (str(key), "")
    else:
        table, face = str(key).rpartition(".")[::2]
    if table not in names:
        faults.add_error(
            f"registry.services: there is no table {table or str(key)!r}",
            key.place,
            suggest_spelling(table, names) or f"write TABLE.FACE; tables: {', '.join(names)}",
        )
    elif face and face not in face_names and (base := face.partition("-")[0]) in face_names:
        face_names += [
            further_face.name for further_face in plugins.load_plugin("protocols", base).FACE.additional_faces
        ]
    if table in names and face and face not in face_names:
        faults.add_error(
            f"registry.services: no face is called {face!r}",
            key.place,
            suggest_spelling(face, face_names) or "such as cone, sia, sia2, ssa",
        )


def _read_alternate_identifiers(registry_fields: KeyValues, faults: FaultCollector) -> tuple[str, ...]:
    identifiers = []
    for identifier in registry_fields.get("also", ()):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+", identifier):
            remedy = "identifiers are URIs: ivo://.., doi:10.xxxx/.., https://.."
            faults.add_error(f"registry.also: {str(identifier)!r} is no URI", identifier.place, remedy)
        else:
            identifiers.append(str(identifier))
    return tuple(identifiers)


def _read_relation(relation_fields: KeyValues, faults: FaultCollector) -> RelatedResource:
    relation = OLD_RELATION_NAMES.get(relation_fields["type"], str(relation_fields["type"]))
    if relation not in VORESOURCE_RELATIONS:
        remedy = suggest_spelling(relation, VORESOURCE_RELATIONS) or f"known: {', '.join(VORESOURCE_RELATIONS)}"
        faults.add_error(f"registry.related: {relation!r} is no relation", relation_fields["type"].place, remedy)
    if "id" in relation_fields and not re.fullmatch(
        rf"ivo://{PATH_CHARACTERS}{{3,}}(/{PATH_CHARACTERS}+)*", relation_fields["id"]
    ):
        faults.add_error(
            f"registry.related: {str(relation_fields['id'])!r} is no identifier",
            relation_fields["id"].place,
            "write ivo://AUTHORITY/PATH",
        )
    if "id" in relation_fields:
        ident = str(relation_fields["id"])
    else:
        ident = None
    title = str(relation_fields.get("title", ident or ""))
    return RelatedResource(kind=relation, title=title, id=ident)


def _warn_missing_metadata(fields: KeyValues, settings: Settings, faults: FaultCollector) -> None:
    """Tell what records need that the descriptor does not say.

    Whoever says nothing of registries is not bothered with it.
    """
    place = fields.places["registry"]
    for key, reason in MISSING_KEY_REASONS.items():
        if key not in fields.places:
            faults.add_warning(f"registry: the collection has no {key}: {reason}", place, f"add '{key}'")
    for key, form in VALUE_PATTERNS.items():
        if key in fields and not re.fullmatch(form, fields[key].strip(), re.IGNORECASE):
            faults.add_warning(
                f"registry: {key} is left out, for {str(fields[key])!r:.60} is none",
                fields.places[key],
                "write 10.xxxx/.." if key == "doi" else "write https://..",
            )
    contact = fields.get("contact")
    if contact is not None and "email" not in contact and not settings.contact_email:
        faults.add_warning(
            "registry: nobody can write to the contact: it has no email", fields.places["contact"], "add 'email'"
        )
    elif contact is None and not settings.contact_email:
        faults.add_warning(
            "registry: nobody answers questions: there is no contact",
            place,
            "add 'contact', or contact_name and contact_email to hven.toml",
        )


def find_identifier_faults(
    resources: Iterable[Resource], settings: Settings, earlier_resources: Sequence[Resource] = ()
) -> Iterator[Fault]:
    """Find identifiers that two records have, of which the later one would be left out.

    Parameters
    ----------
    resources
        Collections of a site.
    settings
        Of the site.
    earlier_resources
        Collections before these, of which nothing is told.

    Yields
    ------
    faults
        At the `registry` of the later one.
    """
    site_identifiers = {
        name: settings.registry.ids.get(name, f"ivo://{settings.authority}/{name}") for name in SITE_RECORD_NAMES
    }
    owners_by_identifier = {ident.lower(): f"the site's record {name}" for name, ident in site_identifiers.items()}
    for resource in (*earlier_resources, *resources):
        registration_record = resource.registration
        ids = [
            (registration_record and registration_record.id)
            or f"ivo://{settings.find_authority(resource.name)}/{resource.name}"
        ]
        for ident in (
            *ids,
            *(
                service_record.id
                for service_record in (registration_record.services.values() if registration_record else ())
                if service_record.id
            ),
        ):
            identifier_owner = owners_by_identifier.setdefault(ident.lower(), f"the collection {resource.name}")
            if identifier_owner != f"the collection {resource.name}" and resource not in earlier_resources:
                if registration_record:
                    place = registration_record.place
                else:
                    place = Place(file=str(resource.path))
                message = (
                    f"registry: {ident} is the id of {identifier_owner}, too: registries are told of the first one "
                    f"alone"
                )
                yield Fault(message=message, place=place, remedy="registry: {id: ..} gives it another one")


__all__ = ["RegistryKeys", "find_identifier_faults", "read_registration"]
