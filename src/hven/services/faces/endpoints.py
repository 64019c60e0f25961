"""``/endpoints/schema.table/name``.

Addresses that a table had on another server, with parameters of their own, each bound to a query of the table.

A descriptor says them (``endpoints``). They are asked here, and at their old paths where no face has such a path
(`hven.app._server.alias`).
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.responses import Response

from hven import adql, formats, query, services
from hven.adql import syntax_tree
from hven.jobs.tap import MAXREC_PARAM
from hven.model import units
from hven.model.errors import (
    BindError,
    HvenError,
    NotFoundError,
    ParamError,
    ParseError,
    ServiceError,
    format_message,
    suggest_spelling,
)
from hven.model.table import Column
from hven.model.types import STRING
from hven.services import _sitools2 as sitools2
from hven.services.errors import VOTABLE_ERRORS, write_votable_error
from hven.services.face import DALI_PARAMS, Face, ServiceContext, UsageExample, create_query_route
from hven.services.params import parse_utc_time, parse_value
from hven.services.source_dates import find_source_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.params import Param, RequestParams
    from hven.model.table import Endpoint, EndpointParameter, Table
    from hven.site import PublishedTable, Site

PARAM_QUALIFIER = "param"  # what conditions call the values of a request
MAX_CACHED_QUERIES = 500  # trees


class EndpointQuery(NamedTuple):
    """The query of some parameters: which of them stand in its slots, each with what it is multiplied by."""

    table: Table
    query: syntax_tree.Query
    slots: tuple[tuple[str, float], ...]


def build_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Route the endpoints of all tables, and the list of SITools2's projects."""
    query_cache: dict[tuple[Any, ...], EndpointQuery] = {}

    async def answer_request(request: Request, params: RequestParams) -> Response:
        published_state = context.site.get_published_state()  # one state for the tree and for the query
        table = services.find_table(
            request.path_params["table"],
            published_state.get_catalogue(context.identify_principal(request), context.policies),
        )
        name = request.path_params["name"]
        endpoint = next((endpoint for endpoint in table.endpoints if endpoint.name == name), None)
        subpath = request.path_params.get("rest", "")
        if endpoint is None or (subpath and endpoint.kind == "query"):
            names = [endpoint.name for endpoint in table.endpoints]
            raise NotFoundError(
                format_message(
                    "{table} has no endpoint {name}", table.qualified_name, f"{name}/{subpath}" if subpath else name
                ),
                remedy=suggest_spelling(name, names) or "its page lists them",
            )
        sitools_request = sitools2.SitoolsRequest(context, request, params, published_state, table, endpoint)
        if endpoint.kind == "query":
            try:
                return await _answer_rows(sitools_request, query_cache)
            except HvenError as error:
                if params.read_one("RESPONSEFORMAT"):  # the client says what it reads
                    raise
                return _respond_to_error(endpoint, request, error)
        return await anyio.to_thread.run_sync(
            _redirect_to_row_page if endpoint.kind == "page" else sitools2.answer_request, sitools_request, subpath
        )

    async def answer_projects(request: Request, params: RequestParams) -> Response:  # noqa: ARG001
        return await anyio.to_thread.run_sync(
            sitools2.list_projects, context, request, request.path_params.get("name", "")
        )

    query_route = create_query_route("/endpoints/{table}/{name}", answer_request, FACE.error_responder)
    return [
        query_route,
        create_query_route("/endpoints/{table}/{name}/{rest:path}", answer_request, FACE.error_responder),
        create_query_route(sitools2.PROJECTS_PATH, answer_projects, sitools2.ERROR_RESPONDER),
        create_query_route(f"{sitools2.PROJECTS_PATH}/{{name:path}}", answer_projects, sitools2.ERROR_RESPONDER),
    ]


def _respond_to_error(endpoint: Endpoint, request: Request, error: HvenError) -> Response:
    """Answer an error in the namespace and under the media type of the rows: old clients read no other."""
    namespace = endpoint.options.get("namespace")
    write = partial(write_votable_error, namespace=namespace)
    return replace(
        FACE.error_responder,
        write_document=write,
        media_type=endpoint.options.get("type") or FACE.error_responder.media_type,
    )(request, error)


async def _answer_rows(
    sitools_request: sitools2.SitoolsRequest, query_cache: dict[tuple[Any, ...], EndpointQuery]
) -> Response:
    """Answer with rows."""
    context, request, params, published_state, table, endpoint = sitools_request
    param_values = {each.param.name: _read_value(params, each.param) for each in endpoint.params}
    active = _choose_active_params(endpoint, param_values)
    columns = next(
        (
            each.columns[choice]
            for each in endpoint.params
            if (choice := _normalize_choice(param_values[each.param.name])) in each.columns
        ),
        endpoint.columns,
    )
    fixed = tuple((name, param_value) for name, param_value in param_values.items() if isinstance(param_value, bool))
    key = (FACE.name, table.qualified_name, endpoint.name, tuple(each.client_name for each in active), columns, fixed)
    endpoint_query = query_cache.get(key)
    if endpoint_query is None or endpoint_query.table is not table:
        if len(query_cache) >= MAX_CACHED_QUERIES:
            query_cache.clear()
        endpoint_query = query_cache[key] = _build_query(table, endpoint, active, columns, param_values)
    values = [
        param_values[name] * factor if factor != 1.0 else param_values[name] for name, factor in endpoint_query.slots
    ]
    response_format = params.read_one("RESPONSEFORMAT")
    fmt, options = formats.select_format(
        response_format or _choose_default_format(endpoint),
        None if endpoint.format_name or endpoint.options else request.headers.get("accept"),
    )
    if not response_format:
        options = {
            **options,
            formats.MEDIA_TYPE_OPTION: endpoint.options.get("type")
            or options[formats.MEDIA_TYPE_OPTION].partition(";namespace")[0],
        }
    row_limit = parse_value(params, MAXREC_PARAM)
    if row_limit is None:
        row_limit = endpoint.row_limit or context.site.settings.limits.maxrec_hard
    principal = context.identify_principal(request)
    try:
        result = query.run_query(
            endpoint_query.query,
            principal,
            site=context.site,
            maxrec=row_limit,
            policies=context.policies,
            literal_values=values,
            plan_key=key,
            published_state=published_state,
        )
    except BindError as error:  # the reader has written none of it
        raise ServiceError(
            f"{table.qualified_name}.{endpoint.name} makes a query that cannot be asked: {error}"
        ) from error
    result.descriptors = ()  # further RESOURCEs, which such clients take for rows
    warnings = query.warn_unused_parameters(params, (*(each.param for each in endpoint.params), *DALI_PARAMS))
    return await services.answer_with_result(
        request,
        result,
        (fmt, options),
        etag_parts=(*key, *values, row_limit, fmt.name, sorted(options.items()), warnings),
        infos=warnings,
        name=table.name,
        base_url=services.get_base_url(request, context.site.settings),
        constants=_fill_constants(endpoint, published_state.tables_by_name[table.qualified_name], context.site),
    )


def _choose_default_format(endpoint: Endpoint) -> str | None:
    """Write what is answered if nobody says it, as RESPONSEFORMAT."""
    chosen = "".join(f";{key}={option_value}" for key, option_value in endpoint.options.items() if key != "type")
    if endpoint.options:
        return f"{formats.DEFAULT_FORMAT}{chosen}"
    return endpoint.format_name


def _read_value(params: RequestParams, param: Param) -> Any:
    """Read a parameter; of times the zone may be there or not."""
    if not param.type.is_timestamp:
        return parse_value(params, param)
    value_text = params.read_one(param.name) or param.default
    if value_text is None:
        return parse_value(params, param)
    parsed_time = parse_utc_time(value_text)
    if parsed_time is None:
        message = format_message("{name}={value} is no time", param.name, value_text[:60])
        raise ParamError(message, name=param.name, remedy="2026-11-20T10:15:00, with a zone or without")
    return parsed_time


def _normalize_choice(value: object) -> str:
    return str(value).lower()


def _choose_active_params(endpoint: Endpoint, values: Mapping[str, object]) -> list[EndpointParameter]:
    """Choose the parameters whose conditions hold.

    All that these name must be there, and none may be given for nothing.
    """
    active = [each for each in endpoint.params if each.condition is not None and values[each.param.name] is not None]
    used = {name: each for each in active for name in _list_condition_params(each.condition or "")}
    for name, each in used.items():
        if values.get(name) is None:
            needed = next(other_param for other_param in endpoint.params if other_param.param.name == name)
            raise ParamError(
                format_message("{name} is missing: it goes with {other}", needed.client_name, each.client_name),
                name=needed.client_name,
                remedy=f"give the {needed.param.description or 'value'}",
            )
    for each in endpoint.params:
        other_names = [
            other_param.client_name
            for other_param in endpoint.params
            if each.param.name in _list_condition_params(other_param.condition or "")
        ]
        name = each.param.name
        alone = values[name] is not None and each.param.default is None and each.condition is None and not each.columns
        if alone and other_names and name not in used:
            raise ParamError(
                format_message("{name} is missing: it goes with {other}", other_names[0], each.client_name),
                name=other_names[0],
                remedy=f"give {other_names[0]}, too",
            )
    return active


@lru_cache(1000)
def _list_condition_params(condition: str) -> frozenset[str]:
    """List the parameters in a condition."""
    if not condition:
        return frozenset()
    names = (
        node
        for node in syntax_tree.walk_tree(adql.parse_condition(condition))
        if isinstance(node, syntax_tree.ColumnRef)
    )
    return frozenset(node.name.name.upper() for node in names if _is_param_reference(node))


def _is_param_reference(node: syntax_tree.ColumnRef) -> bool:
    return len(node.qualifier) == 1 and node.qualifier[0].name.lower() == PARAM_QUALIFIER


def _build_query(
    table: Table,
    endpoint: Endpoint,
    active_params: Sequence[EndpointParameter],
    columns: Sequence[str],
    values: Mapping[str, Any],
) -> EndpointQuery:
    """Write the query, and put the parameters into slots of it."""
    listed = columns or [adql.quote_name(column.name) for column in table.columns if not column.hidden]
    conditions = [
        f"({condition_text})"
        for condition_text in (endpoint.condition, *(each.condition for each in active_params))
        if condition_text
    ]
    text = f"SELECT {', '.join(listed)} FROM {adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"
    text += f" WHERE {' AND '.join(conditions)}" if conditions else ""
    text += f" ORDER BY {', '.join(endpoint.order_by)}" if endpoint.order_by else ""
    factors = {each.param.name: _compute_unit_factor(each) for each in endpoint.params}
    slots: list[tuple[str, float]] = []

    def replace_parameter(node: Any) -> Any:
        if isinstance(node, syntax_tree.Literal) and node.slot >= 0:
            return syntax_tree.Literal(node.value)
        if not isinstance(node, syntax_tree.ColumnRef) or not _is_param_reference(node):
            return node
        name = node.name.name.upper()
        param_value = values.get(name)
        if param_value is None or isinstance(param_value, bool):
            return syntax_tree.Literal(param_value)
        slots.append((name, factors[name]))
        slot = len(slots) - 1
        return syntax_tree.Literal(param_value * factors[name] if factors[name] != 1.0 else param_value, slot=slot)

    try:
        parsed = adql.parse_query(text)
    except ParseError as error:
        raise ServiceError(
            f"{table.qualified_name}.{endpoint.name} makes a query that cannot be asked: {error}"
        ) from error
    return EndpointQuery(table, syntax_tree.transform_tree(parsed, replace_parameter), tuple(slots))


def _compute_unit_factor(endpoint_param: EndpointParameter) -> float:
    if endpoint_param.unit is None:
        return 1.0
    return units.compute_factor(endpoint_param.param.unit, endpoint_param.unit)


def _fill_constants(endpoint: Endpoint, item: PublishedTable, site: Site) -> tuple[tuple[Column, object], ...]:
    """Fill the PARAMs of the answer."""
    # a view has no time of its own, and a database tells none of its source
    times = {
        "{updated}": item.updated or "",
        "{source_updated}": find_source_date(site, item) or "",
    }
    display_times = {key: f"{at[:19].replace('T', ' ')}+00:00" if at else "" for key, at in times.items()}
    return tuple(
        (
            Column(name=name, type=STRING),
            re.sub("|".join(display_times), lambda key: display_times[key[0]], constant_text),
        )
        for name, constant_text in endpoint.constants.items()
    )


def _redirect_to_row_page(sitools_request: sitools2.SitoolsRequest, key_text: str) -> Response:
    """Lead to the page of a row, if there is such a row."""
    table = sitools_request.table
    endpoint = sitools_request.endpoint
    key = table.find_column(endpoint.column or "")
    key_value = key_text if key.type.is_string else _parse_integer(key_text)
    query_tree = syntax_tree.build_table_query(
        table,
        [key.name],
        syntax_tree.Comparison("=", syntax_tree.build_column_ref(key.name), syntax_tree.Literal(key_value)),
    )
    with sitools_request.run_query(query_tree, 1) as result:
        row_exists = key_value is not None and any(batch.num_rows for batch in result.iterate_batches())
    if not row_exists:
        raise NotFoundError(
            format_message("no row of {table} has the {column} {value}", table.qualified_name, key.name, key_text[:200])
        )
    page_params = {key.name: f"={key_text}"} | (
        {"_row": json.dumps([key_value])} if table.primary == (key.name,) else {}
    )
    page = f"/collections/{quote(table.schema, safe='')}/{quote(table.name, safe='')}?{urlencode(page_params)}"
    base = services.get_base_url(sitools_request.request, sitools_request.context.site.settings)
    return Response(None, 303, {"location": base + page, "cache-control": "no-cache"})


def _parse_integer(text: str) -> int | None:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    return None


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Tell of each address what it understands, and how it is asked."""
    usage_examples = []
    for endpoint in published.table.endpoints:
        endpoint_path = f"/endpoints/{quote(published.table.qualified_name)}/{endpoint.name}"
        url = f"{base_url}{endpoint.path or endpoint_path}"
        lines = [f"# {line}" for line in (endpoint.description or "").splitlines()] + [
            f"# {_describe_param(each)}" for each in endpoint.params
        ]
        lines.append(
            sitools2.write_example_request(published.table, url)
            if endpoint.kind == "sitools2"
            else _write_example(endpoint, url)
        )
        title = endpoint.title or endpoint.path or endpoint.name
        example = "\n".join(lines)
        usage_examples.append(UsageExample(title=title, url=url, example=example))
    return usage_examples


def _describe_param(endpoint_param: EndpointParameter) -> str:
    """Tell of a parameter in a line."""
    param = endpoint_param.param
    if param.type == STRING:
        kind = "text"
    else:
        kind = str(param.type)
    parts = [
        kind,
        param.unit or "",
        "required" if param.required else "",
        f"default {param.default}" if param.default else "",
    ]
    param_text = f"{endpoint_param.client_name} ({', '.join(part for part in parts if part)})"
    param_text += f": {param.description}" if param.description else ""
    return param_text + (f"; one of {', '.join(param.allowed)}" if param.allowed else "")


def _write_example(endpoint: Endpoint, url: str) -> str:
    if endpoint.kind == "page":
        return f"curl -L '{url}{(endpoint.column or '').upper()}'"
    first = next((each for each in endpoint.params if each.condition), None)
    named = _list_condition_params(first.condition or "") if first is not None else ()
    example_params = [
        each for each in endpoint.params if each.param.required or each is first or each.param.name in named
    ]
    query_text = "&".join(
        f"{each.client_name}={each.param.default or each.client_name.upper()}" for each in example_params
    )
    return f"curl '{url}{'?' if query_text else ''}{query_text}'"


FACE = Face(
    name="endpoints",
    title="Endpoints",
    description="Addresses that a table had on another server, with parameters of their own.",
    applies=lambda table: bool(table.endpoints),
    missing_requirement="endpoints",
    error_responder=VOTABLE_ERRORS,
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
)
