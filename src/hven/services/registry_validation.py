"""Checks of registry records, as the validators of registries make them.

They have the codes of the registry of registries, and rules of VOResource and VODataService; each comes with the line
to correct.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lxml import etree

from hven.adql.vocabularies import load_vocabularies
from hven.model.errors import Fault, Place, suggest_spelling
from hven.model.settings import SETTINGS_FILE
from hven.services import _registry_records as registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model.resource import RegistryRecord, Resource
    from hven.model.settings import Settings
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
        "first part of all identifiers, for ever: a name of your own that no registry has",
    ),
    "public_url": ("https://vo.your-institute.example", "the address in all records, and of the registry itself"),
    "contact_email": (
        "vo@your-institute.example",
        "whom harvesters and readers write to; without it there is no registry",
    ),
    "registry.organisation": ("Your institute", "who publishes"),
}
# key of descriptors -> example, and what a missing key means
RECOMMENDED_KEYS = {
    "description": ("description: What was measured, by whom, and what for", "nobody learns what it is"),
    "subjects": ("subjects: [solar-physics]", "it stands among virtual observatories, not under its subject"),
    "creators": ('creators: [{name: "Brahe, T.", orcid: 0000-0002-1825-0097}]', "nobody is named who made it"),
    "licence": ("licence: CC-BY-4.0", "nobody knows what may be done with it"),
}
PROSE_CODES = {"VOResource", "VODataService"}
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
    here = not settings.public_url or LOCAL_URL_PATTERN.match(settings.public_url)
    wrong = {
        "authority": settings.authority.lower() == EXAMPLE_AUTHORITY,
        "public_url": bool(here),
        "contact_email": not registry.EMAIL_PATTERN.fullmatch(settings.contact_email or ""),
        "registry.organisation": not settings.registry.organisation,
    }
    return {key: write_setting_line(key, REQUIRED_SETTINGS[key][0]) for key, is_wrong in wrong.items() if is_wrong}


def write_setting_line(key: str, value: str) -> str:
    """Write a line of hven.toml.

    Parameters
    ----------
    key
        The key, with the name of its section as a prefix.
    value
        The value.

    Returns
    -------
    line
        TOML, without the name of the section.
    """
    return f"{key.rpartition('.')[2]} = {json.dumps(value, ensure_ascii=False)}"


def draft_records(context: ServiceContext) -> Mapping[str, Sequence[RegistryRecord]]:
    """Build all records as they would be published now, by collection; those of the site have the empty name.

    Nothing is published.

    Parameters
    ----------
    context
        The site and its faces.

    Returns
    -------
    records
        Records that were published before have their dates.
    """
    return registry.draft_records(context)


def format_record(record: RegistryRecord) -> str:
    """Format a record for people, with each element on a line.

    Parameters
    ----------
    record
        The record.

    Returns
    -------
    text
        XML, indented.
    """
    root = etree.fromstring(registry.write_record(record))
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def check_records(context: ServiceContext, records: Mapping[str, Sequence[RegistryRecord]]) -> list[Fault]:
    """Check records as validators do; errors are what validators refuse.

    Parameters
    ----------
    context
        The site.
    records
        All records of the site, from `draft_records`.

    Returns
    -------
    faults
        Faults with their codes, at the line of the descriptor, or of hven.toml, to correct.
    """
    return list(_RecordChecker(context, records).iterate_faults())


class _RecordChecker:
    def __init__(self, context: ServiceContext, records: Mapping[str, Sequence[RegistryRecord]]) -> None:
        self._settings = context.site.settings
        self._records = records
        self._resources = context.site.get_published_state().resources
        self._current_time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self._lines_by_path: dict[Path, list[str]] = {}

    def iterate_faults(self) -> Iterator[Fault]:
        """Check the site, the list of records, each collection and each record."""
        yield from self._check_settings()
        roots_by_part = {
            part: [etree.fromstring(registry.write_record(record)) for record in part_records]
            for part, part_records in self._records.items()
        }
        yield from self._check_record_list([root for part_roots in roots_by_part.values() for root in part_roots])
        for part, part_roots in roots_by_part.items():
            resource = self._resources.get(part)
            if resource is not None:
                yield from self._check_description(part, resource)
            yield from self._check_part(part, part_roots, has_descriptor=resource is not None)

    def _check_settings(self) -> Iterator[Fault]:
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
                message=f"{code}: {SETTINGS_FILE} has no {key} that others can use: {purpose}",
                place=self._find_key_place("", key),
                remedy=_write_remedy("", key, line),
                severity=severity,
            )

    def _check_part(self, part: str, roots: Sequence[etree._Element], *, has_descriptor: bool) -> Iterator[Fault]:
        """Check the records of a collection, or of the site; what several have in common is reported once."""
        ids_by_violation: dict[RuleViolation, list[str]] = {}
        for root in roots:
            violations = [*_check_record(root, self._current_time)]
            if has_descriptor:
                violations += _check_tableset(root)
            for violation in violations:
                ids_by_violation.setdefault(violation, []).append(_get_element_text(root, "identifier"))
        for (code, message, key, remedy, severity), (first_id, *other_ids) in ids_by_violation.items():
            if not has_descriptor and code in PROSE_CODES:
                continue  # missing settings are reported already, and without a descriptor nothing else can be added
            subject = f"{first_id} and {len(other_ids)} more" if other_ids else first_id
            yield Fault(
                message=f"{code}: {subject}: {message}",
                place=self._find_key_place(part, key),
                remedy=remedy,
                severity=severity,
            )

    def _check_record_list(self, roots: Sequence[etree._Element]) -> Iterator[Fault]:
        """Check all records together: there is one registry, with an authority for each identifier."""
        ids_by_type: dict[str, set[str]] = {}
        ids = Counter(_get_element_text(root, "identifier").lower() for root in roots)
        for root in roots:
            record_type = str(root.get(XSI_TYPE_ATTRIBUTE))
            ids_by_type.setdefault(record_type, set()).add(_get_element_text(root, "identifier").lower())
        managed = {str(item.text).lower() for root in roots for item in root.iterfind("managedAuthority")}
        described_authorities = {ivoid.removeprefix("ivo://") for ivoid in ids_by_type.get("vg:Authority", ())}
        where = self._find_key_place("", "authority")
        if len(ids_by_type.get("vg:Registry", ())) != 1:
            yield Fault(
                message="RI3.1.4a: the registry's own record is not among the records",
                place=where,
                remedy="do two keys of registry.ids say the same?",
            )
        for name in sorted(managed - described_authorities):
            yield Fault(
                message=f"RI3.1.4c: there is no record of the authority {name}",
                place=where,
                remedy=f"do registry.ids say ivo://{name}?",
            )
        for name in sorted({item[6:].partition("/")[0] for item in ids} - managed):
            place = self._find_key_place("", "registry.authorities")
            yield Fault(
                message=f"RI3.1.4b: {name} is no authority of this registry, and records have it",
                place=place,
                remedy=f'under [registry]: authorities = ["{name}"]',
            )
        for part, part_records in self._records.items():
            for item in part_records:
                if ids[item.ivoid.lower()] > 1:
                    yield Fault(
                        message=f"RI3.1.3: {item.ivoid} is the id of {ids[item.ivoid.lower()]} records: only the first "
                        f"one is told",
                        place=self._find_key_place(part, "registry" if part else "registry.ids"),
                        remedy=_write_remedy(part, "registry", "registry: {id: ..}" if part else "ids = {..}"),
                    )

    def _check_description(self, collection: str, resource: Resource) -> Iterator[Fault]:
        """Check the descriptor of a collection."""
        for key, (added, why) in RECOMMENDED_KEYS.items():
            if not getattr(resource, key):
                place = self._find_key_place(collection, key)
                yield Fault(
                    message=f"VOResource: {collection} has no {key}: {why}",
                    place=place,
                    remedy=f"add: {added}",
                    severity="warning",
                )
        for key, vocabulary in KEY_VOCABULARIES.items():
            terms = load_vocabularies()[vocabulary]
            for word in getattr(resource, key):
                if word not in terms:
                    remedy = suggest_spelling(word, terms) or f"known: {', '.join(terms)}"
                    code = "VODataService" if key == "waveband" else "VOResource"
                    yield Fault(
                        message=f"{code}: {word!r} is no term of the vocabulary {vocabulary}",
                        place=self._find_key_place(collection, key),
                        remedy=remedy,
                        severity="warning",
                    )

    def _find_key_place(self, collection: str, key: str) -> Place:
        """Find the line of a key in a descriptor, or in hven.toml; else that of its section, else the first line."""
        resource = self._resources.get(collection) if collection else None
        path = self._settings.directory / SETTINGS_FILE
        section, _, name = key.rpartition(".")
        if resource is not None:
            path = resource.path
            section, name = ("", key)
        if path not in self._lines_by_path:
            self._lines_by_path[path] = []
            if path.is_file():
                self._lines_by_path[path] = path.read_text(encoding="utf-8").splitlines()
        number = _find_key_line(self._lines_by_path[path], name, section)
        return Place(file=str(path), line=number)


def _find_key_line(lines: Sequence[str], name: str, section: str) -> int:
    """Return where a key stands, in the one or the other language: in them keys of the whole stand at the margin."""
    inside, at = "", 1
    for number, text in enumerate(lines, start=1):
        head = re.match(r"\[+\s*([\w.]+)\s*\]+", text)
        if head:
            inside = head[1]
            at = number if inside == section else at
        elif inside == section and re.match(rf"['\"]?{re.escape(name)}['\"]?\s*[:=]", text):
            return number
    return at


def _write_remedy(collection: str, key: str, text: str) -> str:
    if collection:
        return f"add: {text}"
    if "." in key:
        return f"add under [{key.partition('.')[0]}]: {text}"
    return f"write before the first section: {text}"


RuleViolation = tuple[str, str, str, str, str]  # code, message, key to mend, remedy, severity


def _check_record(root: etree._Element, current_time: str) -> Iterator[RuleViolation]:
    """Judge one record."""
    if not IVOID_PATTERN.fullmatch(_get_element_text(root, "identifier")):
        yield (
            "VOResource",
            "this is no identifier: letters, digits and . - _ ! ~ * ' ( ) + = stand there",
            "registry",
            "registry: {id: ..}",
            "error",
        )
    if not _get_element_text(root, "title"):
        yield "VOResource", "it has no title", "title", "add: title: ..", "error"
    if not root.xpath("curation/contact[normalize-space(email)]"):
        yield (
            "VOResource",
            "nobody can write to its contact",
            "contact",
            "add: contact: {name: .., email: ..}",
            "warning",
        )
    dates = {"created": root.get("created"), "updated": root.get("updated")}
    dates |= {f"its date {each.get('role')}": each.text for each in root.iterfind("curation/date")}
    for date_name, text in dates.items():
        if not _is_date(text or ""):
            yield "VRdate", f"{date_name} is no date: {text}", "created", "write created: 2026-11-20", "error"
        elif text and text[:19] > current_time[: len(text[:19])]:
            yield (
                "VRdate",
                f"{date_name} is {text}, which has not been yet",
                "created",
                "write the day when it was first published",
                "error",
            )
    relation_types = {term.lower() for term in load_vocabularies()["voresource/relationship_type"]}
    for kind in (str(each.text) for each in root.iterfind("content/relationship/relationshipType")):
        if kind.lower() not in relation_types:
            yield (
                "VR3.1.3a",
                f"{kind!r} is no relation of the vocabulary",
                "registry",
                f"known: {', '.join(load_vocabularies()['voresource/relationship_type'])}",
                "error",
            )
    yield from _check_capabilities(root)


def _check_capabilities(root: etree._Element) -> Iterator[RuleViolation]:
    """Judge what a record says that is asked, and how."""
    sort = root.get(XSI_TYPE_ATTRIBUTE)
    capabilities = root.findall("capability")
    service = sort in {"vs:CatalogService", "vs:DataService", "vg:Registry"}
    if service and not capabilities:
        yield (
            "VR3.2.2a",
            "it is a service without a capability",
            "services",
            "is its face a plug-in? it has none to tell",
            "warning",
        )
    for each in capabilities:
        standard = (each.get("standardID") or "").lower()
        if not each.findall("interface/accessURL"):
            yield (
                "VR3.2.2a",
                f"the capability {standard or 'of its pages'} has no interface",
                "services",
                "the face does not say its address",
                "warning",
            )
        code = SEARCH_RULE_CODES.get(standard)
        if code:
            if sort != "vs:CatalogService":
                yield f"{code}a", "a search is a vs:CatalogService", "services", "the face says no search", "warning"
            if not any(
                interface.get(XSI_TYPE_ATTRIBUTE) == "vs:ParamHTTP" and interface.get("role") == "std"
                for interface in each.iterfind("interface")
            ):
                yield (
                    f"{code}b",
                    'it has no interface vs:ParamHTTP with role="std"',
                    "services",
                    "the face says no search",
                    "error",
                )
        if each.get(XSI_TYPE_ATTRIBUTE) in EXAMPLE_TEST_QUERIES and each.find("testQuery") is None:
            test = (
                f"registry: {{services: {{TABLE.FACE: {{test: "
                f'"{EXAMPLE_TEST_QUERIES[str(each.get(XSI_TYPE_ATTRIBUTE))]}"}}}}}}'
            )
            if not each.findtext("interface/testQueryString"):
                yield (
                    "VODataService",
                    "it has no test query: nobody can try whether it is well",
                    "registry",
                    f"add: {test}",
                    "warning",
                )
    if sort == "vg:Registry":
        namespaces = {"xsi": XSI_TYPE_ATTRIBUTE[1:].partition("}")[0]}
        ways = root.xpath(
            "capability[@xsi:type='vg:Harvest']/interface[@xsi:type='vg:OAIHTTP'][@role='std'][@version='1.0']",
            namespaces=namespaces,
        )
        if not ways:
            yield "RI4.0a", 'it has no vg:Harvest with vg:OAIHTTP, role="std", version 1.0', "authority", "", "error"
    epn = [
        table
        for table in root.iterfind("tableset/schema/table")
        if _get_element_text(table, "utype").lower().startswith(registry.EPN_TAP_UTYPE_PREFIX)
    ]
    if (
        sort == "vs:CatalogResource"
        and epn
        and not any(
            (each.get("standardID") or "").lower().startswith(registry.TAP_STANDARD_ID.lower()) for each in capabilities
        )
    ):
        yield (
            "EPN-TAP",
            "the table has no TAP#aux: VESPA's clients find it by nothing else",
            "services",
            "add tap to its services",
            "error",
        )


def _check_tableset(root: etree._Element) -> Iterator[RuleViolation]:
    """Judge what a record says that is there: coverage, tables, columns."""
    for axis_name, low in (("temporal", -1e7), ("spectral", 0.0)):
        for text in (str(each.text) for each in root.iterfind(f"coverage/{axis_name}")):
            begin, end = (float(word) for word in text.split())
            if not low < begin <= end < (1e7 if axis_name == "temporal" else 1.0):
                unit = "days (MJD)" if axis_name == "temporal" else "joules"
                yield (
                    "VODataService",
                    f"it covers {text} {unit}: that cannot be",
                    "tables",
                    "is the unit of the column right? do fill values stand for nothing?",
                    "warning",
                )
    for table in root.iterfind("tableset/schema/table"):
        name = _get_element_text(table, "name")
        if not _get_element_text(table, "description"):
            yield (
                "VODataService",
                f"the table {name} has no description",
                "tables",
                f"under {name.rpartition('.')[2]}: description: ..",
                "warning",
            )
        bare = [
            _get_element_text(column, "name").strip('"')
            for column in table.iterfind("column")
            if not _get_element_text(column, "description")
        ]
        if bare:
            yield (
                "VODataService",
                (
                    f"columns of {name} without a description ({len(bare)}): "
                    f"{', '.join(bare[:5])}{', ..' * (len(bare) > 5)}"
                ),
                "tables",
                f"under columns: {bare[0]}: {{description: ..}}",
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


__all__ = [
    "REQUIRED_SETTINGS",
    "check_records",
    "draft_records",
    "format_record",
    "list_missing_settings",
    "write_setting_line",
]
