"""What registries of the Virtual Observatory are told: records made from descriptors, what is published, and the faces.

And when they are made anew.

VOResource 1.1, VODataService 1.2, VORegistry 1.0; what a table covers is beside this, in `hven.services._coverage`.
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
from hven.formats.votable import replace_illegal_characters
from hven.model import plugins
from hven.model.resource import (
    SPDX_LICENCE_PATTERN,
    Person,
    RegistryRecord,
    RelatedResource,
    Resource,
    ServiceRegistration,
)
from hven.model.table import Schema
from hven.services import _coverage as coverage
from hven.services import _vosi as vosi
from hven.services._vosi import Capability
from hven.site import TAP_SCHEMA
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.services.face import Face, ServiceContext
    from hven.site import PublishedState, PublishedTable

logger = logging.getLogger("hven")

SITE_PART = ""  # the part of the records that are of no collection
REGISTRY_STANDARD_ID = "ivo://ivoa.net/std/Registry"
EPN_TAP_UTYPE_PREFIX = "ivo://ivoa.net/std/epntap#table-"  # utype of EPN-TAP's tables begins so
TAP_STANDARD_ID = "ivo://ivoa.net/std/TAP"
RECORDS_PER_PAGE = 200  # records that one answer has
DEFAULT_SUBJECTS = ("virtual-observatories", "astronomy-databases")  # of the UAT, for what has none of its own
MAX_DESCRIBED_COLUMNS = 5_000  # columns of the tables of a service from which on its record names the tables alone
EMAIL_PATTERN = re.compile(r"\S+@(\S+\.)+\S+")  # as the schema of OAI-PMH has it
MAX_SHORT_NAME_CHARACTERS = 16  # characters of a short name
_NON_URI_PATTERN = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?@!$&'()*+,;=%#]+")
_WEB_ADDRESS_PATTERN = re.compile(r"https?://[A-Za-z0-9._~-]+(:\d{1,5})?([/?#]\S*)?")
_DATE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?")
REGISTRY_INTERFACE_NAMESPACE = "http://www.ivoa.net/xml/RegistryInterface/v1.0"
NAMESPACE_DECLARATIONS = " ".join(
    f'xmlns:{prefix}="{space}"'
    for prefix, space in {
        "ri": REGISTRY_INTERFACE_NAMESPACE,
        "vr": "http://www.ivoa.net/xml/VOResource/v1.0",
        "vs": "http://www.ivoa.net/xml/VODataService/v1.1",
        "vg": "http://www.ivoa.net/xml/VORegistry/v1.0",
        "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    }.items()
)


class PublishingRegistry:
    """The records of a site, kept in its system state.

    Parameters
    ----------
    context
        The site, and its faces.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._last_state: tuple[str, Settings] | None = None

    def refresh_in_background(self) -> None:
        """Bring what is kept up to date in the background, once somebody has harvested.

        Who asks again need not wait for it.
        """
        if self._last_state is not None:
            threading.Thread(target=self._refresh_and_log, name="registry", daemon=True).start()

    def _refresh_and_log(self) -> None:
        try:
            self.refresh()
        except Exception:  # whoever asks next is told what is wrong
            logger.warning("registry: the records cannot be brought up to date", exc_info=True)

    def refresh(self) -> Sequence[str]:
        """Bring what is kept up to date with what everybody may see now.

        Returns
        -------
        claimed
            Identifiers that two records claim; the later one is left out.
        """
        site = self._context.site
        now = site.get_published_state()
        if self._last_state is not None and self._last_state[0] == now.version and self._last_state[1] is site.settings:
            return ()
        with self._lock:
            if self._last_state is None:  # other processes may have seen more than this one
                now = site.refresh_published_state()
            elif self._last_state[0] == now.version and self._last_state[1] is site.settings:
                return ()
            known_digests = site.store.registry.map_part_digests()
            making = _RecordBuilder(self._context, now)
            changed: dict[str, tuple[str, Sequence[RegistryRecord]] | None] = {}
            for part, part_digest in making.digests_by_part.items():
                if known_digests.get(part) != part_digest:
                    try:
                        changed[part] = part_digest, making.build_records(part)
                    except Exception:  # a plug-in's fault, or ours: the other records are told all the same
                        logger.exception(
                            "registry: the records of %s cannot be made; they stay as they were", part or "the site"
                        )
            changed |= {
                part: None for part in known_digests if part not in making.digests_by_part and making.is_removed(part)
            }
            if changed:
                claimed = site.store.registry.replace_records(changed)
            else:
                claimed = []
            for ivoid in claimed:
                logger.warning("registry: another record has the id %s already; this one is left out", ivoid)
            if not claimed:
                self._last_state = (now.version, site.settings)
            else:
                self._last_state = None
        return claimed


def draft_records(context: ServiceContext) -> dict[str, list[RegistryRecord]]:
    """Make all records as they would be told now, by the part: a collection; empty: the site. Nothing is told by it.

    Parameters
    ----------
    context
        The site, and its faces.
    """
    making = _RecordBuilder(context, context.site.get_published_state())
    record_store = context.site.store.registry
    return {
        part: [_restore_dates(record, record_store.find_record(record.ivoid)) for record in making.build_records(part)]
        for part in making.digests_by_part
    }


def _restore_dates(record: RegistryRecord, earlier_record: RegistryRecord | None) -> RegistryRecord:
    """Return a record with the dates that it has, if it was told: when it changed only where nothing of it differs."""
    if earlier_record is None:
        return record
    same = (earlier_record.kind, earlier_record.body, earlier_record.deleted) == (record.kind, record.body, False)
    created = record.created or earlier_record.created
    changed = earlier_record.changed if same else ""
    return replace(record, created=created, changed=changed)


def write_record(record: RegistryRecord) -> str:
    """Write a record as VOResource (``ivo_vor``).

    Parameters
    ----------
    record
        The record; what was not told yet has the dates of this moment.
    """
    return "".join(split_record(record))


def split_record(record: RegistryRecord) -> tuple[str, str, str]:
    """Write the same in pieces, of which a list of records is put together at once.

    It is a megabyte, and each further text of it a copy.

    Parameters
    ----------
    record
        As of `write_record`.
    """
    if not (record.created and record.changed):
        now = vosi.format_time(datetime.now(UTC))
    else:
        now = ""
    begin = (
        f'<ri:Resource xmlns="" {NAMESPACE_DECLARATIONS} xsi:schemaLocation="{REGISTRY_INTERFACE_NAMESPACE} {REGISTRY_INTERFACE_NAMESPACE}" xsi:type="{record.kind}" created="{record.created or now}" '
        f'updated="{record.changed or now}" status="active">'
    )
    return begin, record.body, "</ri:Resource>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ServiceRecord:
    """A record of a service: of the site, or over one table."""

    ivoid: str
    face: Face
    table: Table
    entry: ServiceRegistration


class _RecordBuilder:
    """Makes records of one state of the site."""

    def __init__(self, context: ServiceContext, published_state: PublishedState) -> None:
        self._context = context
        self._published_state = published_state
        self._settings = settings = context.site.settings
        self._base = settings.site_url
        records = context.site.published_records.values()
        self._unavailable_collections = {
            item.collection for item in records if item.table.qualified_name not in published_state.tables_by_name
        }
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        self.schemas = {item.name: item for item in map(_keep_registered_tables, catalogue.schemas) if item.tables}
        self._find_statistics = published_state.select_fully_visible(ANONYMOUS_PRINCIPAL, context.policies)
        faces = sorted(context.faces)
        relevant_settings = replace(
            settings, directory=Path(), host="", port=1, workers=1, job_workers=1
        )  # the others tell of no process
        ground = _compute_digest(__version__, self._base, repr(relevant_settings), *faces)
        parts = {
            name: _compute_digest(ground, *self._list_digest_parts(schema))
            for name, schema in self.schemas.items()
            if self._is_published(name) and not self._is_uncertain(schema)
        }
        # the site's own records before others of the same id
        digest = _compute_digest(ground, *parts.values())
        self.digests_by_part = {
            SITE_PART: digest,
            **parts,
        }

    def _is_published(self, name: str) -> bool:
        resource = self._published_state.resources.get(name)
        return resource is None or resource.registration is None or resource.registration.publish

    def _list_digest_parts(self, schema: Schema) -> Iterator[str]:
        resource = self._published_state.resources.get(schema.name)
        yield repr(sorted(resource.hashes.items()) if resource is not None else (schema.title, schema.description))
        for table in schema.tables:
            item = self._published_state.tables_by_name.get(table.qualified_name)
            yield repr(
                (
                    table.qualified_name,
                    item and (item.run_id, item.updated, item.damaged_snapshot),
                    table.policy is None,
                    table.keys,
                )
            )

    def _is_uncertain(self, schema: Schema) -> bool:
        """Return whether some of it cannot be told at the moment: its descriptor has faults, its engine is away."""
        return schema.name in self._unavailable_collections or (
            schema.name not in self._published_state.resources and self._has_descriptor(schema.name)
        )

    def _has_descriptor(self, name: str) -> bool:
        return (self._settings.collections_directory / name / f"{name}.yaml").exists()

    def is_removed(self, collection: str) -> bool:
        """Return whether a part that has no records now shall have none.

        It was taken away, or is not everybody's any more.
        """
        if collection in self.schemas and self._is_published(collection):
            return False  # it is there; nobody can tell what it is
        if any(item.table.schema == collection for item in self._published_state.tables_by_name.values()):
            return collection in self._published_state.resources or not self._has_descriptor(collection)
        return collection not in self._unavailable_collections

    def build_records(self, collection: str) -> list[RegistryRecord]:
        """Make the records of a part."""
        return list(
            self._build_site_records()
            if collection == SITE_PART
            else self._build_collection_records(self.schemas[collection])
        )

    # --- a collection ---------------------------------------------------------------------------------------------

    def _build_collection_records(self, schema: Schema) -> Iterator[RegistryRecord]:
        resource = self._published_state.resources.get(schema.name) or self._describe_schema(schema)
        registration = resource.registration
        authority = self._settings.find_authority(schema.name)
        ivoid = (registration and registration.id) or f"ivo://{authority}/{_encode_ivoid_segment(schema.name)}"
        services = list(self._list_table_services(schema, resource, ivoid))
        tap = self._make_site_ivoid("tap")
        if any(entry.is_served_by("tap") for entry in schema.tables):
            served = [RelatedResource(kind="IsServedBy", title="TAP", id=tap)]
        else:
            served = []
        capabilities = [
            entry
            for name, face in sorted(self._context.faces.items())
            if any(table.is_served_by(name) for table in schema.tables)
            for entry in self._list_capabilities(face, schema)
        ]
        capabilities = [
            self._add_mirrors(entry, "tap") if (entry.standard_id or "").startswith(TAP_STANDARD_ID) else entry
            for entry in capabilities
        ]
        items = [
            item
            for table in schema.tables
            if (item := self._published_state.tables_by_name.get(table.qualified_name)) is not None
        ]
        epn = [table for table in schema.tables if (table.utype or "").lower().startswith(EPN_TAP_UTYPE_PREFIX)]
        service_relations = [
            RelatedResource(
                kind="IsServedBy", title=f"{entry.face.title}: {_get_table_title(entry.table)}", id=entry.ivoid
            )
            for entry in services
        ]
        parts = [
            (table, self._find_registration(resource, table.name).id or f"{ivoid}/{_encode_ivoid_segment(table.name)}")
            for table in epn
        ]
        related = [
            *served,
            *service_relations,
            *(RelatedResource(kind="HasPart", title=_get_table_title(table), id=ident) for table, ident in parts),
        ]
        yield self._build_record(
            "vs:CatalogResource",
            ivoid,
            resource,
            capabilities=capabilities,
            tables=schema,
            covered_items=items,
            related=related,
        )
        for table, ident in parts:
            item = self._published_state.tables_by_name[table.qualified_name]
            aux = [entry for entry in capabilities if (entry.standard_id or "").endswith("#aux")]
            yield self._build_record(
                "vs:CatalogResource",
                ident,
                _describe_table(resource, table),
                capabilities=aux,
                tables=replace(schema, tables=(table,)),
                covered_items=[item],
                related=[*served, RelatedResource(kind="IsPartOf", title=resource.title, id=ivoid)],
            )
        for entry in services:
            yield self._build_service_record(entry, schema, resource, ivoid)

    def _list_table_services(self, schema: Schema, resource: Resource, ivoid: str) -> Iterator[_ServiceRecord]:
        for table in schema.tables:
            for name, face in sorted(self._context.faces.items()):
                for table_face in (face, *face.additional_faces):
                    if (
                        table_face.is_table_service
                        and table_face.standard_ids
                        and table.is_served_by(name)
                        and table_face.applies(table)
                    ):
                        entry = self._find_registration(resource, f"{table.name}.{table_face.name}")
                        key = f"{table.qualified_name}.{table_face.name}"
                        configured_id = self._settings.registry.ids.get(key) or entry.id
                        yield _ServiceRecord(
                            ivoid=configured_id or f"{ivoid}/{_encode_ivoid_segment(table.name)}/{table_face.name}",
                            face=table_face,
                            table=table,
                            entry=entry,
                        )

    def _list_capabilities(self, face: Face, schema: Schema | None) -> Sequence[Capability]:
        """Ask a face what it can do; one that fails can do nothing."""
        try:
            capabilities = face.list_capabilities(self._context, self._base, schema)
            return tuple(capabilities)
        except Exception as error:  # noqa: BLE001  (of plug-ins)
            logger.warning(
                "registry: the face %s does not say what it can do: %s, in %s",
                face.name,
                error,
                plugins.locate_error(error),
            )
            return ()

    def _find_registration(self, resource: Resource, key: str) -> ServiceRegistration:
        return (resource.registration.services.get(key) if resource.registration else None) or ServiceRegistration()

    def _build_service_record(
        self, service: _ServiceRecord, schema: Schema, resource: Resource, ivoid: str
    ) -> RegistryRecord:
        table = service.table
        face = service.face
        item = self._published_state.tables_by_name.get(table.qualified_name)
        if item is not None:
            place = coverage.find_sample_place(table, item)
        else:
            place = None
        capability = face.describe_capability(table, self._base, self._settings, sample_place=place)
        mirrors = (
            *service.entry.mirrors,
            *self._settings.registry.mirrors.get(f"{table.qualified_name}.{face.name}", ()),
        )
        test_query = service.entry.test or capability.test_query
        capability = replace(capability, mirrors=mirrors, test_query=test_query)
        capabilities_resource = Capability(
            standard_id="ivo://ivoa.net/std/VOSI#capabilities",
            url=f"{face.build_url(table, self._base)}/capabilities",
            role="std",
        )
        is_queryable = (
            face.build_query is not None or face.capability_type is not None
        )  # else of rows that are known already
        about = _describe_table(resource, table)
        return self._build_record(
            "vs:CatalogService" if is_queryable else "vs:DataService",
            service.ivoid,
            replace(about, title=f"{about.title} - {face.title}", doi=None),
            capabilities=[capabilities_resource, capability],
            tables=replace(schema, tables=(table,)) if is_queryable else None,
            covered_items=[item] if item is not None else [],
            related=[RelatedResource(kind="IsServiceFor", title=resource.title, id=ivoid)],
        )

    def _add_mirrors(self, capability: Capability, name: str) -> Capability:
        mirrors = self._settings.registry.mirrors.get(name, ())
        return replace(capability, mirrors=mirrors)

    # --- the site -------------------------------------------------------------------------------------------------

    def _build_site_records(self) -> Iterator[RegistryRecord]:
        settings = self._settings
        registry_settings = self._settings.registry
        for authority in settings.authorities:
            authority_resource = self._describe_site(
                f"The authority {authority}", f"The naming authority of {self._publisher} for what it publishes."
            )
            managing = (
                f"<managingOrg "
                f'ivo-id="{_escape_xml(self._make_site_ivoid("organisation"))}">{_escape_xml(self._publisher)}</managingOrg>'
            )
            yield self._build_record("vg:Authority", f"ivo://{authority}", authority_resource, extra_xml=managing)
        home = replace(
            self._describe_site(self._publisher, settings.description), reference_url=registry_settings.organisation_url
        )
        yield self._build_record("vr:Organisation", self._make_site_ivoid("organisation"), home)
        yield self.build_registry_record()
        tables = [table for schema in self.schemas.values() for table in schema.tables]
        for name, face in sorted(self._context.faces.items()):
            capabilities = [
                self._add_mirrors(registry_capability, name)
                if registry_capability.standard_id in face.standard_ids
                else registry_capability
                for registry_capability in self._list_capabilities(face, None)
            ]
            if not capabilities or not any(table.is_served_by(name) and face.applies(table) for table in tables):
                continue
            about = self._describe_site(
                f"{settings.title or settings.name} - {face.title}", face.description or settings.description
            )
            if any(registry_capability.standard_id == TAP_STANDARD_ID for registry_capability in capabilities):
                published_schemas = [schema for part, schema in self.schemas.items() if part in self.digests_by_part]
                yield self._build_record(
                    "vs:CatalogService",
                    self._make_site_ivoid(name),
                    about,
                    capabilities=capabilities,
                    tables=published_schemas,
                )
            else:
                yield self._build_record(
                    "vs:DataService", self._make_site_ivoid(name), about, capabilities=capabilities
                )

    def build_registry_record(self) -> RegistryRecord:
        """Make the registry's own record."""
        settings = self._settings
        about = self._describe_site(
            f"{settings.title or settings.name} - publishing registry",
            "What this site publishes, for the registries of the Virtual Observatory.",
        )
        managed = "".join(
            f"<managedAuthority>{_escape_xml(authority)}</managedAuthority>" for authority in settings.authorities
        )
        return self._build_record(
            "vg:Registry",
            self._make_site_ivoid("registry"),
            about,
            capabilities=list_registry_capabilities(self._base),
            extra_xml=f"<full>false</full>{managed}",
            with_rights=False,
        )

    def _make_site_ivoid(self, name: str) -> str:
        return self._settings.registry.ids.get(name) or f"ivo://{self._settings.authority}/{name}"

    @property
    def _publisher(self) -> str:
        return self._settings.registry.organisation or self._settings.title or self._settings.name

    def _describe_site(self, title: str, description: str | None) -> Resource:
        return Resource(name="", title=title, path=Path(), description=description)

    def _describe_schema(self, schema: Schema) -> Resource:
        """Describe tables without a descriptor: those of the site over all collections."""
        title = schema.title or f"{self._settings.title or self._settings.name}: {schema.name}"
        return Resource(name=schema.name, title=title, path=Path(), description=schema.description)

    # --- any ------------------------------------------------------------------------------------------------------

    def _build_record(
        self,
        resource_type: str,
        ivoid: str,
        resource: Resource,
        *,
        capabilities: Iterable[Capability] = (),
        tables: Schema | Sequence[Schema] | None = None,
        covered_items: Sequence[PublishedTable] = (),
        related: Sequence[RelatedResource] = (),
        extra_xml: str = "",
        with_rights: bool = True,
    ) -> RegistryRecord:
        registration = resource.registration
        all_related = [
            *related,
            *(registration.related if registration is not None and resource_type == "vs:CatalogResource" else ()),
        ]
        also = [
            *([f"doi:{doi}"] if (doi := _parse_doi(resource.doi)) else []),
            *map(_escape_uri, registration.also if registration is not None else ()),
        ]
        short = (resource.short_name or resource.name or (ivoid.partition("/")[2].rpartition("/")[2]))[
            :MAX_SHORT_NAME_CHARACTERS
        ]
        page = _clean_url(resource.reference_url) or self._base + (
            f"/collections/{quote(resource.name)}" if resource.name in self._published_state.resources else "/"
        )
        updated = max((item.updated for item in covered_items), default="")
        service = resource_type.startswith("vs:")
        parts = [
            _write_element("title", resource.title),
            _write_element("shortName", short),
            _write_element("identifier", ivoid),
            *(_write_element("altIdentifier", entry) for entry in dict.fromkeys(also)),
            "<curation>",
            self._write_curation(resource, updated),
            "</curation>",
            "<content>",
            *(_write_element("subject", entry) for entry in _list_subjects(resource)),
            _write_element("description", _get_description(resource)),
            *([f'<source format="bibcode">{_escape_xml(resource.bibcode)}</source>'] if resource.bibcode else []),
            _write_element("referenceURL", page),
            *(_write_element("type", entry) for entry in resource.type or _list_content_types(resource_type)),
            *(_write_element("contentLevel", entry) for entry in resource.content_level or ("Research",)),
            *(_write_relation(entry) for entry in all_related),
            "</content>",
            _write_rights(resource) if service and with_rights else "",
            *(vosi.write_capability(entry) for entry in capabilities),
        ]
        if service:
            parts += [_write_element("facility", entry) for entry in resource.facility] + [
                _write_element("instrument", entry) for entry in resource.instrument
            ]
            parts.append(coverage.write_coverage(covered_items, resource.waveband))
            parts.append(_write_tableset(tables, self._find_statistics))
        body = replace_illegal_characters("".join((*parts, extra_xml)))
        dublin = replace_illegal_characters(self._write_dublin_core(resource, ivoid, page, also))
        return RegistryRecord(
            ivoid=ivoid,
            kind=resource_type,
            body=body,
            dublin=dublin,
            created=_find_creation_date(resource),
        )

    def _write_curation(self, resource: Resource, updated: str) -> str:
        settings = self._settings
        ours = resource.publisher in {None, self._publisher}
        if ours:
            whose = f' ivo-id="{_escape_xml(self._make_site_ivoid("organisation"))}"'
        else:
            whose = ""
        contact = resource.contact or Person(name=settings.contact_name or self._publisher)
        if resource.contact is None and settings.registry.address:
            place = _write_element("address", settings.registry.address)
        else:
            place = ""
        mail = contact.email or settings.contact_email
        return "".join(
            (
                f"<publisher{whose}>{_escape_xml(resource.publisher or self._publisher)}</publisher>",
                *(
                    f"<creator>{_write_element('name', creator.name)}{_write_orcid(creator)}</creator>"
                    for creator in resource.creators
                ),
                f'<date role="Created">{resource.created}</date>'
                if resource.created and _DATE_PATTERN.fullmatch(resource.created)
                else "",
                f'<date role="Updated">{updated[:19]}Z</date>' if _DATE_PATTERN.match(updated) else "",
                f"<contact>{_write_element('name', contact.name)}{place}{_write_element('email', mail) if mail else ''}{_write_orcid(contact)}</contact>",
            )
        )

    def _write_dublin_core(
        self, resource: Resource, ivoid: str, landing_page: str, alternate_ids: Sequence[str]
    ) -> str:
        words = [
            ("title", resource.title),
            *(("creator", item.name) for item in resource.creators),
            *(("subject", item) for item in _list_subjects(resource)),
            ("description", _get_description(resource)),
            ("publisher", resource.publisher or self._publisher),
            ("date", resource.created),
            *(("type", item) for item in resource.type),
            ("identifier", ivoid),
            *(("identifier", item) for item in alternate_ids),
            ("identifier", landing_page),
            ("source", resource.bibcode),
            ("rights", resource.licence_url or resource.licence),
        ]
        return "".join(f"<dc:{name}>{_escape_xml(value)}</dc:{name}>" for name, value in words if value)


def list_registry_capabilities(base_url: str) -> list[Capability]:
    """List what a publishing registry can do (Registry Interfaces 1.1 section 3).

    Parameters
    ----------
    base_url
        Address of the site.
    """
    url = f"{base_url}/oai"
    return [
        Capability(
            standard_id=REGISTRY_STANDARD_ID,
            url=url,
            use="base",
            interface="vg:OAIHTTP",
            role="std",
            version="1.0",
            extension_xml=f"<maxRecords>{RECORDS_PER_PAGE}</maxRecords>",
            attributes_xml='xmlns:vg="http://www.ivoa.net/xml/VORegistry/v1.0" xsi:type="vg:Harvest"',
        ),
        Capability(standard_id="ivo://ivoa.net/std/VOSI#capabilities", url=f"{url}/capabilities", role="std"),
        Capability(standard_id="ivo://ivoa.net/std/VOSI#availability", url=f"{url}/availability", role="std"),
    ]


def _keep_registered_tables(schema: Schema) -> Schema:
    """Return a schema with those of its tables that registries are told of: neither releases nor TAP_SCHEMA."""
    registered_tables = (
        ()
        if schema.name == TAP_SCHEMA
        else tuple(candidate for candidate in schema.tables if candidate.release is None)
    )
    return replace(schema, tables=registered_tables)


def _describe_table(resource: Resource, table: Table) -> Resource:
    """Return what is said of a table: what it does not say, its collection does."""
    if _get_table_title(table) != resource.title:
        title = f"{resource.title}: {_get_table_title(table)}"
    else:
        title = resource.title
    described = "\n\n".join(dict.fromkeys(text for text in (table.description, resource.description) if text))
    registration = resource.registration and replace(resource.registration, also=())
    return replace(resource, title=title, description=described or None, registration=registration, short_name=None)


def _get_table_title(table: Table | None) -> str:
    if table is None:
        return ""
    return table.title or table.name


def _encode_ivoid_segment(name: str) -> str:
    """Write a name as a part of an IVOID.

    What may not stand there (VOResource 1.1, 2.2.1) as ``=`` and its bytes, as other names do not.
    """
    text = re.sub(r"[^A-Za-z0-9.\-_!~*'()+]", lambda found: "".join(f"={byte:02X}" for byte in found[0].encode()), name)
    if text.strip("."):
        return text
    return text.replace(".", "=2E")


def _compute_digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _escape_xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _write_element(name: str, text: str) -> str:
    return f"<{name}>{_escape_xml(text)}</{name}>"


def _escape_uri(text: str) -> str:
    """Escape what may not stand in a URI (RFC 3986)."""
    begin, *fragments = _NON_URI_PATTERN.sub(lambda found: quote(found[0], safe=""), text.strip()).split("#")
    if fragments:
        return "#".join((begin, "%23".join(fragments)))
    return begin


def _clean_url(text: str | None) -> str | None:
    """Return an address of the web; None: it is none."""
    if text and _WEB_ADDRESS_PATTERN.fullmatch(text.strip()):
        return _escape_uri(text)
    return None


def _parse_doi(text: str | None) -> str | None:
    doi_match = re.fullmatch(
        r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", (text or "").strip(), re.IGNORECASE
    )
    if doi_match:
        return _escape_uri(doi_match[1].replace("#", "%23"))
    return None


def _write_orcid(person: Person) -> str:
    orcid_match = re.search(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]", person.orcid or "")
    if orcid_match:
        return _write_element("altIdentifier", f"orcid:{orcid_match[0]}")
    return ""


def _get_description(resource: Resource) -> str:
    return resource.description or resource.title


def _list_subjects(resource: Resource) -> list[str]:
    """Return the subjects as the UAT's vocabulary writes them."""
    words = map(descriptor.normalize_term, resource.subjects)
    return list(dict.fromkeys(subject for subject in words if subject)) or list(DEFAULT_SUBJECTS)


def _list_content_types(resource_type: str) -> tuple[str, ...]:
    return {"vg:Registry": ("Registry",), "vr:Organisation": ("Organisation",), "vg:Authority": ("Other",)}.get(
        resource_type, ("Catalog",)
    )


def _find_creation_date(resource: Resource) -> str | None:
    """Return when it was first published, as far as its descriptor says a day that has been."""
    date_match = _DATE_PATTERN.match(resource.created or "")
    if date_match is None:
        return None
    try:
        moment = datetime.fromisoformat(date_match[0]).replace(tzinfo=UTC)
    except ValueError:
        return None
    if moment < datetime.now(UTC):
        return vosi.format_time(moment)
    return None


def _write_relation(related: RelatedResource) -> str:
    if related.id:
        whose = f' ivo-id="{_escape_xml(related.id)}"'
    else:
        whose = ""
    title = related.title or related.id or ""
    return f"<relationship>{_write_element('relationshipType', related.kind)}<relatedResource{whose}>{_escape_xml(title)}</relatedResource></relationship>"


def _write_rights(resource: Resource) -> str:
    licence = resource.licence or resource.licence_url
    url = _clean_url(resource.licence_url)
    if not licence:
        return ""
    if not url and SPDX_LICENCE_PATTERN.fullmatch(licence):
        url = f"http://spdx.org/licenses/{licence}"
    if url:
        where = f' rightsURI="{_escape_xml(url)}"'
    else:
        where = ""
    return f"<rights{where}>{_escape_xml(licence)}</rights>"


def _write_tableset(
    tables: Schema | Sequence[Schema] | None, find_statistics: Callable[[Table], PublishedTable | None]
) -> str:
    if tables is None:
        return ""
    schemas = [tables] if isinstance(tables, Schema) else tables
    large = sum(len(table.columns) for schema in schemas for table in schema.tables) > MAX_DESCRIBED_COLUMNS
    detail = "min" if large else None
    inside = "".join(
        vosi.write_schema(table_schema, detail=detail, quote_name=adql.quote_name, find_statistics=find_statistics)
        for table_schema in schemas
    )
    if inside:
        return f"<tableset>{inside}</tableset>"
    return ""


__all__ = [
    "EMAIL_PATTERN",
    "RECORDS_PER_PAGE",
    "REGISTRY_INTERFACE_NAMESPACE",
    "SPDX_LICENCE_PATTERN",
    "PublishingRegistry",
    "draft_records",
    "list_registry_capabilities",
    "write_record",
]
