"""UWS 1.1 documents: a job, a list of jobs, parameters, results - in XML as the schema has them, and the same in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode
from xml.sax.saxutils import escape, quoteattr

import orjson

from hven.formats.votable import replace_illegal_characters
from hven.jobs import ACCESS_RULES_KEY
from hven.site.store import REMOTE_PROGRESS_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site.store import JobRecord, JobRef

NAMESPACE_DECLARATIONS = (
    'xmlns="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
NIL_OWNER_ELEMENT = '<ownerId xsi:nil="true"/>'
XML_MEDIA_TYPE = "text/xml; charset=utf-8"
JSON_MEDIA_TYPE = "application/json"


def format_time(text: str | None) -> str | None:
    """Format a time for readers: UTC, to the millisecond, with Z.

    Parameters
    ----------
    text
        As the store has it.

    Returns
    -------
    time
        None if there is none.
    """
    if text is None:
        return None
    return f"{text[:23]}Z"


def describe_job(
    job: JobRecord,
    job_url: str,
    *,
    queue_place: int | None = None,
    expected_end: str | None = None,
    note: str | None = None,
    children: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe a job by the names of the schema; JSON is this.

    Parameters
    ----------
    job
        As the store has it.
    job_url
        Address of the job.
    queue_place
        In the queue, 1 = next.
    expected_end
        When it will probably be done.
    note
        What the asker should do about it.
    children
        Ids of the jobs that are part of it.

    Returns
    -------
    facts
        Plain values.
    """
    info_values = {
        **job.progress,
        "place": queue_place,
        "attempts": job.attempts or None,
        "note": note or job.progress.get("note"),
    }
    info_values |= {"parent": job.parent, "dependsOn": list(job.depends_on) or None, "children": list(children) or None}
    info = {
        name: value
        for name, value in info_values.items()
        if value is not None and name not in {REMOTE_PROGRESS_KEY, ACCESS_RULES_KEY, "tables"}
    }
    return {
        "jobId": job.id,
        "runId": job.run_id,
        "ownerId": job.owner,
        "phase": job.phase,
        "quote": format_time(expected_end),
        "creationTime": format_time(job.created),
        "startTime": format_time(job.started),
        "endTime": format_time(job.ended),
        "executionDuration": job.duration,
        "destruction": format_time(job.destruction),
        "parameters": [{"id": name, "value": value} for name, value in job.parameters],
        "results": describe_results(job, job_url),
        "errorSummary": None
        if job.error is None
        else {"type": job.error["kind"], "hasDetail": job.phase == "ERROR", "message": job.error["message"]},
        "jobInfo": info,
    }


def describe_results(job: JobRecord, job_url: str) -> list[dict[str, Any]]:
    """List the results of a job.

    Parameters
    ----------
    job
        As the store has it.
    job_url
        Address of the job.

    Returns
    -------
    results
        Id, href, size (bytes) and mime-type of each.
    """
    return [
        {
            "id": item["id"],
            "href": f"{job_url}/results/{percent_encode(item['id'])}",
            "size": item["bytes"],
            "mime-type": item["media_type"],
        }
        for item in job.results
    ]


def write_job_xml(job_description: dict[str, Any]) -> bytes:
    """Serialize a job (schema type JobSummary), in the order that the schema wants.

    Parameters
    ----------
    job_description
        As `describe_job` returned it.

    Returns
    -------
    document
        XML.
    """
    if job_description["runId"] is None:
        run_id = ""
    else:
        run_id = _write_element("runId", job_description["runId"])
    times = "".join(
        _write_element(name, job_description[name]) for name in ("quote", "creationTime", "startTime", "endTime")
    )
    error = job_description["errorSummary"]
    if error is None:
        summary = ""
    else:
        summary = (
            f'<errorSummary type="{error["type"]}" '
            f'hasDetail="{str(error["hasDetail"]).lower()}">{_write_element("message", error["message"])}</errorSummary>'
        )
    info = "".join(
        f'<{name} xmlns="">{escape(replace_illegal_characters(_format_value(value)))}</{name}>'
        for name, value in job_description["jobInfo"].items()
    )
    return _write_document(
        f'<job version="1.1" {NAMESPACE_DECLARATIONS}>{_write_element("jobId", job_description["jobId"])}{run_id}{_write_element("ownerId", job_description["ownerId"])}'
        f"{_write_element('phase', job_description['phase'])}{times}{_write_element('executionDuration', job_description['executionDuration'])}"
        f"{_write_element('destruction', job_description['destruction'])}<parameters>{_write_parameters(job_description['parameters'])}</parameters>"
        f"<results>{_write_results(job_description['results'])}</results>{summary}"
        + (f"<jobInfo>{info}</jobInfo>" if info else "")
        + "</job>"
    )


def write_parameters_xml(job_description: dict[str, Any]) -> bytes:
    """Serialize the parameters of a job.

    Parameters
    ----------
    job_description
        As `describe_job` returned it.

    Returns
    -------
    document
        XML.
    """
    return _write_document(
        f"<parameters {NAMESPACE_DECLARATIONS}>{_write_parameters(job_description['parameters'])}</parameters>"
    )


def write_results_xml(job_description: dict[str, Any]) -> bytes:
    """Serialize the results of a job.

    Parameters
    ----------
    job_description
        As `describe_job` returned it.

    Returns
    -------
    document
        XML.
    """
    return _write_document(f"<results {NAMESPACE_DECLARATIONS}>{_write_results(job_description['results'])}</results>")


def describe_job_refs(job_refs: Sequence[JobRef], list_url: str) -> list[dict[str, Any]]:
    """Describe the jobs of a list.

    Parameters
    ----------
    job_refs
        Short records of jobs.
    list_url
        The list's own address.

    Returns
    -------
    jobs
        Plain values.
    """
    return [
        {
            "id": ref.id,
            "href": f"{list_url}/{ref.id}",
            "phase": ref.phase,
            "runId": ref.run_id,
            "ownerId": ref.owner,
            "creationTime": format_time(ref.created),
        }
        for ref in job_refs
    ]


def write_job_refs_xml(job_refs: Sequence[JobRef], list_url: str) -> bytes:
    """Serialize a list of jobs, of which there may be very many.

    Parameters
    ----------
    job_refs
        Short records of jobs.
    list_url
        The list's own address.

    Returns
    -------
    document
        XML.
    """
    href = escape(list_url, {'"': "&quot;"})
    return _write_document(
        f'<jobs version="1.1" '
        f"{NAMESPACE_DECLARATIONS}>{''.join([_write_job_ref(ref, href) for ref in job_refs])}</jobs>"
    )


def _write_job_ref(ref: JobRef, href: str) -> str:
    if ref.id.isalnum():
        name = ref.id
    else:
        name = escape(ref.id, {'"': "&quot;"})
    if ref.run_id is None:
        run_id = ""
    else:
        run_id = _write_element("runId", ref.run_id)
    if ref.owner is None:
        owner = NIL_OWNER_ELEMENT
    else:
        owner = _write_element("ownerId", ref.owner)
    return (
        f'<jobref id="{name}" xlink:href="{href}/{name}"><phase>{ref.phase}</phase>{run_id}{owner}'
        f"<creationTime>{ref.created[:23]}Z</creationTime></jobref>"
    )


def write_json(document: Any) -> bytes:
    """Serialize the same in JSON.

    Parameters
    ----------
    document
        Plain values.

    Returns
    -------
    document
        JSON.
    """
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _write_document(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode("utf-8", "replace")


def _write_element(name: str, value: object) -> str:
    if value is None:
        return f'<{name} xsi:nil="true"/>'
    return f"<{name}>{escape(replace_illegal_characters(_format_value(value)))}</{name}>"


def _format_value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _write_parameters(parameters: Sequence[dict[str, str]]) -> str:
    return "".join(
        (
            f"<parameter "
            f"id={quoteattr(replace_illegal_characters(item['id']))}>{escape(replace_illegal_characters(item['value']))}</parameter>"
        )
        for item in parameters
    )


def _write_results(results: Sequence[dict[str, Any]]) -> str:
    return "".join(
        (
            f"<result id={quoteattr(item['id'])} xlink:href={quoteattr(item['href'])} "
            f"size={quoteattr(str(item['size']))} mime-type={quoteattr(item['mime-type'])}/>"
        )
        for item in results
    )
