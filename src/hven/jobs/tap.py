"""The job type ``tap``: an ADQL query whose answer becomes a file (TAP 1.1 section 2.2)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hven import formats, query
from hven.formats import MEDIA_TYPE, Info
from hven.jobs._types import Type
from hven.model.errors import ParamError, ServiceError
from hven.model.params import Param
from hven.model.types import INT32
from hven.query import uploads
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
    """Read EXPLAIN, our own extension.

    Parameters
    ----------
    params
        Of the request.

    Returns
    -------
    explain
        Whether the plan is wanted instead of the answer.

    Raises
    ------
    ParamError
        It is no boolean (DALI 1.1 section 3.3.2).
    """
    said = params.one("EXPLAIN", "false")
    if said not in {"true", "false", "1", "0"}:
        raise ParamError(f"EXPLAIN={said!r:.60} is not known", name="EXPLAIN", remedy="true or false")
    return said in {"true", "1"}


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
        head = query.head(
            result,
            infos=[
                Info(name="QUERY", value=text),
                Info(name="standardID", value=STANDARD),
                *uploads.renamed(uploaded),
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
