"""Group vosi: capabilities, availability and tables of the service exist and follow their schemas."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint import xml_documents
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.xml_documents import NotXmlError, get_local_name

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import ExaminedTapService
    from hven.sources.http_client import HttpAnswer

VOSI_CHECKS = parse_lint_checks("""
vosi.capabilities-shape | error | VOSI 1.1 sec. 3; TAPRegExt 1.0 | E_ELDF
    /capabilities does not conform to its schema
    validate the document against VOSICapabilities-v1.0.xsd and TAPRegExt-v1.0.xsd
vosi.availability-missing | warning | TAP 1.1 sec. 2; VOSI 1.1 sec. 5 | W_GONO E_NFND
    /availability does not exist
    serve the document, or declare its address
vosi.availability-shape | error | VOSI 1.1 sec. 5 | E_ELDF E_FLSX
    /availability does not conform to its schema
    validate the document against VOSIAvailability-v1.0.xsd
vosi.availability-time | error | VOSI 1.1 sec. 5
    a time in /availability is not an ISO time
    write YYYY-MM-DDThh:mm:ssZ
vosi.not-available | warning | VOSI 1.1 sec. 5
    the service says that it is not available
    validate the service again when it is available
vosi.tables-missing | warning | TAP 1.1 sec. 2; VOSI 1.1 sec. 4 | W_TBNF W_GONO
    /tables does not exist
    serve the tableset
vosi.tables-shape | error | VOSI 1.1 sec. 4; VODataService 1.2 sec. 3.3 | E_ELDF E_FLSX E_FLIO
    /tables does not conform to its schema
    validate the document against VOSITables-v1.1.xsd
vosi.content-type | warning | VOSI 1.1 sec. 2
    a VOSI document is not sent as XML
    send Content-Type: text/xml or application/xml
vosi.undeclared | warning | TAP 1.1 sec. 2.4; VOSI 1.1 sec. 3 | W_TADH
    a document is served but not declared in /capabilities
    add a capability with its standardID
vosi.declared-absent | error | TAP 1.1 sec. 2.4; VOSI 1.1 sec. 3 | E_TADH E_EXDH F_GONE F_NOTM
    a document is declared in /capabilities but not served
    serve it, or remove its capability
""")
VOSI_STANDARD_IDS = {"tables": "ivo://ivoa.net/std/vosi#tables", "availability": "ivo://ivoa.net/std/vosi#availability"}
ROOT_ELEMENTS = {"tables": "tableset", "availability": "availability"}
TIME_PATTERN = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def _check_vosi_documents(service: ExaminedTapService, collector: FindingCollector) -> None:
    answer = service.fetch_cached_document("capabilities")
    _check_media_type(collector, answer, "capabilities")
    for element_name, fault_text in xml_documents.find_content_model_faults(service.capabilities.root):
        collector.add_finding("vosi.capabilities-shape", f"{element_name}: {fault_text}")
    for name, standard in VOSI_STANDARD_IDS.items():
        _check_vosi_document(service, collector, name, standard)


def _check_vosi_document(service: ExaminedTapService, collector: FindingCollector, name: str, standard: str) -> None:
    declared_interfaces = service.capabilities.find_interfaces(standard)
    declared_urls = declared_interfaces[0].urls if declared_interfaces else ()
    try:
        answer = service.fetch_cached_document(name)
        if answer.status == 404 and name == "availability" and declared_urls:
            answer = service.client.send_get(declared_urls[0])  # it may have any address
    except UserError as error:
        collector.add_unchecked_reason(error.message)
        return
    if answer.status != 200:
        if declared_interfaces:
            collector.add_finding(
                "vosi.declared-absent", f"/{name} returns status {answer.status}", value=answer.status
            )
        else:
            collector.add_finding(f"vosi.{name}-missing", f"it returns status {answer.status}", value=answer.status)
        return
    try:
        root = xml_documents.parse_xml(answer.body)
    except NotXmlError as error:
        collector.add_finding(f"vosi.{name}-shape", str(error))
        return
    _check_media_type(collector, answer, name)
    root_name = get_local_name(root)
    if root_name != ROOT_ELEMENTS[name]:
        collector.add_finding(f"vosi.{name}-shape", f"its root is <{root_name}>, not <{ROOT_ELEMENTS[name]}>")
        return
    for element_name, fault_text in xml_documents.find_content_model_faults(root):
        collector.add_finding(f"vosi.{name}-shape", f"{element_name}: {fault_text}")
    if not declared_interfaces:
        collector.add_finding("vosi.undeclared", f"/{name}")
    if name == "availability":
        _check_availability(root, collector)


def _check_availability(root: Any, collector: FindingCollector) -> None:
    available_text = xml_documents.get_element_text(root, "available")
    if available_text not in {"true", "false", "1", "0"}:
        collector.add_finding(
            "vosi.availability-shape", f"<available> is {available_text!r}, not true or false", value=available_text
        )
    elif available_text in {"false", "0"}:
        collector.add_finding("vosi.not-available", xml_documents.get_element_text(root, "note"))
    for name in ("upSince", "downAt", "backAt"):
        for time_element in root.findall(f"{{*}}{name}"):
            time_text = xml_documents.get_element_text(time_element)
            if TIME_PATTERN.fullmatch(time_text) is None:
                collector.add_finding("vosi.availability-time", f"<{name}>", value=time_text)


def _check_media_type(collector: FindingCollector, answer: HttpAnswer, name: str) -> None:
    content_type = get_media_type(answer)
    if content_type not in {"text/xml", "application/xml"}:
        detail = f"/{name} is sent as {content_type or 'nothing'}"
        collector.add_finding("vosi.content-type", detail, value=content_type)


GROUP = CheckGroup(name="vosi", title="Documents about the service", checks=VOSI_CHECKS, run=_check_vosi_documents)
