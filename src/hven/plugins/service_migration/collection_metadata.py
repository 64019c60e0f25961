"""Turn registry records into keys of collections, and into lines for hven.toml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hven.model import split_address
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.migration.metadata_conversion import MAX_SHORT_NAME_CHARACTERS, WAVEBANDS, find_licence
from hven.plugins.migration.service_conversion import quote_toml, write_alias_lines
from hven.plugins.service_migration.service_survey import TAP_PROGRAMS, build_server_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.service_migration.service_survey import ServiceSurvey

CONE_STANDARD = "ivo://ivoa.net/std/conesearch"
# standard (lower case, without version) -> protocol of Hven, which is the first part of the path of a service
PROTOCOLS = {CONE_STANDARD: "cone", "ivo://ivoa.net/std/sia": "sia", "ivo://ivoa.net/std/ssa": "ssa"}
TAP_STANDARD = "ivo://ivoa.net/std/tap"
SIA2_STANDARD = "ivo://ivoa.net/std/sia#query-2.0"
OWN_PATH = "/collections"  # the pages of Hven, which no alias may hide
SITE_RECORD_NAMES = {"Registry": "registry", "Organisation": "organisation"}  # kind of record -> name in [registry.ids]
CONTENT_KEYS = ("title", "description", "created", "bibcode", "reference_url", "publisher", "content_level")


class RecordConverter:
    """Assigns the registry records of a service to collections.

    Parameters
    ----------
    survey
        The service.
    collections
        Schema of the service -> name of the collection.
    epn_tables
        Names of EPN-TAP tables in the service, in lower case.
    report
        Where it notes what it did.
    """

    def __init__(
        self,
        survey: ServiceSurvey,
        collections: Mapping[str, str],
        epn_tables: Iterable[str],
        report: MigrationReport,
    ) -> None:
        self._collections = {schema.lower(): name for schema, name in collections.items()}
        self._epn_tables = set(epn_tables)
        self._report = report
        self._root = build_server_url(survey.url)
        self.authority = _find_authority(survey.records)
        self.keys: dict[str, dict[str, Any]] = {}
        self.site_ids: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        for record in survey.records:
            self._convert_record(record)
        self._add_site_aliases(survey)

    def _convert_record(self, record: Mapping[str, Any]) -> None:
        ivoid = str(record["ivoid"])
        kind = record["kind"]
        standards = {standard.lower() for standard, _ in record["interfaces"]}
        if kind == "Authority":
            self._report.add_result(None, f"{ivoid}: the authority; Hven publishes its own record of it")
        elif kind in SITE_RECORD_NAMES:
            self.site_ids.setdefault(SITE_RECORD_NAMES[kind], ivoid)
            self._report.add_result(None, f"{ivoid}: the record of the {SITE_RECORD_NAMES[kind]} keeps its identifier")
        elif any(_strip_version(standard) == TAP_STANDARD and "#" not in standard for standard in standards):
            self.site_ids.setdefault("tap", ivoid)
            self._report.add_result(None, f"{ivoid}: the record of the TAP service keeps its identifier")
        else:
            self._convert_collection_record(record, ivoid)

    def _convert_collection_record(self, record: Mapping[str, Any], ivoid: str) -> None:
        tables = [table.replace('"', "") for table in record["tables"]]
        schema = self._find_schema(ivoid, tables)
        if schema is None and self._convert_shared_cone_record(record, ivoid):
            return
        if schema is None:
            self._report.add_decision(
                None,
                f"{ivoid} ({record['title']}) belongs to no table that Hven reads: give its identifier to a collection",
            )
            return
        collection = self._collections[schema]
        keys = self.keys.setdefault(collection, {})
        metadata = _build_metadata_keys(record, self._report)
        reference_url = str(metadata.get("reference_url", ""))
        if reference_url.startswith(f"{self._root}/"):  # a page of the old program
            del metadata["reference_url"]
            self._add_alias(reference_url, f"/collections/{collection}")
        for key, value in metadata.items():
            keys.setdefault(key, value)
        own_tables = [table for table in tables if table.lower().partition(".")[0] == schema]
        self._add_interface_aliases(record, collection, own_tables)
        service_names = _list_service_names(record, own_tables)
        registry = keys.setdefault("registry", {})
        identifier = self._shorten_identifier(ivoid)
        epn_names = [table.partition(".")[2] for table in own_tables if table.lower() in self._epn_tables]
        if service_names:
            for name in service_names:
                test = ""
                if name.endswith(".cone"):
                    test = record["test_query"]
                registry.setdefault("services", {})[name] = {"id": identifier, "test": test} if test else identifier
        elif len(epn_names) == 1 and len(own_tables) == 1:
            registry.setdefault("services", {})[epn_names[0]] = identifier
        elif "id" not in registry:
            registry["id"] = identifier
        else:
            registry.setdefault("also", []).append(ivoid)
            self._report.add_decision(
                None, f"{ivoid} became a further identifier of {collection}, which already has {registry['id']}"
            )
        self._report.add_result(None, f"{ivoid}: kept in the collection {collection}")

    def _convert_shared_cone_record(self, record: Mapping[str, Any], ivoid: str) -> bool:
        """Keep the addresses in one record of the cone searches of several tables, as Daiquiri has; False: it is none.

        The last part of each address names a table.
        """
        targets: dict[str, str] = {}
        for standard, url in record["interfaces"]:
            name = unquote(split_address(url).path.rstrip("/").rpartition("/")[2])
            schema, _, local_name = name.partition(".")
            collection = self._collections.get(schema.lower())
            if _strip_version(standard.lower()) == CONE_STANDARD and collection and local_name:
                targets[url] = f"/cone/{collection}.{to_adql_identifier(local_name, 'table')}"
        for url, target in targets.items():
            self._add_alias(url, target)
        if targets:
            self._report.add_decision(
                None,
                f"{ivoid} is the record of {len(targets)} cone searches, and Hven has a record for each: withdraw it, "
                "or write it as `registry: also` of one collection",
            )
        return bool(targets)

    def _find_schema(self, ivoid: str, tables: Sequence[str]) -> str | None:
        """Find the schema of a record: that of its tables, or the one in its identifier (``ivo://A/SCHEMA/rd/x``)."""
        path = ivoid.lower().removeprefix("ivo://").partition("/")[2]
        candidates = [table.lower().partition(".")[0] for table in tables] + path.split("/")[:1]
        return next((schema for schema in candidates if schema in self._collections), None)

    def _add_interface_aliases(self, record: Mapping[str, Any], collection: str, tables: Sequence[str]) -> None:
        """Add aliases for the addresses of services and web pages of one table; report those of several tables."""
        for standard, url in record["interfaces"]:
            protocol = _find_protocol(standard)
            if protocol is None and standard:  # neither a service of Hven nor a web page
                continue
            if len(tables) != 1:
                self._report.add_decision(
                    None, f"{url} of {record['ivoid']} belongs to {len(tables)} tables: write an [[alias]] for it"
                )
                continue
            local_name = _get_local_name(tables[0])
            if protocol is None:
                self._add_alias(url, f"/collections/{collection}/{local_name}")
            else:
                self._add_alias(url, f"/{protocol}/{collection}.{local_name}")

    def _add_alias(self, url: str, target: str) -> None:
        path = split_address(url).path
        if path not in {"", "/"} and not path.startswith(OWN_PATH):
            self.aliases.setdefault(path, target)

    def _add_site_aliases(self, survey: ServiceSurvey) -> None:
        tap_path = split_address(survey.url).path.rstrip("/")
        if survey.program in TAP_PROGRAMS and tap_path not in {"", "/tap"}:
            self.aliases[f"{tap_path}/*"] = "/tap/*"
        if survey.program == "DaCHS":  # the address that it writes into the addresses of jobs
            self.aliases["/__system__/tap/run/*"] = "/tap/*"
        registry_path = split_address(survey.registry_url).path
        if registry_path not in {"", "/oai"}:
            self.aliases[registry_path] = "/oai"

    def _shorten_identifier(self, ivoid: str) -> str:
        """Write an identifier as a descriptor does: without the authority, if it is the site's."""
        authority, _, path = ivoid.removeprefix("ivo://").partition("/")
        if authority.lower() == self.authority.lower():
            return path
        return ivoid

    def write_settings_lines(self) -> list[str]:
        """Write the lines that keep identifiers and addresses, for hven.toml."""
        lines: list[str] = []
        if self.authority:
            lines += [f"authority = {quote_toml(self.authority)}", ""]
        if self.site_ids:
            ids = (f"{name} = {quote_toml(ivoid)}" for name, ivoid in self.site_ids.items())
            lines += ["[registry.ids]", *ids, ""]
        for path, target in self.aliases.items():
            lines += write_alias_lines(path, target)
        return lines


def _find_authority(records: Sequence[Mapping[str, Any]]) -> str:
    """Find the authority that most records have."""
    names = [str(record["ivoid"]).removeprefix("ivo://").partition("/")[0] for record in records]
    return max(dict.fromkeys(names), key=names.count, default="")


def _strip_version(standard: str) -> str:
    return standard.partition("#")[0]


def _find_protocol(standard: str) -> str | None:
    """Find the protocol by which Hven has a service with a standard."""
    if standard.lower() == SIA2_STANDARD:
        return "sia2"
    return PROTOCOLS.get(_strip_version(standard.lower()))


def _get_local_name(table: str) -> str:
    return to_adql_identifier(table.partition(".")[2], "table")


def _list_service_names(record: Mapping[str, Any], tables: Sequence[str]) -> list[str]:
    """List the services of a record, as registry keys name them; none if it belongs to several tables."""
    if len(tables) != 1:
        return []
    protocols = [_find_protocol(standard) for standard, _ in record["interfaces"]]
    return [f"{_get_local_name(tables[0])}.{protocol}" for protocol in protocols if protocol is not None]


def _build_metadata_keys(record: Mapping[str, Any], report: MigrationReport) -> dict[str, Any]:
    """Build the keys of a collection from its record."""
    people = [name for text in record["creators"] for name in re.split(r"\s*;\s*", text) if name]
    contact = {name: value for name, value in record["contact"].items() if value}
    values: dict[str, Any] = {
        **{name: record[name] for name in CONTENT_KEYS},
        "short_name": record["short_name"][:MAX_SHORT_NAME_CHARACTERS].strip(),
        "subjects": record["subjects"],
        "creators": [{"name": name} for name in dict.fromkeys(people)],
        "contributors": [{"name": name} for name in record["contributors"]],
        "contact": {"name": contact.get("email", ""), **contact} if contact else {},
        "waveband": [WAVEBANDS[word.lower()] for word in record["wavebands"] if word.lower() in WAVEBANDS],
        "type": record["type"],
    }
    keys = {name: value for name, value in values.items() if value}
    _add_licence(keys, record, report)
    return keys


def _add_licence(keys: dict[str, Any], record: Mapping[str, Any], report: MigrationReport) -> None:
    texts = []
    for text, address in record["rights"]:
        licence = find_licence(f"{address} {text}")
        if licence is not None:
            keys["licence"] = licence
            return
        texts.append(text or address)
    statement = next((text for text in texts if text.lower() != "public"), "")
    if statement:
        keys["acknowledgement"] = statement
        report.add_decision(
            None,
            f"the rights text of {record['ivoid']} became `acknowledgement`: choose a licence, and write `licence`",
        )
