"""Group error: what is wrong is told as DALI wants it - a VOTable with QUERY_STATUS ERROR, a message for a person, nothing of the inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.lint import votable
from hven.lint.documents import NotXml
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group

if TYPE_CHECKING:
    from hven.lint.service import Service
    from hven.sources.remote import Answer

CHECKS = table_of_checks(
    ("error.success", "error", "TAP 1.1 sec. 2.7; DALI 1.1 sec. 4.4.2", "a query with a mistake succeeds", "answer with an error document", "E_DSUC"),
    ("error.document", "error", "TAP 1.1 sec. 3.3; DALI 1.1 sec. 4.2", "an error is told by neither a VOTable nor plain text", "write a VOTable with QUERY_STATUS ERROR", "E_DFSF E_DFIO"),
    ("error.status", "error", "DALI 1.1 sec. 4.4", "an error document has no QUERY_STATUS ERROR in a RESOURCE of type results",
     'write <INFO name="QUERY_STATUS" value="ERROR">message</INFO>', "E_DNST E_DQUS E_EST1 E_RRES"),
    ("error.message", "warning", "DALI 1.1 sec. 4.4", "an error has no message", "say what is wrong, where, and what would be right", "W_NOMS"),
    ("error.table", "warning", "DALI 1.1 sec. 4.4", "an error document has a TABLE", "leave it out", "W_HSTB"),
    ("error.http-status", "warning", "DALI 1.1 sec. 4.2", "a mistake of the reader is told with a status of the server's own faults", "answer with 400 (or 200)", ""),
    ("error.inside", "warning", "OWASP ASVS 4.0 sec. 7.4", "an error shows the service's inside", "tell readers the message alone, keep the rest in the log", ""),
    ("error.missing-query", "error", "TAP 1.1 sec. 2.7; DALI 1.1 sec. 3.1", "a request without QUERY succeeds", "answer with an error", ""),
)  # fmt: skip
INSIDE = re.compile(
    r"Traceback \(most recent call|\bat [\w.$]+\([\w]+\.java:\d+\)|org\.postgresql|PSQLException|\.py\", line \d+|Stack trace:"
)


def _run(service: Service, notes: Notes) -> None:
    table = next((one.name for one in service.tables(own=False)), "TAP_SCHEMA.tables")
    duff = (
        ("syntax", "SELECT FROM WHERE"),
        ("table", "SELECT TOP 1 * FROM no_such_schema.no_such_table"),
        ("column", f"SELECT TOP 1 no_such_column FROM {table}"),
    )
    for what, adql in duff:
        _judge(notes, service.raw(adql, 1), "error.success", f"{what}: {adql}")
    answer = service.client.post(f"{service.url}/sync", [("REQUEST", "doQuery"), ("LANG", "ADQL")])
    _judge(notes, answer, "error.missing-query", "")


def _judge(notes: Notes, answer: Answer, code: str, detail: str) -> None:
    text = answer.body.decode("utf-8", "replace")
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status >= 500 and answer.status != 503:
        notes.tell("error.http-status", detail, value=answer.status)
    if (inside := INSIDE.search(text)) is not None:
        notes.tell("error.inside", detail, value=inside[0])
    if media == "text/plain":
        if answer.status < 400:
            notes.tell("error.status", f"plain text with status {answer.status}", value=text)
        elif not text.strip():
            notes.tell("error.message", detail)
        return
    try:
        found = votable.read(answer.body)
    except NotXml as error:
        notes.tell("error.document", f"{media or 'no media type'}, status {answer.status}: {error}", value=text[:80])
        return
    if found.error is None:
        if answer.status >= 400 or not found.fields:
            notes.tell("error.status", detail, value=", ".join(found.statuses()) or "none")
        else:
            notes.tell(code, detail)
        return
    if found.results != 1:
        notes.tell("error.status", "the RESOURCE is not of type results")
    if not found.error:
        notes.tell("error.message", detail)
    if found.tables:
        notes.tell("error.table", detail)


GROUP = Group(name="error", title="Error documents", checks=CHECKS, run=_run)
