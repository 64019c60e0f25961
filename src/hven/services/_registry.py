"""What registries of the Virtual Observatory are told: records made from descriptors, what is published, and the faces; and when they are made anew.

VOResource 1.1, VODataService 1.2, VORegistry 1.0; what a table covers is beside this, in `hven.services._covered`.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven import __version__, adql, descriptor
from hven.formats.votable import legal
from hven.model import plugins
from hven.model.resource import SPDX, Entry, Person, Registered, Related, Resource
from hven.model.table import Schema
from hven.services import _covered as covered
from hven.services import _vosi as vosi
from hven.services._vosi import Capability
from hven.site import TAP_SCHEMA
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.services.face import Face, Surroundings
    from hven.site import Holdings, Published

log = logging.getLogger("hven")

SITE = ""  # the part of the records that are of no collection
STANDARD = "ivo://ivoa.net/std/Registry"
EPN = "ivo://ivoa.net/std/epntap#table-"  # utype of EPN-TAP's tables begins so
TAP = "ivo://ivoa.net/std/TAP"
PAGE = 200  # records that one answer has
SUBJECTS = ("virtual-observatories", "astronomy-databases")  # of the UAT, for what has none of its own
LARGE = 5_000  # columns of the tables of a service from which on its record names the tables alone
MAIL = re.compile(r"\S+@(\S+\.)+\S+")  # as the schema of OAI-PMH has it
SHORT = 16  # characters of a short name
_NO_URI = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?@!$&'()*+,;=%#]+")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~-]+(:\d{1,5})?([/?#]\S*)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?")
RI = "http://www.ivoa.net/xml/RegistryInterface/v1.0"
NAMESPACES = " ".join(
    f'xmlns:{prefix}="{space}"'
    for prefix, space in {
        "ri": RI, "vr": "http://www.ivoa.net/xml/VOResource/v1.0",
        "vs": "http://www.ivoa.net/xml/VODataService/v1.1", "vg": "http://www.ivoa.net/xml/VORegistry/v1.0",
        "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    }.items()
)  # fmt: skip


class Records:
    """The records of a site, kept in its system state.

    Parameters
    ----------
    around
        The site, and its faces.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._lock = threading.Lock()
        self._seen: tuple[str, Settings] | None = None

    def soon(self) -> None:
        """Bring what is kept up to date in the background, once somebody has harvested: who asks again need not wait for it."""
        if self._seen is not None:
            threading.Thread(target=self._brought, name="registry", daemon=True).start()

    def _brought(self) -> None:
        try:
            self.bring()
        except Exception:  # whoever asks next is told what is wrong
            log.warning("registry: the records cannot be brought up to date", exc_info=True)

    def bring(self) -> Sequence[str]:
        """Bring what is kept up to date with what everybody may see now.

        Returns
        -------
        claimed
            Identifiers that two records claim; the later one is left out.
        """
        site = self._around.site
        now = site.current()
        if self._seen is not None and self._seen[0] == now.version and self._seen[1] is site.settings:
            return ()
        with self._lock:
            if self._seen is None:  # other processes may have seen more than this one
                now = site.refresh()
            elif self._seen[0] == now.version and self._seen[1] is site.settings:
                return ()
            known = site.store.registry.made_of()
            making = _Making(self._around, now)
            changed: dict[str, tuple[str, Sequence[Registered]] | None] = {}
            for part, made in making.parts.items():
                if known.get(part) != made:
                    try:
                        changed[part] = made, making.records(part)
                    except Exception:  # a plug-in's fault, or ours: the other records are told all the same
                        log.exception("registry: the records of %s cannot be made; they stay as they were", part or "the site")  # fmt: skip
            changed |= {part: None for part in known if part not in making.parts and making.gone(part)}
            claimed = site.store.registry.keep(changed) if changed else []
            for ivoid in claimed:
                log.warning("registry: another record has the id %s already; this one is left out", ivoid)
            self._seen = (now.version, site.settings) if not claimed else None
        return claimed


def drafts(around: Surroundings) -> dict[str, list[Registered]]:
    """Make all records as they would be told now, by the part: a collection; empty: the site. Nothing is told by it.

    Parameters
    ----------
    around
        The site, and its faces.
    """
    making, known = _Making(around, around.site.current()), around.site.store.registry
    return {part: [_told_before(one, known.one(one.ivoid)) for one in making.records(part)] for part in making.parts}


def _told_before(one: Registered, before: Registered | None) -> Registered:
    """Return a record with the dates that it has, if it was told: when it changed only where nothing of it differs."""
    if before is None:
        return one
    same = (before.kind, before.body, before.deleted) == (one.kind, one.body, False)
    return replace(one, created=one.created or before.created, changed=before.changed if same else "")


def document(one: Registered) -> str:
    """Write a record as VOResource (``ivo_vor``).

    Parameters
    ----------
    one
        The record; what was not told yet has the dates of this moment.
    """
    return "".join(pieces(one))


def pieces(one: Registered) -> tuple[str, str, str]:
    """Write the same in pieces, of which a list of records is put together at once: it is a megabyte, and each further text of it a copy.

    Parameters
    ----------
    one
        As of `document`.
    """
    now = vosi.iso(datetime.now(UTC)) if not (one.created and one.changed) else ""
    begin = (
        f'<ri:Resource xmlns="" {NAMESPACES} xsi:schemaLocation="{RI} {RI}" xsi:type="{one.kind}" created="{one.created or now}" '
        f'updated="{one.changed or now}" status="active">'
    )
    return begin, one.body, "</ri:Resource>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """A record of a service: of the site, or over one table."""

    ivoid: str
    face: Face
    table: Table
    entry: Entry


class _Making:
    """Makes records of one state of the site."""

    def __init__(self, around: Surroundings, now: Holdings) -> None:
        self._around, self._now = around, now
        self._settings = settings = around.site.settings
        self._base = settings.url
        records = around.site.records.values()
        self._away = {one.collection for one in records if one.table.qualified not in now.published}
        catalogue = now.catalogue(ANONYMOUS, around.policies)
        self.schemas = {one.name: one for one in map(_present, catalogue.schemas) if one.tables}
        self._counted = now.counted(ANONYMOUS, around.policies)
        faces = sorted(around.faces)
        told = replace(
            settings, directory=Path(), host="", port=1, workers=1, job_workers=1
        )  # the others tell of no process
        ground = _digest(__version__, self._base, repr(told), *faces)
        parts = {
            name: _digest(ground, *self._made_of(schema))
            for name, schema in self.schemas.items()
            if self._told(name) and not self._unsure(schema)
        }
        self.parts = {
            SITE: _digest(ground, *parts.values()),
            **parts,
        }  # the site's own records before others of the same id

    def _told(self, name: str) -> bool:
        resource = self._now.resources.get(name)
        return resource is None or resource.registration is None or resource.registration.publish

    def _made_of(self, schema: Schema) -> Iterator[str]:
        resource = self._now.resources.get(schema.name)
        yield repr(sorted(resource.hashes.items()) if resource is not None else (schema.title, schema.description))
        for table in schema.tables:
            item = self._now.published.get(table.qualified)
            yield repr(
                (table.qualified, item and (item.run, item.updated, item.instead), table.policy is None, table.keys)
            )

    def _unsure(self, schema: Schema) -> bool:
        """Return whether some of it cannot be told at the moment: its descriptor has faults, its engine is away."""
        return schema.name in self._away or (schema.name not in self._now.resources and self._described(schema.name))

    def _described(self, name: str) -> bool:
        return (self._settings.collections / name / f"{name}.yaml").exists()

    def gone(self, part: str) -> bool:
        """Return whether a part that has no records now shall have none: it was taken away, or is not everybody's any more."""
        if part in self.schemas and self._told(part):
            return False  # it is there; nobody can tell what it is
        if any(item.table.schema == part for item in self._now.published.values()):
            return part in self._now.resources or not self._described(part)
        return part not in self._away

    def records(self, part: str) -> list[Registered]:
        """Make the records of a part."""
        return list(self._of_site() if part == SITE else self._of_collection(self.schemas[part]))

    # --- a collection ---------------------------------------------------------------------------------------------

    def _of_collection(self, schema: Schema) -> Iterator[Registered]:
        resource = self._now.resources.get(schema.name) or self._bare(schema)
        said = resource.registration
        authority = self._settings.authority_of(schema.name)
        ivoid = (said and said.id) or f"ivo://{authority}/{_segment(schema.name)}"
        services = list(self._over_tables(schema, resource, ivoid))
        tap = self._site_id("tap")
        served = [Related(kind="IsServedBy", title="TAP", id=tap)] if any(one.offers("tap") for one in schema.tables) else []  # fmt: skip
        capabilities = [
            one for name, face in sorted(self._around.faces.items()) if any(table.offers(name) for table in schema.tables)
            for one in self._can(face, schema)
        ]  # fmt: skip
        capabilities = [self._mirrored(one, "tap") if (one.standard_id or "").startswith(TAP) else one for one in capabilities]  # fmt: skip
        items = [item for table in schema.tables if (item := self._now.published.get(table.qualified)) is not None]
        epn = [table for table in schema.tables if (table.utype or "").lower().startswith(EPN)]
        others = [Related(kind="IsServedBy", title=f"{one.face.title}: {_name(one.table)}", id=one.ivoid) for one in services]  # fmt: skip
        parts = [(table, self._entry(resource, table.name).id or f"{ivoid}/{_segment(table.name)}") for table in epn]
        yield self._record(
            "vs:CatalogResource", ivoid, resource, capabilities=capabilities, tables=schema, covers=items,
            related=[*served, *others, *(Related(kind="HasPart", title=_name(table), id=ident) for table, ident in parts)],
        )  # fmt: skip
        for table, ident in parts:
            item = self._now.published[table.qualified]
            aux = [one for one in capabilities if (one.standard_id or "").endswith("#aux")]
            yield self._record(
                "vs:CatalogResource", ident, _of_table(resource, table), capabilities=aux, tables=replace(schema, tables=(table,)), covers=[item],
                related=[*served, Related(kind="IsPartOf", title=resource.title, id=ivoid)],
            )  # fmt: skip
        for one in services:
            yield self._over_table(one, schema, resource, ivoid)

    def _over_tables(self, schema: Schema, resource: Resource, ivoid: str) -> Iterator[_Service]:
        for table in schema.tables:
            for name, face in sorted(self._around.faces.items()):
                for one in (face, *face.further):
                    if one.asked_of_a_table and one.standard_ids and table.offers(name) and one.applies(table):
                        entry = self._entry(resource, f"{table.name}.{one.name}")
                        key = f"{table.qualified}.{one.name}"
                        own = self._settings.registry.ids.get(key) or entry.id
                        yield _Service(ivoid=own or f"{ivoid}/{_segment(table.name)}/{one.name}", face=one, table=table, entry=entry)  # fmt: skip

    def _can(self, face: Face, schema: Schema | None) -> Sequence[Capability]:
        """Ask a face what it can do; one that fails can do nothing."""
        try:
            return tuple(face.capable(self._around, self._base, schema))
        except Exception as error:  # noqa: BLE001  (of plug-ins)
            log.warning("registry: the face %s does not say what it can do: %s, in %s", face.name, error, plugins.blamed(error))  # fmt: skip
            return ()

    def _entry(self, resource: Resource, key: str) -> Entry:
        return (resource.registration.services.get(key) if resource.registration else None) or Entry()

    def _over_table(self, one: _Service, schema: Schema, resource: Resource, ivoid: str) -> Registered:
        table, face = one.table, one.face
        item = self._now.published.get(table.qualified)
        place = covered.place(table, item) if item is not None else None
        capability = face.capability(table, self._base, self._settings, place=place)
        mirrors = (*one.entry.mirrors, *self._settings.registry.mirrors.get(f"{table.qualified}.{face.name}", ()))
        capability = replace(capability, mirrors=mirrors, test=one.entry.test or capability.test)
        own = Capability(standard_id="ivo://ivoa.net/std/VOSI#capabilities", url=f"{face.url(table, self._base)}/capabilities", role="std")  # fmt: skip
        asked = face.ask is not None or face.kind is not None  # else of rows that are known already
        about = _of_table(resource, table)
        return self._record(
            "vs:CatalogService" if asked else "vs:DataService", one.ivoid, replace(about, title=f"{about.title} - {face.title}", doi=None),
            capabilities=[own, capability], tables=replace(schema, tables=(table,)) if asked else None, covers=[item] if item is not None else [],
            related=[Related(kind="IsServiceFor", title=resource.title, id=ivoid)],
        )  # fmt: skip

    def _mirrored(self, capability: Capability, name: str) -> Capability:
        return replace(capability, mirrors=self._settings.registry.mirrors.get(name, ()))

    # --- the site -------------------------------------------------------------------------------------------------

    def _of_site(self) -> Iterator[Registered]:
        settings, said = self._settings, self._settings.registry
        for authority in settings.authorities:
            own = self._site(f"The authority {authority}", f"The naming authority of {self._publisher} for what it publishes.")  # fmt: skip
            managing = f'<managingOrg ivo-id="{_e(self._site_id("organisation"))}">{_e(self._publisher)}</managingOrg>'
            yield self._record("vg:Authority", f"ivo://{authority}", own, inside=managing)
        home = replace(self._site(self._publisher, settings.description), reference_url=said.organisation_url)
        yield self._record("vr:Organisation", self._site_id("organisation"), home)
        yield self.registry()
        tables = [table for schema in self.schemas.values() for table in schema.tables]
        for name, face in sorted(self._around.faces.items()):
            capabilities = [
                self._mirrored(one, name) if one.standard_id in face.standard_ids else one
                for one in self._can(face, None)
            ]
            if not capabilities or not any(table.offers(name) and face.applies(table) for table in tables):
                continue
            about = self._site(f"{settings.title or settings.name} - {face.title}", face.description or settings.description)  # fmt: skip
            if any(one.standard_id == TAP for one in capabilities):
                shown = [schema for part, schema in self.schemas.items() if part in self.parts]
                yield self._record("vs:CatalogService", self._site_id(name), about, capabilities=capabilities, tables=shown)  # fmt: skip
            else:
                yield self._record("vs:DataService", self._site_id(name), about, capabilities=capabilities)

    def registry(self) -> Registered:
        """Make the registry's own record."""
        settings = self._settings
        about = self._site(f"{settings.title or settings.name} - publishing registry", "What this site publishes, for the registries of the Virtual Observatory.")  # fmt: skip
        managed = "".join(f"<managedAuthority>{_e(one)}</managedAuthority>" for one in settings.authorities)
        return self._record(
            "vg:Registry", self._site_id("registry"), about, capabilities=harvested(self._base), inside=f"<full>false</full>{managed}", rights=False,
        )  # fmt: skip

    def _site_id(self, name: str) -> str:
        return self._settings.registry.ids.get(name) or f"ivo://{self._settings.authority}/{name}"

    @property
    def _publisher(self) -> str:
        return self._settings.registry.organisation or self._settings.title or self._settings.name

    def _site(self, title: str, description: str | None) -> Resource:
        return Resource(name="", title=title, path=Path(), description=description)

    def _bare(self, schema: Schema) -> Resource:
        """Describe tables without a descriptor: those of the site over all collections."""
        title = schema.title or f"{self._settings.title or self._settings.name}: {schema.name}"
        return Resource(name=schema.name, title=title, path=Path(), description=schema.description)

    # --- any ------------------------------------------------------------------------------------------------------

    def _record(
        self, kind: str, ivoid: str, about: Resource, *, capabilities: Iterable[Capability] = (), tables: Schema | Sequence[Schema] | None = None,
        covers: Sequence[Published] = (), related: Sequence[Related] = (), inside: str = "", rights: bool = True,
    ) -> Registered:  # fmt: skip
        said = about.registration
        known = [*related, *(said.related if said is not None and kind == "vs:CatalogResource" else ())]
        also = [
            *([f"doi:{doi}"] if (doi := _doi(about.doi)) else []),
            *map(_uri, said.also if said is not None else ()),
        ]
        short = (about.short_name or about.name or (ivoid.partition("/")[2].rpartition("/")[2]))[:SHORT]
        page = _url(about.reference_url) or self._base + (
            f"/collections/{quote(about.name)}" if about.name in self._now.resources else "/"
        )
        updated = max((item.updated for item in covers), default="")
        service = kind.startswith("vs:")
        parts = [
            _t("title", about.title), _t("shortName", short), _t("identifier", ivoid), *(_t("altIdentifier", one) for one in dict.fromkeys(also)),
            "<curation>", self._curation(about, updated), "</curation>",
            "<content>", *(_t("subject", one) for one in _subjects(about)), _t("description", _said(about)),
            *([f'<source format="bibcode">{_e(about.bibcode)}</source>'] if about.bibcode else []), _t("referenceURL", page),
            *(_t("type", one) for one in about.type or _kind(kind)), *(_t("contentLevel", one) for one in about.content_level or ("Research",)),
            *(_relation(one) for one in known), "</content>",
            _rights(about) if service and rights else "", *(vosi.capability(one) for one in capabilities),
        ]  # fmt: skip
        if service:
            parts += [_t("facility", one) for one in about.facility] + [
                _t("instrument", one) for one in about.instrument
            ]
            parts.append(covered.coverage(covers, about.waveband))
            parts.append(_tableset(tables, self._counted))
        body = legal("".join((*parts, inside)))
        return Registered(
            ivoid=ivoid,
            kind=kind,
            body=body,
            dublin=legal(self._dublin(about, ivoid, page, also)),
            created=_created(about),
        )

    def _curation(self, about: Resource, updated: str) -> str:
        settings = self._settings
        ours = about.publisher in {None, self._publisher}
        whose = f' ivo-id="{_e(self._site_id("organisation"))}"' if ours else ""
        contact = about.contact or Person(name=settings.contact_name or self._publisher)
        place = _t("address", settings.registry.address) if about.contact is None and settings.registry.address else ""
        mail = contact.email or settings.contact_email
        return "".join((
            f"<publisher{whose}>{_e(about.publisher or self._publisher)}</publisher>",
            *(f"<creator>{_t('name', one.name)}{_orcid(one)}</creator>" for one in about.creators),
            f'<date role="Created">{about.created}</date>' if about.created and _MOMENT.fullmatch(about.created) else "",
            f'<date role="Updated">{updated[:19]}Z</date>' if _MOMENT.match(updated) else "",
            f"<contact>{_t('name', contact.name)}{place}{_t('email', mail) if mail else ''}{_orcid(contact)}</contact>",
        ))  # fmt: skip

    def _dublin(self, about: Resource, ivoid: str, page: str, also: Sequence[str]) -> str:
        words = [
            ("title", about.title), *(("creator", one.name) for one in about.creators), *(("subject", one) for one in _subjects(about)),
            ("description", _said(about)), ("publisher", about.publisher or self._publisher), ("date", about.created),
            *(("type", one) for one in about.type), ("identifier", ivoid), *(("identifier", one) for one in also), ("identifier", page),
            ("source", about.bibcode), ("rights", about.licence_url or about.licence),
        ]  # fmt: skip
        return "".join(f"<dc:{name}>{_e(value)}</dc:{name}>" for name, value in words if value)


def harvested(base: str) -> list[Capability]:
    """List what a publishing registry can do (Registry Interfaces 1.1 section 3).

    Parameters
    ----------
    base
        Address of the site.
    """
    url = f"{base}/oai"
    return [
        Capability(
            standard_id=STANDARD, url=url, use="base", interface="vg:OAIHTTP", role="std", version="1.0", inside=f"<maxRecords>{PAGE}</maxRecords>",
            attributes='xmlns:vg="http://www.ivoa.net/xml/VORegistry/v1.0" xsi:type="vg:Harvest"',
        ),
        Capability(standard_id="ivo://ivoa.net/std/VOSI#capabilities", url=f"{url}/capabilities", role="std"),
        Capability(standard_id="ivo://ivoa.net/std/VOSI#availability", url=f"{url}/availability", role="std"),
    ]  # fmt: skip


def _present(schema: Schema) -> Schema:
    """Return a schema with those of its tables that registries are told of: neither releases nor TAP_SCHEMA."""
    told = () if schema.name == TAP_SCHEMA else tuple(one for one in schema.tables if one.release is None)
    return replace(schema, tables=told)


def _of_table(resource: Resource, table: Table) -> Resource:
    """Return what is said of a table: what it does not say, its collection does."""
    title = f"{resource.title}: {_name(table)}" if _name(table) != resource.title else resource.title
    described = "\n\n".join(dict.fromkeys(one for one in (table.description, resource.description) if one))
    said = resource.registration and replace(resource.registration, also=())
    return replace(resource, title=title, description=described or None, registration=said, short_name=None)


def _name(table: Table | None) -> str:
    return "" if table is None else table.title or table.name


def _segment(name: str) -> str:
    """Write a name as a part of an IVOID: what may not stand there (VOResource 1.1, 2.2.1) as ``=`` and its bytes, as other names do not."""
    text = re.sub(r"[^A-Za-z0-9.\-_!~*'()+]", lambda found: "".join(f"={one:02X}" for one in found[0].encode()), name)
    return text if text.strip(".") else text.replace(".", "=2E")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _e(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _t(name: str, text: str) -> str:
    return f"<{name}>{_e(text)}</{name}>"


def _uri(text: str) -> str:
    """Escape what may not stand in a URI (RFC 3986)."""
    begin, *rest = _NO_URI.sub(lambda found: quote(found[0], safe=""), text.strip()).split("#")
    return "#".join((begin, "%23".join(rest))) if rest else begin


def _url(text: str | None) -> str | None:
    """Return an address of the web; None: it is none."""
    return _uri(text) if text and _ADDRESS.fullmatch(text.strip()) else None


def _doi(text: str | None) -> str | None:
    found = re.fullmatch(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", (text or "").strip(), re.IGNORECASE)
    return _uri(found[1].replace("#", "%23")) if found else None


def _orcid(one: Person) -> str:
    found = re.search(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]", one.orcid or "")
    return _t("altIdentifier", f"orcid:{found[0]}") if found else ""


def _said(about: Resource) -> str:
    return about.description or about.title


def _subjects(about: Resource) -> list[str]:
    """Return the subjects as the UAT's vocabulary writes them."""
    words = map(descriptor.term, about.subjects)
    return list(dict.fromkeys(one for one in words if one)) or list(SUBJECTS)


def _kind(kind: str) -> tuple[str, ...]:
    return {"vg:Registry": ("Registry",), "vr:Organisation": ("Organisation",), "vg:Authority": ("Other",)}.get(kind, ("Catalog",))  # fmt: skip


def _created(about: Resource) -> str | None:
    """Return when it was first published, as far as its descriptor says a day that has been."""
    found = _MOMENT.match(about.created or "")
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return vosi.iso(moment) if moment < datetime.now(UTC) else None


def _relation(one: Related) -> str:
    whose = f' ivo-id="{_e(one.id)}"' if one.id else ""
    title = one.title or one.id or ""
    return f"<relationship>{_t('relationshipType', one.kind)}<relatedResource{whose}>{_e(title)}</relatedResource></relationship>"


def _rights(about: Resource) -> str:
    licence, url = about.licence or about.licence_url, _url(about.licence_url)
    if not licence:
        return ""
    if not url and SPDX.fullmatch(licence):
        url = f"http://spdx.org/licenses/{licence}"
    where = f' rightsURI="{_e(url)}"' if url else ""
    return f"<rights{where}>{_e(licence)}</rights>"


def _tableset(tables: Schema | Sequence[Schema] | None, counted: Callable[[Table], Published | None]) -> str:
    if tables is None:
        return ""
    schemas = [tables] if isinstance(tables, Schema) else tables
    large = sum(len(table.columns) for schema in schemas for table in schema.tables) > LARGE
    detail = "min" if large else None
    inside = "".join(vosi.schema(one, detail=detail, quote=adql.quote, counted=counted) for one in schemas)
    return f"<tableset>{inside}</tableset>" if inside else ""


__all__ = ["MAIL", "PAGE", "RI", "SPDX", "Records", "document", "drafts", "harvested"]
