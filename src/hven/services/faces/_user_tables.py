"""User tables below ``/tap``: PUT, GET, DELETE ``user_tables/NAME`` as DaCHS has them, and pyvo's other convention.

That one is CADC's YouCat: PUT and DELETE ``tables/NAME``, POST ``load/NAME``, and jobs at ``table-update`` that index a column.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import adql
from hven import services as dali
from hven.model.errors import StorageError, TooLarge, Unauthenticated
from hven.query import user_tables as own
from hven.services import _vosi as vosi
from hven.services import _vosi_table as vosi_table
from hven.services import uws
from hven.services.errors import LINE
from hven.services.face import route
from hven.services.params import FORM_MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.services.face import Surroundings
    from hven.site import Site
    from hven.site.auth import Reader

READ = 2  # bodies that are read at once


def routes(around: Surroundings) -> Sequence[Route]:
    """List the addresses of user tables."""
    site = around.site
    reading = anyio.CapacityLimiter(READ)

    async def put(request: Request) -> Response:
        return await _written(request, _keep, 201)

    async def load(request: Request) -> Response:
        return await _written(request, own.append, 200)

    async def _written(request: Request, how: Callable[..., Table], status: int) -> Response:
        who, name = _asked(request)
        with _place() as place:
            path = Path(place) / "body"
            await _received(request, path, site.settings.limits.upload)
            table = await anyio.to_thread.run_sync(how, site, who, name, path, limiter=reading)
        text = f"Query this table as {adql.quote(table.schema)}.{adql.quote(table.name)}\n"
        return Response(text, status, {"cache-control": "no-store"}, media_type="text/plain; charset=utf-8")

    async def get(request: Request) -> Response:
        who, name = _asked(request)
        record = await anyio.to_thread.run_sync(own.found, site, who, name)
        body = vosi.table(record.table, quote=adql.quote)
        return dali.whole(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "private, no-store"})

    async def delete(request: Request) -> Response:
        who, name = _asked(request)
        await anyio.to_thread.run_sync(own.drop, site, who, name)
        return Response(
            f"Dropped user table {name}\n",
            headers={"cache-control": "no-store"},
            media_type="text/plain; charset=utf-8",
        )

    async def how(request: Request) -> Response:
        _known(request)
        return Response(
            "POST a table to load/NAME\n", headers={"cache-control": "no-store"}, media_type="text/plain; charset=utf-8"
        )

    def _asked(request: Request) -> tuple[Reader, str]:
        return _known(request), own.name_of(request.path_params["table"])

    def _known(request: Request) -> Reader:
        who = around.reader(request)
        if who.name is None:
            raise Unauthenticated(
                "only who has an account here can keep tables",
                remedy="send the header Authorization: Bearer TOKEN, or log in at /login",
            )
        return who

    return [
        route("/tap/user_tables/{table}", put, LINE, ["PUT"]),
        route("/tap/user_tables/{table}", get, LINE, ["GET"]),
        route("/tap/user_tables/{table}", delete, LINE, ["DELETE"]),
        route("/tap/tables/{table}", put, LINE, ["PUT"]),
        route("/tap/tables/{table}", delete, LINE, ["DELETE"]),
        route("/tap/load", how, LINE, ["GET"]),
        route("/tap/load/{table}", load, LINE, ["POST"]),
        *uws.routes("/tap/table-update", "table_update", site, _known, limit=FORM_MOST),
    ]


def capabilities(here: str, settings: Settings) -> list[vosi.Capability]:
    """Announce what no standard has yet by the identifiers that CADC's YouCat, the first to have it, gives it."""
    if not settings.limits.user_tables:
        return []
    return [
        vosi.Capability(
            standard_id=f"ivo://ivoa.net/std/VOSI#{name}",
            url=f"{here}/{place}",
            use="base",
            security=vosi.security(settings, needed=True),
        )
        for name, place in (("table-load-sync-1.x", "load"), ("table-update-async-1.x", "table-update"))
    ]


def _keep(site: Site, who: Reader, name: str, path: Path) -> Table:
    return own.keep(site, who, name, path, vosi_table.described(path))


def _place() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hven-table-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"there is no place for tables: {error.strerror}", remedy="try again later") from error


async def _received(request: Request, path: Path, limit: int) -> None:
    """Write the body to a file."""
    try:
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in dali.chunks(request, limit):
                await file.write(chunk)
    except TooLarge:
        raise TooLarge(
            f"the table has more than {limit:,} bytes, which is the limit", remedy="load it in parts"
        ) from None
    except OSError as error:
        raise StorageError(f"the table cannot be kept: {error.strerror}", remedy="try again later") from error
