"""Records for registries of the Virtual Observatory, built from descriptors, published tables and faces.

They follow VOResource 1.1, VODataService 1.2 and VORegistry 1.0; `record_coverage` writes the coverage.
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
from hven.formats import escape_xml, quote_attribute, replace_illegal_characters
from hven.model import plugins
from hven.model.resource import (
    SPDX_LICENCE_PATTERN,
    CollectionSpec,
    Person,
    RelatedResource,
    ServiceRegistration,
)
from hven.model.table import Schema
from hven.plugins.registry import record_coverage as coverage
from hven.plugins.registry.record_store import RegistryRecord, RegistryRecordStore
from hven.services.api import vosi
from hven.services.api.vosi import Capability
from hven.site import TAP_SCHEMA
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.services.face import ServiceContext, ServiceFace
    from hven.site import PublishedState, PublishedTable

logger = logging.getLogger("hven")

SITE_PART = ""  # key of the records that belong to no collection
REGISTRY_STANDARD_ID = "ivo://ivoa.net/std/Registry"
EPN_TAP_UTYPE_PREFIX = "ivo://ivoa.net/std/epntap#table-"  # utypes of tables of EPN-TAP
TAP_STANDARD_ID = "ivo://ivoa.net/std/TAP"
RECORDS_PER_PAGE = 200  # records in one response
DEFAULT_SUBJECTS = ("virtual-observatories", "astronomy-databases")  # of the UAT, for records without subjects
MAX_DESCRIBED_COLUMNS = 5_000  # with more columns, the record of a service lists its tables without columns
EMAIL_PATTERN = re.compile(r"\S+@(\S+\.)+\S+")  # as in the schema of OAI-PMH
MAX_SHORT_NAME_CHARACTERS = 16
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
    """The registry records of a site, which are kept in its system state.

    Parameters
    ----------
    context
        The site and its faces.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._record_store = context.site.store.get_or_create(RegistryRecordStore)
        self._lock = threading.Lock()
        self._last_state: tuple[str, Settings] | None = None

    def refresh_in_background_if_harvested(self) -> None:
        """Update the records in the background, after the first harvest; later requests need not wait for it."""
        if self._last_state is not None:
            threading.Thread(target=self._refresh_logging_errors, name="registry", daemon=True).start()

    def _refresh_logging_errors(self) -> None:
        try:
            self.refresh_listing_conflicts()
        except Exception:  # the next request reports it
            logger.warning("registry: the records cannot be updated", exc_info=True)

    def refresh_listing_conflicts(self) -> Sequence[str]:
        """Update the records to what everybody may see now.

        Returns
        -------
        claimed_ivoids
            Identifiers that two records claim; the later record is left out.
        """
        site = self._context.site
        published_state = site.get_published_state()
        if self._are_records_current(published_state):
            return ()
        with self._lock:
            if self._last_state is None:  # other processes may have recorded a later state
                published_state = site.refresh_published_state()
            elif self._are_records_current(published_state):
                return ()
            claimed_ivoids: Sequence[str] = []
            changed_parts = self._build_changed_parts(published_state)
            if changed_parts:
                claimed_ivoids = self._record_store.replace_records_listing_conflicts(changed_parts)
            for ivoid in claimed_ivoids:
                logger.warning(
                    "registry: another record already has the id %s, so Hven leaves the new record out", ivoid
                )
            self._last_state = None
            if not claimed_ivoids:
                self._last_state = (published_state.version, site.settings)
        return claimed_ivoids

    def _are_records_current(self, published_state: PublishedState) -> bool:
        if self._last_state is None:
            return False
        version, settings = self._last_state
        return version == published_state.version and settings is self._context.site.settings

    def _build_changed_parts(
        self, published_state: PublishedState
    ) -> dict[str, tuple[str, Sequence[RegistryRecord]] | None]:
        """Build digests and records of the parts that have changed, with None for a part that is removed."""
        known_digests = self._record_store.map_part_digests()
        builder = _RegistryRecordBuilder(self._context, published_state)
        changed_parts: dict[str, tuple[str, Sequence[RegistryRecord]] | None] = {}
        for part, part_digest in builder.digests_by_part.items():
            if known_digests.get(part) == part_digest:
                continue
            try:
                changed_parts[part] = part_digest, builder.build_records(part)
            except Exception:  # of a plug-in, or a bug: the other records are updated all the same
                logger.exception(
                    "registry: the records of %s cannot be created; Hven keeps the previous records", part or "the site"
                )
        for part in known_digests:
            if part not in builder.digests_by_part and builder.is_no_longer_registered(part):
                changed_parts[part] = None
        return changed_parts


def build_draft_records(context: ServiceContext) -> dict[str, list[RegistryRecord]]:
    """Build all records as they would be published now, without publishing them.

    Parameters
    ----------
    context
        The site and its faces.

    Returns
    -------
    records
        Records by collection; under the empty name, those of the site.
    """
    builder = _RegistryRecordBuilder(context, context.site.get_published_state())
    record_store = context.site.store.get_or_create(RegistryRecordStore)
    records_by_part: dict[str, list[RegistryRecord]] = {}
    for part in builder.digests_by_part:
        records_by_part[part] = []
        for record in builder.build_records(part):
            earlier_record = record_store.find_record(record.ivoid)
            records_by_part[part].append(_with_published_dates(record, earlier_record))
    return records_by_part


def _with_published_dates(record: RegistryRecord, earlier_record: RegistryRecord | None) -> RegistryRecord:
    """Return a record with the dates of the published one; the date of its change only if they are equal."""
    if earlier_record is None:
        return record
    created = record.created or earlier_record.created
    changed = ""
    has_same_content = earlier_record.kind == record.kind and earlier_record.body == record.body
    if has_same_content and not earlier_record.deleted:
        changed = earlier_record.changed
    return replace(record, created=created, changed=changed)


def write_registry_record_xml(record: RegistryRecord) -> str:
    """Write a record as VOResource (``ivo_vor``).

    Parameters
    ----------
    record
        The record; if it is not published yet, its dates are those of this moment.
    """
    return "".join(write_registry_record_pieces(record))


def write_registry_record_pieces(record: RegistryRecord) -> tuple[str, str, str]:
    """Write a record in pieces, so that a list of records is joined once: it may have megabytes.

    Parameters
    ----------
    record
        As in `write_registry_record_xml`.
    """
    now = ""
    if not (record.created and record.changed):
        now = vosi.format_time(datetime.now(UTC))
    begin = (
        f'<ri:Resource xmlns="" {NAMESPACE_DECLARATIONS} '
        f'xsi:schemaLocation="{REGISTRY_INTERFACE_NAMESPACE} {REGISTRY_INTERFACE_NAMESPACE}" '
        f'xsi:type="{record.kind}" created="{record.created or now}" '
        f'updated="{record.changed or now}" status="active">'
    )
    return begin, record.body, "</ri:Resource>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _TableServiceRegistration:
    """A record of a service over one table."""

    ivoid: str
    face: ServiceFace
    table: Table
    entry: ServiceRegistration


class _RegistryRecordBuilder:
    """Builds the records of one state of the site."""

    def __init__(self, context: ServiceContext, published_state: PublishedState) -> None:
        self._context = context
        self._published_state = published_state
        self._settings = context.site.settings
        self._base = self._settings.site_url
        self._unavailable_collections = set()
        for item in context.site.published_records.values():
            if item.table.qualified_name not in published_state.tables_by_name:
                self._unavailable_collections.add(item.collection)
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        registered_schemas = map(_with_registered_tables, catalogue.schemas)
        self.schemas = {schema.name: schema for schema in registered_schemas if schema.tables}
        self._find_statistics = published_state.create_visible_statistics_lookup(ANONYMOUS_PRINCIPAL, context.policies)
        # without settings of this process, which do not change the records
        relevant_settings = replace(self._settings, directory=Path(), host="", port=1, workers=1, job_workers=1)
        site_digest = _compute_digest_of_texts(__version__, self._base, repr(relevant_settings), *sorted(context.faces))
        digests_by_collection = {}
        for name, schema in self.schemas.items():
            if self._is_registration_published(name) and not self._is_schema_unreadable(schema):
                digest_parts = self._list_digest_inputs(schema)
                digests_by_collection[name] = _compute_digest_of_texts(site_digest, *digest_parts)
        # the records of the site come first: of two records with the same id, the first is kept
        self.digests_by_part = {
            SITE_PART: _compute_digest_of_texts(site_digest, *digests_by_collection.values()),
            **digests_by_collection,
        }

    def _is_registration_published(self, collection: str) -> bool:
        resource = self._published_state.resources.get(collection)
        return resource is None or resource.registration is None or resource.registration.publish

    def _list_digest_inputs(self, schema: Schema) -> Iterator[str]:
        resource = self._published_state.resources.get(schema.name)
        if resource is not None:
            yield repr(sorted(resource.hashes.items()))
        else:
            yield repr((schema.title, schema.description))
        for table in schema.tables:
            item = self._published_state.tables_by_name.get(table.qualified_name)
            item_facts = item and (item.run_id, item.updated, item.damaged_snapshot)
            yield repr((table.qualified_name, item_facts, table.policy is None, table.keys))

    def _is_schema_unreadable(self, schema: Schema) -> bool:
        """Return whether its records are not known now: its descriptor has faults, or its engine is unavailable."""
        if schema.name in self._unavailable_collections:
            return True
        return schema.name not in self._published_state.resources and self._has_descriptor(schema.name)

    def _has_descriptor(self, collection: str) -> bool:
        return self._settings.locate_descriptor(collection).exists()

    def is_no_longer_registered(self, collection: str) -> bool:
        """Return whether a collection without records has none because it was removed, or is not public any more."""
        if collection in self.schemas and self._is_registration_published(collection):
            return False  # it exists, and its records are not known now
        if any(item.table.schema == collection for item in self._published_state.tables_by_name.values()):
            return collection in self._published_state.resources or not self._has_descriptor(collection)
        return collection not in self._unavailable_collections

    def build_records(self, collection: str) -> list[RegistryRecord]:
        """Build the records of a collection, or of the site."""
        if collection == SITE_PART:
            return list(self._build_site_records())
        return list(self._build_collection_records(self.schemas[collection]))

    # --- a collection ---------------------------------------------------------------------------------------------

    def _build_collection_records(self, schema: Schema) -> Iterator[RegistryRecord]:
        resource = self._published_state.resources.get(schema.name) or self._build_schema_resource(schema)
        authority = self._settings.find_collection_authority(schema.name)
        ivoid = f"ivo://{authority}/{_encode_ivoid_segment(schema.name)}"
        if resource.registration is not None:
            ivoid = resource.registration.id or ivoid
        service_records = list(self._list_table_services(schema, resource, ivoid))
        capabilities = self._list_schema_capabilities(schema)
        tap_relations = []
        if any(table.is_served_by("tap") for table in schema.tables):
            tap_ivoid = self._make_site_ivoid("tap")
            tap_relations.append(RelatedResource(kind="IsServedBy", title="TAP", id=tap_ivoid))
        related = [*tap_relations]
        for service in service_records:
            title = f"{service.face.title}: {_get_table_title(service.table)}"
            related.append(RelatedResource(kind="IsServedBy", title=title, id=service.ivoid))
        # tables of EPN-TAP have records of their own
        ivoid_by_table: dict[str, str] = {}
        epn_tables = [table for table in schema.tables if _is_epn_table(table)]
        for table in epn_tables:
            table_ivoid = self._find_registration(resource, table.name).id
            if not table_ivoid:
                table_ivoid = f"{ivoid}/{_encode_ivoid_segment(table.name)}"
            ivoid_by_table[table.name] = table_ivoid
            related.append(RelatedResource(kind="HasPart", title=_get_table_title(table), id=table_ivoid))
        items = [self._published_state.tables_by_name.get(table.qualified_name) for table in schema.tables]
        yield self._build_record(
            "vs:CatalogResource",
            ivoid,
            resource,
            capabilities=capabilities,
            tables=schema,
            covered_items=[item for item in items if item is not None],
            related=related,
        )
        auxiliary_capabilities = [
            capability for capability in capabilities if (capability.standard_id or "").endswith("#aux")
        ]
        parent_relation = RelatedResource(kind="IsPartOf", title=resource.title, id=ivoid)
        for table in epn_tables:
            yield self._build_record(
                "vs:CatalogResource",
                ivoid_by_table[table.name],
                _build_table_resource(resource, table),
                capabilities=auxiliary_capabilities,
                tables=replace(schema, tables=(table,)),
                covered_items=[self._published_state.tables_by_name[table.qualified_name]],
                related=[*tap_relations, parent_relation],
            )
        for service in service_records:
            yield self._build_service_record(service, schema, resource, ivoid)

    def _list_schema_capabilities(self, schema: Schema) -> list[Capability]:
        """List the capabilities of the faces that serve a schema."""
        capabilities = []
        for name, face in sorted(self._context.faces.items()):
            if not any(table.is_served_by(name) for table in schema.tables):
                continue
            for capability in self._list_capabilities(face, schema):
                if (capability.standard_id or "").startswith(TAP_STANDARD_ID):
                    capabilities.append(self._with_mirrors(capability, "tap"))
                else:
                    capabilities.append(capability)
        return capabilities

    def _list_table_services(
        self, schema: Schema, resource: CollectionSpec, ivoid: str
    ) -> Iterator[_TableServiceRegistration]:
        for table in schema.tables:
            for name, face in sorted(self._context.faces.items()):
                if not table.is_served_by(name):
                    continue
                for table_face in (face, *face.additional_faces):
                    if not table_face.is_table_service or not table_face.standard_ids:
                        continue
                    if not table_face.applies(table):
                        continue
                    entry = self._find_registration(resource, f"{table.name}.{table_face.name}")
                    settings_key = f"{table.qualified_name}.{table_face.name}"
                    configured_id = self._settings.registry.ids.get(settings_key) or entry.id
                    default_id = f"{ivoid}/{_encode_ivoid_segment(table.name)}/{table_face.name}"
                    yield _TableServiceRegistration(
                        ivoid=configured_id or default_id,
                        face=table_face,
                        table=table,
                        entry=entry,
                    )

    def _list_capabilities(self, face: ServiceFace, schema: Schema | None) -> Sequence[Capability]:
        """List the capabilities of a face; none, if it fails."""
        try:
            capabilities = face.list_capabilities(self._context, self._base, schema)
            return tuple(capabilities)
        except Exception as error:  # noqa: BLE001  (it may be a plug-in)
            logger.warning(
                "registry: the capabilities of the face %s cannot be listed: %s (in %s)",
                face.name,
                error,
                plugins.describe_error_origin(error),
            )
            return ()

    def _find_registration(self, resource: CollectionSpec, key: str) -> ServiceRegistration:
        registration = None
        if resource.registration is not None:
            registration = resource.registration.services.get(key)
        return registration or ServiceRegistration()

    def _build_service_record(
        self, service: _TableServiceRegistration, schema: Schema, resource: CollectionSpec, ivoid: str
    ) -> RegistryRecord:
        table = service.table
        face = service.face
        item = self._published_state.tables_by_name.get(table.qualified_name)
        sample_place = None
        if item is not None:
            sample_place = coverage.find_sample_sky_circle(table, item)
        capability = face.build_table_capability(table, self._base, self._settings, sample_place=sample_place)
        configured_mirrors = self._settings.registry.mirrors.get(f"{table.qualified_name}.{face.name}", ())
        capability = replace(
            capability,
            mirrors=(*service.entry.mirrors, *configured_mirrors),
            test_query=service.entry.test or capability.test_query,
        )
        vosi_capability = Capability(
            standard_id="ivo://ivoa.net/std/VOSI#capabilities",
            url=f"{face.build_url(table, self._base)}/capabilities",
            role="std",
        )
        resource_type = "vs:DataService"  # its clients know the rows already
        tables = None
        if face.build_query is not None or face.capability_type is not None:
            resource_type = "vs:CatalogService"
            tables = replace(schema, tables=(table,))
        table_resource = _build_table_resource(resource, table)
        title = f"{table_resource.title} - {face.title}"
        return self._build_record(
            resource_type,
            service.ivoid,
            replace(table_resource, title=title, doi=None),
            capabilities=[vosi_capability, capability],
            tables=tables,
            covered_items=[item] if item is not None else [],
            related=[RelatedResource(kind="IsServiceFor", title=resource.title, id=ivoid)],
        )

    def _with_mirrors(self, capability: Capability, name: str) -> Capability:
        mirrors = self._settings.registry.mirrors.get(name, ())
        return replace(capability, mirrors=mirrors)

    # --- the site -------------------------------------------------------------------------------------------------

    def _build_site_records(self) -> Iterator[RegistryRecord]:
        settings = self._settings
        organisation_ivoid = self._make_site_ivoid("organisation")
        for authority in settings.authorities:
            authority_resource = self._build_site_resource(
                f"The authority {authority}", f"The naming authority of {self._publisher} for its data and services."
            )
            managing_organisation = (
                f"<managingOrg ivo-id={quote_attribute(organisation_ivoid)}>{escape_xml(self._publisher)}</managingOrg>"
            )
            yield self._build_record(
                "vg:Authority", f"ivo://{authority}", authority_resource, extra_xml=managing_organisation
            )
        organisation = self._build_site_resource(self._publisher, settings.description)
        organisation = replace(organisation, reference_url=settings.registry.organisation_url)
        yield self._build_record("vr:Organisation", organisation_ivoid, organisation)
        yield self.build_registry_record()
        tables = [table for schema in self.schemas.values() for table in schema.tables]
        for name, face in sorted(self._context.faces.items()):
            capabilities = []
            for capability in self._list_capabilities(face, None):
                if capability.standard_id in face.standard_ids:
                    capabilities.append(self._with_mirrors(capability, name))
                else:
                    capabilities.append(capability)
            serves_tables = any(table.is_served_by(name) and face.applies(table) for table in tables)
            if not capabilities or not serves_tables:
                continue
            resource_type = "vs:DataService"
            schemas = None
            if any(capability.standard_id == TAP_STANDARD_ID for capability in capabilities):
                resource_type = "vs:CatalogService"
                schemas = [schema for part, schema in self.schemas.items() if part in self.digests_by_part]
            title = f"{settings.title or settings.name} - {face.title}"
            service_resource = self._build_site_resource(title, face.description or settings.description)
            yield self._build_record(
                resource_type,
                self._make_site_ivoid(name),
                service_resource,
                capabilities=capabilities,
                tables=schemas,
            )

    def build_registry_record(self) -> RegistryRecord:
        """Build the registry's own record."""
        settings = self._settings
        registry_resource = self._build_site_resource(
            f"{settings.title or settings.name} - publishing registry",
            "Records of the data and services of this site, for the registries of the Virtual Observatory.",
        )
        authority_elements = [_write_element("managedAuthority", authority) for authority in settings.authorities]
        return self._build_record(
            "vg:Registry",
            self._make_site_ivoid("registry"),
            registry_resource,
            capabilities=list_registry_capabilities(self._base),
            extra_xml=f"<full>false</full>{''.join(authority_elements)}",
            with_rights=False,
        )

    def _make_site_ivoid(self, name: str) -> str:
        return self._settings.registry.ids.get(name) or f"ivo://{self._settings.authority}/{name}"

    @property
    def _publisher(self) -> str:
        return self._settings.registry.organisation or self._settings.title or self._settings.name

    def _build_site_resource(self, title: str, description: str | None) -> CollectionSpec:
        return CollectionSpec(name="", title=title, path=Path(), description=description)

    def _build_schema_resource(self, schema: Schema) -> CollectionSpec:
        """Describe tables without a descriptor, which the site has over all collections."""
        title = schema.title or f"{self._settings.title or self._settings.name}: {schema.name}"
        return CollectionSpec(name=schema.name, title=title, path=Path(), description=schema.description)

    # --- all records ----------------------------------------------------------------------------------------------

    def _build_record(
        self,
        resource_type: str,
        ivoid: str,
        resource: CollectionSpec,
        *,
        capabilities: Iterable[Capability] = (),
        tables: Schema | Sequence[Schema] | None = None,
        covered_items: Sequence[PublishedTable] = (),
        related: Sequence[RelatedResource] = (),
        extra_xml: str = "",
        with_rights: bool = True,
    ) -> RegistryRecord:
        registration = resource.registration
        all_related = [*related]
        alternate_ids = []
        doi = _parse_doi(resource.doi)
        if doi:
            alternate_ids.append(f"doi:{doi}")
        if registration is not None:
            alternate_ids += map(_escape_uri, registration.also)
            if resource_type == "vs:CatalogResource":
                all_related += registration.related
        ivoid_name = ivoid.partition("/")[2].rpartition("/")[2]
        short_name = resource.short_name or resource.name or ivoid_name
        landing_page = self._base + "/"
        if resource.name in self._published_state.resources:
            landing_page += f"collections/{quote(resource.name)}"
        landing_page = _parse_web_address(resource.reference_url) or landing_page
        updated = max((item.updated for item in covered_items), default="")
        is_service = resource_type.startswith("vs:")
        parts = [
            _write_element("title", resource.title),
            _write_element("shortName", short_name[:MAX_SHORT_NAME_CHARACTERS]),
            _write_element("identifier", ivoid),
            *_write_elements("altIdentifier", dict.fromkeys(alternate_ids)),
            f"<curation>{self._write_curation(resource, updated)}</curation>",
            f"<content>{_write_content_xml(resource, resource_type, landing_page, all_related)}</content>",
        ]
        if is_service and with_rights:
            parts.append(_write_rights(resource))
        parts += map(vosi.write_capability, capabilities)
        if is_service:
            parts += _write_elements("facility", resource.facility)
            parts += _write_elements("instrument", resource.instrument)
            parts.append(coverage.write_coverage_xml(covered_items, resource.waveband))
            parts.append(_write_tableset(tables, self._find_statistics))
        parts.append(extra_xml)
        dublin_core = self._write_dublin_core(resource, ivoid, landing_page, alternate_ids)
        return RegistryRecord(
            ivoid=ivoid,
            kind=resource_type,
            body=replace_illegal_characters("".join(parts)),
            dublin=replace_illegal_characters(dublin_core),
            created=_find_creation_date(resource),
        )

    def _write_curation(self, resource: CollectionSpec, updated: str) -> str:
        settings = self._settings
        publisher_attribute = ""
        if resource.publisher in {None, self._publisher}:
            publisher_attribute = f" ivo-id={quote_attribute(self._make_site_ivoid('organisation'))}"
        publisher = escape_xml(resource.publisher or self._publisher)
        parts = [f"<publisher{publisher_attribute}>{publisher}</publisher>"]
        parts += [
            f"<creator>{_write_element('name', creator.name)}{_write_orcid(creator)}</creator>"
            for creator in resource.creators
        ]
        if resource.created and _DATE_PATTERN.fullmatch(resource.created):
            parts.append(f'<date role="Created">{resource.created}</date>')
        if _DATE_PATTERN.match(updated):
            parts.append(f'<date role="Updated">{updated[:19]}Z</date>')
        contact = resource.contact or Person(name=settings.contact_name or self._publisher)
        parts += ["<contact>", _write_element("name", contact.name)]
        if resource.contact is None and settings.registry.address:
            parts.append(_write_element("address", settings.registry.address))
        email = contact.email or settings.contact_email
        if email:
            parts.append(_write_element("email", email))
        parts += [_write_orcid(contact), "</contact>"]
        return "".join(parts)

    def _write_dublin_core(
        self, resource: CollectionSpec, ivoid: str, landing_page: str, alternate_ids: Sequence[str]
    ) -> str:
        terms = [
            ("title", resource.title),
            *(("creator", creator.name) for creator in resource.creators),
            *(("subject", subject) for subject in _list_subjects(resource)),
            ("description", _get_description(resource)),
            ("publisher", resource.publisher or self._publisher),
            ("date", resource.created),
            *(("type", content_type) for content_type in resource.type),
            ("identifier", ivoid),
            *(("identifier", alternate_id) for alternate_id in alternate_ids),
            ("identifier", landing_page),
            ("source", resource.bibcode),
            ("rights", resource.licence_url or resource.licence),
        ]
        return "".join(_write_element(f"dc:{name}", value) for name, value in terms if value)


def _write_content_xml(
    resource: CollectionSpec, resource_type: str, landing_page: str, related: Iterable[RelatedResource]
) -> str:
    parts = _write_elements("subject", _list_subjects(resource))
    parts.append(_write_element("description", _get_description(resource)))
    if resource.bibcode:
        parts.append(f'<source format="bibcode">{escape_xml(resource.bibcode)}</source>')
    parts.append(_write_element("referenceURL", landing_page))
    parts += _write_elements("type", resource.type or _list_content_types(resource_type))
    parts += _write_elements("contentLevel", resource.content_level or ("Research",))
    parts += map(_write_relation, related)
    return "".join(parts)


def list_registry_capabilities(base_url: str) -> list[Capability]:
    """List the capabilities of a publishing registry (Registry Interfaces 1.1, section 3).

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


def _with_registered_tables(schema: Schema) -> Schema:
    """Return a schema with the tables that are registered: neither releases nor TAP_SCHEMA."""
    registered_tables: tuple[Table, ...] = ()
    if schema.name != TAP_SCHEMA:
        registered_tables = tuple(table for table in schema.tables if table.release is None)
    return replace(schema, tables=registered_tables)


def _build_table_resource(resource: CollectionSpec, table: Table) -> CollectionSpec:
    """Describe a table; what it lacks comes from its collection."""
    title = resource.title
    if _get_table_title(table) != resource.title:
        title = f"{resource.title}: {_get_table_title(table)}"
    descriptions = dict.fromkeys(text for text in (table.description, resource.description) if text)
    registration = resource.registration and replace(resource.registration, also=())
    return replace(
        resource,
        title=title,
        description="\n\n".join(descriptions) or None,
        registration=registration,
        short_name=None,
    )


def _get_table_title(table: Table | None) -> str:
    if table is None:
        return ""
    return table.title or table.name


def _is_epn_table(table: Table) -> bool:
    return (table.utype or "").lower().startswith(EPN_TAP_UTYPE_PREFIX)


def _encode_ivoid_segment(name: str) -> str:
    """Encode a name as a segment of an IVOID: invalid characters (VOResource 1.1, 2.2.1) as ``=`` and their bytes."""

    def encode_character(character_match: re.Match[str]) -> str:
        return "".join(f"={byte:02X}" for byte in character_match[0].encode())

    text = re.sub(r"[^A-Za-z0-9.\-_!~*'()+]", encode_character, name)
    if text.strip("."):
        return text
    return text.replace(".", "=2E")


def _compute_digest_of_texts(*parts: str) -> str:
    joined_parts = "\0".join(parts)
    return hashlib.sha256(joined_parts.encode("utf-8", "surrogatepass")).hexdigest()


def _write_element(name: str, text: str) -> str:
    return f"<{name}>{escape_xml(text)}</{name}>"


def _write_elements(name: str, texts: Iterable[str]) -> list[str]:
    return [_write_element(name, text) for text in texts]


def _escape_uri(text: str) -> str:
    """Escape characters that a URI may not have (RFC 3986)."""

    def quote_match(character_match: re.Match[str]) -> str:
        return quote(character_match[0], safe="")

    begin, *fragments = _NON_URI_PATTERN.sub(quote_match, text.strip()).split("#")
    if fragments:
        return "#".join((begin, "%23".join(fragments)))
    return begin


def _parse_web_address(text: str | None) -> str | None:
    """Return an address of the web; None if the text is no such address."""
    if text and _WEB_ADDRESS_PATTERN.fullmatch(text.strip()):
        return _escape_uri(text)
    return None


def _parse_doi(text: str | None) -> str | None:
    doi_text = (text or "").strip()
    doi_match = re.fullmatch(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", doi_text, re.IGNORECASE)
    if doi_match:
        return _escape_uri(doi_match[1].replace("#", "%23"))
    return None


def _write_orcid(person: Person) -> str:
    orcid_match = re.search(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]", person.orcid or "")
    if orcid_match:
        return _write_element("altIdentifier", f"orcid:{orcid_match[0]}")
    return ""


def _get_description(resource: CollectionSpec) -> str:
    return resource.description or resource.title


def _list_subjects(resource: CollectionSpec) -> list[str]:
    """Return the subjects as terms of the UAT."""
    terms = map(descriptor.normalize_subject_term, resource.subjects)
    return list(dict.fromkeys(term for term in terms if term)) or list(DEFAULT_SUBJECTS)


def _list_content_types(resource_type: str) -> tuple[str, ...]:
    content_types = {"vg:Registry": "Registry", "vr:Organisation": "Organisation", "vg:Authority": "Other"}
    return (content_types.get(resource_type, "Catalog"),)


def _find_creation_date(resource: CollectionSpec) -> str | None:
    """Return when it was first published, if its descriptor has a day in the past."""
    date_match = _DATE_PATTERN.match(resource.created or "")
    if date_match is None:
        return None
    try:
        created = datetime.fromisoformat(date_match[0]).replace(tzinfo=UTC)
    except ValueError:
        return None
    if created < datetime.now(UTC):
        return vosi.format_time(created)
    return None


def _write_relation(related: RelatedResource) -> str:
    attribute = ""
    if related.id:
        attribute = f" ivo-id={quote_attribute(related.id)}"
    title = escape_xml(related.title or related.id or "")
    related_resource = f"<relatedResource{attribute}>{title}</relatedResource>"
    return f"<relationship>{_write_element('relationshipType', related.kind)}{related_resource}</relationship>"


def _write_rights(resource: CollectionSpec) -> str:
    licence = resource.licence or resource.licence_url
    if not licence:
        return ""
    url = _parse_web_address(resource.licence_url)
    if not url and SPDX_LICENCE_PATTERN.fullmatch(licence):
        url = f"http://spdx.org/licenses/{licence}"
    attribute = ""
    if url:
        attribute = f" rightsURI={quote_attribute(url)}"
    return f"<rights{attribute}>{escape_xml(licence)}</rights>"


def _write_tableset(
    tables: Schema | Sequence[Schema] | None, find_statistics: Callable[[Table], PublishedTable | None]
) -> str:
    if tables is None:
        return ""
    schemas = [tables] if isinstance(tables, Schema) else tables
    column_count = sum(len(table.columns) for schema in schemas for table in schema.tables)
    detail = "min" if column_count > MAX_DESCRIBED_COLUMNS else None
    schema_elements = [
        vosi.write_schema_xml(schema, detail=detail, quote_name=adql.quote_adql_name, find_statistics=find_statistics)
        for schema in schemas
    ]
    content = "".join(schema_elements)
    if content:
        return f"<tableset>{content}</tableset>"
    return ""


__all__ = [
    "EMAIL_PATTERN",
    "RECORDS_PER_PAGE",
    "REGISTRY_INTERFACE_NAMESPACE",
    "SPDX_LICENCE_PATTERN",
    "PublishingRegistry",
    "build_draft_records",
    "list_registry_capabilities",
    "write_registry_record_xml",
]
