"""Keys of the records in registries: identifiers that a centre keeps, other addresses, relations.

And what records need that a descriptor lacks.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from hven.descriptor.value_schema import DescriptorSection, FaultCollector, LocatedKeyValues, OneOrMore, Required, Text
from hven.descriptor.written_yaml import LocatedYamlScalar
from hven.model import plugins
from hven.model.errors import Fault, TextPlace, suggest_spelling
from hven.model.resource import CollectionRegistration, CollectionSpec, RelatedResource, ServiceRegistration, TableSpec
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
    "description": "readers do not learn what the collection contains",
    "subjects": "nobody can find it by its subject",
    "creators": "its authors are not named",
    "licence": "nobody knows how it may be used",
}


class RegistryServiceSection(
    DescriptorSection, short="id", hints={"ivoid": "id", "identifier": "id", "mirror": "mirrors", "query": "test"}
):
    """The registry record of one service."""

    id: Text
    (
        "the service's identifier, for example an earlier one that you want to keep. Write the whole identifier, such "
        "as ivo://example.org/stars/q/scs, or only the part after the authority"
    )
    mirrors: OneOrMore[Text]
    "further addresses of the service, such as mirrors and old addresses"
    test: Text
    (
        "parameters of a request that returns rows, for example RA=83.6&DEC=22&SR=0.1. Validators test the service "
        "with this request. Default: a position at which the table has rows"
    )


class RegistryRelationSection(
    DescriptorSection, hints={"kind": "type", "relation": "type", "ivoid": "id", "name": "title"}
):
    """Another resource of the Virtual Observatory."""

    type: Required[Text]
    (
        "how the collection relates to the other resource, as a VOResource term, for example IsDerivedFrom, "
        "IsSupplementTo, Cites or IsNewVersionOf"
    )
    title: Text
    "title of the other resource. Default: its identifier"
    id: Text
    "identifier of the other resource, for example ivo://cds.vizier/i/239"


class RegistrySection(
    DescriptorSection,
    hints={
        "ivoid": "id",
        "identifier": "id",
        "altIdentifier": "also",
        "relationships": "related",
        "tables": "services",
    },
):
    """How the collection appears in the registries of the Virtual Observatory."""

    publish: bool
    "false: Hven does not register the collection, even if it is public"
    id: Text
    (
        "the collection's identifier, for example an earlier one that you want to keep. Write the whole identifier, "
        "such as ivo://example.org/stars, or only the part after the authority. Default: the collection's name"
    )
    services: dict[str, RegistryServiceSection]
    (
        "identifiers of the collection's services. Write TABLE.SERVICE for a service, or TABLE for an EPN-TAP table, "
        "for example {main.cone: ivo://example.org/stars/q/scs}"
    )
    also: OneOrMore[Text]
    "further identifiers of the collection, for example from other registries, or DOIs (doi:10.xxxx/..)"
    related: OneOrMore[RegistryRelationSection]
    "related resources, such as the sources of the collection, or a larger collection to which it belongs"


def read_registry_section(
    fields: LocatedKeyValues, specs: Sequence[TableSpec], settings: Settings, faults: FaultCollector
) -> CollectionRegistration | None:
    """Read ``registry`` of a collection.

    Parameters
    ----------
    fields
        Keys of the collection.
    specs
        Tables of the collection.
    settings
        Settings of the site, which have its authorities.
    faults
        Collects invalid identifiers, and metadata that records need and that lack.

    Returns
    -------
    registration
        None: the descriptor has no ``registry``.
    """
    registry_fields: LocatedKeyValues | None = fields.get("registry")
    if registry_fields is None:
        return None
    identifier_reader = _RegistryIdentifierReader(settings, str(fields.get("collection")), faults)
    services: dict[str, ServiceRegistration] = {}
    for key, service_fields in registry_fields.get("services", {}).items():
        _check_service_key(key, specs, faults)
        services[str(key)] = _read_service_registration(key, service_fields, identifier_reader, faults)
    collection_ivoid = identifier_reader.read(registry_fields, "registry")
    identifier_counts = Counter(
        identifier.lower()
        for identifier in (collection_ivoid, *(service.id for service in services.values()))
        if identifier
    )
    for identifier, count in identifier_counts.items():
        if count > 1:
            message = f"registry: two records have the id {identifier}"
            faults.add_error(message, fields.places["registry"], "give each record its own id")
    publish = bool(registry_fields.get("publish", True))
    if publish:
        _warn_missing_metadata(fields, settings, faults)
    relations = [relation for relation in registry_fields.get("related", ()) if "type" in relation]
    return CollectionRegistration(
        publish=publish,
        id=collection_ivoid,
        services=services,
        also=_read_alternate_identifiers(registry_fields, faults),
        related=tuple(_read_registry_relation(relation, faults) for relation in relations),
        place=fields.places["registry"],
    )


class _RegistryIdentifierReader:
    """Reads identifiers of records: an ivoid, or a path that the authority of the collection precedes."""

    def __init__(self, settings: Settings, collection: str, faults: FaultCollector) -> None:
        self._authorities = settings.authorities
        self._collection_authority = settings.find_collection_authority(collection)
        self._faults = faults

    def read(self, fields: LocatedKeyValues, key_path: str) -> str | None:
        """Read ``id``; None if there is none, or after a fault."""
        if "id" not in fields:
            return None
        written_identifier: LocatedYamlScalar = fields["id"]
        text = str(written_identifier)
        authority, path = self._collection_authority, text
        if text.lower().startswith("ivo:"):
            authority, path = "", ""
            if text[:6].lower() == "ivo://":
                authority, _, path = text[6:].partition("/")
            known_authorities = {known_authority.lower() for known_authority in self._authorities}
            if authority.lower() not in known_authorities:
                remedy = "write ivo://AUTHORITY/PATH"
                if authority:
                    known = ", ".join(self._authorities)
                    remedy = f"use one of {known}, or add it to authorities = [..] under [registry] in hven.toml"
                message = f"{key_path}.id: {authority or text!r} is not an authority of this site"
                hint = suggest_spelling(authority, self._authorities)
                self._faults.add_error(message, written_identifier.place, hint or remedy)
                return None
        if not IVOID_PATH_PATTERN.fullmatch(path):
            invalid_characters = sorted(set(re.sub(PATH_CHARACTERS, "", path)) - {"/"})
            reason = "has an empty part"
            if invalid_characters:
                reason = f"contains {' '.join(map(repr, invalid_characters))}"
            self._faults.add_error(
                f"{key_path}.id: {text!r} is not a valid identifier: it {reason}",
                written_identifier.place,
                "use only letters, digits and the characters . - _ ! ~ * ' ( ) + =; put single slashes between the "
                "parts",
            )
            return None
        return f"ivo://{authority}/{path}"


def _read_service_registration(
    key: LocatedYamlScalar,
    service_fields: LocatedKeyValues,
    identifier_reader: _RegistryIdentifierReader,
    faults: FaultCollector,
) -> ServiceRegistration:
    key_path = f"registry.services.{key}"
    mirrors = service_fields.get("mirrors", ())
    for url in mirrors:
        if not URL_PATTERN.fullmatch(url):
            message = f"{key_path}.mirrors: {str(url)!r} is not an address"
            faults.add_error(message, url.place, "write http://.. or https://..")
    test = None
    if service_fields.get("test") is not None:
        test = str(service_fields["test"])
    ivoid = identifier_reader.read(service_fields, key_path)
    return ServiceRegistration(id=ivoid, mirrors=tuple(map(str, mirrors)), test=test)


def _check_service_key(key: LocatedYamlScalar, specs: Sequence[TableSpec], faults: FaultCollector) -> None:
    """Check that a record is of a table, and of a face if it names one."""
    names = [spec.table.name for spec in specs]
    table, face = str(key), ""
    if str(key) not in names:
        table, _, face = str(key).rpartition(".")
    if table not in names:
        hint = suggest_spelling(table, names)
        remedy = hint or f"write TABLE.SERVICE; the tables are: {', '.join(names)}"
        faults.add_error(f"registry.services: there is no table {table or str(key)!r}", key.place, remedy)
        return
    face_names = list(plugins.list_plugins("protocols"))
    base_name = face.partition("-")[0]
    if face and face not in face_names and base_name in face_names:
        base_face = plugins.load_plugin("protocols", base_name).FACE
        face_names += [additional_face.name for additional_face in base_face.additional_faces]
    if face and face not in face_names:
        remedy = suggest_spelling(face, face_names) or "write a service such as cone, sia, sia2 or ssa"
        faults.add_error(f"registry.services: there is no service {face!r}", key.place, remedy)
    unused_error = plugins.find_disabled_plugin_error("used_keys", f"registry.services.{face}")
    if unused_error is not None:
        faults.add_warning(unused_error.message, key.place, unused_error.remedy)


def _read_alternate_identifiers(registry_fields: LocatedKeyValues, faults: FaultCollector) -> tuple[str, ...]:
    identifiers = []
    for identifier in registry_fields.get("also", ()):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+", identifier):
            remedy = "write a URI: ivo://.., doi:10.xxxx/.., https://.."
            faults.add_error(f"registry.also: {str(identifier)!r} is not a URI", identifier.place, remedy)
        else:
            identifiers.append(str(identifier))
    return tuple(identifiers)


def _read_registry_relation(relation_fields: LocatedKeyValues, faults: FaultCollector) -> RelatedResource:
    relation = OLD_RELATION_NAMES.get(relation_fields["type"], str(relation_fields["type"]))
    if relation not in VORESOURCE_RELATIONS:
        remedy = suggest_spelling(relation, VORESOURCE_RELATIONS) or f"use one of {', '.join(VORESOURCE_RELATIONS)}"
        faults.add_error(
            f"registry.related: {relation!r} is not a VOResource relation", relation_fields["type"].place, remedy
        )
    identifier = None
    if "id" in relation_fields:
        identifier = str(relation_fields["id"])
        if not re.fullmatch(rf"ivo://{PATH_CHARACTERS}{{3,}}(/{PATH_CHARACTERS}+)*", identifier):
            message = f"registry.related: {identifier!r} is not an identifier"
            faults.add_error(message, relation_fields["id"].place, "write ivo://AUTHORITY/PATH")
    title = str(relation_fields.get("title", identifier or ""))
    return RelatedResource(kind=relation, title=title, id=identifier)


def _warn_missing_metadata(fields: LocatedKeyValues, settings: Settings, faults: FaultCollector) -> None:
    """Warn of metadata that records need and that a descriptor with ``registry`` lacks."""
    place = fields.places["registry"]
    for key, reason in MISSING_KEY_REASONS.items():
        if key not in fields.places:
            faults.add_warning(f"registry: the collection has no {key}, so {reason}", place, f"add '{key}'")
    for key, form in VALUE_PATTERNS.items():
        if key in fields and not re.fullmatch(form, fields[key].strip(), re.IGNORECASE):
            faults.add_warning(
                f"registry: {key} is left out, because {str(fields[key])!r:.60} is not valid",
                fields.places[key],
                "write 10.xxxx/.." if key == "doi" else "write https://..",
            )
    contact = fields.get("contact")
    if contact is not None and "email" not in contact and not settings.contact_email:
        faults.add_warning("registry: the contact has no email address", fields.places["contact"], "add 'email'")
    elif contact is None and not settings.contact_email:
        faults.add_warning(
            "registry: there is no contact for questions",
            place,
            "add 'contact' here, or add contact_name and contact_email to hven.toml",
        )


def find_identifier_conflicts(
    resources: Iterable[CollectionSpec], settings: Settings, earlier_resources: Sequence[CollectionSpec] = ()
) -> Iterator[Fault]:
    """Find identifiers that two records have: the later record would be left out.

    Parameters
    ----------
    resources
        Collections of a site.
    settings
        Settings of the site.
    earlier_resources
        Collections before these; their faults are not reported.

    Yields
    ------
    faults
        One fault for each later record, at its `registry`.
    """
    owners_by_identifier: dict[str, str] = {}
    for name in SITE_RECORD_NAMES:
        identifier = settings.registry.ids.get(name, f"ivo://{settings.authority}/{name}")
        owners_by_identifier[identifier.lower()] = f"the site's record {name}"
    for resource in (*earlier_resources, *resources):
        own_label = f"the collection {resource.name}"
        place = TextPlace(file=str(resource.path))
        if resource.registration is not None:
            place = resource.registration.place
        for identifier in _list_registry_identifiers(resource, settings):
            owner = owners_by_identifier.setdefault(identifier.lower(), own_label)
            if owner != own_label and resource not in earlier_resources:
                message = f"registry: {identifier} is also the id of {owner}; only the first of the two is registered"
                yield Fault(
                    message=message, place=place, remedy="write `registry: {id: ..}` to give this collection another id"
                )


def _list_registry_identifiers(resource: CollectionSpec, settings: Settings) -> list[str]:
    """List the identifiers of a collection's records."""
    default_identifier = f"ivo://{settings.find_collection_authority(resource.name)}/{resource.name}"
    registration = resource.registration
    if registration is None:
        return [default_identifier]
    service_identifiers = [service.id for service in registration.services.values() if service.id]
    return [registration.id or default_identifier, *service_identifiers]
