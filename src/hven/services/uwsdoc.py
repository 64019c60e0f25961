"""UWS 1.1 documents: a job, a list of jobs, parameters, results - in XML as the schema has them, and the same in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent
from xml.sax.saxutils import escape, quoteattr

import orjson

from hven.formats.votable import legal
from hven.jobs import RULES
from hven.site.store import REMOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site.store import Job, Ref

NAMESPACES = 'xmlns="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
NOBODY = '<ownerId xsi:nil="true"/>'
XML = "text/xml; charset=utf-8"
JSON = "application/json"


def time(text: str | None) -> str | None:
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
    return None if text is None else f"{text[:23]}Z"


def facts(
    job: Job,
    here: str,
    *,
    place: int | None = None,
    quote: str | None = None,
    note: str | None = None,
    children: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe a job by the names of the schema; JSON is this.

    Parameters
    ----------
    job
        As the store has it.
    here
        Address of the job.
    place
        In the queue, 1 = next.
    quote
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
    given = {**job.progress, "place": place, "attempts": job.attempts or None, "note": note or job.progress.get("note")}
    given |= {"parent": job.parent, "dependsOn": list(job.depends_on) or None, "children": list(children) or None}
    info = {name: value for name, value in given.items() if value is not None and name not in {REMOTE, RULES, "tables"}}
    return {
        "jobId": job.id,
        "runId": job.run_id,
        "ownerId": job.owner,
        "phase": job.phase,
        "quote": time(quote),
        "creationTime": time(job.created),
        "startTime": time(job.started),
        "endTime": time(job.ended),
        "executionDuration": job.duration,
        "destruction": time(job.destruction),
        "parameters": [{"id": name, "value": value} for name, value in job.parameters],
        "results": results(job, here),
        "errorSummary": None
        if job.error is None
        else {"type": job.error["kind"], "hasDetail": job.phase == "ERROR", "message": job.error["message"]},
        "jobInfo": info,
    }


def results(job: Job, here: str) -> list[dict[str, Any]]:
    """List the results of a job.

    Parameters
    ----------
    job
        As the store has it.
    here
        Address of the job.

    Returns
    -------
    results
        Id, href, size (bytes) and mime-type of each.
    """
    return [
        {
            "id": item["id"],
            "href": f"{here}/results/{percent(item['id'])}",
            "size": item["bytes"],
            "mime-type": item["media_type"],
        }
        for item in job.results
    ]


def job_xml(told: dict[str, Any]) -> bytes:
    """Serialize a job (schema type JobSummary), in the order that the schema wants.

    Parameters
    ----------
    told
        As `facts` returned it.

    Returns
    -------
    document
        XML.
    """
    run_id = "" if told["runId"] is None else _element("runId", told["runId"])
    times = "".join(_element(name, told[name]) for name in ("quote", "creationTime", "startTime", "endTime"))
    error = told["errorSummary"]
    summary = (
        ""
        if error is None
        else f'<errorSummary type="{error["type"]}" hasDetail="{str(error["hasDetail"]).lower()}">{_element("message", error["message"])}</errorSummary>'
    )
    info = "".join(
        f'<{name} xmlns="">{escape(legal(_text(value)))}</{name}>' for name, value in told["jobInfo"].items()
    )
    return _document(
        f'<job version="1.1" {NAMESPACES}>{_element("jobId", told["jobId"])}{run_id}{_element("ownerId", told["ownerId"])}'
        f"{_element('phase', told['phase'])}{times}{_element('executionDuration', told['executionDuration'])}"
        f"{_element('destruction', told['destruction'])}<parameters>{_parameters(told['parameters'])}</parameters>"
        f"<results>{_results(told['results'])}</results>{summary}"
        + (f"<jobInfo>{info}</jobInfo>" if info else "")
        + "</job>"
    )


def parameters_xml(told: dict[str, Any]) -> bytes:
    """Serialize the parameters of a job.

    Parameters
    ----------
    told
        As `facts` returned it.

    Returns
    -------
    document
        XML.
    """
    return _document(f"<parameters {NAMESPACES}>{_parameters(told['parameters'])}</parameters>")


def results_xml(told: dict[str, Any]) -> bytes:
    """Serialize the results of a job.

    Parameters
    ----------
    told
        As `facts` returned it.

    Returns
    -------
    document
        XML.
    """
    return _document(f"<results {NAMESPACES}>{_results(told['results'])}</results>")


def refs(found: Sequence[Ref], here: str) -> list[dict[str, Any]]:
    """Describe the jobs of a list.

    Parameters
    ----------
    found
        Short records of jobs.
    here
        The list's own address.

    Returns
    -------
    jobs
        Plain values.
    """
    return [
        {
            "id": ref.id,
            "href": f"{here}/{ref.id}",
            "phase": ref.phase,
            "runId": ref.run_id,
            "ownerId": ref.owner,
            "creationTime": time(ref.created),
        }
        for ref in found
    ]


def refs_xml(found: Sequence[Ref], here: str) -> bytes:
    """Serialize a list of jobs, of which there may be very many.

    Parameters
    ----------
    found
        Short records of jobs.
    here
        The list's own address.

    Returns
    -------
    document
        XML.
    """
    href = escape(here, {'"': "&quot;"})
    return _document(f'<jobs version="1.1" {NAMESPACES}>{"".join([_ref(ref, href) for ref in found])}</jobs>')


def _ref(ref: Ref, href: str) -> str:
    name = ref.id if ref.id.isalnum() else escape(ref.id, {'"': "&quot;"})
    run_id = "" if ref.run_id is None else _element("runId", ref.run_id)
    owner = NOBODY if ref.owner is None else _element("ownerId", ref.owner)
    return (
        f'<jobref id="{name}" xlink:href="{href}/{name}"><phase>{ref.phase}</phase>{run_id}{owner}'
        f"<creationTime>{ref.created[:23]}Z</creationTime></jobref>"
    )


def json(told: Any) -> bytes:
    """Serialize the same in JSON.

    Parameters
    ----------
    told
        Plain values.

    Returns
    -------
    document
        JSON.
    """
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)


def _document(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode("utf-8", "replace")


def _element(name: str, value: object) -> str:
    return f'<{name} xsi:nil="true"/>' if value is None else f"<{name}>{escape(legal(_text(value)))}</{name}>"


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parameters(given: Sequence[dict[str, str]]) -> str:
    return "".join(
        f"<parameter id={quoteattr(legal(item['id']))}>{escape(legal(item['value']))}</parameter>" for item in given
    )


def _results(found: Sequence[dict[str, Any]]) -> str:
    return "".join(
        f"<result id={quoteattr(item['id'])} xlink:href={quoteattr(item['href'])} size={quoteattr(str(item['size']))} mime-type={quoteattr(item['mime-type'])}/>"
        for item in found
    )
