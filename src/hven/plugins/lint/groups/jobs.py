"""Group uws: asynchronous queries are created, shown, run, aborted and deleted as UWS defines it.

The checks create three small jobs, and delete them.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint import votable, xml_documents
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.xml_documents import NotXmlError, get_element_text, get_local_name

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import ExaminedTapService
    from hven.sources.http_client import HttpAnswer

UWS_CHECKS = parse_lint_checks("""
uws.create | error | UWS 1.1 sec. 2.2.3.1; TAP 1.1 sec. 2.3 | E_POER E_PORE
    a job cannot be created by POST
    respond with 303 and the job's address
uws.redirect | error | UWS 1.1 sec. 2.2.3 | E_PORE
    a POST to a job does not return status 303
    respond with 303 See Other
uws.first-phase | error | UWS 1.1 sec. 2.1.3 | E_BAPH
    a new job is not PENDING
    keep a new job PENDING until the client sends PHASE=RUN
uws.shape | error | UWS 1.1 appendix A | E_ELDF
    a job does not conform to its schema
    validate it against UWS-v1.1.xsd
uws.id | error | UWS 1.1 sec. 2.2.1.1 | E_JDID
    jobId is not the last part of the job's address
    use the identifier in the address
uws.parameters | error | UWS 1.1 sec. 2.1.11 | E_PANZ E_PAMM E_PADU
    a job does not show its parameters as they were posted
    list the posted parameters unchanged
uws.change | warning | UWS 1.1 sec. 2.2.3.7; DALI 1.1 sec. 2.1 | E_PORE
    a pending job accepts no further parameters
    accept POST to /parameters while PENDING
uws.atom | error | UWS 1.1 sec. 2.2.1 | E_JDPH E_JDED E_JDDE
    a value at its own address differs from the value in the job document
    return the same value in both places
uws.atom-type | warning | UWS 1.1 sec. 2.2.2 | E_GMIM
    phase, quote, duration or destruction is not sent as plain text
    send text/plain
uws.document-type | warning | UWS 1.1 sec. 2.2.2 | E_GMIM
    a job is not sent as XML
    send text/xml or application/xml
uws.duration | error | UWS 1.1 sec. 2.1.7 | E_IFMT E_JDED
    executionduration is not an integer number of seconds
    write an integer
uws.time | warning | UWS 1.1 sec. 2.2.1 | W_TFMT
    a time is not in ISO format with Z
    write YYYY-MM-DDThh:mm:ssZ
uws.run | error | UWS 1.1 sec. 2.1.3 | E_RUPH E_ILPH W_UNPH
    a job does not run after PHASE=RUN
    change its phase to QUEUED, then to EXECUTING, then to COMPLETED
uws.slow | warning | UWS 1.1 sec. 2.1.3
    a tiny job did not end while hven lint was waiting
    check the queue
uws.result | error | TAP 1.1 sec. 2.3, 3.2 | E_QFAA
    a completed job has no readable results/result
    serve the table there, or redirect to it
uws.same | error | TAP 1.1 sec. 2.3
    the asynchronous result differs from the synchronous one
    execute synchronous and asynchronous queries with the same code
uws.abort | error | UWS 1.1 sec. 2.1.3 | E_PHUR
    an aborted job does not have the phase ABORTED
    change its phase to ABORTED after PHASE=ABORT
uws.delete | error | UWS 1.1 sec. 2.2.3.2 | E_HTDE E_DECO E_DENO E_DEMO
    a deleted job still exists, or a job cannot be deleted
    return status 303, then 404
uws.unknown | error | DALI 1.1 sec. 2.2; UWS 1.1 sec. 2.2.2
    the address of a nonexistent job does not return status 404
    return status 404
uws.list | error | UWS 1.1 sec. 2.2.2.1
    the list of jobs is not a <jobs> document
    serve the list; it may be empty if jobs are secret
uws.error | error | UWS 1.1 sec. 2.1.3; TAP 1.1 sec. 3.3 | E_DSUC
    a job with a wrong query does not end in ERROR with an error document
    report the error in errorSummary and /error
""")
JOB_PHASES = {
    "PENDING",
    "QUEUED",
    "EXECUTING",
    "COMPLETED",
    "ERROR",
    "ABORTED",
    "UNKNOWN",
    "HELD",
    "SUSPENDED",
    "ARCHIVED",
}
FINAL_PHASES = {"COMPLETED", "ERROR", "ABORTED", "ARCHIVED"}
TIME_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
JOB_WAIT_SECONDS = 60.0  # a busy server runs jobs after interactive queries
LINT_RUN_ID = "hven-lint"


def _check_uws_jobs(service: ExaminedTapService, collector: FindingCollector) -> None:
    adql = _build_test_query(service)
    _check_unknown_job_and_list(service, collector)
    job_url = _create_job(service, collector, adql)
    if job_url is None:
        return
    try:
        document = _fetch_job_document(service, collector, job_url)
        if document is not None:
            _check_pending_job(service, collector, job_url, document, adql)
        _check_job_execution(service, collector, job_url, adql)
    finally:
        _check_job_deletion(service, collector, job_url)
    for query, check_job in (("SELECT FROM WHERE", _check_failing_job), (adql, _check_job_abortion)):
        other_job_url = _create_job(service, collector, query, is_quiet=True)
        if other_job_url is not None:
            try:
                check_job(service, collector, other_job_url)
            finally:
                _check_job_deletion_by_post(service, collector, other_job_url)


def _build_test_query(service: ExaminedTapService) -> str:
    """Build a query for two rows of the first declared table."""
    table_name = "TAP_SCHEMA.tables"
    column_name = "*"
    for table in service.list_tables(without_tap_schema=False):
        table_name = table.name
        if table.columns:
            column_name = table.columns[0].name
        break
    return f"SELECT TOP 2 {column_name} FROM {table_name}"


def _check_unknown_job_and_list(service: ExaminedTapService, collector: FindingCollector) -> None:
    answer = service.client.send_get(f"{service.url}/async/no-such-job-4711")
    if answer.status != 404:
        collector.add_finding("uws.unknown", f"status {answer.status}", value=answer.status)
    answer = service.client.send_get(f"{service.url}/async")
    if answer.status in {401, 403}:
        return
    try:
        root = xml_documents.parse_xml(answer.body)
    except NotXmlError as error:
        collector.add_finding("uws.list", f"status {answer.status}: {error}")
        return
    if get_local_name(root) != "jobs":
        collector.add_finding("uws.list", f"its root is <{get_local_name(root)}>")
    for element_name, fault_text in xml_documents.find_content_model_faults(root):
        collector.add_finding("uws.list", f"{element_name}: {fault_text}")


def _create_job(
    service: ExaminedTapService, collector: FindingCollector, adql: str, *, is_quiet: bool = False
) -> str | None:
    form = service.build_query_form(adql, 5, RUNID=LINT_RUN_ID)
    answer = service.client.send_request("POST", f"{service.url}/async", form)
    if answer.status == 303 and answer.location:
        return answer.location
    if not is_quiet:
        detail = f"status {answer.status}, Location {answer.location or 'none'}"
        collector.add_finding("uws.create", detail, value=answer.status)
    if answer.status in {301, 302, 307} and answer.location:
        return answer.location
    return None


def _fetch_job_document(service: ExaminedTapService, collector: FindingCollector, job_url: str) -> Any:
    answer = service.client.send_get(job_url)
    try:
        root = xml_documents.parse_xml(answer.body)
    except NotXmlError as error:
        collector.add_finding("uws.shape", f"status {answer.status}: {error}")
        return None
    if get_local_name(root) != "job":
        collector.add_finding("uws.shape", f"its root is <{get_local_name(root)}>")
        return None
    _check_media_type(collector, answer, "uws.document-type", {"text/xml", "application/xml"})
    for element_name, fault_text in xml_documents.find_content_model_faults(root):
        collector.add_finding("uws.shape", f"{element_name}: {fault_text}")
    return root


def _check_media_type(
    collector: FindingCollector, answer: HttpAnswer, code: str, allowed_media_types: set[str]
) -> None:
    content_type = get_media_type(answer)
    if content_type not in allowed_media_types:
        detail = ""
        if "atom" in code:
            detail = answer.url.rpartition("/")[2]
        collector.add_finding(code, detail, value=content_type)


def _check_pending_job(
    service: ExaminedTapService, collector: FindingCollector, job_url: str, root: Any, adql: str
) -> None:
    phase = get_element_text(root, "phase")
    if phase != "PENDING":
        collector.add_finding("uws.first-phase", value=phase)
    job_id = get_element_text(root, "jobId")
    if job_id != job_url.rstrip("/").rpartition("/")[2]:
        collector.add_finding("uws.id", job_url, value=job_id)
    job_parameters = {}
    for parameter_list in root.findall("{*}parameters"):
        for parameter_element in parameter_list:
            name = parameter_element.get("id", "").upper()
            job_parameters[name] = get_element_text(parameter_element)
    for name, value in (("QUERY", adql), ("LANG", "ADQL")):
        if job_parameters.get(name) != value:
            collector.add_finding("uws.parameters", name, value=job_parameters.get(name, "none"))
    change_answer = service.client.send_request("POST", f"{job_url}/parameters", [("RUNID", f"{LINT_RUN_ID}-2")])
    if change_answer.status not in {200, 303}:
        collector.add_finding("uws.change", f"status {change_answer.status}", value=change_answer.status)
    for name in ("phase", "executionDuration", "destruction", "quote"):
        answer = service.client.send_get(f"{job_url}/{name.lower()}")
        atom_text = answer.body.decode("utf-8", "replace").strip()
        if answer.status != 200:
            collector.add_finding("uws.atom", f"/{name.lower()} returns status {answer.status}", value=answer.status)
            continue
        _check_media_type(collector, answer, "uws.atom-type", {"text/plain"})
        job_text = get_element_text(root, name)
        if name == "executionDuration" and not atom_text.lstrip("-").isdigit():
            collector.add_finding("uws.duration", value=atom_text)
        elif name != "quote" and atom_text != job_text:
            detail = f"/{name.lower()} has {atom_text!r}, but the job has {job_text!r}"
            collector.add_finding("uws.atom", detail, value=atom_text)
    _check_job_times(collector, root)


def _check_job_times(collector: FindingCollector, root: Any) -> None:
    for name in ("quote", "creationTime", "startTime", "endTime", "destruction"):
        time_text = get_element_text(root, name)
        if time_text and not TIME_PATTERN.fullmatch(time_text):
            collector.add_finding("uws.time", name, value=time_text)


def _fetch_job_phase(service: ExaminedTapService, job_url: str) -> str:
    return service.client.send_get(f"{job_url}/phase").body.decode("utf-8", "replace").strip()


def _wait_for_final_phase(service: ExaminedTapService, job_url: str) -> str:
    """Wait until a job ends, with increasing pauses, and return its last phase."""
    deadline = time.monotonic() + JOB_WAIT_SECONDS
    pause_seconds = 0.05
    while True:
        phase = _fetch_job_phase(service, job_url)
        is_active = phase in JOB_PHASES and phase not in FINAL_PHASES
        if not is_active or time.monotonic() >= deadline:
            return phase
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.6, 3.0)


def _check_job_execution(service: ExaminedTapService, collector: FindingCollector, job_url: str, adql: str) -> None:
    answer = service.client.send_request("POST", f"{job_url}/phase", [("PHASE", "RUN")])
    if answer.status != 303:
        collector.add_finding("uws.redirect", "/phase", value=answer.status)
    phase = _wait_for_final_phase(service, job_url)
    if phase in {"QUEUED", "EXECUTING", "HELD", "SUSPENDED"}:
        collector.add_finding("uws.slow", f"hven lint waited {JOB_WAIT_SECONDS:.0f} s", value=phase)
        return
    if phase != "COMPLETED":
        collector.add_finding("uws.run", f"the query {adql!r} ended in a phase other than COMPLETED", value=phase)
        return
    root = _fetch_job_document(service, collector, job_url)
    if root is not None:
        _check_job_times(collector, root)
    answer = service.client.send_get(f"{job_url}/results/result")
    try:
        async_result = votable.parse_votable(answer.body)
    except NotXmlError as error:
        collector.add_finding("uws.result", f"status {answer.status}: {error}")
        return
    try:
        sync_result = service.run_query(adql, 5)
    except UserError:
        return
    async_columns = [field.name for field in async_result.fields]
    sync_columns = [field.name for field in sync_result.fields]
    async_count = len(async_result.rows)
    sync_count = len(sync_result.rows)
    if async_columns != sync_columns or async_count != sync_count:
        detail = f"{async_count} rows of {len(async_columns)} columns, not {sync_count} of {len(sync_columns)}"
        collector.add_finding("uws.same", detail)


def _change_job_phase(service: ExaminedTapService, collector: FindingCollector, job_url: str, phase: str) -> None:
    """Start or abort a job, and report an answer that doesn't redirect to the job."""
    answer = service.client.send_request("POST", f"{job_url}/phase", [("PHASE", phase)])
    if answer.status != 303:
        collector.add_finding("uws.redirect", "/phase", value=answer.status)


def _check_job_abortion(service: ExaminedTapService, collector: FindingCollector, job_url: str) -> None:
    _change_job_phase(service, collector, job_url, "ABORT")
    end_phase = _fetch_job_phase(service, job_url)
    if end_phase != "ABORTED":
        collector.add_finding("uws.abort", value=end_phase)


def _check_failing_job(service: ExaminedTapService, collector: FindingCollector, job_url: str) -> None:
    """Run a job whose query is wrong, and check its phase and its error document."""
    _change_job_phase(service, collector, job_url, "RUN")
    end_phase = _wait_for_final_phase(service, job_url)
    if end_phase != "ERROR":
        collector.add_finding("uws.error", value=end_phase)
        return
    answer = service.client.send_get(f"{job_url}/error")
    media = get_media_type(answer)
    has_error_document = media == "text/plain" and bool(answer.body.strip())
    if not has_error_document:
        with contextlib.suppress(NotXmlError):
            has_error_document = votable.parse_votable(answer.body).error_message is not None
    if answer.status != 200 or not has_error_document:
        detail = f"/error returns no valid error document (status {answer.status})"
        collector.add_finding("uws.error", detail, value=media)


def _check_job_deletion(service: ExaminedTapService, collector: FindingCollector, job_url: str) -> None:
    answer = service.client.send_request("DELETE", job_url)
    if answer.status not in {200, 303}:
        collector.add_finding("uws.delete", f"DELETE returns status {answer.status}", value=answer.status)
        return
    later_answer = service.client.send_get(job_url)
    if later_answer.status != 404:
        collector.add_finding(
            "uws.delete", f"after DELETE, the job's URL returns status {later_answer.status}", value=later_answer.status
        )


def _check_job_deletion_by_post(service: ExaminedTapService, collector: FindingCollector, job_url: str) -> None:
    """Delete a job by POST, as clients without DELETE do."""
    answer = service.client.send_request("POST", job_url, [("ACTION", "DELETE")])
    later_answer = service.client.send_get(job_url)
    if answer.status not in {200, 303} or later_answer.status != 404:
        detail = (
            f"POST ACTION=DELETE returns status {answer.status}, and the job's URL then returns status "
            f"{later_answer.status}"
        )
        collector.add_finding("uws.delete", detail, value=answer.status)
        service.client.send_request("DELETE", job_url)


GROUP = CheckGroup(name="uws", title="Asynchronous jobs", checks=UWS_CHECKS, run=_check_uws_jobs)
