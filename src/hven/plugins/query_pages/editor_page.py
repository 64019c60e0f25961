"""Serve ``/adql``: a page to write queries on, with the tables, examples, error marks and the first rows.

* ``/adql/check`` returns the error of a query and its position, without running it.
* ``/adql/explain`` returns the plan of a query.
* ``/adql/words`` returns the completions of the editor.
* ``/adql/rows`` returns the first rows of a query as pages show them, ``/adql/answer`` as HTML.
* ``/adql/histogram`` and ``/adql/points`` return the data of plots over all rows.

A query stops when its reader leaves. ``/tap/sync`` sends the whole result in any format; long queries are jobs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.routing import Route

from hven import formats, query, services
from hven.adql.adql_writer import quote_adql_name
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.model.errors import ParamError, QueryError, TimeLimitError, UserError, format_message
from hven.model.table import Table
from hven.plugins.query_pages.query_answers import build_answer_search
from hven.portal.api.page_rows import RowPage, build_json_endpoint, build_query_runner
from hven.portal.api.pages import (
    SAMP_HUB_ORIGINS,
    PageContent,
    PageContext,
    RunningQueries,
    TemplateContext,
    build_page_endpoint,
    is_json_requested,
    load_page_translations,
    run_while_connected,
)
from hven.portal.api.plots import axes_to_json, build_histogram_json, build_points_or_density_json, is_plottable
from hven.portal.api.table_downloads import write_client_query_examples
from hven.portal.api.table_rows import build_column_headings, cell_to_json, columns_to_json, format_cells

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from hven.plugins.query_pages.query_answers import AnswerQueryRunner, QueryAnswerSearch
    from hven.services.face import ServiceContext

MAX_SHOWN_ROWS = 1000  # rows of a result that a page shows
MAX_QUERY_CHARACTERS = 60_000  # of a query in an address
MAX_ADDRESS_CHARACTERS = 8_000  # of an address for other programs
ANSWER_WAIT_SECONDS = 2.0  # how long the page waits for a result; its script fetches slower ones
WAIT_PARAMETER = "_wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResultPreview:
    """The first rows of a query, with the addresses of the whole result.

    Attributes
    ----------
    columns, rows
        Columns and cells, as in `columns_to_json` and `cell_to_json`.
    more, shown
        Whether there are more rows, and how many a page shows at most.
    seconds
        How long the query took.
    adql
        The query.
    here
        Address of the editor.
    table, download
        Addresses of the result for other programs, empty if it is too long, and for the form of the formats.
    formats
        Names and labels of formats.
    lines
        The query for common programs, as in `write_client_query_examples`.
    plotted
        Columns that can be plotted.
    """

    columns: Sequence[Mapping[str, object]]
    rows: Sequence[Sequence[object]]
    more: bool
    shown: int
    seconds: float
    adql: str
    here: str
    table: str
    download: str
    formats: Sequence[tuple[str, str]]
    lines: Sequence[Mapping[str, str]]
    plotted: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEditorPage(TemplateContext):
    """The page to write queries on.

    Attributes
    ----------
    text
        The query.
    examples
        Examples of queries.
    schemas
        All schemas, tables and columns.
    formats
        Names and labels of formats.
    answer
        Result of the query; None if there is none yet.
    fault
        Error of the query: ``message`` and ``remedy``, and ``line`` and ``column`` if its position is known.
    slow
        Whether a script fetches the result, because the query takes long.
    """

    template = "query_pages/adql.html"
    text: str
    examples: Sequence[Mapping[str, object]]
    schemas: Sequence[Mapping[str, object]]
    formats: Sequence[tuple[str, str]]
    answer: QueryResultPreview | None
    fault: Mapping[str, object] | None
    slow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswerPart(TemplateContext):
    """The result of a query without the page.

    Attributes
    ----------
    answer, fault
        The result, or the error of the query, as in `QueryEditorPage`.
    """

    template = "query_pages/answer.html"
    answer: QueryResultPreview | None = None
    fault: Mapping[str, object] | None = None


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page and the answers for its editor."""

    def run_cancellable(
        build_content: Callable[[PageContext, RunningQueries], PageContent],
    ) -> Callable[[PageContext], Awaitable[PageContent]]:
        async def answer_cancellable(page_context: PageContext) -> PageContent:
            return await run_while_connected(page_context.request, partial(build_content, page_context))

        return answer_cancellable

    def build_data_endpoint(build_content: Callable[[PageContext, RunningQueries], object]) -> Any:
        def build_page_content(page_context: PageContext, running_queries: RunningQueries) -> PageContent:
            return PageContent(json_content=build_content(page_context, running_queries))

        return build_json_endpoint(run_cancellable(build_page_content), context)

    page_endpoint = build_page_endpoint(
        run_cancellable(_build_editor_page),
        context,
        header_options={"allow_inline_styles": True, "connect_origins": SAMP_HUB_ORIGINS},
    )
    return [
        Route("/adql", page_endpoint),
        Route("/adql/answer", build_page_endpoint(run_cancellable(_build_answer_page), context)),
        Route("/adql/check", build_data_endpoint(_check_query)),
        Route("/adql/explain", build_data_endpoint(_explain_query)),
        Route("/adql/words", build_data_endpoint(_list_all_completions)),
        Route("/adql/rows", build_data_endpoint(_answer_rows)),
        Route("/adql/histogram", build_data_endpoint(_answer_histogram)),
        Route("/adql/points", build_data_endpoint(_answer_points)),
    ]


def _read_query_text(page_context: PageContext) -> str:
    query_params = page_context.request.query_params
    text = query_params.get("QUERY") or query_params.get("query") or ""
    if len(text) > MAX_QUERY_CHARACTERS:
        message = format_message("the query has {count:,} characters, which is too many for this page", len(text))
        raise ParamError(message, name="QUERY", remedy="send the query to /tap/sync by POST, or run the query as a job")
    return text.strip()


def _build_editor_page(page_context: PageContext, running_queries: RunningQueries) -> PageContent:
    """Build the page of the editor, with the result of the query in the address if it comes soon.

    Otherwise the editor's script fetches the result.
    """
    text = _read_query_text(page_context)
    should_wait = bool(page_context.request.query_params.get(WAIT_PARAMETER))
    must_have_answer = should_wait or is_json_requested(page_context.request)
    examples = page_context.describe_example_queries()
    schemas = []
    for schema in page_context.catalogue.schemas:
        tables = [_describe_table(table) for table in schema.tables]
        schemas.append({"schema": schema.name, "title": schema.title or "", "tables": tables})
    answer = fault = None
    is_slow = False
    if text:
        try:
            timeout_seconds = None if must_have_answer else ANSWER_WAIT_SECONDS
            answer = _run_query(text, page_context, running_queries, timeout_seconds=timeout_seconds)
        except TimeLimitError:
            if must_have_answer:
                raise
            is_slow = True
        except UserError as error:
            fault = _describe_fault(error, page_context)
    page = QueryEditorPage(
        text=text,
        examples=examples,
        schemas=schemas,
        formats=formats.list_format_labels(),
        answer=answer,
        fault=fault,
        slow=is_slow,
    )
    json_content = {"query": text, "examples": examples, "fault": fault, "answer": answer}
    return PageContent(page=page, json_content=json_content)


def _build_answer_page(page_context: PageContext, running_queries: RunningQueries) -> PageContent:
    """Build the result as the page shows it, without the page: the editor's script puts it below the query."""
    try:
        answer = _run_query(_require_query_text(page_context), page_context, running_queries)
    except UserError as error:
        fault = _describe_fault(error, page_context)
        status = services.find_http_status(error)
        json_content = {"answer": None, "fault": fault}
        return PageContent(page=QueryAnswerPart(fault=fault), json_content=json_content, status=status)
    return PageContent(page=QueryAnswerPart(answer=answer), json_content={"answer": answer, "fault": None})


def _describe_table(table: Table) -> dict[str, object]:
    columns = [
        {"name": quote_adql_name(column.name), "unit": column.unit or "", "description": column.description or ""}
        for column in table.columns
        if not column.hidden
    ]
    return {
        "name": f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)}",
        "title": table.title or table.description or "",
        "columns": columns,
    }


def _check_query(page_context: PageContext, running_queries: RunningQueries) -> dict[str, Any]:  # noqa: ARG001
    """Check a query without running it; return its error and position, or its columns."""
    text = _read_query_text(page_context)
    if not text:
        return {"fault": None, "columns": []}
    try:
        with build_query_runner(page_context).run_query(text, row_limit=0, timeout_seconds=None) as result:
            columns = [{"name": column.name, "unit": column.unit or ""} for column in result.columns]
            return {"fault": None, "columns": columns}
    except UserError as error:
        return {"fault": _describe_fault(error, page_context), "columns": []}


def _describe_fault(error: UserError, page_context: PageContext) -> dict[str, Any]:
    fault_facts: dict[str, Any] = dict(page_context.translator.translate_message_and_remedy(error))
    remedy = format_message(error.remedy)
    if remedy.template.startswith("did you mean {name"):
        fault_facts["meant"] = remedy.values["name"]
    if isinstance(error, QueryError):
        fault_facts |= {"offset": error.offset, "line": error.line, "column": error.column}
    return fault_facts


def _list_all_completions(page_context: PageContext, running_queries: RunningQueries) -> dict[str, Any]:  # noqa: ARG001
    """Return the completions of the editor: tables with columns, functions with signatures, and reserved words."""
    tables = [_describe_table(table) for table in page_context.catalogue.iterate_tables()]
    translations = load_page_translations(page_context.language)
    functions = [
        {
            "name": entry.name,
            "forms": [str(form.text) for form in entry.signatures],
            "description": translations.get(entry.doc, entry.doc),
        }
        for entry in QUERY_FUNCTIONS
    ]
    return {"tables": tables, "functions": functions, "words": sorted(RESERVED_WORDS)}


def _explain_query(page_context: PageContext, running_queries: RunningQueries) -> dict[str, Any]:  # noqa: ARG001
    """Return the plan of a query, with the number of rows that it would read."""
    plan = query.explain_query(
        _require_query_text(page_context),
        page_context.principal,
        site=page_context.context.site,
        policies=page_context.context.policies,
    )
    return {"plan": plan}


def _require_query_text(page_context: PageContext) -> str:
    text = _read_query_text(page_context)
    if not text:
        raise ParamError(
            "the request contains no query", name="QUERY", remedy="write a query, or start with an example"
        )
    return text


def _answer_rows(page_context: PageContext, running_queries: RunningQueries) -> QueryResultPreview:
    return _run_query(_require_query_text(page_context), page_context, running_queries)


def _run_query(
    text: str, page_context: PageContext, running_queries: RunningQueries, *, timeout_seconds: float | None = None
) -> QueryResultPreview:
    """Run a query and return its first rows, with the addresses of the whole result."""
    start_time = time.perf_counter()
    runner = build_query_runner(page_context).with_start_callback(running_queries.add_query)
    with runner.run_query(text, row_limit=MAX_SHOWN_ROWS, timeout_seconds=timeout_seconds) as result:
        rows = result.read_table()
        keys = ("",) * rows.num_rows
        row_page = RowPage(columns=result.columns, rows=rows, keys=keys, offset=0, has_more=result.overflow)
        enums: dict[str, Any] = {}
        for table in result.tables:
            enums.update(table.enums)
        answer_table = Table(schema="", name="answer", columns=result.columns, enums=enums)
    cell_rows = format_cells(row_page, answer_table)
    plottable_columns = [column for column in answer_table.columns if is_plottable(column)]
    headings = build_column_headings(row_page, answer_table)
    row_limit = str(page_context.context.site.settings.limits.maxrec_hard)
    parameters = {"LANG": "ADQL", "REQUEST": "doQuery", "MAXREC": row_limit}
    table_query = urlencode({**parameters, "RESPONSEFORMAT": "votable", "QUERY": text})
    address = f"{page_context.base}/tap/sync?{table_query}"
    return QueryResultPreview(
        columns=columns_to_json(headings),
        rows=[[cell_to_json(text_cell) for text_cell in row] for row in cell_rows],
        more=row_page.has_more,
        shown=MAX_SHOWN_ROWS,
        seconds=round(time.perf_counter() - start_time, 3),
        adql=text,
        here=f"{page_context.base}/adql",
        table=address if len(address) <= MAX_ADDRESS_CHARACTERS else "",
        download=f"{page_context.base}/tap/sync?{urlencode(parameters)}",
        formats=formats.list_format_labels(),
        lines=write_client_query_examples(text, page_context.base, columns=result.columns),
        plotted=axes_to_json(plottable_columns),
    )


def _answer_histogram(page_context: PageContext, running_queries: RunningQueries) -> dict[str, Any]:
    return build_histogram_json(*_build_answer_search(page_context, running_queries), page_context)


def _answer_points(page_context: PageContext, running_queries: RunningQueries) -> dict[str, Any]:
    return build_points_or_density_json(*_build_answer_search(page_context, running_queries), page_context)


def _build_answer_search(
    page_context: PageContext, running_queries: RunningQueries
) -> tuple[QueryAnswerSearch, AnswerQueryRunner]:
    return build_answer_search(
        _require_query_text(page_context), build_query_runner(page_context), running_queries.add_query
    )
