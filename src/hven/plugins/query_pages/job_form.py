"""Build the form of a job type from its parameters, and read the parameters that the form sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.site.api.events import NOTIFY_PARAMETER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.jobs import JobDefinition
    from hven.model.params import Param, RequestParams, UploadedFile
    from hven.site.auth import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class JobForm:
    """The form of a job type.

    Attributes
    ----------
    kind, title, description
        Name, title and description of the type.
    params
        The fields.
    files
        Whether the jobs take files.
    closed
        Whether the user must log in first.
    notifies, notified
        Whether the site can notify the user when the job ends, and whether the user has chosen this.
    fault
        The parameter that was refused.
    """

    kind: str
    title: str
    description: str
    params: Sequence[Mapping[str, object]]
    files: bool
    closed: bool
    notifies: bool
    notified: bool
    fault: Mapping[str, str] | None


def build_job_form(
    job_type: JobDefinition,
    principal: Principal,
    sent_params: RequestParams | None = None,
    fault: Mapping[str, str] | None = None,
    *,
    notifies: bool = False,
) -> JobForm:
    """Build the form of a job type.

    Parameters
    ----------
    sent_params
        Parameters that were sent and refused; they fill the fields.
    fault
        The reason: ``name`` of the parameter, ``message``, ``remedy``.
    notifies
        Whether the site can notify users. Those without an account have no address.
    """
    form_fields = [_build_form_field(param, job_type, sent_params) for param in job_type.params]
    needs_login = job_type.access != "public" and principal.name is None
    return JobForm(
        kind=job_type.name,
        title=job_type.title,
        description=job_type.description or "",
        params=form_fields,
        files=bool(job_type.files),
        closed=needs_login,
        notifies=notifies and principal.name is not None,
        notified=sent_params is not None and sent_params.read_one(NOTIFY_PARAMETER) is not None,
        fault=fault,
    )


def _build_form_field(param: Param, job_type: JobDefinition, sent_params: RequestParams | None) -> dict[str, object]:
    is_file = param.name in job_type.files
    sent_texts: Sequence[str] = ()
    if sent_params is not None and not is_file:
        sent_texts = sent_params.read_all(param.name)
    field_text = param.default or ""
    selected_choices: Sequence[str] = ()
    if sent_texts:
        field_text = "\n".join(sent_texts)
        selected_choices = sent_texts
    elif param.default:
        selected_choices = (param.default,)
    return {
        "param": param,
        "file": is_file,
        "number": param.type.is_numeric and not param.type.is_array,
        "truth": param.type.is_boolean,
        "step": "1" if param.type.is_integer else "any",
        "value": field_text,
        "chosen": selected_choices,
    }


def read_job_params(
    job_type: JobDefinition, sent_params: RequestParams
) -> tuple[list[tuple[str, str]], dict[str, UploadedFile]]:
    """Return the parameters and the files of a job that a form sent.

    Empty fields are left out. Each line of a parameter with several values is one value.
    """
    pairs: list[tuple[str, str]] = []
    for param in job_type.params:
        texts = sent_params.read_all(param.name)
        is_multiline = param.many and not param.allowed
        if is_multiline:
            values = "\n".join(texts).splitlines()
        else:
            values = list(texts)
        stripped_values = [value.strip() for value in values]
        pairs += [(param.name, value) for value in stripped_values if value]
    pairs += [(NOTIFY_PARAMETER, value) for value in sent_params.read_all(NOTIFY_PARAMETER)[:1]]
    job_files = {name: file for name, file in sent_params.files.items() if name in job_type.files}
    files = {name: file for name, file in job_files.items() if file.filename or file.size}
    return pairs, files
