"""Read the list types of a site: each ``jobs/lists/NAME.yaml`` runs job types for each row of a table."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor.value_schema import (
    DescriptorSection,
    FaultCollector,
    LocatedKeyValues,
    OneOrMore,
    Required,
    RetypedText,
    Text,
)
from hven.jobs import QUERY_JOB_TYPE, JobDefinition, JobTypeLimits, type_catalogue
from hven.model.errors import DescriptorError, NotFoundError, ParamError, suggest_spelling
from hven.model.params import Param, RequestParams
from hven.model.settings import JOB_TYPES_DIRECTORY, Settings
from hven.plugins.declared_jobs.declarations import (
    DeclaredJobTypeProvider,
    JobDeclarationKind,
    JobParameterSection,
    build_parameter_check,
    parse_parameter_sections,
)
from hven.plugins.fanout.list_rows import LIST_PARAMETER, MAX_LIST_ROWS, TABLE_PARAMETER, RowSchema
from hven.plugins.fanout.list_runner import ListRunner, list_placeholders
from hven.plugins.fanout.list_steps import ListStep

LISTS_FOLDER = "lists"  # in the directory of the job types
DEFAULT_ROW_LIMIT = 1_000
DEFAULT_LIST_SECONDS = 7 * 86_400  # a list waits for others' jobs, too
MAX_RETRIES = 5
STEP_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")


class StepConditionSection(DescriptorSection):
    """When a step begins."""

    steps: OneOrMore[Text]
    "the earlier steps whose jobs of the same row must have ended (default: the step before)"
    job: Literal["all", "any"]
    "all (the default): all of these jobs must be completed; any: one is enough"
    failed: Literal["skip", "stop"]
    "if too few are completed, skip (the default) leaves out the step for this row; stop ends the list if one fails"


class ListStepSection(DescriptorSection):
    """A step: the job that each row runs."""

    job: Required[Text]
    "name of a job type of the site, or tap for a query"
    send: dict[str, RetypedText]
    "parameters of the job (default: those that have the name of a column or parameter of the list)"
    files: dict[str, Text]
    "files that the job gets, as 'PARAMETER: step.result'"
    after: StepConditionSection
    "when the step begins (default: with the list)"


class ListLimitSection(DescriptorSection):
    """What a list may use."""

    rows: Annotated[int, Field(ge=1, le=MAX_LIST_ROWS)]
    "maximum number of rows"
    running: Annotated[int, Field(ge=1)]
    "maximum number of jobs of one list that run at the same time"
    waiting: Annotated[int, Field(ge=1)]
    "maximum number of unfinished lists of one user or address; further lists are HELD"
    seconds: Annotated[int, Field(ge=1)]
    "time limit of a list"


class ListTypeSection(DescriptorSection):
    """A type of list."""

    title: Required[Text]
    "title in one line"
    description: Text
    "what the list does"
    access: Literal["public", "private"]
    "public (the default), or private: only users who are logged in can run the list"
    rows: Required[dict[str, JobParameterSection]]
    "the columns of a row"
    params: dict[str, JobParameterSection]
    "parameters that are the same for all rows"
    steps: Required[dict[str, ListStepSection]]
    "the jobs of a row"
    join: Text
    "the result whose tables are joined, as 'step.result'"
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)]
    "how often a job that fails is run again (default: 0)"
    limits: ListLimitSection
    "what a list may use"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListParameterCheck:
    """Check the parameters of a list, and the rows in the request; rows in a file are checked when the list runs."""

    schema: RowSchema
    params: Sequence[Param]
    patterns: Mapping[str, re.Pattern[str]]

    def __call__(self, params: RequestParams, files: Collection[str]) -> None:
        """Raise `ParamError` for the first fault."""
        build_parameter_check(self.params, (), self.patterns)(params, files)
        text = "\n".join(params.read_all(LIST_PARAMETER))
        can_have_file = not {TABLE_PARAMETER, LIST_PARAMETER}.isdisjoint(files)
        if can_have_file and text.strip():
            raise ParamError(
                f"{LIST_PARAMETER} and the file {TABLE_PARAMETER} cannot be combined",
                name=LIST_PARAMETER,
                remedy="send one of them",
            )
        if not can_have_file and not text.strip():
            names = " ".join(param.name for param in self.schema.columns)
            raise ParamError(
                "the list has no rows",
                name=LIST_PARAMETER,
                remedy=f"write one row on each line ({names}), or send a table as the file {TABLE_PARAMETER}",
            )
        if text.strip() and not self.schema.is_query(text) and not self.schema.parse_lines(text):
            remedy = "add at least one row; the line of column names and lines that begin with # don't count"
            raise ParamError("the list has no rows", name=LIST_PARAMETER, remedy=remedy)


def _build_list_type(
    type_name: str, fields: LocatedKeyValues, settings: Settings, faults: FaultCollector
) -> JobDefinition | None:
    if (settings.job_types_directory / f"{type_name}.yaml").is_file():
        faults.add_error(
            f"there is already a job type {type_name!r}, in {JOB_TYPES_DIRECTORY}/{type_name}.yaml",
            fields.place,
            "give the file a different name",
        )
    columns, patterns = _parse_single_value_parameters(fields, "rows", faults)
    params, param_patterns = _parse_single_value_parameters(fields, "params", faults)
    for name in sorted({LIST_PARAMETER, TABLE_PARAMETER, *columns} & params.keys()):
        message = f"params.{name}: the list already has a column or a parameter {name}"
        faults.add_error(message, fields.places["params"], "rename the parameter")
    steps: list[ListStep] = []
    for key, section in fields.get("steps", {}).items():
        step = _build_step(str(key), key, section, {**columns, **params}, steps, settings=settings, faults=faults)
        if step is not None:
            steps.append(step)
    joined_result = None
    if "join" in fields:
        joined_result = _parse_result_reference(fields["join"], "join", [step.name for step in steps], faults)
    _check_access(fields, steps, settings, faults)
    limits: Mapping[str, Any] = fields.get("limits", {})
    if faults.faults or not steps:
        return None
    schema = RowSchema(
        columns=tuple(columns.values()), patterns=patterns, row_limit=limits.get("rows", DEFAULT_ROW_LIMIT)
    )
    all_params = tuple(params.values())
    names = " ".join(columns)
    list_params = (
        Param(name=LIST_PARAMETER, many=True, description=f"rows, one on each line: {names}; or one query"),
        Param(name=TABLE_PARAMETER, description=f"instead of LIST, a table with the columns {names}"),
    )
    return JobDefinition(
        name=type_name,
        title=str(fields["title"]),
        description=str(fields["description"]).strip() if "description" in fields else None,
        params=(*list_params, *all_params),
        files=(TABLE_PARAMETER,),
        run=ListRunner(
            schema=schema,
            params=all_params,
            steps=tuple(steps),
            joined_result=joined_result,
            retry_count=fields.get("retries", 0),
            running_limit=limits.get("running"),
        ),
        check=ListParameterCheck(schema=schema, params=all_params, patterns=param_patterns),
        quota=JobTypeLimits(
            waiting_limit=limits.get("waiting"),
            duration_limit_seconds=limits.get("seconds", DEFAULT_LIST_SECONDS),
        ),
        access=fields.get("access", "public"),
        is_served=True,
        page="/job-lists/{id}",
        row_parameter=LIST_PARAMETER,
    )


def _parse_single_value_parameters(
    fields: LocatedKeyValues, key: str, faults: FaultCollector
) -> tuple[dict[str, Param], dict[str, re.Pattern[str]]]:
    """Read the columns of the rows, or the parameters of the list: each has one value, which is no file."""
    sections = fields.get(key, {})
    for name, section in sections.items():
        for excluded_key in ("file", "many"):
            if section.get(excluded_key):
                faults.add_error(
                    f"{key}.{name}: a list cannot have the key '{excluded_key}' here",
                    section.places[excluded_key],
                    f"remove '{excluded_key}'",
                )
    params, _, patterns = parse_parameter_sections(sections, key, faults)
    return params, patterns


def _build_step(
    name: str,
    key: Any,
    section: LocatedKeyValues,
    known_params: Mapping[str, Param],
    earlier_steps: Sequence[ListStep],
    *,
    settings: Settings,
    faults: FaultCollector,
) -> ListStep | None:
    key_path = f"steps.{name}"
    if not STEP_NAME_PATTERN.fullmatch(name):
        faults.add_error(
            f"{key_path}: a step must have a name of lower-case letters, digits and _", key.place, "rename the step"
        )
    job_type = _find_step_type(section, key_path, settings, faults)
    if job_type is None:
        return None
    step_params = {param.name: param for param in job_type.params}
    sent = _parse_sent_parameters(section, key_path, step_params, known_params, faults)
    after_steps, is_any_enough, stops_list = _parse_step_condition(section, key_path, earlier_steps, faults)
    files = {}
    for part_name, text in section.get("files", {}).items():
        reference = _parse_result_reference(text, f"{key_path}.files.{part_name}", after_steps, faults)
        if part_name not in job_type.files:
            remedy = "remove 'files', or use another job type"
            if job_type.files:
                remedy = f"use one of {', '.join(job_type.files)}"
            faults.add_error(
                f"{key_path}.files: the job type {job_type.name} has no file {part_name}", part_name.place, remedy
            )
        if reference is not None:
            files[str(part_name)] = reference
    for param in job_type.params:
        if param.required and param.default is None and param.name not in {**sent, **files}:
            faults.add_error(
                f"{key_path}: the job type {job_type.name} requires {param.name}, but the list does not provide it",
                section.place,
                f"add {param.name} to 'send' or 'files', or to the rows",
            )
    return ListStep(
        name=name,
        job_type=job_type.name,
        sent=sent,
        files=files,
        after_steps=after_steps,
        is_any_enough=is_any_enough,
        stops_list=stops_list,
    )


def _parse_sent_parameters(
    section: LocatedKeyValues,
    key_path: str,
    step_params: Mapping[str, Param],
    known_params: Mapping[str, Param],
    faults: FaultCollector,
) -> dict[str, str]:
    """Read the parameters that a step sends to its job."""
    if "send" not in section:
        return {name: f"{{{name}}}" for name in step_params if name in known_params}
    remedy = f"use one of {', '.join(step_params)}" if step_params else "remove it: this job type has no parameters"
    for param_name, text in section["send"].items():
        if param_name not in step_params:
            faults.add_error(
                f"{key_path}.send: the job type has no parameter {param_name}",
                param_name.place,
                suggest_spelling(param_name, step_params) or remedy,
            )
        for placeholder in list_placeholders(text):
            if placeholder not in known_params:
                faults.add_error(
                    f"{key_path}.send.{param_name}: the list has no column or parameter {placeholder}",
                    text.place,
                    suggest_spelling(placeholder, known_params) or "add it to 'rows' or 'params'",
                )
    return {str(param_name): str(text) for param_name, text in section["send"].items()}


def _find_step_type(
    section: LocatedKeyValues, key_path: str, settings: Settings, faults: FaultCollector
) -> JobDefinition | None:
    """Find the job type of a step: one that clients can run themselves, but no list."""
    type_text = section.get("job")
    if type_text is None:
        return None
    if (settings.job_types_directory / LISTS_FOLDER / f"{type_text}.yaml").is_file():
        message = f"{key_path}.job: {type_text} is itself a list"
        faults.add_error(message, type_text.place, "use a job type that is not a list")
        return None
    try:
        job_type = type_catalogue.find_job_type(settings, str(type_text))
    except NotFoundError as error:
        faults.add_error(f"{key_path}.job: {error.message}", type_text.place, error.remedy)
        return None
    except DescriptorError:
        faults.add_error(
            f"{key_path}.job: the job type {type_text} has faults", type_text.place, "correct its file first"
        )
        return None
    if not job_type.is_served and job_type.name != QUERY_JOB_TYPE:
        faults.add_error(
            f"{key_path}.job: users cannot run jobs of the type {type_text}",
            type_text.place,
            f"use a job type from {JOB_TYPES_DIRECTORY}/, or {QUERY_JOB_TYPE}",
        )
        return None
    return job_type


def _parse_step_condition(
    section: LocatedKeyValues, key_path: str, earlier_steps: Sequence[ListStep], faults: FaultCollector
) -> tuple[tuple[str, ...], bool, bool]:
    """Read after which steps a step begins, whether one completed job is enough, and if a failure ends the list."""
    condition = section.get("after")
    if condition is None:
        return (), False, False
    earlier_names = [step.name for step in earlier_steps]
    if not earlier_names:
        faults.add_error(f"{key_path}.after: there is no earlier step", section.places["after"], "remove 'after'")
    named_steps = condition.get("steps", earlier_names[-1:])
    for name in named_steps:
        if name not in earlier_names:
            faults.add_error(
                f"{key_path}.after.steps: there is no earlier step {name!r}",
                condition.places.get("steps", condition.place),
                suggest_spelling(name, earlier_names) or "move that step up",
            )
    known_steps = tuple(str(name) for name in named_steps if name in earlier_names)
    return known_steps, condition.get("job") == "any", condition.get("failed") == "stop"


def _parse_result_reference(
    text: Any, key_path: str, step_names: Sequence[str], faults: FaultCollector
) -> tuple[str, str] | None:
    step_name, dot, result_name = text.partition(".")
    if not dot or not result_name or step_name not in step_names:
        remedy = f"write {step_names[0]}.RESULT" if step_names else "name the step in 'after'"
        faults.add_error(f"{key_path}: {text!r} is not a result of a step", text.place, remedy)
        return None
    return str(step_name), str(result_name)


def _check_access(
    fields: LocatedKeyValues, steps: Sequence[ListStep], settings: Settings, faults: FaultCollector
) -> None:
    """Report a public list with a step that only users who are logged in can run."""
    if fields.get("access") == "private":
        return
    for step in steps:
        if type_catalogue.find_job_type(settings, step.job_type).access != "public":
            faults.add_error(
                f"the step {step.name} runs the private job type {step.job_type}, so the list must be private",
                fields.place,
                "write `access: private`",
            )


LIST_TYPES = DeclaredJobTypeProvider(
    JobDeclarationKind(
        folder=LISTS_FOLDER,
        section=ListTypeSection,
        build_type=_build_list_type,
        hint="write `title: ...`, `rows: ...` and `steps: ...`",
    )
)
