"""UWS 1.1 documents in XML and JSON: a job, a list of jobs, parameters and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode

import orjson

from hven.formats import escape_xml, quote_attribute
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
    """Format a time of the store: UTC, to the millisecond, with Z.

    Parameters
    ----------
    text
        A time of the store.

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
    """Describe a job with the names of the schema; this is its JSON document.

    Parameters
    ----------
    job
        Record of the job in the store.
    job_url
        Address of the job.
    queue_place
        Position in the queue, 1 = next.
    expected_end
        When it will probably be done.
    note
        What the client should do about it.
    children
        Ids of the jobs that are part of it.

    Returns
    -------
    facts
        Plain values.
    """
    all_info = {
        **job.progress,
        "place": queue_place,
        "attempts": job.attempts or None,
        "note": note or job.progress.get("note"),
        "parent": job.parent,
        "dependsOn": list(job.depends_on) or None,
        "children": list(children) or None,
        "request": job.request_id if job.error is not None else None,
    }
    internal_names = {REMOTE_PROGRESS_KEY, ACCESS_RULES_KEY, "tables"}
    known_info = {name: value for name, value in all_info.items() if value is not None}
    info = {name: value for name, value in known_info.items() if name not in internal_names}
    error_summary = None
    if job.error is not None:
        error_summary = {
            "type": job.error["kind"],
            "hasDetail": job.phase == "ERROR",
            "message": job.error["message"],
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
        "errorSummary": error_summary,
        "jobInfo": info,
    }


def describe_results(job: JobRecord, job_url: str) -> list[dict[str, Any]]:
    """List the results of a job.

    Parameters
    ----------
    job
        Record of the job in the store.
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
    """Serialize a job (schema type JobSummary), in the order of the schema.

    Parameters
    ----------
    job_description
        Result of `describe_job`.

    Returns
    -------
    document
        XML.
    """
    parts = [_write_element("jobId", job_description["jobId"])]
    if job_description["runId"] is not None:
        parts.append(_write_element("runId", job_description["runId"]))
    element_names = (
        "ownerId",
        "phase",
        "quote",
        "creationTime",
        "startTime",
        "endTime",
        "executionDuration",
        "destruction",
    )
    parts += [_write_element(name, job_description[name]) for name in element_names]
    parts.append(f"<parameters>{_write_parameters(job_description['parameters'])}</parameters>")
    parts.append(f"<results>{_write_results(job_description['results'])}</results>")
    error = job_description["errorSummary"]
    if error is not None:
        attributes = f'type="{error["type"]}" hasDetail="{_format_value(error["hasDetail"])}"'
        message = _write_element("message", error["message"])
        parts.append(f"<errorSummary {attributes}>{message}</errorSummary>")
    info_elements = [
        f'<{name} xmlns="">{_format_xml_text(value)}</{name}>' for name, value in job_description["jobInfo"].items()
    ]
    if info_elements:
        parts.append(f"<jobInfo>{''.join(info_elements)}</jobInfo>")
    return _write_document(f'<job version="1.1" {NAMESPACE_DECLARATIONS}>{"".join(parts)}</job>')


def write_parameters_xml(job_description: dict[str, Any]) -> bytes:
    """Serialize the parameters of a job.

    Parameters
    ----------
    job_description
        Result of `describe_job`.

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
        Result of `describe_job`.

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
        Address of the list.

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
    """Serialize a list of jobs, which may be very long.

    Parameters
    ----------
    job_refs
        Short records of jobs.
    list_url
        Address of the list.

    Returns
    -------
    document
        XML.
    """
    href = quote_attribute(list_url)[1:-1]
    elements = "".join([_write_job_ref(ref, href) for ref in job_refs])
    return _write_document(f'<jobs version="1.1" {NAMESPACE_DECLARATIONS}>{elements}</jobs>')


def _write_job_ref(ref: JobRef, href: str) -> str:
    job_id = ref.id
    if not job_id.isalnum():
        job_id = quote_attribute(job_id)[1:-1]
    run_id = ""
    if ref.run_id is not None:
        run_id = _write_element("runId", ref.run_id)
    owner = NIL_OWNER_ELEMENT
    if ref.owner is not None:
        owner = _write_element("ownerId", ref.owner)
    return (
        f'<jobref id="{job_id}" xlink:href="{href}/{job_id}"><phase>{ref.phase}</phase>{run_id}{owner}'
        f"<creationTime>{ref.created[:23]}Z</creationTime></jobref>"
    )


def write_json(document: Any) -> bytes:
    """Serialize a document in JSON.

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
    return f"<{name}>{_format_xml_text(value)}</{name}>"


def _format_xml_text(value: object) -> str:
    return escape_xml(_format_value(value))


def _format_value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _write_parameters(parameters: Sequence[dict[str, str]]) -> str:
    elements = []
    for parameter in parameters:
        quoted_id = quote_attribute(parameter["id"])
        elements.append(f"<parameter id={quoted_id}>{_format_xml_text(parameter['value'])}</parameter>")
    return "".join(elements)


def _write_results(results: Sequence[dict[str, Any]]) -> str:
    elements = []
    for result in results:
        attributes = {
            "id": result["id"],
            "xlink:href": result["href"],
            "size": str(result["size"]),
            "mime-type": result["mime-type"],
        }
        attribute_text = " ".join(f"{name}={quote_attribute(value)}" for name, value in attributes.items())
        elements.append(f"<result {attribute_text}/>")
    return "".join(elements)
