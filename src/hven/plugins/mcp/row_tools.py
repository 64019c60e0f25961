"""Tools that return rows. Each answer says whether it is complete, and how to get the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from hven import query
from hven.formats import select_format
from hven.model.errors import ParamError, ServiceError
from hven.plugins.mcp.catalogue_tools import TABLE_ARGUMENT, describe_rights
from hven.plugins.mcp.tool_arguments import ToolArgument
from hven.plugins.mcp.tools import Tool, ToolAnswer, format_position, format_table_name
from hven.query import resolver
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.plugins.mcp.tools import ToolContext
    from hven.query import QueryResult

MAX_ROWS = 1000
DEFAULT_ROWS = 100
MAX_ANSWER_BYTES = 1 << 20
SAMPLE_ROWS = 5

LIMIT_ARGUMENT = ToolArgument(
    name="limit",
    description=f"maximum number of rows (default {DEFAULT_ROWS})",
    json_type="integer",
    default=DEFAULT_ROWS,
    minimum=1,
    maximum=MAX_ROWS,
)


def _answer_query(context: ToolContext, adql: str, row_limit: int, as_of: str | None = None) -> ToolAnswer:
    """Run a query, and describe its rows and where they come from."""
    with query.run_query(
        adql,
        context.principal,
        site=context.site,
        maxrec=row_limit,
        policies=context.context.policies,
        as_of=as_of,
    ) as result:
        rows = _read_rows(result)
        record_sent_data(answer=result)
        is_complete = not result.overflow
        content = {
            "complete": is_complete,
            "rows_returned": len(rows),
            "limit": result.row_limit,
            "columns": [_describe_result_column(column) for column in result.columns],
            "rows": rows,
            "adql": adql,
            "download": _build_download_url(context, adql, as_of),
            "sources": _list_sources(context, result, as_of),
        }
    headline = f"Complete: {len(rows)} rows."
    if not is_complete:
        headline = (
            f"INCOMPLETE: only the first {len(rows)} rows; there are more. Raise limit (at most {MAX_ROWS}), count or "
            "group the rows in the query, or download all rows from the address in `download`."
        )
    return ToolAnswer(headline=headline, content=content)


def _read_rows(result: QueryResult) -> list[Any]:
    """Read the rows as the JSON format of the site writes them."""
    table_format, options = select_format("json")
    content = bytearray()
    for chunk in table_format.write(
        query.build_result_metadata(result), result.iterate_batches(), result.build_status, options
    ):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ParamError(
                f"the rows are larger than {MAX_ANSWER_BYTES >> 20} MiB",
                remedy="select fewer columns, or a lower limit",
            )
    if result.failure is not None:
        raise result.failure
    if result.error is not None:
        raise ServiceError(result.error)
    rows: list[Any] = orjson.loads(content)["data"]
    return rows


def _describe_result_column(column: Any) -> dict[str, Any]:
    facts = {"name": column.name, "unit": column.unit, "ucd": column.ucd}
    return {key: value for key, value in facts.items() if value}


def _build_download_url(context: ToolContext, adql: str, as_of: str | None) -> str:
    params = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": adql} | ({"ASOF": as_of} if as_of else {})
    return f"{context.base_url}/tap/sync?{urlencode(params)}"


def _list_sources(context: ToolContext, result: QueryResult, as_of: str | None) -> list[dict[str, Any]]:
    """List the tables that a query read, with their states, licences and citations."""
    state = context.published_state
    if as_of is not None:
        state = context.site.find_past_state(as_of, context.principal, context.context.policies).published_state
    sources = []
    for table in result.tables:
        published = state.tables_by_name.get(table.qualified_name)
        resource = context.published_state.resources.get(table.schema)
        source: dict[str, Any] = {"table": table.qualified_name}
        if published is not None:
            source |= {"snapshot": published.run_id, "updated": published.updated}
        if resource is not None:
            source |= describe_rights(resource)
        sources.append(source)
    return sources


def _run_query(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    return _answer_query(context, arguments["adql"], arguments["limit"], arguments["as_of"] or None)


def _sample_table(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    answer = _answer_query(context, f"SELECT * FROM {format_table_name(table)}", arguments["limit"])
    return ToolAnswer(
        headline=f"{answer.content['rows_returned']} rows of {table.qualified_name}, as examples.",
        content=answer.content,
    )


def _search_cone(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    if table.position is None:
        raise ParamError(f"{table.qualified_name} has no positions", remedy="use the tool query")
    ra, dec = arguments["ra"], arguments["dec"]
    if arguments["name"]:
        resolved = resolver.resolve_object_name(arguments["name"], site=context.site, policies=context.context.policies)
        if resolved.position is None:
            raise ParamError(f"{resolved.name} has no fixed position", remedy="send ra and dec")
        ra, dec = resolved.position
    if ra is None or dec is None:
        raise ParamError("the centre is missing", remedy="send ra and dec in degrees, or the name of an object")
    radius = arguments["radius"]
    adql = (
        f"SELECT * FROM {format_table_name(table)} "
        f"WHERE DISTANCE({format_position(table)}, {ra!r}, {dec!r}) <= {radius!r}"
    )
    return _answer_query(context, adql, arguments["limit"])


ROW_TOOLS = (
    Tool(
        name="sample",
        title="Show some rows of a table",
        description="Return a few rows of a table, to see what its values look like.",
        arguments=(
            TABLE_ARGUMENT,
            ToolArgument(
                name="limit",
                description=f"number of rows (default {SAMPLE_ROWS})",
                json_type="integer",
                default=SAMPLE_ROWS,
                minimum=1,
                maximum=50,
            ),
        ),
        run=_sample_table,
    ),
    Tool(
        name="cone",
        title="Search around a position",
        description="Return the rows of a table within a radius around a position (ICRS degrees) or a named object.",
        arguments=(
            TABLE_ARGUMENT,
            ToolArgument(
                name="ra", description="right ascension in degrees", json_type="number", minimum=0, maximum=360
            ),
            ToolArgument(name="dec", description="declination in degrees", json_type="number", minimum=-90, maximum=90),
            ToolArgument(name="name", description="name of an object, in place of ra and dec", default=""),
            ToolArgument(
                name="radius",
                description="radius in degrees",
                json_type="number",
                minimum=0,
                maximum=180,
                is_required=True,
            ),
            LIMIT_ARGUMENT,
        ),
        run=_search_cone,
    ),
    Tool(
        name="query",
        title="Query tables",
        description="Run a query in ADQL 2.1, the SQL of the Virtual Observatory: SELECT only, TOP in place of LIMIT, "
        "and DISTANCE(ra, dec, 10.68, 41.27) < 0.5 for positions. The answer says whether it is complete.",
        arguments=(
            ToolArgument(name="adql", description="the query", is_required=True),
            LIMIT_ARGUMENT,
            ToolArgument(
                name="as_of", description="a time, a release or a snapshot: query what was published then", default=""
            ),
        ),
        run=_run_query,
    ),
)
