"""Tools that return rows. Each answer says whether it is complete, and how to get the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from hven import adql, query
from hven.formats import select_format
from hven.model.errors import ParamError, ServiceError
from hven.plugins.mcp.answer_schemas import (
    COMPLETENESS,
    COUNT,
    NUMBER,
    RIGHTS,
    STATE,
    TEXT,
    TEXT_OR_NULL,
    build_list_schema,
    build_object_schema,
)
from hven.plugins.mcp.catalogue_tools import TABLE_ARGUMENT
from hven.plugins.mcp.tool_arguments import ToolArgument
from hven.plugins.mcp.tools import Tool, ToolAnswer, format_position, join_candidates
from hven.query import resolver
from hven.services.api.positions import has_icrs_position
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table
    from hven.plugins.mcp.tools import ToolContext
    from hven.query import QueryResult

MAX_ROWS = 1000
DEFAULT_ROWS = 100
MAX_ANSWER_BYTES = 1 << 20
MAX_QUERY_SECONDS = 60.0
MAX_URL_CHARACTERS = 8_000  # RFC 9110, section 4.1, recommends that all take these
SAMPLE_ROWS = 5
MAX_SAMPLE_ROWS = 50
LONG_QUERY_DOWNLOAD = (
    "POST the query as QUERY to tap/sync beside this address, with LANG=ADQL, RESPONSEFORMAT=csv and MAXREC"
)

LIMIT_ARGUMENT = ToolArgument(
    name="limit",
    description=f"maximum number of rows (default {DEFAULT_ROWS})",
    json_type="integer",
    default=DEFAULT_ROWS,
    minimum=1,
    maximum=MAX_ROWS,
)


def _run_limited_query(
    context: ToolContext, query_text: str, row_limit: int, as_of: str | None = None
) -> dict[str, Any]:
    """Run a query, and describe its rows and where they come from."""
    with query.run_query(
        query_text,
        context.principal,
        site=context.site,
        maxrec=row_limit,
        timeout_seconds=min(context.site.settings.limits.seconds, MAX_QUERY_SECONDS),
        policies=context.context.policies,
        published_state=context.queried_state if as_of is None else None,  # whose snapshots the answer names
        as_of=as_of,
    ) as result:
        rows = _read_rows(result)
        record_sent_data(answer=result)
        return {
            "complete": not result.overflow,
            "available": "more" if result.overflow else len(rows),
            "limit": result.row_limit,
            "rows_returned": len(rows),
            "columns": [_describe_result_column(column) for column in result.columns],
            "rows": rows,
            "adql": query_text,
            "download": _build_download_url(context, query_text, as_of),
            "sources": _list_sources(context, result, as_of),
        }


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
                f"the rows are larger than {MAX_ANSWER_BYTES >> 20} MiB, so none are sent",
                remedy="select fewer columns, or send a lower limit",
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


def _build_download_url(context: ToolContext, query_text: str, as_of: str | None) -> str | None:
    """Build the address of all rows; None: it would be longer than servers and clients take."""
    maxrec = context.site.settings.limits.maxrec_hard  # the default may be lower than the number of rows
    params = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "MAXREC": maxrec, "QUERY": query_text}
    if as_of:
        params["ASOF"] = as_of
    url = f"{context.base_url}/tap/sync?{urlencode(params)}"
    return url if len(url) <= MAX_URL_CHARACTERS else None


def _list_sources(context: ToolContext, result: QueryResult, as_of: str | None) -> list[dict[str, Any]]:
    """List the tables that a query read, with their states, licences and citations."""
    state = context.published_state
    if as_of is not None:
        state = context.site.find_past_state(as_of, context.principal, context.context.policies).published_state
    return [
        {"table": table.qualified_name, **context.describe_state(table, state, as_of), **context.describe_rights(table)}
        for table in result.tables
    ]


def _answer_with_rows(context: ToolContext, content: Mapping[str, Any], advice: str) -> ToolAnswer:
    """Say first whether the rows are complete, and then which tables the user sees only in part."""
    row_count = content["rows_returned"]
    headline = f"Complete: {row_count} rows."
    if not content["complete"]:
        total, rest = "", "; there are more"
        if content["available"] != "more":
            total, rest = f" of {content['available']}", ""
        download = "download all rows from the address in `download`"
        if content["download"] is None:
            download = LONG_QUERY_DOWNLOAD
        headline = f"INCOMPLETE: only the first {row_count}{total} rows{rest}. {advice}, or {download}."
    restricted_names = [source["table"] for source in content["sources"] if context.is_restricted(source["table"])]
    if restricted_names:
        headline += f" This is what you may see of {join_candidates(restricted_names)}: rows or values may be hidden."
    return ToolAnswer(headline=headline, content=content)


def _run_query(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    content = _run_limited_query(context, arguments["adql"], arguments["limit"], arguments["as_of"] or None)
    advice = f"Raise limit (at most {MAX_ROWS}), read on with ORDER BY and OFFSET, count or group the rows in the query"
    return _answer_with_rows(context, content, advice)


def _sample_table(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    content = _run_limited_query(context, f"SELECT * FROM {adql.quote_table_name(table)}", arguments["limit"])
    statistics = context.find_statistics(table)
    if not content["complete"] and statistics is not None and statistics.rows is not None:
        content["available"] = statistics.rows
    return _answer_with_rows(context, content, "They are examples: select rows with the tool query")


def _search_cone(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    if not has_icrs_position(table):  # longitudes on a body are no right ascensions
        raise ParamError(
            f"{table.qualified_name} has no right ascension and declination",
            remedy="use the tool query with conditions on its columns, which describe_table lists",
        )
    center = _find_center(context, arguments)
    query_text = _write_cone_query(table, center["ra"], center["dec"], arguments["radius"])
    content = _run_limited_query(context, query_text, arguments["limit"])
    advice = f"Raise limit (at most {MAX_ROWS}), search a smaller radius"
    return _answer_with_rows(context, {**content, "center": center}, advice)


def _find_center(context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Find the centre of a search; for the name of an object, also which object it is and who says so."""
    ra, dec, name = arguments["ra"], arguments["dec"], arguments["name"]
    if name and (ra is not None or dec is not None):
        raise ParamError("the centre is both a name and a position", remedy="send either name, or ra and dec")
    if name:
        resolved = resolver.resolve_object_name(name, site=context.site, policies=context.context.policies)
        ra, dec = resolver.get_fixed_position(resolved)
        return {"ra": ra, "dec": dec, "name": resolved.name, "source": resolved.source}
    if ra is None or dec is None:
        raise ParamError("the centre is missing", remedy="send ra and dec in degrees, or the name of an object")
    return {"ra": ra, "dec": dec}


def _write_cone_query(table: Table, ra: float, dec: float, radius_degrees: float) -> str:
    return (
        f"SELECT * FROM {adql.quote_table_name(table)} "
        f"WHERE DISTANCE({format_position(table)}, {ra!r}, {dec!r}) <= {radius_degrees!r}"
    )


ROWS_SCHEMA = build_object_schema(
    {
        **COMPLETENESS,
        "rows_returned": COUNT,
        "columns": build_list_schema(
            build_object_schema({"name": TEXT, "unit": TEXT, "ucd": TEXT}, optional=("unit", "ucd"))
        ),
        "rows": {**build_list_schema({"type": "array"}), "description": "a list for each row, in the order of columns"},
        "adql": {"type": "string", "description": "the query that returned the rows"},
        "download": {
            **TEXT_OR_NULL,
            "description": f"address of all rows, as CSV; null: the query is too long for it, so {LONG_QUERY_DOWNLOAD}",
        },
        "sources": build_list_schema(build_object_schema({"table": TEXT, **STATE, **RIGHTS})),
        "center": {
            **build_object_schema({"ra": NUMBER, "dec": NUMBER, "name": TEXT, "source": TEXT}, ("name", "source")),
            "description": "of a cone, in degrees; of a named object, who says so",
        },
    },
    optional=("center",),
)

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
                maximum=MAX_SAMPLE_ROWS,
            ),
        ),
        answer_schema=ROWS_SCHEMA,
        run=_sample_table,
        next_step="search_collections lists the tables",
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
        answer_schema=ROWS_SCHEMA,
        run=_search_cone,
        next_step="describe_table says whether a table has positions",
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
        answer_schema=ROWS_SCHEMA,
        run=_run_query,
        next_step="describe_table lists the columns of a table, and search_collections lists the tables",
    ),
)
