"""A job of any kind as a form: its parameters as fields, made of the kind's own record.

And what such a form sends as what the job understands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.jobs import JobDefinition
    from hven.model.params import Param, RequestParams, Upload
    from hven.site.auth import Principal


def build_job_form(
    job_type: JobDefinition,
    principal: Principal,
    sent_params: RequestParams | None = None,
    fault: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what the page shows of the form of a kind.

    Parameters
    ----------
    sent_params
        What was sent and could not be taken: it stays in the fields.
    fault
        Why: ``name`` of the parameter, ``message``, ``remedy``.
    """
    return {
        "kind": job_type.name,
        "title": job_type.title,
        "description": job_type.description or "",
        "params": [_describe_param(param, job_type, sent_params) for param in job_type.params],
        "files": bool(job_type.files),
        "closed": job_type.access != "public" and principal.name is None,
        "fault": fault,
    }


def _describe_param(param: Param, job_type: JobDefinition, sent_params: RequestParams | None) -> dict[str, Any]:
    is_file = param.name in job_type.files
    texts = () if sent_params is None or is_file else sent_params.read_all(param.name)
    return {
        "name": param.name,
        "unit": param.unit,
        "description": param.description,
        "required": param.required,
        "many": param.many,
        "default": param.default,
        "allowed": param.allowed,
        "minimum": param.minimum,
        "maximum": param.maximum,
        "file": is_file,
        "value": "\n".join(texts) if texts else param.default or "",
        "chosen": texts or ((param.default,) if param.default else ()),
        "kind": "number" if param.type.is_numeric and not param.type.is_array else "text",
        "step": "1" if param.type.is_integer else "any",
        "truth": param.type.is_boolean,
    }


def read_job_params(
    job_type: JobDefinition, sent_params: RequestParams
) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    """Return what a form gave for a job.

    Fields that were left empty are none, lines are values of what may be several, files are those of the kind.
    """
    pairs: list[tuple[str, str]] = []
    for param in job_type.params:
        texts = sent_params.read_all(param.name)
        is_multiline = param.many and not param.allowed
        values = (line for text in texts for line in text.splitlines()) if is_multiline else iter(texts)
        pairs += [(param.name, value.strip()) for value in values if value.strip()]
    files = {
        name: file
        for name, file in sent_params.files.items()
        if name in job_type.files and (file.filename or file.size)
    }
    return pairs, files
