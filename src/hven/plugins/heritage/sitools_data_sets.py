"""A table as a data set of SITools2: description, count, records and archives, as clients of SITools2 request them.

Clients are scripts with pySitools2 and IDLSitools2. Conditions are those of SITools2's filters: ``DATE_BETWEEN``
excludes both ends, ``NUMERIC_BETWEEN`` includes them, and ``TEXTFIELD`` accepts ``*`` for any letters. Unknown columns
and filters, which SITools2 ignored silently, are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query, services
from hven.adql import syntax_tree
from hven.model import literal
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message, suggest_spelling
from hven.model.params import MAX_INT64
from hven.plugins.heritage.table_endpoints import list_endpoints
from hven.services.address_rewriting import load_address_rewriters
from hven.services.errors import ErrorResponder
from hven.services.file_archives import load_file_archivers
from hven.services.params import parse_utc_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import RequestParams
    from hven.model.table import Column, Table
    from hven.model.types import ColumnType
    from hven.plugins.heritage.table_endpoints import TableEndpoint
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site import PublishedState

JSON_MEDIA_TYPE = "application/json"
DEFAULT_ROW_LIMIT = 300  # records, if the request has no limit
PROJECTS_PATH = "/sitools/portal/projects"
# class by which clients recognize a service that returns archives
ORDER_RESOURCE_CLASS = "fr.cnes.sitools.resources.order.DirectOrderResource"
TEXT_SQL_TYPE = "text"
SQL_TYPES = {
    "short": "int2",
    "int": "int4",
    "long": "int8",
    "unsignedByte": "int2",
    "float": "float4",
    "double": "float8",
    "boolean": "bool",
}
COMPARISON_OPERATORS = {"LT": "<", "GT": ">", "EQ": "=", "LTE": "<=", "GTE": ">="}
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# filter -> comparison
FILTER_COMPARISONS = {
    **{name: name for name in ("DATE_BETWEEN", "NUMERIC_BETWEEN", "TEXTFIELD", "CADENCE")},
    "LISTBOXMULTIPLE": "IN",
    "MULTIPLE_VALUE": "IN",
    **dict.fromkeys(("NUMBER_FIELD", "LISTBOX", "RADIO", "DROPDOWNLIST", "BOOLEAN_CHECKBOX"), "EQ"),
}
_CADENCE_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)(?:ec(?:onds?)?|in(?:utes?)?|ours?|ays?)?", re.IGNORECASE)
ERROR_RESPONDER = ErrorResponder(
    write_document=lambda message: orjson.dumps({"success": False, "message": message}), media_type=JSON_MEDIA_TYPE
)


class SitoolsRequest(NamedTuple):
    """A request for an endpoint of a table, in a state of the site."""

    context: ServiceContext
    request: Request
    params: RequestParams
    published_state: PublishedState
    table: Table
    endpoint: TableEndpoint

    def run_query(self, query_tree: syntax_tree.Query, row_limit: int) -> QueryResult:
        """Run a query with the rights of the reader."""
        context = self.context
        return query.run_query(
            query_tree,
            context.identify_principal(self.request),
            site=context.site,
            maxrec=row_limit,
            policies=context.policies,
            published_state=self.published_state,
        )

    def build_response(self, content: Mapping[str, Any] | bytes) -> Response:
        """Build the response with a JSON document."""
        if isinstance(content, bytes):
            body = content
        else:
            body = orjson.dumps(content)
        principal = self.context.identify_principal(self.request)
        access_key = self.published_state.find_access_key(principal, self.context.policies)
        is_public = access_key == "public" and principal.is_anonymous and not self.table.rights
        etag = services.compute_etag(body)
        cache_headers = services.build_cache_headers(etag, is_public=is_public)
        return services.answer_with_etag(self.request, cache_headers, JSON_MEDIA_TYPE, body)


def answer_request(sitools_request: SitoolsRequest, subpath: str) -> Response:
    """Answer a request for a data set; errors are documents of SITools2, too.

    Parameters
    ----------
    sitools_request
        The request, with its data set.
    subpath
        Path below the address of the data set: ``count``, ``records``, ``services``, or the name of an archive; empty:
        its description.
    """
    try:
        content = _answer_subpath(sitools_request, subpath.strip("/"))
    except HvenError as error:
        return ERROR_RESPONDER(sitools_request.request, error)
    if isinstance(content, Mapping):
        return sitools_request.build_response(content)
    return content


def _answer_subpath(sitools_request: SitoolsRequest, subpath: str) -> Mapping[str, Any] | Response:
    endpoint = sitools_request.endpoint
    if not subpath:
        return {"success": True, "dataset": _describe_data_set(sitools_request)}
    if subpath == "services":
        archive_services = [*_describe_archive_services(endpoint)]
        return {"success": True, "total": len(archive_services), "data": archive_services}
    condition = _build_condition(sitools_request)
    if subpath == "count":
        return {"success": True, "total": _count_rows(sitools_request, condition), "offset": 0, "count": 0}
    if subpath == "records":
        return _answer_records(sitools_request, condition)
    archive_kinds = _select_writable_archives(endpoint)
    if subpath in archive_kinds:
        return _answer_archive(sitools_request, condition, archive_kinds[subpath])
    known_names = ["count", "records", "services", *archive_kinds]
    message = format_message("the data set {name} has no {rest!r}", endpoint.path, subpath[:60])
    remedy = suggest_spelling(subpath, known_names) or f"choose one of: {', '.join(known_names)}"
    raise NotFoundError(message, remedy=remedy)


def answer_project_list(context: ServiceContext, request: Request, requested_project: str = "") -> Response:
    """List the collections that have data sets, as projects.

    Parameters
    ----------
    context, request
        The site and the request.
    requested_project
        Name of a project, and ``/datasets`` for its data sets; empty: all projects.
    """
    principal = context.identify_principal(request)
    published_state = context.site.get_published_state()
    data_sets_by_project: dict[str, list[dict[str, Any]]] = {}
    for table in published_state.get_catalogue(principal, context.policies).iterate_tables():
        for endpoint in list_endpoints(table):
            if endpoint.kind != "sitools2":
                continue
            data_set = {
                "id": endpoint.name,
                "name": endpoint.title or endpoint.name,
                "url": endpoint.path,
                "status": "ACTIVE",
                "visible": True,
                "authorized": True,
            }
            data_sets_by_project.setdefault(table.schema, []).append(data_set)
    projects = {}
    for project_name, data_sets in data_sets_by_project.items():
        projects[project_name] = _describe_project(project_name, published_state, data_sets)
    content: dict[str, Any] = {"success": True, "total": len(projects), "data": [*projects.values()]}
    if requested_project:
        project_name, _, subpath = requested_project.partition("/")
        if project_name not in projects or subpath not in {"", "datasets"}:
            message = format_message("there is no project {name!r}", requested_project[:60])
            remedy = suggest_spelling(project_name, projects) or f"see {PROJECTS_PATH} for the list of projects"
            return ERROR_RESPONDER(request, NotFoundError(message, remedy=remedy))
        data_sets = data_sets_by_project[project_name]
        content = {"success": True, "project": projects[project_name]}
        if subpath:
            content = {"success": True, "total": len(data_sets), "data": data_sets}
    body = orjson.dumps(content)
    access_key = published_state.find_access_key(principal, context.policies)
    cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=access_key == "public")
    return services.answer_with_etag(request, cache_headers, JSON_MEDIA_TYPE, body)


def write_example_curl_command(table: Table, url: str) -> str:
    """Write an example of a request for some records.

    Parameters
    ----------
    table, url
        The data set and its address.
    """
    time_names = [column.name for column in table.columns if column.type.is_timestamp]
    filter_text = ""
    if time_names:
        filter_text = f"&p[0]=DATE_BETWEEN|{time_names[0]}|2012-08-10T00:00:00|2012-08-11T00:00:00"
    return f"curl -g '{url}/records?media=json&limit=10{filter_text}'"


def _describe_project(name: str, published_state: PublishedState, sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    resource = published_state.resources.get(name)
    title: str | None = ""
    description = ""
    if resource is not None:
        title = resource.title
        description = resource.description or ""
    return {
        "id": name,
        "name": name,
        "description": title,
        "image": {"url": ""},
        "status": "ACTIVE",
        "sitoolsAttachementForUsers": f"{PROJECTS_PATH}/{name}",
        "authorized": True,
        "visible": True,
        "maintenance": False,
        "htmlDescription": description,
        "maintenanceText": "",
        "dataSets": list(sets),
    }


def _describe_data_set(sitools_request: SitoolsRequest) -> dict[str, Any]:
    table = sitools_request.table
    endpoint = sitools_request.endpoint
    record_count = None
    if table.policy is None:
        record_count = sitools_request.published_state.tables_by_name[table.qualified_name].rows
    column_names = {column.name for column in table.columns}
    column_model = [_describe_column(column, table) for column in _list_visible_columns(table)]
    column_model += [_describe_cadence_filter(name) for name in endpoint.cadences if name not in column_names]
    return {
        "id": endpoint.name,
        "name": endpoint.title or endpoint.name,
        "description": endpoint.description or table.description or "",
        "status": "ACTIVE",
        "url": endpoint.path,
        "sitoolsAttachementForUsers": endpoint.path,
        "visible": True,
        "authorized": True,
        "nbRecords": record_count,
        "columnModel": column_model,
    }


def _list_visible_columns(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.hidden]


def _describe_column(column: Column, table: Table) -> dict[str, Any]:
    """Describe a column as in the columnModel of SITools2."""
    is_key = table.primary == (column.name,)
    if not table.primary:
        is_key = column is table.identifier_column
    description: dict[str, Any] = {
        "columnAlias": column.name,
        "dataIndex": column.name,
        "header": column.label or column.name,
        "toolTip": column.description or "",
        "sqlColumnType": _name_sql_type(column.type),
        "sortable": not column.type.is_array or column.type.is_string,
        "filter": True,
        "visible": True,
        "primaryKey": is_key,
    }
    if column.unit:
        description["unit"] = {"unitName": column.unit, "label": column.unit}
    if (column.ucd or "").lower().startswith("meta.ref.url"):
        description["columnRenderer"] = {"behavior": "extUrlNewTab"}
    return description


def _describe_cadence_filter(name: str) -> dict[str, Any]:
    """Describe a filter that is no column: clients cannot request its values."""
    return {
        "columnAlias": name,
        "dataIndex": name,
        "header": name,
        "toolTip": "",
        "sqlColumnType": TEXT_SQL_TYPE,
        "sortable": False,
        "filter": True,
        "visible": False,
        "primaryKey": False,
        "columnRenderer": {"behavior": "noClientAccess"},
    }


def _name_sql_type(column_type: ColumnType) -> str:
    if column_type.is_timestamp:
        return "timestamp"
    if column_type.is_array:
        return TEXT_SQL_TYPE
    return SQL_TYPES.get(column_type.datatype, TEXT_SQL_TYPE)


def _select_writable_archives(endpoint: TableEndpoint) -> dict[str, str]:
    """Map the names of the archives to their kinds, those that a plug-in package in use writes."""
    archivers = load_file_archivers()
    return {name: kind for name, kind in endpoint.archives.items() if kind in archivers}


def _describe_archive_services(endpoint: TableEndpoint) -> Iterator[dict[str, Any]]:
    """Describe the archives as services of the data set."""
    for name, archive_kind in _select_writable_archives(endpoint).items():
        parameter_values = {
            "url": ("PARAMETER_ATTACHMENT", f"/{name}"),
            "archiveType": ("PARAMETER_INTERN", archive_kind),
            "resourceImplClassName": ("PARAMETER_INTERN", ORDER_RESOURCE_CLASS),
        }
        parameters = [
            {"name": key, "type": parameter_type, "value": value, "valueType": "xs:string", "description": ""}
            for key, (parameter_type, value) in parameter_values.items()
        ]
        yield {
            "id": name,
            "name": f"{archive_kind.upper()} of the files",
            "description": "",
            "type": "SERVER",
            "dataSetSelection": "MULTIPLE",
            "parameters": parameters,
        }


def _count_rows(sitools_request: SitoolsRequest, condition: syntax_tree.Expr | None) -> int:
    row_count = syntax_tree.FunctionCall("COUNT", star=True)
    query_tree = syntax_tree.build_table_query(sitools_request.table, [row_count], condition)
    with sitools_request.run_query(query_tree, 1) as result:
        return int(result.read_table().column(0)[0].as_py())


def _answer_records(sitools_request: SitoolsRequest, condition: syntax_tree.Expr | None) -> Response:
    params = sitools_request.params
    table = sitools_request.table
    start = params.read_integer("START", minimum=-1)
    row_limit = params.read_integer("LIMIT", minimum=-1)
    if row_limit is None:
        row_limit = DEFAULT_ROW_LIMIT
    elif row_limit < 0:
        row_limit = sitools_request.context.site.settings.limits.maxrec_hard
    columns = _choose_columns(params, table, {*sitools_request.endpoint.cadences})
    column_names = [column.name for column in columns]
    offset = max(start or 0, 0)
    query_tree = syntax_tree.build_table_query(table, column_names, condition, _parse_order(params, table), offset)
    rows: list[str] = []
    with sitools_request.run_query(query_tree, row_limit) as result:
        for batch in result.iterate_batches():
            rows.extend(_write_json_objects(batch, columns).to_pylist())
    status: dict[str, Any] = {"success": True}
    if (params.read_one("NOCOUNT") or "").lower() != "true":
        status["total"] = _count_rows(sitools_request, condition)
    envelope = orjson.dumps({**status, "count": len(rows), "offset": offset, "data": []})
    opening, closing = envelope[:-2], envelope[-2:]  # the rows stand between the brackets of "data"
    row_text = ",\n".join(rows).encode()
    return sitools_request.build_response(opening + row_text + closing)


def _write_json_objects(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.Array:
    """Write rows as JSON objects without nulls, because clients convert every value that they find to a number."""
    members = []
    for array, column in zip(batch.columns, columns, strict=True):
        cells = _write_json_cells(array, column.type)
        named_cells = literal.concat_text_columns(f",{json.dumps(column.name)}:", cells)
        members.append(literal.fill_nulls(named_cells))
    all_members = pc.utf8_slice_codeunits(literal.concat_text_columns(*members), 1)
    return literal.concat_text_columns("{", all_members, "}")


def _write_json_cells(array: pa.Array, column_type: ColumnType) -> pa.Array:
    if column_type.is_timestamp:  # without fractions: clients split times at the dot
        times = array.cast(pa.timestamp("ms"), safe=False)
        time_texts = pc.strftime(times, "%Y-%m-%dT%H:%M:%S")
        return literal.concat_text_columns('"', time_texts, '"')
    if pa.types.is_floating(array.type):
        number_texts = array.cast(pa.string())
        return pc.if_else(pc.is_finite(array), number_texts, literal.NULL_STRING)
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        return array.cast(pa.string())
    texts = array
    if not pa.types.is_string(array.type):
        texts = literal.format_dali_literals(array, column_type, null_text="null")
    return literal.quote_json_strings(texts)


def _answer_archive(sitools_request: SitoolsRequest, condition: syntax_tree.Expr | None, archive_kind: str) -> Response:
    """Answer with an archive of the files to which rows lead."""
    context = sitools_request.context
    request = sitools_request.request
    table = sitools_request.table
    settings = context.site.settings
    if condition is None:
        raise ParamError(
            "the request does not select any rows",
            remedy="select rows with a filter such as p[0]=LISTBOXMULTIPLE|column|value|value",
        )
    base_url = services.get_base_url(request, settings)
    column_names = [column.name for column in _list_visible_columns(table)]
    query_tree = syntax_tree.build_table_query(table, column_names, condition)
    archiver = load_file_archivers()[archive_kind]
    with sitools_request.run_query(query_tree, archiver.get_max_files(settings)) as result:
        address_columns = _list_several_address_columns(result)
        row_addresses = archiver.read_addresses(context, result, base_url, address_columns)
    new_prefixes: dict[str, str] = {}
    for rewriter in load_address_rewriters(settings):
        new_prefixes |= rewriter.map_path_prefixes()
    addresses = [_resolve_old_address(new_prefixes, base_url, address) for address in row_addresses]
    archive_name = re.sub(r"[^A-Za-z0-9_.-]+", "_", table.qualified_name)
    archive = archiver.plan(context, request, addresses)
    readme_lines = [("Data set", sitools_request.endpoint.path), ("Asked at", base_url)]
    return archive.answer(request, archive_kind, archive_name, readme_lines)


def _list_several_address_columns(result: QueryResult) -> list[str]:
    """List the columns with addresses of files if there are several; one is chosen otherwise."""
    ucds = {column.name: (column.ucd or "").lower() for column in result.columns}
    names = [name for name, ucd in ucds.items() if ucd.startswith("meta.ref.url") and "meta.preview" not in ucd]
    if len(names) > 1:
        return names
    return []


def _resolve_old_address(new_prefixes: Mapping[str, str], base_url: str, address: str) -> str:
    """Return the present address of a file: a column may have a path, or an earlier address."""
    path = address.removeprefix(base_url)
    for old_prefix, path_prefix in new_prefixes.items():
        if path.startswith(old_prefix):
            return base_url + path_prefix + path.removeprefix(old_prefix)
    if path.startswith("/"):
        return base_url + path
    return path


# --- parameters of requests ----------------------------------------------------------------------------------


def _find_column_of_alias(table: Table, name: str) -> Column:
    """Find a column by its name, or by the UCD that a concept of a dictionary stands for."""
    name = name.strip().strip('"')
    for candidate in table.columns:
        if candidate.name.lower() == name.lower():
            return candidate
    column = table.find_column_by_ucd(name)
    if column is None:
        message = format_message("the data set has no column {name!r}", name[:60])
        column_names = [candidate.name for candidate in _list_visible_columns(table)]
        raise _build_unknown_name_error(message, name, column_names)
    return column


def _choose_columns(params: RequestParams, table: Table, filter_names: set[str]) -> list[Column]:
    column_names = {column.name for column in table.columns}
    column_list = (params.read_one("COLMODEL") or "").strip().strip("\"'")
    columns = []
    for part in column_list.split(","):
        name = part.strip()
        if name and (name not in filter_names or name in column_names):
            columns.append(_find_column_of_alias(table, name))
    return list(dict.fromkeys(columns)) or _list_visible_columns(table)


def _parse_order(params: RequestParams, table: Table) -> Iterator[syntax_tree.OrderItem]:
    """Parse the order of records.

    Equal records are ordered by their key, so that no page repeats a record of the page before.
    """
    sort_text = params.read_one("SORT")
    sorted_names = set()
    if sort_text:
        for name, direction in _parse_sort_entries(sort_text):
            column = _find_column_of_alias(table, name)
            sorted_names.add(column.name)
            column_ref = syntax_tree.build_column_ref(column.name)
            yield syntax_tree.OrderItem(column_ref, descending=direction == "DESC")
    key_names = table.primary
    if not key_names and table.identifier_column is not None:
        key_names = (table.identifier_column.name,)
    for name in key_names:
        if name not in sorted_names:
            yield syntax_tree.OrderItem(syntax_tree.build_column_ref(table.find_column(name).name))


def _parse_sort_entries(sort_text: str) -> list[tuple[str, str]]:
    """Parse the names and directions of the sort parameter."""
    sort_entries = []
    try:
        for entry in json.loads(sort_text.replace("'", '"'))["ordersList"]:
            direction = str(entry.get("direction", "ASC")).upper()
            sort_entries.append((str(entry["field"]), direction))
    except (ValueError, KeyError, TypeError, AttributeError):
        message = format_message("{name}={value!r} is not a valid sort order", "sort", sort_text[:60])
        remedy = 'write {"ordersList": [{"field": "date_obs", "direction": "ASC"}]}'
        raise ParamError(message, name="sort", remedy=remedy) from None
    return sort_entries


def _build_condition(sitools_request: SitoolsRequest) -> syntax_tree.Expr | None:
    """Build the condition of a request from all its filters, and from that of the endpoint."""
    params = sitools_request.params
    conditions: list[syntax_tree.Expr | None] = []
    endpoint_condition = sitools_request.endpoint.condition
    for letter in ("P", "C"):
        for name in sorted(key for key in params.values if re.fullmatch(rf"{letter}\[\d+\]", key)):
            filter_texts = [text for text in dict.fromkeys(params.read_all(name)) if text]
            conditions += [_parse_filter(sitools_request, filter_text) for filter_text in filter_texts]
    for name in sorted(key for key in params.values if re.fullmatch(r"FILTER\[\d+\]\[COLUMNALIAS\]", key)):
        prefix = name.removesuffix("[COLUMNALIAS]")
        comparison = (params.read_one(f"{prefix}[DATA][COMPARISON]") or "").upper()
        value = params.read_one(f"{prefix}[DATA][VALUE]") or ""
        values = [value]
        if comparison in {"IN", "NOTIN"}:
            values = re.split(r"[|,]", value.strip("()"))
        column = _find_column_of_alias(sitools_request.table, params.read_one(name) or "")
        conditions.append(_build_comparison(column, comparison, values))
    if endpoint_condition:
        condition_tree = adql.parse_condition(endpoint_condition)
        conditions.insert(0, syntax_tree.transform_tree(condition_tree, _replace_slot_literal))
    return syntax_tree.join_conditions_with_and(*conditions)


def _replace_slot_literal(node: Any) -> Any:
    if isinstance(node, syntax_tree.Literal) and node.slot >= 0:
        return syntax_tree.Literal(node.value)
    return node


def _parse_filter(sitools_request: SitoolsRequest, filter_text: str) -> syntax_tree.Expr:
    """Parse a filter: ``DATE_BETWEEN|alias|from|to``; of a concept, ``DATE_BETWEEN|dictionary,concept|from|to``."""
    kind, _, filter_arguments = filter_text.partition("|")
    name, *values = filter_arguments.split("|")
    comparison = FILTER_COMPARISONS.get(kind.strip().upper())
    if comparison is None:
        message = format_message("there is no filter {name!r}", kind[:60])
        raise _build_unknown_name_error(message, kind, FILTER_COMPARISONS)
    if comparison == "CADENCE":
        return _build_cadence_condition(name, values, sitools_request.endpoint)
    needed_values = 2 if "BETWEEN" in comparison else 1
    if len(values) < needed_values:
        value_names = "from|to" if needed_values == 2 else "value"
        message = format_message("the filter {filter!r} lacks a value", filter_text[:60])
        raise ParamError(message, name=name[:60], remedy=f"write {kind.strip()}|column|{value_names}")
    column = _find_column_of_alias(sitools_request.table, name.rpartition(",")[2])
    return _build_comparison(column, comparison, values)


def _build_unknown_name_error(message: str, unknown_name: str, known_names: Iterable[str]) -> ParamError:
    remedy = suggest_spelling(unknown_name, known_names) or f"choose one of: {', '.join(known_names)}"
    return ParamError(message, name=unknown_name[:60], remedy=remedy)


def _build_cadence_condition(cadence_name: str, values: Sequence[str], endpoint: TableEndpoint) -> syntax_tree.Expr:
    """Build the condition that selects rows at a cadence, as the descriptor defines it."""
    condition = endpoint.cadences.get(cadence_name)
    if condition is None:
        message = format_message("the data set has no cadence {name!r}", cadence_name[:60])
        remedy = suggest_spelling(cadence_name, endpoint.cadences)
        if not remedy:
            remedy = "ask the site's operators to define it in the descriptor, under `cadence` of the endpoint"
        raise ParamError(message, name=cadence_name[:60], remedy=remedy)
    cadence_text = values[0] if values else ""
    cadence_match = _CADENCE_PATTERN.fullmatch(cadence_text.strip().replace("+", " "))
    if cadence_match is None or not float(cadence_match[1]):
        message = format_message("{value!r} is not a cadence", cadence_text[:60])
        raise ParamError(message, name=cadence_name[:60], remedy="write a cadence such as 12 sec, 1 min, 2 h or 1 day")
    seconds = float(cadence_match[1]) * SECONDS_PER_UNIT[cadence_match[2].lower()]
    seconds_literal = syntax_tree.Literal(int(seconds) if seconds.is_integer() else seconds)

    def replace_parameter(node: Any) -> Any:
        if isinstance(node, syntax_tree.ColumnRef) and [part.name.lower() for part in node.qualifier] == ["param"]:
            return seconds_literal
        return _replace_slot_literal(node)

    return syntax_tree.transform_tree(adql.parse_condition(condition), replace_parameter)


def _parse_date_literal(column: Column, text: str) -> syntax_tree.Literal:
    """Parse a time as a literal for a comparison with a column."""
    parsed_time = parse_utc_time(text)
    if parsed_time is None:
        message = format_message("{value!r} is not a time", text[:60])
        raise ParamError(message, name=column.name, remedy="write YYYY-MM-DDThh:mm:ss")
    if not column.type.is_timestamp:
        message = format_message("the column {column} does not contain times", column.name)
        raise ParamError(message, name=column.name, remedy="use NUMERIC_BETWEEN to compare numbers")
    return syntax_tree.Literal(parsed_time)


def _parse_literal(column: Column, text: str) -> syntax_tree.Literal:
    """Parse a value as a literal of a column's type."""
    column_type = column.type
    if column_type.is_timestamp:
        return _parse_date_literal(column, text)
    if column_type.is_numeric and not column_type.is_array:
        try:
            number = literal.parse_number(text.strip())
        except ValueError:
            number = MAX_INT64 + 1
        if isinstance(number, int) and not -MAX_INT64 <= number <= MAX_INT64:
            message = format_message("{value!r} is not a number, or is too large", text[:60])
            raise ParamError(message, name=column.name, remedy="write a number")
        return syntax_tree.Literal(number)
    if column_type.is_boolean:
        return syntax_tree.Literal(text.strip().lower() in {"true", "t", "1"})
    return syntax_tree.Literal(text)


def _build_comparison(column: Column, comparison: str, values: Sequence[str]) -> syntax_tree.Expr:
    """Compare a column with values, by the names of SITools2's table or of its filters (`FILTER_COMPARISONS`)."""
    column_ref = syntax_tree.build_column_ref(column.name)
    if comparison == "DATE_BETWEEN":
        low, high = (_parse_date_literal(column, text) for text in values[:2])
        if str(low.value) > str(high.value):
            message = "the first time must be before the second time"
            raise ParamError(message, name=column.name, remedy="write the earlier time first")
        after_low = syntax_tree.Comparison(">", column_ref, low)
        before_high = syntax_tree.Comparison("<", column_ref, high)
        return syntax_tree.Conjunction((after_low, before_high))
    if comparison == "NUMERIC_BETWEEN":
        low, high = (_parse_literal(column, text) for text in values[:2])
        return syntax_tree.BetweenPredicate(column_ref, low, high)
    if comparison in {"IN", "NOTIN"}:
        literals = tuple(_parse_literal(column, text) for text in values)
        return syntax_tree.InPredicate(column_ref, literals, negated=comparison == "NOTIN")
    text = values[0]
    if comparison == "LIKE" or (comparison == "TEXTFIELD" and column.type.is_string and "*" in text):
        return syntax_tree.LikePredicate(column_ref, syntax_tree.Literal(text.replace("*", "%")))
    if comparison == "TEXTFIELD" or comparison in COMPARISON_OPERATORS:
        operator = COMPARISON_OPERATORS.get(comparison, "=")
        return syntax_tree.Comparison(operator, column_ref, _parse_literal(column, text))
    message = format_message("there is no comparison {name!r}", comparison[:60])
    raise _build_unknown_name_error(message, comparison, (*COMPARISON_OPERATORS, "LIKE", "IN", "NOTIN"))
