"""Resources of user tables below ``/tap``, by two conventions that pyvo supports.

DaCHS has PUT, GET and DELETE ``user_tables/NAME``. CADC's YouCat has PUT and DELETE ``tables/NAME``,
POST ``load/NAME``, and jobs at ``table-update`` that index a column.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import adql, services
from hven.model.errors import StorageError, TooLargeError
from hven.plugins.user_tables import table_writing, vosi_table
from hven.services import uws
from hven.services.api import vosi
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.services.params import MAX_FORM_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import Site
    from hven.site.auth import Principal

MAX_CONCURRENT_READS = 2  # uploaded tables that are read at once


def build_user_table_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of user tables."""
    site = context.site
    read_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_READS)

    async def answer_put(request: Request) -> Response:
        return await _store_body(request, _store_table_or_vosi_description, 201)

    async def answer_load(request: Request) -> Response:
        return await _store_body(request, table_writing.append_user_table_rows, 200)

    async def _store_body(request: Request, store_table: Callable[..., Table], status: int) -> Response:
        principal, name = _find_owner_and_name(request)
        with _create_upload_directory() as directory:
            path = Path(directory) / "body"
            await _write_body(request, path, site.settings.limits.upload)
            table = await anyio.to_thread.run_sync(store_table, site, principal, name, path, limiter=read_limiter)
        query_name = f"{adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
        return _answer_text(f"Query this table as {query_name}\n", status)

    async def answer_get(request: Request) -> Response:
        principal, name = _find_owner_and_name(request)
        user_table = await anyio.to_thread.run_sync(table_writing.find_user_table, site, principal, name)
        body = vosi.write_vosi_table_document(user_table.table, quote_name=adql.quote_adql_name)
        headers = {"content-type": vosi.MEDIA_TYPE, "cache-control": "private, no-store"}
        return services.answer_with_body(request, body, headers)

    async def answer_delete(request: Request) -> Response:
        principal, name = _find_owner_and_name(request)
        await anyio.to_thread.run_sync(table_writing.delete_user_table, site, principal, name)
        return _answer_text(f"Dropped user table {name}\n")

    async def explain_load(request: Request) -> Response:
        _require_account(request)
        return _answer_text("POST a table to load/NAME\n")

    def _find_owner_and_name(request: Request) -> tuple[Principal, str]:
        return _require_account(request), table_writing.parse_user_table_name(request.path_params["table"])

    def _require_account(request: Request) -> Principal:
        principal = context.identify_principal(request)
        table_writing.require_account_name(principal)
        return principal

    return [
        create_route("/tap/user_tables/{table}", answer_put, TEXT_LINE_ERRORS, ["PUT"]),
        create_route("/tap/user_tables/{table}", answer_get, TEXT_LINE_ERRORS, ["GET"]),
        create_route("/tap/user_tables/{table}", answer_delete, TEXT_LINE_ERRORS, ["DELETE"]),
        create_route("/tap/tables/{table}", answer_put, TEXT_LINE_ERRORS, ["PUT"]),
        create_route("/tap/tables/{table}", answer_delete, TEXT_LINE_ERRORS, ["DELETE"]),
        create_route("/tap/load", explain_load, TEXT_LINE_ERRORS, ["GET"]),
        create_route("/tap/load/{table}", answer_load, TEXT_LINE_ERRORS, ["POST"]),
        *uws.build_job_routes("/tap/table-update", "table_update", site, _require_account, byte_limit=MAX_FORM_BYTES),
    ]


def list_user_table_capabilities(context: ServiceContext, tap_url: str) -> list[vosi.Capability]:
    """List the capabilities of user tables, which no standard has yet, under the identifiers of CADC's YouCat."""
    settings = context.site.settings
    if not settings.limits.user_tables:
        return []
    security_methods = vosi.list_security_methods(settings, is_login_required=True)
    return [
        vosi.Capability(
            standard_id=f"ivo://ivoa.net/std/VOSI#{feature}",
            url=f"{tap_url}/{endpoint}",
            use="base",
            security_methods=security_methods,
        )
        for feature, endpoint in (("table-load-sync-1.x", "load"), ("table-update-async-1.x", "table-update"))
    ]


def _answer_text(text: str, status: int = 200) -> Response:
    return Response(text, status, {"cache-control": "no-store"}, media_type="text/plain; charset=utf-8")


def _store_table_or_vosi_description(site: Site, principal: Principal, name: str, path: Path) -> Table:
    return table_writing.store_user_table(site, principal, name, path, vosi_table.read_vosi_table(path))


def _create_upload_directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hven-table-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"the table cannot be stored: {error.strerror}", remedy="try again later") from error


async def _write_body(request: Request, path: Path, byte_limit: int) -> None:
    """Write the body of a request to a file."""
    try:
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in services.read_chunks(request, byte_limit):
                await file.write(chunk)
    except TooLargeError:
        raise TooLargeError(
            f"the table is larger than the limit of {byte_limit:,} bytes", remedy="send the table in parts"
        ) from None
    except OSError as error:
        raise StorageError(f"the table cannot be stored: {error.strerror}", remedy="try again later") from error


FACE = ServiceFace(
    name="user_tables",
    title="User tables",
    build_routes=build_user_table_routes,
    list_tap_capabilities=list_user_table_capabilities,
    is_usage_counted=False,
)
