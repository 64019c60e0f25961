"""``/archive?QUERY=..``, ``/archive?TABLE=..&ID=..``: the files that the rows of a query, or some rows, lead to, as one ZIP or TAR that is written while it is sent, or as a list for wget, curl, aria2."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
import pyarrow as pa

from hven import adql, query
from hven import services as dali
from hven.formats import End, Head, Info
from hven.jobs.tap import query_of
from hven.model.params import Param
from hven.model.table import SITE, Hole, Link
from hven.services import archives, scripts
from hven.services.errors import PLAIN
from hven.services.face import Face, Surroundings, Way, asking
from hven.services.params import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import Published

FORMAT = Param(
    name="FORMAT",
    allowed=(*archives.KINDS, *scripts.SCRIPTS),
    default="zip",
    description="zip or tar; or a list of the files: wget, curl, aria2, links",
)
TABLE = Param(name="TABLE", ucd="meta.id;meta.table", description="instead of a query: the table of rows, schema.table")
ID = Param(
    name="ID", ucd="meta.id;meta.main", many=True, description="and their identifiers: all of the collection's files that these lead to"
)  # fmt: skip
PARAMS = (
    Param(name="QUERY", description="rows whose files are wanted, in ADQL"),
    Param(name="LANG", description="ADQL"),
    Param(name="COLUMN", description="the column that leads to files; default: the one that says it does"),
    FORMAT,
    TABLE,
    ID,
)


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/archive``."""
    site = around.site

    def made(request: Request, params: dali.Params) -> Response:
        kind, name, base = str(value(params, FORMAT)), params.one("TABLE"), dali.base(request, site.settings)
        packed = kind in archives.KINDS
        most = site.settings.limits.archive_files if packed else scripts.MOST
        who, overflow = around.reader(request), False
        ids = () if params.one("QUERY") else value(params, ID)
        if name is not None and ids:
            table = dali.table_named(name, site.current().catalogue(who, around.policies))
            called = table.qualified
            about = [("Rows", f"{called} {', '.join(ids)}")]
            addresses = [archives.links_of(table, base) + quote(one, safe="") for one in ids]
        else:
            text = query_of(params)
            about = [("Query", text)]
            with query.run(text, who, site=site, policies=around.policies, maxrec=most) as result:
                addresses = archives.addresses(result, archives.leading(result, params.one("COLUMN")), base)
                called, overflow = result.tables[0].qualified if len(result.tables) == 1 else "files", result.overflow
            if overflow and packed:
                raise archives.too_large(around)
        title = site.settings.title or site.settings.name
        about += [("Asked at", base), *((one.name, one.value) for one in dali.unused(params, PARAMS))]
        if packed:
            plan = archives.planned(around, request, addresses, every=bool(ids))
            return archives.answer(request, plan, kind=kind, called=_called(called), title=title, about=about)
        found, _ = archives.followed(around, request, addresses, every=bool(ids))
        fmt = scripts.scripts(around.signing(request) or str)[kind]
        head = Head(columns=(), infos=tuple(Info(name=name, value=said) for name, said in about))
        end = End(overflow=overflow, rows=len(found))
        rows = pa.record_batch({"url": pa.array(found, pa.string())})
        body = b"".join(fmt.write(head, iter((rows,)), lambda: end, {}))
        reach = site.current().reach(who, around.policies)
        headers = dali.caching(dali.etag(body), public=reach == "public" and who.anonymous)
        return dali.tagged(request, headers, fmt.media_types[0], body)

    async def answered(request: Request, params: dali.Params) -> Response:
        found: Response = await anyio.to_thread.run_sync(made, request, params)
        return found

    return [asking(FACE.path, answered, FACE.faults)]


def links(table: Table, around: Surroundings) -> Sequence[Link]:  # noqa: ARG001
    """Lead to an archive of a row's files, where it may have several and its descriptor names none."""
    files = [link for link in table.links if link.file]
    key = table.identifier
    if (
        key is None
        or any(link.semantics == "#package" for link in table.links)
        or not (len(files) > 1 or any(link.source for link in files))
    ):
        return ()
    row = Hole(f"target.{adql.quote(key.name)}")
    address = (SITE, f"{FACE.path}?TABLE={quote(table.qualified)}&ID=", row)
    return (Link(semantics="#package", address=address, type=("application/zip",), description=("All files",), local=("files",), packed=True),)  # fmt: skip


def _called(name: str) -> str:
    """Name an archive in a header that old browsers read, too."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") or "files"


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how the files of rows are taken."""
    text = f"SELECT TOP 10 * FROM {published.table.qualified}"
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
    applies=lambda table: bool(table.leads),
    lacking="links of its rows",
    links=links,
    ways=_ways,
    routes=routes,
)
