"""Group vosi: the documents about the service - capabilities, availability, tables - are there and have the shape of their schemas."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.lint import documents
from hven.lint.documents import NotXml, local
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.service import Service
    from hven.sources.remote import Answer

CHECKS = table_of_checks(
    ("vosi.capabilities-shape", "error", "VOSI 1.1 sec. 3; TAPRegExt 1.0", "/capabilities does not have the shape of its schema",
     "validate the document against VOSICapabilities-v1.0.xsd and TAPRegExt-v1.0.xsd", "E_ELDF"),
    ("vosi.availability-missing", "warning", "TAP 1.1 sec. 2; VOSI 1.1 sec. 5", "there is no /availability", "serve the document, or declare where it is", "W_GONO E_NFND"),
    ("vosi.availability-shape", "error", "VOSI 1.1 sec. 5", "/availability does not have the shape of its schema",
     "validate the document against VOSIAvailability-v1.0.xsd", "E_ELDF E_FLSX"),
    ("vosi.availability-time", "error", "VOSI 1.1 sec. 5", "a time in /availability is no ISO time", "write YYYY-MM-DDThh:mm:ssZ", ""),
    ("vosi.not-available", "warning", "VOSI 1.1 sec. 5", "the service says that it is not available", "judge it again when it is", ""),
    ("vosi.tables-missing", "warning", "TAP 1.1 sec. 2; VOSI 1.1 sec. 4", "there is no /tables", "serve the tableset", "W_TBNF W_GONO"),
    ("vosi.tables-shape", "error", "VOSI 1.1 sec. 4; VODataService 1.2 sec. 3.3", "/tables does not have the shape of its schema",
     "validate the document against VOSITables-v1.1.xsd", "E_ELDF E_FLSX E_FLIO"),
    ("vosi.content-type", "warning", "VOSI 1.1 sec. 2", "a VOSI document is not sent as XML", "send Content-Type: text/xml or application/xml", ""),
    ("vosi.undeclared", "warning", "TAP 1.1 sec. 2.4; VOSI 1.1 sec. 3", "a document is served but not declared in /capabilities",
     "add a capability with its standardID", "W_TADH"),
    ("vosi.declared-absent", "error", "TAP 1.1 sec. 2.4; VOSI 1.1 sec. 3", "a document is declared in /capabilities but not served",
     "serve it, or take its capability out", "E_TADH E_EXDH F_GONE F_NOTM"),
)  # fmt: skip
STANDARDS = {"tables": "ivo://ivoa.net/std/vosi#tables", "availability": "ivo://ivoa.net/std/vosi#availability"}
ROOTS = {"tables": "tableset", "availability": "availability"}
TIME = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def _run(service: Service, notes: Notes) -> None:
    answer = service.document("capabilities")
    _media_type(notes, answer, "capabilities")
    for place, what in documents.misshaped(service.capabilities.root):
        notes.tell("vosi.capabilities-shape", f"{place}: {what}")
    for name, standard in STANDARDS.items():
        _document(service, notes, name, standard)


def _document(service: Service, notes: Notes, name: str, standard: str) -> None:
    declared = service.capabilities.of(standard)
    try:
        answer = service.document(name)
        if answer.status == 404 and declared and declared[0].urls and name == "availability":
            answer = service.client.get(declared[0].urls[0])  # it may live anywhere
    except UserError as error:
        notes.skip(error.message)
        return
    if answer.status != 200:
        if declared:
            notes.tell("vosi.declared-absent", f"/{name} answers {answer.status}", value=answer.status)
        else:
            notes.tell(f"vosi.{name}-missing", f"it answers {answer.status}", value=answer.status)
        return
    try:
        root = documents.parse(answer.body)
    except NotXml as error:
        notes.tell(f"vosi.{name}-shape", str(error))
        return
    _media_type(notes, answer, name)
    if local(root) != ROOTS[name]:
        notes.tell(f"vosi.{name}-shape", f"its root is <{local(root)}>, not <{ROOTS[name]}>")
        return
    for place, what in documents.misshaped(root):
        notes.tell(f"vosi.{name}-shape", f"{place}: {what}")
    if not declared:
        notes.tell("vosi.undeclared", f"/{name}")
    if name == "availability":
        _availability(root, notes)


def _availability(root: object, notes: Notes) -> None:
    said = documents.text(root, "available")
    if said not in {"true", "false", "1", "0"}:
        notes.tell("vosi.availability-shape", f"<available> is {said!r}, not true or false", value=said)
    elif said in {"false", "0"}:
        notes.tell("vosi.not-available", documents.text(root, "note"))
    for name in ("upSince", "downAt", "backAt"):
        for one in documents.children(root, name):
            if TIME.fullmatch(documents.text(one)) is None:
                notes.tell("vosi.availability-time", f"<{name}>", value=documents.text(one))


def _media_type(notes: Notes, answer: Answer, name: str) -> None:
    said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in {"text/xml", "application/xml"}:
        notes.tell("vosi.content-type", f"/{name} comes as {said or 'nothing'}", value=said)


GROUP = Group(name="vosi", title="Documents about the service", checks=CHECKS, run=_run)
