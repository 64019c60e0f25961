"""The job type ``tap``: an ADQL query whose answer becomes a file (TAP 1.1 section 2.2)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven import formats, query
from hven.formats import MEDIA_TYPE_OPTION, InfoElement
from hven.jobs._job_types import JobDefinition
from hven.model.errors import ParamError, ServiceError
from hven.model.params import Param
from hven.model.types import INT32
from hven.query import cited_results, uploads
from hven.site.auth import with_service_and_portal_policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from hven.jobs._job_types import RunningJob
    from hven.model.params import RequestParams
    from hven.query import QueryResult

# added to the time limit of the engine: the limit of a job can change while it runs, so its worker enforces it
SPARE_SECONDS = 10.0
TAP_STANDARD_ID = "ivo://ivoa.net/std/TAP"
QUERY_LANGUAGES = ("ADQL", "ADQL-2.0", "ADQL-2.1")
MAXREC_PARAM = Param(
    name="MAXREC", type=INT32, minimum=0, description="maximum number of rows; 0 returns only the columns"
)
RESPONSEFORMAT_PARAM = Param(
    name="RESPONSEFORMAT", description="votable (default), csv, tsv, json, fits, parquet, arrow, or a media type"
)
TAP_PARAMS = (
    Param(name="LANG", required=True, allowed=QUERY_LANGUAGES, description="language of the query"),
    Param(name="QUERY", required=True, description="the query, in ADQL"),
    RESPONSEFORMAT_PARAM,
    MAXREC_PARAM,
    Param(
        name="UPLOAD",
        description="name,uri: a table that is sent with the query and is queried as TAP_UPLOAD.name; uri: "
        "param:PART, http://..., "
        "https://...",
    ),
    Param(
        name="EXPLAIN",
        description="true (Hven's own): answer with the plan of the query, as text, instead of running it",
    ),
    Param(
        name="ASOF",
        description="a time (ISO 8601, UTC), a release or the id of a snapshot (Hven's own): query that published "
        "state",
    ),
    Param(
        name="CITE",
        description="true (Hven's own): give the rows a persistent address, "
        "which is in the INFO `result` of the answer",
    ),
    Param(name="RUNID", description="your own name for the query, which is written to the log"),
)

LEGACY_PARAMETERS = ("FORMAT", "REQUEST", "VERSION")  # of TAP 1.0, which some clients still send


def read_adql_query(params: RequestParams) -> str:
    """Read REQUEST, LANG and QUERY (TAP 1.1, 2.7).

    Parameters
    ----------
    params
        Parameters of the request.

    Returns
    -------
    query
        The text of the query, in ADQL.

    Raises
    ------
    ParamError
        A parameter is missing, or its value is not supported.
    """
    request = params.read_one("REQUEST")
    if request is not None and request.lower() != "doquery":
        raise ParamError(
            f"REQUEST={request!r} is not valid", name="REQUEST", remedy="leave it out, or write REQUEST=doQuery"
        )
    language = params.read_one("LANG") or "ADQL"
    if language.upper() not in QUERY_LANGUAGES:
        remedy = f"use one of {', '.join(QUERY_LANGUAGES)}"
        raise ParamError(f"the query language {language!r} is not supported", name="LANG", remedy=remedy)
    text = params.read_one("QUERY")
    if text is None:
        raise ParamError(
            "QUERY is missing", name="QUERY", remedy="send a query, such as QUERY=SELECT TOP 5 * FROM TAP_SCHEMA.tables"
        )
    return text


def read_explain_flag(params: RequestParams) -> bool:
    """Read EXPLAIN, an extension of Hven: whether the client wants the plan instead of the answer.

    Parameters
    ----------
    params
        Parameters of the request.

    Returns
    -------
    is_wanted
        The default is false.

    Raises
    ------
    ParamError
        The value is no boolean (DALI 1.1 section 3.3.2).
    """
    return _read_boolean_parameter(params, "EXPLAIN")


def read_cite_flag(params: RequestParams) -> bool:
    """Read CITE, an extension of Hven: whether the rows shall have a persistent address.

    Parameters
    ----------
    params
        Parameters of the request.

    Returns
    -------
    is_wanted
        The default is false.

    Raises
    ------
    ParamError
        The value is no boolean, or the query does not read the published state.
    """
    is_wanted = _read_boolean_parameter(params, "CITE")
    if is_wanted and (params.read_one("ASOF") or params.values.get("UPLOAD")):
        raise ParamError(
            "CITE works only for the current published state, and not with uploads",
            name="CITE",
            remedy="leave out ASOF and UPLOAD",
        )
    return is_wanted


def _read_boolean_parameter(params: RequestParams, parameter_name: str) -> bool:
    value_text = params.read_one(parameter_name, "false")
    if value_text not in {"true", "false", "1", "0"}:
        raise ParamError(
            f"{parameter_name}={value_text!r:.60} is not valid", name=parameter_name, remedy="write true or false"
        )
    return value_text in {"true", "1"}


def _create_persistent_address(running_job: RunningJob, text: str, maxrec: int | None) -> str:
    """Create a persistent address for the rows of a query."""
    cited_result = cited_results.create_cited_result(
        text,
        running_job.principal,
        site=running_job.site,
        policies=with_service_and_portal_policies(tuple(running_job.policies), "tap"),
        maker_name=running_job.principal.name or "jobs",
        maxrec=maxrec,
    )
    return f"{running_job.site.settings.site_url}/results/{cited_result.id}"


def run_query_job(running_job: RunningJob) -> None:
    """Run the query of a job, and write the answer as its result.

    Parameters
    ----------
    running_job
        The job.

    Raises
    ------
    ServiceError
        The answer ended with an error.
    """
    params = running_job.params
    site = running_job.site
    text = read_adql_query(params)
    policies = with_service_and_portal_policies(tuple(running_job.policies), "tap")
    format_name = params.read_one("RESPONSEFORMAT") or params.read_one("FORMAT")
    table_format, options = formats.select_format(format_name)
    default_row_limit, hard_row_limit = site.settings.job_row_limits
    maxrec = params.read_integer("MAXREC")
    upload_references = uploads.parse_upload_references(params.read_all("UPLOAD"))
    uploaded_tables = uploads.read_uploads(upload_references, running_job.input_files, site.settings)
    if read_explain_flag(params):
        plan = query.explain_query(text, running_job.principal, site=site, uploads=uploaded_tables, policies=policies)
        with running_job.open_result_file("result", media_type="text/plain; charset=utf-8", extension=".txt") as file:
            file.write(f"{plan}\n".encode())
        return
    infos = [InfoElement(name="QUERY", value=text), InfoElement(name="standardID", value=TAP_STANDARD_ID)]
    if read_cite_flag(params):
        result_address = _create_persistent_address(running_job, text, maxrec)
        infos.append(InfoElement(name="result", value=result_address))
    with query.run_query(
        text,
        running_job.principal,
        site=site,
        maxrec=default_row_limit if maxrec is None else maxrec,
        hard_row_limit=hard_row_limit,
        timeout_seconds=site.settings.jobs.seconds_hard + SPARE_SECONDS,
        uploads=uploaded_tables,
        policies=policies,
        as_of=params.read_one("ASOF"),
    ) as result:
        running_job.set_stop_function(result.cancel)
        running_job.record_result_tables(table.qualified_name for table in result.tables)
        if result.scope.is_public:
            running_job.mark_results_public()
        # the address in `request` has no id of the job, which opens the job to everyone who knows it
        infos += [
            InfoElement(name="service_protocol", value=TAP_STANDARD_ID),
            InfoElement(name="request", value=f"{site.settings.site_url}/tap/async"),
            InfoElement(name="request_date", value=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"),
            *uploads.list_upload_warnings(uploaded_tables),
            *query.build_unused_parameter_warnings(params, TAP_PARAMS, *LEGACY_PARAMETERS),
        ]
        metadata = query.build_result_metadata(result, infos=infos)
        media_type = options.get(MEDIA_TYPE_OPTION) or table_format.media_types[0]
        extension = f".{table_format.extension.lstrip('.')}"
        batches = _iterate_batches_with_progress(result, running_job)
        first_batch = next(batches, None)
        if first_batch is not None:
            batches = itertools.chain((first_batch,), batches)
        with running_job.open_result_file("result", media_type=media_type, extension=extension) as file:
            for chunk in table_format.write(metadata, batches, result.build_status, options):
                file.write(chunk)
            # some formats have a place for an error, and end normally; the job reports it in any format
            if result.failure is not None:
                raise result.failure
            if result.error is not None:
                raise ServiceError(result.error)
        table_names = [table.qualified_name for table in result.tables]
        running_job.report_progress(rows=result.row_count, overflow=result.overflow, tables=table_names)


def _iterate_batches_with_progress(result: QueryResult, running_job: RunningJob) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a result, and report the rows so far; with their share, if the total is known."""
    total = result.total_row_count
    for batch in result.iterate_batches():
        if total:
            share = round(min(result.row_count / total, 1.0), 4)
            running_job.report_progress(rows=result.row_count, share=share)
        else:
            running_job.report_progress(rows=result.row_count)
        yield batch


JOB = JobDefinition(name="tap", title="ADQL query", params=TAP_PARAMS, run=run_query_job)
