"""``/collections/<name>/headers/<path>``: the FITS header of a file as a table, a row for each card, in every format; as a page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import anyio.to_thread
import pyarrow as pa
import pyarrow.compute as pc

from hven import formats
from hven import services as dali
from hven.formats import End, Head, Info
from hven.jobs.tap import RESPONSEFORMAT
from hven.model.errors import FarFault, HvenError, NotFound, say
from hven.model.params import Param
from hven.model.table import FILES, written_columns
from hven.services import filed
from hven.services.errors import PLAIN
from hven.services.face import Face, Surroundings, Way, asking
from hven.sources.cards import headers, lines, written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.formats.media import Place
    from hven.site import Published

COLUMNS = written_columns("""
    hdu       | int32   |  | meta.number       | Number of the HDU, from 0
    extension | string  |  | meta.id           | Name of the HDU
    keyword   | string  |  | meta.id;meta.main | Keyword
    value     | string  |  | meta.note         | Value, as the card has it
    number    | float64 |  |                   | Value, if it is a number
    comment   | string  |  | meta.note         | Comment of the card
""")
SCHEMA = pa.schema([column.arrow for column in COLUMNS])
MOST = 10_000  # HDUs
HDU = Param(name="HDU", ucd="meta.number", description="number or name of an HDU; all of them without it")


def routes(around: Surroundings) -> Sequence[BaseRoute]:
    """Route ``/collections/<name>/headers/<path>``."""

    def made(request: Request, params: dali.Params) -> Response:
        name, path = request.path_params["name"], request.path_params["path"]
        taken = filed.asked(around, around.reader(request), name, [path])
        row = taken.one(path)
        taken.note("header seen", path)
        table = _of(
            _table(filed.opened_at(around, around.reader(request), name, row), path), params.one(HDU.name), path
        )
        page = around.page(FACE.name, request, params)
        if page is not None:
            return page(request, around, {"rows": table.to_pylist()})
        fmt, options = formats.select(params.one("RESPONSEFORMAT"), request.headers.get("accept"))
        kind = options.get(formats.MEDIA_TYPE) or fmt.media_types[0]
        infos = (Info(name="file", value=str(row["url"])), *dali.unused(params, (HDU, RESPONSEFORMAT)))
        head = Head(columns=COLUMNS, name="header", infos=infos)
        body = b"".join(fmt.write(head, iter(table.to_batches()), lambda: End(rows=table.num_rows), options))
        kept = dali.caching(
            dali.etag(body), public=taken.reach == "public", vary="accept, accept-encoding, authorization, cookie"
        )
        guarded = {"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"}
        return dali.tagged(request, {**kept, **guarded}, kind, body)

    async def answered(request: Request, params: dali.Params) -> Response:
        found: Response = await anyio.to_thread.run_sync(made, request, params)
        return found

    return [asking("/collections/{name}/headers/{path:path}", answered, PLAIN)]


def _of(table: pa.Table, hdu: str | None, path: str) -> pa.Table:
    """Keep the cards of an HDU, which is said by its number or name."""
    if not hdu:
        return table
    named = pc.equal(pc.utf8_upper(pc.coalesce(table["extension"], pa.scalar(""))), hdu.upper())
    kept = table.filter(pc.or_(named, pc.equal(table["hdu"].cast(pa.string()), hdu)))
    if not kept.num_rows:
        raise NotFound(say("the file {name} has no HDU {hdu}", path, hdu[:60]))
    return kept


def _table(place: Place, path: str) -> pa.Table:
    """Read the cards; a file that is no FITS is none that has a header."""
    try:
        found = headers(cast("Path", place), most=MOST)  # of which it asks what both have
    except FarFault:
        raise
    except (HvenError, OSError, EOFError, ValueError):
        found = []
    if not found:
        raise NotFound(f"the file {path!r} has no FITS header that can be read", remedy="take the file itself")
    rows = [
        (one.index, one.name or None, keyword, written(value), value if _is_number(value) else None, comment or None)
        for one in found
        for keyword, value, comment in lines(one)
    ]  # fmt: skip
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    return pa.table([pa.array(list(one), kind) for one, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show how one is asked for."""
    url = f"{base}/collections/{quote(published.table.schema)}/headers/PATH"
    return [Way(title="FITS header of a file", url=url, example=f"curl '{url}?RESPONSEFORMAT=csv'")]


FACE = Face(name="keywords", title="FITS headers", applies=lambda table: table.utype == FILES, routes=routes, ways=ways)
