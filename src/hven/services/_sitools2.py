"""A table as a data set of SITools2.

Its description, count, records and archives, as scripts on pySitools2 and IDLSitools2 ask for them.

Conditions are those of SITools2's own filters: ``DATE_BETWEEN`` leaves out both ends, ``NUMERIC_BETWEEN`` has them,
``TEXTFIELD`` takes ``*`` for any letters. What it ignored in silence (columns and filters that it had not) is refused
here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query, services
from hven.adql import syntax_tree
from hven.model import literal
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message, suggest_spelling
from hven.model.params import MAX_INT64
from hven.services import archives
from hven.services.errors import ErrorResponder
from hven.services.params import parse_utc_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import RequestParams
    from hven.model.settings import Settings
    from hven.model.table import Column, Endpoint, Table
    from hven.model.types import Type
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site import PublishedState

JSON_MEDIA_TYPE = "application/json"
DEFAULT_ROW_LIMIT = 300  # records where nobody says how many
PROJECTS_PATH = "/sitools/portal/projects"
ORDER_RESOURCE_CLASS = (
    "fr.cnes.sitools.resources.order.DirectOrderResource"  # by which clients know a service that gives archives
)
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
# filter -> how it compares
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
    """Who asks what, of which endpoint of which table, in which state."""

    context: ServiceContext
    request: Request
    params: RequestParams
    published_state: PublishedState
    table: Table
    endpoint: Endpoint

    def run_query(self, query_tree: syntax_tree.Query, row_limit: int) -> QueryResult:
        """Answer a query of it."""
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
        """Make the answer."""
        if isinstance(content, bytes):
            body = content
        else:
            body = orjson.dumps(content)
        principal = self.context.identify_principal(self.request)
        public = (
            principal.is_anonymous
            and not self.table.rights
            and self.published_state.find_access_key(principal, self.context.policies) == "public"
        )
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=public)
        return services.answer_with_etag(
            self.request,
            cache_headers,
            JSON_MEDIA_TYPE,
            body,
        )


def answer_request(sitools_request: SitoolsRequest, subpath: str) -> Response:
    """Answer what is asked of a data set, in SITools2's words; so are faults.

    Parameters
    ----------
    sitools_request
        Who asks what, and of which data set.
    subpath
        Behind its address: ``count``, ``records``, ``services``, the name of an archive; empty: its description.
    """
    endpoint = sitools_request.endpoint
    request = sitools_request.request
    try:
        subpath = subpath.strip("/")
        if not subpath:
            return sitools_request.build_response({"success": True, "dataset": _describe_data_set(sitools_request)})
        if subpath == "services":
            return sitools_request.build_response(
                {"success": True, "total": len(endpoint.archives), "data": [*_describe_archive_services(endpoint)]}
            )
        where = _build_condition(sitools_request)
        if subpath == "count":
            row_count = _count_rows(sitools_request, where)
            return sitools_request.build_response({"success": True, "total": row_count, "offset": 0, "count": 0})
        if subpath == "records":
            return _answer_records(sitools_request, where)
        if subpath in endpoint.archives:
            return _answer_archive(sitools_request, where, endpoint.archives[subpath])
        known_names = ["count", "records", "services", *endpoint.archives]
        raise NotFoundError(
            format_message("the data set {name} has no {rest}", endpoint.path, subpath[:60]),
            remedy=suggest_spelling(subpath, known_names) or ", ".join(known_names),
        )
    except HvenError as error:
        return ERROR_RESPONDER(request, error)


def list_projects(context: ServiceContext, request: Request, name: str = "") -> Response:
    """List the collections that have data sets, as projects.

    Parameters
    ----------
    context, request
        Who asks.
    name
        Of the one that is asked for; its own address gives it with its data sets. Empty: all.
    """
    published_state = context.site.get_published_state()
    sets: dict[str, list[dict[str, Any]]] = {}
    for table in published_state.get_catalogue(context.identify_principal(request), context.policies).iterate_tables():
        for endpoint in table.endpoints:
            if endpoint.kind == "sitools2":
                sets.setdefault(table.schema, []).append(
                    {
                        "id": endpoint.name,
                        "name": endpoint.title or endpoint.name,
                        "url": endpoint.path,
                        "status": "ACTIVE",
                        "visible": True,
                        "authorized": True,
                    }
                )
    all_projects = [_describe_project(key, published_state, data_sets) for key, data_sets in sets.items()]
    content: dict[str, Any] = {"success": True, "total": len(all_projects), "data": all_projects}
    if name:
        project, _, subpath = name.partition("/")
        if project not in sets or subpath not in {"", "datasets"}:
            error = NotFoundError(
                format_message("there is no project {name}", name[:60]),
                remedy=suggest_spelling(project, sets) or PROJECTS_PATH,
            )
            return ERROR_RESPONDER(request, error)
        requested_project = next(endpoint for endpoint in all_projects if endpoint["id"] == project)
        if not subpath:
            content = {"success": True, "project": requested_project}
        else:
            content = {"success": True, "total": len(sets[project]), "data": sets[project]}
    body = orjson.dumps(content)
    access_key = published_state.find_access_key(context.identify_principal(request), context.policies)
    cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=access_key == "public")
    return services.answer_with_etag(
        request,
        cache_headers,
        JSON_MEDIA_TYPE,
        body,
    )


def write_example_request(table: Table, url: str) -> str:
    """Write a request for a few records.

    Parameters
    ----------
    table, url
        The data set and its address.
    """
    time = next((column.name for column in table.columns if column.type.is_timestamp), None)
    if time:
        filter_text = f"&p[0]=DATE_BETWEEN|{time}|2012-08-10T00:00:00|2012-08-11T00:00:00"
    else:
        filter_text = ""
    return f"curl -g '{url}/records?media=json&limit=10{filter_text}'"


def _describe_project(name: str, published_state: PublishedState, sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    resource = published_state.resources.get(name)
    return {
        "id": name,
        "name": name,
        "description": resource.title if resource is not None else "",
        "image": {"url": ""},
        "status": "ACTIVE",
        "sitoolsAttachementForUsers": f"{PROJECTS_PATH}/{name}",
        "authorized": True,
        "visible": True,
        "maintenance": False,
        "htmlDescription": (resource.description or "") if resource is not None else "",
        "maintenanceText": "",
        "dataSets": list(sets),
    }


def _describe_data_set(sitools_request: SitoolsRequest) -> dict[str, Any]:
    table = sitools_request.table
    endpoint = sitools_request.endpoint
    return {
        "id": endpoint.name,
        "name": endpoint.title or endpoint.name,
        "description": endpoint.description or table.description or "",
        "status": "ACTIVE",
        "url": endpoint.path,
        "sitoolsAttachementForUsers": endpoint.path,
        "visible": True,
        "authorized": True,
        "nbRecords": sitools_request.published_state.tables_by_name[table.qualified_name].rows
        if table.policy is None
        else None,
        "columnModel": [_describe_column(column, table) for column in _list_visible_columns(table)]
        + [
            _describe_filter(name)
            for name in endpoint.cadences
            if name not in {column.name for column in table.columns}
        ],
    }


def _list_visible_columns(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.hidden]


def _describe_column(column: Column, table: Table) -> dict[str, Any]:
    """Describe a column as SITools2's columnModel does."""
    description: dict[str, Any] = {
        "columnAlias": column.name,
        "dataIndex": column.name,
        "header": column.label or column.name,
        "toolTip": column.description or "",
        "sqlColumnType": _name_sql_type(column.type),
        "sortable": not column.type.is_array or column.type.is_string,
        "filter": True,
        "visible": True,
        "primaryKey": table.primary == (column.name,) or (not table.primary and column is table.identifier_column),
    }
    if column.unit:
        description["unit"] = {"unitName": column.unit, "label": column.unit}
    if (column.ucd or "").lower().startswith("meta.ref.url"):
        description["columnRenderer"] = {"behavior": "extUrlNewTab"}
    return description


def _describe_filter(name: str) -> dict[str, Any]:
    """Describe a filter that is no column: nobody may ask for its values."""
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


def _name_sql_type(column_type: Type) -> str:
    if column_type.is_timestamp:
        return "timestamp"
    if column_type.is_array:
        return TEXT_SQL_TYPE
    return SQL_TYPES.get(column_type.datatype, TEXT_SQL_TYPE)


def _describe_archive_services(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    """Describe the archives as services of the data set."""
    for name, kind in endpoint.archives.items():
        parameter_values = {
            "url": ("PARAMETER_ATTACHMENT", f"/{name}"),
            "archiveType": ("PARAMETER_INTERN", kind),
            "resourceImplClassName": ("PARAMETER_INTERN", ORDER_RESOURCE_CLASS),
        }
        parameters = [
            {"name": key, "type": of, "value": value, "valueType": "xs:string", "description": ""}
            for key, (of, value) in parameter_values.items()
        ]
        yield {
            "id": name,
            "name": f"{kind.upper()} of the files",
            "description": "",
            "type": "SERVER",
            "dataSetSelection": "MULTIPLE",
            "parameters": parameters,
        }


def _count_rows(sitools_request: SitoolsRequest, condition: syntax_tree.Expr | None) -> int:
    with sitools_request.run_query(
        syntax_tree.build_table_query(sitools_request.table, [syntax_tree.FunctionCall("COUNT", star=True)], condition),
        1,
    ) as result:
        return int(result.read_table().column(0)[0].as_py())


def _answer_records(sitools_request: SitoolsRequest, condition: syntax_tree.Expr | None) -> Response:
    params = sitools_request.params
    table = sitools_request.table
    start, limit = (params.read_integer(name, minimum=-1) for name in ("START", "LIMIT"))
    hard = sitools_request.context.site.settings.limits.maxrec_hard
    if limit is None:
        row_limit = DEFAULT_ROW_LIMIT
    elif limit < 0:
        row_limit = hard
    else:
        row_limit = limit
    columns = _choose_columns(params, table, {*sitools_request.endpoint.cadences})
    first = max(start or 0, 0)
    query_tree = syntax_tree.build_table_query(
        table, [column.name for column in columns], condition, _parse_order(params, table), first
    )
    with sitools_request.run_query(query_tree, row_limit) as result:
        rows = [row for batch in result.iterate_batches() for row in _write_json_objects(batch, columns).to_pylist()]
    if (params.read_one("NOCOUNT") or "").lower() == "true":
        total = {}
    else:
        total = {"total": _count_rows(sitools_request, condition)}
    head = orjson.dumps({"success": True, **total, "count": len(rows), "offset": first, "data": []})
    return sitools_request.build_response(head[:-2] + ",\n".join(rows).encode() + head[-2:])


def _write_json_objects(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.Array:
    """Write rows as JSON objects: what has no value is left out, for clients make numbers of all that they find."""
    members = [
        literal.fill_nulls(
            literal.join_columns(f",{json.dumps(column.name)}:", _write_json_cells(batch.column(at), column.type))
        )
        for at, column in enumerate(columns)
    ]
    return literal.join_columns("{", pc.utf8_slice_codeunits(literal.join_columns(*members), 1), "}")


def _write_json_cells(array: pa.Array, column_type: Type) -> pa.Array:
    if column_type.is_timestamp:  # clients split times at the dot
        return literal.join_columns(
            '"', pc.strftime(array.cast(pa.timestamp("ms"), safe=False), "%Y-%m-%dT%H:%M:%S"), '"'
        )
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_finite(array), array.cast(pa.string()), literal.NULL_STRING)
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        return array.cast(pa.string())
    return literal.quote_json_strings(
        array if pa.types.is_string(array.type) else literal.format_column(array, column_type)
    )


def _answer_archive(sitools_request: SitoolsRequest, condition: syntax_tree.Expr | None, archive_kind: str) -> Response:
    """Give the files that rows lead to."""
    context = sitools_request.context
    request = sitools_request.request
    settings = sitools_request.context.site.settings
    if condition is None:
        raise ParamError("nothing says whose files are wanted", remedy="p[0]=LISTBOXMULTIPLE|column|value|value")
    base = services.get_base_url(request, settings)
    query_tree = syntax_tree.build_table_query(
        sitools_request.table, [item.name for item in _list_visible_columns(sitools_request.table)], condition
    )
    with sitools_request.run_query(query_tree, settings.limits.archive_files) as result:
        found_addresses = _list_file_addresses(result, base)
        if result.overflow:
            raise archives.build_too_large_error(context)
    addresses = [_resolve_alias(settings, base, item) for item in found_addresses]
    plan = archives.plan_archive(context, request, addresses)
    title = settings.title or settings.name
    called = re.sub(r"[^A-Za-z0-9_.-]+", "_", sitools_request.table.qualified_name)
    about = [("Data set", sitools_request.endpoint.path), ("Asked at", base)]
    return archives.answer_archive(
        request, plan, archive_kind=archive_kind, archive_name=called, site_title=title, readme_lines=about
    )


def _list_file_addresses(result: QueryResult, base_url: str) -> list[str]:
    """Read where rows lead to: by all columns with addresses of files (rows may have several), else as archives do."""
    ucds = [(item.ucd or "").lower() for item in result.columns]
    urls = [at for at, ucd in enumerate(ucds) if ucd.startswith("meta.ref.url") and "meta.preview" not in ucd]
    if len(urls) < 2:
        address_column = archives.choose_address_column(result, None)
        return archives.read_addresses(result, address_column, base_url)
    rows = [zip(*(batch.column(at).to_pylist() for at in urls), strict=True) for batch in result.iterate_batches()]
    return [str(item) for row_addresses in rows for row in row_addresses for item in row if item]


def _resolve_alias(settings: Settings, base_url: str, address: str) -> str:
    """Return the present address of a file: what columns have may be a path, and one of before (``[[alias]]``)."""
    path = address.removeprefix(base_url)
    for address_alias in settings.alias:
        if (
            address_alias.path.endswith("/*")
            and address_alias.to.endswith("/*")
            and path.startswith(address_alias.path[:-1])
        ):
            return base_url + address_alias.to[:-1] + path[len(address_alias.path) - 1 :]
    if path.startswith("/"):
        return base_url + path
    return path


# --- what is asked -------------------------------------------------------------------------------------------


def _find_column(table: Table, name: str) -> Column:
    """Find a column by its name, or by the UCD that a concept of a dictionary is."""
    name = name.strip().strip('"')
    matching_column = next(
        (candidate for candidate in table.columns if candidate.name.lower() == name.lower()), None
    ) or table.find_column_by_ucd(name)
    if matching_column is None:
        raise _build_unknown_name_error(
            format_message("the data set has no column {name}", name[:60]),
            name,
            [candidate.name for candidate in _list_visible_columns(table)],
        )
    return matching_column


def _choose_columns(params: RequestParams, table: Table, filters: set[str]) -> list[Column]:
    one = params.read_one("COLMODEL")
    column_list = (one or "").strip().strip("\"'")
    names = [name.strip() for name in column_list.split(",") if name.strip()]
    chosen_columns = [
        _find_column(table, name)
        for name in names
        if name not in filters or name in {column.name for column in table.columns}
    ]
    return list(dict.fromkeys(chosen_columns)) or _list_visible_columns(table)


def _parse_order(params: RequestParams, table: Table) -> Iterator[syntax_tree.OrderItem]:
    """Read in which order records come.

    Rows that are alike in it come by their key, lest a page has a row of the one before.
    """
    sort_text = params.read_one("SORT")
    sorted_names = set()
    if sort_text:
        try:
            orders = json.loads(sort_text.replace("'", '"'))["ordersList"]
            pairs = [
                (str(sort_entry["field"]), str(sort_entry.get("direction", "ASC")).upper()) for sort_entry in orders
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            remedy = '{"ordersList": [{"field": "date_obs", "direction": "ASC"}]}'
            raise ParamError(
                format_message("{name}={value} is no order", "sort", sort_text[:60]), name="sort", remedy=remedy
            ) from None
        for name, direction in pairs:
            column = _find_column(table, name)
            sorted_names.add(column.name)
            column_ref = syntax_tree.build_column_ref(column.name)
            yield syntax_tree.OrderItem(column_ref, descending=direction == "DESC")
    key = table.primary or ((table.identifier_column.name,) if table.identifier_column is not None else ())
    yield from (
        syntax_tree.OrderItem(syntax_tree.build_column_ref(table.find_column(name).name))
        for name in key
        if name not in sorted_names
    )


def _build_condition(sitools_request: SitoolsRequest) -> syntax_tree.Expr | None:
    """Read all conditions of a request."""
    table = sitools_request.table
    params = sitools_request.params
    endpoint = sitools_request.endpoint
    conditions: list[syntax_tree.Expr | None] = []
    for letter in ("P", "C"):
        for name in sorted(key for key in params.values if re.fullmatch(rf"{letter}\[\d+\]", key)):
            conditions += [
                _parse_filter(sitools_request, filter_text)
                for filter_text in dict.fromkeys(params.read_all(name))
                if filter_text
            ]
    for name in sorted(key for key in params.values if re.fullmatch(r"FILTER\[\d+\]\[COLUMNALIAS\]", key)):
        begin = name.removesuffix("[COLUMNALIAS]")
        how, value = (params.read_one(f"{begin}[DATA][{key}]") or "" for key in ("COMPARISON", "VALUE"))
        if how.upper() in {"IN", "NOTIN"}:
            values = re.split(r"[|,]", value.strip("()"))
        else:
            values = [value]
        comparison = _build_comparison(_find_column(table, params.read_one(name) or ""), how.upper(), values)
        conditions.append(comparison)
    if endpoint.condition:
        base = adql.parse_condition(endpoint.condition)
    else:
        base = None
    return syntax_tree.join_conditions(
        None if base is None else syntax_tree.transform_tree(base, _to_constant), *conditions
    )


def _to_constant(node: Any) -> Any:
    if isinstance(node, syntax_tree.Literal) and node.slot >= 0:
        return syntax_tree.Literal(node.value)
    return node


def _parse_filter(sitools_request: SitoolsRequest, filter_text: str) -> syntax_tree.Expr:
    """Read a filter: ``DATE_BETWEEN|alias|from|to``; of a concept, ``DATE_BETWEEN|dictionary,concept|from|to``."""
    kind, _, filter_arguments = filter_text.partition("|")
    name, *values = filter_arguments.split("|")
    how = FILTER_COMPARISONS.get(kind.strip().upper())
    if how == "CADENCE":
        return _build_cadence_condition(name, values, sitools_request.endpoint)
    if how is not None and len(values) < (2 if "BETWEEN" in how else 1):
        raise ParamError(
            format_message("{filter} lacks a value", filter_text[:60]),
            name=name[:60],
            remedy="DATE_BETWEEN|column|from|to",
        )
    if how is None:
        raise _build_unknown_name_error(
            format_message("there is no filter {name}", kind[:60]), kind, FILTER_COMPARISONS
        )
    column = _find_column(sitools_request.table, name.rpartition(",")[2])
    return _build_comparison(column, how, values)


def _build_unknown_name_error(message: str, unknown_name: str, known_names: Iterable[str]) -> ParamError:
    return ParamError(
        message, name=unknown_name[:60], remedy=suggest_spelling(unknown_name, known_names) or ", ".join(known_names)
    )


def _build_cadence_condition(cadence_name: str, values: Sequence[str], endpoint: Endpoint) -> syntax_tree.Expr:
    """Thin rows out, as the descriptor says how."""
    condition = endpoint.cadences.get(cadence_name)
    if condition is None:
        remedy = (
            suggest_spelling(cadence_name, endpoint.cadences)
            or "endpoints: {..: {cadence: {NAME: condition}}} in the descriptor says it"
        )
        raise ParamError(
            format_message("the data set has no cadence {name}", cadence_name[:60]),
            name=cadence_name[:60],
            remedy=remedy,
        )
    cadence_match = _CADENCE_PATTERN.fullmatch((values[0] if values else "").strip().replace("+", " "))
    if cadence_match is None or not float(cadence_match[1]):
        raise ParamError(
            format_message("{value} is no cadence", (values or ("",))[0][:60]),
            name=cadence_name[:60],
            remedy="12 sec, 1 min, 2 h, 1 day",
        )
    seconds = float(cadence_match[1]) * SECONDS_PER_UNIT[cadence_match[2].lower()]
    interval_literal = syntax_tree.Literal(int(seconds) if seconds.is_integer() else seconds)

    def replace_parameter(node: Any) -> Any:
        if isinstance(node, syntax_tree.ColumnRef) and [part.name.lower() for part in node.qualifier] == ["param"]:
            return interval_literal
        return _to_constant(node)

    return syntax_tree.transform_tree(adql.parse_condition(condition), replace_parameter)


def _parse_date_literal(column: Column, text: str) -> syntax_tree.Literal:
    """Read a time as it is compared with a column."""
    parsed_time = parse_utc_time(text)
    if parsed_time is None:
        raise ParamError(
            format_message("{value} is no time", text[:60]), name=column.name, remedy="YYYY-MM-DDThh:mm:ss"
        )
    if not column.type.is_timestamp:
        raise ParamError(
            format_message("{column} is no time", column.name),
            name=column.name,
            remedy="NUMERIC_BETWEEN compares numbers",
        )
    return syntax_tree.Literal(parsed_time)


def _parse_literal(column: Column, text: str) -> syntax_tree.Literal:
    """Read a value of a column's type."""
    kind = column.type
    if kind.is_timestamp:
        return _parse_date_literal(column, text)
    if kind.is_numeric and not kind.is_array:
        try:
            parsed_number = literal.parse_number(text.strip())
        except ValueError:
            parsed_number = MAX_INT64 + 1
        if isinstance(parsed_number, int) and not -MAX_INT64 <= parsed_number <= MAX_INT64:
            raise ParamError(
                format_message("{value} is no number, or too large a one", text[:60]),
                name=column.name,
                remedy="a number",
            )
        return syntax_tree.Literal(parsed_number)
    if kind.is_boolean:
        return syntax_tree.Literal(text.strip().lower() in {"true", "t", "1"})
    return syntax_tree.Literal(text)


def _build_comparison(column: Column, comparison: str, values: Sequence[str]) -> syntax_tree.Expr:
    """Compare a column with values, in the words of SITools2's table or those of its filters (`FILTER_COMPARISONS`)."""
    ref = syntax_tree.build_column_ref(column.name)
    first = values[0]
    if comparison == "DATE_BETWEEN":
        low, high = (_parse_date_literal(column, compared_value) for compared_value in values[:2])
        if str(low.value) > str(high.value):
            raise ParamError("From date must be before To date", name=column.name, remedy="the earlier time first")
        return syntax_tree.Conjunction((syntax_tree.Comparison(">", ref, low), syntax_tree.Comparison("<", ref, high)))
    if comparison == "NUMERIC_BETWEEN":
        return syntax_tree.BetweenPredicate(ref, _parse_literal(column, first), _parse_literal(column, values[1]))
    if comparison in {"IN", "NOTIN"}:
        return syntax_tree.InPredicate(
            ref,
            tuple(_parse_literal(column, compared_value) for compared_value in values),
            negated=comparison == "NOTIN",
        )
    if comparison == "LIKE" or (comparison == "TEXTFIELD" and column.type.is_string and "*" in first):
        return syntax_tree.LikePredicate(ref, syntax_tree.Literal(first.replace("*", "%")))
    if comparison == "TEXTFIELD" or comparison in COMPARISON_OPERATORS:
        return syntax_tree.Comparison(COMPARISON_OPERATORS.get(comparison, "="), ref, _parse_literal(column, first))
    raise _build_unknown_name_error(
        format_message("there is no comparison {name}", comparison[:60]),
        comparison,
        (*COMPARISON_OPERATORS, "LIKE", "IN", "NOTIN"),
    )
