"""``/push/<schema.table>``: rows that clients write.

POST adds rows, PUT changes columns of existing rows, DELETE removes rows, and GET returns what was written and by whom.
One row has the address ``/push/<schema.table>/<key>``. Each request is one transaction: all of its rows, or none.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services
from hven.formats import escape_xml
from hven.model.errors import (
    ForbiddenError,
    NotFoundError,
    ParamError,
    StorageError,
    TooLargeError,
    UnauthenticatedError,
    format_message,
)
from hven.plugins.push import client_writes
from hven.plugins.push.push_store import ClientPushStore
from hven.plugins.push.served_runs import ServedRunRecorder
from hven.services.face import ServiceContext, ServiceFace, create_route

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.ingest.api.changes import IngestReport
    from hven.site import Catalogue
    from hven.site.auth import Principal

MAX_CONCURRENT_WRITES = 4  # writes that a process executes at once; others wait
MAX_IDEMPOTENCY_KEY_CHARACTERS = 200
HISTORY_PAGE_ROWS = 100  # writes of the history in one response
JSON_MEDIA_TYPE = "application/json"
XML_MEDIA_TYPES = {"application/xml", "text/xml"}
OPTION_NAMES = {"dry_run", "filename"}  # parameters of an address that are not columns
TRUE_WORDS = {"true", "1", "yes"}
FALSE_WORDS = {"", "false", "0", "no"}


def build_push_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the tables that take rows, and of their rows."""
    site = context.site
    site.add_change_listener(ServedRunRecorder(site.settings).record_runs)
    write_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_WRITES)
    respond_to_error = partial(_respond_to_error, context)

    def read_row_key(request: Request) -> tuple[str, ...] | None:
        """Read the key of a row, or the path of a file, from the address; for a posted file, from its name."""
        key_text = request.path_params.get("key")
        file_name = request.query_params.get("filename", "")
        if key_text is None and file_name and request.method == client_writes.POST_ACTION:
            key_text = client_writes.choose_upload_path(site, request.path_params["table"], file_name) or None
        if key_text is None:
            return None
        return (key_text,)

    def check_write_access(request: Request) -> tuple[Principal, str]:
        """Return the client and the table; a client that may not see a table does not learn that it exists."""
        principal = context.identify_principal(request)
        name = request.path_params["table"]
        push_target = client_writes.find_push_target(site, name, "/".join(read_row_key(request) or ()))
        if push_target is not None and client_writes.can_push(push_target[0], push_target[2], principal):
            return principal, push_target[1].table.qualified_name
        if principal.name is None:
            raise UnauthenticatedError(
                "only users with an account on this site can write",
                remedy="send the header Authorization: Bearer TOKEN",
            )
        catalogue = site.get_published_state().get_catalogue(principal, context.policies)
        table_name = services.find_table(name, catalogue).qualified_name
        if push_target is None:
            message = format_message("clients cannot write rows to {table}", table_name)
            raise NotFoundError(message, remedy="add `source: {kind: push}` to the table in the descriptor")
        message = format_message("the account {who!r} is not allowed to write to {table}", principal.name, table_name)
        raise ForbiddenError(message, remedy="add the account to `writers` in the descriptor")

    async def answer_write(request: Request) -> Response:
        principal, table_name = check_write_access(request)
        with _create_upload_directory() as upload_directory:
            body_file = await _write_body(request, Path(upload_directory) / "body", site.settings.limits.upload)
            write_request = client_writes.ClientWriteRequest(
                action=request.method,
                body=body_file,
                media_type=_get_media_type(request),
                key=read_row_key(request),
                idempotency_key=_read_idempotency_key(request),
                expected_state=request.headers.get("if-match"),
                dry_run=_read_flag(request, "dry_run"),
                address_values=_read_column_values_from_address(request),
            )
            write_result = await anyio.to_thread.run_sync(
                client_writes.execute_client_write, site, table_name, write_request, principal, limiter=write_limiter
            )
        table_url = f"{services.get_base_url(request, site.settings)}/push/{quote(table_name)}"
        catalogue = site.get_published_state().get_catalogue(principal, context.policies)
        return _build_write_response(request, write_request, write_result, table_url, catalogue)

    async def answer_read(request: Request) -> Response:
        _, table_name = check_write_access(request)
        key = read_row_key(request)
        if key is None:
            before_text = request.query_params.get("before", "")
            before_number = None
            if before_text.isdigit() and len(before_text) < 18:
                before_number = int(before_text)
            document, state = await anyio.to_thread.run_sync(_describe_push_table, context, table_name, before_number)
        else:
            document, state = await anyio.to_thread.run_sync(
                client_writes.find_pushed_row_or_file, site, table_name, key
            )
        headers = {"content-type": JSON_MEDIA_TYPE, "cache-control": "private, no-store", "etag": f'"{state}"'}
        return services.answer_with_body(request, _write_json(document), headers)

    return [
        create_route("/push/{table}", answer_write, respond_to_error, ["POST", "PUT", "DELETE"]),
        create_route("/push/{table}", answer_read, respond_to_error),
        create_route("/push/{table}/{key:path}", answer_write, respond_to_error, ["PUT", "DELETE"]),
        create_route("/push/{table}/{key:path}", answer_read, respond_to_error),
    ]


# --- requests -----------------------------------------------------------------------------------------------------


def _get_media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _read_column_values_from_address(request: Request) -> dict[str, str]:
    """Read the values of columns that the address of a request gives."""
    return {name: value for name, value in request.query_params.items() if name not in OPTION_NAMES}


def _read_idempotency_key(request: Request) -> str:
    text = request.headers.get("idempotency-key", "").strip()
    if len(text) > MAX_IDEMPOTENCY_KEY_CHARACTERS:
        raise ParamError(
            format_message("an Idempotency-Key may have at most {most} characters", MAX_IDEMPOTENCY_KEY_CHARACTERS),
            remedy="send a UUID",
        )
    return text


def _read_flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "").strip().lower()
    if text not in TRUE_WORDS | FALSE_WORDS:
        raise ParamError(
            format_message("{name}={value!r:.40} is not valid", name, text), name=name, remedy="write true or false"
        )
    return text in TRUE_WORDS


def _create_upload_directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hven-push-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"the request cannot be stored: {error.strerror}", remedy="try again later") from error


async def _write_body(request: Request, path: Path, byte_limit: int) -> Path | None:
    """Write the body of a request to a file; return None if it is empty."""
    byte_count = 0
    try:
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in services.read_chunks(request, byte_limit):
                byte_count += len(chunk)
                await file.write(chunk)
    except TooLargeError:
        message = format_message("a request may have at most {most:,} bytes", byte_limit)
        raise TooLargeError(message, remedy="send the data in several requests") from None
    except OSError as error:
        raise StorageError(f"the request cannot be stored: {error.strerror}", remedy="try again later") from error
    if not byte_count:
        return None
    return path


# --- responses ----------------------------------------------------------------------------------------------------


def _describe_push_table(
    context: ServiceContext, table_name: str, before_number: int | None
) -> tuple[dict[str, Any], str]:
    """Describe the columns that a table takes, and list its writes."""
    store = context.site.store.get_or_create(ClientPushStore)
    push_target = client_writes.find_push_target(context.site, table_name)
    options: Mapping[str, Any] = {}
    if push_target is not None:
        options = push_target[2].options
    history = store.list_pushes(table_name, row_limit=HISTORY_PAGE_ROWS, before_number=before_number)
    fields = ("number", "run", "at", "by", "action", "rows", "removed")
    next_before = None
    if len(history) == HISTORY_PAGE_ROWS:
        next_before = history[-1].number
    description = {
        "table": table_name,
        "columns": options.get("columns"),
        "ids": options.get("ids"),
        "history": [_select_attributes(history_entry, fields) for history_entry in history],
        "before": next_before,
    }
    return description, store.find_state_name(table_name)


def _select_attributes(record: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def build_client_ingest_report(report: IngestReport, catalogue: Catalogue) -> dict[str, Any]:
    """Build the part of a report that a client may see.

    It has no paths of this machine, no rows of other tables, and no tables that the client may not see.

    Parameters
    ----------
    report
        Report of a push.
    catalogue
        Tables that the client may see.
    """
    visible_names = {table.qualified_name for table in catalogue.iterate_tables()}
    hidden_names = {*report.tables, *report.changes, *report.followers} - visible_names
    tables = {}
    for name, table in report.tables.items():
        if name not in visible_names:
            continue
        findings = []
        for finding in table.findings.values():
            finding_values = _select_attributes(finding, ("rule", "message", "severity", "count"))
            finding_values["rows"] = [_select_attributes(row, ("row", "column", "value")) for row in finding.offenders]
            findings.append(finding_values)
        table_values = _select_attributes(table, ("read", "skipped", "rejected", "published"))
        tables[name] = {**table_values, "findings": findings}
    changes = {name: change.collect_counts() for name, change in report.changes.items() if name in visible_names}
    warnings = [text for text in report.warnings if not any(name in text for name in hidden_names)]
    return {
        "run": report.run,
        "published": report.published,
        "dry_run": report.dry_run,
        "seconds": round(report.seconds, 3),
        "tables": tables,
        "changes": changes,
        "warnings": warnings,
        "tests": [_select_attributes(test, ("name", "passed")) for test in report.tests],
    }


def _build_write_response(
    request: Request,
    write_request: client_writes.ClientWriteRequest,
    write_result: client_writes.ClientWriteResult,
    table_url: str,
    catalogue: Catalogue,
) -> Response:
    """Build the response to a write: 201 for new rows, 204 for one row, 200 for several rows and their report."""
    headers = {"cache-control": "no-store", "hven-push": write_result.run}
    status = 200
    is_post = write_request.action == client_writes.POST_ACTION
    if not write_request.dry_run:
        headers["etag"] = f'"{write_result.state}"'
        if is_post or write_result.is_new_file:
            status = 201
    if write_result.is_replayed:
        headers["idempotency-replayed"] = "true"
    if status == 201 and len(write_result.ids) == 1:
        key = write_result.ids[0]
        if isinstance(key, list):
            key_path = "/".join(quote(str(part)) for part in key)
        else:
            key_path = quote(str(key))
        headers["location"] = f"{table_url}/{key_path}"
    prefer_header = request.headers.get("prefer", "").lower()
    is_brief = "return=minimal" in prefer_header
    if write_request.key is not None and not is_post and "return=representation" not in prefer_header:
        is_brief = True
    if is_brief and not write_request.dry_run:
        if status == 200:
            status = 204
        return Response(None, status, headers)
    document: dict[str, Any] = {
        "run": write_result.run,
        "ids": write_result.ids,
        "rows": write_result.rows,
        "removed": write_result.removed_rows,
    }
    if write_result.report is not None:
        document["report"] = build_client_ingest_report(write_result.report, catalogue)
    accepted_type = request.headers.get("accept", "").partition(",")[0].strip().lower()
    if accepted_type in XML_MEDIA_TYPES:
        warnings = document.get("report", {}).get("warnings", ())
        return Response(_write_result_xml(write_result, warnings), status, headers, media_type="application/xml")
    return Response(_write_json(document), status, headers, media_type=JSON_MEDIA_TYPE)


def _write_result_xml(write_result: client_writes.ClientWriteResult, warnings: Sequence[str]) -> bytes:
    """Write keys and warnings for clients that read only XML."""
    ids = "".join(f"<id>{escape_xml(str(row_id))}</id>" for row_id in write_result.ids)
    warning_elements = "".join(f"<warning>{escape_xml(warning)}</warning>" for warning in warnings)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<push run="{write_result.run}" rows="{write_result.rows}" '
        f'removed="{write_result.removed_rows}">{ids}{warning_elements}</push>\n'
    ).encode()


def _write_json(document: Mapping[str, Any]) -> bytes:
    option = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    return orjson.dumps(document, default=str, option=option)


def _respond_to_error(context: ServiceContext, request: Request, error: Exception) -> Response:
    """Answer an error, with the report or the rejected rows."""
    status = services.find_http_status(error)
    message = services.log_error_and_write_message(error, services.get_request_id(request))
    document: dict[str, Any] = {"error": message, "status": status}
    if isinstance(error, client_writes.RowsRefusedError):
        principal = context.identify_principal(request)
        catalogue = context.site.get_published_state().get_catalogue(principal, context.policies)
        document["report"] = build_client_ingest_report(error.report, catalogue)
    elif isinstance(error, client_writes.InvalidRowsError):
        document["faults"] = error.faults
    headers = {**services.build_retry_after_header(error), "cache-control": "no-store"}
    return Response(_write_json(document), status, headers, media_type=JSON_MEDIA_TYPE)


def _describe_openapi_paths() -> dict[str, Any]:
    """Describe the addresses in OpenAPI."""
    status_descriptions = {
        201: "written",
        200: "written",
        204: "written",
        400: "the request is wrong; the response contains the faults or the report",
        401: "log in",
        403: "not allowed",
        404: "no such table or row",
        409: "the key already exists, or the token was already used",
        412: "the state is different from the one in If-Match",
        413: "the request is too large",
        503: "try again later",
    }

    def describe_parameter(
        location: str, name: str, description: str, value_type: str = "string", *, is_required: bool = False
    ) -> dict[str, Any]:
        return {
            "name": name,
            "in": location,
            "required": is_required,
            "description": description,
            "schema": {"type": value_type},
        }

    def describe_operation(summary: str, *success_statuses: int, has_body: bool = True) -> dict[str, Any]:
        error_statuses = [status for status in sorted(status_descriptions) if status >= 400]
        responses = {}
        for status in (*success_statuses, *error_statuses):
            responses[str(status)] = {"description": status_descriptions[status]}
        operation: dict[str, Any] = {"summary": summary, "security": [{"bearer": []}], "responses": responses}
        if success_statuses != (200,) or has_body:
            operation["parameters"] = [
                describe_parameter("query", "dry_run", "check everything, but write nothing", "boolean"),
                describe_parameter("header", "If-Match", "write only if the table is in this state"),
                describe_parameter("header", "Idempotency-Key", "a token that identifies the request"),
            ]
        if has_body:
            row_schema = {"type": "object"}
            rows_schema = {"type": "array", "items": row_schema}
            media_types: dict[str, Any] = {JSON_MEDIA_TYPE: {"schema": {"oneOf": [row_schema, rows_schema]}}}
            for media_type in ("text/csv", "application/x-votable+xml", "application/xml"):
                media_types[media_type] = {}
            operation["requestBody"] = {"content": media_types}
        return operation

    table = describe_parameter("path", "table", "a table that accepts rows: schema.name", is_required=True)
    key = describe_parameter("path", "key", "the key of a row, or the path of a file", is_required=True)
    return {
        "/push/{table}": {
            "parameters": [table],
            "get": describe_operation("Which columns can be written, and who wrote what", 200, has_body=False),
            "post": describe_operation("Write new rows", 201),
            "put": describe_operation("Change the named columns of rows", 200),
            "delete": describe_operation("Delete rows", 200),
        },
        "/push/{table}/{key}": {
            "parameters": [table, key],
            "get": describe_operation("A row as it was written", 200, has_body=False),
            "put": describe_operation("Change the named columns of a row, or put a file", 201, 204),
            "delete": describe_operation("Delete a row or a file", 204, has_body=False),
        },
    }


FACE = ServiceFace(
    name="push",
    title="Push",
    description="Rows that clients write.",
    build_routes=build_push_routes,
    openapi_paths=_describe_openapi_paths(),
    is_usage_counted=False,
)
