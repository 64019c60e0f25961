"""``/collections/<name>/headers/<path>``: the FITS header of a file as a table, a row for each card, in every format; as a page for people."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
import pyarrow as pa

from hven import formats
from hven import services as dali
from hven.formats import End, Head, Info
from hven.model.errors import HvenError, NotFound
from hven.model.table import FILES, Column
from hven.model.types import FLOAT64, INT32, STRING
from hven.services import filed
from hven.services.face import Face, Surroundings, Way, route
from hven.sources.cards import headers, lines, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.site import Published

COLUMNS = (
    Column(name="hdu", type=INT32, ucd="meta.number", description="Number of the HDU, from 0"),
    Column(name="extension", type=STRING, ucd="meta.id", description="Name of the HDU"),
    Column(name="keyword", type=STRING, ucd="meta.id;meta.main", description="Keyword"),
    Column(name="value", type=STRING, ucd="meta.note", description="Value, as the card has it"),
    Column(name="number", type=FLOAT64, description="Value, if it is a number"),
    Column(name="comment", type=STRING, ucd="meta.note", description="Comment of the card"),
)
SCHEMA = pa.schema([column.arrow for column in COLUMNS])
MOST = 10_000  # HDUs


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/headers/<path>``."""

    def made(request: Request) -> Response:
        name, path = request.path_params["name"], request.path_params["path"]
        taken = filed.asked(around, around.reader(request), name, [path])
        row = taken.one(path)
        taken.note("header seen", path)
        table = _table(filed.place_of(around.site.settings, row), path)
        accept = request.headers.get("accept", "")
        wanted = request.query_params.get("RESPONSEFORMAT")
        if wanted is None and "text/html" in accept:
            kind, body = "text/html; charset=utf-8", _page(path, table)
        else:
            fmt, options = formats.select(wanted, accept)
            kind = options.get(formats.MEDIA_TYPE) or fmt.media_types[0]
            head = Head(columns=COLUMNS, name="header", infos=(Info(name="file", value=str(row["url"])),))
            body = b"".join(fmt.write(head, iter(table.to_batches()), lambda: End(rows=table.num_rows), options))
        kept = dali.caching(
            dali.etag(body), public=taken.reach == "public", vary="accept, accept-encoding, authorization, cookie"
        )
        guarded = {"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"}
        return dali.tagged(request, {**kept, **guarded}, kind, body)

    async def answered(request: Request) -> Response:
        found: Response = await anyio.to_thread.run_sync(made, request)
        return found

    return [route("/collections/{name}/headers/{path:path}", answered)]


def _table(place: str, path: str) -> pa.Table:
    """Read the cards; a file that is no FITS is none that has a header."""
    try:
        found = headers(Path(place), most=MOST)
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


def _page(path: str, table: pa.Table) -> bytes:
    """Write the cards for people, an HDU below the other."""
    made = [f"<!doctype html><meta charset=utf-8><title>{escape(path)}</title><h1>{escape(path)}</h1><p>"]
    made += [f'<a href="?RESPONSEFORMAT={one}">{one}</a> ' for one in ("votable", "json", "csv", "text")]
    last = None
    for row in table.to_pylist():
        if row["hdu"] != last:
            last = row["hdu"]
            made.append(f"</table><h2>{last} {escape(row['extension'] or '')}</h2><table>")
        cells = (escape(row[one] or "") for one in ("value", "comment"))
        made.append(f"<tr><th scope=row>{escape(row['keyword'])}<td>{'<td>'.join(cells)}")
    return "".join([*made, "</table>"]).replace("</table>", "", 1).encode()


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show how one is asked for."""
    url = f"{base}/collections/{quote(published.table.schema)}/headers/PATH"
    return [Way(title="FITS header of a file", url=url, example=f"curl '{url}?RESPONSEFORMAT=csv'")]


FACE = Face(name="keywords", title="FITS headers", applies=lambda table: table.utype == FILES, routes=routes, ways=ways)
