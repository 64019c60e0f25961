"""Group examples: the page of examples is there if declared, is marked up as DALI wants it, and its queries run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint import documents
from hven.lint.documents import NotXml
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.service import Service

SOURCE = "DALI 1.1 sec. 2.3"
CHECKS = table_of_checks(
    ("examples.declared-absent", "error", SOURCE, "examples are declared but not served", "serve them, or take the capability out", "E_EXDH"),
    ("examples.undeclared", "warning", SOURCE, "examples are served but not declared", "add ivo://ivoa.net/std/DALI#examples", "E_EXDH"),
    ("examples.shape", "error", SOURCE, "the examples are no well-formed XHTML", "close all elements, escape < and &", "E_EXPA E_EXIO"),
    ("examples.content-type", "warning", SOURCE, "the examples are not sent as (X)HTML", "send application/xhtml+xml or text/html", ""),
    ("examples.vocabulary", "error", SOURCE, "the vocabulary is not declared once as DALI's", 'write vocab="http://www.ivoa.net/rdf/examples#" at one element', "E_NOVO E_TOVO E_EXVC"),
    ("examples.none", "warning", SOURCE, "there is no example", 'mark one up with typeof="example"', "W_EX00"),
    ("examples.identifier", "error", SOURCE, "an example's id and resource do not belong together", 'write id="x" resource="#x"', "E_XID0 W_NMID E_XRS0 E_XRS1"),
    ("examples.property", "error", SOURCE + "; TAP 1.1 sec. 2.4", "an example has no name or no query", 'mark up property="name" and property="query"', "E_XPRM"),
    ("examples.query", "warning", "TAP 1.1 sec. 2.4", "an example's query fails", "let the examples run in your tests", "W_QERR E_QERR W_EXVL"),
    ("examples.table", "warning", "TAP 1.1 sec. 2.4", "an example names a table that is not declared", "write the table's full name", "E_UKTB"),
)  # fmt: skip
VOCABULARY = {"http://www.ivoa.net/rdf/examples#", "ivo://ivoa.net/std/DALI-examples"}
MOST = 30


def _run(service: Service, notes: Notes) -> None:
    declared = service.capabilities.of("ivo://ivoa.net/std/dali#examples")
    answer = service.document("examples")
    if answer.status != 200:
        if declared:
            notes.tell("examples.declared-absent", f"status {answer.status}", value=answer.status)
        return
    if not declared:
        notes.tell("examples.undeclared")
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in {"text/html", "application/xhtml+xml", "application/xml", "text/xml"}:
        notes.tell("examples.content-type", value=media)
    try:
        root = documents.parse(answer.body)
    except NotXml as error:
        notes.tell("examples.shape", str(error))
        return
    vocabularies = [one.get("vocab") for one in root.iter() if isinstance(one.tag, str) and one.get("vocab")]
    if len(vocabularies) != 1 or vocabularies[0] not in VOCABULARY:
        notes.tell("examples.vocabulary", value=", ".join(vocabularies) or "none")
    found = [one for one in root.iter() if isinstance(one.tag, str) and one.get("typeof") == "example"]
    if not found:
        notes.tell("examples.none")
    for one in found[:MOST]:
        _example(service, notes, one)
    if len(found) > MOST:
        notes.skip(f"{len(found)} examples: the first {MOST} were tried")


def _example(service: Service, notes: Notes, example: Any) -> None:
    ident = example.get("id", "")
    if not ident or example.get("resource") != f"#{ident}":
        notes.tell("examples.identifier", key=f"id = {ident}", value=example.get("resource"))
    said: dict[str, list[str]] = {}
    for one in example.iter():
        if isinstance(one.tag, str) and one.get("property"):
            said.setdefault(one.get("property"), []).append("".join(one.itertext()).strip())
    for name in ("name", "query"):
        if len(said.get(name, ())) != 1 or not said[name][0]:
            if name == "query" and example.xpath(".//*[@typeof='keyval']"):
                continue  # an example of another protocol: parameters in place of a query
            notes.tell("examples.property", name, key=f"id = {ident}")
    for table in said.get("table", ()):
        if service.declared and table.replace('"', "").lower() not in service.declared:
            notes.tell("examples.table", key=f"id = {ident}", value=table)
    for adql in said.get("query", ())[:1]:
        if "TAP_UPLOAD" in adql.upper():
            continue
        try:
            service.query(adql, 2)
        except UserError as error:
            notes.tell("examples.query", error.message, key=f"id = {ident}", value=adql)


GROUP = Group(name="examples", title="Examples", checks=CHECKS, run=_run)
