"""``/archive?QUERY=..``: the files that the rows of a query lead to, as one ZIP or TAR that is written while it is sent, or as a list for wget, curl, aria2."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import anyio.to_thread
import pyarrow as pa

from hven import query
from hven import services as dali
from hven.formats import End, Head, Info
from hven.jobs.tap import query_of
from hven.model.params import Param
from hven.services import archives, scripts
from hven.services.errors import PLAIN
from hven.services.face import Face, Surroundings, Way, asking
from hven.services.params import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.query import Result
    from hven.site import Published

FORMAT = Param(
    name="FORMAT",
    allowed=(*archives.KINDS, *scripts.SCRIPTS),
    default="zip",
    description="zip or tar; or a list of the files: wget, curl, aria2, links",
)
PARAMS = (
    Param(name="QUERY", required=True, description="rows whose files are wanted, in ADQL"),
    Param(name="LANG", description="ADQL"),
    Param(name="COLUMN", description="the column that leads to files; default: the one that says it does"),
    FORMAT,
)


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/archive``."""
    site = around.site

    def made(request: Request, params: dali.Params) -> Response:
        kind, text, base = str(value(params, FORMAT)), query_of(params), dali.base(request, site.settings)
        packed = kind in archives.KINDS
        most = site.settings.limits.archive_files if packed else scripts.MOST
        who = around.reader(request)
        with query.run(text, who, site=site, policies=around.policies, maxrec=most) as result:
            addresses = archives.addresses(result, archives.leading(result, params.one("COLUMN")), base)
            if result.overflow and packed:
                raise archives.too_large(around)
        title = site.settings.title or site.settings.name
        about = [("Query", text), ("Asked at", base), *((one.name, one.value) for one in dali.unused(params, PARAMS))]
        if packed:
            plan = archives.planned(around, request, addresses)
            return archives.answer(request, plan, kind=kind, called=_called(result), title=title, about=about)
        found, _ = archives.followed(around, request, addresses)
        fmt = scripts.scripts(around.signing(request) or str)[kind]
        head = Head(columns=(), infos=tuple(Info(name=name, value=said) for name, said in about))
        end = End(overflow=result.overflow, rows=len(found))
        rows = pa.record_batch({"url": pa.array(found, pa.string())})
        body = b"".join(fmt.write(head, iter((rows,)), lambda: end, {}))
        reach = site.current().reach(who, around.policies)
        headers = dali.caching(dali.etag(body), public=reach == "public" and who.anonymous)
        return dali.tagged(request, headers, fmt.media_types[0], body)

    async def answered(request: Request, params: dali.Params) -> Response:
        found: Response = await anyio.to_thread.run_sync(made, request, params)
        return found

    return [asking(FACE.path, answered, FACE.faults)]


def _called(result: Result) -> str:
    """Name an archive after the table of its rows: in a header that old browsers read, too."""
    name = result.tables[0].qualified if len(result.tables) == 1 else "files"
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") or "files"


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how the files of rows are taken."""
    table = published.table
    if not (table.leads and table.identifier is not None):
        return ()
    text = f"SELECT TOP 10 * FROM {table.qualified}"
    url = f"{base}{FACE.path}"
    example = f"curl -C - -o files.zip -G {shlex.quote(url)} --data-urlencode {shlex.quote(f'QUERY={text}')}"
    return [Way(title="Files of rows as one archive", url=url, example=example)]


FACE = Face(
    name="archive",
    title="Archives",
    description="The files that rows lead to, as one ZIP or TAR, or as a list for wget, curl or aria2.",
    params=PARAMS,
    path="/archive",
    faults=PLAIN,
    example="QUERY=SELECT access_url FROM ivoa.obscore WHERE obs_id = 'x'",
    ways=_ways,
    routes=routes,
)
