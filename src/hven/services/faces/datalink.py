"""DataLink 1.1: ``/datalink/<schema.table>?ID=..`` lists what rows lead to: files, previews, what they were made from; many identifiers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hven import formats
from hven import services as dali
from hven.formats import DEFAULT, End, Head, Info
from hven.model.errors import NotFound
from hven.model.params import Param
from hven.model.table import DATALINK, LINKS, Link
from hven.services import datalinks
from hven.services.errors import LABELLED
from hven.services.face import DALI, Face, Surroundings, Way, asking, this

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import Published

LONGEST = 8 * 1024**2  # bytes of a form: as many identifiers as a form may have parameters
ID = Param(
    name="ID", ucd="meta.id;meta.main", description="identifiers of rows, as results have them; as many as you like"
)
PARAMS = (ID, *DALI)


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/datalink/<schema.table>``."""
    site = around.site

    async def listed(request: Request, params: dali.Params) -> Response:
        who, holdings = around.reader(request), site.current()
        table = dali.table_named(request.path_params["table"], holdings.catalogue(who, around.policies))
        if not FACE.applies(table):
            raise NotFound(f"{table.qualified} has no {FACE.lacking}", remedy="ask it by TAP")
        page = around.page(FACE.name, request, params)
        said = None if page else params.one("RESPONSEFORMAT")
        fmt, options = formats.select(said, None if page else request.headers.get("accept"))
        if fmt.name == DEFAULT:
            options = {**options, "serialization": options.get("serialization", "TABLEDATA")}
        most, ids = params.whole("MAXREC"), params.values.get("ID", ())
        base = dali.base(request, site.settings)

        def links(of: Table, some: Sequence[str]) -> pa.Table:
            return datalinks.rows(
                of, some, who=who, site=site, policies=around.policies, holdings=holdings, base=base,
                more=around.leads(of),
            )  # fmt: skip

        def asked() -> pa.Table:
            found = links(table, ids)
            if not table.observations:
                return found
            known, here = holdings.catalogue(who, around.policies), site.settings.url
            return datalinks.followed(found, here, lambda name, some: links(dali.table_named(name, known), some))

        def made() -> bytes:
            found = asked()
            kept, services = datalinks.described(_within(found, most))
            infos = (Info(name="standardID", value=LINKS), *dali.unused(params, PARAMS))
            head = Head(
                columns=datalinks.COLUMNS,
                name="links",
                infos=infos,
                descriptors=services if ids else (this(FACE, FACE.url(table, base)),),
            )
            end = End(overflow=kept.num_rows < found.num_rows, rows=kept.num_rows)
            return b"".join(fmt.write(head, iter(kept.to_batches()), lambda: end, options))

        if page is not None:
            found = await anyio.to_thread.run_sync(asked)
            shown = _within(found, most)
            return page(request, around, {"table": table, "ids": ids, "links": shown, "all": found.num_rows})
        body = await anyio.to_thread.run_sync(made)
        kind = options.get(formats.MEDIA_TYPE) or fmt.media_types[0]
        if fmt.name == DEFAULT and not params.one("RESPONSEFORMAT"):
            kind = DATALINK
        reach = holdings.reach(who, around.policies)
        return dali.tagged(request, dali.caching(dali.etag(body), public=reach == "public"), kind, body)

    return [asking(FACE.path, listed, FACE.faults, LONGEST)]


def _within(found: pa.Table, most: int | None) -> pa.Table:
    """Leave out what is beyond MAXREC, and never a part of the rows of an identifier (DataLink 1.1 section 2.1)."""
    if most is None or found.num_rows <= most:
        return found
    ids = found["ID"].to_pylist()
    while most and ids[most] == ids[most - 1]:
        most -= 1
    return found.slice(0, most)


def _links(table: Table, _: Surroundings) -> Sequence[Link]:
    """Lead to the files in which the samples of rows stand, where the collection publishes these."""
    return [Link(semantics=datalinks.THIS, address=path, file=True) for path in table.sample_files]


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how the links of one row are asked for."""
    url = FACE.url(published.table, base)
    key = published.table.identifier
    name = "ID" if key is None else key.name
    python = f'from pyvo.dal.adhoc import DatalinkResults\n\nlinks = DatalinkResults.from_result_url("{url}?ID=" + row["{name}"])\nprint(links.to_table())'
    return [
        Way(title="Links of a row", url=url, example=f"curl '{url}?ID=..&RESPONSEFORMAT=csv'"),
        Way(title="Links of a row in Python", url=url, language="python", example=python),
    ]


FACE = Face(
    name="datalink",
    title="DataLink",
    description="What rows lead to: files, previews, what they were made from.",
    standard_ids=(LINKS,),
    params=PARAMS,
    applies=lambda table: bool(table.leads or table.spanned),
    lacking="links of its rows",
    path="/datalink/{table}",
    faults=LABELLED,
    ways=_ways,
    routes=routes,
    links=_links,
)
