"""Keep the addresses and identifiers of services: aliases for hven.toml, and registry keys."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from hven.plugins.migration.metadata_conversion import list_meta_items

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.resource_xml import Element

PROTOCOLS = {  # renderer -> protocol of Hven, which is the first part of the path of a service
    "scs.xml": "cone",
    "siap.xml": "sia",
    "siap2.xml": "sia2",
    "ssap.xml": "ssa",
}
WITHOUT_CODE_CORES = {"dbCore", "scsCore", "ssapCore", "siapCutoutCore", "productCore", "nullCore"}
OTHER_RECORD_TEXT = "ivo://AUTHORITY/{} is another record of the collection: keep it as `registry: {{also: [..]}}`"
OMITTED_RENDERERS = {
    "static": "publish the files with `files`",
    "qp": "an address with a key in its path: `endpoints` of kind page answer it",
    "dlmeta": "Hven makes links of rows from `links`",
    "dlget": "Hven has cut-outs of FITS files, and `links` to other services",
    "dlasync": "Hven has cut-outs of FITS files, and `links` to other services",
    "get": "publish the files with `files`",
    "examples": "examples became `examples`",
    "edition": "publish the text as a file",
    "volatile": "publish the text as a file",
    "upload": "see the page on files that programs send",
}


class ServiceConverter:
    """Converts the services of one resource.

    Parameters
    ----------
    collection
        Name of the collection.
    descriptor_id
        Id of the resource descriptor: ``mars/q``.
    report
        Where it notes what it did.
    """

    def __init__(self, collection: str, descriptor_id: str, report: MigrationReport) -> None:
        self._collection = collection
        self._descriptor_id = descriptor_id
        self._report = report
        self.aliases: dict[str, str] = {}
        self.registry: dict[str, Any] = {}

    def convert_services(self, resource: Element, table_names: list[str], epn_tables: list[str]) -> None:
        """Collect addresses and identifiers of all services and published tables."""
        cores = {core.get_value("id"): core for core in resource.elements if core.tag.endswith("Core")}
        for table in resource.list_children("table"):
            self._convert_table_publication(table, table_names, epn_tables)
        for service in resource.list_children("service"):
            self._convert_service(service, cores, table_names)

    def _convert_table_publication(self, table: Element, table_names: list[str], epn_tables: list[str]) -> None:
        name = table.get_value("id")
        if name not in table_names or table.find_child("publish", "register") is None:
            return
        identifier = f"{self._descriptor_id}/{name}"
        if name in epn_tables:
            self._add_service_identifier(name, identifier)
            self._report.add_result(table, f"the registry identifier ivo://AUTHORITY/{identifier} is kept")
        else:
            self._add_collection_identifier(table, identifier)

    def _add_collection_identifier(self, element: Element, identifier: str) -> None:
        """Keep the identifier of a record that is that of the collection in Hven."""
        if self.registry.setdefault("id", identifier) == identifier:
            self._report.add_result(element, f"the registry identifier ivo://AUTHORITY/{identifier} is kept")
        else:
            self._report.add_decision(element, OTHER_RECORD_TEXT.format(identifier))

    def _add_service_identifier(self, name: str, identifier: str, test: str = "") -> None:
        services = self.registry.setdefault("services", {})
        services[name] = {"id": identifier, "test": test} if test else identifier

    def _convert_service(self, service: Element, cores: dict[str, Element], table_names: list[str]) -> None:
        name = service.get_value("id")
        core = service.find_child(*{element.tag for element in service.elements if element.tag.endswith("Core")})
        core = core or cores.get(service.get_value("core"))
        table = "" if core is None else core.get_value("queriedTable").rpartition("#")[2]
        renderers = {item.strip() for item in service.get_value("allowed").split(",") if item.strip()}
        publications = service.list_children("publish")
        renderers |= {publication.get_value("render") for publication in publications} - {""}
        renderers |= {service.get_value("defaultRenderer")} - {""}
        if core is not None:
            self._note_core(core, name)
        published = {publication.get_value("render") for publication in publications}
        registered = {item.get_value("render") for item in publications if "ivo_managed" in item.get_value("sets")}
        if registered and not registered & PROTOCOLS.keys():
            self._add_collection_identifier(service, f"{self._descriptor_id}/{name}")
        for renderer in sorted(renderers):
            path = f"/{self._descriptor_id}/{name}/{renderer}"
            if renderer in PROTOCOLS and table in table_names:
                protocol = PROTOCOLS[renderer]
                self.aliases[path] = f"/{protocol}/{self._collection}.{table}"
                if renderer in published or not publications:
                    test = _find_test_request(service) if protocol == "cone" else ""
                    self._add_service_identifier(f"{table}.{protocol}", f"{self._descriptor_id}/{name}", test)
                self._report.add_result(service, f"{renderer} of {name}: Hven has /{protocol}/ for the table {table}")
            elif renderer in PROTOCOLS:
                self._report.add_decision(
                    service, f"{renderer} of {name} queries {table or 'no table'} of another descriptor"
                )
            elif renderer == "form" and table in table_names:
                self.aliases[path] = f"/collections/{self._collection}/{table}"
                self._report.add_result(service, f"the form of {name}: the page of the table has a search form")
            elif renderer in OMITTED_RENDERERS:
                self._report.add_omission(service, f"{renderer} of {name}: {OMITTED_RENDERERS[renderer]}")
            elif renderer != "form" or core is not None:
                self._report.add_omission(service, f"{renderer} of {name} has no equivalent")

    def _note_core(self, core: Element, name: str) -> None:
        """Note what Hven does not take over from the core of a service."""
        if core.tag not in WITHOUT_CODE_CORES:
            self._report.add_decision(
                core, f"{core.tag} of the service {name} computes by code: write a job type or links"
            )
        for description in core.list_children("condDesc"):
            if description.list_children("phraseMaker") or description.get_value("phraseMaker"):
                self._report.add_omission(description, "condDesc with code: forms of Hven have a field for each column")

    def write_alias_lines(self) -> list[str]:
        """Write the aliases as they stand in hven.toml."""
        return [line for path, target in self.aliases.items() for line in write_alias_lines(path, target)]


def write_alias_lines(path: str, target: str) -> list[str]:
    """Write the lines of an alias for hven.toml.

    Parameters
    ----------
    path, target
        The old address and the new one, as paths, perhaps with ``*`` at their ends.
    """
    return ["[[alias]]", f"path = {quote_toml(path)}", f"to = {quote_toml(target)}", ""]


def quote_toml(text: str) -> str:
    """Write a text of another program so that it stays one value: its quotes and line breaks are escaped.

    Parameters
    ----------
    text
        The text.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _find_test_request(service: Element) -> str:
    """Write the request by which validators test a cone search."""
    values = {
        name.lower().rpartition(".")[2]: text
        for name, text, _ in list_meta_items(service)
        if name.lower().startswith("testquery.")
    }
    return format_test_request(values)


def format_test_request(values: Mapping[str, str]) -> str:
    """Write the request by which validators test a cone search.

    Parameters
    ----------
    values
        ``ra``, ``dec`` and ``sr``.

    Returns
    -------
    request
        Its parameters; empty: one of the values is no number.
    """
    numbers = [values.get(name, "") for name in ("ra", "dec", "sr")]
    if not all(re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", number) for number in numbers):
        return ""
    return "RA={}&DEC={}&SR={}".format(*numbers)
