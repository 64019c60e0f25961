"""The job type ``tap``: an ADQL query whose answer becomes a file (TAP 1.1 section 2.2)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven import formats, query
from hven.formats import MEDIA_TYPE, Info
from hven.jobs._types import Type
from hven.model.errors import ParamError, ServiceError
from hven.model.params import Param
from hven.model.types import INT32
from hven.query import cited_results, uploads
from hven.site.auth import offered

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from hven.jobs._types import Work
    from hven.model.params import Params
    from hven.query import Result

# seconds more for the engine: a job's time may be changed while it runs, so the worker looks at it, and ends it
SPARE = 10.0
STANDARD = "ivo://ivoa.net/std/TAP"
LANGUAGES = ("ADQL", "ADQL-2.0", "ADQL-2.1")
MAXREC = Param(name="MAXREC", type=INT32, minimum=0, description="rows at most; 0 asks for the columns alone")
RESPONSEFORMAT = Param(
    name="RESPONSEFORMAT", description="votable (default), csv, tsv, json, fits, parquet, arrow, or a media type"
)
PARAMS = (
    Param(name="LANG", required=True, allowed=LANGUAGES, description="language of the query"),
    Param(name="QUERY", required=True, description="the query, in ADQL"),
    RESPONSEFORMAT,
    MAXREC,
    Param(
        name="UPLOAD",
        description="name,uri: a table that comes with the query, asked as TAP_UPLOAD.name; uri: param:PART, http://..., https://...",
    ),
    Param(
        name="EXPLAIN",
        description="true (Hven's own): answer with the plan of the query, as text, instead of running it",
    ),
    Param(
        name="ASOF",
        description="a time (ISO 8601, UTC), a release or a snapshot's id (Hven's own): ask what was published then",
    ),
    Param(
        name="CITE",
        description="true (Hven's own): give the rows a persistent address, which the answer tells as its INFO `result`",
    ),
    Param(name="RUNID", description="a name of yours that stands in the log"),
)

READ = ("FORMAT", "REQUEST", "VERSION")  # of TAP 1.0, whose clients still send them


def query_of(params: Params) -> str:
    """Read REQUEST, LANG and QUERY (TAP 1.1, 2.7).

    Parameters
    ----------
    params
        Of the request.

    Returns
    -------
    query
        ADQL.

    Raises
    ------
    ParamError
        Something is missing, or asks for what is not offered.
    """
    request = params.one("REQUEST")
    if request is not None and request.lower() != "doquery":
        raise ParamError(
            f"REQUEST={request!r} is not known", name="REQUEST", remedy="leave it out, or say REQUEST=doQuery"
        )
    language = params.one("LANG") or "ADQL"
    if language.upper() not in LANGUAGES:
        remedy = f"known: {', '.join(LANGUAGES)}"
        raise ParamError(f"the query language {language!r} is not known here", name="LANG", remedy=remedy)
    text = params.one("QUERY")
    if text is None:
        raise ParamError(
            "QUERY is missing", name="QUERY", remedy="for example QUERY=SELECT TOP 5 * FROM TAP_SCHEMA.tables"
        )
    return text


def explain_of(params: Params) -> bool:
    """Read EXPLAIN, our own extension: whether the plan is wanted instead of the answer.

    Parameters
    ----------
    params
        Of the request.

    Returns
    -------
    wanted
        False where it is not given.

    Raises
    ------
    ParamError
        It is no boolean (DALI 1.1 section 3.3.2).
    """
    return _truth(params, "EXPLAIN")


def cite_of(params: Params) -> bool:
    """Read CITE, our own extension: whether the rows shall have a persistent address.

    Parameters
    ----------
    params
        Of the request.

    Returns
    -------
    wanted
        False where it is not given.

    Raises
    ------
    ParamError
        It is no boolean; or the rows are not those of what is published now.
    """
    wanted = _truth(params, "CITE")
    if wanted and (params.one("ASOF") or params.values.get("UPLOAD")):
        raise ParamError("CITE is for what is published now, without uploads", name="CITE", remedy="take ASOF and UPLOAD away")  # fmt: skip
    return wanted


def _truth(params: Params, name: str) -> bool:
    said = params.one(name, "false")
    if said not in {"true", "false", "1", "0"}:
        raise ParamError(f"{name}={said!r:.60} is not known", name=name, remedy="true or false")
    return said in {"true", "1"}


def _address(work: Work, text: str, maxrec: int | None) -> str:
    """Give the rows a persistent address."""
    made = cited_results.make(
        text,
        work.who,
        site=work.site,
        policies=offered(tuple(work.policies), "tap"),
        maker=work.who.name or "jobs",
        maxrec=maxrec,
    )
    return f"{work.site.settings.url}/results/{made.id}"


def run(work: Work) -> None:
    """Run the query of a job, and write the answer as its result.

    Parameters
    ----------
    work
        The job.

    Raises
    ------
    ServiceError
        The answer broke off.
    """
    params = work.params
    text = query_of(params)
    policies = offered(tuple(work.policies), "tap")
    fmt, options = formats.select(params.one("RESPONSEFORMAT") or params.one("FORMAT"))
    default, most = work.site.settings.job_rows
    maxrec = params.whole("MAXREC")
    uploaded = uploads.read(uploads.pairs(params.all("UPLOAD")), work.files, work.site.settings)
    if explain_of(params):
        plan = query.explain(text, work.who, site=work.site, uploads=uploaded, policies=policies)
        with work.writing("result", media_type="text/plain; charset=utf-8", extension=".txt") as file:
            file.write(f"{plan}\n".encode())
        return
    cited = [Info(name="result", value=_address(work, text, maxrec))] if cite_of(params) else []
    with query.run(
        text,
        work.who,
        site=work.site,
        maxrec=default if maxrec is None else maxrec,
        most=most,
        seconds=work.site.settings.jobs.seconds_hard + SPARE,
        uploads=uploaded,
        policies=policies,
        as_of=params.one("ASOF"),
    ) as result:
        work.stoppable(result.cancel)
        work.tell_tables(table.qualified for table in result.tables)
        if result.scope.public:
            work.tell_public()
        head = query.head(
            result,
            infos=[
                Info(name="QUERY", value=text),
                Info(name="standardID", value=STANDARD),
                *cited,
                Info(name="service_protocol", value=STANDARD),
                # without the job's id, which opens it to whoever knows it
                Info(name="request", value=f"{work.site.settings.url}/tap/async"),
                Info(name="request_date", value=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"),
                *uploads.list_warnings(uploaded),
                *query.unused(params, PARAMS, *READ),
            ],
        )
        media_type = options.get(MEDIA_TYPE) or fmt.media_types[0]
        batches = _counted(result, work)
        first = next(batches, None)
        with work.writing("result", media_type=media_type, extension=f".{fmt.extension.lstrip('.')}") as file:
            rest = batches if first is None else itertools.chain((first,), batches)
            for chunk in fmt.write(head, rest, result.end, options):
                file.write(chunk)
            # a format that can say so has said it and gone on; a job has an error for that
            if result.failure is not None:
                raise result.failure
            if result.error is not None:
                raise ServiceError(result.error)
        work.told(rows=result.rows, overflow=result.overflow, tables=[table.qualified for table in result.tables])


def _counted(result: Result, work: Work) -> Iterator[pa.RecordBatch]:
    """Report how far the answer is: its rows so far and, where their number is known beforehand, the share of them."""
    total = result.total
    for batch in result.batches():
        if total:
            work.told(rows=result.rows, share=round(min(result.rows / total, 1.0), 4))
        else:
            work.told(rows=result.rows)
        yield batch


JOB = Type(name="tap", title="ADQL query", params=PARAMS, run=run)
