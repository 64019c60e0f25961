"""``/endpoints/schema.table/name``: addresses that a table had on another server, with their own parameters.

Each is bound to a query of the table; a descriptor declares them (``endpoints``). They are served here, and at their
old paths where no face has such a path (`hven.plugins.heritage.old_table_addresses`).
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
from hven.plugins.heritage import sitools_data_sets
from hven.plugins.heritage.old_table_addresses import OldTableAddressRewriter
from hven.plugins.heritage.table_endpoints import list_endpoints
from hven.services.errors import VOTABLE_ERRORS, write_votable_error
from hven.services.face import (
    DALI_PARAMS,
    MAXREC_PARAM,
    ServiceContext,
    ServiceFace,
    ServiceOperation,
    UsageExample,
    create_query_route,
)
from hven.services.params import parse_utc_time, parse_value
from hven.services.source_dates import find_source_date

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.params import Param, RequestParams
    from hven.model.table import Table
    from hven.plugins.heritage.table_endpoints import EndpointParameter, TableEndpoint
    from hven.site import PublishedTable, Site

PARAM_QUALIFIER = "param"  # qualifier of the values of a request in conditions
MAX_CACHED_QUERIES = 500


class EndpointQuery(NamedTuple):
    """The query for a set of parameters: slots with the parameter of each, and the factor by which it is multiplied."""

    table: Table
    query: syntax_tree.Query
    slots: tuple[tuple[str, float], ...]


def build_endpoint_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the routes of the endpoints of all tables, and of the list of SITools2's projects."""
    query_cache: dict[tuple[Any, ...], EndpointQuery] = {}

    async def answer_request(request: Request, params: RequestParams) -> Response:
        published_state = context.site.get_published_state()  # one state for the tree and for the query
        catalogue = published_state.get_catalogue(context.identify_principal(request), context.policies)
        table = services.find_table(request.path_params["table"], catalogue)
        name = request.path_params["name"]
        subpath = request.path_params.get("rest", "")
        endpoint = next((endpoint for endpoint in list_endpoints(table) if endpoint.name == name), None)
        if endpoint is None or (subpath and endpoint.kind == "query"):
            names = [endpoint.name for endpoint in list_endpoints(table)]
            requested_name = f"{name}/{subpath}" if subpath else name
            message = format_message("{table} has no endpoint {name!r}", table.qualified_name, requested_name)
            raise NotFoundError(
                message, remedy=suggest_spelling(name, names) or "see the list of endpoints on the page of the table"
            )
        sitools_request = sitools_data_sets.SitoolsRequest(context, request, params, published_state, table, endpoint)
        if endpoint.kind == "page":
            return await anyio.to_thread.run_sync(_redirect_to_row_page, sitools_request, subpath)
        if endpoint.kind != "query":
            return await anyio.to_thread.run_sync(sitools_data_sets.answer_request, sitools_request, subpath)
        try:
            return await _answer_rows(sitools_request, query_cache)
        except HvenError as error:
            if params.read_one("RESPONSEFORMAT"):  # the client knows the usual form of errors
                raise
            return _respond_to_error(endpoint, request, error)

    async def answer_projects(request: Request, params: RequestParams) -> Response:  # noqa: ARG001
        project_name = request.path_params.get("name", "")
        return await anyio.to_thread.run_sync(sitools_data_sets.answer_project_list, context, request, project_name)

    return [
        create_query_route("/endpoints/{table}/{name}", answer_request, FACE.error_responder),
        create_query_route("/endpoints/{table}/{name}/{rest:path}", answer_request, FACE.error_responder),
        create_query_route(sitools_data_sets.PROJECTS_PATH, answer_projects, sitools_data_sets.ERROR_RESPONDER),
        create_query_route(
            f"{sitools_data_sets.PROJECTS_PATH}/{{name:path}}", answer_projects, sitools_data_sets.ERROR_RESPONDER
        ),
    ]


def _respond_to_error(endpoint: TableEndpoint, request: Request, error: HvenError) -> Response:
    """Answer an error in the namespace and with the media type of the rows: old clients read no other."""
    respond = replace(
        FACE.error_responder,
        write_document=partial(write_votable_error, namespace=endpoint.options.get("namespace")),
        media_type=endpoint.options.get("type") or FACE.error_responder.media_type,
    )
    return respond(request, error)


async def _answer_rows(
    sitools_request: sitools_data_sets.SitoolsRequest, query_cache: dict[tuple[Any, ...], EndpointQuery]
) -> Response:
    """Answer with rows."""
    context, request, params, published_state, table, endpoint = sitools_request
    declared_params = [endpoint_param.param for endpoint_param in endpoint.params]
    values_by_name = {param.name: _read_value(params, param) for param in declared_params}
    active_params = _list_active_params(endpoint, values_by_name)
    _check_no_param_is_missing(endpoint, active_params, values_by_name)
    columns = _choose_columns(endpoint, values_by_name)
    active_names = tuple(endpoint_param.client_name for endpoint_param in active_params)
    fixed_values = tuple((name, value) for name, value in values_by_name.items() if isinstance(value, bool))
    key = (FACE.name, table.qualified_name, endpoint.name, active_names, columns, fixed_values)
    endpoint_query = query_cache.get(key)
    if endpoint_query is None or endpoint_query.table is not table:
        if len(query_cache) >= MAX_CACHED_QUERIES:
            query_cache.clear()
        endpoint_query = _build_endpoint_query(table, endpoint, active_params, columns, values_by_name)
        query_cache[key] = endpoint_query
    literal_values = [_scale_value(values_by_name[name], factor) for name, factor in endpoint_query.slots]
    output_format, options = _select_format(request, params, endpoint)
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
            literal_values=literal_values,
            plan_key=key,
            published_state=published_state,
        )
    except BindError as error:  # the fault is in the descriptor, not in the request
        raise _build_query_error(table, endpoint, error) from error
    result.descriptors = ()  # such clients take further RESOURCEs for rows
    endpoint_params = [endpoint_param.param for endpoint_param in endpoint.params]
    warnings = query.build_unused_parameter_warnings(params, (*endpoint_params, *DALI_PARAMS))
    published_table = published_state.tables_by_name[table.qualified_name]
    constants = _fill_constant_templates(endpoint, published_table, context.site, values_by_name)
    constant_texts = [text for _, text in constants]
    return await services.answer_with_result(
        request,
        result,
        (output_format, options),
        etag_parts=(
            *key,
            *literal_values,
            row_limit,
            output_format.name,
            sorted(options.items()),
            warnings,
            constant_texts,
        ),
        infos=warnings,
        name=table.name,
        base_url=services.get_base_url(request, context.site.settings),
        constants=constants,
    )


def _build_query_error(table: Table, endpoint: TableEndpoint, error: HvenError) -> ServiceError:
    return ServiceError(f"the endpoint {table.qualified_name}.{endpoint.name} built an invalid query: {error}")


def _choose_columns(endpoint: TableEndpoint, values_by_name: Mapping[str, Any]) -> tuple[str, ...]:
    """Choose the columns of the answer: those of the value of a parameter, else those of the endpoint."""
    for endpoint_param in endpoint.params:
        choice = _normalize_choice(values_by_name[endpoint_param.param.name])
        if choice in endpoint_param.columns:
            return tuple(endpoint_param.columns[choice])
    return tuple(endpoint.columns)


def _scale_value(value: Any, factor: float) -> Any:
    if factor == 1.0:
        return value
    return value * factor


def _select_format(
    request: Request, params: RequestParams, endpoint: TableEndpoint
) -> tuple[formats.TableFormat, dict[str, str]]:
    """Select the format of the answer: that of the request, else that of the endpoint."""
    response_format = params.read_one("RESPONSEFORMAT")
    accept_header = None
    if not endpoint.format_name and not endpoint.options:
        accept_header = request.headers.get("accept")
    output_format, options = formats.select_format(response_format or _write_default_format(endpoint), accept_header)
    all_options = dict(options)
    if not response_format:
        media_type = endpoint.options.get("type")
        if not media_type:
            media_type = all_options[formats.MEDIA_TYPE_OPTION].partition(";namespace")[0]
        all_options[formats.MEDIA_TYPE_OPTION] = media_type
    return output_format, all_options


def _write_default_format(endpoint: TableEndpoint) -> str | None:
    """Write the default format of an endpoint as a value of RESPONSEFORMAT."""
    if not endpoint.options:
        return endpoint.format_name
    option_texts = [f";{key}={value}" for key, value in endpoint.options.items() if key != "type"]
    return f"{formats.DEFAULT_FORMAT}{''.join(option_texts)}"


def _read_value(params: RequestParams, param: Param) -> Any:
    """Read a parameter; times may have a zone or not."""
    if not param.type.is_timestamp:
        return parse_value(params, param)
    value_text = params.read_one(param.name) or param.default
    if value_text is None:
        return parse_value(params, param)
    parsed_time = parse_utc_time(value_text)
    if parsed_time is None:
        message = format_message("{name}={value!r} is not a time", param.name, value_text[:60])
        raise ParamError(
            message, name=param.name, remedy="write a time such as 2026-11-20T10:15:00, with or without a time zone"
        )
    return parsed_time


def _normalize_choice(value: object) -> str:
    return str(value).lower()


def _list_active_params(endpoint: TableEndpoint, values: Mapping[str, object]) -> list[EndpointParameter]:
    """List the parameters whose conditions apply: those with a value."""
    return [
        endpoint_param
        for endpoint_param in endpoint.params
        if endpoint_param.condition is not None and values[endpoint_param.param.name] is not None
    ]


def _check_no_param_is_missing(
    endpoint: TableEndpoint, active_params: Sequence[EndpointParameter], values: Mapping[str, object]
) -> None:
    """Raise an error if a condition uses a parameter without a value, or no condition uses a value.

    Raises
    ------
    ParamError
        The request must give one more parameter.
    """
    params_by_name = {endpoint_param.param.name: endpoint_param for endpoint_param in endpoint.params}
    user_by_name: dict[str, EndpointParameter] = {}
    for endpoint_param in active_params:
        for name in _list_condition_params(endpoint_param.condition or ""):
            user_by_name[name] = endpoint_param
    for name, user in user_by_name.items():
        if values.get(name) is None:
            missing_param = params_by_name[name]
            description = missing_param.param.description
            remedy = f"give {missing_param.client_name}" + (f" ({description})" if description else "")
            raise _build_missing_param_error(missing_param.client_name, user, remedy)
    for endpoint_param in endpoint.params:
        name = endpoint_param.param.name
        if values[name] is None or name in user_by_name or endpoint_param.param.default is not None:
            continue
        if endpoint_param.condition is not None or endpoint_param.columns:
            continue
        possible_users = [other for other in endpoint.params if name in _list_condition_params(other.condition or "")]
        if possible_users:
            missing_name = possible_users[0].client_name
            raise _build_missing_param_error(missing_name, endpoint_param, f"also give {missing_name}")


def _build_missing_param_error(missing_name: str, dependent_param: EndpointParameter, remedy: str) -> ParamError:
    message = format_message("{name} is missing, but {other} requires it", missing_name, dependent_param.client_name)
    return ParamError(message, name=missing_name, remedy=remedy)


@lru_cache(1000)
def _list_condition_params(condition: str) -> frozenset[str]:
    """List the parameters in a condition."""
    if not condition:
        return frozenset()
    names = set()
    for node in syntax_tree.walk_tree(adql.parse_condition(condition)):
        if isinstance(node, syntax_tree.ColumnRef) and _is_param_reference(node):
            names.add(node.name.name.upper())
    return frozenset(names)


def _is_param_reference(node: syntax_tree.ColumnRef) -> bool:
    if len(node.qualifier) != 1:
        return False
    return node.qualifier[0].name.lower() == PARAM_QUALIFIER


def _build_endpoint_query(
    table: Table,
    endpoint: TableEndpoint,
    active_params: Sequence[EndpointParameter],
    columns: Sequence[str],
    values: Mapping[str, Any],
) -> EndpointQuery:
    """Build the query, with slots for the parameters."""
    listed_columns = columns or [adql.quote_adql_name(column.name) for column in table.columns if not column.hidden]
    conditions = [endpoint_param.condition for endpoint_param in active_params]
    if endpoint.condition:
        conditions.insert(0, endpoint.condition)
    text = (
        f"SELECT {', '.join(listed_columns)} FROM "
        f"{adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
    )
    if conditions:
        text += f" WHERE {' AND '.join(f'({condition})' for condition in conditions)}"
    if endpoint.order_by:
        text += f" ORDER BY {', '.join(endpoint.order_by)}"
    factors = {endpoint_param.param.name: _compute_unit_factor(endpoint_param) for endpoint_param in endpoint.params}
    slots: list[tuple[str, float]] = []

    def replace_parameter(node: Any) -> Any:
        if isinstance(node, syntax_tree.Literal) and node.slot >= 0:
            return syntax_tree.Literal(node.value)
        if not isinstance(node, syntax_tree.ColumnRef) or not _is_param_reference(node):
            return node
        name = node.name.name.upper()
        value = values.get(name)
        if value is None or isinstance(value, bool):
            return syntax_tree.Literal(value)
        slots.append((name, factors[name]))
        scaled_value = _scale_value(value, factors[name])
        return syntax_tree.Literal(scaled_value, slot=len(slots) - 1)

    try:
        parsed_query = adql.parse_query(text)
    except ParseError as error:
        raise _build_query_error(table, endpoint, error) from error
    query_tree = syntax_tree.transform_tree(parsed_query, replace_parameter)
    return EndpointQuery(table, query_tree, tuple(slots))


def _compute_unit_factor(endpoint_param: EndpointParameter) -> float:
    if endpoint_param.unit is None:
        return 1.0
    return units.compute_unit_factor(endpoint_param.param.unit, endpoint_param.unit)


def _fill_constant_templates(
    endpoint: TableEndpoint, published_table: PublishedTable, site: Site, values_by_name: Mapping[str, Any]
) -> tuple[tuple[Column, object], ...]:
    """Fill the PARAMs of the answer, also with the values of the request's parameters."""
    # a view has no time of its own, and a database does not tell that of its source
    times = {
        "{updated}": published_table.updated or "",
        "{source_updated}": find_source_date(site, published_table) or "",
    }
    texts = {f"{{param.{name}}}".lower(): "" if value is None else str(value) for name, value in values_by_name.items()}
    for placeholder, time in times.items():
        texts[placeholder] = f"{time[:19].replace('T', ' ')}+00:00" if time else ""
    pattern = "|".join(map(re.escape, texts))
    constants = []
    for name, template in endpoint.constants.items():
        text = re.sub(pattern, lambda found: texts[found[0].lower()], template, flags=re.IGNORECASE)
        constants.append((Column(name=name, type=STRING), text))
    return tuple(constants)


def _redirect_to_row_page(sitools_request: sitools_data_sets.SitoolsRequest, key_text: str) -> Response:
    """Redirect to the page of a row, if there is such a row."""
    table = sitools_request.table
    key = table.find_column(sitools_request.endpoint.column or "")
    key_value = key_text if key.type.is_string else _parse_integer(key_text)
    condition = syntax_tree.Comparison("=", syntax_tree.build_column_ref(key.name), syntax_tree.Literal(key_value))
    with sitools_request.run_query(syntax_tree.build_table_query(table, [key.name], condition), 1) as result:
        row_exists = key_value is not None and any(batch.num_rows for batch in result.iterate_batches())
    if not row_exists:
        message = format_message(
            "no row of {table} has {column} = {value!r}", table.qualified_name, key.name, key_text[:200]
        )
        raise NotFoundError(message)
    page_params = {key.name: f"={key_text}"}
    if table.primary == (key.name,):
        page_params["_row"] = json.dumps([key_value])
    path = f"/collections/{quote(table.schema, safe='')}/{quote(table.name, safe='')}?{urlencode(page_params)}"
    base_url = services.get_base_url(sitools_request.request, sitools_request.context.site.settings)
    return Response(None, 303, {"location": base_url + path, "cache-control": "no-cache"})


def _parse_integer(text: str) -> int | None:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    return None


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Describe the parameters of each endpoint, and write an example."""
    table = published.table
    usage_examples = []
    for endpoint in list_endpoints(table):
        endpoint_path = f"/endpoints/{quote(table.qualified_name)}/{endpoint.name}"
        url = f"{base_url}{endpoint.path or endpoint_path}"
        lines = [f"# {line}" for line in (endpoint.description or "").splitlines()]
        lines += [f"# {_write_param_summary(endpoint_param)}" for endpoint_param in endpoint.params]
        if endpoint.kind == "sitools2":
            lines.append(sitools_data_sets.write_example_curl_command(table, url))
        else:
            lines.append(_write_example_curl_command(endpoint, url))
        title = endpoint.title or endpoint.path or endpoint.name
        usage_examples.append(UsageExample(title=title, url=url, example="\n".join(lines)))
    return usage_examples


def _write_param_summary(endpoint_param: EndpointParameter) -> str:
    """Describe a parameter in one line."""
    param = endpoint_param.param
    facts = ["text" if param.type == STRING else str(param.type)]
    if param.unit:
        facts.append(param.unit)
    if param.required:
        facts.append("required")
    if param.default:
        facts.append(f"default {param.default}")
    description = f"{endpoint_param.client_name} ({', '.join(facts)})"
    if param.description:
        description += f": {param.description}"
    if param.allowed:
        description += f"; one of {', '.join(param.allowed)}"
    return description


def _write_example_curl_command(endpoint: TableEndpoint, url: str) -> str:
    if endpoint.kind == "page":
        return f"curl -L '{url}{(endpoint.column or '').upper()}'"
    needed_names = {endpoint_param.param.name for endpoint_param in endpoint.params if endpoint_param.param.required}
    first_param = next((endpoint_param for endpoint_param in endpoint.params if endpoint_param.condition), None)
    if first_param is not None:
        needed_names |= {first_param.param.name, *_list_condition_params(first_param.condition or "")}
    query_parts = [
        f"{endpoint_param.client_name}={endpoint_param.param.default or endpoint_param.client_name.upper()}"
        for endpoint_param in endpoint.params
        if endpoint_param.param.name in needed_names
    ]
    if not query_parts:
        return f"curl '{url}'"
    return f"curl '{url}?{'&'.join(query_parts)}'"


def _list_table_operations(table: Table) -> Iterator[ServiceOperation]:
    """List the endpoints that answer with rows, also at their old paths."""
    for endpoint in list_endpoints(table):
        if endpoint.kind != "query":
            continue
        params = [replace(endpoint_param.param, name=endpoint_param.client_name) for endpoint_param in endpoint.params]
        endpoint_name = f"endpoints/{table.qualified_name}/{endpoint.name}"
        for number, path in enumerate([f"/{endpoint_name}", *endpoint.paths], 1):
            yield ServiceOperation(
                path=path,
                name=endpoint_name if number == 1 else f"{endpoint_name}-{number}",
                title=endpoint.title or f"{endpoint.name} of {table.title or table.qualified_name}",
                description=endpoint.description,
                params=(*params, *DALI_PARAMS),
            )


FACE = ServiceFace(
    name="endpoints",
    title="Endpoints",
    is_selectable=True,
    description="Addresses that a table had on another server, with their own parameters.",
    applies=lambda table: bool(list_endpoints(table)),
    missing_requirement="endpoints",
    error_responder=VOTABLE_ERRORS,
    list_usage_examples=_list_usage_examples,
    build_routes=build_endpoint_routes,
    build_address_rewriter=lambda context: OldTableAddressRewriter(context).rewrite_request,
    list_table_operations=_list_table_operations,
)
