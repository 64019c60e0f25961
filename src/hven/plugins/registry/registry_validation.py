"""Check registry records as the validators of registries do.

The checks have the codes of the registry of registries, and further rules of VOResource and VODataService. Each fault
names the line to correct.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from lxml import etree

from hven.adql.vocabularies import load_vocabularies
from hven.model.errors import Fault, TextPlace, suggest_spelling
from hven.model.settings import SETTINGS_FILE
from hven.plugins.registry import registry_records as registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.plugins.registry.record_store import RegistryRecord
    from hven.services.face import ServiceContext

XSI_TYPE_ATTRIBUTE = "{http://www.w3.org/2001/XMLSchema-instance}type"
IVOID_PATTERN = re.compile(r"ivo://[A-Za-z0-9][A-Za-z0-9.\-_!~*'()+=]{2,}(/[A-Za-z0-9.\-_!~*'()+=]+)*")
EXAMPLE_AUTHORITY = "example.org"  # default authority of a site
LOCAL_URL_PATTERN = re.compile(r"https?://(localhost|127\.|10\.|192\.168\.|0\.0\.0\.0|\[::1?\])", re.IGNORECASE)
STANDARDS_PREFIX = "ivo://ivoa.net/std/"
# capability -> code of the rule about its search parameters
SEARCH_RULE_CODES = {
    f"{STANDARDS_PREFIX}conesearch": "CS4.0",
    f"{STANDARDS_PREFIX}sia": "SIA7.0",
}
# type of capability -> an example of its test query in a descriptor
EXAMPLE_TEST_QUERIES = {
    "cs:ConeSearch": "RA=83.6&DEC=22&SR=0.1",
    "sia:SimpleImageAccess": "POS=83.6,22&SIZE=0.1",
    "ssap:SimpleSpectralAccess": "REQUEST=queryData&POS=83.6,22&SIZE=0.1",
}
# key of hven.toml -> example, and what it is for; all records need these
REQUIRED_SETTINGS = {
    "authority": (
        "your-institute.example",
        "the permanent first part of all identifiers; choose a name that is not yet in a registry",
    ),
    "public_url": (
        "https://vo.your-institute.example",
        "the address of the site, for all records and for the registry itself",
    ),
    "contact_email": (
        "vo@your-institute.example",
        "the address to which harvesters and readers write; without it there is no registry",
    ),
    "registry.organisation": ("Your institute", "the publisher"),
}
# key of descriptors -> example, and what a missing key means
RECOMMENDED_KEYS = {
    "description": (
        "description: What was measured, by whom, and what for",
        "readers do not learn what the collection contains",
    ),
    "subjects": (
        "subjects: [solar-physics]",
        "registries list it only under 'virtual-observatories' and 'astronomy-databases'",
    ),
    "creators": ('creators: [{name: "Brahe, T.", orcid: 0000-0002-1825-0097}]', "its authors get no credit"),
    "licence": ("licence: CC-BY-4.0", "users do not know how they may use it"),
}
PROSE_CODES = {"VOResource", "VODataService"}
# axis of a coverage, limits of plausible values, and their unit
COVERAGE_LIMITS = (("temporal", -1e7, 1e7, "days (MJD)"), ("spectral", 0.0, 1.0, "joules"))
MAX_LISTED_COLUMNS = 5  # in one message
KEY_VOCABULARIES = {
    "waveband": "messenger",
    "content_level": "voresource/content_level",
    "type": "voresource/content_type",
}


def list_missing_settings(settings: Settings) -> dict[str, str]:
    """List the settings that a site needs before it can be registered.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    keys
        Key -> the line to write; keys of a section have its name as a prefix.
    """
    missing_keys = []
    if settings.authority.lower() == EXAMPLE_AUTHORITY:
        missing_keys.append("authority")
    if not settings.public_url or LOCAL_URL_PATTERN.match(settings.public_url):
        missing_keys.append("public_url")
    if not registry.EMAIL_PATTERN.fullmatch(settings.contact_email or ""):
        missing_keys.append("contact_email")
    if not settings.registry.organisation:
        missing_keys.append("registry.organisation")
    lines_by_key = {}
    for key in missing_keys:
        example, _ = REQUIRED_SETTINGS[key]
        lines_by_key[key] = write_setting_line(key, example)
    return lines_by_key


def write_setting_line(key: str, value: str) -> str:
    """Write a line of hven.toml.

    Parameters
    ----------
    key
        Key, with the name of its section as a prefix.
    value
        Value of the key.

    Returns
    -------
    line
        TOML, without the name of the section.
    """
    return f"{key.rpartition('.')[2]} = {json.dumps(value, ensure_ascii=False)}"


def build_draft_records(context: ServiceContext) -> Mapping[str, Sequence[RegistryRecord]]:
    """Build all records as they would be published now, without publishing them.

    Parameters
    ----------
    context
        Service context of the site.

    Returns
    -------
    records
        Records by collection, those of the site by the empty name; records that were published before keep their dates.
    """
    return registry.build_draft_records(context)


def format_record(record: RegistryRecord) -> str:
    """Format a record for people, with each element on a line.

    Parameters
    ----------
    record
        Record to format.

    Returns
    -------
    text
        Indented XML.
    """
    root = etree.fromstring(registry.write_registry_record_xml(record))
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def find_record_faults(context: ServiceContext, records: Mapping[str, Sequence[RegistryRecord]]) -> list[Fault]:
    """Check records as validators do; errors are what validators refuse.

    Parameters
    ----------
    context
        Service context of the site.
    records
        All records of the site, from `build_draft_records`.

    Returns
    -------
    faults
        Faults with their codes, at the line of the descriptor, or of hven.toml, to correct.
    """
    return list(_RegistryRecordChecker(context, records).iterate_faults())


class _RegistryRecordChecker:
    def __init__(self, context: ServiceContext, records: Mapping[str, Sequence[RegistryRecord]]) -> None:
        self._settings = context.site.settings
        self._records = records
        self._resources = context.site.get_published_state().resources
        self._lines_by_path: dict[Path, list[str]] = {}

    def iterate_faults(self) -> Iterator[Fault]:
        """Check the site, the list of records, each collection and each record."""
        yield from self._find_setting_faults()
        roots_by_part = {}
        all_roots = []
        for part, part_records in self._records.items():
            roots_by_part[part] = [
                etree.fromstring(registry.write_registry_record_xml(record)) for record in part_records
            ]
            all_roots += roots_by_part[part]
        yield from self._find_record_list_faults(all_roots)
        for part, part_roots in roots_by_part.items():
            resource = self._resources.get(part)
            if resource is not None:
                yield from self._find_descriptor_faults(part, resource)
            yield from self._find_part_faults(part, part_roots, has_descriptor=resource is not None)

    def _find_setting_faults(self) -> Iterator[Fault]:
        """Check the settings that all records need."""
        codes = {
            "authority": ("RI3.1.4b", "error"),
            "public_url": ("RI3.1.5a", "error"),
            "contact_email": ("RI3.1.1", "error"),
        }
        for key, line in list_missing_settings(self._settings).items():
            code, severity = codes.get(key, ("VOResource", "warning"))
            _, purpose = REQUIRED_SETTINGS[key]
            yield Fault(
                message=f"{code}: {SETTINGS_FILE} has no usable {key} ({purpose})",
                place=self._find_key_place("", key),
                remedy=_write_remedy("", key, line),
                severity=severity,
            )

    def _find_part_faults(self, part: str, roots: Sequence[etree._Element], *, has_descriptor: bool) -> Iterator[Fault]:
        """Check the records of a collection, or of the site; what several have in common is reported once."""
        ids_by_violation: dict[RegistryRecordViolation, list[str]] = {}
        for root in roots:
            current_time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            violations = [*_find_record_violations(root, current_time)]
            if has_descriptor:
                violations += [*_find_coverage_violations(root), *_find_missing_descriptions(root)]
            for violation in violations:
                ids_by_violation.setdefault(violation, []).append(_get_element_text(root, "identifier"))
        for violation, (first_id, *other_ids) in ids_by_violation.items():
            if not has_descriptor and violation.code in PROSE_CODES:
                continue  # missing settings are reported already, and without a descriptor nothing else can be added
            subject = first_id
            if other_ids:
                subject = f"{first_id} and {len(other_ids)} more"
            yield Fault(
                message=f"{violation.code}, {subject}: {violation.message}",
                place=self._find_key_place(part, violation.key),
                remedy=violation.remedy,
                severity=violation.severity,
            )

    def _find_record_list_faults(self, roots: Sequence[etree._Element]) -> Iterator[Fault]:
        """Check all records together: there is one registry, with an authority for each identifier."""
        ids_by_type: dict[str, set[str]] = {}
        id_counts = Counter[str]()
        managed_authorities: set[str] = set()
        for root in roots:
            ivoid = _get_element_text(root, "identifier").lower()
            id_counts[ivoid] += 1
            ids_by_type.setdefault(str(root.get(XSI_TYPE_ATTRIBUTE)), set()).add(ivoid)
            managed_authorities.update(str(element.text).lower() for element in root.iterfind("managedAuthority"))
        described_authorities = {ivoid.removeprefix("ivo://") for ivoid in ids_by_type.get("vg:Authority", ())}
        authority_place = self._find_key_place("", "authority")
        if len(ids_by_type.get("vg:Registry", ())) != 1:
            yield Fault(
                message="RI3.1.4a: the registry's own record is not among the records",
                place=authority_place,
                remedy="check that no two keys of registry.ids have the same value",
            )
        for name in sorted(managed_authorities - described_authorities):
            yield Fault(
                message=f"RI3.1.4c: there is no record of the authority {name}",
                place=authority_place,
                remedy=f"check whether registry.ids uses ivo://{name} for another record",
            )
        used_authorities = {ivoid.removeprefix("ivo://").partition("/")[0] for ivoid in id_counts}
        for name in sorted(used_authorities - managed_authorities):
            yield Fault(
                message=f"RI3.1.4b: {name} is not an authority of this registry, but some records use it",
                place=self._find_key_place("", "registry.authorities"),
                remedy=f'add authorities = ["{name}"] under [registry]',
            )
        yield from self._find_duplicate_id_faults(id_counts)

    def _find_duplicate_id_faults(self, id_counts: Mapping[str, int]) -> Iterator[Fault]:
        for part, part_records in self._records.items():
            if part:
                key = "registry"
                line = "registry: {id: ..}"
            else:
                key = "registry.ids"
                line = "ids = {..}"
            for record in part_records:
                count = id_counts[record.ivoid.lower()]
                if count > 1:
                    yield Fault(
                        message=f"RI3.1.3: {record.ivoid} is the id of {count} records; only the first one is "
                        "published",
                        place=self._find_key_place(part, key),
                        remedy=_write_remedy(part, "registry", line),
                    )

    def _find_descriptor_faults(self, collection: str, resource: CollectionSpec) -> Iterator[Fault]:
        """Check the descriptor of a collection."""
        for key, (example_line, consequence) in RECOMMENDED_KEYS.items():
            if not getattr(resource, key):
                yield Fault(
                    message=f"VOResource: the collection {collection!r} has no {key}, so {consequence}",
                    place=self._find_key_place(collection, key),
                    remedy=f"add: {example_line}",
                    severity="warning",
                )
        for key, vocabulary in KEY_VOCABULARIES.items():
            terms = load_vocabularies()[vocabulary]
            if key == "waveband":
                code = "VODataService"
            else:
                code = "VOResource"
            for word in getattr(resource, key):
                if word not in terms:
                    remedy = suggest_spelling(word, terms) or f"use one of {', '.join(terms)}"
                    yield Fault(
                        message=f"{code}: {word!r} is not a term in the vocabulary {vocabulary}",
                        place=self._find_key_place(collection, key),
                        remedy=remedy,
                        severity="warning",
                    )

    def _find_key_place(self, collection: str, key: str) -> TextPlace:
        """Find the line of a key in a descriptor, or in hven.toml; else that of its section, else the first line."""
        resource = None
        if collection:
            resource = self._resources.get(collection)
        if resource is not None:
            path = resource.path
            section, name = "", key
        else:
            path = self._settings.directory / SETTINGS_FILE
            section, _, name = key.rpartition(".")
        if path not in self._lines_by_path:
            self._lines_by_path[path] = []
            if path.is_file():
                self._lines_by_path[path] = path.read_text(encoding="utf-8").splitlines()
        line_number = _find_key_line(self._lines_by_path[path], name, section)
        return TextPlace(file=str(path), line=line_number)


def _find_key_line(lines: Sequence[str], name: str, section: str) -> int:
    """Find the line number of a key in YAML or TOML; top-level keys of both begin at the left margin."""
    key_pattern = re.compile(rf"['\"]?{re.escape(name)}['\"]?\s*[:=]")
    current_section = ""
    section_line = 1
    for number, text in enumerate(lines, start=1):
        section_match = re.match(r"\[+\s*([\w.]+)\s*\]+", text)
        if section_match:
            current_section = section_match[1]
            if current_section == section:
                section_line = number
        elif current_section == section and key_pattern.match(text):
            return number
    return section_line


def _write_remedy(collection: str, key: str, text: str) -> str:
    if collection:
        return f"add: {text}"
    if "." in key:
        return f"add under [{key.partition('.')[0]}]: {text}"
    return f"write before the first section: {text}"


class RegistryRecordViolation(NamedTuple):
    """A rule that a record does not follow.

    Attributes
    ----------
    code
        Code of the rule.
    message
        What is wrong with the record.
    key
        Key of the descriptor, or of hven.toml, to correct.
    remedy
        What to write there.
    severity
        ``error`` or ``warning``.
    """

    code: str
    message: str
    key: str
    remedy: str
    severity: str


def _find_record_violations(root: etree._Element, current_time: str) -> Iterator[RegistryRecordViolation]:
    """Check the identifier, the metadata, the relations and the capabilities of a record."""
    if not IVOID_PATTERN.fullmatch(_get_element_text(root, "identifier")):
        yield RegistryRecordViolation(
            "VOResource",
            "the identifier is not valid: it may contain only letters, digits and . - _ ! ~ * ' ( ) + =",
            "registry",
            "write `registry: {id: ..}`",
            "error",
        )
    if not _get_element_text(root, "title"):
        yield RegistryRecordViolation("VOResource", "it has no title", "title", "add `title: ..`", "error")
    if not root.xpath("curation/contact[normalize-space(email)]"):
        yield RegistryRecordViolation(
            "VOResource",
            "its contact has no email address",
            "contact",
            "add: contact: {name: .., email: ..}",
            "warning",
        )
    yield from _find_date_violations(root, current_time)
    relation_types = load_vocabularies()["voresource/relationship_type"]
    known_types = {term.lower() for term in relation_types}
    for element in root.iterfind("content/relationship/relationshipType"):
        relation_type = str(element.text)
        if relation_type.lower() not in known_types:
            yield RegistryRecordViolation(
                "VR3.1.3a",
                f"{relation_type!r} is not a relation in the vocabulary",
                "registry",
                f"use one of {', '.join(relation_types)}",
                "error",
            )
    yield from _find_capability_violations(root)


def _find_date_violations(root: etree._Element, current_time: str) -> Iterator[RegistryRecordViolation]:
    dates = {"created": root.get("created"), "updated": root.get("updated")}
    for element in root.iterfind("curation/date"):
        dates[f"its date {element.get('role')}"] = element.text
    for date_name, text in dates.items():
        if not text or not _is_date(text):
            yield RegistryRecordViolation(
                "VRdate", f"{date_name} is not a date: {text}", "created", "write `created: 2026-11-20`", "error"
            )
            continue
        seconds_text = text[:19]  # without fractions and zone
        if seconds_text > current_time[: len(seconds_text)]:
            yield RegistryRecordViolation(
                "VRdate",
                f"{date_name} is {text}, which is in the future",
                "created",
                "write the day of the first publication",
                "error",
            )


def _find_capability_violations(root: etree._Element) -> Iterator[RegistryRecordViolation]:
    """Check the capabilities of a record: interfaces, search parameters and test queries."""
    record_type = root.get(XSI_TYPE_ATTRIBUTE)
    capabilities = root.findall("capability")
    is_service = record_type in {"vs:CatalogService", "vs:DataService", "vg:Registry"}
    if is_service and not capabilities:
        yield RegistryRecordViolation(
            "VR3.2.2a",
            "it is a service without a capability",
            "services",
            "if a plug-in provides the service, the plug-in must list a capability",
            "warning",
        )
    for capability in capabilities:
        standard_id = (capability.get("standardID") or "").lower()
        if not capability.findall("interface/accessURL"):
            yield RegistryRecordViolation(
                "VR3.2.2a",
                f"the capability {standard_id or 'of its pages'} has no interface",
                "services",
                "if a plug-in provides the service, the plug-in must declare the address",
                "warning",
            )
        code = SEARCH_RULE_CODES.get(standard_id)
        if code:
            yield from _find_search_capability_violations(capability, record_type, code)
        yield from _find_missing_test_query_violation(capability)
    if record_type == "vg:Registry":
        yield from _find_harvest_violations(root)
    elif record_type == "vs:CatalogResource":
        yield from _find_epn_table_violations(root, capabilities)


def _find_search_capability_violations(
    capability: etree._Element, record_type: str | None, code: str
) -> Iterator[RegistryRecordViolation]:
    """Check the capability of a cone search or an image search."""
    remedy = "if a plug-in provides the service, the plug-in must declare the search"
    if record_type != "vs:CatalogService":
        yield RegistryRecordViolation(
            f"{code}a", "a service with a search must be a vs:CatalogService", "services", remedy, "warning"
        )
    has_search_interface = any(
        interface.get(XSI_TYPE_ATTRIBUTE) == "vs:ParamHTTP" and interface.get("role") == "std"
        for interface in capability.iterfind("interface")
    )
    if not has_search_interface:
        message = 'it has no interface vs:ParamHTTP with role="std"'
        yield RegistryRecordViolation(f"{code}b", message, "services", remedy, "error")


def _find_missing_test_query_violation(capability: etree._Element) -> Iterator[RegistryRecordViolation]:
    example = EXAMPLE_TEST_QUERIES.get(str(capability.get(XSI_TYPE_ATTRIBUTE)))
    if example is None or capability.find("testQuery") is not None:
        return
    if not capability.findtext("interface/testQueryString"):
        yield RegistryRecordViolation(
            "VODataService",
            "it has no test query that validators can run",
            "registry",
            f'add: registry: {{services: {{TABLE.FACE: {{test: "{example}"}}}}}}',
            "warning",
        )


def _find_harvest_violations(root: etree._Element) -> Iterator[RegistryRecordViolation]:
    namespaces = {"xsi": XSI_TYPE_ATTRIBUTE[1:].partition("}")[0]}
    harvest_interfaces = root.xpath(
        "capability[@xsi:type='vg:Harvest']/interface[@xsi:type='vg:OAIHTTP'][@role='std'][@version='1.0']",
        namespaces=namespaces,
    )
    if not harvest_interfaces:
        message = 'it has no capability vg:Harvest with an interface vg:OAIHTTP, role="std", version="1.0"'
        yield RegistryRecordViolation("RI4.0a", message, "authority", "", "error")


def _find_epn_table_violations(
    root: etree._Element, capabilities: Sequence[etree._Element]
) -> Iterator[RegistryRecordViolation]:
    """Check that the record of an EPN-TAP table has the auxiliary capability of TAP."""
    table_utypes = [_get_element_text(table, "utype").lower() for table in root.iterfind("tableset/schema/table")]
    has_epn_table = any(utype.startswith(registry.EPN_TAP_UTYPE_PREFIX) for utype in table_utypes)
    standard_ids = [(capability.get("standardID") or "").lower() for capability in capabilities]
    has_tap = any(standard_id.startswith(registry.TAP_STANDARD_ID.lower()) for standard_id in standard_ids)
    if has_epn_table and not has_tap:
        yield RegistryRecordViolation(
            "EPN-TAP",
            "the table has no TAP#aux capability, which VESPA's clients need to find it",
            "services",
            "add `tap` to its services",
            "error",
        )


def _find_coverage_violations(root: etree._Element) -> Iterator[RegistryRecordViolation]:
    """Find intervals of time and energy in the coverage of a record that are not possible."""
    for axis_name, lowest, highest, unit in COVERAGE_LIMITS:
        for element in root.iterfind(f"coverage/{axis_name}"):
            span_text = str(element.text)
            begin, end = (float(word) for word in span_text.split())
            if not lowest < begin <= end < highest:
                yield RegistryRecordViolation(
                    "VODataService",
                    f"it covers {span_text} {unit}, which is not possible",
                    "tables",
                    "check the unit of the column, and declare its fill values",
                    "warning",
                )


def _find_missing_descriptions(root: etree._Element) -> Iterator[RegistryRecordViolation]:
    """Find the tables and columns of a record without a description."""
    for table in root.iterfind("tableset/schema/table"):
        table_name = _get_element_text(table, "name")
        if not _get_element_text(table, "description"):
            yield RegistryRecordViolation(
                "VODataService",
                f"the table {table_name} has no description",
                "tables",
                f"add under {table_name.rpartition('.')[2]}: description: ..",
                "warning",
            )
        bare_columns = [
            _get_element_text(column, "name").strip('"')
            for column in table.iterfind("column")
            if not _get_element_text(column, "description")
        ]
        if bare_columns:
            listed_names = ", ".join(bare_columns[:MAX_LISTED_COLUMNS])
            if len(bare_columns) > MAX_LISTED_COLUMNS:
                listed_names += ", .."
            yield RegistryRecordViolation(
                "VODataService",
                f"these columns of {table_name} ({len(bare_columns)}) have no description: {listed_names}",
                "tables",
                f"add under columns: {bare_columns[0]}: {{description: ..}}",
                "warning",
            )


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _get_element_text(root: etree._Element, name: str) -> str:
    return (root.findtext(name) or "").strip()
