"""Group uws: asynchronous queries - made, looked at, run, aborted and destroyed as UWS wants it. Two small jobs are made, and destroyed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from hven.lint import documents, votable
from hven.lint.documents import NotXml, local, text
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.service import Service
    from hven.sources.remote import Answer

CHECKS = table_of_checks(
    ("uws.create", "error", "UWS 1.1 sec. 2.2.3.1; TAP 1.1 sec. 2.3", "a job cannot be made by POST", "answer 303 with the job's address", "E_POER E_PORE"),
    ("uws.redirect", "error", "UWS 1.1 sec. 2.2.3", "a POST to a job is not answered with 303", "answer 303 See Other", "E_PORE"),
    ("uws.first-phase", "error", "UWS 1.1 sec. 2.1.3", "a new job is not PENDING", "wait for PHASE=RUN", "E_BAPH"),
    ("uws.shape", "error", "UWS 1.1 appendix A", "a job does not have the shape of its schema", "validate it against UWS-v1.1.xsd", "E_ELDF"),
    ("uws.id", "error", "UWS 1.1 sec. 2.2.1.1", "jobId is not the last part of the job's address", "use the identifier in the address", "E_JDID"),
    ("uws.parameters", "error", "UWS 1.1 sec. 2.1.11", "a job does not show its parameters as given", "list what was posted", "E_PANZ E_PAMM E_PADU"),
    ("uws.change", "warning", "UWS 1.1 sec. 2.2.3.7; DALI 1.1 sec. 2.1", "a pending job takes no further parameters", "accept POST to /parameters while PENDING", "E_PORE"),
    ("uws.atom", "error", "UWS 1.1 sec. 2.2.1", "a part of a job says something else than the job", "give the same at both places", "E_JDPH E_JDED E_JDDE"),
    ("uws.atom-type", "warning", "UWS 1.1 sec. 2.2.2", "phase, quote, duration or destruction is not sent as plain text", "send text/plain", "E_GMIM"),
    ("uws.document-type", "warning", "UWS 1.1 sec. 2.2.2", "a job is not sent as XML", "send text/xml or application/xml", "E_GMIM"),
    ("uws.duration", "error", "UWS 1.1 sec. 2.1.7", "executionduration is no whole number of seconds", "write an integer", "E_IFMT E_JDED"),
    ("uws.time", "warning", "UWS 1.1 sec. 2.2.1", "a time is not ISO with Z", "write YYYY-MM-DDThh:mm:ssZ", "W_TFMT"),
    ("uws.run", "error", "UWS 1.1 sec. 2.1.3", "a job does not run when told to", "go on to QUEUED, EXECUTING, COMPLETED", "E_RUPH E_ILPH W_UNPH"),
    ("uws.slow", "warning", "UWS 1.1 sec. 2.1.3", "a tiny job did not end while lint waited", "look at the queue", ""),
    ("uws.result", "error", "TAP 1.1 sec. 2.3, 3.2", "a completed job has no readable results/result", "serve the table there, or redirect to it", "E_QFAA"),
    ("uws.same", "error", "TAP 1.1 sec. 2.3", "the asynchronous answer is not the synchronous one", "use one road for both", ""),
    ("uws.abort", "error", "UWS 1.1 sec. 2.1.3", "an aborted job is not ABORTED", "go to ABORTED on PHASE=ABORT", "E_PHUR"),
    ("uws.delete", "error", "UWS 1.1 sec. 2.2.3.2", "a destroyed job is still there, or cannot be destroyed", "answer 303, then 404", "E_HTDE E_DECO E_DENO E_DEMO"),
    ("uws.unknown", "error", "DALI 1.1 sec. 2.2; UWS 1.1 sec. 2.2.2", "a job that never was is not answered with 404", "answer 404", ""),
    ("uws.list", "error", "UWS 1.1 sec. 2.2.2.1", "the list of jobs is no <jobs> document", "serve it, empty if jobs are secret", ""),
    ("uws.error", "error", "UWS 1.1 sec. 2.1.3; TAP 1.1 sec. 3.3", "a job with a wrong query does not end in ERROR with an error document", "say so in errorSummary and /error", "E_DSUC"),
)  # fmt: skip
PHASES = {"PENDING", "QUEUED", "EXECUTING", "COMPLETED", "ERROR", "ABORTED", "UNKNOWN", "HELD", "SUSPENDED", "ARCHIVED"}
FINAL = {"COMPLETED", "ERROR", "ABORTED", "ARCHIVED"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
WAIT = 60.0  # a busy server puts jobs behind what somebody waits for
RUNID = "hven-lint"


def _run(service: Service, notes: Notes) -> None:
    table = next((one for one in service.tables(own=False)), None)
    adql = f"SELECT TOP 2 {table.columns[0].name if table and table.columns else '*'} FROM {table.name if table else 'TAP_SCHEMA.tables'}"
    _unknown(service, notes)
    job = _made(service, notes, adql)
    if job is None:
        return
    try:
        document = _job(service, notes, job)
        if document is not None:
            _pending(service, notes, job, document, adql)
        _executed(service, notes, job, adql)
    finally:
        _destroyed(service, notes, job)
    for query, phase in (("SELECT FROM WHERE", "RUN"), (adql, "ABORT")):
        other = _made(service, notes, query, quiet=True)
        if other is not None:
            try:
                _other(service, notes, other, phase)
            finally:
                _dismissed(service, notes, other)


def _unknown(service: Service, notes: Notes) -> None:
    answer = service.client.get(f"{service.url}/async/no-such-job-4711")
    if answer.status != 404:
        notes.tell("uws.unknown", f"status {answer.status}", value=answer.status)
    answer = service.client.get(f"{service.url}/async")
    if answer.status in {401, 403}:
        return
    try:
        root = documents.parse(answer.body)
    except NotXml as error:
        notes.tell("uws.list", f"status {answer.status}: {error}")
        return
    if local(root) != "jobs":
        notes.tell("uws.list", f"its root is <{local(root)}>")
    for place, what in documents.misshaped(root):
        notes.tell("uws.list", f"{place}: {what}")


def _made(service: Service, notes: Notes, adql: str, *, quiet: bool = False) -> str | None:
    answer = service.client.send("POST", f"{service.url}/async", service.form(adql, 5, RUNID=RUNID))
    if answer.status == 303 and answer.location:
        return answer.location
    if not quiet:
        notes.tell("uws.create", f"status {answer.status}, Location {answer.location or 'none'}", value=answer.status)
    return answer.location if answer.status in {301, 302, 307} and answer.location else None


def _job(service: Service, notes: Notes, job: str) -> Any:
    answer = service.client.get(job)
    try:
        root = documents.parse(answer.body)
    except NotXml as error:
        notes.tell("uws.shape", f"status {answer.status}: {error}")
        return None
    if local(root) != "job":
        notes.tell("uws.shape", f"its root is <{local(root)}>")
        return None
    _media(notes, answer, "uws.document-type", {"text/xml", "application/xml"})
    for place, what in documents.misshaped(root):
        notes.tell("uws.shape", f"{place}: {what}")
    return root


def _media(notes: Notes, answer: Answer, code: str, wanted: set[str]) -> None:
    said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in wanted:
        notes.tell(code, answer.url.rpartition("/")[2] if "atom" in code else "", value=said)


def _pending(service: Service, notes: Notes, job: str, root: Any, adql: str) -> None:
    if text(root, "phase") != "PENDING":
        notes.tell("uws.first-phase", value=text(root, "phase"))
    if text(root, "jobId") != job.rstrip("/").rpartition("/")[2]:
        notes.tell("uws.id", job, value=text(root, "jobId"))
    given = {one.get("id", "").upper(): text(one) for group in documents.children(root, "parameters") for one in group}
    for name, value in (("QUERY", adql), ("LANG", "ADQL")):
        if given.get(name) != value:
            notes.tell("uws.parameters", name, value=given.get(name, "none"))
    changed = service.client.send("POST", f"{job}/parameters", [("RUNID", f"{RUNID}-2")])
    if changed.status not in {200, 303}:
        notes.tell("uws.change", f"status {changed.status}", value=changed.status)
    for name in ("phase", "executionDuration", "destruction", "quote"):
        answer = service.client.get(f"{job}/{name.lower()}")
        said = answer.body.decode("utf-8", "replace").strip()
        if answer.status != 200:
            notes.tell("uws.atom", f"/{name.lower()} answers {answer.status}", value=answer.status)
            continue
        _media(notes, answer, "uws.atom-type", {"text/plain"})
        if name == "executionDuration" and not said.lstrip("-").isdigit():
            notes.tell("uws.duration", value=said)
        elif name != "quote" and said != text(root, name):
            notes.tell("uws.atom", f"/{name.lower()} says {said!r}, the job {text(root, name)!r}", value=said)
    _times(notes, root)


def _times(notes: Notes, root: Any) -> None:
    for name in ("quote", "creationTime", "startTime", "endTime", "destruction"):
        said = text(root, name)
        if said and not TIME.fullmatch(said):
            notes.tell("uws.time", name, value=said)


def _phase(service: Service, job: str) -> str:
    return service.client.get(f"{job}/phase").body.decode("utf-8", "replace").strip()


def _ended(service: Service, job: str) -> str:
    """Wait for the end of a job: more and more slowly."""
    end, pause = time.monotonic() + WAIT, 0.05
    while (phase := _phase(service, job)) not in FINAL and phase in PHASES and time.monotonic() < end:
        time.sleep(pause)
        pause = min(pause * 1.6, 3.0)
    return phase


def _executed(service: Service, notes: Notes, job: str, adql: str) -> None:
    answer = service.client.send("POST", f"{job}/phase", [("PHASE", "RUN")])
    if answer.status != 303:
        notes.tell("uws.redirect", "/phase", value=answer.status)
    phase = _ended(service, job)
    if phase in {"QUEUED", "EXECUTING", "HELD", "SUSPENDED"}:
        notes.tell("uws.slow", f"after {WAIT:.0f} s", value=phase)
        return
    if phase != "COMPLETED":
        notes.tell("uws.run", f"{adql} ended so", value=phase)
        return
    root = _job(service, notes, job)
    if root is not None:
        _times(notes, root)
    answer = service.client.get(f"{job}/results/result")
    try:
        found = votable.read(answer.body)
    except NotXml as error:
        notes.tell("uws.result", f"status {answer.status}: {error}")
        return
    try:
        wanted = service.query(adql, 5)
    except UserError:
        return
    if [one.name for one in found.fields] != [one.name for one in wanted.fields] or len(found.rows) != len(wanted.rows):
        notes.tell(
            "uws.same",
            f"{len(found.rows)} rows of {len(found.fields)} columns, not {len(wanted.rows)} of {len(wanted.fields)}",
        )


def _other(service: Service, notes: Notes, job: str, phase: str) -> None:
    answer = service.client.send("POST", f"{job}/phase", [("PHASE", phase)])
    if answer.status != 303:
        notes.tell("uws.redirect", "/phase", value=answer.status)
    ended = _ended(service, job) if phase == "RUN" else _phase(service, job)
    if phase == "ABORT":
        if ended != "ABORTED":
            notes.tell("uws.abort", value=ended)
        return
    if ended != "ERROR":
        notes.tell("uws.error", value=ended)
        return
    answer = service.client.get(f"{job}/error")
    media = answer.headers.get("content-type", "").partition(";")[0].lower()
    try:
        told = (media == "text/plain" and bool(answer.body.strip())) or votable.read(answer.body).error is not None
    except NotXml:
        told = False
    if answer.status != 200 or not told:
        notes.tell("uws.error", f"/error answers {answer.status}", value=media)


def _destroyed(service: Service, notes: Notes, job: str) -> None:
    answer = service.client.send("DELETE", job)
    if answer.status not in {200, 303}:
        notes.tell("uws.delete", f"DELETE is answered with {answer.status}", value=answer.status)
        return
    after = service.client.get(job)
    if after.status != 404:
        notes.tell("uws.delete", f"afterwards it answers {after.status}", value=after.status)


def _dismissed(service: Service, notes: Notes, job: str) -> None:
    """Destroy a job as those do who have no DELETE."""
    answer = service.client.send("POST", job, [("ACTION", "DELETE")])
    after = service.client.get(job)
    if answer.status not in {200, 303} or after.status != 404:
        notes.tell(
            "uws.delete",
            f"POST ACTION=DELETE is answered with {answer.status}, and afterwards it answers {after.status}",
            value=answer.status,
        )
        service.client.send("DELETE", job)


GROUP = Group(name="uws", title="Asynchronous jobs", checks=CHECKS, run=_run)
