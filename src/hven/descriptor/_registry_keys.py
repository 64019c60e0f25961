"""Keys of the records in registries: identifiers that a centre keeps, other addresses, relations; and what records need that a descriptor lacks."""

import re
from collections.abc import Iterable, Iterator, Sequence

from hven.descriptor.value_schema import Faults, Fields, Keys, Many, Needed, Text
from hven.descriptor.written import Written
from hven.model import plugins
from hven.model.errors import Fault, Place, nearest
from hven.model.resource import Entry, Registration, Related, Resource, TableSpec
from hven.model.settings import Settings

SIGNS = r"[A-Za-z0-9.\-_!~*'()+=]"
PATH = re.compile(rf"{SIGNS}+(/{SIGNS}+)*")  # what may stand behind the authority (VOResource 1.1, section 2.2.1)
URL = re.compile(r"https?://[^\s/?#]+[^\s]*")
RELATIONS = (  # of VOResource's vocabulary
    "Cites", "IsSupplementTo", "IsSupplementedBy", "IsContinuedBy", "Continues", "IsNewVersionOf", "IsPreviousVersionOf", "IsPartOf", "HasPart",
    "IsSourceOf", "IsDerivedFrom", "IsIdenticalTo", "IsServiceFor", "IsServedBy",
)  # fmt: skip
OLD = {
    "mirror-of": "IsIdenticalTo",
    "service-for": "IsServiceFor",
    "served-by": "IsServedBy",
    "derived-from": "IsDerivedFrom",
}
OF_SITE = ("registry", "organisation", "tap", "soda", "hapi", "das2", "hips")  # records that are of no collection
FORMS = {  # key -> how it must look to stand in a record
    "doi": r"(https?://(dx\.)?doi\.org/|doi:)?10\.\d{4,9}/\S+",
    "reference_url": r"https?://[a-z0-9._~-]+(:\d{1,5})?([/?#]\S*)?",
    "licence_url": r"https?://[a-z0-9._~-]+(:\d{1,5})?([/?#]\S*)?",
}
WANTED = {  # key -> what its lack means
    "description": "nobody learns what it is",
    "subjects": "nobody finds it by its subject",
    "creators": "nobody is named who made it",
    "licence": "nobody knows what may be done with it",
}


class RegistryService(
    Keys, short="id", hints={"ivoid": "id", "identifier": "id", "mirror": "mirrors", "query": "test"}
):
    """What is said of the record of one service."""

    id: Text
    "its identifier, such as it had before: ivo://example.org/stars/q/scs, or what stands behind the authority"
    mirrors: Many[Text]
    "further addresses at which it answers: mirrors, and old ones that still do"
    test: Text
    "parameters that find rows, for those who try whether it is well: RA=83.6&DEC=22&SR=0.1; default: a place that has some"


class RegistryRelation(Keys, hints={"kind": "type", "relation": "type", "ivoid": "id", "name": "title"}):
    """Another resource of the Virtual Observatory."""

    type: Needed[Text]
    "IsDerivedFrom, IsSupplementTo, Cites, IsNewVersionOf .. (VOResource's vocabulary)"
    title: Text
    "of the other; default: its id"
    id: Text
    "its identifier: ivo://cds.vizier/i/239"


class Registry(
    Keys,
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
    "its identifier, such as it had before: ivo://example.org/stars, or what stands behind the authority; default: its name"
    services: dict[str, RegistryService]
    "records of its own services, by TABLE.FACE, and of its EPN-TAP table by TABLE: {main.cone: ivo://example.org/stars/q/scs}"
    also: Many[Text]
    "further identifiers: those that it had in other registries, DOIs (doi:10.xxxx/..)"
    related: Many[RegistryRelation]
    "other resources: what it was made from, what it belongs to"


def registration(fields: Fields, specs: Sequence[TableSpec], settings: Settings, faults: Faults) -> Registration | None:
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
    said: Fields | None = fields.get("registry")
    if said is None:
        return None
    authority = settings.authority_of(str(fields.get("collection")))

    def ivoid(given: Written, what: str) -> str:
        text = str(given)
        known = settings.authorities
        if not text.lower().startswith("ivo:"):
            path, own = text, authority
        else:
            own, _, path = text[6:].partition("/") if text[:6].lower() == "ivo://" else ("", "", "")
            if own.lower() not in {one.lower() for one in known}:
                remedy = (
                    f"known: {', '.join(known)}; write authorities = [..] under [registry] in hven.toml"
                    if own
                    else "write ivo://AUTHORITY/PATH"
                )
                faults.error(
                    f"{what}: {own or text!r} is no authority of this site", given.place, nearest(own, known) or remedy
                )
                return ""
        if not PATH.fullmatch(path):
            wrong = sorted({sign for sign in re.sub(SIGNS, "", path) if sign != "/"})
            why = f"has {' '.join(map(repr, wrong))}" if wrong else "has an empty part"
            remedy = "letters, digits and . - _ ! ~ * ' ( ) + = stand there, with single slashes between"
            faults.error(f"{what}: {text!r} is no identifier of a resource: it {why}", given.place, remedy)
            return ""
        return f"ivo://{own}/{path}"

    services: dict[str, Entry] = {}
    for key, one in said.get("services", {}).items():
        _known(key, specs, faults)
        for url in one.get("mirrors", ()):
            if not URL.fullmatch(url):
                faults.error(
                    f"registry.services.{key}.mirrors: {str(url)!r} is no address",
                    url.place,
                    "write http://.. or https://..",
                )
        ident = ivoid(one["id"], f"registry.services.{key}.id") if "id" in one else ""
        mirrors, test = tuple(map(str, one.get("mirrors", ()))), one.get("test")
        services[str(key)] = Entry(id=ident or None, mirrors=mirrors, test=None if test is None else str(test))
    own_id = (ivoid(said["id"], "registry.id") if "id" in said else "") or None
    found = [one.lower() for one in (own_id, *(entry.id for entry in services.values())) if one]
    for ident in dict.fromkeys(one for one in found if found.count(one) > 1):
        faults.error(f"registry: two records have the id {ident}", fields.places["registry"], "give each its own")
    if said.get("publish", True):
        _lacking(fields, settings, faults)
    return Registration(
        publish=bool(said.get("publish", True)), id=own_id, services=services, also=_also(said, faults),
        related=tuple(_related(one, faults) for one in said.get("related", ()) if "type" in one), place=fields.places["registry"],
    )  # fmt: skip


def _known(key: Written, specs: Sequence[TableSpec], faults: Faults) -> None:
    """Check that a record is that of a table, and of a face if it names one."""
    names = [spec.table.name for spec in specs]
    faces = [*plugins.names("protocols")]
    table, face = (str(key), "") if str(key) in names else str(key).rpartition(".")[::2]
    if table not in names:
        faults.error(f"registry.services: there is no table {table or str(key)!r}", key.place, nearest(table, names) or f"write TABLE.FACE; tables: {', '.join(names)}")  # fmt: skip
    elif face and face not in faces and (base := face.partition("-")[0]) in faces:
        faces += [one.name for one in plugins.load("protocols", base).FACE.further]
    if table in names and face and face not in faces:
        faults.error(f"registry.services: no face is called {face!r}", key.place, nearest(face, faces) or "such as cone, sia, sia2, ssa")  # fmt: skip


def _also(said: Fields, faults: Faults) -> tuple[str, ...]:
    found = []
    for one in said.get("also", ()):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+", one):
            remedy = "identifiers are URIs: ivo://.., doi:10.xxxx/.., https://.."
            faults.error(f"registry.also: {str(one)!r} is no URI", one.place, remedy)
        else:
            found.append(str(one))
    return tuple(found)


def _related(one: Fields, faults: Faults) -> Related:
    kind = OLD.get(one["type"], str(one["type"]))
    if kind not in RELATIONS:
        remedy = nearest(kind, RELATIONS) or f"known: {', '.join(RELATIONS)}"
        faults.error(f"registry.related: {kind!r} is no relation", one["type"].place, remedy)
    if "id" in one and not re.fullmatch(rf"ivo://{SIGNS}{{3,}}(/{SIGNS}+)*", one["id"]):
        faults.error(f"registry.related: {str(one['id'])!r} is no identifier", one["id"].place, "write ivo://AUTHORITY/PATH")  # fmt: skip
    ident = str(one["id"]) if "id" in one else None
    return Related(kind=kind, title=str(one.get("title", ident or "")), id=ident)


def _lacking(fields: Fields, settings: Settings, faults: Faults) -> None:
    """Tell what records need that the descriptor does not say; whoever says nothing of registries is not bothered with it."""
    place = fields.places["registry"]
    for key, why in WANTED.items():
        if key not in fields.places:
            faults.warning(f"registry: the collection has no {key}: {why}", place, f"add '{key}'")
    for key, form in FORMS.items():
        if key in fields and not re.fullmatch(form, fields[key].strip(), re.IGNORECASE):
            faults.warning(f"registry: {key} is left out, for {str(fields[key])!r:.60} is none", fields.places[key], "write 10.xxxx/.." if key == "doi" else "write https://..")  # fmt: skip
    contact = fields.get("contact")
    if contact is not None and "email" not in contact and not settings.contact_email:
        faults.warning("registry: nobody can write to the contact: it has no email", fields.places["contact"], "add 'email'")  # fmt: skip
    elif contact is None and not settings.contact_email:
        faults.warning("registry: nobody answers questions: there is no contact", place, "add 'contact', or contact_name and contact_email to hven.toml")  # fmt: skip


def claimed(resources: Iterable[Resource], settings: Settings, others: Sequence[Resource] = ()) -> Iterator[Fault]:
    """Find identifiers that two records have, of which the later one would be left out.

    Parameters
    ----------
    resources
        Collections of a site.
    settings
        Of the site.
    others
        Collections before these, of which nothing is told.

    Yields
    ------
    faults
        At the `registry` of the later one.
    """
    own = {name: settings.registry.ids.get(name, f"ivo://{settings.authority}/{name}") for name in OF_SITE}  # fmt: skip
    known = {ident.lower(): f"the site's record {name}" for name, ident in own.items()}
    for resource in (*others, *resources):
        said = resource.registration
        ids = [(said and said.id) or f"ivo://{settings.authority_of(resource.name)}/{resource.name}"]
        for ident in (*ids, *(one.id for one in (said.services.values() if said else ()) if one.id)):
            other = known.setdefault(ident.lower(), f"the collection {resource.name}")
            if other != f"the collection {resource.name}" and resource not in others:
                place = said.place if said else Place(file=str(resource.path))
                message = f"registry: {ident} is the id of {other}, too: registries are told of the first one alone"
                yield Fault(message=message, place=place, remedy="registry: {id: ..} gives it another one")


__all__ = ["Registry", "claimed", "registration"]
